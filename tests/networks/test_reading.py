"""How networks read images: the scan in the graph, grey levels, what comes before."""

import base64
import json
import math
import zlib

from sklstm._keras import keras

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from sklstm import PatchSequencer, RowSequencer, VolumeSequencer
from sklstm._index_map import aligned_unit
from sklstm.networks import (
    HyperNoise,
    PixelEmbedding,
    Scan,
    Standardize,
    lstm,
    read_input,
)
from sklstm.networks.initialize import initialize


def to_numpy(x):
    return keras.ops.convert_to_numpy(x)


def images_of(*shape, n=3):
    rng = np.random.default_rng(0)
    return rng.integers(0, 256, (n, *shape)).astype("float32")


def same_bits(a, b):
    assert a.dtype == b.dtype == np.float32
    assert a.shape == b.shape
    assert a.tobytes() == b.tobytes()


# --- Scan ---------------------------------------------------------------------------

SCANS = {
    "rows": (RowSequencer(), (8, 6)),
    "rows in color": (RowSequencer(), (8, 6, 3)),
    "windows": (RowSequencer(sequence_length=3), (8, 6)),
    "windows in color": (RowSequencer(sequence_length=5), (8, 6, 3)),
    "more windows than rows": (RowSequencer(sequence_length=11), (8, 6)),
    "columns": (RowSequencer(axis="columns"), (8, 6)),
    "columns in color": (RowSequencer(axis="columns"), (8, 6, 3)),
    "windows of columns": (RowSequencer(4, axis="columns"), (8, 6)),
    "backward": (RowSequencer(order="backward"), (8, 6)),
    "snake": (RowSequencer(order="snake"), (8, 6)),
    "snake of columns": (RowSequencer(axis="columns", order="snake"), (8, 6, 3)),
    "patches": (PatchSequencer(4, 2), (8, 12)),
    "patches in color": (PatchSequencer(4, 2), (8, 12, 3)),
    "side by side": (PatchSequencer(4, 4), (8, 8)),
    "aligned to the border": (PatchSequencer((3, 4), (2, 3)), (8, 9)),
    "patches in a snake": (PatchSequencer(3, 2, order="snake"), (9, 7)),
    "patches on a curve": (PatchSequencer(2, 2, order="hilbert"), (8, 8, 2)),
    "one patch": (PatchSequencer(8, 8), (8, 8)),
    "slices": (VolumeSequencer(), (4, 5, 6)),
    "slices in color": (VolumeSequencer(step_size=2, stride=1), (4, 5, 6, 3)),
    "slices along the width": (VolumeSequencer(axis="width"), (4, 5, 6)),
    "slices backward": (VolumeSequencer(axis="height", order="backward"), (4, 5, 6)),
    "cubes": (VolumeSequencer(None, 2), (4, 5, 6)),
    "cubes that overlap": (VolumeSequencer(None, (2, 3, 2), (1, 2, 2)), (4, 5, 6, 2)),
    "cubes in a snake": (VolumeSequencer(None, 2, order="snake"), (4, 6, 6)),
}


@pytest.mark.parametrize("name", SCANS)
def test_scan_is_transform_to_the_bit(name):
    sequencer, shape = SCANS[name]
    images = images_of(*shape)
    expected = sequencer.fit_transform(images)
    n_axes = 3 if isinstance(sequencer, VolumeSequencer) else 2
    if len(shape) == n_axes:
        images = images[..., None]
    layer = Scan(sequencer.index_map_)
    same_bits(to_numpy(layer(images)), expected)
    assert layer.compute_output_shape((None, *images.shape[1:])) == (
        None,
        *expected.shape[1:],
    )
    assert layer.weights == []


