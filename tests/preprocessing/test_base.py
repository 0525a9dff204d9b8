"""Properties of all sequencers."""

import pickle
import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.base import clone
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import FunctionTransformer
from sklearn.utils.estimator_checks import parametrize_with_checks

from sklstm import PatchSequencer, RowSequencer, VolumeSequencer

DTYPES = "bool uint8 int16 uint16 int64 uint64 float16 float32 float64 >f4".split()

pytestmark = pytest.mark.filterwarnings(
    # The check of array libraries is skipped, because SCIPY_ARRAY_API is not set.
    "ignore::sklearn.exceptions.SkipTestWarning"
)


def default_sequencers():
    return [RowSequencer(), PatchSequencer(), VolumeSequencer()]


def sequencers():
    """Return one sequencer of each kind of scan."""
    return [
        *default_sequencers(),
        RowSequencer(sequence_length=5, axis="columns", order="snake"),
        RowSequencer(order="backward"),
        PatchSequencer(patch_size=(4, 3), stride=(2, 3), order="snake"),
        PatchSequencer(patch_size=3, stride=2, order="hilbert"),
        VolumeSequencer(axis="height"),
        VolumeSequencer(axis=None, order="snake"),
    ]


def checked_sequencers():
    """Return sequencers without patches that are larger than the data of the checks."""
    return [
        *(s for s in sequencers() if not isinstance(s, PatchSequencer)),
        PatchSequencer(),
        *(PatchSequencer(1, 1, order) for order in ("raster", "snake", "hilbert")),
    ]


@parametrize_with_checks(checked_sequencers())
def test_common_checks(estimator, check):
    check(estimator)


def small_patches(order="raster"):
    return PatchSequencer(patch_size=3, stride=2, order=order)


@st.composite
def sequencers_and_shapes(draw):
    """Draw a sequencer and the shape of images that it can read."""
    kind = draw(st.sampled_from(["rows", "patches", "slices", "cubes"]))
    n_axes = 2 if kind in ("rows", "patches") else 3
    shape = tuple(draw(st.integers(1, 9)) for _ in range(n_axes))
    sizes = tuple(draw(st.integers(1, side)) for side in shape)
    strides = tuple(draw(st.integers(1, size)) for size in sizes)
    if kind == "rows":
        sequencer = RowSequencer(
            sequence_length=draw(st.none() | st.integers(1, 20)),
            axis=draw(st.sampled_from(["rows", "columns"])),
            order=draw(st.sampled_from(["forward", "backward", "snake"])),
        )
    elif kind == "patches":
        order = draw(st.sampled_from(["raster", "snake", "hilbert"]))
        sequencer = PatchSequencer(sizes, strides, order)
    elif kind == "cubes":
        order = draw(st.sampled_from(["forward", "backward", "snake"]))
        sequencer = VolumeSequencer(None, sizes, strides, order)
    else:
        axis = draw(st.integers(0, 2))
        sequencer = VolumeSequencer(
            ["depth", "height", "width"][axis],
            sizes[axis],
            draw(st.none() | st.just(strides[axis])),
            draw(st.sampled_from(["forward", "backward"])),
        )
    channels = draw(st.sampled_from([(), (1,), (3,)]))
    return sequencer, (*shape, *channels), n_axes


def random_images(shape, dtype, seed=0):
    rng = np.random.default_rng(seed)
    if np.dtype(dtype).kind == "f":
        return rng.normal(size=shape).astype(dtype)
    return rng.integers(0, 2**64, shape, np.uint64, endpoint=False).astype(dtype)


LAYOUTS = {
    "C": np.ascontiguousarray,
    "Fortran": np.asfortranarray,
    "every other": lambda x: np.repeat(x, 2, axis=-1)[..., ::2],
    "mirrored": lambda x: np.ascontiguousarray(x[..., ::-1])[..., ::-1],
}


