"""The input of a network: scan, standardization and noise."""

import math

from sklstm._keras import keras

import numpy as np
import pytest

from sklstm import PatchSequencer
from sklstm.networks import HyperNoise, Scan, Standardize, read_input
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
        (  # the surroundings need whole images
            (4, 4, 3),
            {"index_map": MAP, "contrast": (2,), "input_noise": 0.5},
            ["X", "standardize", "contrast", "input_noise", "scan"],
        ),
        ((4, 4, 3), {"augmentation": {}}, ["X", "standardize"]),
        ((2, 4, 4, 1), {}, ["X", "standardize"]),
    ],
)
def test_read_input_adds_the_layers_it_is_asked_for(shape, asked, names):
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
def test_a_scan_inside_gives_the_same_numbers_as_a_scan_before(index_map):
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
        # In training, the noise is the same, too.
        read.append([to_numpy(model(x)), to_numpy(model(x, training=True))])
    for inside, before in zip(*read, strict=True):
        same_bits(inside, before)
    assert np.abs(read[0][1] - read[0][0]).max() > 0.5


def test_a_scan_keeps_the_precision_of_pixels():
    images = images_of(4, 4, 1) + 70_000  # the largest float16 is 65,504
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
    # The next layer gets half precision.
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
    # The tolerance is six standard errors.
    assert abs(noisy.std() - 0.5) < 6 * 0.5 / math.sqrt(2 * noisy.size)
