"""Index maps, the integer arrays that define how an image is read as a sequence.

A map has a row for each step and a column for each pixel of a step. Its values are
indices into the flattened image, and -1 is padding. The functions here take the grid of
these indices, ``np.arange(height * width).reshape(height, width)``, or a grid of three
axes. The caller transposes the grid to choose an axis.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view


def even_starts(length: int, n_windows: int) -> tuple[np.ndarray, int]:
    """Spread `n_windows` windows of ``ceil(length / n_windows)`` evenly.

    Starts are rounded half up, in integers. Two starts then differ by at most the
    window, so that all pixels are read. Rounding half to even would skip some.
    """
    window = -(-length // n_windows)
    gaps = max(n_windows - 1, 1)
    starts = (2 * np.arange(n_windows) * (length - window) + gaps) // (2 * gaps)
    return (starts if n_windows > 1 else np.zeros(1, np.int64)), window


def stepped_starts(length: int, window: int, stride: int) -> np.ndarray:
    """Return starts at each `stride`, and one that is aligned to the end."""
    last = length - window
    return np.append(np.arange(0, last, stride), last)


def scan_slabs(
    grid: np.ndarray, starts: np.ndarray, window: int, order: str
) -> np.ndarray:
    """Read `window` whole slices along the first axis from each start.

    "snake" reads the last axis of each second step backwards.
    """
    slabs = grid[starts[:, None] + np.arange(window)]
    if order == "snake":
        slabs[1::2] = slabs[1::2, ..., ::-1].copy()
    elif order == "backward":
        slabs = slabs[::-1]
    return slabs.reshape(len(starts), -1)


def scan_blocks(
    grid: np.ndarray, starts: Sequence[np.ndarray], block: Sequence[int], order: str
) -> np.ndarray:
    """Read a block from each combination of starts, in one of the orders of `PATHS`."""
    blocks = sliding_window_view(grid, block)[np.ix_(*starts)]
    places = np.arange(math.prod(map(len, starts))).reshape([len(s) for s in starts])
    return blocks.reshape(places.size, -1)[PATHS[order](places)]


def raster_path(places: np.ndarray) -> np.ndarray:
    """Visit the places in the order of memory. The last axis changes fastest."""
    return places.ravel()


def reversed_path(places: np.ndarray) -> np.ndarray:
    """Visit the places from the last to the first."""
    return places.ravel()[::-1]


def snake_path(places: np.ndarray) -> np.ndarray:
    """Visit the places row by row, and turn round at the end of each row.

    Each place is next to the one before it. In three axes, each second slice is visited
    backwards too.
    """
    if places.ndim == 1:
        return places
    return np.concatenate(
        [snake_path(part)[:: -1 if i % 2 else 1] for i, part in enumerate(places)]
    )


def hilbert_path(places: np.ndarray) -> np.ndarray:
    """Visit the places along a Hilbert curve on a rectangle of any size.

    The path starts at the first place, and each place is next to the one before it. On
    a square whose side is a power of two, the path is Hilbert's curve.
    """
    return _hilbert(places.T if places.shape[1] >= places.shape[0] else places)


def _hilbert(grid: np.ndarray) -> np.ndarray:
    """Visit a grid from its corner [0, 0] to its corner [-1, 0].

    A path alternates between the colours of a chessboard. If the length is odd and the
    width is even, no path joins these corners, and the path ends at [0, -1] instead.
    This does no harm, because the cuts below give only the last part of a path this
    shape.
    """
    length, width = grid.shape
    if width == 1:
        return grid[:, 0]
    long = 2 * length > 3 * width
    if length == 1 or (length % 2 and not width % 2 and not long):
        return _hilbert(grid.T)
    if long:  # cut into halves that follow each other
        cut = _even_half(length)
        return np.concatenate([_hilbert(grid[:cut]), _hilbert(grid[cut:])])
    # Go up the first half of the near strip, along the far strip, and back down the
    # second half of the near strip.
    cut, middle = _even_half(width), length // 2
    return np.concatenate(
        [
            _hilbert(grid[:middle, :cut].T),
            _hilbert(grid[:, cut:]),
            _hilbert(grid[middle:, :cut][::-1, ::-1].T),
        ]
    )


def _even_half(size: int) -> int:
    """Return half of `size`, rounded up to an even number if something is left."""
    half = size // 2
    return half + 1 if half % 2 and size > 2 else half


PATHS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "raster": raster_path,
    "forward": raster_path,
    "backward": reversed_path,
    "snake": snake_path,
    "hilbert": hilbert_path,
}
