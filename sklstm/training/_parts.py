"""A few batches at a time, of data that are too large for one copy."""

import mmap
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from typing import Any

import numpy as np

from sklstm.training import _data


def fits_at_once(x: np.ndarray) -> bool:
    """Return whether samples are few enough to be copied as a whole."""
    return x.nbytes <= _data.AT_ONCE


def in_parts(data: tuple, order: np.ndarray, batch_size: int) -> Iterator[tuple]:
    """Yield copies of some batches at a time, made when they are needed.

    If the samples are in a file, a thread reads the next part while the caller trains
    on this one. Parts are then half as large, so that two of them need no more memory.
    Samples in memory are copied in turn, because the copy is short and a thread would
    take time from training.

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
    ahead = is_mapped(data[0])
    part_bytes = _data.AT_ONCE // (8 if ahead else 4)
    n_rows = max(1, part_bytes // (item_bytes * batch_size)) * batch_size

    def copy(start: int) -> tuple:
        rows = order[start : start + n_rows]
        return tuple(array[rows] for array in data)

    starts = range(0, len(order), n_rows)
    return _one_ahead(copy, starts) if ahead else map(copy, starts)


def is_mapped(x: Any) -> bool:
    """Return whether samples are in a file that is mapped into memory."""
    x = getattr(x, "array", x)  # the array of a `Subset`
    while isinstance(x, np.ndarray):
        x = x.base
    if isinstance(x, memoryview):
        x = x.obj
    return isinstance(x, mmap.mmap)


def _one_ahead(make: Callable[[Any], Any], items: Sequence) -> Iterator[Any]:
    """Yield ``make(item)`` in order. A thread makes the next one in the meantime.

    An error of the thread is raised where its result is due. A caller that stops early
    waits for the thread when the generator is closed.
    """
    made = make(items[0])
    for item in items[1:]:
        ahead = _start(make, item)
        try:
            yield made
        finally:
            wait([ahead])
        made = ahead.result()
    yield made


def _start(function: Callable[[Any], Any], item: Any) -> Future:
    """Call a function in a new thread, which ends after the call."""
    pool = ThreadPoolExecutor(1, thread_name_prefix="sklstm-part")
    ahead = pool.submit(function, item)
    # The thread must not wait for more work: after an error in training, the traceback
    # keeps the generator for an unknown time.
    pool.shutdown(wait=False)
    return ahead
