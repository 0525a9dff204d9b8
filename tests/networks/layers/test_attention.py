"""Attention layers, compared with the same computation in NumPy."""

from sklstm._keras import keras

import numpy as np
import pytest

from sklstm.networks import (
    AttentionPooling,
    MultiScaleAttention,
    PositionEncoding,
    SelfAttention,
    lstm,
)
from sklstm.networks.layers import L2

N_STEPS, N_FEATURES = 7, 4
WINDOWS = (2, 3, 4, 10)  # none divides 7; the last is longer than the sequence


@pytest.fixture
def sequences():
    return numbers(0)


def numbers(seed, n_steps=N_STEPS):
    rng = np.random.default_rng(seed)
    return rng.normal(0.5, 1.5, (5, n_steps, N_FEATURES)).astype("float32")


def to_numpy(x):
    return keras.ops.convert_to_numpy(x)


def built(layer, n_features=N_FEATURES):
    """Return the layer with random weights."""
    layer.build((None, None, n_features))
    rng = np.random.default_rng(1)
    for weight in layer.weights:
        weight.assign(rng.normal(0.0, 0.7, weight.shape).astype("float32"))
    return layer


def weights_of(layer):
    """Return the weights by the end of their path, such as attention/query/kernel."""
    return {w.path.partition("/")[2]: w.numpy().astype(float) for w in layer.weights}


def softmax(x):
    exp = np.exp(x - x.max(axis=-1, keepdims=True))
    return exp / exp.sum(axis=-1, keepdims=True)


def waves(n_steps, n_features):
    n_waves = (n_features + 1) // 2
    out = np.empty((n_steps, 2 * n_waves))
    for step in range(n_steps):
        for i in range(n_waves):
            angle = step / 10_000 ** (i / n_waves)
            out[step, i], out[step, n_waves + i] = np.sin(angle), np.cos(angle)
    return out[:, :n_features]


def normalized(x, gamma, beta):
    mean = x.mean(axis=-1, keepdims=True)
    return gamma * (x - mean) / np.sqrt(x.var(axis=-1, keepdims=True) + 1e-3) + beta


def self_attention(layer, x):
    """Return the output of `SelfAttention`, and the attention weights of each head."""
    w = weights_of(layer)
    z = x + w["positions/gain"] * waves(*x.shape[1:])
    query, key, value = (
        np.einsum("nsf,fhd->nhsd", z, w[f"attention/{name}/kernel"])
        + w[f"attention/{name}/bias"][:, None]
        for name in ("query", "key", "value")
    )
    scores = np.einsum("nhqd,nhkd->nhqk", query, key) / np.sqrt(query.shape[-1])
    looks = softmax(scores)
    seen = np.einsum("nhqk,nhkd->nqhd", looks, value)
    out = np.einsum("nqhd,hdf->nqf", seen, w["attention/attention_output/kernel"])
    out = x + out + w["attention/attention_output/bias"]
    return normalized(out, w["norm/gamma"], w["norm/beta"]), looks


def multi_scale_attention(layer, x):
    """Return the output of `MultiScaleAttention`, and the weights for each size.

    Here the last window is simply shorter: there is no filling to mask.
    """
    w = weights_of(layer)
    z = x + w["positions/gain"] * waves(*x.shape[1:])
    projected = z @ w["projection/kernel"] + w["projection/bias"]
    query, key, value = np.split(projected, 3, axis=-1)
    looks = np.zeros((len(layer.windows), len(x), x.shape[1], x.shape[1]))
    for i, window in enumerate(layer.windows):
        for first in range(0, x.shape[1], window):
            part = slice(first, first + window)
            scores = np.einsum("nqf,nkf->nqk", query[:, part], key[:, part])
            looks[i, :, part, part] = softmax(scores / np.sqrt(x.shape[2]))
    shares = softmax(w["mix"])
    seen = np.einsum("w,wnqk,nkf->nqf", shares, looks, value)
    out = x + seen @ w["output/kernel"] + w["output/bias"]
    return normalized(out, w["norm/gamma"], w["norm/beta"]), looks, shares


# --- positions ----------------------------------------------------------------------


@pytest.mark.parametrize("n_features", [1, 3, 4])
def test_position_encoding(n_features):
    layer = PositionEncoding()
    x = np.random.default_rng(0).normal(size=(2, 6, n_features)).astype("float32")
    expected = x + 0.1 * waves(6, n_features)
    np.testing.assert_allclose(to_numpy(layer(x)), expected, rtol=1e-5, atol=1e-6)
    layer.gain.assign(-2.0)
    expected = x - 2 * waves(6, n_features)
    np.testing.assert_allclose(to_numpy(layer(x)), expected, rtol=1e-5, atol=1e-5)
    assert layer.compute_output_shape((None, 6, n_features)) == (None, 6, n_features)
    assert [w.name for w in layer.trainable_weights] == ["gain"]


