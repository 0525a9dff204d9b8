"""A `Forward` gives the outputs, gradients and states of Keras' own call."""

from sklstm._keras import keras

import numpy as np
import pytest

from sklstm import networks
from sklstm.networks import (
    bilstm2d,
    bilstm3d,
    cnn,
    cnn_lstm,
    lstm,
    renet,
    sequencer,
)

pytestmark = [
    pytest.mark.backend,
    pytest.mark.skipif(
        keras.backend.backend() != "torch", reason="the module runs on PyTorch alone"
    ),
]


def odd_layers(input_shape, n_classes):
    """Layers that `Forward` computes itself, with other settings than the networks."""
    layers = keras.layers
    inputs = keras.Input(input_shape)
    x = networks.Standardize()(inputs)
    x = layers.Conv2D(4, 3, dilation_rate=2, padding="same", activation="tanh")(x)
    x = layers.Conv2D(4, 3, strides=2, padding="same")(layers.ZeroPadding2D()(x))
    x = networks.HarmonicConv2D(4, 2, strides=2)(x)
    x = layers.UpSampling2D(3, data_format="channels_last")(x)
    x = layers.Conv2D(4, 2, strides=2, padding="same", groups=2)(x)
    x = layers.BatchNormalization(center=False, scale=False)(x)
    x = layers.LayerNormalization(center=False)(layers.LayerNormalization((2, 3))(x))
    x = layers.MaxPooling2D(3, strides=1)(x)
    x = layers.ReLU(max_value=6)(x)
    x = layers.Permute((3, 1, 2))(x)
    first, second = layers.Reshape((4, -1))(x), layers.Reshape((4, -1))(x + 1)
    x = layers.Concatenate(axis=1)([first, second])
    x = networks.FusedLSTM(3, go_backwards=True, return_sequences=True)(x)
    x = networks.FusedLSTM(3, activation="relu")(x[:, ::2])
    noise = networks.HyperNoise(0.1)
    x = layers.Dropout(0.1, seed=1)(noise(noise(x)))
    return keras.Model(inputs, layers.Dense(n_classes, use_bias=False)(x))


def with_batch_norm(input_shape, n_classes):
    return lstm(input_shape[:2], n_classes, units=3, batch_norm=True, l2=0.1)


def one_direction(input_shape, n_classes):
    return lstm(
        input_shape[:2], n_classes, units=3, bidirectional=False, attention="self"
    )


def two_stages(input_shape, n_classes):
    sizes = {"widths": (8, 12), "depths": (1, 1), "patch_size": 3}
    return sequencer(input_shape, n_classes, drop_path=0.4, **sizes)


SMALL = {"units": 3, "filters": 4}
DEEP = {
    "stem_kernels": "harmonic",
    "stem_blocks": "residual",
    "stem_size": 4,
    "stem_dropout": 0.3,
    "drop_path": 0.4,
}


