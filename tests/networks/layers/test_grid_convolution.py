from sklstm._keras import keras

import numpy as np
import pytest

from sklstm.networks import GridConvolution
from sklstm.networks.initialize import initialize

pytestmark = pytest.mark.backend


def test_sums_the_cells_around_each_step():
    layer = GridConvolution((3, 5))
    layer.build((None, 15, 2))
    rng = np.random.default_rng(0)
    x = rng.normal(size=(2, 15, 2)).astype("float32")
    kernel, bias = rng.normal(size=(3, 3, 2, 1)), rng.normal(size=2)
    layer.depthwise_kernel.assign(kernel.astype("float32"))
    layer.bias.assign(bias.astype("float32"))
    padded = np.pad(x.reshape(2, 3, 5, 2), ((0, 0), (1, 1), (1, 1), (0, 0)))
    expected = bias + sum(
        padded[:, i : i + 3, j : j + 5] * kernel[i, j, :, 0]
        for i in range(3)
        for j in range(3)
    )
    found = keras.ops.convert_to_numpy(layer(x))
    np.testing.assert_allclose(found, expected.reshape(2, 15, 2), atol=1e-5)


def test_starts_so_that_the_variance_stays():
    layer = GridConvolution((4, 4))
    model = keras.Sequential([keras.Input((16, 1024)), layer])
    for start in (lambda: None, lambda: initialize(model, np.random.SeedSequence(0))):
        start()
        kernel = keras.ops.convert_to_numpy(layer.depthwise_kernel)
        assert 9 * kernel.var() == pytest.approx(1, rel=0.1)
