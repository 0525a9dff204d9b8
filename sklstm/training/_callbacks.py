"""Keras callbacks for the work between epochs, and rules for the user's callbacks."""

import copy
import math
import operator
import weakref
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any

from sklstm._keras import keras

import numpy as np

from sklstm.training._optimizer import own_optimizer

_TRAINED: weakref.WeakSet = weakref.WeakSet()
_PLAIN = (str, bytes, bool, int, float, complex, np.ndarray, np.generic, type(None))

_BATCH_HOOKS = [
    f"on_{phase}batch_{edge}"
    for phase in ("", "train_", "test_", "predict_")
    for edge in ("begin", "end")
]


def wants_batches(callback: keras.callbacks.Callback) -> bool:
    """Return whether a callback listens to single batches."""
    return any(
        hook in vars(callback)
        or getattr(type(callback), hook) is not getattr(keras.callbacks.Callback, hook)
        for hook in _BATCH_HOOKS
    )


def let_go(callbacks: list) -> None:
    """Remove the model from callbacks, because the user's instances outlive the fit."""
    for callback in callbacks:
        # The callback's own `set_model` may need a model, as that of TensorBoard does.
        keras.callbacks.Callback.set_model(callback, None)


def remember_training(model: keras.Model) -> None:
    """Remember a model that is trained here. Copies of callbacks leave it out."""
    _TRAINED.add(model)


def without_runs(callbacks: Any) -> Any:
    """Return callbacks for a copy of their estimator.

    A callback may keep objects of the fits that it has seen, such as an open file, a
    writer or the network. These belong to the fit. A file cannot be copied, and the
    network would be copied for each clone. The copies therefore leave them out.

    Parameters
    ----------
    callbacks : Any
        A callback, a class of callbacks, or nested lists and dicts of them.

    Returns
    -------
    Any
        The same nesting with new instances, which share their attributes with the old
        ones. An attribute that cannot be copied is None. An item of a container that
        cannot be copied is left out.
    """
    if isinstance(callbacks, list | tuple):
        return type(callbacks)(without_runs(one) for one in callbacks)
    if isinstance(callbacks, dict):
        return {name: without_runs(one) for name, one in callbacks.items()}
    if not isinstance(callbacks, keras.callbacks.Callback):
        return callbacks
    twin = object.__new__(type(callbacks))
    for name, value in vars(callbacks).items():
        kept = list(_copyable(value))
        vars(twin)[name] = kept[0] if kept else None
    return twin


def _copyable(value: Any) -> Iterator[Any]:
    """Yield the value, or the part of it that can be copied, or nothing."""
    if isinstance(value, _PLAIN):
        yield value
    elif type(value) in (list, tuple, set):
        kept = [part for one in value for part in _copyable(one)]
        same = len(kept) == len(value) and all(map(operator.is_, kept, value))
        yield value if same else type(value)(kept)
    elif type(value) is dict:
        pairs = {k: list(_copyable(v)) for k, v in value.items()}
        yield {k: kept[0] for k, kept in pairs.items() if kept}
    elif not (isinstance(value, keras.Model) and value in _TRAINED):
        with suppress(Exception):
            copy.deepcopy(value)
            yield value


def refuse_rate_setters(callbacks: list, schedule: str) -> None:
    """Raise if a callback sets the learning rate and a schedule does too.

    Parameters
    ----------
    callbacks : list of keras.callbacks.Callback
        Callbacks of the user.
    schedule : str
        Name of the schedule for the message.
    """
    setters = (
        keras.callbacks.LearningRateScheduler,
        keras.callbacks.ReduceLROnPlateau,
    )
    for callback in callbacks:
        if isinstance(callback, setters):
            raise ValueError(_sets_the_rate(type(callback).__name__, schedule))


def _sets_the_rate(who: str, schedule: str) -> str:
    return (
        f"callbacks: {who} sets the learning rate, but {schedule} sets it again at "
        "every update: set lr_schedule='constant', or leave the callback out."
    )


class RateGuard:
    """Two callbacks that find out whether the user's callbacks set the learning rate.

    They run before and after the user's callbacks and compare the rate in each hook. So
    it does not matter how a callback sets it.

    Parameters
    ----------
    schedule : str
        Name of the schedule for the message.
    """

    def __init__(self, schedule: str) -> None:
        self.before = math.nan
        self.schedule = schedule
        hooks = ["on_train_begin", "on_epoch_begin", "on_epoch_end"]
        hooks += ["on_train_batch_begin", "on_train_batch_end", "on_test_begin"]
        hooks += ["on_test_batch_begin", "on_test_batch_end", "on_test_end"]
        self.first, self.last = keras.callbacks.Callback(), keras.callbacks.Callback()
        for hook in hooks:
            setattr(self.first, hook, self._remember)
            setattr(self.last, hook, self._compare)

    def _remember(self, *args: Any, **kwargs: Any) -> None:
        self.before = float(self.first.model.optimizer.learning_rate)

    def _compare(self, *args: Any, **kwargs: Any) -> None:
        now = float(self.last.model.optimizer.learning_rate)
        if now != self.before:
            raise ValueError(_sets_the_rate("one of them", self.schedule))


