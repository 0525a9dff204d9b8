"""Mean, standard deviation and range of the values that a network reads."""

from typing import NamedTuple

import numpy as np

from sklstm.images._validate import batches


class Scaling(NamedTuple):
    """Statistics of the input, in units of the input."""

    mean: float
    """Mean of all values."""

    scale: float
    """Standard deviation, or 1 if all values are equal."""

    low: float
    """Smallest value."""

    high: float
    """Largest value."""


def measure(x: np.ndarray, index_map: np.ndarray | None = None) -> Scaling:
    """Return the statistics of samples as a scan reads them.

    The result is that of the sequences of the scan, but no sequence is made. Each pixel
    counts as often as the index map names it, and each -1 counts as a 0.

    Parameters
    ----------
    x : ndarray of shape (n, ...)
        Samples of any real dtype. With an index map, they are images (n, height, width,
        channels) or volumes (n, depth, height, width, channels).
    index_map : ndarray of int, shape (n_steps, n_pixels_per_step), or None
        Indices of pixels in the flattened image, -1 for padding. If None, each value
        counts once.

    Returns
    -------
    Scaling
        Statistics, computed in float64.
    """
    counts, n_entries, padded = None, x[0].size, False
    if index_map is not None:
        counts = _times_read(index_map, x[0].shape)
        n_entries = index_map.size * x.shape[-1]
        padded = bool((index_map < 0).any())
        if not padded and (counts == 1).all():
            counts = None
    seen = True if counts is None else counts > 0

    def total(values: np.ndarray) -> float:
        if counts is not None:
            values = values * counts
        return float(values.sum(dtype="float64"))

    # A few samples at a time save memory, because float64 needs eight times that of
    # uint8.
    parts = list(batches(len(x), 8 * x[0].size))
    n_values = len(x) * n_entries
    mean = sum(total(x[part]) for part in parts) / n_values
    low, high = (0.0, 0.0) if padded else (np.inf, -np.inf)
    square = 0.0
    for part in parts:
        values = x[part].astype("float64")
        low = min(low, values.min(where=seen, initial=np.inf))
        high = max(high, values.max(where=seen, initial=-np.inf))
        square += total(np.square(values - mean))
    if index_map is not None:
        n_padding = len(x) * x.shape[-1] * np.count_nonzero(index_map < 0)
        square += n_padding * mean**2
    return Scaling(mean, (square / n_values) ** 0.5 or 1.0, float(low), float(high))


def _times_read(index_map: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """Return how often an index map reads each pixel, with an axis for channels."""
    pixels = shape[:-1]
    read = index_map[index_map >= 0]
    counts = np.bincount(read, minlength=int(np.prod(pixels)))
    return counts.reshape(*pixels, 1).astype("float64")
