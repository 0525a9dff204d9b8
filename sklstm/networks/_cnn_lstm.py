"""Convolutions, then LSTMs along rows and columns: ``network="cnn_lstm"``."""

from typing import Any

from sklstm._keras import keras

from sklstm.networks._blocks import classify, lstm_stack, penalize, pool
from sklstm.networks._convolutions import check_pooling, convolve, stem
from sklstm.networks._reading import read_input, takes

# What of a position's features the LSTMs read: a row's step is all its positions.
_SQUEEZED = 16


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
    input_noise: float = 0.2,
    dropout: float = 0.3,
    l2: float = 0.0,
    augmentation: Any = None,
    ordinal: bool = False,
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
        Number of outputs.
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
    input_noise, dropout, l2, augmentation, ordinal
        As in `lstm`.

    Returns
    -------
    keras.Model
        Not compiled. Output (n, n_classes), probabilities in float32.
    """
    check_pooling(pooling)
    inputs, x = read_input(
        input_shape, augmentation=augmentation, input_noise=input_noise
    )
    x, regularizer = penalize(x, l2)
    x = stem(x, filters, regularizer)
    x = convolve(x, _SQUEEZED, 1, "squeeze", regularizer, relu=False)
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
    return classify(inputs, x, n_classes, regularizer, "cnn_lstm", ordinal)


def n_weights_of_lstms(
    shape: tuple, units: int, n_layers: int, directions: int, n_head: int
) -> int:
    """Count what `cnn_lstm` has after its stem, the `n_head` of its end included."""
    height, width, depth = shape
    total = _SQUEEZED * (depth + 2) + n_head
    for line in (height, width):
        n_features = line * _SQUEEZED
        for _ in range(n_layers):
            total += directions * 4 * units * (n_features + units + 1)
            n_features = directions * units
    return total
