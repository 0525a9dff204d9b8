"""A few batches at a time, of data that are too large for one copy."""

from collections.abc import Iterator
from typing import Any

import numpy as np

from sklstm.training import _data


def fits_at_once(x: np.ndarray) -> bool:
    """Return whether samples are few enough to be copied as a whole."""
    return x.nbytes <= _data.AT_ONCE


def in_parts(data: tuple, order: np.ndarray, batch_size: int) -> Iterator[tuple]:
    """Yield copies of some batches at a time, made when they are needed.

    Parameters
    ----------
    data : tuple of ndarray
        Samples, targets and weights.
    order : ndarray of int
        Rows of the data, in the order in which they are used.
    batch_size : int
        Number of rows in a batch. All parts but the last have whole batches.

    Yields
    ------
    tuple of ndarray
        The rows of a part, of each array.
    """
    item_bytes: Any = data[0].nbytes // len(data[0])
    n_batches = max(1, _data.AT_ONCE // 4 // (item_bytes * batch_size))
    for i in range(0, len(order), n_batches * batch_size):
        rows = order[i : i + n_batches * batch_size]
        yield tuple(array[rows] for array in data)