def test_scan_within_a_graph_and_with_all_floats():
    images = np.random.default_rng(0).normal(0, 1e9, (5, 8, 6, 2)).astype("float32")
    images[0, 0, :3, 0] = np.finfo("float32").max, np.finfo("float32").tiny, -0.0
    sequencer = PatchSequencer(4, 2).fit(images)
    inputs = keras.Input((8, 6, 2))
    model = keras.Model(inputs, Scan(sequencer.index_map_)(inputs))
    assert model.output_shape == (None, sequencer.n_steps_, 32)
    same_bits(model.predict_on_batch(images), sequencer.transform(images))


@pytest.mark.parametrize("n_channels", [1, 2])
@pytest.mark.parametrize(
    "index_map",
    [
        # At the start, at the end, in runs, and where 0 follows -1.
        [[-1, 0, 1, 2], [3, 4, 5, -1]],
        [[4, 5, -1, -1], [-1, -1, 0, 1]],
        [[0, 1, 2, 3], [4, 5, -1, -1]],
        [[-1, -1, -1, -1]],
    ],
)
def test_padding_reads_as_zero(index_map, n_channels):
    index_map = np.array(index_map)
    images = images_of(2, 3, n_channels) + 1
    pixels = images.reshape(len(images), 6, n_channels)
    expected = pixels[:, index_map.ravel()]
    expected[:, index_map.ravel() < 0] = 0
    out = to_numpy(Scan(index_map)(images))
    same_bits(out, expected.reshape(len(images), len(index_map), -1))


def through_json(config):
    return json.loads(json.dumps(config))


@pytest.mark.parametrize(
    "index_map",
    [
        RowSequencer().get_index_map((8, 6)),
        PatchSequencer(3, 2, order="hilbert").get_index_map((9, 9)),
        np.array([[-1, 0, 1], [5, -1, 2]]),
        np.random.default_rng(0).permutation(600).reshape(20, 30),
        np.array([[2**31 - 1, 0, -1, 2**31 - 1]]),
    ],
)
def test_config_holds_the_map_exactly(index_map):
    layer = Scan(index_map, name="read")
    config = through_json(layer.get_config())
    again = Scan.from_config(config)
    assert again.name == "read"
    assert again.index_map.dtype == np.int32
    np.testing.assert_array_equal(again.index_map, index_map)
    assert again.get_config() == layer.get_config()


@pytest.mark.parametrize("order", ["raster", "snake", "hilbert"])
def test_config_is_small(order):
    index_map = PatchSequencer(16, 8, order=order).get_index_map((512, 512))
    assert index_map.size == 63**2 * 16**2  # four megabytes
    config = through_json(Scan(index_map).get_config())
    # Measured: 20,096 (raster) to 22,460 characters (hilbert).
    assert len(config["index_map"]["differences"]) < 30_000
    np.testing.assert_array_equal(Scan.from_config(config).index_map, index_map)


@pytest.mark.parametrize(
    ("shape", "message"),
    [
        ([4, 4], "does not have shape"),
        ([3, 5], "does not have shape"),
        ([2**20, 2**20], "are not unpacked"),
        ([2, 4], "does not have shape"),
    ],
    ids=["more steps", "more pixels", "terabytes", "fewer steps"],
)
def test_config_that_lies_about_the_shape_is_refused(shape, message):
    config = Scan(np.arange(12).reshape(3, 4)).get_config()
    config["index_map"]["shape"] = shape
    # Keras makes a TypeError of what it meets in a configuration.
    with pytest.raises((TypeError, ValueError), match=message):
        Scan.from_config(config)


def test_no_more_is_unpacked_than_the_shape_says():
    bomb = base64.b64encode(zlib.compress(bytes(2**24), 9)).decode()
    packed = {"shape": [3, 4], "differences": bomb}
    try:
        size = Scan(packed).index_map.size
    except ValueError:
        size = 0
    assert size <= 12


# --- aligned_unit -------------------------------------------------------------------


