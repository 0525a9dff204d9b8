"""Convolutions before LSTMs, and without them: ``"cnn_lstm"`` and ``"cnn"``."""

import math
from typing import Any

from sklstm._keras import keras

from sklstm.networks._lstm import classify, lstm_stack, penalize, pool
from sklstm.networks._reading import read_input, takes
from sklstm.networks.layers import HyperDropout

# What of a position's features the LSTMs read: a row's step is all its positions.
_SQUEEZED = 16
# Of images here, whatever Keras is set to.
_ORDER: dict[str, Any] = {"data_format": "channels_last"}


@takes("images")
def cnn_lstm(
    input_shape: tuple[int, ...],
    n_classes: int,
    *,
    units: int = 64,
    n_layers: int = 1,
    bidirectional: bool = True,
    filters: int = 32,
    pooling: str = "max",
    input_noise: float = 0.0,
    dropout: float = 0.0,
    l2: float = 0.0,
    augmentation: Any = None,
) -> keras.Model:
    """Build a convolutional stem whose feature map LSTMs read by rows and by columns.

    The stem halves the image until its shorter side is 8 or less; convolutions of
    3 x 3 with batch normalization, at least two before each halving and four in all. A
    convolution of 1 x 1 leaves 16 features a position. One stack of LSTMs goes down the
    rows of that map, another along its columns; each is pooled over its steps, and the
    two vectors are joined.

    Parameters
    ----------
    input_shape : tuple
        ``(height, width, channels)``.
    n_classes : int
        Number of outputs, a softmax.
    units : int
        Hidden units per direction and layer, of either stack.
    n_layers : int
        LSTM layers of either stack.
    bidirectional : bool
        Read rows and columns in both directions.
    filters : int
        Of the first convolutions; twice as many after each halving, four times at most.
    pooling : {"max", "mean", "last"}
        How the steps become one vector. "last" is the last step each direction reads.
    input_noise, dropout, l2, augmentation
        As in `lstm`.

    Returns
    -------
    keras.Model
        Not compiled. Output (n, n_classes), probabilities in float32.
    """
    if pooling not in ("max", "mean", "last"):
        raise ValueError(
            f"pooling={pooling!r} is none of 'max', 'mean' and 'last', which networks "
            "with convolutions have."
        )
    inputs, x = read_input(
        input_shape, augmentation=augmentation, input_noise=input_noise
    )
    x, regularizer = penalize(x, l2)
    x = _stem(x, filters, regularizer)
    x = _convolve(x, _SQUEEZED, 1, "squeeze", regularizer, relu=False)
    layers = keras.layers
    height, width, _ = x.shape[1:]
    turned = layers.Permute((2, 1, 3), name="turn")(x)
    ends = []
    for name, lines, n_steps in (("rows", x, height), ("columns", turned, width)):
        steps = layers.Reshape((n_steps, -1), name=name)(lines)
        y = lstm_stack(
            steps,
            units=units,
            n_layers=n_layers,
            bidirectional=bidirectional,
            dropout=dropout,
            batch_norm=False,
            regularizer=regularizer,
            last_step_only=pooling == "last",
            prefix=f"{name}_",
        )
        if pooling != "last":
            y = pool(y, pooling, bidirectional, regularizer, f"{name}_pooling")
        ends.append(y)
    x = layers.Concatenate(name="join")(ends)
    return classify(inputs, x, n_classes, regularizer, "cnn_lstm")


@takes("images")
def cnn(
    input_shape: tuple[int, ...],
    n_classes: int,
    *,
    units: int = 64,
    n_layers: int = 1,
    bidirectional: bool = True,
    filters: int = 32,
    pooling: str = "max",
    input_noise: float = 0.0,
    dropout: float = 0.0,
    l2: float = 0.0,
    augmentation: Any = None,
) -> keras.Model:
    """Build `cnn_lstm` with convolutions in the place of the LSTMs: its control.

    The stem is the same. Two convolutions of 3 x 3 follow for each LSTM layer, with as
    many filters as give the network the number of weights that `cnn_lstm` has with the
    same parameters.

    Parameters
    ----------
    input_shape, n_classes, filters, input_noise, dropout, l2, augmentation
        As in `cnn_lstm`.
    units, n_layers, bidirectional
        Of the `cnn_lstm` whose number of weights is matched.
    pooling : {"max", "mean", "last"}
        Over all positions; "last", which they have not, is "mean".

    Returns
    -------
    keras.Model
        Not compiled. Output (n, n_classes), probabilities in float32.
    """
    if pooling not in ("max", "mean", "last"):
        raise ValueError(
            f"pooling={pooling!r} is none of 'max', 'mean' and 'last', which networks "
            "with convolutions have."
        )
    inputs, x = read_input(
        input_shape, augmentation=augmentation, input_noise=input_noise
    )
    x, regularizer = penalize(x, l2)
    x = _stem(x, filters, regularizer)
    depth = x.shape[-1]
    target = _n_weights_of_lstms(
        x.shape[1:], n_classes, units, n_layers, 2 if bidirectional else 1
    )
    width = _matching_filters(target, depth, n_classes, 2 * n_layers)
    for i in range(2 * n_layers):
        x = _convolve(x, width, 3, f"body_{i}", regularizer)
    kinds = keras.layers
    kind = (
        kinds.GlobalMaxPooling2D if pooling == "max" else kinds.GlobalAveragePooling2D
    )
    x = kind(name="pooling", **_ORDER)(x)
    if dropout > 0:
        x = HyperDropout(dropout, name="dropout")(x)
    return classify(inputs, x, n_classes, regularizer, "cnn")


def _stem(x: Any, filters: int, regularizer: Any) -> Any:
    halvings = max(0, math.ceil(math.log2(min(x.shape[1:3]) / 8)))
    each = max(2, 4 // (halvings + 1))
    for i in range(halvings + 1):
        if i > 0:
            x = keras.layers.MaxPooling2D(2, name=f"halve_{i}", **_ORDER)(x)
        for j in range(each):
            width = filters * min(2**i, 4)
            x = _convolve(x, width, 3, f"stem_{i}_{j}", regularizer)
    return x


def _convolve(
    x: Any, filters: int, size: int, name: str, regularizer: Any, relu: bool = True
) -> Any:
    x = keras.layers.Conv2D(
        filters,
        size,
        padding="same",
        use_bias=False,
        kernel_regularizer=regularizer,
        name=name,
        **_ORDER,
    )(x)
    x = keras.layers.BatchNormalization(momentum=0.9, name=f"{name}_norm")(x)
    return keras.layers.ReLU(name=f"{name}_relu")(x) if relu else x


def _n_weights_of_lstms(
    shape: tuple, n_classes: int, units: int, n_layers: int, directions: int
) -> int:
    """Count what `cnn_lstm` has after its stem, the softmax included."""
    height, width, depth = shape
    total = _SQUEEZED * (depth + 2) + (2 * directions * units + 1) * n_classes
    for line in (height, width):
        n_features = line * _SQUEEZED
        for _ in range(n_layers):
            total += directions * 4 * units * (n_features + units + 1)
            n_features = directions * units
    return total


def _matching_filters(target: int, depth: int, n_classes: int, n_layers: int) -> int:
    """Return the filters with which so many convolutions have `target` weights."""

    def n_weights(filters: int) -> int:
        first = 9 * depth * filters
        others = (n_layers - 1) * 9 * filters**2
        return first + others + 2 * n_layers * filters + (filters + 1) * n_classes

    filters = 1
    while n_weights(filters + 1) <= target:
        filters += 1
    return min((filters, filters + 1), key=lambda f: abs(n_weights(f) - target))