def test_position_encoding_of_a_file_that_holds_the_initial_gain():
    config = PositionEncoding(name="positions").get_config()
    again = PositionEncoding.from_config({**config, "gain": 0.3})
    assert again.get_config() == config


def test_positions_are_all_different():
    layer = PositionEncoding()
    layer.build((None, None, 8))
    layer.gain.assign(1.0)
    encoded = to_numpy(layer(np.zeros((1, 50, 8), "float32")))[0]
    distances = np.linalg.norm(encoded[:, None] - encoded[None], axis=-1)
    assert distances[~np.eye(50, dtype=bool)].min() > 0.1


# --- self-attention -----------------------------------------------------------------


@pytest.mark.parametrize("n_heads", [1, 2])
def test_self_attention(sequences, n_heads):
    layer = built(SelfAttention(n_heads))
    expected, looks = self_attention(layer, sequences)
    assert looks.shape == (5, n_heads, N_STEPS, N_STEPS)
    np.testing.assert_allclose(
        to_numpy(layer(sequences)), expected, rtol=1e-4, atol=1e-4
    )
    assert layer.compute_output_shape((None, 7, 4)) == (None, 7, 4)


def test_self_attention_to_one_step_does_not_warn(sequences):
    layer = built(SelfAttention(2))
    expected, _ = self_attention(layer, sequences[:, :1])
    np.testing.assert_allclose(
        to_numpy(layer(sequences[:, :1])), expected, rtol=1e-4, atol=1e-4
    )


