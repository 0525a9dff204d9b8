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
    """Yield ``function(item)`` in order, worked out in threads a few items ahead.

    Unlike ``ThreadPoolExecutor.map``, it holds no more than four results for each
    thread, however slow the caller is. Close it where the caller may stop early: what
    has not begun is then left out.

    Parameters
    ----------
    function : callable
        Called with one item.
    items : sequence
        At least one.

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
