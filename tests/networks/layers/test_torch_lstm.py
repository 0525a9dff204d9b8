"""PyTorch's own LSTM in FusedLSTM and FusedBidirectional against Keras' layers."""

from sklstm._keras import keras

import numpy as np
import pytest

from sklstm.networks import FusedBidirectional, FusedLSTM

pytestmark = [
    pytest.mark.backend,
    pytest.mark.skipif(
        keras.backend.backend() != "torch", reason="the kernel is PyTorch's"
    ),
]


def pair(units, bidirectional, n_features=5, **params):
    """Return Keras' layer and ours with the same weights."""
    theirs = keras.layers.LSTM(units, bias_initializer="random_normal", **params)
    ours = FusedLSTM(units, **params)
    if bidirectional:
        theirs, ours = keras.layers.Bidirectional(theirs), FusedBidirectional(ours)
    for layer in (theirs, ours):
        layer.build((None, None, n_features))
    ours.set_weights(theirs.get_weights())
    return theirs, ours


def outputs_and_gradients(layer, x, upstream):
    import torch

    x = torch.tensor(x, requires_grad=True)
    y = layer(x)
    weights = [variable.value for variable in layer.trainable_variables]
    gradients = torch.autograd.grad((y * torch.tensor(upstream)).sum(), [x, *weights])
    return [a.detach().numpy() for a in (y, *gradients)]


@pytest.fixture
def calls(monkeypatch):
    """Numbers of directions with which the kernel is called."""
    from sklstm.networks.layers import _torch_lstm

    scan, seen = _torch_lstm.scan, []

    def counted(x, directions, return_sequences):
        seen.append(len(directions))
        return scan(x, directions, return_sequences)

    monkeypatch.setattr(_torch_lstm, "scan", counted)
    return seen


@pytest.mark.parametrize("n", [1, 4])
@pytest.mark.parametrize(
    ("bidirectional", "params"),
    [
        (False, {}),
        (False, {"return_sequences": True}),
        (False, {"go_backwards": True}),
        (False, {"return_sequences": True, "go_backwards": True}),
        (True, {}),
        (True, {"return_sequences": True}),
    ],
)
def test_same_outputs_and_gradients_as_keras(calls, bidirectional, n, params):
    theirs, ours = pair(3, bidirectional, **params)
    rng = np.random.default_rng(0)
    x = rng.standard_normal((n, 6, 5), dtype="float32")
    steps = (6,) if params.get("return_sequences") else ()
    upstream = rng.standard_normal(
        (n, *steps, 6 if bidirectional else 3), dtype="float32"
    )
    expected = outputs_and_gradients(theirs, x, upstream)
    assert not calls
    found = outputs_and_gradients(ours, x, upstream)
    assert calls == [2 if bidirectional else 1]
    for got, want in zip(found, expected, strict=True):
        np.testing.assert_allclose(got, want, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    "params",
    [
        {"activation": "relu"},
        {"recurrent_activation": "hard_sigmoid"},
        {"use_bias": False},
        {"unroll": True},
        {"return_state": True},
        {"stateful": True},
        {"recurrent_dropout": 0.1},
        {"dropout": 0.1},
        {"dtype": "mixed_float16"},
        {"fused": False},
    ],
)
@pytest.mark.parametrize("bidirectional", [False, True])
def test_keras_runs_where_it_cannot(calls, params, bidirectional):
    layer = FusedLSTM(4, **params)
    if bidirectional:
        layer = FusedBidirectional(layer)
    layer(keras.ops.ones((2, 6, 3)))
    assert not calls


@pytest.mark.parametrize("mode", ["sum", "ave", "mul", None])
def test_other_ways_to_merge_are_those_of_keras(calls, mode):
    theirs = keras.layers.Bidirectional(keras.layers.LSTM(3), merge_mode=mode)
    ours = FusedBidirectional(FusedLSTM(3), merge_mode=mode)
    x = np.random.default_rng(0).standard_normal((4, 6, 5), dtype="float32")
    theirs(x), ours(x)
    ours.set_weights(theirs.get_weights())
    for got, want in zip(
        keras.tree.flatten(ours(x)), keras.tree.flatten(theirs(x)), strict=True
    ):
        np.testing.assert_allclose(
            keras.ops.convert_to_numpy(got),
            keras.ops.convert_to_numpy(want),
            atol=1e-6,
        )
    assert set(calls) == {1}


def test_mask_and_initial_state_give_what_keras_gives(calls):
    theirs, ours = pair(3, False)
    rng = np.random.default_rng(0)
    x = rng.standard_normal((4, 6, 5), dtype="float32")
    mask = np.arange(6) < np.array([[6], [2], [3], [1]])
    state = [rng.standard_normal((4, 3), dtype="float32") for _ in range(2)]
    for given in ({"mask": mask}, {"initial_state": state}):
        np.testing.assert_array_equal(
            ours(x, **given).detach(), theirs(x, **given).detach()
        )
    assert not calls


@pytest.mark.parametrize("bidirectional", [False, True])
def test_cudnn_gets_the_same_parameters_in_one_block(monkeypatch, bidirectional):
    import torch

    from sklstm.networks.layers import _torch_lstm

    _, ours = pair(3, bidirectional, return_sequences=True)
    rng = np.random.default_rng(0)
    x = rng.standard_normal((4, 6, 5), dtype="float32")
    upstream = rng.standard_normal((4, 6, 6 if bidirectional else 3), dtype="float32")
    expected = outputs_and_gradients(ours, x, upstream)

    lstm, seen = torch._VF.lstm, []

    def in_one_block(x, state, params, *rest):
        block = _torch_lstm._in_one_block(params)
        seen.extend(block)
        return lstm(x, state, block, *rest)

    monkeypatch.setattr(torch._VF, "lstm", in_one_block)
    found = outputs_and_gradients(ours, x, upstream)
    for got, want in zip(found, expected, strict=True):
        np.testing.assert_allclose(got, want, rtol=1e-6, atol=1e-6)
    # cuDNN refuses other strides, and PyTorch looks for the parameters at these places:
    # the matrices of all directions, then the biases.
    assert all(param.is_contiguous() for param in seen)
    start = seen[0].data_ptr()
    places = [(param.data_ptr() - start) // 4 for param in seen]
    one = [0, 60, 96, 108]
    both = [0, 60, 192, 204, 96, 156, 216, 228]
    assert places == (both if bidirectional else one)