@pytest.mark.parametrize(
    "build",
    [
        odd_layers,
        with_batch_norm,
        one_direction,
        two_stages,
        lambda shape, n: cnn(shape, n, **SMALL),
        lambda shape, n: cnn(shape, n, **DEEP, **SMALL),
        lambda shape, n: cnn_lstm(shape, n, pooling="last", ordinal=True, **SMALL),
        lambda shape, n: cnn_lstm(shape, n, augmentation="light", **SMALL),
        lambda shape, n: two_stages(shape, n),
        lambda shape, n: bilstm2d(
            shape, n, units=3, patch_size=3, scan="positions", pooling="last"
        ),
        lambda shape, n: renet(shape, n, units=3, patch_size=2),
        lambda shape, n: bilstm3d((6, *shape), n, units=3, filters=2),
    ],
)
def test_matches_kerass_own_call(build):
    import torch

    from sklstm.training._torch_forward import Forward

    keras.utils.set_random_seed(0)
    model = build((8, 8, 1), 3)
    assert Forward.can_run(model)
    forward = Forward(model)
    shape = (5, *(side or 8 for side in model.input_shape[1:]))
    x = torch.tensor(np.random.default_rng(0).normal(2, 3, shape).astype("float32"))
    variables = [v.value for v in model.trainable_weights]
    start = [v.numpy().copy() for v in model.variables]  # and the seeds
    results = []
    for run in (model, forward):
        for variable, value in zip(model.variables, start, strict=True):
            variable.assign(value)
        if run is forward:
            forward.begin()
        found = []
        for _ in range(2):
            outputs = run(x, training=True)
            loss = (outputs**2).sum()
            found += [outputs, *torch.autograd.grad(loss, variables, allow_unused=True)]
        if run is forward:
            forward.end()
        with torch.no_grad():
            found.append(run(x, training=False))
        found += [v.value for v in model.variables]
        results.append(
            [None if r is None else r.detach().numpy().copy() for r in found]
        )
    for own, by_keras in zip(*results[::-1], strict=True):
        if by_keras is None:
            assert own is None
        else:
            np.testing.assert_allclose(own, by_keras, rtol=2e-5, atol=2e-5)


@pytest.mark.parametrize("kind", ["mask", "policy", "activity", "own", "inputs"])
def test_leaves_other_networks_to_keras(kind):
    from sklstm.training._torch_forward import Forward

    class Own(keras.layers.Layer):
        def call(self, x):
            return x

    inputs = [keras.Input((4, 2)) for _ in range(1 + (kind == "inputs"))]
    x = inputs[0]
    if kind == "mask":
        x = keras.layers.Masking()(x)
    elif kind == "policy":
        x = keras.layers.Dense(2, dtype="mixed_bfloat16")(x)
    elif kind == "activity":
        x = keras.layers.Dense(2, activity_regularizer="l2")(x)
    elif kind == "own":
        x = Own()(x)
    elif kind == "inputs":
        x = x + inputs[1]
    assert not Forward.can_run(keras.Model(inputs, x))


def deep(input_shape, n_classes):
    return cnn(input_shape, n_classes, **DEEP, **SMALL)


@pytest.mark.parametrize(
    "build", [with_batch_norm, cnn, cnn_lstm, deep, bilstm2d, renet, two_stages]
)
def test_calls_no_layer_of_the_networks_through_keras(build, monkeypatch):
    import torch

    from sklstm.training._torch_forward import Forward

    model = build((8, 8, 1), 3)
    forward = Forward(model)
    forward.begin()

    def refuse(layer, *args, **kwargs):
        raise AssertionError(layer.name)

    monkeypatch.setattr(keras.layers.Layer, "__call__", refuse)
    forward(torch.ones((2, *(side or 8 for side in model.input_shape[1:]))), True)


def test_kernels_and_their_moments_lie_as_pytorch_reads_them():
    import torch

    from sklstm.training._torch import EagerEngine

    model = cnn((8, 8, 1), 3, **SMALL)
    model.compile("adam", "sparse_categorical_crossentropy")
    model.optimizer.build(model.trainable_variables)
    kernel = model.get_layer("stem_0_1").kernel
    before = kernel.numpy().copy()
    engine = EagerEngine(model)
    np.testing.assert_array_equal(kernel.numpy(), before)
    kernel.assign(2 * before)
    data = engine.load(
        np.ones((4, 8, 8, 1), np.float32), np.zeros(4, np.int32), np.ones(4, np.float32)
    )
    engine.train_epoch(data, np.arange(4, dtype=np.int32), 2)
    index = model.optimizer._get_variable_index(kernel)
    moments = (model.optimizer._momentums[index], model.optimizer._velocities[index])
    for variable in (kernel, *moments):
        as_read = variable.value.permute(3, 2, 0, 1)
        assert as_read.is_contiguous(memory_format=torch.channels_last)
