"""Convolutions alone, as many weights as the hybrid has: ``network="cnn"``."""

from collections.abc import Callable
from typing import Any

from sklstm._keras import keras

from sklstm.networks._blocks import classify, drop, n_head_weights, penalize
from sklstm.networks._cnn_lstm import n_weights_of_lstms
from sklstm.networks._convolutions import check_pooling, convolve, stem
from sklstm.networks._reading import read_input, takes
from sklstm.networks.layers._data_format import CHANNELS_LAST


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
    input_noise: float = 0.2,
    dropout: float = 0.3,
    l2: float = 0.0,
    augmentation: Any = None,
    ordinal: bool = False,
) -> keras.Model:
    """Build `cnn_lstm` with convolutions in the place of the LSTMs: its control.

    The stem is the same. Two convolutions of 3 x 3 follow for each LSTM layer, with as
    many filters as give the network the number of weights that `cnn_lstm` has with the
    same parameters.

    Parameters
    ----------
    input_shape, n_classes, filters, input_noise, dropout, l2, augmentation, ordinal
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
    check_pooling(pooling)
    inputs, x = read_input(
        input_shape, augmentation=augmentation, input_noise=input_noise
    )
    x, regularizer = penalize(x, l2)
    x = stem(x, filters, regularizer)
    depth = x.shape[-1]
    directions = 2 if bidirectional else 1

    def n_head(n_features: int) -> int:
        return n_head_weights(n_features, n_classes, ordinal)

    target = n_weights_of_lstms(
        x.shape[1:], units, n_layers, directions, n_head(2 * directions * units)
    )
    width = _matching_filters(target, depth, n_head, 2 * n_layers)
    for i in range(2 * n_layers):
        x = convolve(x, width, 3, f"body_{i}", regularizer)
    kinds = keras.layers
    kind = (
        kinds.GlobalMaxPooling2D if pooling == "max" else kinds.GlobalAveragePooling2D
    )
    x = kind(name="pooling", **CHANNELS_LAST)(x)
    x = drop(x, dropout, "dropout")
    return classify(inputs, x, n_classes, regularizer, "cnn", ordinal)


def _matching_filters(
    target: int, depth: int, n_head: Callable[[int], int], n_layers: int
) -> int:
    """Return the filters with which so many convolutions have `target` weights."""

    def n_weights(filters: int) -> int:
        first = 9 * depth * filters
        others = (n_layers - 1) * 9 * filters**2
        return first + others + 2 * n_layers * filters + n_head(filters)

    filters = 1
    while n_weights(filters + 1) <= target:
        filters += 1
    return min((filters, filters + 1), key=lambda f: abs(n_weights(f) - target))
