"""Samples, targets and weights that a network is trained on."""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

# Maximum size in bytes of samples that are copied as a whole. A larger set is copied a
# few batches at a time. It is then in memory once, or not at all if it is on disk.
AT_ONCE = 2**25


class Subset:
    """Some rows of a large array, which are read when they are needed.

    Parameters
    ----------
    array : ndarray of shape (n, ...)
        The array. It is not copied.
    rows : ndarray of int
        Numbers of the rows.
    """

    def __init__(self, array: np.ndarray, rows: np.ndarray) -> None:
        self.array = array
        self.rows = rows
        self.dtype = array.dtype
        self.shape = (len(rows), *array.shape[1:])
        self.ndim = array.ndim
        self.size = math.prod(self.shape)
        self.nbytes = self.size * array.itemsize

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, key: Any) -> np.ndarray:
        return self.array[self.rows[key]]

    def astype(self, dtype: Any) -> np.ndarray:
        """Return the rows as an array of another type."""
        return self.array[self.rows].astype(dtype)


def take_rows(x: Any, rows: np.ndarray) -> Any:
    """Return some samples, as a copy if they are few, or else as a `Subset`."""
    if isinstance(x, Subset):
        x, rows = x.array, x.rows[rows]
    few = len(rows) * x[0].nbytes <= AT_ONCE
    return x[rows] if few else Subset(x, rows)


@dataclass
class Data:
    """Samples, encoded targets and weights of equal length.

    Parameters
    ----------
    x : ndarray of shape (n, ...)
        Samples in the form that the network reads.
    y : ndarray of shape (n,) or (n, n_classes)
        Encoded targets.
    w : ndarray of shape (n,), float32
        Weights of the losses of the samples.
    """

    x: np.ndarray
    y: np.ndarray
    w: np.ndarray

    def __len__(self) -> int:
        return len(self.y)
