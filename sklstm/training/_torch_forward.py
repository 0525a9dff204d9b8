"""A functional network of Keras as a list of calls of PyTorch.

Keras calls a layer through checks of its arguments, its masks and its dtype, which take
longer than the layer in a small network. Keras' convolutions copy their input into
another layout and back. A `Forward` makes these checks once. It calls the layers that
it knows directly, and the others through Keras. The numbers are Keras' up to rounding.
"""

import functools
from collections.abc import Callable
from typing import Any

from sklstm._keras import keras

import torch
from keras.src.backend.torch.core import get_device
from keras.src.models.functional import Functional

from sklstm.networks import layers
from sklstm.networks.layers import _torch_lstm
from sklstm.networks.layers._harmonic import cosine_basis

# These give or take masks, and `Forward` knows none.
_MASKING = (
    keras.layers.Masking,
    keras.layers.Embedding,
    keras.layers.Lambda,
    keras.layers.TimeDistributed,
)
_PLAIN = (
    layers.PenaltyStrength,
    layers.Scan,
    layers.Patches,
    layers.GridToLines,
    layers.LinesToGrid,
    keras.layers.Flatten,
    keras.layers.GlobalAveragePooling1D,
    keras.layers.GlobalAveragePooling2D,
    keras.layers.GlobalMaxPooling1D,
    keras.layers.GlobalMaxPooling2D,
)


class Forward:
    """Computes the output of a functional network.

    Parameters
    ----------
    model : keras.Model
        Network for which `can_run` is True.
    """

    def __init__(self, model: keras.Model) -> None:
        self._seeds = Seeds()
        self._calls: list[tuple] = []
        self._model = model
        self._n_axes = len(model.inputs[0].shape)
        places = {id(model.inputs[0]): 0}
        for depth in sorted(model._nodes_by_depth, reverse=True):
            for node in model._nodes_by_depth[depth]:
                if node.is_input:
                    continue
                known = _known(node, self._seeds)
                sources = [places[id(x)] for x in node.input_tensors]
                for x in node.outputs:
                    places[id(x)] = len(places)
                first = places[id(node.outputs[0])]
                call = known or _by_keras(node)
                self._calls.append((call, sources, first, len(node.outputs)))
        self._n_places = len(places)
        self._last = places[id(model.outputs[0])]

    @staticmethod
    def can_run(model: keras.Model) -> bool:
        """Return whether the network consists of layers that need no checks."""
        if not _is_functional(model):
            return False
        parts = [part for part in model._flatten_layers() if part is not model]
        return all(map(_is_plain, parts)) and all(
            type(operation).__module__.startswith(("keras.src.", "sklstm."))
            for operation in model.operations
        )

    def __call__(self, x: Any, training: bool) -> Any:
        """Return the output for a batch in float32."""
        if x.ndim != self._n_axes:
            (x,) = self._model._adjust_input_rank([x])
        values: list = [None] * self._n_places
        values[0] = x
        for call, sources, first, n_outputs in self._calls:
            given = [values[i] for i in sources]
            result = call(given, training)
            if n_outputs == 1:
                values[first] = result
            else:
                values[first : first + n_outputs] = result
        return values[self._last]

    def begin(self) -> None:
        """Read the state of the generators of noise, before a number of batches."""
        self._seeds.read()

    def end(self) -> None:
        """Write the state of the generators of noise, after a number of batches."""
        self._seeds.write()


class Seeds:
    """The seeds that layers draw, counted on the host.

    Keras keeps the count in a variable, which has to be read from the device for each
    draw.
    """

    def __init__(self) -> None:
        self._states: list = []
        self._first: list[int] = []
        self._drawn: list[int] = []

    def add(self, generator: keras.random.SeedGenerator) -> Callable[[], Any]:
        """Return a function that makes the next generator that Keras would make."""
        # A layer that is called twice draws twice from one generator.
        places = [id(state) for state in self._states]
        if id(generator.state) not in places:
            places.append(id(generator.state))
            self._states.append(generator.state)
        place = places.index(id(generator.state))

        def draw() -> Any:
            seed = self._first[place] + self._drawn[place]
            self._drawn[place] += 1
            made = torch.Generator(device=get_device())
            made.manual_seed(seed & 0xFFFFFFFF)
            return made

        return draw

    def read(self) -> None:
        states = [state.value.tolist() for state in self._states]
        self._first = [sum(state) for state in states]
        self._drawn = [0] * len(states)

    def write(self) -> None:
        for state, n in zip(self._states, self._drawn, strict=True):
            state.value[1] += n


