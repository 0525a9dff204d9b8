"""The LSTM network: what its options build."""

import itertools

from sklstm._keras import keras

import numpy as np
import pytest

from sklstm.networks import HyperDropout, lstm


def recurrent_layers(model):
    found = []
    for layer in model.layers:
        if isinstance(layer, keras.layers.Bidirectional):
            found += [layer.forward_layer, layer.backward_layer]
        elif isinstance(layer, keras.layers.LSTM):
            found.append(layer)
    return found


def n_lstm(units, n_features):
    return 4 * units * (n_features + units + 1)


@pytest.mark.parametrize("pooling", ["last", "mean", "max", "attention"])
@pytest.mark.parametrize("bidirectional", [True, False])
@pytest.mark.parametrize("n_layers", [1, 2])
def test_number_of_parameters(pooling, bidirectional, n_layers):
    units, n_features, n_classes = 3, 5, 4
    model = lstm(
        (None, n_features),
        n_classes,
        units=units,
        n_layers=n_layers,
        bidirectional=bidirectional,
        pooling=pooling,
    )
    directions = 2 if bidirectional else 1
    width = directions * units
    expected = directions * n_lstm(units, n_features)
    if n_layers == 2:
        expected += directions * n_lstm(units, width)
    if pooling == "attention":
        expected += width * width + width + width
    expected += (width + 1) * n_classes
    assert sum(int(np.prod(w.shape)) for w in model.trainable_weights) == expected
    assert model.output_shape == (None, n_classes)
    assert len(recurrent_layers(model)) == directions * n_layers


@pytest.mark.parametrize(("given", "width"), [(None, 3), (7, 7)])
def test_embedding(given, width):
    model = lstm((None, 5), 2, units=3, embedding="dense", embedding_units=given)
    kernel, bias = model.get_layer("embedding").get_weights()
    assert kernel.shape == (5, width)
    assert bias.shape == (width,)
    assert model.get_layer("bidirectional_0").input.shape == (None, None, width)


def test_layers_stay_eligible_for_the_fused_kernel():
    # All cuDNN paths of Keras require this.
    for bidirectional, n_layers in itertools.product([True, False], [1, 2]):
        model = lstm(
            (None, 5), 2, units=3, bidirectional=bidirectional, n_layers=n_layers,
            dropout=0.5, l2=0.1, batch_norm=True,
        )  # fmt: skip
        for layer in recurrent_layers(model):
            config = layer.get_config()
            assert config["activation"] == "tanh"
            assert config["recurrent_activation"] == "sigmoid"
            assert config["use_bias"] is True
            assert config["unroll"] is False
            assert config["recurrent_dropout"] == 0
            assert config["dropout"] == 0
            assert layer.use_cudnn in (True, "auto")


def test_recurrent_kernels_start_orthogonal():
    for layer in recurrent_layers(lstm((None, 5), 2, units=6)):
        kernel = layer.cell.recurrent_kernel.numpy()
        np.testing.assert_allclose(kernel @ kernel.T, np.eye(6), atol=1e-5)
        bias = layer.cell.bias.numpy()
        np.testing.assert_array_equal(bias, np.repeat([0.0, 1.0, 0.0, 0.0], 6))


@pytest.mark.parametrize("pooling", ["last", "mean", "max", "attention"])
def test_any_number_of_steps(pooling):
    model = lstm((None, 3), 4, units=2, pooling=pooling)
    rng = np.random.default_rng(0)
    # Keras warns about a softmax over one step.
    for n_steps in (2, 4, 9) if pooling == "attention" else (1, 4, 9):
        out = np.asarray(model(rng.normal(size=(2, n_steps, 3)).astype("float32")))
        assert out.shape == (2, 4)
        np.testing.assert_allclose(out.sum(axis=1), 1, rtol=1e-6)


@pytest.mark.parametrize("pooling", ["last", "mean", "max"])
def test_pooling_of_the_steps(pooling):
    model = lstm((None, 3), 4, units=2, pooling=pooling)
    x = np.random.default_rng(0).normal(size=(2, 5, 3)).astype("float32")
    inner = model.get_layer("bidirectional_0")
    forward, backward = inner.forward_layer, inner.backward_layer
    assert backward.go_backwards
    for layer in (forward, backward):
        layer.return_sequences = True
    ahead = np.asarray(forward(x))
    back = np.asarray(backward(x))  # in the order of reading: last step first
    if pooling == "last":
        pooled = np.concatenate([ahead[:, -1], back[:, -1]], axis=1)
    elif pooling == "mean":
        pooled = np.concatenate([ahead.mean(axis=1), back.mean(axis=1)], axis=1)
    else:
        pooled = np.concatenate([ahead.max(axis=1), back.max(axis=1)], axis=1)
    for layer in (forward, backward):
        layer.return_sequences = pooling != "last"
    kernel, bias = model.get_layer("probabilities").get_weights()
    logits = pooled @ kernel + bias
    expected = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    np.testing.assert_allclose(np.asarray(model(x)), expected, rtol=1e-4, atol=1e-6)


def test_dropout_and_batch_norm_after_every_layer():
    model = lstm((None, 3), 4, units=2, n_layers=2, dropout=0.3, batch_norm=True)
    names = [layer.name for layer in model.layers]
    for i in range(2):
        place = names.index(f"bidirectional_{i}")
        assert names[place + 1 : place + 3] == [f"batch_norm_{i}", f"dropout_{i}"]
        dropout = model.get_layer(f"dropout_{i}")
        assert isinstance(dropout, HyperDropout)
        assert float(dropout.rate) == pytest.approx(0.3)
    noisy = lstm((None, 3), 4, units=2, input_noise=0.4, dropout=0.0)
    assert [layer.name for layer in noisy.layers[1:3]] == ["standardize", "input_noise"]
    assert float(noisy.get_layer("input_noise").stddev) == pytest.approx(0.4)
    plain = lstm((None, 3), 4, units=2, input_noise=0.0, dropout=0.0)
    assert [layer.name for layer in plain.layers[2:]] == [
        "bidirectional_0",
        "probabilities",
    ]


def test_l2_is_on_every_kernel_and_on_no_bias():
    model = lstm(
        (None, 3), 4, units=2, l2=0.5, n_layers=2, embedding="dense",
        pooling="attention",
    )  # fmt: skip
    kernels = [w for w in model.trainable_weights if w.name.endswith("kernel")]
    assert len(kernels) == 1 + 2 * 2 * 2 + 1 + 1
    expected = 0.5 * sum(np.sum(np.square(k.numpy())) for k in kernels)
    assert float(sum(model.losses)) == pytest.approx(expected, rel=1e-5)
    model.get_layer("l2").l2.assign(0.0)
    assert float(sum(model.losses)) == 0
    assert lstm((None, 3), 4, units=2).losses == []


def test_float32_softmax_under_mixed_precision():
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy("mixed_float16")
    try:
        model = lstm(
            (None, 3), 4, units=2, dropout=0.2, l2=0.1, batch_norm=True,
            pooling="attention",
        )  # fmt: skip
    finally:
        keras.config.set_dtype_policy(before)
    assert model.get_layer("bidirectional_0").compute_dtype == "float16"
    x = np.random.default_rng(0).normal(size=(2, 5, 3)).astype("float32")
    out = np.asarray(model(x, training=True))
    assert out.dtype == np.float32
    np.testing.assert_allclose(out.sum(axis=1), 1, rtol=1e-6)
