"""Index maps: every way of reading an image as a sequence is one integer array.

A map has one row for each step and one column for each pixel of a step; its values are
positions in the flattened image (-1 pads). The functions here take the grid of these
positions, ``np.arange(height * width).reshape(height, width)`` or of three axes, so
that an axis is chosen by transposing it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view


def even_starts(length: int, n_windows: int) -> tuple[np.ndarray, int]:
    """Spread `n_windows` windows of ``ceil(length / n_windows)`` evenly.

    Rounding half up, in integers: two starts then differ by no more than the window,
    so that nothing between them is lost. (Rounding half to even skips some.)
    """
    window = -(-length // n_windows)
    gaps = max(n_windows - 1, 1)
    starts = (2 * np.arange(n_windows) * (length - window) + gaps) // (2 * gaps)
    return (starts if n_windows > 1 else np.zeros(1, np.int64)), window


def stepped_starts(length: int, window: int, stride: int) -> np.ndarray:
    """Put a window every `stride`, and one at the end where the stride misses it."""
    last = length - window
    return np.append(np.arange(0, last, stride), last)


def scan_slabs(
    grid: np.ndarray, starts: np.ndarray, window: int, order: str
) -> np.ndarray:
    """Read `window` whole slices along the first axis at each start.

    "snake" reads the last axis of every other step backwards.
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
    """Read the block at each combination of starts, in one of the `PATHS`."""
    blocks = sliding_window_view(grid, block)[np.ix_(*starts)]
    places = np.arange(math.prod(map(len, starts))).reshape([len(s) for s in starts])
    return blocks.reshape(places.size, -1)[PATHS[order](places)]


def raster_path(places: np.ndarray) -> np.ndarray:
    """Go through the places in the order of memory: the last axis runs fastest."""
    return places.ravel()


def reversed_path(places: np.ndarray) -> np.ndarray:
    """Go through the places from the last to the first."""
    return places.ravel()[::-1]


def snake_path(places: np.ndarray) -> np.ndarray:
    """Turn round at each end, so that each place lies next to the one before.

    Every other row (slice) is the path of the one before it, backwards.
    """
    if places.ndim == 1:
        return places
    return np.concatenate(
        [snake_path(part)[:: -1 if i % 2 else 1] for i, part in enumerate(places)]
    )


def hilbert_path(places: np.ndarray) -> np.ndarray:
    """Follow a Hilbert curve drawn on a rectangle of any size.

    Starts at the first place. Each place lies next to the one before it, with no
    exception; on a square whose side is a power of two it is Hilbert's curve.
    """
    return _hilbert(places.T if places.shape[1] >= places.shape[0] else places)


def _hilbert(grid: np.ndarray) -> np.ndarray:
    """Visit a grid from its corner [0, 0] to its corner [-1, 0].

    Coloured as a chessboard, a path alternates colours: no path joins these corners
    where the length is odd and the width even. Such a grid ends at [0, -1] instead,
    which is harmless: cuts below give only the last part of a whole path that shape.
    """
    length, width = grid.shape
    if width == 1:
        return grid[:, 0]
    long = 2 * length > 3 * width
    if length == 1 or (length % 2 and not width % 2 and not long):
        return _hilbert(grid.T)
    if long:  # halves, one behind the other
        cut = _even_half(length)
        return np.concatenate([_hilbert(grid[:cut]), _hilbert(grid[cut:])])
    # Up the first half of the near strip, along the far strip, back down the rest.
    cut, middle = _even_half(width), length // 2
    return np.concatenate(
        [
            _hilbert(grid[:middle, :cut].T),
            _hilbert(grid[:, cut:]),
            _hilbert(grid[middle:, :cut][::-1, ::-1].T),
        ]
    )


def _even_half(size: int) -> int:
    """Half of `size`, made even where that leaves a rest: even parts can be joined."""
    half = size // 2
    return half + 1 if half % 2 and size > 2 else half


PATHS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "raster": raster_path,
    "forward": raster_path,
    "backward": reversed_path,
    "snake": snake_path,
    "hilbert": hilbert_path,
}
