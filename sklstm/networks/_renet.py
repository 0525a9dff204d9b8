"""The network "renet": LSTMs along the columns of an image, then along its rows."""

from typing import Any

from sklstm._keras import keras

from sklstm.networks._blocks import (
    add_dropout,
    add_l2_penalty,
    check_pooling,
    classifier_model,
)
from sklstm.networks._reading import read_input, takes
from sklstm.networks._scan_2d import pool_positions, sweep
from sklstm.networks.layers import Patches
from sklstm.networks.layers._patches import patch_side


@takes("images")
def renet(
    input_shape: tuple[int, ...],
    n_classes: int,
    *,
    units: int = 64,
    n_layers: int = 1,
    bidirectional: bool = True,
    patch_size: int | None = None,
    pooling: str = "flatten",
    input_noise: float = 0.5,
    dropout: float = 0.3,
    l2: float = 0.0,
    augmentation: Any = None,
    ordinal: bool = False,
) -> keras.Model:
    """Build a ReNet: LSTMs along the columns of patches, then along the rows [1]_.

    The network cuts an image into patches that do not overlap. In each layer, an LSTM
    reads every column of patches as a sequence, and a second one reads every row of the
    first one's outputs. Through both, each position depends on the whole image. The
    output layer reads all positions of the last layer, as in the paper.

    Parameters
    ----------
    input_shape : tuple
        Shape (height, width, channels) of an image.
    n_classes : int
        Number of classes.
    units : int
        Number of hidden units of each LSTM per direction.
    n_layers : int
        Number of layers. Each reads the columns, then the rows.
    bidirectional : bool
        If True, read the columns and the rows in both directions.
    patch_size : int or None
        Side of the square patches in pixels; see `bilstm2d`.
    pooling : {"flatten", "max", "mean", "attention"}
        How to make one vector of all positions. "flatten" keeps them side by side, and
        "attention" is an `AttentionPooling`.
    input_noise, dropout, l2 : float
        See `lstm`.
    augmentation : None, str, dict or keras.layers.Layer
        See `lstm`.
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
        If `augmentation` or `pooling` is invalid, or if a patch is larger than the
        images.

    References
    ----------
    .. [1] F. Visin, K. Kastner, K. Cho, M. Matteucci, A. Courville and Y. Bengio,
       "ReNet: a recurrent neural network based alternative to convolutional networks",
       arXiv 1505.00393, 2015.

    Examples
    --------
    >>> from sklstm.networks import renet
    >>> renet((28, 28, 1), n_classes=10, n_layers=2).output_shape
    (None, 10)
    """
    check_pooling(pooling, ("flatten", "max", "mean", "attention"), "network='renet'")
    side = patch_side(patch_size, *input_shape[:2])
    inputs, x = read_input(
        input_shape, augmentation=augmentation, input_noise=input_noise
    )
    x, regularizer = add_l2_penalty(x, l2)
    x = Patches(side, name="patches")(x)
    for i in range(n_layers):
        for axis in ("columns", "rows"):
            x = sweep(
                x,
                axis,
                units=units,
                bidirectional=bidirectional,
                regularizer=regularizer,
                prefix=f"{axis}_{i}_",
            )
        x = add_dropout(x, dropout, f"dropout_{i}")
    x = pool_positions(x, pooling, regularizer)
    return classifier_model(inputs, x, n_classes, regularizer, "renet", ordinal)
