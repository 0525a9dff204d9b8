"""Windows of the detector: labels, grid, sides and strides."""

from typing import Any

import numpy as np


def is_window_labels(Y: Any) -> bool:
    """Return whether Y holds labels of windows, (n, n_steps), instead of masks."""
    return isinstance(Y, np.ndarray) and Y.dtype != object and Y.ndim == 2


def check_window_labels(Y: np.ndarray, n: int, n_steps: int, name: str) -> np.ndarray:
    """Return the labels of windows as uint8, 0 and 255."""
    if Y.shape != (n, n_steps):
        raise ValueError(
            f"{name} has the shape {Y.shape}: labels of windows must be ({n}, "
            f"{n_steps}), one for each that the sequencer reads; masks are (n, height, "
            "width)."
        )
    found = np.unique(Y)
    if not np.isin(found, (0, 1)).all():
        some = ", ".join(map(str, found[:4].tolist()))
        raise ValueError(f"{name} has the values {some}: labels are 0 and 1.")
    return Y.astype(np.uint8) * 255


def window_grid(index_map: np.ndarray, width: int) -> tuple[int, int]:
    """Return the number of windows (down, across).

    Raises
    ------
    ValueError
        If the windows do not lie on a grid or are not read row by row.
    """
    tops, lefts = np.divmod(index_map[:, 0], width)
    down, across = len(np.unique(tops)), len(np.unique(lefts))
    if down * across == len(index_map):
        grid = np.lexsort((lefts, tops)).reshape(down, across)
        if np.array_equal(grid.ravel(), np.arange(len(index_map))):
            return down, across
    raise ValueError(
        "sequencer must read windows on a grid, row by row: PatchSequencer with "
        "order='raster', or RowSequencer with order='forward'."
    )


def stem_windows(
    index_map: np.ndarray, shape: tuple[int, ...], multiple: int
) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Return the sides and strides of windows for a stem of convolutions.

    Parameters
    ----------
    index_map : ndarray of int, shape (n_steps, n_pixels_per_step)
        The windows.
    shape : tuple of int
        (height, width, ...) of the image.
    multiple : int
        Sides and strides must be multiples of this number.

    Returns
    -------
    sides, strides : tuple of int
        (down, across).

    Raises
    ------
    ValueError
        If a stem cannot make the features of these windows.
    """
    places = np.divmod(index_map, shape[1])
    sides = tuple(int(np.ptp(place[0])) + 1 for place in places)
    starts = [np.unique(place[:, 0]) for place in places]
    steps = [np.unique(np.diff(start)) for start in starts]
    strides = tuple(
        int(step[0]) if len(step) else side
        for step, side in zip(steps, sides, strict=True)
    )
    multiples = all(side % multiple == 0 for side in sides)
    if multiples and any(len(step) > 1 for step in steps):
        raise ValueError(
            f"stem=True needs windows that fill the image evenly, and those of "
            f"{sides[0]} x {sides[1]} do not fill {shape[0]} x {shape[1]} pixels: make "
            "size a multiple of them, or set stem=False."
        )
    if not multiples or any(stride % multiple for stride in strides):
        raise ValueError(
            f"stem=True needs windows whose sides and strides are multiples of "
            f"{multiple}; they are {sides[0]} x {sides[1]} at strides of {strides[0]} "
            f"and {strides[1]}: change sequencer, or set stem=False."
        )
    return sides, strides


def filling_sides(
    index_map: np.ndarray, shape: tuple[int, ...], multiple: int
) -> tuple[int, int] | None:
    """Return the sides of windows that fill an image, each pixel in one of them.

    Parameters
    ----------
    index_map : ndarray of int, shape (n_steps, n_pixels_per_step)
        The windows, which lie on a grid.
    shape : tuple of int
        (height, width, ...) of the image.
    multiple : int
        Sides must be multiples of this number.

    Returns
    -------
    tuple of int or None
        (height, width) of a window. None if pixels are in no window or in several, or
        if the sides are no multiples.
    """
    height, width = (
        int(np.ptp(part)) + 1 for part in np.divmod(index_map[0], shape[1])
    )
    once = np.array_equal(np.sort(index_map, axis=None), np.arange(shape[0] * shape[1]))
    if not once or height % multiple or width % multiple:
        return None
    return height, width
