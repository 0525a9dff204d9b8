"""The decoded contents of an image file, with its stored values."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np


class UnreadableImageError(ValueError):
    """A file is not an image, is damaged, or cannot be read correctly.

    The message is a clause that can follow "because".
    """


@dataclass(frozen=True)
class Picture:
    """The stored values of an image.

    Parameters
    ----------
    values : ndarray of shape (height, width) or (height, width, 3)
        Gray values, or red, green and blue.
    largest : int or None, default=None
        Largest value that the file can hold, for example 1023 for 10 bits in uint16.
        None if it is the largest value of the dtype.
    is_scaled : bool, default=False
        If True, the stored values were integers and have been scaled to floats of at
        most 1.
    """

    values: np.ndarray
    largest: int | None = None
    is_scaled: bool = False

    def with_values(self, values: np.ndarray) -> Picture:
        """Return a copy of the picture with other values."""
        return replace(self, values=values)


def turn(values: np.ndarray, orientation: int) -> np.ndarray:
    """Turn an image upright, given its orientation in EXIF or TIFF (1 to 8)."""
    if orientation >= 5:
        values = values.swapaxes(0, 1)
    if orientation in (3, 4, 7, 8):
        values = values[::-1]
    if orientation in (2, 3, 6, 7):
        values = values[:, ::-1]
    return values


def spread(values: np.ndarray, largest: int) -> np.ndarray:
    """Scale values from 0 to `largest`, of fewer than 8 bits, to 0 to 255."""
    table = np.round(np.arange(largest + 1) * (255 / largest)).astype(np.uint8)
    return table[values]
