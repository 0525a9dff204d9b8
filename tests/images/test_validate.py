import re
import weakref
from pathlib import Path

import numpy as np
import pytest
from scipy import sparse
from sklearn.base import BaseEstimator

from sklstm.images import all_finite, unchanged_on_error, validate_images
from sklstm.images._validate import batches


class Model(BaseEstimator):
    """Estimator from outside the package."""


def fitted(shape, **options):
    model = Model()
    validate_images(model, np.zeros((2, *shape)), reset=True, **options)
    return model


@pytest.mark.parametrize("shape", [(4, 6), (4, 6, 3), (1, 1), (4, 6, 1)])
@pytest.mark.parametrize(
    "dtype", "bool uint8 int64 uint16 float16 float32 float64 >f8 longdouble".split()
)
def test_images_pass_untouched(shape, dtype):
    model = Model()
    X = np.ones((3, *shape), dtype)
    images = validate_images(model, X, reset=True)
    assert images.dtype == dtype
    assert np.shares_memory(images, X)
    assert model.image_shape_ == shape
    assert model.n_features_in_ == np.prod(shape)
    assert validate_images(model, X, reset=False) is images


@pytest.mark.parametrize("dtype", ["bool", "uint8", "int64", "float16", "float32"])
def test_flat_keeps_dtype_and_memory(dtype):
    X = np.ones((3, 24), dtype)
    images = validate_images(Model(), X, reset=True, image_shape=[4, 6])
    assert images.shape == (3, 4, 6)
    assert images.dtype == dtype
    assert np.shares_memory(images, X)


def test_flat_shapes():
    def shape(n_features, **options):
        X = np.zeros((2, n_features))
        return validate_images(Model(), X, reset=True, **options).shape[1:]

    assert shape(784) == (28, 28)
    assert shape(1) == (1, 1)
    assert shape(10) == (10, 1)
    assert shape(12, image_shape=(2, 2, 3)) == (2, 2, 3)
    assert shape(16, volumes=True) == (16, 1, 1)
    assert shape(24, image_shape=(2, 3, 4), volumes=True) == (2, 3, 4)
    # After a fit, its shape counts.
    images = validate_images(fitted((2, 8)), np.zeros((5, 16)), reset=False)
    assert images.shape == (5, 2, 8)


def test_volumes():
    model = Model()
    X = np.zeros((2, 3, 4, 5, 3), np.uint8)
    assert validate_images(model, X, reset=True, volumes=True) is X
    assert model.image_shape_ == (3, 4, 5, 3)


def test_feature_names():
    pd = pytest.importorskip("pandas")
    model = Model()
    table = pd.DataFrame(np.zeros((2, 4)), columns=list("abcd"))
    validate_images(model, table, reset=True)
    assert list(model.feature_names_in_) == list("abcd")
    with pytest.raises(ValueError, match="feature names should match"):
        validate_images(model, table[list("dcba")], reset=False)
    # Images have no feature names, so a fit removes earlier names.
    validate_images(model, np.zeros((2, 4, 4)), reset=True)
    assert not hasattr(model, "feature_names_in_")


def object_array(*values):
    array = np.empty(len(values), object)
    array[:] = values
    return array


def test_object_array_of_equal_images():
    X = object_array(*np.ones((3, 4, 6), np.uint8))
    images = validate_images(Model(), X, reset=True)
    assert images.shape == (3, 4, 6)
    assert images.dtype == np.uint8


def with_bad_pixels():
    X = np.zeros((10, 4, 6))
    X[4, 0, :2] = np.nan
    X[7, 3, 5] = -np.inf
    return X


RAGGED = [np.zeros((4, 6)), np.zeros((4, 6)), np.zeros((4, 7))]

