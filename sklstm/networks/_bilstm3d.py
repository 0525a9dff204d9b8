"""The network "bilstm3d": LSTMs along the depth, rows and columns of volumes."""

from typing import Any

from sklstm._keras import keras

from sklstm.networks._blocks import add_dropout, add_l2_penalty, classifier_model
from sklstm.networks._reading import read_input, takes
from sklstm.networks._scan_2d import sweep
from sklstm.networks._volumes import conv_stem_3d, pool_positions

# The axes of (n, depth, height, width, k), and the one along which the LSTMs read last.
_ORDERS = {"depth": (2, 3, 1, 4), "rows": (1, 2, 3, 4), "columns": (1, 3, 2, 4)}


@takes("volumes")
def bilstm3d(
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
    """Build LSTMs that read a volume along its depth, its rows and its columns.

    A stem of 3 x 3 x 3 convolutions halves the volume until its longest side is at most
    8 voxels. One LSTM then reads all lines of the feature map along the depth, one
    reads all rows and one all columns, and their outputs are concatenated at each
    position. So each position knows the three lines that cross there. The mean and the
    maximum over all positions go to the head.

    Parameters
    ----------
    input_shape : tuple
        Shape (depth, height, width, channels) of a volume.
    n_classes : int
        Number of classes.
    units : int
        Number of hidden units of each LSTM in each direction.
    n_layers : int
        Number of layers of three LSTMs. Each reads what the layer before it gives.
    bidirectional : bool
        If True, read all lines in both directions.
    filters : int
        Number of filters of the first convolution. Each halving doubles it, up to four
        times `filters`.
    input_noise : float
        See `lstm`.
    dropout : float
        Dropout rate after each layer of LSTMs.
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

    See Also
    --------
    cnn3d : Convolutions with as many weights, as a control.

    Examples
    --------
    >>> from sklstm.networks import bilstm3d
    >>> bilstm3d((28, 28, 28, 1), n_classes=2).output_shape
    (None, 2)
    """
    inputs, x = read_input(
        input_shape, augmentation=augmentation, input_noise=input_noise
    )
    x, regularizer = add_l2_penalty(x, l2)
    x = conv_stem_3d(x, filters, regularizer)
    for i in range(n_layers):
        x = keras.layers.Concatenate(name=f"join_{i}")([
            _sweep_axis(
                x,
                axis,
                units=units,
                bidirectional=bidirectional,
                regularizer=regularizer,
                prefix=f"{axis}_{i}_",
            )
            for axis in _ORDERS
        ])  # fmt: skip
        x = add_dropout(x, dropout, f"dropout_{i}")
    x = pool_positions(x)
    return classifier_model(inputs, x, n_classes, regularizer, "bilstm3d", ordinal)


def count_lstm_weights(
    n_features: int, units: int, n_layers: int, directions: int
) -> int:
    """Count the weights of all LSTMs on a feature map with so many features."""
    total = 0
    for _ in range(n_layers):
        total += 3 * directions * 4 * units * (n_features + units + 1)
        n_features = 3 * directions * units
    return total


def _sweep_axis(
    x: Any, axis: str, *, units: int, bidirectional: bool, regularizer: Any, prefix: str
) -> Any:
    """Read (n, depth, height, width, k) with one LSTM along the lines of an axis."""
    layers = keras.layers
    # The lines of the axis become the rows of one tall grid.
    order = _ORDERS[axis]
    back = tuple(order.index(i) + 1 for i in range(1, 5))
    if axis != "rows":
        x = layers.Permute(order, name=f"{prefix}turn")(x)
    first, second, n_steps, k = x.shape[1:]
    y = layers.Reshape((first * second, n_steps, k), name=f"{prefix}flat")(x)
    y = sweep(
        y,
        "rows",
        units=units,
        bidirectional=bidirectional,
        regularizer=regularizer,
        prefix=prefix,
    )
    y = layers.Reshape((first, second, n_steps, -1), name=f"{prefix}volume")(y)
    return y if axis == "rows" else layers.Permute(back, name=f"{prefix}back")(y)