@pytest.mark.parametrize(
    ("index_map", "n_pixels", "unit"),
    [
        (RowSequencer().get_index_map((28, 28)), 784, 784),  # nothing moves
        (RowSequencer(order="backward").get_index_map((28, 28)), 784, 28),
        (RowSequencer(sequence_length=16).get_index_map((28, 28)), 784, 28),
        (RowSequencer(axis="columns").get_index_map((28, 28)), 784, 1),
        (RowSequencer(order="snake").get_index_map((28, 28)), 784, 1),
        (PatchSequencer(16, 8).get_index_map((64, 64)), 4096, 8),
        (PatchSequencer(16, 16).get_index_map((64, 64)), 4096, 16),
        (PatchSequencer(16, 6).get_index_map((64, 64)), 4096, 2),
        (VolumeSequencer(order="backward").get_index_map((4, 6, 6)), 144, 36),
        (np.array([[0, 1, 2, 3], [-1, -1, -1, -1]]), 4, 1),
        (np.array([[-1, 0, 1, 2]]), 4, 1),
        (np.array([[0, 1], [2, 3]]), 5, 1),  # divides the map but not the image
        (np.array([[0, 1], [2, 3]]), 6, 2),
    ],
)
def test_aligned_unit(index_map, n_pixels, unit):
    assert aligned_unit(index_map, n_pixels) == unit


def is_unit(flat, unit, n_pixels):
    if flat.size % unit or n_pixels % unit:
        return False
    runs = flat.reshape(-1, unit)
    starts = runs[:, 0]
    return not (starts % unit).any() and np.array_equal(
        runs, starts[:, None] + np.arange(unit)
    )


@given(
    starts=arrays(np.int64, st.integers(1, 5), elements=st.integers(0, 5)),
    length=st.integers(1, 6),
    rest=st.integers(0, 6),
)
def test_aligned_unit_is_the_largest(starts, length, rest):
    flat = (starts[:, None] * length + np.arange(length)).ravel()
    n_pixels = int(flat.max()) + 1 + rest
    units = [u for u in range(1, n_pixels + 1) if is_unit(flat, u, n_pixels)]
    assert aligned_unit(flat, n_pixels) == max(units)


# --- PixelEmbedding -----------------------------------------------------------------


def embedding(units, low=0.0, high=1.0):
    layer = PixelEmbedding(units)
    layer.build((None, None, 4))
    rng = np.random.default_rng(1)
    layer.levels.assign(rng.normal(size=(256, units)).astype("float32"))
    layer.set(low, high)
    return layer, layer.levels.numpy()


@pytest.mark.parametrize("units", [1, 3])
def test_pixel_embedding(units):
    layer, levels = embedding(units, low=-1.5, high=2.5)
    x = np.random.default_rng(0).uniform(-3, 4, (2, 5, 4)).astype("float32")
    place = np.clip((x + 1.5) / 4, 0, 1) * 255
    assert place.min() == 0  # some lie beyond, below as above
    assert place.max() == 255
    level = np.rint(place).astype(int)
    expected = np.concatenate([levels[level[..., i]] for i in range(4)], axis=-1)
    out = to_numpy(layer(x))
    assert out.shape == (2, 5, 4 * units)
    np.testing.assert_array_equal(out, expected)
    assert layer.compute_output_shape((None, 5, 4)) == (None, 5, 4 * units)


@pytest.mark.parametrize(("mean", "scale"), [(0.0, 1.0), (33.318, 78.567), (4.6, 17.0)])
def test_each_byte_is_a_level(mean, scale):
    # As it comes, and standardized as LSTMImageClassifier does it.
    layer, levels = embedding(3, low=(0 - mean) / scale, high=(255 - mean) / scale)
    standardize = Standardize()
    standardize.build((None, None, 4))
    standardize.set(mean, scale)
    x = np.arange(256, dtype="float32").reshape(1, 64, 4)
    out = to_numpy(layer(standardize(x)))
    np.testing.assert_array_equal(out.reshape(256, 3), levels)


