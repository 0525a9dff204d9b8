"""Changes of images: what they do, what they keep, what they refuse."""

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from sklstm.model_selection import change_images
from sklstm.model_selection._image_changes import CHANGES, ImageBatch, check_changes

KINDS = list(CHANGES)


@pytest.fixture
def X():
    rng = np.random.default_rng(0)
    smooth = np.cumsum(np.cumsum(rng.normal(size=(6, 16, 20)), axis=1), axis=2)
    smooth -= smooth.min()
    return (255 * smooth / smooth.max()).astype(np.uint8)


@pytest.mark.parametrize("change", KINDS)
@pytest.mark.parametrize("dtype", ["uint8", "float32", "float64", "uint16", "int16"])
def test_severity_zero_keeps_each_pixel_and_others_keep_the_type(X, change, dtype):
    X = X.astype(dtype)
    same = change_images(X, change, 0, random_state=0)
    assert_array_equal(same, X)
    assert same is not X
    changed = change_images(X, change, CHANGES[change].severities[-1], random_state=0)
    assert changed.dtype == X.dtype
    assert changed.shape == X.shape
    assert (changed != X).any()


@pytest.mark.parametrize("change", KINDS)
def test_more_severity_is_more_change(X, change):
    X = X.astype(float)
    differences = [
        np.abs(change_images(X, change, severity, random_state=3) - X).mean()
        for severity in CHANGES[change].severities
    ]
    assert differences[0] == 0
    assert (np.diff(differences) > 0).all(), differences


@pytest.mark.parametrize("change", KINDS)
def test_layouts_agree(X, change):
    severity = CHANGES[change].severities[2]
    expected = change_images(X, change, severity, random_state=1)
    shape = X.shape[1:]
    flat = change_images(
        X.reshape(6, -1), change, severity, image_shape=shape, random_state=1
    )
    assert_array_equal(flat, expected.reshape(6, -1))
    with_axis = change_images(X[..., None], change, severity, random_state=1)
    assert_array_equal(with_axis[..., 0], expected)


@pytest.mark.parametrize("change", KINDS)
def test_an_image_is_changed_alike_whatever_the_others_are(X, change):
    severity = CHANGES[change].severities[3]
    batch = ImageBatch(X)
    whole = batch.changed(np.arange(6), change, severity, 7)
    assert_array_equal(
        batch.changed(np.array([4, 1]), change, severity, 7), whole[[4, 1]]
    )
    again = batch.changed(np.arange(6), change, severity, 7, repeat=1)
    assert (again != whole).any() == CHANGES[change].is_random


def test_directions():
    X = np.zeros((40, 21, 21))
    X[:, 10, 15] = 1.0
    turned = change_images(X, "rotation", 90, random_state=0)
    places = {tuple(np.argwhere(image > 0.9)[0].tolist()) for image in turned}
    assert places == {(5, 10), (15, 10)}  # to the left and to the right
    moved = change_images(X, "shift", 3 / 21, random_state=0, fill="constant")
    rows, columns = np.mgrid[:21, :21]
    for image in moved:
        centre = [(image * rows).sum(), (image * columns).sum()] / image.sum()
        assert np.hypot(*(centre - [10, 15])) == pytest.approx(3, abs=0.05)
    X = np.zeros((40, 21, 21))
    X[:, 10, 14] = 1.0
    scaled = change_images(X, "scale", 1.0, random_state=0)
    columns = {int(np.argwhere(image == 1.0)[0, 1]) for image in scaled}
    assert columns == {12, 18}  # shrunk and enlarged


def test_amounts(X):
    X = X.astype(float)
    noisy = change_images(X, "noise", 0.1, value_range=(-999, 999), random_state=0)
    assert (noisy - X).std() == pytest.approx(0.1 * X.std(), rel=0.05)
    pale = change_images(X, "contrast", 0.75)
    means = X.mean(axis=(1, 2), keepdims=True)
    assert_allclose(pale - means, 0.25 * (X - means), atol=1e-9)
    blurred = change_images(X, "blur", 0.1)
    assert_allclose(blurred.mean(), X.mean(), rtol=0.05)


def test_jpeg_reads_red_green_and_blue():
    X = np.zeros((1, 16, 16, 3), np.uint8)
    X[..., 0] = 250
    found = change_images(X, "jpeg", 30)
    assert abs(found[..., 0].astype(int) - 250).max() < 12
    assert found[..., 1:].max() < 12
    four = np.repeat(X[..., :1], 4, axis=-1)
    four[:, 8:] = 10
    difference = change_images(four, "jpeg", 10).astype(int) - four
    assert abs(difference).max() < 12


def test_noise_and_jpeg_stay_in_the_range(X):
    for value_range in (None, (0, 300)):
        noisy = change_images(
            X.astype(float), "noise", 2, value_range=value_range, random_state=0
        )
        assert noisy.min() == 0
        assert noisy.max() == (X.max() if value_range is None else 300)


def test_a_table_stays_a_table():
    pd = pytest.importorskip("pandas")
    rng = np.random.default_rng(0)
    table = pd.DataFrame(rng.uniform(size=(5, 64)), index=list("abcde"))
    table.columns = [f"p{i}" for i in range(64)]
    found = change_images(table, "rotation", 30, random_state=0)
    assert found.columns.equals(table.columns)
    assert found.index.equals(table.index)
    expected = change_images(table.to_numpy(), "rotation", 30, random_state=0)
    assert_array_equal(found.to_numpy(), expected)


def test_the_callers_state_stays(X):
    before = np.random.get_state()[1].copy()  # noqa: NPY002
    change_images(X, "noise", 0.5, random_state=0)
    assert_array_equal(np.random.get_state()[1], before)  # noqa: NPY002


@pytest.mark.parametrize(
    ("how", "message"),
    [
        ({"change": "tilt"}, "change='tilt' must be one of rotation, shift"),
        ({"severity": -1}, "severity: -1 must be a number from 0 to 180"),
        ({"change": "jpeg", "severity": 2.5}, "must be a whole number from 0 to 99"),
        ({"change": "noise", "severity": np.inf}, "must be a number of at least 0"),
        ({"fill": "mirror"}, "fill='mirror' must be 'nearest', 'reflect' or"),
        ({"value_range": (0, 100)}, "beyond value_range"),
        ({"X": np.zeros((3, 8, 8))}, "All pixels of X are 0"),
        ({"X": np.eye(8)[None] > 0}, "whole numbers or bool from 0 to 1"),
        ({"X": np.eye(8, dtype=np.uint8)[None]}, "uint8 with values from 0 to 1 only"),
        ({"X": np.zeros((3, 70))}, "70 features, which make no square image"),
        ({"X": np.zeros((3, 8, 8, 8))}, "could hold volumes"),
    ],
)
def test_what_cannot_be_changed(X, how, message):
    settings = {"X": X, "change": "rotation", "severity": 10, **how}
    with pytest.raises(ValueError, match=message):
        change_images(**settings)


def test_which_changes():
    assert list(check_changes(None)) == KINDS
    found = check_changes({"noise": [0.5, 0.1, 0.5], "jpeg": None})
    assert_array_equal(found["noise"], [0, 0.1, 0.5])
    assert_array_equal(found["jpeg"], CHANGES["jpeg"].severities)
    for bad, message in (
        ("tilt", "'tilt' is unknown"),
        ([], "must be a name, a list of names"),
        ({"noise": 0.1}, "must be a list of severities"),
        ({"noise": [0]}, "must hold a severity above 0"),
    ):
        with pytest.raises(ValueError, match=message):
            check_changes(bad)