class EpochRecorder(keras.callbacks.Callback):
    """Add gradient norm and learning rate to the logs, record them, and raise at NaN.

    Parameters
    ----------
    history : dict of lists
        Lists of the logs. Each epoch appends to them.
    verbose : int
        If 1, print a line per epoch.
    """

    def __init__(self, history: dict[str, list[float]], verbose: int) -> None:
        super().__init__()
        self.history = history
        self.verbose = verbose
        self.n_epochs = 0

    def on_epoch_end(self, epoch: int, logs: dict | None = None) -> None:
        logs = {} if logs is None else logs
        optimizer = own_optimizer(self.model)
        logs["gradient_norm"] = optimizer.take_gradient_norm()
        logs["learning_rate"] = optimizer.last_rate()
        self.n_epochs += 1
        for name, value in logs.items():
            self.history.setdefault(name, []).append(float(value))
        for name, what in (("loss", "training"), ("val_loss", "validation")):
            if not math.isfinite(logs.get(name, 0.0)):
                raise FloatingPointError(
                    f"The {what} loss became {logs[name]} in epoch {epoch + 1}: lower "
                    f"learning_rate (now {logs['learning_rate']:.2g}), clip the "
                    "gradient (clipvalue), or look for extreme values in X and "
                    "sample_weight."
                )
        if self.verbose:
            figures = "  ".join(f"{name} {value:.4g}" for name, value in logs.items())
            print(f"epoch {epoch + 1}/{self.params['epochs']}  {figures}")


class BestWeights(keras.callbacks.Callback):
    """Early stopping on the validation loss. The best weights are kept in memory.

    If the loss has not improved for `patience` epochs, training goes back to the best
    weights. With a cosine schedule, a few more epochs then lower the learning rate to
    zero, so that the schedule ends when training ends. The best of all epochs counts.

    Parameters
    ----------
    patience : int
        Number of epochs to wait for a lower validation loss.
    anneal : int
        Number of epochs after that in which the learning rate falls to zero.
    updates_per_epoch : float
        Number of optimizer updates in an epoch.
    first : int
        Number of epochs in which patience does not count, because a part of the network
        does not train yet.
    """

    def __init__(
        self, patience: int, anneal: int, updates_per_epoch: float, first: int = 0
    ) -> None:
        super().__init__()
        self.first = first
        self.patience = patience
        self.anneal = anneal
        self.updates_per_epoch = updates_per_epoch
        self.best = math.inf
        self.best_epoch = 0
        self.best_weights: list[np.ndarray] | None = None
        self.last_epoch: int | None = None

    def on_epoch_end(self, epoch: int, logs: dict | None = None) -> None:
        loss = (logs or {}).get("val_loss", math.inf)
        if self.best_weights is None or loss < self.best:
            self.best, self.best_epoch = loss, epoch
            self.best_weights = self.model.get_weights()
        if self.last_epoch is not None:
            self.model.stop_training |= epoch >= self.last_epoch
        elif epoch - max(self.best_epoch, self.first - 1) >= self.patience:
            remaining = self.params["epochs"] - epoch - 1
            n_epochs = min(self.anneal, remaining)
            self.last_epoch = epoch + n_epochs
            if n_epochs == 0:
                self.model.stop_training = True
                return
            self.model.set_weights(self.best_weights)
            optimizer = own_optimizer(self.model)
            n_updates = max(1, int(n_epochs * self.updates_per_epoch))
            optimizer.start_cosine(float(optimizer.learning_rate), n_updates)

    def on_train_end(self, logs: dict | None = None) -> None:
        if self.best_weights is not None:
            self.model.set_weights(self.best_weights)


class EpochHooks(keras.callbacks.Callback):
    """Call functions before and after each epoch, for scikit-learn's callbacks.

    Parameters
    ----------
    begin : callable
        Function ``begin(epoch)``.
    end : callable
        Function ``end(epoch, logs) -> bool``. If it returns True, training stops.
    """

    def __init__(
        self, begin: Callable[[int], Any], end: Callable[[int, dict], bool]
    ) -> None:
        super().__init__()
        self._begin = begin
        self._end = end

    def on_epoch_begin(self, epoch: int, logs: dict | None = None) -> None:
        self._begin(epoch)

    def on_epoch_end(self, epoch: int, logs: dict | None = None) -> None:
        if self._end(epoch, logs or {}):
            self.model.stop_training = True