def test_one_grey_alone_is_a_level():
    layer, levels = embedding(2, low=7.0, high=7.0)
    out = to_numpy(layer(np.full((1, 1, 4), 7.0, "float32")))
    np.testing.assert_array_equal(out.reshape(4, 2), levels[[0, 0, 0, 0]])


def test_training_moves_the_levels_it_sees_and_no_range():
    layer, levels = embedding(2, low=0.0, high=255.0)
    assert [w.name for w in layer.trainable_weights] == ["levels"]
    inputs = keras.Input((1, 4))
    x = keras.layers.Flatten()(layer(inputs))
    model = keras.Model(inputs, keras.layers.Dense(1)(x))
    model.compile("sgd", "mse")
    model.train_on_batch(np.array([[[3, 9, 9, 200]]], "float32"), np.array([[5.0]]))
    moved = np.flatnonzero((layer.levels.numpy() != levels).any(axis=1))
    assert moved.tolist() == [3, 9, 200]
    assert (float(layer.low), float(layer.high)) == (0.0, 255.0)


def started_levels(seed, units=6):
    model = lstm((None, 4), 2, units=2, embedding="pixel", embedding_units=units)
    layer = model.get_layer("embedding")
    assert layer.levels.shape == (256, units)
    layer.set(-1.0, 3.0)
    initialize(model, np.random.SeedSequence(seed))
    assert (float(layer.low), float(layer.high)) == (-1.0, 3.0)
    return layer.levels.numpy()


def test_levels_start_smooth_and_standardized():
    levels = started_levels(0)
    np.testing.assert_allclose(levels.mean(axis=0), 0, atol=1e-5)
    np.testing.assert_allclose(levels.std(axis=0), 1, rtol=1e-5)
    # The first number of a vector is the level itself.
    steps = np.diff(levels[:, 0])
    np.testing.assert_allclose(steps, steps[0], rtol=1e-2)
    assert steps[0] > 0
    for near, far in ((1, 16), (16, 128)):
        close, distant = (
            np.linalg.norm(levels[k:] - levels[:-k], axis=1) for k in (near, far)
        )
        assert close.max() < distant.min()
        assert close.mean() < distant.mean() / 3
    # Nearest of all others to a level is one next to it.
    between = np.linalg.norm(levels[:, None] - levels[None], axis=-1)
    np.fill_diagonal(between, np.inf)
    assert np.all(np.abs(between.argmin(axis=1) - np.arange(256)) == 1)


def test_levels_start_from_the_seed():
    same, other = started_levels(0), started_levels(1)
    np.testing.assert_array_equal(started_levels(0), same)
    assert np.abs(same[:, 1:] - other[:, 1:]).max() > 0.1
    # No two columns say the same.
    correlation = np.corrcoef(same.T) - np.eye(6)
    assert np.abs(correlation).max() < 0.999


# --- read_input ---------------------------------------------------------------------

MAP = PatchSequencer(2, 2).get_index_map((4, 4))


