"""The network "cnn3d": convolutions with as many weights as "bilstm3d"."""

from typing import Any

from sklstm._keras import keras

from sklstm.networks._bilstm3d import count_lstm_weights
from sklstm.networks._blocks import (
    add_dropout,
    add_l2_penalty,
    classifier_model,
    count_head_weights,
    matching_width,
)
from sklstm.networks._reading import read_input, takes
from sklstm.networks._volumes import conv_block_3d, conv_stem_3d, pool_positions


@takes("volumes")
def cnn3d(
    input_shape: tuple[int, ...],
    n_classes: int,
    *,
    units: int = 64,
    n_layers: int = 1,
    bidirectional: bool = True,
    filters: int = 16,
    input_noise: float = 0.2,
    dropout: float = 0.3,
    l2: float = 0.0,
    augmentation: Any = None,
    ordinal: bool = False,
) -> keras.Model:
    """Build a 3-D convolutional network with as many weights as `bilstm3d`.

    It is the control of `bilstm3d`, and has its stem. Two 3 x 3 x 3 convolutions
    replace each layer of LSTMs. The number of their filters is chosen so that the
    network has the number of weights that `bilstm3d` has with the same parameters. The
    mean and the maximum over all positions go to the head.

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
    filters : int
        Number of filters of the first convolution of the stem; see `bilstm3d`.
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
        If `augmentation` is invalid.

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
    x = conv_stem_3d(x, filters, regularizer)
    n_features, directions = x.shape[-1], 2 if bidirectional else 1

    def n_head(n_features: int) -> int:
        return count_head_weights(2 * n_features, n_classes, ordinal)

    def n_weights(width: int) -> int:
        n_kernels = 27 * width * (n_features + (2 * n_layers - 1) * width)
        return n_kernels + 2 * n_layers * 4 * width + n_head(width)

    target = count_lstm_weights(n_features, units, n_layers, directions)
    target += n_head(3 * directions * units)
    width = matching_width(n_weights, target)
    for i in range(2 * n_layers):
        x = conv_block_3d(x, width, f"body_{i}", regularizer)
    x = pool_positions(x)
    x = add_dropout(x, dropout, "dropout")
    return classifier_model(inputs, x, n_classes, regularizer, "cnn3d", ordinal)
