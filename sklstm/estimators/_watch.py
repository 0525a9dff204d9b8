"""Watch the epochs of fits inside other estimators."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any

_WATCHER: ContextVar[Callable[[Any, int, dict], bool] | None] = ContextVar(
    "sklstm_epoch_watcher", default=None
)


@contextmanager
def watch_epochs(watcher: Callable[[Any, int, dict], bool]) -> Iterator[None]:
    """Call a function after each epoch of each network that the block fits.

    The fit may be inside a Pipeline or any other estimator. It must run in the thread
    of the block.

    Parameters
    ----------
    watcher : callable
        Function ``watcher(estimator, epoch, logs) -> bool``. Epochs count from 0. The
        estimator can already predict. If the function returns True, training stops
        without an error. An ensemble predicts with the members trained so far, among
        them the one in training, and True stops that one. Epochs count on from one
        member to the next, by the number of epochs planned for each.

    Yields
    ------
    None
        The block receives no value.

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
    """Call the watcher, if there is one, and return whether training must stop."""
    watcher = _WATCHER.get()
    return watcher is not None and bool(watcher(estimator, epoch, logs))


@dataclass
class Shown:
    """What callbacks and watchers are shown of a network that trains.

    Parameters
    ----------
    estimator : KerasEstimator
        The estimator whose `fit` was called: the ensemble, and not its member.
    snapshot : callable
        Returns the attributes that a copy needs to predict, as scikit-learn asks.
    first_epoch : int
        Number that a watcher is told for the first epoch.
    """

    estimator: Any
    snapshot: Callable[[], dict[str, Any]]
    first_epoch: int = 0
