from sklstm._keras import keras

import numpy as np
import pytest

from sklstm.networks import bilstm3d


@pytest.mark.backend
def test_every_backend_computes_the_definition(bilstm, with_random_weights):
    model = bilstm3d((4, 5, 6, 2), 3, units=3, n_layers=2, patch_size=2)
    weights, dense, norm = with_random_weights(model)
    volumes = np.random.default_rng(1).uniform(0, 255, (4, 4, 5, 6, 2))
    x = np.pad((volumes - 120) / 70, ((0, 0), (0, 0), (0, 1), (0, 0), (0, 0)))
    x = x.reshape(4, 2, 2, 3, 2, 3, 2, 2).transpose(0, 1, 3, 5, 2, 4, 6, 7)
    kernel, bias = weights("cubes")
    x = x.reshape(4, 2, 3, 3, -1) @ kernel.reshape(-1, 64) + bias
    for i in range(2):
        y = norm(x, f"block_{i}_norm", 1e-3)
        read = []
        for name, axis in (("depth", 1), ("rows", 3), ("columns", 2)):
            lines = np.moveaxis(y, axis, 3)
            lines = bilstm(lines, weights(f"block_{i}_{name}_bidirectional"))
            read.append(np.moveaxis(lines, 3, axis))
        x = x + dense(np.concatenate(read, axis=-1), f"block_{i}_project")
    x = norm(x, "norm", 1e-3)
    pooled = [x.mean(axis=(1, 2, 3)), x.max(axis=(1, 2, 3))]
    scores = dense(np.concatenate(pooled, axis=-1), "probabilities")
    exp = np.exp(scores - scores.max(axis=1, keepdims=True))
    expected = exp / exp.sum(axis=1, keepdims=True)
    assert expected.std(axis=0).min() > 1e-3
    found = keras.ops.convert_to_numpy(model(volumes.astype("float32"), training=False))
    np.testing.assert_allclose(found, expected, atol=1e-5)


@pytest.mark.parametrize(("shape", "patch_size", "grid"), [
    ((28, 28, 28), None, (7, 7, 7)),
    ((3, 28, 28), None, (1, 7, 7)),
    ((8, 8, 8), None, (8, 8, 8)),
    ((8, 12, 12), 5, (2, 3, 3)),
])  # fmt: skip
def test_size_of_the_grid(shape, patch_size, grid):
    model = bilstm3d((*shape, 1), 3, units=2, patch_size=patch_size)
    assert model.get_layer("cubes").output.shape == (None, *grid, 64)


@pytest.mark.parametrize(("patch_size", "message"), [
    (0, "patch_size=0 must be a whole number of at least 1, or None"),
    (2.0, "patch_size=2.0 must be a whole number"),
    (9, "patch_size=9 is larger than the volumes, which are 4 x 8 x 8"),
])  # fmt: skip
def test_cubes_that_do_not_fit(patch_size, message):
    with pytest.raises(ValueError, match=message):
        bilstm3d((4, 8, 8, 1), 3, patch_size=patch_size)
