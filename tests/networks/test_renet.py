from sklstm._keras import keras

import numpy as np
import pytest

from sklstm import LSTMImageClassifier
from sklstm.networks import renet


@pytest.mark.backend
def test_every_backend_sweeps_columns_then_rows(bilstm, with_random_weights):
    model = renet((6, 8, 2), 3, units=3, patch_size=2, n_layers=2)
    weights, *_ = with_random_weights(model)
    images = np.random.default_rng(1).uniform(0, 255, (4, 6, 8, 2))
    x = ((images - 120) / 70).reshape(4, 3, 2, 4, 2, 2).transpose(0, 1, 3, 2, 4, 5)
    x = x.reshape(4, 3, 4, 8)
    for i in range(2):
        columns = bilstm(x.swapaxes(1, 2), weights(f"columns_{i}_bidirectional"))
        x = bilstm(columns.swapaxes(1, 2), weights(f"rows_{i}_bidirectional"))
    expected = x.reshape(4, -1)
    assert expected.std(axis=0).mean() > 1e-3
    features = keras.Model(model.inputs[0], model.get_layer("pooling").output)
    found = keras.ops.convert_to_numpy(
        features(images.astype("float32"), training=False)
    )
    np.testing.assert_allclose(found, expected, atol=1e-5)


def test_pooling_that_it_does_not_have():
    with pytest.raises(ValueError, match="'last' is none of 'flatten', 'max', 'mean'"):
        renet((8, 8, 1), 3, pooling="last")


def test_attention_is_painted_on_the_patches():
    X = np.random.default_rng(0).uniform(0, 255, (12, 8, 7)).astype("float32")
    classifier = LSTMImageClassifier(
        "renet", pooling="attention", patch_size=3, units=2, epochs=1, random_state=0
    ).fit(X, np.arange(12) % 3)
    weights = classifier.attention_map(X)
    assert weights.shape == (12, 3 * 3)
    np.testing.assert_allclose(weights.sum(axis=1), 1, rtol=1e-5)
    assert weights.std(axis=0).min() > 0
    painted = classifier.attention_map(X, per="pixel")
    assert painted.shape == (12, 8, 7)
    for i, j in np.ndindex(8, 7):
        np.testing.assert_array_equal(painted[:, i, j], weights[:, i // 3 * 3 + j // 3])