@pytest.mark.parametrize(
    ("shape", "asked", "names"),
    [
        ((None, 3), {}, ["sequence", "standardize"]),
        ((None, 3), {"standardize": False}, ["sequence"]),
        ((None, 3), {"input_noise": 0.5}, ["sequence", "standardize", "input_noise"]),
        ((4, 4, 1), {}, ["X", "standardize"]),
        ((4, 4, 1), {"index_map": MAP}, ["X", "scan", "standardize"]),
        ((4, 4, 3), {"index_map": MAP, "standardize": False}, ["X", "scan"]),
        (
            (4, 4, 3),
            {"index_map": MAP, "input_noise": 0.5},
            ["X", "scan", "standardize", "input_noise"],
        ),
        (
            (4, 4, 3),
            {"index_map": MAP, "augmentation": {"flip": "vertical"}, "input_noise": 1},
            ["X", "augmentation", "scan", "standardize", "input_noise"],
        ),
        (  # surroundings are those of whole images
            (4, 4, 3),
            {"index_map": MAP, "contrast": (2,), "input_noise": 0.5},
            ["X", "standardize", "contrast", "input_noise", "scan"],
        ),
        ((4, 4, 3), {"augmentation": {}}, ["X", "standardize"]),
        ((2, 4, 4, 1), {}, ["X", "standardize"]),
    ],
)
def test_read_input_adds_what_it_is_asked_for(shape, asked, names):
    inputs, x = read_input(shape, **asked)
    layers = keras.Model(inputs, x).layers
    assert [layer.name for layer in layers] == names
    assert inputs.shape == (None, *shape)
    if "index_map" in asked:
        n_steps, n_pixels = asked["index_map"].shape
        n_channels = shape[-1] * (1 + len(asked.get("contrast", ())))
        assert x.shape == (None, n_steps, n_pixels * n_channels)
    else:
        assert x.shape == inputs.shape


OVERLAPPING = PatchSequencer(2, 1).get_index_map((4, 4))
PADDED = np.pad(MAP, [(0, 1), (1, 0)], constant_values=-1)


@pytest.mark.parametrize("index_map", [MAP, OVERLAPPING, PADDED])
def test_a_scan_inside_gives_the_numbers_of_a_scan_before(index_map):
    images = images_of(4, 4, 2)
    n_steps, n_pixels = index_map.shape
    read = []
    for shape, inner, x in [
        ((4, 4, 2), index_map, images),
        ((n_steps, n_pixels * 2), None, to_numpy(Scan(index_map)(images))),
    ]:
        inputs, x_read = read_input(shape, index_map=inner, input_noise=0.5)
        model = keras.Model(inputs, x_read)
        initialize(model, np.random.SeedSequence(0))
        model.get_layer("standardize").set(100.0, 50.0)
        # In training the noise is the same as well.
        read.append([to_numpy(model(x)), to_numpy(model(x, training=True))])
    for inside, before in zip(*read, strict=True):
        same_bits(inside, before)
    assert np.abs(read[0][1] - read[0][0]).max() > 0.5


def test_a_scan_keeps_the_precision_of_pixels():
    images = images_of(4, 4, 1) + 70_000  # float16 ends at 65,504
    before = keras.config.dtype_policy()
    try:
        keras.config.set_dtype_policy("mixed_float16")
        inputs, x = read_input((4, 4, 1), index_map=MAP)
        scan = Scan(MAP)
    finally:
        keras.config.set_dtype_policy(before)
    expected = PatchSequencer(2, 2).fit_transform(images)
    same_bits(to_numpy(scan(images)), expected)
    model = keras.Model(inputs, x)
    model.get_layer("standardize").set(70_100.0, 50.0)
    # The next layer is given half precision.
    assert x.dtype == "float16"
    np.testing.assert_array_equal(
        to_numpy(model(images)), ((expected - 70_100) / 50).astype("float16")
    )


def test_read_input_reads_then_standardizes():
    inputs, x = read_input((4, 4, 2), index_map=MAP, input_noise=0.5)
    model = keras.Model(inputs, x)
    kinds = {layer.name: type(layer) for layer in model.layers}
    assert kinds["standardize"] is Standardize
    assert kinds["input_noise"] is HyperNoise
    assert float(model.get_layer("input_noise").stddev) == 0.5
    model.get_layer("standardize").set(100.0, 50.0)
    images = images_of(4, 4, 2)
    expected = PatchSequencer(2, 2).fit_transform((images - 100) / 50)
    np.testing.assert_allclose(model.predict_on_batch(images), expected, rtol=1e-6)
    noisy = to_numpy(model(images, training=True)) - expected
    # Six standard errors.
    assert abs(noisy.std() - 0.5) < 6 * 0.5 / math.sqrt(2 * noisy.size)
