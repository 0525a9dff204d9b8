"""The lines of a grid of windows, which the networks read as sequences."""

from typing import Any

from sklstm._keras import keras


def line_axes(grid: tuple[int, int]) -> list[str]:
    """Return the axes along which a grid has lines of more than one window."""
    down, across = grid
    axes = [("rows", across), ("columns", down)]
    return [axis for axis, length in axes if length > 1] or ["rows"]


def split_outputs(outputs: Any, grid: tuple[int, int]) -> tuple[Any, dict[str, Any]]:
    """Take the output of `window_lstm` apart.

    Parameters
    ----------
    outputs : tensor of shape (n, down, across, 1 or more)
        What the network gives.
    grid : tuple of int
        (down, across).

    Returns
    -------
    score : tensor of shape (n, down, across)
        The score of every window.
    chains : dict of str to tensor of shape (n_lines, n_steps, 2, 2)
        Log-potentials along "rows" and "columns"; empty without a CRF. Lines of an
        image follow each other.
    """
    chains = {}
    if outputs.shape[-1] > 1:
        for i, axis in enumerate(line_axes(grid)):
            potentials = grid_to_lines(outputs[..., 1 + 4 * i : 5 + 4 * i], axis)
            shape = (-1, potentials.shape[1], 2, 2)
            chains[axis] = keras.ops.reshape(potentials, shape)
    return outputs[..., 0], chains


def grid_to_lines(x: Any, axis: str) -> Any:
    """Return the lines of a grid as samples; see `GridToLines`."""
    if axis == "columns":
        x = keras.ops.transpose(x, (0, 2, 1, 3))
    return keras.ops.reshape(x, (-1, *x.shape[2:]))


@keras.saving.register_keras_serializable("sklstm")
class GridToLines(keras.layers.Layer):
    """Take the lines of a grid apart, each of which becomes a sample.

    Takes (n, down, across, k), gives (n * down, across, k) for the axis "rows" and
    (n * across, down, k) for "columns".

    Parameters
    ----------
    axis : {"rows", "columns"}
        Which lines.
    **kwargs
        Passed on to `keras.layers.Layer`.
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
    """Put the lines that `GridToLines` gave back into their grid.

    Parameters
    ----------
    axis : {"rows", "columns"}
        Which lines they are.
    grid : tuple of int
        (down, across).
    **kwargs
        Passed on to `keras.layers.Layer`.
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
