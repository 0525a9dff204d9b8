"""LSTMs that read a grid in two directions: along its rows and along its columns."""

from typing import Any

from sklstm._keras import keras

from sklstm.networks._blocks import (
    add_dropout,
    check_pooling,
    lstm_layer,
    lstm_stack,
    pool_steps,
)
from sklstm.networks.layers import AttentionPooling, GridToLines, LinesToGrid
from sklstm.networks.layers._data_format import CHANNELS_LAST

# Name of the layer that turns the positions of a grid into steps for attention.
GRID_LAYER = "grid_positions"

# How the steps of each scan can be pooled, also in a network with convolutions.
_POOLINGS = {
    "lines": ("max", "mean", "last"),
    "positions": ("max", "mean", "last", "attention"),
}


def check_scan(scan: str, pooling: str, *more: str) -> None:
    """Raise an error if a scan does not exist or does not have this pooling.

    `more` are further ways to pool positions.
    """
    if scan not in _POOLINGS:
        raise ValueError(f"scan={scan!r} is neither 'lines' nor 'positions'.")
    positions = (*_POOLINGS["positions"], *more)
    if scan == "lines" and pooling not in _POOLINGS[scan] and pooling in positions:
        raise ValueError(
            f"pooling={pooling!r} needs the positions of a grid, and scan='lines' has "
            "none: set scan='positions', or choose 'max', 'mean' or 'last'."
        )
    known = positions if scan == "positions" else _POOLINGS[scan]
    check_pooling(pooling, known, f"scan={scan!r}")


def scan_2d(
    x: Any,
    *,
    scan: str,
    units: int,
    n_layers: int,
    bidirectional: bool,
    pooling: str,
    dropout: float,
    regularizer: Any,
) -> Any:
    """Read a grid (n, down, across, k) in two directions and pool it into a vector.

    With "lines", a step is a whole row or a whole column; see `read_lines`. With
    "positions", a step is a position; see `bilstm_2d`. Either way, the vector has 2 *
    directions * `units` features.
    """
    params: dict[str, Any] = {
        "units": units,
        "bidirectional": bidirectional,
        "regularizer": regularizer,
    }
    if scan == "lines":
        return read_lines(
            x, n_layers=n_layers, pooling=pooling, dropout=dropout, **params
        )
    for i in range(n_layers):
        x = bilstm_2d(x, prefix=f"scan_{i}_", **params)
        x = add_dropout(x, dropout, f"dropout_{i}")
    if pooling == "last":
        return _pool_ends(x, bidirectional)
    return pool_positions(x, pooling, regularizer)


def read_lines(
    x: Any,
    *,
    units: int,
    n_layers: int,
    bidirectional: bool,
    pooling: str,
    dropout: float,
    regularizer: Any,
) -> Any:
    """Read the rows of (n, down, across, k) as steps, and its columns as steps.

    One stack of LSTMs reads the rows from top to bottom. A step has all features of a
    row. Another stack reads the columns from left to right. Each is pooled over its
    steps, and the two vectors are concatenated.
    """
    layers = keras.layers
    down, across, _ = x.shape[1:]
    turned = layers.Permute((2, 1, 3), name="turn")(x)
    ends = []
    for name, lines, n_steps in (("rows", x, down), ("columns", turned, across)):
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
            y = pool_steps(y, pooling, bidirectional, regularizer, f"{name}_pooling")
        ends.append(y)
    return layers.Concatenate(name="join")(ends)


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


def pool_positions(x: Any, pooling: str, regularizer: Any) -> Any:
    """Pool the positions of (n, down, across, k) into one vector (n, k).

    `pooling` is "mean", "max", "attention" or "flatten". The latter keeps all positions
    side by side.
    """
    if pooling == "flatten":
        return keras.layers.Flatten(name="pooling", **CHANNELS_LAST)(x)
    if pooling == "mean":
        return keras.layers.GlobalAveragePooling2D(name="pooling", **CHANNELS_LAST)(x)
    if pooling == "max":
        return keras.layers.GlobalMaxPooling2D(name="pooling", **CHANNELS_LAST)(x)
    x = keras.layers.Reshape((-1, x.shape[-1]), name=GRID_LAYER)(x)
    return AttentionPooling(kernel_regularizer=regularizer, name="pooling")(x)


def _pool_ends(x: Any, bidirectional: bool) -> Any:
    """Average the output of `bilstm_2d` at the ends of its lines.

    The end of a line is the position that a direction reads last.
    """
    half = x.shape[-1] // 2
    rows, columns = x[..., :half], x[..., half:]
    if bidirectional:
        units = half // 2
        ends = [
            rows[:, :, -1, :units],
            rows[:, :, 0, units:],
            columns[:, -1, :, :units],
            columns[:, 0, :, units:],
        ]
    else:
        ends = [rows[:, :, -1], columns[:, -1]]
    mean = keras.layers.GlobalAveragePooling1D
    pooled = [mean(name=f"pooling_{i}")(end) for i, end in enumerate(ends)]
    return keras.layers.Concatenate(name="pooling")(pooled)
