"""The network "cnn3d": convolutions with as many weights as "bilstm3d"."""

import math
from typing import Any

from sklstm._keras import keras

from sklstm.networks._bilstm3d import count_weights, cube_shape, pool_positions
from sklstm.networks._blocks import (
    add_dropout,
    add_l2_penalty,
    classifier_model,
    count_head_weights,
)
from sklstm.networks._reading import read_input, takes
from sklstm.networks.layers._data_format import CHANNELS_LAST

# The stem halves volumes until their longest side is at most this long.
_STEM_SIZE = 8


@takes("volumes")
def cnn3d(
    input_shape: tuple[int, ...],
    n_classes: int,
    *,
    units: int = 64,
    n_layers: int = 1,
    bidirectional: bool = True,
    patch_size: int | None = None,
    filters: int = 16,
    input_noise: float = 0.2,
    dropout: float = 0.3,
    l2: float = 0.0,
    augmentation: Any = None,
    ordinal: bool = False,
) -> keras.Model:
    """Build a 3-D convolutional network with as many weights as `bilstm3d`.

    It is the control of `bilstm3d`. A 3 x 3 x 3 convolution reads the volume. Further
    ones halve it, with stride 2, until its longest side is at most 8 voxels. Two for
    each block of `bilstm3d` then follow. The number of their filters is chosen so that
    the network has the number of weights that `bilstm3d` has with the same parameters.
    Each convolution has a batch normalization and a ReLU. The mean and the maximum over
    all positions go to the head.

    Parameters
    ----------
    input_shape : tuple
        Shape (depth, height, width, channels) of a volume.
    n_classes : int
        Number of classes.
    units, n_layers : int
        Parameters of the `bilstm3d` whose number of weights is matched.
    bidirectional : bool
        Parameter of the `bilstm3d` whose number of weights is matched.
    patch_size : int or None
        Parameter of the `bilstm3d` whose number of weights is matched. The convolutions
        read all voxels, whatever it is.
    filters : int
        Number of filters of the first convolution. Each halving doubles it, up to four
        times `filters`.
    input_noise : float
        See `lstm`.
    dropout : float
        Dropout rate before the head.
    l2 : float
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
        If `augmentation` or `patch_size` is invalid.

    Examples
    --------
    >>> from sklstm.networks import bilstm3d, cnn3d
    >>> models = [build((28, 28, 28, 1), 2) for build in (bilstm3d, cnn3d)]
    >>> n_lstm, n_cnn = (model.count_params() for model in models)
    >>> abs(n_cnn / n_lstm - 1) < 0.05
    True
    """
    inputs, x = read_input(
        input_shape, augmentation=augmentation, input_noise=input_noise
    )
    x, regularizer = add_l2_penalty(x, l2)
    halvings = max(0, math.ceil(math.log2(max(input_shape[:3]) / _STEM_SIZE)))
    n_channels, stem = input_shape[3], 0
    for i in range(halvings + 1):
        width = filters * min(2**i, 4)
        x = _conv_block(x, width, f"stem_{i}", regularizer, strides=2 if i > 0 else 1)
        stem += _count_block(n_channels, width)
        n_channels = width

    def n_head(n_features: int) -> int:
        return count_head_weights(n_features, n_classes, ordinal)

    def n_body(width: int) -> int:
        others = (2 * n_layers - 1) * _count_block(width, width)
        return _count_block(n_channels, width) + others + n_head(2 * width)

    target = count_weights(
        cube_shape(patch_size, input_shape[:3]),
        input_shape[3],
        units,
        n_layers,
        2 if bidirectional else 1,
        n_head,
    )
    width = 1
    while stem + n_body(width + 1) <= target:
        width += 1
    width = min((width, width + 1), key=lambda w: abs(stem + n_body(w) - target))
    for i in range(2 * n_layers):
        x = _conv_block(x, width, f"body_{i}", regularizer)
    x = pool_positions(x)
    x = add_dropout(x, dropout, "dropout")
    return classifier_model(inputs, x, n_classes, regularizer, "cnn3d", ordinal)


def _conv_block(
    x: Any, width: int, name: str, regularizer: Any, strides: int = 1
) -> Any:
    """Add a 3 x 3 x 3 convolution, a batch normalization and a ReLU."""
    x = keras.layers.Conv3D(
        width,
        3,
        strides=strides,
        padding="same",
        use_bias=False,
        kernel_regularizer=regularizer,
        name=name,
        **CHANNELS_LAST,
    )(x)
    x = keras.layers.BatchNormalization(momentum=0.9, name=f"{name}_norm")(x)
    return keras.layers.ReLU(name=f"{name}_relu")(x)


def _count_block(n_inputs: int, width: int) -> int:
    """Count the weights of a convolution and of its batch normalization."""
    return 27 * n_inputs * width + 4 * width