def arrange(model: keras.Model) -> None:
    """Keep the kernels of convolutions in memory as PyTorch reads them.

    Shape and values stay those of Keras. Otherwise, each call of a convolution copies
    its kernel. The moments of the optimizer follow, as they meet the gradients.

    Parameters
    ----------
    model : keras.Model
        Compiled model whose optimizer is built.
    """
    kernels = [
        layer.kernel
        for layer in model._flatten_layers()
        if type(layer) is keras.layers.Conv2D and layer.data_format == "channels_last"
    ]
    shapes = {tuple(kernel.shape) for kernel in kernels}
    slots = [v for v in model.optimizer.variables if tuple(v.shape) in shapes]
    for variable in [*kernels, *slots]:
        parameter = variable.value
        parameter.data = (
            parameter.data.permute(3, 2, 0, 1)
            .contiguous(memory_format=torch.channels_last)
            .permute(2, 3, 1, 0)
        )


def _is_functional(model: Any) -> bool:
    """Return whether a model is a graph of layers with one input and one output."""
    return (
        type(model) is Functional
        and len(model.inputs) == len(model.outputs) == 1
        and model.inputs[0].dtype == "float32"
    )


def _is_plain(layer: Any) -> bool:
    """Return whether a layer computes in float32, has no masks and adds no loss."""
    return (
        type(layer).__module__.startswith(("keras.src.layers.", "sklstm."))
        and not isinstance(layer, _MASKING)
        and layer.compute_dtype == layer.variable_dtype == "float32"
        and layer.quantization_mode is None
        and getattr(layer, "activity_regularizer", None) is None
    )


def _by_keras(node: Any) -> Callable:
    operation = node.operation
    tensors = node.input_tensors
    own_training = getattr(operation, "_call_has_training_arg", False)

    def call(given: list, training: bool) -> Any:
        found = {id(x): value for x, value in zip(tensors, given, strict=True)}
        args, kwargs = node.arguments.fill_in(found)
        if own_training:
            kwargs = {**kwargs, "training": training}
        return operation(*args, **kwargs)

    return call


def _known(node: Any, seeds: Seeds) -> Callable | None:
    """Return a function of the inputs that computes a node, None for most nodes."""
    layer = node.operation
    make = _MAKERS.get(type(layer))
    single = len(node.input_tensors) == 1 and len(node.outputs) == 1
    given = {**node.arguments.kwargs, "training": None}
    if make is None or any(value is not None for value in given.values()):
        return None
    if not single and type(layer) not in (keras.layers.Concatenate, keras.layers.Add):
        return None
    return make(layer, seeds)


def _plain(layer: Any, seeds: Seeds) -> Callable:
    return lambda given, training: layer.call(given[0])


def _standardize(layer: Any, seeds: Seeds) -> Callable:
    mean, scale = layer.mean.value, layer.scale.value
    return lambda given, training: (given[0] - mean) / scale


def _noise(layer: Any, seeds: Seeds) -> Callable:
    stddev, draw = layer.stddev.value, seeds.add(layer.seed_generator)

    def call(given: list, training: bool) -> Any:
        (x,) = given
        if not training:
            return x
        noise = torch.normal(
            0.0, 1.0, x.shape, generator=draw(), dtype=x.dtype, device=x.device
        )
        return x + noise.mul_(stddev)

    return call


def _dropout(layer: Any, seeds: Seeds) -> Callable:
    rate, draw = layer.rate.value, seeds.add(layer.seed_generator)

    def call(given: list, training: bool) -> Any:
        (x,) = given
        if not training:
            return x
        uniform = torch.rand(x.shape, generator=draw(), dtype=x.dtype, device=x.device)
        return x * ((uniform >= rate) / (1 - rate))

    return call


