from sklstm._keras import keras

import numpy as np
import pytest

from sklstm.networks import bilstm2d


def ends(x):
    """Return the outputs of both directions at the step that they read last."""
    half = x.shape[-1] // 2
    return np.concatenate([x[..., -1, :half], x[..., 0, half:]], axis=-1)


def softmax(x):
    exp = np.exp(x - x.max(axis=1, keepdims=True))
    return exp / exp.sum(axis=1, keepdims=True)


def standardized_patches(images):
    """Return patches (n, 3, 4, 8) of 2 x 2, of images (n, 5, 8, 2)."""
    x = np.pad((images - 120) / 70, ((0, 0), (0, 1), (0, 0), (0, 0)))
    x = x.reshape(len(x), 3, 2, 4, 2, 2).transpose(0, 1, 3, 2, 4, 5)
    return x.reshape(len(x), 3, 4, 8)


def probabilities(model, images):
    return keras.ops.convert_to_numpy(model(images.astype("float32"), training=False))


@pytest.fixture
def images():
    return np.random.default_rng(1).uniform(0, 255, (4, 5, 8, 2))


@pytest.mark.backend
@pytest.mark.parametrize("pooling", ["max", "last"])
def test_every_backend_reads_lines(images, bilstm, with_random_weights, pooling):
    model = bilstm2d((5, 8, 2), 3, units=3, patch_size=2, n_layers=2, pooling=pooling)
    weights, dense, _ = with_random_weights(model)
    x = standardized_patches(images)
    pooled = []
    for name, lines in (("rows", x), ("columns", x.swapaxes(1, 2))):
        steps = lines.reshape(*lines.shape[:2], -1)
        for i in range(2):
            steps = bilstm(steps, weights(f"{name}_bidirectional_{i}"))
        pooled.append(ends(steps) if pooling == "last" else steps.max(axis=1))
    expected = softmax(dense(np.concatenate(pooled, axis=-1), "probabilities"))
    assert expected.std(axis=0).min() > 1e-3
    np.testing.assert_allclose(probabilities(model, images), expected, atol=1e-5)


@pytest.mark.backend
@pytest.mark.parametrize("pooling", ["mean", "last", "flatten"])
def test_every_backend_reads_positions(images, bilstm, with_random_weights, pooling):
    model = bilstm2d(
        (5, 8, 2), 3, units=3, patch_size=2, n_layers=2, scan="positions",
        pooling=pooling,
    )  # fmt: skip
    weights, dense, _ = with_random_weights(model)
    x = standardized_patches(images)
    for i in range(2):
        rows = bilstm(x, weights(f"scan_{i}_rows_bidirectional"))
        columns = bilstm(
            x.swapaxes(1, 2), weights(f"scan_{i}_columns_bidirectional")
        ).swapaxes(1, 2)
        x = np.concatenate([rows, columns], axis=-1)
    if pooling == "mean":
        pooled = x.mean(axis=(1, 2))
    elif pooling == "flatten":
        pooled = x.reshape(len(x), -1)
    else:
        both = ends(rows).mean(axis=1), ends(columns.swapaxes(1, 2)).mean(axis=1)
        pooled = np.concatenate(both, axis=-1)
    expected = softmax(dense(pooled, "probabilities"))
    assert expected.std(axis=0).min() > 1e-3
    np.testing.assert_allclose(probabilities(model, images), expected, atol=1e-5)


@pytest.mark.parametrize(("params", "message"), [
    ({"scan": "rows"}, "scan='rows' is neither 'lines' nor 'positions'"),
    ({"pooling": "first"}, "'first' is none of 'max', 'mean' and 'last', which scan='"),
    ({"pooling": "flatten"}, "needs the positions of a grid, .*: set scan='positions'"),
    (
        {"pooling": "first", "scan": "positions"},
        "'first' is none of 'max', 'mean', 'last', 'attention' and 'flatten', which",
    ),
    ({"patch_size": 9}, "patch_size=9 is larger than the images, which are 8 x 8"),
])  # fmt: skip
def test_scans_that_do_not_exist(params, message):
    with pytest.raises(ValueError, match=message):
        bilstm2d((8, 8, 1), 3, **params)
