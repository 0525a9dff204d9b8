"""Standardize: subtract a mean and divide by a scale."""

from sklstm._keras import keras

import numpy as np
import pytest

from sklstm.networks import Standardize


@pytest.fixture
def sequences():
    return np.random.default_rng(0).normal(3.0, 2.0, (5, 4, 3)).astype("float32")


def to_numpy(x):
    return keras.ops.convert_to_numpy(x)


def test_standardize(sequences):
    layer = Standardize()
    np.testing.assert_array_equal(to_numpy(layer(sequences)), sequences)
    layer.set(3.5, 2.5)
    np.testing.assert_allclose(
        to_numpy(layer(sequences)), (sequences - 3.5) / 2.5, rtol=1e-6, atol=1e-6
    )
    assert layer.trainable_weights == []
    assert layer.compute_output_shape((None, 4, 3)) == (None, 4, 3)


def test_standardize_casts_bytes():
    layer = Standardize()
    layer.build((None, 2))
    layer.set(100.0, 50.0)
    out = to_numpy(layer(np.array([[0, 255]], "uint8")))
    assert out.dtype == np.float32
    np.testing.assert_allclose(out, [[-2.0, 3.1]], rtol=1e-6)
