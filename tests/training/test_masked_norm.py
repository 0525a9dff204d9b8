from sklstm._keras import keras

import numpy as np
import pytest

if keras.backend.backend() == "jax":
    import jax

    from sklstm.training._masked_norm import masked_moments

pytestmark = [
    pytest.mark.backend,
    pytest.mark.skipif(keras.backend.backend() != "jax", reason="tests a part of JAX"),
]


def model_of(shape, **params):
    layer = keras.layers.BatchNormalization(**params)
    return keras.Sequential([keras.Input(shape), layer]), layer


def outputs_and_gradients(model, x, weights, mask=None):
    """Return outputs, gradients and new moving averages of a step in training."""
    trainable = [v.value for v in model.trainable_variables]
    others = [v.value for v in model.non_trainable_variables]

    def loss(trainable, x):
        outputs, moved = model.stateless_call(trainable, others, x, training=True)
        return (outputs**2 * weights).sum(), (outputs, moved)

    step = jax.value_and_grad(loss, argnums=(0, 1), has_aux=True)
    if mask is None:
        return jax.jit(step)(trainable, x)
    with masked_moments(model, mask):
        return jax.jit(step)(trainable, x)


@pytest.mark.parametrize("shape", [(3,), (2, 3), (2, 4, 3)])
@pytest.mark.parametrize("params", [{}, {"scale": False, "center": False}])
def test_a_masked_step_is_the_step_of_the_real_rows(shape, params):
    model, layer = model_of(shape, **params)
    rng = np.random.default_rng(0)
    model.set_weights([rng.uniform(0.5, 2, 3) for _ in model.get_weights()])
    x, weights = rng.standard_normal((2, 6, *shape)).astype("float32")
    weights[4:] = 0
    (loss, (outputs, moved)), (gradients, to_x) = outputs_and_gradients(
        model, x + 3, weights, np.arange(6) < 4
    )
    (expected, (own, own_moved)), (own_gradients, own_to_x) = outputs_and_gradients(
        model, x[:4] + 3, weights[:4]
    )
    np.testing.assert_allclose(loss, expected, rtol=1e-5)
    np.testing.assert_allclose(outputs[:4], own, atol=1e-5)
    np.testing.assert_allclose(to_x[:4], own_to_x, atol=1e-4)
    np.testing.assert_array_equal(to_x[4:], 0)
    pairs = [*zip(gradients, own_gradients, strict=True)]
    for a, b in [*pairs, *zip(moved, own_moved, strict=True)]:
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5)
    assert "call" not in vars(layer)


def test_rows_may_be_the_steps_of_samples():
    model, layer = model_of((3,), momentum=0.0)
    x = np.random.default_rng(0).standard_normal((12, 3)).astype("float32")
    with masked_moments(model, np.array([True, True, False])):
        model(x, training=True)  # four rows of each of three samples
    np.testing.assert_allclose(layer.moving_mean, x[:8].mean(axis=0), rtol=1e-5)


def test_the_layer_is_that_of_keras_outside_of_training():
    model, _ = model_of((3,))
    x = np.random.default_rng(0).standard_normal((5, 3)).astype("float32")
    with masked_moments(model, np.arange(5) < 2):
        found = model(x, training=False)
    np.testing.assert_array_equal(found, model(x, training=False))


def test_half_precision_is_normalized_in_single():
    model, _ = model_of((3,), dtype="mixed_float16")
    x = 300 + np.random.default_rng(0).standard_normal((8, 3)).astype("float16")
    with masked_moments(model, np.ones(8, bool)):
        found = model(x, training=True)
    assert found.dtype == "float16"
    np.testing.assert_allclose(found, model(x, training=True), atol=2e-3)
