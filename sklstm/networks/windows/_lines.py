"""The axes of a grid of windows, and the output of the network along them."""

from typing import Any

from sklstm._keras import keras

from sklstm.networks.layers._lines import grid_to_lines


def line_axes(grid: tuple[int, int]) -> list[str]:
    """Return the axes along which the lines of a grid have two windows or more.

    A grid of a single window has the axis "rows".
    """
    down, across = grid
    axes = [("rows", across), ("columns", down)]
    return [axis for axis, length in axes if length > 1] or ["rows"]


def split_outputs(
    outputs: Any, grid: tuple[int, int], n_pixels: int = 0
) -> tuple[Any, dict[str, Any]]:
    """Split the output of `window_lstm` into scores and log-potentials.

    Parameters
    ----------
    outputs : tensor of shape (n, down, across, n_channels)
        Output of the network: 1 channel without a CRF, 5 or 9 with one, and those of
        the pixels.
    grid : tuple of int
        Number of windows (down, across).
    n_pixels : int
        Number of pixels of a window, if the network has a decoder, or else 0.

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
    if outputs.shape[-1] - n_pixels > 1:
        for i, axis in enumerate(line_axes(grid)):
            potentials = grid_to_lines(outputs[..., 1 + 4 * i : 5 + 4 * i], axis)
            shape = (-1, potentials.shape[1], 2, 2)
            chains[axis] = keras.ops.reshape(potentials, shape)
    return outputs[..., 0], chains


def split_pixels(outputs: Any, sides: tuple[int, int]) -> Any:
    """Return what the decoder of `window_lstm` says of the pixels.

    Parameters
    ----------
    outputs : tensor of shape (n, down, across, n_channels)
        Output of a network with a decoder.
    sides : tuple of int
        Size (height, width) of a window.

    Returns
    -------
    tensor of shape (n, down * height, across * width)
        Log-odds of a defect in every pixel.

    Examples
    --------
    >>> import keras
    >>> from sklstm.networks import split_pixels
    >>> tuple(split_pixels(keras.ops.zeros((2, 3, 4, 9 + 64)), (8, 8)).shape)
    (2, 24, 32)
    """
    height, width = sides
    _, down, across, n_channels = outputs.shape
    x = outputs[..., n_channels - height * width :]
    x = keras.ops.reshape(x, (-1, down, across, height, width))
    x = keras.ops.transpose(x, (0, 1, 3, 2, 4))
    return keras.ops.reshape(x, (-1, down * height, across * width))