@pytest.mark.parametrize("n_heads", [1, 2])
def test_self_attention_step_weights(sequences, n_heads):
    layer = built(SelfAttention(n_heads))
    _, looks = self_attention(layer, sequences)
    queries = softmax(np.random.default_rng(2).normal(size=(5, N_STEPS)))
    weights = to_numpy(layer.step_weights(sequences, queries.astype("float32")))
    expected = np.einsum("nq,nhqk->nk", queries, looks) / n_heads
    np.testing.assert_allclose(weights, expected, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(weights.sum(axis=1), 1, rtol=1e-5)
    assert weights.std(axis=1).min() > 0.01  # the weights differ


# --- windows ------------------------------------------------------------------------


@pytest.mark.parametrize("windows", [WINDOWS, (3, 5), (N_STEPS, N_STEPS)])
def test_multi_scale_attention(sequences, windows):
    layer = built(MultiScaleAttention(windows))
    expected, _, shares = multi_scale_attention(layer, sequences)
    assert shares.std() > 0.05  # the shares differ
    np.testing.assert_allclose(
        to_numpy(layer(sequences)), expected, rtol=1e-4, atol=1e-4
    )
    assert layer.compute_output_shape((None, 7, 4)) == (None, 7, 4)


@pytest.mark.parametrize("windows", [WINDOWS, (3, 5), (N_STEPS, N_STEPS)])
def test_multi_scale_attention_step_weights(sequences, windows):
    layer = built(MultiScaleAttention(windows))
    _, looks, shares = multi_scale_attention(layer, sequences)
    queries = softmax(np.random.default_rng(2).normal(size=(5, N_STEPS)))
    weights = to_numpy(layer.step_weights(sequences, queries.astype("float32")))
    expected = np.einsum("w,nq,wnqk->nk", shares, queries, looks)
    np.testing.assert_allclose(weights, expected, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(weights.sum(axis=1), 1, rtol=1e-5)
    assert weights.std(axis=1).min() > 0.01


def test_windows_of_one_size(sequences):
    layer = built(MultiScaleAttention((3,)))
    expected, _, _ = multi_scale_attention(layer, sequences)
    np.testing.assert_allclose(
        to_numpy(layer(sequences)), expected, rtol=1e-4, atol=1e-4
    )


def test_a_step_attends_to_its_windows_only(sequences):
    layer = built(MultiScaleAttention((2, 3)))  # steps 0-1, 2-3, ...; 0-2, 3-5, 6
    before = to_numpy(layer(sequences))
    changed = sequences.copy()
    changed[:, 4] += 1
    after = to_numpy(layer(changed))
    moved = np.abs(after - before).max(axis=(0, 2)) > 1e-3
    assert moved.tolist() == [False, False, False, True, True, True, False]
    changed[:, 4] -= 1
    changed[:, 6] += 1  # the last window, which is padded
    moved = np.abs(to_numpy(layer(changed)) - before).max(axis=(0, 2)) > 1e-3
    assert moved.tolist() == [False] * 6 + [True]


# --- all of them --------------------------------------------------------------------

LAYERS = {
    "positions": lambda: PositionEncoding(),
    "self": lambda: SelfAttention(2, kernel_regularizer=L2(0.5)),
    "multiscale": lambda: MultiScaleAttention(WINDOWS, kernel_regularizer=L2(0.5)),
}


@pytest.mark.parametrize("name", LAYERS)
def test_config_and_weights_make_the_same_layer(sequences, name):
    layer = built(LAYERS[name]())
    again = type(layer).from_config(layer.get_config())
    again.build((None, None, N_FEATURES))
    again.set_weights(layer.get_weights())
    expected = to_numpy(layer(sequences))
    np.testing.assert_array_equal(to_numpy(again(sequences)), expected)
    assert np.abs(expected - sequences).max() > 0.1
    assert len(again.losses) == len(layer.losses)
    for own, other in zip(again.losses, layer.losses, strict=True):
        assert float(own) == pytest.approx(float(other))


@pytest.mark.parametrize("name", ["self", "multiscale"])
def test_the_penalty_is_on_every_kernel(name):
    layer = built(LAYERS[name]())
    kernels = [w.numpy() for w in layer.weights if w.name == "kernel"]
    assert len(kernels) == {"self": 4, "multiscale": 2}[name]
    expected = 0.5 * sum(np.sum(np.square(k)) for k in kernels)
    assert float(sum(layer.losses)) == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("name", LAYERS)
def test_any_number_of_steps(name):
    layer = built(LAYERS[name]())
    inputs = keras.Input((None, N_FEATURES))
    model = keras.Model(inputs, layer(inputs))
    assert model.output_shape == (None, None, N_FEATURES)
    for n_steps in (2, 7, 24):
        x = numbers(n_steps, n_steps)
        np.testing.assert_allclose(
            model.predict_on_batch(x), to_numpy(layer(x)), rtol=1e-4, atol=1e-5
        )


@pytest.mark.parametrize("name", LAYERS)
def test_all_weights_are_trained(sequences, name):
    layer = built(LAYERS[name]())
    inputs = keras.Input((None, N_FEATURES))
    x = keras.layers.GlobalMaxPooling1D()(layer(inputs))
    model = keras.Model(inputs, keras.layers.Dense(2, activation="softmax")(x))
    model.compile("sgd", "sparse_categorical_crossentropy")
    before = [w.numpy() for w in layer.weights]
    model.train_on_batch(sequences, np.arange(5) % 2)
    for weight, old in zip(layer.weights, before, strict=True):
        assert weight.trainable
        # The softmax cancels a constant that all keys share, such as their bias.
        moved = np.abs(weight.numpy() - old).max() > 1e-6
        assert moved or "key/bias" in weight.path, weight.path


def test_heads_that_do_not_divide_the_features():
    message = "n_heads=3 does not divide the 4 features of a step"
    with pytest.raises(ValueError, match=message):
        SelfAttention(3).build((None, None, 4))
    with pytest.raises(ValueError, match="n_heads=4 does not divide the 6 features"):
        lstm((None, 5), 2, units=3, attention="multihead")


@pytest.fixture
def steps():
    return np.random.default_rng(0).normal(3.0, 2.0, (5, 4, 3)).astype("float32")


@pytest.mark.parametrize("units", [None, 2])
def test_attention_pooling(steps, units):
    layer = AttentionPooling(units)
    out = to_numpy(layer(steps))
    kernel, bias, query = layer.get_weights()
    assert kernel.shape == (3, units or 3)
    bias = bias + 0.1
    layer.set_weights([kernel, bias, query])
    out = to_numpy(layer(steps))

    scores = (np.tanh(steps @ kernel + bias) @ query)[..., 0]
    weights = np.exp(scores) / np.exp(scores).sum(axis=1, keepdims=True)
    expected = np.einsum("ns,nsf->nf", weights, steps)
    np.testing.assert_allclose(out, expected, rtol=1e-5, atol=1e-5)
    step_weights = to_numpy(layer.step_weights(steps))
    assert step_weights.shape == (5, 4, 1)
    np.testing.assert_allclose(step_weights.sum(axis=1), 1, rtol=1e-6)
    assert layer.compute_output_shape((None, 4, 3)) == (None, 3)


def test_attention_pooling_penalty(steps):
    layer = AttentionPooling(kernel_regularizer=L2(0.5))
    layer(steps)
    squares = np.sum(np.square(layer.get_weights()[0]))
    assert float(sum(layer.losses)) == pytest.approx(0.5 * squares, rel=1e-5)
