from sklstm._keras import keras

import numpy as np
import pytest

from sklstm.networks import PositionEmbedding
from sklstm.networks.initialize import initialize

pytestmark = pytest.mark.backend


def test_adds_a_small_vector_of_its_own_to_each_step():
    model = keras.Sequential([keras.Input((30, 40)), PositionEmbedding()])
    initialize(model, np.random.SeedSequence(0))
    (positions,) = (keras.ops.convert_to_numpy(w) for w in model.trainable_weights)
    assert positions.std() == pytest.approx(0.02, rel=0.1)
    assert abs(np.corrcoef(positions[0], positions[1])[0, 1]) < 0.7
    x = np.random.default_rng(0).normal(size=(3, 30, 40)).astype("float32")
    found = keras.ops.convert_to_numpy(model(x))
    np.testing.assert_allclose(found - x, np.stack([positions] * 3), atol=1e-6)
