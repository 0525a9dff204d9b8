"""batch_size="auto": smaller batches if memory runs out, and as many images per update.

This module does not load Keras.
"""

from __future__ import annotations

import copy
import gc
import inspect
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

from sklstm.training._memory import is_out_of_memory
from sklstm.training._pool import clear_pool

_STEPS = "gradient_accumulation_steps"
FITTED = ("batch_size_", "gradient_accumulation_steps_")


@contextmanager
def batches_in_memory(
    estimator: Any, continues: bool
) -> Iterator[Callable[[Callable[[], None]], None]]:
    """Give an estimator a batch size that memory suffices for, until the block ends.

    Parameters
    ----------
    estimator : KerasEstimator
        With ``batch_size="auto"``, its attributes `batch_size_` and
        `gradient_accumulation_steps_` are set if training succeeds.
    continues : bool
        If True, training goes on with the network of the last fit, and its batches.

    Yields
    ------
    callable
        Function that calls a function which trains. If memory runs out, it raises
        MemoryError. With ``batch_size="auto"`` it first calls the function again, with
        batches of half the size and twice as many of them for an update.
    """
    before = {n: getattr(estimator, n) for n in ("batch_size", _STEPS)}
    if before["batch_size"] != "auto":
        yield lambda train: _train_once(estimator, train)
        for name in FITTED:
            estimator.__dict__.pop(name, None)
        return
    size = inspect.signature(type(estimator)).parameters["batch_size"].default
    steps = before[_STEPS]
    if continues and hasattr(estimator, "batch_size_"):
        steps *= size // estimator.batch_size_
        size = estimator.batch_size_
    _put(estimator, size, steps)
    try:
        yield lambda train: _train_with_less(estimator, train, continues)
        found = estimator.batch_size, estimator.gradient_accumulation_steps
    finally:
        vars(estimator).update(before)
    estimator.batch_size_, estimator.gradient_accumulation_steps_ = found


def _put(estimator: Any, size: int, steps: int) -> None:
    vars(estimator).update({"batch_size": size, _STEPS: steps})


def _train_once(estimator: Any, train: Callable[[], None]) -> None:
    try:
        train()
    except Exception as error:
        if not is_out_of_memory(error):
            raise
        size, steps = estimator.batch_size, estimator.gradient_accumulation_steps
        if size == 1:
            raise MemoryError(_nothing_left(estimator)) from error
        raise MemoryError(
            f"Memory ran out in fit with batch_size={size}: set batch_size={size // 2} "
            f"and gradient_accumulation_steps={2 * steps}, so that an update still "
            "sees as many samples, or batch_size='auto', which does this by itself."
        ) from error


def _train_with_less(
    estimator: Any, train: Callable[[], None], continues: bool
) -> None:
    """Train with smaller and smaller batches, until memory suffices."""
    generator = estimator.random_state
    state: Any = None
    if isinstance(generator, np.random.RandomState):
        state = copy.deepcopy(generator.get_state())
    while True:
        size, steps = estimator.batch_size, estimator.gradient_accumulation_steps
        try:
            train()
            return
        except Exception as error:
            if not is_out_of_memory(error):
                raise
            if size == 1:
                raise MemoryError(_nothing_left(estimator)) from error
            if continues:
                raise MemoryError(
                    f"Memory ran out in fit with batches of {size}, and a network that "
                    "trains on cannot change gradient_accumulation_steps: fit with "
                    "warm_start=False."
                ) from error
            if not isinstance(estimator.optimizer, str | type):
                raise MemoryError(
                    f"Memory ran out in fit with batches of {size}, and "
                    "batch_size='auto' cannot change the accumulation of an optimizer "
                    "that is an instance: give its name or its class."
                ) from error
        # Outside of the block, because the error holds the arrays of its batch.
        gc.collect()
        clear_pool()
        if state is not None:
            generator.set_state(state)
        _put(estimator, size // 2, 2 * steps)
        warnings.warn(
            f"Memory ran out with batches of {size}: training begins again with "
            f"batch_size={size // 2} and gradient_accumulation_steps={2 * steps}, so "
            "that an update sees as many samples.",
            UserWarning,
            stacklevel=_level_of_caller(),
        )


def _nothing_left(estimator: Any) -> str:
    return (
        f"Memory ran out in fit with one sample in a batch (units={estimator.units}): "
        "lower units, use smaller images, or a sequencer with fewer or narrower steps."
    )


def _level_of_caller() -> int:
    # Here and not above: this loads Keras.
    from sklstm.estimators._fitting import stacklevel_of_caller

    # It counts from a function that this one would call, and the warning is above.
    return stacklevel_of_caller() - 2