@settings(max_examples=300)
@given(
    case=sequencers_and_shapes(),
    dtype=st.sampled_from(DTYPES),
    layout=st.sampled_from(list(LAYOUTS)),
    n=st.integers(1, 3),
    flat=st.booleans(),
)
def test_every_scan(case, dtype, layout, n, flat):
    sequencer, shape, n_axes = case
    images = LAYOUTS[layout](random_images((n, *shape), dtype))
    images.flags.writeable = False
    if flat:
        images = images.reshape(n, -1)
        sequencer.set_params(**{sequencer._shape_parameter: shape})
    sequences = sequencer.fit_transform(images)
    index_map = sequencer.index_map_

    # Each pixel is read, and nothing else.
    n_pixels = np.prod(shape[:n_axes])
    np.testing.assert_array_equal(np.unique(index_map), np.arange(n_pixels))
    assert index_map.dtype == np.int64
    np.testing.assert_array_equal(index_map, clone(sequencer).get_index_map(shape))
    assert index_map.shape == (sequencer.n_steps_, sequencer.n_pixels_per_step_)
    assert sequencer.image_shape_ == shape

    # The sequence follows the map, keeps values and dtype, and is a new array.
    pixels = images.reshape(n, n_pixels, -1)
    expected = pixels[:, index_map].reshape(n, sequencer.n_steps_, -1)
    np.testing.assert_array_equal(sequences, expected)
    assert sequences.dtype == images.dtype
    assert sequences.flags.c_contiguous
    assert sequences.flags.writeable
    assert not np.shares_memory(sequences, images)
    names = sequencer.get_feature_names_out()
    assert len(set(names)) == len(names) == sequences[0].size

    # The inverse gives the same bits.
    back = sequencer.inverse_transform(sequences)
    assert back.shape == images.shape
    assert back.dtype == images.dtype
    np.testing.assert_array_equal(back, images)

    # The pixels of a step get its value, averaged over the steps that share them.
    painted = sequencer.steps_to_image(np.eye(sequencer.n_steps_))
    assert painted.shape == (sequencer.n_steps_, *shape[:n_axes])
    counts = np.bincount(index_map.ravel(), minlength=n_pixels)
    painted = painted.reshape(sequencer.n_steps_, -1)
    for step, row in enumerate(index_map):
        own = np.bincount(row, minlength=n_pixels) / counts
        np.testing.assert_allclose(painted[step], own, rtol=1e-12)


def test_batches_join_without_a_seam():
    # The images are larger than a batch of 2 MiB.
    images = random_images((30, 200, 200), np.float32)
    for sequencer in (RowSequencer(), PatchSequencer(), PatchSequencer(stride=7)):
        sequences = sequencer.fit_transform(images)
        expected = images.reshape(30, -1)[:, sequencer.index_map_]
        np.testing.assert_array_equal(sequences, expected)
        np.testing.assert_array_equal(sequencer.inverse_transform(sequences), images)


@pytest.mark.parametrize("order", ["raster", "hilbert"])
def test_transform_allocates_little_more_than_its_output(order):
    images = random_images((20, 256, 256), np.float32)
    sequencer = PatchSequencer(order=order).fit(images)
    tracemalloc.start()
    sequences = sequencer.transform(images)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert images.nbytes + peak <= 1.1 * (images.nbytes + sequences.nbytes)


def test_channels_join_the_features_of_their_pixel():
    images = random_images((2, 4, 5, 3), np.uint8)
    sequences = RowSequencer().fit_transform(images)
    assert sequences.shape == (2, 4, 15)
    assert sequences[1, 2, 4 * 3 + 1] == images[1, 2, 4, 1]


def test_feature_names():
    names = RowSequencer().fit(np.zeros((1, 2, 2))).get_feature_names_out()
    assert names.tolist() == [
        "step0_pixel0", "step0_pixel1", "step1_pixel0", "step1_pixel1"
    ]  # fmt: skip
    names = RowSequencer().fit(np.zeros((1, 1, 2, 2))).get_feature_names_out()
    assert names[2] == "step0_pixel1_channel0"
    sequencer = RowSequencer().fit(np.zeros((1, 2, 2)))
    assert len(sequencer.get_feature_names_out(["a"] * 4)) == 4
    with pytest.raises(ValueError, match=r"should have length equal .*\(4\), got 3"):
        sequencer.get_feature_names_out(["a"] * 3)


