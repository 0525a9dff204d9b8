from sklstm._keras import keras

import numpy as np
import pytest

from sklstm.networks import bilstm3d


@pytest.mark.backend
def test_every_backend_computes_the_definition(bilstm, with_random_weights):
    model = bilstm3d((4, 5, 6, 2), 3, units=3, n_layers=2, filters=4)
    weights, dense, _ = with_random_weights(model)
    volumes = np.random.default_rng(1).uniform(0, 255, (4, 4, 5, 6, 2)).astype("f")
    stem = keras.Model(model.inputs[0], model.get_layer("stem_0_relu").output)
    x = keras.ops.convert_to_numpy(stem(volumes, training=False))
    assert x.shape == (4, 4, 5, 6, 4)
    for i in range(2):
        read = []
        for name, axis in (("depth", 1), ("rows", 3), ("columns", 2)):
            lines = np.moveaxis(x, axis, 3)
            lines = bilstm(lines, weights(f"{name}_{i}_bidirectional"))
            read.append(np.moveaxis(lines, 3, axis))
        x = np.concatenate(read, axis=-1)
    pooled = [x.mean(axis=(1, 2, 3)), x.max(axis=(1, 2, 3))]
    scores = dense(np.concatenate(pooled, axis=-1), "probabilities")
    exp = np.exp(scores - scores.max(axis=1, keepdims=True))
    expected = exp / exp.sum(axis=1, keepdims=True)
    assert expected.std(axis=0).min() > 1e-3
    found = keras.ops.convert_to_numpy(model(volumes, training=False))
    np.testing.assert_allclose(found, expected, atol=1e-5)


@pytest.mark.parametrize(("shape", "stem"), [
    ((28, 20, 3), [(28, 20, 3, 2), (14, 10, 2, 4), (7, 5, 1, 8)]),
    ((3, 8, 8), [(3, 8, 8, 2)]),
])  # fmt: skip
def test_the_stem_halves_the_longest_side(shape, stem):
    model = bilstm3d((*shape, 1), 3, units=2, filters=2)
    found = [model.get_layer(f"stem_{i}").output.shape[1:] for i in range(len(stem))]
    assert found == stem
    assert model.get_layer("join_0").output.shape[1:] == (*stem[-1][:3], 3 * 2 * 2)