def _drop_path(layer: Any, seeds: Seeds) -> Callable:
    rate, share = layer.rate.value, layer.share
    draw = seeds.add(layer.seed_generator)

    def call(given: list, training: bool) -> Any:
        (x,) = given
        if not training:
            return x
        shape = (len(x), *(1,) * (x.ndim - 1))
        uniform = torch.rand(shape, generator=draw(), dtype=x.dtype, device=x.device)
        own = rate * share
        return x * ((uniform >= own) / (1 - own))

    return call


def _dense(layer: Any, seeds: Seeds) -> Callable | None:
    if layer.lora_enabled:
        return None
    kernel = layer.kernel.value
    bias = layer.bias.value if layer.use_bias else None
    activation = layer.activation
    if activation is keras.activations.linear:
        activation = None
    elif activation is keras.activations.softmax:
        activation = _softmax

    def call(given: list, training: bool) -> Any:
        x = torch.nn.functional.linear(given[0], kernel.t(), bias)
        return x if activation is None else activation(x)

    return call


def _softmax(x: Any) -> Any:
    return torch.softmax(x, -1)


def _convolution(layer: Any, seeds: Seeds) -> Callable | None:
    if (
        layer.data_format != "channels_last"
        or layer.padding not in ("same", "valid")
        or layer.lora_enabled
    ):
        return None
    kernel = layer.kernel.value
    settings = {
        "bias": layer.bias.value if layer.use_bias else None,
        "stride": layer.strides,
        "dilation": layer.dilation_rate,
        "groups": layer.groups,
    }
    same = layer.padding == "same"
    activation = layer.activation
    if activation is keras.activations.linear:
        activation = None

    def call(given: list, training: bool) -> Any:
        x = _convolve(given[0], kernel, same, **settings)
        return x if activation is None else activation(x)

    return call


def _harmonic_convolution(layer: Any, seeds: Seeds) -> Callable:
    size, strides = layer.kernel_size, (layer.strides, layer.strides)
    coefficients = layer.coefficients.value
    n_waves, n_inputs, filters = coefficients.shape
    # A copy, because PyTorch takes no arrays that cannot be written to.
    basis = torch.tensor(cosine_basis(size).T.copy(), device=coefficients.device)

    def call(given: list, training: bool) -> Any:
        kernel = basis @ coefficients.reshape(n_waves, -1)
        kernel = kernel.reshape(size, size, n_inputs, filters)
        return _convolve(given[0], kernel, True, stride=strides)

    return call


def _cosine_transform(layer: Any, seeds: Seeds) -> Callable:
    kernel = torch.tensor(layer.make_kernel(layer.input.shape[-1]), device=get_device())
    return lambda given, training: _convolve(given[0], kernel, True)


