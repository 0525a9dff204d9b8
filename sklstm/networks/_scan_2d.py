"""LSTMs that read a grid in two directions: along its rows and along its columns."""

from typing import Any

from sklstm._keras import keras

from sklstm.networks._blocks import lstm_layer
from sklstm.networks.layers import GridToLines, LinesToGrid


def bilstm_2d(
    x: Any, *, units: int, bidirectional: bool = True, regularizer: Any, prefix: str
) -> Any:
    """Read a grid along its rows and along its columns, and join both per position.

    One LSTM reads every row from left to right, another reads every column from top to
    bottom, and both read the same input. With `bidirectional`, they read in the other
    direction as well. The lines are folded into the batch, so that each LSTM runs once
    for all of them.

    Parameters
    ----------
    x : keras.KerasTensor of shape (n, down, across, k)
        Grid.
    units : int
        Number of hidden units of each LSTM in each direction.
    bidirectional : bool
        If True, each LSTM is bidirectional.
    regularizer : keras.regularizers.Regularizer or None
        Penalty on the kernels.
    prefix : str
        Start of the names of all layers.

    Returns
    -------
    keras.KerasTensor of shape (n, down, across, 4 * units)
        Outputs of the LSTM along the rows, then of the one along the columns. Without
        `bidirectional`, the last axis has 2 * units.
    """
    return keras.layers.Concatenate(name=f"{prefix}join")([
        sweep(
            x,
            axis,
            units=units,
            bidirectional=bidirectional,
            regularizer=regularizer,
            prefix=f"{prefix}{axis}_",
        )
        for axis in ("rows", "columns")
    ])  # fmt: skip


def sweep(
    x: Any, axis: str, *, units: int, bidirectional: bool, regularizer: Any, prefix: str
) -> Any:
    """Read (n, down, across, k) with one LSTM along the lines of an axis.

    The result has as many positions, and `units` features for each direction.
    """
    lines = GridToLines(axis, name=f"{prefix}lines")(x)
    y = lstm_layer(
        units,
        bidirectional=bidirectional,
        return_sequences=True,
        regularizer=regularizer,
        prefix=prefix,
    )(lines)
    return LinesToGrid(axis, x.shape[1:3], name=f"{prefix}grid")(y)
