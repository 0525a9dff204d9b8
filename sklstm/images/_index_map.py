"""A property of index maps that gathering by NumPy and in the graph relies on."""

from __future__ import annotations

import math

import numpy as np


def aligned_unit(index_map: np.ndarray, n_pixels: int) -> int:
    """Return the largest length that divides all runs of neighbouring pixels.

    Copying units of this length is several times faster than copying single pixels.
    Rows of 28 pixels are units of 28. Patches of 16 at stride 8 consist of units of 8.

    Parameters
    ----------
    index_map : ndarray of int
        Positions of pixels in a flattened image, or -1 for padding. The array may
        have any shape.
    n_pixels : int
        Number of pixels of an image.

    Returns
    -------
    int
        Length of a unit. Every unit starts at a multiple of this length, both in the
        map and in the image.
    """
    flat = index_map.ravel()
    starts = np.flatnonzero(np.diff(flat, prepend=flat[0]) != 1)
    common = np.gcd.reduce(np.gcd(starts, flat[starts]))
    return math.gcd(int(common), flat.size, n_pixels)
