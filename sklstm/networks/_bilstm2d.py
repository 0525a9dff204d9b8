"""The network "bilstm2d": LSTMs along the rows and along the columns of an image."""

from typing import Any

from sklstm._keras import keras

from sklstm.networks._blocks import add_l2_penalty, classifier_model
from sklstm.networks._reading import read_input, takes
from sklstm.networks._scan_2d import check_scan, scan_2d
from sklstm.networks.layers import Patches
from sklstm.networks.layers._patches import patch_side


@takes("images")
def bilstm2d(
    input_shape: tuple[int, ...],
    n_classes: int,
    *,
    units: int = 64,
    n_layers: int = 1,
    bidirectional: bool = True,
    patch_size: int | None = None,
    scan: str = "lines",
    pooling: str = "max",
    input_noise: float = 0.5,
    dropout: float = 0.3,
    l2: float = 0.0,
    augmentation: Any = None,
    ordinal: bool = False,
) -> keras.Model:
    """Build LSTMs over the rows and over the columns of the patches of an image.

    The network cuts an image into patches that do not overlap. One LSTM reads the grid
    of patches from top to bottom, another reads it from left to right. Both run side by
    side on the same input, each in both directions.

    Parameters
    ----------
    input_shape : tuple
        Shape (height, width, channels) of an image.
    n_classes : int
        Number of classes.
    units : int
        Number of hidden units of each LSTM per direction and layer.
    n_layers : int
        Number of layers.
    bidirectional : bool
        If True, read the rows and the columns in both directions.
    patch_size : int or None
        Side of the square patches in pixels. Zeros fill the last patches if it does not
        divide the image. If None, it is the smallest for which an image has no more
        patches than about 16 x 16: 1 for 8 x 8, 2 for 28 x 28 and 4 for 64 x 64 pixels.
    scan : {"lines", "positions"}
        Unit that the LSTMs read as a step. With "lines", a step is a whole row or a
        whole column of patches, so that two sequences describe an image. With
        "positions", a step is a patch: every row and every column is a sequence of its
        own. The outputs of both LSTMs are then concatenated at each position, and the
        next layer reads them again in both ways, as in the layer BiLSTM2D of [1]_. This
        is slower, because each LSTM computes as many steps as there are patches.
    pooling : {"max", "mean", "last", "attention", "flatten"}
        How to make one vector of all steps. "last" takes the output of each direction
        at the step that it reads last; with "positions", this is the mean over the
        lines. "attention", an `AttentionPooling`, and "flatten", which keeps all
        positions side by side, need "positions".
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
        If `augmentation` or `scan` is invalid, if `scan` does not have this `pooling`,
        or if a patch is larger than the images.

    References
    ----------
    .. [1] Y. Tatsunami and M. Taki, "Sequencer: deep LSTM for image classification",
       NeurIPS 2022.

    Examples
    --------
    >>> from sklstm.networks import bilstm2d
    >>> model = bilstm2d((28, 28, 1), n_classes=10)
    >>> model.get_layer("patches").output.shape
    (None, 14, 14, 4)
    >>> model.output_shape
    (None, 10)
    """
    check_scan(scan, pooling, "flatten")
    side = patch_side(patch_size, *input_shape[:2])
    inputs, x = read_input(
        input_shape, augmentation=augmentation, input_noise=input_noise
    )
    x, regularizer = add_l2_penalty(x, l2)
    x = Patches(side, name="patches")(x)
    x = scan_2d(
        x,
        scan=scan,
        units=units,
        n_layers=n_layers,
        bidirectional=bidirectional,
        pooling=pooling,
        dropout=dropout,
        regularizer=regularizer,
    )
    return classifier_model(inputs, x, n_classes, regularizer, "bilstm2d", ordinal)
