"""A map over threads that keeps few results in memory."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import joblib


def map_ahead(
    function: Callable[[Any], Any], items: Sequence[Any]
) -> Generator[Any, None, None]:
    """Yield ``function(item)`` in order. Threads compute a few items ahead.

    Unlike ``ThreadPoolExecutor.map``, it holds at most four results for each thread,
    even if the caller is slow. If the caller may stop early, it must close the
    generator. Items that have not begun are then left out.

    Parameters
    ----------
    function : callable
        Function of one item.
    items : sequence
        One item or more.

    Yields
    ------
    object
        The results.
    """
    n_threads = min(joblib.cpu_count(), len(items))
    waiting: deque[Future] = deque()
    with ThreadPoolExecutor(n_threads) as pool:
        try:
            for item in items:
                waiting.append(pool.submit(function, item))
                if len(waiting) == 4 * n_threads:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            pool.shutdown(wait=False, cancel_futures=True)