def _convolve(
    x: Any,
    kernel: Any,
    same: bool,
    *,
    stride: tuple = (1, 1),
    dilation: tuple = (1, 1),
    **settings: Any,
) -> Any:
    """Convolve images (n, height, width, channels) with a kernel of Keras' shape.

    With `same`, there is Keras' padding: if it is odd, the end has one more.
    """
    # Keras' arrays are PyTorch's channels last.
    weights = kernel.permute(3, 2, 0, 1).contiguous(memory_format=torch.channels_last)
    x = x.permute(0, 3, 1, 2)
    padding = [0, 0]
    if same:
        pads = [
            max(0, (size - 1) * gap + 1 - ((length - 1) % step + 1))
            for size, gap, step, length in zip(
                kernel.shape, dilation, stride, x.shape[2:], strict=False
            )
        ]
        if any(pad % 2 for pad in pads):
            down, across = pads
            ends = (across // 2, across - across // 2, down // 2, down - down // 2)
            x = torch.nn.functional.pad(x, ends)
        else:
            padding = [pad // 2 for pad in pads]
    x = torch.conv2d(
        x, weights, stride=stride, padding=padding, dilation=dilation, **settings
    )
    return x.permute(0, 2, 3, 1)


def _batch_normalization(layer: Any, seeds: Seeds) -> Callable | None:
    if layer.axis not in (-1, layer.input_spec.ndim - 1):
        return None
    # Keras 3.12 has no `renorm`.
    if getattr(layer, "renorm", False) or layer.synchronized:
        return None
    gamma = layer.gamma.value if layer.scale else None
    beta = layer.beta.value if layer.center else None
    mean, variance = layer.moving_mean.value, layer.moving_variance.value
    epsilon, momentum = layer.epsilon, layer.momentum

    def call(given: list, training: bool) -> Any:
        (x,) = given
        if x.ndim == 4:
            y = x.permute(0, 3, 1, 2)
        else:
            y = x.reshape(-1, x.shape[-1])
        if training and layer.trainable:
            y, now, scale = torch.native_batch_norm(
                y, gamma, beta, None, None, True, 0.0, epsilon
            )
            with torch.no_grad():
                # Keras averages the variance over n and not over n - 1.
                mean.lerp_(now.detach(), 1 - momentum)
                variance.lerp_(scale.detach().pow(-2) - epsilon, 1 - momentum)
        else:
            y = torch.native_batch_norm(
                y, gamma, beta, mean, variance, False, 0.0, epsilon
            )[0]
        return y.permute(0, 2, 3, 1) if x.ndim == 4 else y.reshape(x.shape)

    return call


def _layer_normalization(layer: Any, seeds: Seeds) -> Callable | None:
    if layer.axis not in ([-1], [layer.input.ndim - 1]) or layer.rms_scaling:
        return None
    gamma = layer.gamma.value if layer.scale else None
    beta = layer.beta.value if layer.center else None
    epsilon = layer.epsilon

    def call(given: list, training: bool) -> Any:
        (x,) = given
        return torch.nn.functional.layer_norm(x, x.shape[-1:], gamma, beta, epsilon)

    return call


def _relu(layer: Any, seeds: Seeds) -> Callable | None:
    if layer.max_value is not None or layer.negative_slope or layer.threshold:
        return None
    return lambda given, training: torch.relu(given[0])


def _pooling(layer: Any, seeds: Seeds) -> Callable | None:
    if layer.data_format != "channels_last" or layer.padding != "valid":
        return None
    size, strides = layer.pool_size, layer.strides

    def call(given: list, training: bool) -> Any:
        x = given[0].permute(0, 3, 1, 2)
        return torch.max_pool2d(x, size, strides).permute(0, 2, 3, 1)

    return call


def _permute(layer: Any, seeds: Seeds) -> Callable:
    return lambda given, training: given[0].permute(0, *layer.dims)


def _reshape(layer: Any, seeds: Seeds) -> Callable:
    shape = layer.target_shape
    return lambda given, training: given[0].reshape(len(given[0]), *shape)


def _concatenate(layer: Any, seeds: Seeds) -> Callable:
    return lambda given, training: torch.cat(given, layer.axis)


def _add(layer: Any, seeds: Seeds) -> Callable:
    return lambda given, training: functools.reduce(torch.add, given)


def _lstm(layer: Any, seeds: Seeds) -> Callable | None:
    if not layer.can_fuse():
        return None
    if isinstance(layer, layers.FusedBidirectional):
        directions = [layer.forward_layer, layer.backward_layer]
        backwards = False
    else:
        directions, backwards = [layer], layer.go_backwards
    cells = [one.cell for one in directions]
    weights = [
        (cell.kernel.value, cell.recurrent_kernel.value, cell.bias.value)
        for cell in cells
    ]

    def call(given: list, training: bool) -> Any:
        x = given[0].flip(1) if backwards else given[0]
        return _torch_lstm.scan(x, weights, layer.return_sequences)

    return call


_MAKERS: dict[type, Callable] = {
    **dict.fromkeys(_PLAIN, _plain),
    layers.Standardize: _standardize,
    layers.HyperNoise: _noise,
    layers.HyperDropout: _dropout,
    layers.StemDropout: _dropout,
    layers.DropPath: _drop_path,
    layers.FusedLSTM: _lstm,
    layers.FusedBidirectional: _lstm,
    keras.layers.Dense: _dense,
    keras.layers.Conv2D: _convolution,
    layers.HarmonicConv2D: _harmonic_convolution,
    layers.CosineTransform: _cosine_transform,
    layers.FusedBatchNormalization: _batch_normalization,
    keras.layers.BatchNormalization: _batch_normalization,
    keras.layers.LayerNormalization: _layer_normalization,
    keras.layers.ReLU: _relu,
    keras.layers.MaxPooling2D: _pooling,
    keras.layers.Permute: _permute,
    keras.layers.Reshape: _reshape,
    keras.layers.Concatenate: _concatenate,
    keras.layers.Add: _add,
}
