from math import erf

from sklstm._keras import keras

import numpy as np
import pytest

from sklstm import LSTMImageClassifier
from sklstm.networks import DropPath, sequencer

SMALL = {"widths": (8, 12), "depths": (1, 1)}


def softmax(x):
    exp = np.exp(x - x.max(axis=1, keepdims=True))
    return exp / exp.sum(axis=1, keepdims=True)


def gelu(x):
    return x * (1 + np.vectorize(erf)(x / np.sqrt(2))) / 2


def patches(x, size):
    """Return (n, down, across, k), with zeros below and on the right."""
    n, height, width, channels = x.shape
    x = np.pad(x, ((0, 0), (0, -height % size), (0, -width % size), (0, 0)))
    x = x.reshape(n, x.shape[1] // size, size, x.shape[2] // size, size, channels)
    return x.transpose(0, 1, 3, 2, 4, 5).reshape(n, x.shape[1], x.shape[3], -1)


@pytest.mark.backend
def test_every_backend_computes_the_definition(bilstm, with_random_weights):
    model = sequencer((9, 12, 2), 3, patch_size=2, drop_path=0.2, **SMALL)
    weights, dense, norm = with_random_weights(model)
    images = np.random.default_rng(1).uniform(0, 255, (4, 9, 12, 2))
    x = dense(patches((images - 120) / 70, 2), "stage_0")
    for i in range(2):
        if i == 1:
            x = dense(patches(x, 2), "stage_1")
        name = f"block_{i}_"
        y = norm(x, f"{name}norm_0", 1e-6)
        rows = bilstm(y, weights(f"{name}rows_bidirectional"))
        columns = bilstm(y.swapaxes(1, 2), weights(f"{name}columns_bidirectional"))
        y = np.concatenate([rows, columns.swapaxes(1, 2)], axis=-1)
        assert y.shape[-1] == x.shape[-1]
        x = x + dense(y, f"{name}project")
        y = norm(x, f"{name}norm_1", 1e-6)
        x = x + dense(gelu(dense(y, f"{name}mlp_in")), f"{name}mlp_out")
    assert x.shape == (4, 3, 3, 12)
    pooled = norm(x, "norm", 1e-6).mean(axis=(1, 2))
    expected = softmax(dense(pooled, "probabilities"))
    assert expected.std(axis=0).min() > 1e-3
    found = keras.ops.convert_to_numpy(model(images.astype("float32"), training=False))
    np.testing.assert_allclose(found, expected, atol=1e-5)


@pytest.mark.parametrize(
    ("preset", "millions"),
    [
        ("s", 27.7),
        pytest.param("m", 38.3, marks=pytest.mark.slow),
        pytest.param("l", 54.3, marks=pytest.mark.slow),
    ],
)
def test_published_numbers_of_weights(preset, millions):
    model = sequencer((224, 224, 3), 1000, preset=preset)
    assert model.count_params() == pytest.approx(millions * 1e6, rel=0.005)
    grids = [model.get_layer(f"stage_{i}").output.shape[1:] for i in range(4)]
    assert grids == [(32, 32, 192), *3 * [(16, 16, 384)]]


@pytest.mark.parametrize(("side", "grid"), [(28, 14), (32, 16), (64, 16)])
def test_tiny_reads_small_images(side, grid):
    model = sequencer((side, side, 3), 10)
    assert model.get_layer("stage_0").output.shape == (None, grid, grid, 64)
    assert model.get_layer("stage_1").output.shape == (None, grid // 2, grid // 2, 128)
    assert model.count_params() < 600_000


def test_later_branches_are_left_out_more_often():
    model = sequencer((8, 8, 1), 3, widths=(8,), depths=(4,), drop_path=0.2)
    shares = [one.share for one in model.layers if isinstance(one, DropPath)]
    np.testing.assert_allclose(shares, np.repeat([0.25, 0.5, 0.75, 1.0], 2))


@pytest.mark.parametrize(("params", "message"), [
    ({"preset": "xl"}, "preset='xl' is none of 'tiny', 's', 'm' and 'l'"),
    ({"depths": (2, 0)}, r"depths=\(2, 0\) must be a tuple of whole numbers of at"),
    ({"depths": 2}, "depths=2 must be a tuple of whole numbers"),
    ({"widths": (8, 10)}, r"widths=\(8, 10\) must be a tuple of multiples of 4"),
    ({"widths": (8, 8, 8)}, r"depths=\(2, 2\) has 2 stages and widths=\(8, 8, 8\)"),
    ({"patch_size": 9}, "patch_size=9 is larger than the images"),
    ({"input_shape": (6, 8, 1), "preset": "s"}, "preset='s' reads patches of 7 pixels"),
    ({"preset": "s", "patch_size": 0}, "patch_size=0 must be a whole number"),
])  # fmt: skip
def test_sizes_that_do_not_fit(params, message):
    with pytest.raises(ValueError, match=message):
        sequencer(**{"input_shape": (8, 8, 1), "n_classes": 3, **params})


def test_the_preset_decides_on_the_units():
    classifier = LSTMImageClassifier("sequencer", units=32)
    with pytest.raises(ValueError, match="units=32 has no effect on network='sequ"):
        classifier.fit(np.zeros((4, 8, 8)), [0, 1, 0, 1])
