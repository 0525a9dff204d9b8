"""Initial values: Keras' distributions, drawn from one seed."""

from sklstm._keras import keras

import numpy as np
import pytest

from sklstm.networks import lstm
from sklstm.networks.initialize import initialize, reseed


def network(**params):
    settings = {
        "units": 32,
        "batch_norm": True,
        "dropout": 0.2,
        "l2": 0.01,
        "input_noise": 0.1,
    }
    return lstm(
        (None, 24), 5, pooling="attention", embedding="dense", **settings | params
    )


@pytest.fixture(scope="module")
def started():
    model = network()
    initialize(model, np.random.SeedSequence(0))
    return model


def values(model):
    return [v.numpy() for v in model.variables]


def named(model, name):
    found = [v for v in model.weights if v.name == name]
    assert found
    return found


def test_kernels_are_glorot_uniform(started):
    for variable in named(started, "kernel") + named(started, "query"):
        value = variable.numpy()
        limit = np.sqrt(6 / sum(value.shape))
        assert np.abs(value).max() <= limit
        if value.size > 200:
            assert np.abs(value).max() > 0.95 * limit
            # Mean and deviation of a uniform distribution, within five standard errors.
            assert abs(value.mean()) < 5 * limit / np.sqrt(3 * value.size)
            assert value.std() == pytest.approx(limit / np.sqrt(3), rel=0.1)


def test_kernels_have_the_limits_of_keras():
    rng_free = keras.initializers.GlorotUniform(seed=0)
    conv = keras.layers.Conv2D(16, 3)
    conv.build((None, 8, 8, 8))
    model = keras.Sequential([keras.Input((8, 8, 8)), conv])
    initialize(model, np.random.SeedSequence(0))
    own = np.abs(conv.kernel.numpy()).max()
    keras_own = np.abs(np.asarray(rng_free((3, 3, 8, 16)))).max()
    assert own == pytest.approx(keras_own, rel=0.02)


def test_recurrent_kernels_are_orthogonal(started):
    for variable in named(started, "recurrent_kernel"):
        value = variable.numpy()
        assert value.shape == (32, 128)
        # There are more columns than rows, so the rows are orthonormal, as in Keras.
        np.testing.assert_allclose(value @ value.T, np.eye(32), atol=1e-5)


def test_orthogonal_columns_of_a_tall_matrix():
    cell = keras.layers.SimpleRNN(3)
    model = keras.Sequential([keras.Input((None, 2)), cell])
    initialize(model, np.random.SeedSequence(0))
    square = cell.cell.recurrent_kernel.numpy()
    np.testing.assert_allclose(square.T @ square, np.eye(3), atol=1e-6)


def test_biases(started):
    for variable in named(started, "bias"):
        value = variable.numpy()
        if "lstm_cell" in variable.path:
            np.testing.assert_array_equal(value, np.repeat([0.0, 1.0, 0.0, 0.0], 32))
        else:
            np.testing.assert_array_equal(value, 0)


def test_constants_are_those_of_a_fresh_keras_build(started):
    fresh = network()
    seen = set()
    for own, new in zip(started.weights, fresh.weights, strict=True):
        if own.name in ("kernel", "query", "recurrent_kernel"):
            continue
        seen.add(own.name)
        np.testing.assert_array_equal(own.numpy(), new.numpy(), err_msg=own.path)
    assert {"gamma", "beta", "moving_mean", "moving_variance", "bias"} <= seen


def test_the_seed_decides(started):
    again, other = network(), network()
    initialize(again, np.random.SeedSequence(0))
    initialize(other, np.random.SeedSequence(1))
    for a, b in zip(values(again), values(started), strict=True):
        np.testing.assert_array_equal(a, b)
    for name in ("kernel", "recurrent_kernel", "query"):
        for a, b in zip(named(other, name), named(started, name), strict=True):
            assert not np.array_equal(a.numpy(), b.numpy())


def test_no_two_weights_are_the_same(started):
    kernels = [v.numpy().ravel() for v in named(started, "recurrent_kernel")]
    assert not np.array_equal(kernels[0], kernels[1])


def test_a_used_network_gets_the_values_of_a_new_one():
    used, new = network(units=3), network(units=3)
    for variable in used.variables:
        variable.assign(np.full(variable.shape, 7, dtype=variable.dtype))
    for model in (used, new):
        initialize(model, np.random.SeedSequence(3))
        model.get_layer("standardize").set(0.0, 1.0)
        model.get_layer("dropout_0").rate.assign(0.2)
        model.get_layer("l2").l2.assign(0.01)
        model.get_layer("input_noise").stddev.assign(0.1)
    for a, b in zip(values(used), values(new), strict=True):
        np.testing.assert_array_equal(a, b)


def test_weights_that_training_sets_do_not_change():
    model = network(units=3)
    model.get_layer("standardize").set(5.0, 3.0)
    model.get_layer("dropout_0").rate.assign(0.7)
    model.get_layer("l2").l2.assign(0.3)
    model.get_layer("input_noise").stddev.assign(0.6)
    initialize(model, np.random.SeedSequence(0))
    assert float(model.get_layer("standardize").mean) == 5.0
    assert float(model.get_layer("standardize").scale) == 3.0
    assert float(model.get_layer("dropout_0").rate) == pytest.approx(0.7)
    assert float(model.get_layer("l2").l2) == pytest.approx(0.3)
    assert float(model.get_layer("input_noise").stddev) == pytest.approx(0.6)


def test_dropout_seeds_start_anew_and_differ_between_layers():
    model = network(units=3, n_layers=2)
    ones = np.ones((4, 50), "float32")

    def masks():
        return [
            np.asarray(model.get_layer(f"dropout_{i}")(ones, training=True))
            for i in range(2)
        ]

    def states():
        return [
            model.get_layer(f"dropout_{i}").seed_generator.state.numpy()
            for i in range(2)
        ]

    reseed(model, np.random.default_rng(5))
    start, first = states(), masks()
    assert not np.array_equal(first[0], first[1])
    assert not np.array_equal(start[0], states()[0])  # a draw changes the state
    reseed(model, np.random.default_rng(5))
    np.testing.assert_array_equal(states(), start)
    np.testing.assert_array_equal(masks(), first)
    reseed(model, np.random.default_rng(6))
    assert not np.array_equal(states()[0], start[0])


def test_an_unknown_weight_is_named():
    class Odd(keras.layers.Layer):
        def build(self, input_shape):
            self.add_weight(shape=(2,), name="wobble")

        def call(self, inputs):
            return inputs

    model = keras.Sequential([keras.Input((2,)), Odd(name="odd")])
    with pytest.raises(ValueError, match="odd/wobble"):
        initialize(model, np.random.SeedSequence(0))