def test_feature_names_of_a_table():
    pd = pytest.importorskip("pandas")
    table = pd.DataFrame(np.zeros((2, 4)), columns=list("abcd"))
    sequencer = RowSequencer().fit(table)
    assert len(sequencer.get_feature_names_out(table.columns)) == 4
    for other in (list("abdc"), list("abc")):
        with pytest.raises(ValueError, match="not equal to feature_names_in_"):
            sequencer.get_feature_names_out(other)


def test_no_table_output():
    for sequencer in default_sequencers():
        assert not hasattr(sequencer, "set_output")
    with pytest.raises(ValueError, match="Unable to configure output for RowSequencer"):
        make_pipeline(RowSequencer()).set_output(transform="pandas")


@pytest.mark.parametrize("sequencer", sequencers(), ids=str)
def test_pickle_keeps_everything(sequencer):
    X = random_images((3, 1024), np.float32)
    sequences = sequencer.fit_transform(X)
    copy = pickle.loads(pickle.dumps(sequencer))
    np.testing.assert_array_equal(copy.transform(X), sequences)
    np.testing.assert_array_equal(copy.inverse_transform(sequences), X)


def test_pipeline_there_and_back():
    X = random_images((4, 36), np.float64)
    half = FunctionTransformer(np.negative, np.negative, check_inverse=False)
    pipeline = Pipeline([("half", half), ("sequences", small_patches())])
    np.testing.assert_array_equal(
        pipeline.inverse_transform(pipeline.fit_transform(X)), X
    )


def test_flat_and_images_are_interchangeable_after_fit():
    images = random_images((3, 6, 4), np.uint8)
    flat = images.reshape(3, -1)
    sequencer = RowSequencer().fit(images)
    np.testing.assert_array_equal(
        sequencer.transform(flat), sequencer.transform(images)
    )
    sequencer = RowSequencer(image_shape=(6, 4)).fit(flat)
    np.testing.assert_array_equal(sequencer.transform(images), images)


def test_flat_without_shape():
    assert RowSequencer().fit(np.zeros((2, 16))).image_shape_ == (4, 4)
    assert RowSequencer().fit_transform(np.zeros((2, 15))).shape == (2, 15, 1)
    assert VolumeSequencer().fit_transform(np.zeros((2, 16))).shape == (2, 16, 1)


@pytest.mark.parametrize("kind", ["list", "nested", "memmap", "read-only"])
def test_containers(kind, tmp_path):
    images = random_images((3, 6, 4), np.uint8)
    if kind == "list":
        X = list(images)
    elif kind == "nested":
        X = images.tolist()
    elif kind == "memmap":
        images.tofile(tmp_path / "images")
        X = np.memmap(tmp_path / "images", np.uint8, "r", shape=images.shape)
    else:
        X = images.view()
        X.flags.writeable = False
    np.testing.assert_array_equal(RowSequencer().fit_transform(X), images)


class Counted:
    """Object that counts its conversions to an array."""

    def __init__(self, array):
        self.array, self.n_times = array, 0

    def __array__(self, dtype=None, copy=None):
        self.n_times += 1
        return np.array(self.array, dtype)


@pytest.mark.parametrize("shape", [(3, 6, 4), (3, 16)])
def test_fit_makes_one_array_of_its_input(shape):
    X = Counted(random_images(shape, np.uint8))
    sequencer = RowSequencer().fit(X)
    assert X.n_times == 1
    back = sequencer.inverse_transform(sequencer.transform(X))
    np.testing.assert_array_equal(back, X.array)


