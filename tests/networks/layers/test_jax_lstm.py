"""The path to cuDNN on JAX, with JAX's own reference implementation in its place."""

import sys

from sklstm._keras import keras

import numpy as np
import pytest

from sklstm.networks import FusedBidirectional, FusedLSTM

pytestmark = [
    pytest.mark.backend,
    pytest.mark.skipif(keras.backend.backend() != "jax", reason="cuDNN through JAX"),
]


@pytest.fixture
def dtypes(monkeypatch):
    """Let Keras call JAX's reference in place of cuDNN; return the dtypes it saw."""
    from jax.experimental import rnn

    from sklstm.networks.layers import _jax_lstm

    seen = []

    def lstm(x, h, c, weights, lengths, *, input_size, hidden_size, **params):
        seen.append({array.dtype.name for array in (x, h, c, weights)})
        # cuDNN runs no other dtype, and JAX says so when it compiles and not before.
        assert seen[-1] == {"float32"}
        sizes = input_size, hidden_size, params["num_layers"], params["bidirectional"]
        parts = rnn.unpack_lstm_weights(weights, *sizes)
        params.update(input_size=input_size, hidden_size=hidden_size)
        return rnn.lstm_ref(x, h, c, *parts, lengths, **params)

    theirs = sys.modules["keras.src.backend.jax.rnn"]
    monkeypatch.setattr(rnn, "lstm", lstm)
    monkeypatch.setattr(theirs, "_is_gpu_available", lambda: True)
    monkeypatch.setattr(_jax_lstm, "on_gpu", lambda: True)
    return seen


def pair(bidirectional, **params):
    """Return the layer by cuDNN and by Keras' loop, with the same weights."""
    layers = []
    for loop in ({}, {"use_cudnn": False}):
        layer = FusedLSTM(4, bias_initializer="random_normal", **params, **loop)
        if bidirectional:
            # Keras copies the layer by its configuration, which lacks `use_cudnn`.
            layer = FusedBidirectional(layer, dtype=params.get("dtype"))
            layer.forward_layer.use_cudnn = loop.get("use_cudnn", "auto")
            layer.backward_layer.use_cudnn = loop.get("use_cudnn", "auto")
        layer.build((None, 6, 3))
        layers.append(layer)
    layers[1].set_weights(layers[0].get_weights())
    return layers


def outputs_and_gradients(layer, x, upstream):
    import jax

    weights = [variable.value for variable in layer.trainable_variables]
    others = [variable.value for variable in layer.non_trainable_variables]

    def loss(weights, x):
        y, _ = layer.stateless_call(weights, others, x)
        return (y.astype("float32") * upstream).sum(), y

    differentiate = jax.value_and_grad(loss, (0, 1), has_aux=True)
    (_, y), (of_weights, of_x) = jax.jit(differentiate)(weights, x)
    return [np.asarray(a, "float32") for a in (y, of_x, *of_weights)]


@pytest.mark.parametrize(
    ("bidirectional", "dtype", "params"),
    [
        (False, "float32", {}),
        pytest.param(
            False, "float32", {"return_sequences": True}, marks=pytest.mark.slow
        ),
        pytest.param(False, "float32", {"go_backwards": True}, marks=pytest.mark.slow),
        (False, "float32", {"go_backwards": True, "return_sequences": True}),
        (True, "float32", {"return_sequences": True}),
        (False, "mixed_float16", {"go_backwards": True, "return_sequences": True}),
        (True, "mixed_bfloat16", {}),
    ],
)
def test_cudnn_gives_the_results_of_the_loop(dtypes, bidirectional, dtype, params):
    fused, loop = pair(bidirectional, dtype=dtype, **params)
    rng = np.random.default_rng(0)
    x = rng.standard_normal((5, 6, 3), dtype="float32")
    shape = np.shape(loop(x))
    upstream = rng.standard_normal(shape, dtype="float32")
    dtypes.clear()
    got = outputs_and_gradients(fused, x, upstream)
    assert dtypes
    seen = len(dtypes)
    expected = outputs_and_gradients(loop, x, upstream)
    assert len(dtypes) == seen
    atol = {"float32": 1e-5, "mixed_float16": 1e-2, "mixed_bfloat16": 0.1}[dtype]
    for one, other in zip(got, expected, strict=True):
        np.testing.assert_allclose(one, other, atol=atol)
    assert fused.compute_dtype == str(fused(x).dtype)


def test_weights_in_half_precision_stay_in_the_loop(dtypes):
    layer = FusedLSTM(4, dtype="float16", recurrent_initializer="glorot_uniform")
    assert layer(np.ones((2, 6, 3), "float16")).dtype == "float16"
    assert not dtypes


@pytest.mark.parametrize("params", [{"dropout": 0.5}, {"activation": "relu"}])
def test_other_layers_stay_in_the_loop(dtypes, params):
    layer = FusedLSTM(4, dtype="mixed_float16", return_sequences=True, **params)
    x = np.ones((2, 6, 3), "float32")
    assert layer(x, training=True).dtype == "float16"
    assert not dtypes


def test_a_mask_stays_in_the_loop(dtypes):
    fused, loop = pair(False, go_backwards=True, return_sequences=True)
    x = np.random.default_rng(0).standard_normal((4, 6, 3), dtype="float32")
    mask = np.arange(6) < np.array([[6], [2], [3], [1]])
    np.testing.assert_array_equal(fused(x, mask=mask), loop(x, mask=mask))
    assert not dtypes


@pytest.mark.parametrize("bidirectional", [False, True])
def test_stacked_layers_stay_in_the_loop(dtypes, bidirectional):
    import jax

    from sklstm.networks.layers._jax_lstm import for_vmap

    fused, loop = pair(bidirectional, dtype="mixed_float16", return_sequences=True)
    x = np.random.default_rng(0).standard_normal((2, 4, 6, 3), dtype="float32")
    dtypes.clear()
    with for_vmap():
        found = jax.vmap(fused)(x)
    assert not dtypes
    np.testing.assert_allclose(found, [loop(one) for one in x], atol=1e-2)
    fused(x[0])
    assert dtypes
