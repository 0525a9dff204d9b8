"""Convolutional LSTM over the slices of a volume or video: ``network="conv_lstm"``."""

from typing import Any

from sklstm._keras import keras

from sklstm.networks._blocks import both_ways, classify, drop, penalize
from sklstm.networks._reading import read_input, takes
from sklstm.networks.layers._data_format import CHANNELS_LAST


@takes("volumes")
def conv_lstm(
    input_shape: tuple[int, ...],
    n_classes: int,
    *,
    filters: int = 16,
    n_layers: int = 1,
    bidirectional: bool = True,
    input_noise: float = 0.2,
    dropout: float = 0.3,
    l2: float = 0.0,
    augmentation: Any = None,
    ordinal: bool = False,
) -> keras.Model:
    """Build a convolutional LSTM (Shi et al., 2015) for volumes and videos.

    A convolution of stride 2 makes every slice smaller; then the LSTM, whose products
    are convolutions, goes along the depth. Its last state in each direction, averaged
    over the positions and its maximum over them, goes to the end of the network.

    Parameters
    ----------
    input_shape : tuple
        ``(depth, height, width, channels)``.
    n_classes : int
        Number of outputs.
    filters : int
        Of every convolution.
    n_layers : int
        Convolutional LSTM layers, one on the other.
    bidirectional : bool
        Go along the depth both ways.
    input_noise, dropout, l2, augmentation, ordinal
        As in `lstm`; augmentation changes all slices of a volume alike.

    Returns
    -------
    keras.Model
        Not compiled. Output (n, n_classes), probabilities in float32.
    """
    inputs, x = read_input(
        input_shape, augmentation=augmentation, input_noise=input_noise
    )
    x, regularizer = penalize(x, l2)
    layers = keras.layers
    x = layers.TimeDistributed(
        layers.Conv2D(
            filters,
            3,
            strides=2 if min(input_shape[1:3]) >= 8 else 1,
            padding="same",
            activation="relu",
            kernel_regularizer=regularizer,
            **CHANNELS_LAST,
        ),
        name="stem",
    )(x)
    for i in range(n_layers):
        layer: Any = layers.ConvLSTM2D(
            filters,
            3,
            padding="same",
            return_sequences=i < n_layers - 1,
            kernel_regularizer=regularizer,
            recurrent_regularizer=regularizer,
            name=f"conv_lstm_{i}",
            **CHANNELS_LAST,
        )
        if bidirectional:
            layer = both_ways(layer, regularizer, f"bidirectional_{i}")
        x = drop(layer(x), dropout, f"dropout_{i}")
    x = layers.Concatenate(name="pooling")(
        [
            layers.GlobalAveragePooling2D(name="mean", **CHANNELS_LAST)(x),
            layers.GlobalMaxPooling2D(name="max", **CHANNELS_LAST)(x),
        ]
    )
    return classify(inputs, x, n_classes, regularizer, "conv_lstm", ordinal)
