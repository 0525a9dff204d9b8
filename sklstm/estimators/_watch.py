"""Watching the epochs of fits that somebody else starts."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

_WATCHER: ContextVar[Callable[[Any, int, dict], bool] | None] = ContextVar(
    "sklstm_epoch_watcher", default=None
)


@contextmanager
def watch_epochs(watcher: Callable[[Any, int, dict], bool]) -> Iterator[None]:
    """See every epoch of every network that is fitted within the block.

    The fit may be a Pipeline's, or be hidden deeper still; it must run in the thread
    of the block.

    Parameters
    ----------
    watcher : callable
        ``watcher(estimator, epoch, logs) -> bool`` after each epoch, counted from 0.
        The estimator can already predict. True ends the training, without an error.

    Yields
    ------
    None
        Nothing: the watcher is called.

    Examples
    --------
    >>> from sklstm.estimators import watch_epochs
    >>> def watcher(estimator, epoch, logs):
    ...     return logs["loss"] < 0.01
    >>> with watch_epochs(watcher):
    ...     pass  # pipeline.fit(X, y)
    """
    token = _WATCHER.set(watcher)
    try:
        yield
    finally:
        _WATCHER.reset(token)


def tell_watcher(estimator: Any, epoch: int, logs: dict) -> bool:
    """Tell whoever watches; return whether training is to stop."""
    watcher = _WATCHER.get()
    return watcher is not None and bool(watcher(estimator, epoch, logs))
