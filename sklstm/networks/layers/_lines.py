"""The rows and columns of a grid, as sequences that an LSTM reads."""

from typing import Any

from sklstm._keras import keras


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
        Size (down, across) of the grid.
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
