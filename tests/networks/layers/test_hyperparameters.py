"""Layers whose strength is a weight: dropout, noise and the L2 penalty."""

from sklstm._keras import keras

import numpy as np
import pytest

from sklstm.networks import DropPath, HyperDropout, HyperNoise, PenaltyStrength
from sklstm.networks.layers import L2


@pytest.fixture
def sequences():
    return np.random.default_rng(0).normal(3.0, 2.0, (5, 4, 3)).astype("float32")


def to_numpy(x):
    return keras.ops.convert_to_numpy(x)


@pytest.mark.parametrize("rate", [0.1, 0.5, 0.8])
def test_dropout_keeps_and_scales(rate):
    layer = HyperDropout(rate)
    ones = np.ones((200, 200), "float32")
    out = to_numpy(layer(ones, training=True))
    kept = out != 0
    # The tolerance is six standard deviations of the share of 40,000 draws.
    assert abs(kept.mean() - (1 - rate)) < 6 * np.sqrt(rate * (1 - rate) / ones.size)
    np.testing.assert_allclose(out[kept], 1 / (1 - rate), rtol=1e-6)
    assert abs(out.mean() - 1) < 0.06
    again = to_numpy(layer(ones, training=True))
    assert 0.2 < np.mean((again != 0) == kept) < 0.99  # a new mask at every call


def test_dropout_is_off_at_inference(sequences):
    layer = HyperDropout(0.9)
    np.testing.assert_array_equal(to_numpy(layer(sequences)), sequences)
    np.testing.assert_array_equal(to_numpy(layer(sequences, training=False)), sequences)


def test_dropout_rate_changes_without_rebuilding():
    layer = HyperDropout(0.5)
    inputs = keras.Input((1000,))
    model = keras.Model(inputs, layer(inputs))
    ones = np.ones((20, 1000), "float32")
    layer.rate.assign(0.0)
    np.testing.assert_array_equal(to_numpy(model(ones, training=True)), ones)
    layer.rate.assign(0.9)
    out = to_numpy(model(ones, training=True))
    assert abs(np.mean(out != 0) - 0.1) < 0.02
    np.testing.assert_allclose(out[out != 0], 10, rtol=1e-5)
    assert layer.get_config()["rate"] == pytest.approx(0.9)


def test_dropout_repeats_from_the_same_seed_state():
    layer = HyperDropout(0.5)
    ones = np.ones((10, 10), "float32")
    start = to_numpy(keras.ops.convert_to_tensor(layer.seed_generator.state))
    first = to_numpy(layer(ones, training=True))
    layer.seed_generator.state.assign(start)
    np.testing.assert_array_equal(to_numpy(layer(ones, training=True)), first)


@pytest.mark.backend
@pytest.mark.parametrize("share", [1.0, 0.25])
def test_drop_path_leaves_out_whole_samples(share):
    layer = DropPath(0.6, share)
    ones = np.ones((20_000, 2, 3), "float32")
    out = to_numpy(layer(ones, training=True))
    np.testing.assert_array_equal(out, np.broadcast_to(out[:, :1, :1], out.shape))
    kept = out[:, 0, 0] != 0
    rate = 0.6 * share
    # The tolerance is six standard deviations of the share of 20,000 draws.
    assert abs(kept.mean() - (1 - rate)) < 6 * np.sqrt(rate * (1 - rate) / len(out))
    np.testing.assert_allclose(out[kept], 1 / (1 - rate), rtol=1e-6)
    again = to_numpy(layer(ones, training=True))
    assert 0.2 < np.mean((again[:, 0, 0] != 0) == kept) < 0.99
    np.testing.assert_array_equal(to_numpy(layer(ones)), ones)


def test_drop_path_changes_without_rebuilding():
    layer = DropPath(0.5, 0.5)
    inputs = keras.Input((4, 4, 1))
    model = keras.Model(inputs, layer(inputs))
    ones = np.ones((2000, 4, 4, 1), "float32")
    layer.rate.assign(0.0)
    np.testing.assert_array_equal(to_numpy(model(ones, training=True)), ones)
    layer.rate.assign(0.8)
    out = to_numpy(model(ones, training=True))
    assert abs(np.mean(out != 0) - 0.6) < 0.07
    assert layer.get_config()["rate"] == pytest.approx(0.8)
    assert layer.get_config()["share"] == 0.5
    assert layer.trainable_weights == []


def test_noise_statistics_and_changes_without_rebuilding():
    layer = HyperNoise(0.5)
    inputs = keras.Input((500,))
    model = keras.Model(inputs, layer(inputs))
    threes = np.full((200, 500), 3.0, "float32")
    np.testing.assert_array_equal(to_numpy(model(threes)), threes)  # off at inference
    for stddev in (0.5, 2.0):
        layer.stddev.assign(stddev)
        out = to_numpy(model(threes, training=True))
        # The tolerances are six standard errors for 100,000 normal numbers.
        assert abs(out.mean() - 3.0) < 6 * stddev / np.sqrt(out.size)
        assert abs(out.std() / stddev - 1) < 6 / np.sqrt(2 * out.size)
        again = to_numpy(model(threes, training=True))
        assert abs(np.corrcoef(out.ravel(), again.ravel())[0, 1]) < 0.05
    layer.stddev.assign(0.0)
    np.testing.assert_array_equal(to_numpy(model(threes, training=True)), threes)
    layer.stddev.assign(0.25)
    assert layer.get_config()["stddev"] == 0.25
    assert layer.trainable_weights == []


def test_l2_with_a_number_and_with_a_variable(sequences):
    expected = 0.3 * np.sum(np.square(sequences, dtype="float64"))
    assert float(L2(0.3)(sequences)) == pytest.approx(expected, rel=1e-5)
    strength = keras.Variable(0.3)
    penalty = L2(strength)
    assert float(penalty(sequences)) == pytest.approx(expected, rel=1e-5)
    strength.assign(0.6)
    assert float(penalty(sequences)) == pytest.approx(2 * expected, rel=1e-5)
    assert penalty.get_config() == {"l2": pytest.approx(0.6)}


def test_penalty_strength_follows_its_weight(sequences):
    layer = PenaltyStrength(0.1)
    dense = keras.layers.Dense(2, kernel_regularizer=layer.regularizer())
    np.testing.assert_array_equal(to_numpy(layer(sequences)), sequences)
    dense.build((None, 3))
    squares = np.sum(np.square(dense.get_weights()[0]))
    assert float(sum(dense.losses)) == pytest.approx(0.1 * squares, rel=1e-5)
    layer.l2.assign(2.0)
    assert float(sum(dense.losses)) == pytest.approx(2.0 * squares, rel=1e-5)
    assert layer.trainable_weights == []
    assert layer.get_config()["l2"] == 2.0
