"""Mean, deviation and range of what a network reads."""

from typing import NamedTuple

import numpy as np

from sklstm.images import batches


class Scaling(NamedTuple):
    """What standardizes an input, in the input's units."""

    mean: float
    """Mean of all values read."""

    scale: float
    """Their standard deviation, or 1 where all are equal."""

    low: float
    """The smallest of them."""

    high: float
    """The largest of them."""


def measure(x: np.ndarray, index_map: np.ndarray | None = None) -> Scaling:
    """Measure samples as a scan reads them.

    The result is that of the sequences which the scan makes, but no sequence is made:
    every pixel counts as often as the map names it, and every -1 counts as a 0.

    Parameters
    ----------
    x : ndarray of shape (n, ...)
        Samples of any real dtype. With a map they are (n, height, width, channels), or
        volumes of one axis more.
    index_map : ndarray of int, shape (n_steps, n_pixels_per_step), or None
        Positions of pixels in the flattened image, -1 for padding. If None, every
        value counts once.

    Returns
    -------
    Scaling
        Sums are taken in float64.
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

    # A few samples at a time: bytes would make eight times their size in float64.
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
    """Return how often a map reads each pixel, of a shape that meets the channels."""
    pixels = shape[:-1]
    read = index_map[index_map >= 0]
    counts = np.bincount(read, minlength=int(np.prod(pixels)))
    return counts.reshape(*pixels, 1).astype("float64")