BAD = [
    # rank
    (
        np.zeros(5),
        {},
        r"Reshape your data: X must be images of .*, or flat \(n, n_features\); got an "
        r"array of shape \(5,\)",
    ),
    (np.float64(3), {}, "X must be images of .* got one value of type float64"),
    (None, {}, "X must be images of .* got one value of type NoneType"),
    (
        np.zeros((1, 2, 3, 4, 5)),
        {},
        r"X must be images of \(n, height, width\) or \(n, height, width, channels\), "
        r"or flat \(n, n_features\); got an array of shape \(1, 2, 3, 4, 5\)",
    ),
    (np.zeros((1, 2, 3)), {"volumes": True}, r"X must be volumes of \(n, depth, "),
    # sizes
    (
        RAGGED,
        {},
        r"its images differ in size \(X\[0\] is \(4, 6\), X\[2\] is \(4, 7\)\); resize",
    ),
    ([np.zeros((4, 6)), np.zeros((5, 7))], {}, r"X\[1\] is \(5, 7\)"),
    (object_array(*RAGGED), {}, r"X\[2\] is \(4, 7\)"),
    (
        [[[1, 2], [3, 4]], [[1, 2], [3]]],
        {},
        "differ in size or have rows of different lengths",
    ),
    (
        np.zeros((3, 4, 6)),
        {"image_shape": (6, 4)},
        r"image_shape=\(6, 4\) does not fit X, whose images are \(4, 6\)",
    ),
    (
        np.zeros((3, 100)),
        {"image_shape": (28, 28)},
        r"image_shape=\(28, 28\) makes 784 values an image, but X has 100 features",
    ),
    (
        np.zeros((3, 8)),
        {"image_shape": (2, 2, 3), "volumes": True},
        r"volume_shape=\(2, 2, 3\) makes 12 values",
    ),
    (np.zeros((3, 8)), {"image_shape": (8,)}, r"image_shape must be \(height, width\)"),
    (np.zeros((3, 8)), {"image_shape": 8}, r"image_shape must be .*; got 8"),
    (np.zeros((3, 8)), {"image_shape": (8, True)}, "in positive whole numbers"),
    # empty
    (np.zeros((0, 4, 6)), {}, r"0 sample\(s\) \(shape=\(0, 4, 6\)\) while a minimum"),
    (np.zeros((0, 4)), {}, r"0 sample\(s\)"),
    ([], {}, r"0 sample\(s\) \(shape=\(0,\)\) while a minimum of 1 is required by"),
    (np.zeros((3, 0)), {}, r"0 feature\(s\)"),
    (np.zeros((3, 0, 6)), {}, r"X has images of \(0, 6\), which hold no pixel"),
    (
        np.zeros((3, 4, 6)),
        {"ensure_min_samples": 5},
        r"3 sample\(s\) .* minimum of 5 is required by Model",
    ),
    # values
    (
        with_bad_pixels(),
        {},
        r"contains NaN or infinity: 3 values in 2 of 10 images, first in X\[4\]",
    ),
    (with_bad_pixels().astype(np.float16), {}, r"first in X\[4\]"),
    (with_bad_pixels().transpose(0, 2, 1), {}, r"first in X\[4\]"),
    (with_bad_pixels().reshape(10, 24), {}, r"3 values in 2 of 10 .* in X\[4\]"),
    (with_bad_pixels().reshape(10, 24).tolist(), {}, r"2 of 10 images, .* X\[4\]"),
    (np.full((2, 4), np.inf, np.float16), {}, "contains NaN or infinity: 8 values"),
    ([[1, None], [2, 3]], {}, r"1 values in 1 of 2 images, first in X\[0\]"),
    # dtypes
    (np.zeros((3, 4, 6), complex), {}, "Complex data not supported: X is complex128"),
    (np.zeros((3, 4), complex), {}, "Complex data not supported: X is complex128"),
    (np.zeros((3, 4, 6), object), {}, "X has dtype object, but pixels must be numbers"),
    (np.zeros((3, 4, 6), "M8[s]"), {}, "but pixels must be numbers or bool"),
    (np.zeros((3, 4), "M8[s]"), {}, "but pixels must be numbers or bool"),
    (["a.png", "b.png"], {}, "X holds strings, not pixels; .* read them with Image"),
    (np.array([["a", "b"]]), {}, "X holds strings"),
    ([Path("a.png")], {}, "X holds strings"),
]


@pytest.mark.parametrize(("X", "options", "message"), BAD)
def test_bad_input(X, options, message):
    model = Model()
    with pytest.raises(ValueError, match=message) as info:
        validate_images(model, X, reset=True, **options)
    assert vars(model) == {}
    text = str(info.value)
    assert text.endswith(".")
    assert "\n" not in text
    assert not re.search(r"[.!?] [A-Z]", text)  # one sentence
    assert len(text) < 250
    # An error does not change a fitted estimator.
    model = fitted((3, 3))
    before = dict(vars(model))
    with pytest.raises(ValueError, match=message):
        validate_images(model, X, reset=True, **options)
    assert vars(model) == before


@pytest.mark.parametrize(
    ("X", "message"),
    [
        (
            np.zeros((2, 6, 4)),
            r"X holds images of \(6, 4\), but Model was fitted on images of \(4, 6\)",
        ),
        (np.zeros((2, 4, 6, 1)), r"X holds images of \(4, 6, 1\)"),
        (
            np.zeros((2, 23)),
            "X has 23 features, but Model is expecting 24 features as input",
        ),
    ],
)
def test_other_size_than_fitted(X, message):
    with pytest.raises(ValueError, match=message):
        validate_images(fitted((4, 6)), X, reset=False)


