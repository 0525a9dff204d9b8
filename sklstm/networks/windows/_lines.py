"""The rows and columns of a grid of windows, which the network reads as sequences."""

from typing import Any

from sklstm._keras import keras


def line_axes(grid: tuple[int, int]) -> list[str]:
    """Return the axes along which the lines of a grid have two windows or more.

    A grid of a single window has the axis "rows".
    """
    down, across = grid
    axes = [("rows", across), ("columns", down)]
    return [axis for axis, length in axes if length > 1] or ["rows"]


def split_outputs(outputs: Any, grid: tuple[int, int]) -> tuple[Any, dict[str, Any]]:
    """Split the output of `window_lstm` into scores and log-potentials.

    Parameters
    ----------
    outputs : tensor of shape (n, down, across, n_channels)
        Output of the network: 1 channel without a CRF, 5 or 9 with one.
    grid : tuple of int
        Number of windows (down, across).

    Returns
    -------
    score : tensor of shape (n, down, across)
        Log-odds of a defect in every window.
    chains : dict of str to tensor of shape (n_lines, n_steps, 2, 2)
        Log-potentials of the CRF along "rows" and along "columns", as `LinearChainCRF`
        gives them. The lines of an image follow each other. The dict is empty without a
        CRF.

    Examples
    --------
    >>> import keras
    >>> from sklstm.networks import split_outputs
    >>> score, chains = split_outputs(keras.ops.zeros((2, 3, 4, 9)), (3, 4))
    >>> tuple(score.shape)
    (2, 3, 4)
    >>> {axis: tuple(potentials.shape) for axis, potentials in chains.items()}
    {'rows': (6, 4, 2, 2), 'columns': (8, 3, 2, 2)}
    """
    chains = {}
    if outputs.shape[-1] > 1:
        for i, axis in enumerate(line_axes(grid)):
            potentials = grid_to_lines(outputs[..., 1 + 4 * i : 5 + 4 * i], axis)
            shape = (-1, potentials.shape[1], 2, 2)
            chains[axis] = keras.ops.reshape(potentials, shape)
    return outputs[..., 0], chains


def grid_to_lines(x: Any, axis: str) -> Any:
    """Make a sample of every line of a grid; see `GridToLines`."""
    if axis == "columns":
        x = keras.ops.transpose(x, (0, 2, 1, 3))
    return keras.ops.reshape(x, (-1, *x.shape[2:]))


@keras.saving.register_keras_serializable("sklstm")
class GridToLines(keras.layers.Layer):
    """Make a sequence of every row or column of a grid.

    The layer takes a grid (n, down, across, k). For the axis "rows" it returns (n *
    down, across, k), and for "columns" (n * across, down, k).

    Parameters
    ----------
    axis : {"rows", "columns"}
        Lines to read.
    **kwargs
        Keyword arguments of `keras.layers.Layer`.

    See Also
    --------
    LinesToGrid : The inverse.

    Examples
    --------
    >>> import keras
    >>> from sklstm.networks import GridToLines
    >>> tuple(GridToLines("columns")(keras.ops.ones((2, 3, 4, 5))).shape)
    (8, 3, 5)
    """

    def __init__(self, axis: str, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.axis = axis

    def call(self, inputs: Any) -> Any:
        return grid_to_lines(inputs, self.axis)

    def compute_output_shape(self, input_shape: tuple) -> tuple:
        down, across, k = input_shape[1:]
        return (None, across if self.axis == "rows" else down, k)

    def get_config(self) -> dict:
        return {**super().get_config(), "axis": self.axis}


@keras.saving.register_keras_serializable("sklstm")
class LinesToGrid(keras.layers.Layer):
    """Put the lines that `GridToLines` made back into their grid.

    Parameters
    ----------
    axis : {"rows", "columns"}
        Axis of the lines.
    grid : tuple of int
        Number of windows (down, across).
    **kwargs
        Keyword arguments of `keras.layers.Layer`.

    See Also
    --------
    GridToLines : The inverse.

    Examples
    --------
    >>> import keras
    >>> from sklstm.networks import LinesToGrid
    >>> tuple(LinesToGrid("columns", (3, 4))(keras.ops.ones((8, 3, 5))).shape)
    (2, 3, 4, 5)
    """

    def __init__(self, axis: str, grid: tuple[int, int], **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.axis = axis
        self.grid = tuple(grid)

    def call(self, inputs: Any) -> Any:
        down, across = self.grid
        if self.axis == "rows":
            return keras.ops.reshape(inputs, (-1, down, across, inputs.shape[-1]))
        x = keras.ops.reshape(inputs, (-1, across, down, inputs.shape[-1]))
        return keras.ops.transpose(x, (0, 2, 1, 3))

    def compute_output_shape(self, input_shape: tuple) -> tuple:
        return (None, *self.grid, input_shape[-1])

    def get_config(self) -> dict:
        return {**super().get_config(), "axis": self.axis, "grid": self.grid}
