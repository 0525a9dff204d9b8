from sklstm._keras import keras

import numpy as np
import pytest

from sklstm import networks
from sklstm.training._input_gradients import has_gradients, input_gradients

pytestmark = pytest.mark.backend


def test_gradients_are_those_of_differences():
    keras.utils.set_random_seed(0)
    model = networks.lstm((5, 3), 4, units=4)
    rng = np.random.default_rng(0)
    x = rng.normal(size=(6, 5, 3)).astype("float32")
    weights = rng.normal(size=(6, 4)).astype("float32")
    found = input_gradients(model, x, weights)
    assert found.shape == x.shape

    def total(samples):
        outputs = keras.ops.convert_to_numpy(model(samples, training=False))
        return (outputs.astype(float) * weights).sum(axis=1)

    step = np.float32(1e-2)
    for place in [(0, 0), (2, 1), (4, 2)]:
        ahead, behind = x.copy(), x.copy()
        ahead[:, *place] += step
        behind[:, *place] -= step
        slope = (total(ahead) - total(behind)) / (2 * step)
        np.testing.assert_allclose(found[:, *place], slope, atol=2e-4)
        assert np.abs(slope).max() > 5e-3


def test_networks_that_look_grey_levels_up_have_no_gradient():
    assert has_gradients(networks.lstm((5, 3), 4, units=4))
    assert not has_gradients(networks.lstm((5, 3), 4, units=4, embedding="pixel"))