def test_fit_makes_one_array_of_a_table(monkeypatch):
    pd = pytest.importorskip("pandas")
    X = pd.DataFrame(np.zeros((3, 16)))
    n_times = []
    whole = pd.DataFrame.__array__

    def count(table, *args, **kwargs):
        n_times.append(1)
        return whole(table, *args, **kwargs)

    monkeypatch.setattr(pd.DataFrame, "__array__", count)
    sequencer = RowSequencer().fit(X)
    assert len(n_times) == 1
    assert sequencer.inverse_transform(np.zeros((2, 4, 4))).shape == (2, 16)


def test_steps_to_image():
    sequencer = RowSequencer(sequence_length=2).fit(np.zeros((1, 3, 2, 3), np.uint8))
    attention = np.array([[0.25, 0.75]], np.float32)
    image = sequencer.steps_to_image(attention)
    assert image.dtype == np.float32
    assert image.tolist() == [[[0.25] * 2, [0.5] * 2, [0.75] * 2]]
    # Each step has a row of values. Integers become floats, because means need them.
    probabilities = np.array([[[1, 0], [0, 1]]])
    image = sequencer.steps_to_image(probabilities)
    assert image.shape == (1, 3, 2, 2)
    assert image.dtype == np.float64
    assert image[0, :, 0].tolist() == [[1, 0], [0.5, 0.5], [0, 1]]


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda s: s.inverse_transform(np.zeros((2, 6, 5))),
            r"X must be sequences of \(n, 6, 4\), .* got an array of shape \(2, 6, 5\)",
        ),
        (
            lambda s: s.inverse_transform(np.zeros((2, 6, 4), complex)),
            "X has dtype complex128, but must hold real numbers or bool",
        ),
        (
            lambda s: s.steps_to_image(np.zeros((2, 5))),
            r"values must have one entry for each of the 6 steps, \(n, 6\) or "
            r"\(n, 6, n_values\); got an array of shape \(2, 5\)",
        ),
        (
            lambda s: s.steps_to_image(np.array([["a"] * 6])),
            "values has dtype <U1, but must hold real numbers",
        ),
        (
            lambda s: s.transform(np.zeros((2, 5, 4))),
            r"X holds images of \(5, 4\), but RowSequencer was fitted on images of "
            r"\(6, 4\); resize them",
        ),
        (
            lambda s: s.get_index_map((5,)),
            r"image_shape must be \(height, width\) or \(height, width, channels\) in "
            r"positive whole numbers; got \(5,\)",
        ),
    ],
)
def test_bad_calls(call, message):
    sequencer = RowSequencer().fit(np.zeros((2, 6, 4)))
    with pytest.raises(ValueError, match=message):
        call(sequencer)


def test_not_finite_in_transform_of_flat_input():
    sequencer = RowSequencer().fit(np.zeros((1, 16)))
    X = np.zeros((20, 16))
    X[12, 3] = np.inf
    with pytest.raises(ValueError, match=r"1 values in 1 of 20 .* first in X\[12\]"):
        sequencer.transform(X)


def test_not_finite_in_transform():
    sequencer = RowSequencer().fit(np.zeros((1, 300, 300), np.float32))
    X = np.zeros((20, 300, 300), np.float32)
    X[12, 1, 2] = np.nan
    X[17, :2, 0] = np.inf
    message = r"3 values in 2 of 20 images, first in X\[12\]"
    with pytest.raises(ValueError, match=message):
        sequencer.transform(X)
    with pytest.raises(ValueError, match=message):
        sequencer.fit(X)


@pytest.mark.parametrize("fitted", [False, True])
def test_failed_fit_leaves_the_sequencer_as_it_was(fitted):
    sequencer = PatchSequencer(patch_size=4, stride=2)
    if fitted:
        sequencer.fit(np.zeros((2, 8, 8)))
    before = dict(vars(sequencer))
    with pytest.raises(ValueError, match="is larger than the images"):
        sequencer.fit(np.zeros((2, 3, 8)))
    assert vars(sequencer) == before


def test_parameters_are_left_as_given():
    size = [3, 2]
    sequencer = PatchSequencer(patch_size=size, stride=1)
    sequencer.fit(np.zeros((1, 5, 5)))
    assert sequencer.patch_size is size
    assert size == [3, 2]