@pytest.mark.parametrize(
    ("shape", "one", "found"),
    [
        ((4, 6), (4, 6), r"image of \(4, 6\)"),
        ((4, 6, 3), (4, 6, 3), r"image of \(4, 6, 3\)"),
        ((4, 6, 3), (4, 6), r"image of \(4, 6\)"),
        ((5, 1), (5, 1), r"image of \(5, 1\)"),
        ((2, 4, 6), (2, 4, 6), r"volume of \(2, 4, 6\)"),
        ((2, 4, 6, 3), (2, 4, 6, 3), r"volume of \(2, 4, 6, 3\)"),
    ],
)
def test_one_image_is_no_batch(shape, one, found):
    volumes = {"volumes": "volume" in found}
    model = fitted(shape, **volumes)
    before = dict(vars(model))
    message = rf"^X is one {found}: put it into a batch, X\[None\]\.$"
    for X in (np.zeros(one), np.zeros(one).tolist()):
        with pytest.raises(ValueError, match=message):
            validate_images(model, X, reset=False, **volumes)
    assert vars(model) == before
    # Follow the advice of the message.
    if one == shape:
        validate_images(model, np.zeros(one)[None], reset=False, **volumes)


def test_batches_that_look_like_one_image():
    # The input is one flat image.
    assert validate_images(fitted((1, 6)), np.ones((1, 6)), reset=False).all()
    # Without a fit, there is no shape to compare with.
    with pytest.raises(ValueError, match="got one value of type float64"):
        validate_images(Model(), np.float64(3), reset=False)
    # A new fit ignores the shape of the old one.
    model = fitted((8, 8))
    assert validate_images(model, np.ones((8, 8)), reset=True).shape == (8, 8, 1)


@pytest.mark.parametrize("kind", [sparse.csr_array, sparse.coo_matrix])
def test_sparse(kind):
    message = r"^X is sparse, but images must be dense: use X\.toarray\(\)\.$"
    with pytest.raises(TypeError, match=message):
        validate_images(Model(), kind(np.eye(4)), reset=True)


def test_finite_check_can_be_left_to_the_caller():
    X = with_bad_pixels()
    assert validate_images(Model(), X, reset=True, check_finite=False) is X
    flat = X.reshape(10, -1)
    images = validate_images(Model(), flat, reset=True, check_finite=False)
    assert np.shares_memory(images, X)


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64", "longdouble"])
@pytest.mark.parametrize("layout", ["C", "F"])
def test_all_finite(dtype, layout):
    # The largest values overflow in a sum, although they are finite.
    X = np.full((30, 7, 5), np.finfo(dtype).max, dtype=dtype, order=layout)
    X[1] = -X[1]
    assert all_finite(X)
    for bad in (np.nan, np.inf, -np.inf):
        for place in [(0, 0, 0), (29, 6, 4), (13, 3, 2)]:
            Y = X.copy(order="K")
            Y[place] = bad
            assert not all_finite(Y)
    Y[0, 0, 0] = np.inf  # The sum of both infinities is NaN.
    assert not all_finite(Y)


def test_all_finite_in_more_than_one_batch():
    X = np.zeros((40, 300, 300), np.float16)
    assert all_finite(X)
    X[39, 299, 299] = np.nan
    assert not all_finite(X)


@pytest.mark.parametrize("item_bytes", [0, 1, 10, 1000])
def test_batches(item_bytes):
    parts = list(batches(25, item_bytes, 100))
    assert np.concatenate([np.arange(25)[part] for part in parts]).tolist() == list(
        range(25)
    )
    if item_bytes == 10:
        assert [part.stop - part.start for part in parts] == [10, 10, 10]


def test_unchanged_on_error():
    model = Model()
    model.kept_, model.removed_ = 1, 2

    def change(error=None):
        model.kept_, model.new_ = 3, 4
        del model.removed_
        if error:
            raise error

    with pytest.raises(KeyboardInterrupt), unchanged_on_error(model):
        change(KeyboardInterrupt)
    assert vars(model) == {"kept_": 1, "removed_": 2}
    with unchanged_on_error(model):
        change()
    assert vars(model) == {"kept_": 3, "new_": 4}


def test_other_threads_see_all_attributes_while_they_are_put_back():
    class Value:
        """Object whose deletion can be observed."""

    model = Model()
    model.kept_ = 1
    seen = []

    def watched():
        value = Value()
        # This runs when the new attribute is removed.
        weakref.finalize(value, lambda: seen.append(dict(vars(model))))
        return value

    with pytest.raises(ValueError), unchanged_on_error(model):  # noqa: PT012
        model.new_ = watched()
        raise ValueError
    assert len(seen) == 1
    assert seen[0]["kept_"] == 1


def test_a_check_without_reset_does_not_touch_the_estimator(monkeypatch):
    model = fitted((6, 6))
    before = vars(model).copy()
    monkeypatch.setattr("sklstm.images._validate.unchanged_on_error", None)
    assert validate_images(model, np.zeros((2, 6, 6)), reset=False).shape == (2, 6, 6)
    with pytest.raises(ValueError, match="fitted on images of"):
        validate_images(model, np.zeros((2, 6, 7)), reset=False)
    assert vars(model) == before
