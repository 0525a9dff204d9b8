"""The network "conv_lstm": a convolutional LSTM over volumes and videos."""

from typing import Any

from sklstm._keras import keras

from sklstm.networks._blocks import (
    add_dropout,
    add_l2_penalty,
    classifier_model,
    make_bidirectional,
)
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
    """Build a convolutional LSTM for volumes and videos (Shi et al., 2015).

    A convolution reduces every slice, with stride 2 if its shorter side has 8 pixels or
    more. The convolutional LSTM, whose products are convolutions, then reads the slices
    along the depth. The output of each direction at the slice that it reads last is
    averaged over the positions, and its maximum over them is taken. The head gets both.

    Parameters
    ----------
    input_shape : tuple
        Shape (depth, height, width, channels) of a volume.
    n_classes : int
        Number of classes.
    filters : int
        Number of filters of every convolution.
    n_layers : int
        Number of stacked convolutional LSTM layers.
    bidirectional : bool
        If True, read the slices in both directions.
    input_noise, dropout, l2 : float
        See `lstm`.
    augmentation : None, str, dict or keras.layers.Layer
        See `lstm`. All slices of a volume are changed alike.
    ordinal : bool
        See `lstm`.

    Returns
    -------
    keras.Model
        Network, not compiled. Its output has the shape (n, n_classes) and contains
        probabilities, float32.

    Raises
    ------
    ValueError
        If `augmentation` is invalid.

    References
    ----------
    Shi, X., Chen, Z., Wang, H., Yeung, D.-Y., Wong, W.-K. and Woo, W.-C. (2015).
    Convolutional LSTM network: a machine learning approach for precipitation
    nowcasting. NeurIPS.

    Examples
    --------
    >>> from sklstm.networks import conv_lstm
    >>> conv_lstm((8, 16, 16, 1), n_classes=2, filters=4).output_shape
    (None, 2)
    """
    inputs, x = read_input(
        input_shape, augmentation=augmentation, input_noise=input_noise
    )
    x, regularizer = add_l2_penalty(x, l2)
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
            layer = make_bidirectional(layer, regularizer, f"bidirectional_{i}")
        x = add_dropout(layer(x), dropout, f"dropout_{i}")
    x = layers.Concatenate(name="pooling")(
        [
            layers.GlobalAveragePooling2D(name="mean", **CHANNELS_LAST)(x),
            layers.GlobalMaxPooling2D(name="max", **CHANNELS_LAST)(x),
        ]
    )
    return classifier_model(inputs, x, n_classes, regularizer, "conv_lstm", ordinal)
