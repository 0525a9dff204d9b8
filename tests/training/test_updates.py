"""Norm, clipping and update of all gradients against Keras' own, on every backend."""

from sklstm._keras import keras

import numpy as np
import pytest

from sklstm.training._optimizer import scheduled
from sklstm.training._updates import clip_by_value, gradient_norm, updates_at_once

pytestmark = pytest.mark.backend

SHAPES = [(3, 4), (5,), ()]


def tensors(scale, seed):
    rng = np.random.default_rng(seed)
    arrays = [scale * rng.standard_normal(s).astype("float32") for s in SHAPES]
    return [keras.ops.convert_to_tensor(a) for a in arrays], arrays


def numpy(tensors):
    return [keras.ops.convert_to_numpy(t) for t in tensors]


def test_norm_by_hand():
    gradients, arrays = tensors(3, 0)
    expected = np.sqrt(sum(np.sum(a**2) for a in arrays))
    assert float(gradient_norm([*gradients, None])) == pytest.approx(expected, rel=1e-6)
    assert float(gradient_norm([None])) == 0


def test_clipping_by_hand():
    gradients, arrays = tensors(3, 0)
    for got, a in zip(numpy(clip_by_value(gradients, 0.5)), arrays, strict=True):
        np.testing.assert_array_equal(got, np.clip(a, -0.5, 0.5))
    some = clip_by_value([None, gradients[1]], 0.5)
    assert some[0] is None
    np.testing.assert_array_equal(numpy(some[1:])[0], np.clip(arrays[1], -0.5, 0.5))


class OwnAdam(keras.optimizers.Adam):
    def update_step(self, gradient, variable, learning_rate):
        self.assign_sub(variable, 2 * gradient)


@pytest.mark.parametrize(
    ("kind", "params", "at_once"),
    [
        (keras.optimizers.Adam, {}, True),
        (keras.optimizers.Adam, {"clipvalue": 1}, True),
        (keras.optimizers.Adam, {"clipnorm": 0.1}, True),
        (keras.optimizers.Adam, {"global_clipnorm": 0.1}, True),
        (keras.optimizers.Adam, {"beta_1": 0.5, "epsilon": 0.01}, True),
        (keras.optimizers.Adam, {"gradient_accumulation_steps": 2}, True),
        (keras.optimizers.Adam, {"use_ema": True, "ema_momentum": 0.5}, True),
        (keras.optimizers.Adam, {"amsgrad": True}, False),
        (keras.optimizers.AdamW, {"weight_decay": 0.1}, True),
        (keras.optimizers.Nadam, {}, False),
        (keras.optimizers.SGD, {"momentum": 0.9, "clipvalue": 0.1}, False),
        (OwnAdam, {}, False),
    ],
)
def test_updates_are_those_of_keras(kind, params, at_once):
    results = []
    for make in (kind, scheduled(kind)):
        optimizer = make(learning_rate=0.1, **params)
        variables = [keras.Variable(a) for a in tensors(1, 9)[1]]
        optimizer.build(variables)
        if make is not kind:
            on_tensorflow = keras.backend.backend() == "tensorflow"
            found = updates_at_once(optimizer, tensors(1, 0)[0])
            assert found == (at_once and on_tensorflow)
        for step in range(5):
            optimizer.apply(tensors(1, step)[0], variables)
        n = getattr(optimizer, "_n_own_variables", None)
        kept = [*variables, *optimizer.variables[:n]]
        results.append(numpy([v.value for v in kept]))
    assert len(results[0]) == len(results[1])
    # TensorFlow's operator subtracts beta_2 from 1 in float32, and Keras in float64.
    # The five updates of up to 0.1 differ by one part in 100,000.
    for expected, got in zip(*results, strict=True):
        np.testing.assert_allclose(got, expected, rtol=2e-5, atol=5e-6)


def test_a_sparse_gradient_is_left_to_keras():
    if keras.backend.backend() != "tensorflow":
        pytest.skip("other backends have no sparse gradients")
    import tensorflow as tf

    gradient = tf.IndexedSlices(tf.ones((1, 4)), tf.constant([1]), tf.constant([3, 4]))
    optimizer = scheduled(keras.optimizers.Adam)(0.1)
    assert not updates_at_once(optimizer, [gradient])
