"""Scan: the sequences that a sequencer makes, to the bit, inside the graph."""

import base64
import json
import zlib

from sklstm._keras import keras

import numpy as np
import pytest

from sklstm import PatchSequencer, RowSequencer, VolumeSequencer
from sklstm.networks import Scan


def to_numpy(x):
    return keras.ops.convert_to_numpy(x)


def images_of(*shape, n=3):
    rng = np.random.default_rng(0)
    return rng.integers(0, 256, (n, *shape)).astype("float32")


def same_bits(a, b):
    assert a.dtype == b.dtype == np.float32
    assert a.shape == b.shape
    assert a.tobytes() == b.tobytes()


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
        # Padding at the start, at the end, in runs, and before position 0.
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
def test_config_with_a_wrong_shape_is_refused(shape, message):
    config = Scan(np.arange(12).reshape(3, 4)).get_config()
    config["index_map"]["shape"] = shape
    # Keras turns an error in a configuration into a TypeError.
    with pytest.raises((TypeError, ValueError), match=message):
        Scan.from_config(config)


def test_unpacking_stops_at_the_size_of_the_shape():
    bomb = base64.b64encode(zlib.compress(bytes(2**24), 9)).decode()
    packed = {"shape": [3, 4], "differences": bomb}
    try:
        size = Scan(packed).index_map.size
    except ValueError:
        size = 0
    assert size <= 12
