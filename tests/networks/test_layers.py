"""Each layer against the same computation in NumPy."""

from sklstm._keras import keras

import numpy as np
import pytest

from sklstm import LSTMImageClassifier
from sklstm.networks import (
    AttentionPooling,
    HyperDropout,
    HyperNoise,
    PenaltyStrength,
    Standardize,
    lstm,
)
from sklstm.networks.layers import L2


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


@pytest.mark.parametrize("rate", [0.1, 0.5, 0.8])
def test_dropout_keeps_and_scales(rate):
    layer = HyperDropout(rate)
    ones = np.ones((200, 200), "float32")
    out = to_numpy(layer(ones, training=True))
    kept = out != 0
    # Six standard deviations of a binomial share of 40,000.
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


def test_noise_statistics_and_changes_without_rebuilding():
    layer = HyperNoise(0.5)
    inputs = keras.Input((500,))
    model = keras.Model(inputs, layer(inputs))
    threes = np.full((200, 500), 3.0, "float32")
    np.testing.assert_array_equal(to_numpy(model(threes)), threes)  # off at inference
    for stddev in (0.5, 2.0):
        layer.stddev.assign(stddev)
        out = to_numpy(model(threes, training=True))
        # Six standard errors of the mean and of the deviation of 100,000 normals.
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


@pytest.mark.parametrize("units", [None, 2])
def test_attention_pooling(sequences, units):
    layer = AttentionPooling(units)
    out = to_numpy(layer(sequences))
    kernel, bias, query = layer.get_weights()
    assert kernel.shape == (3, units or 3)
    bias = bias + 0.1
    layer.set_weights([kernel, bias, query])
    out = to_numpy(layer(sequences))

    scores = (np.tanh(sequences @ kernel + bias) @ query)[..., 0]
    weights = np.exp(scores) / np.exp(scores).sum(axis=1, keepdims=True)
    expected = np.einsum("ns,nsf->nf", weights, sequences)
    np.testing.assert_allclose(out, expected, rtol=1e-5, atol=1e-5)
    step_weights = to_numpy(layer.step_weights(sequences))
    assert step_weights.shape == (5, 4, 1)
    np.testing.assert_allclose(step_weights.sum(axis=1), 1, rtol=1e-6)
    assert layer.compute_output_shape((None, 4, 3)) == (None, 3)


def test_attention_pooling_penalty(sequences):
    layer = AttentionPooling(kernel_regularizer=L2(0.5))
    layer(sequences)
    squares = np.sum(np.square(layer.get_weights()[0]))
    assert float(sum(layer.losses)) == pytest.approx(0.5 * squares, rel=1e-5)


def test_a_network_of_all_layers_saves_and_loads(sequences, tmp_path):
    model = lstm(
        (None, 3), 4, units=3, pooling="attention", input_noise=0.1, dropout=0.3,
        l2=0.01, batch_norm=True, embedding="dense",
    )  # fmt: skip
    model.get_layer("standardize").set(3.0, 2.0)
    model.get_layer("dropout_0").rate.assign(0.4)
    model.get_layer("input_noise").stddev.assign(0.5)
    model.save(tmp_path / "network.keras")
    loaded = keras.models.load_model(tmp_path / "network.keras")
    np.testing.assert_array_equal(
        to_numpy(loaded(sequences)), to_numpy(model(sequences))
    )
    assert float(loaded.get_layer("dropout_0").rate) == pytest.approx(0.4)
    assert float(loaded.get_layer("input_noise").stddev) == pytest.approx(0.5)
    assert float(sum(loaded.losses)) == pytest.approx(float(sum(model.losses)))


def test_a_fitted_model_loads_with_the_plain_optimizer(digits, tmp_path):
    X, y = digits[0][:60], digits[1][:60]
    classifier = LSTMImageClassifier(
        units=4, bidirectional=False, epochs=2, random_state=0
    ).fit(X, y)
    classifier.model_.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")  # and no warning
    # Both in the same batches: in others they may be rounded otherwise.
    x = X.astype("float32")
    np.testing.assert_array_equal(to_numpy(loaded(x)), to_numpy(classifier.model_(x)))
    assert type(loaded.optimizer) is keras.optimizers.Adam
    assert int(loaded.optimizer.iterations) == 2 * 2  # ceil(60 / 32) batches, 2 epochs
    own = classifier.model_.optimizer
    for saved, variable in zip(
        loaded.optimizer.variables, own.variables[: len(loaded.optimizer.variables)],
        strict=True,
    ):  # fmt: skip
        np.testing.assert_array_equal(saved.numpy(), variable.numpy())
    loaded.train_on_batch(X[:8].astype("float32"), y[:8])  # it goes on from there
