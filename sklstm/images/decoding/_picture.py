"""What a decoded file is, before its colours and size are changed."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np


class UnreadableImageError(ValueError):
    """A file that is no image, is damaged, or holds what cannot be read rightly.

    Its text says why, in words that follow "because".
    """


@dataclass(frozen=True)
class Picture:
    """The stored values of an image.

    Parameters
    ----------
    values : ndarray, shape (height, width) or (height, width, 3)
        Gray, or red, green and blue.
    largest : int or None, default=None
        The largest value that the file could hold, if its header says that it is
        less than the largest of the dtype: 1023 for 10 bits in uint16.
    is_scaled : bool, default=False
        Whether the values were integers and have been brought to floats up to 1.
    """

    values: np.ndarray
    largest: int | None = None
    is_scaled: bool = False

    def with_values(self, values: np.ndarray) -> Picture:
        """Return the same with other values."""
        return replace(self, values=values)


def turn(values: np.ndarray, orientation: int) -> np.ndarray:
    """Turn an image upright, given its orientation as EXIF and TIFF number it."""
    if orientation >= 5:
        values = values.swapaxes(0, 1)
    if orientation in (3, 4, 7, 8):
        values = values[::-1]
    if orientation in (2, 3, 6, 7):
        values = values[:, ::-1]
    return values


def spread(values: np.ndarray, largest: int) -> np.ndarray:
    """Bring values of fewer than 8 bits to the whole range of uint8."""
    table = np.round(np.arange(largest + 1) * (255 / largest)).astype(np.uint8)
    return table[values]
