"""The Optuna side: opening a study, taking over from killed processes, pruning."""

from __future__ import annotations

import copy
import logging
import os
import re
import socket
import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import joblib
import numpy as np
import optuna
from optuna.trial import FrozenTrial, TrialState

from sklstm.model_selection._liveness import is_alive

FINISHED = (TrialState.COMPLETE, TrialState.PRUNED, TrialState.FAIL)

# Keys of what a trial carries in the study besides Optuna's own.
FOLDS = "sklstm_folds"
FAILURE = "sklstm_failure"
WORKER = "sklstm_worker"
BEAT = "sklstm_beat"
LOST = "sklstm_lost"  # its process died, or it was one too many: it does not count
PARAMS = "sklstm_params"  # what the estimator was given
DATA = "sklstm_data"
ESTIMATOR = "sklstm_estimator"

# A process on another machine is taken for dead after so many seconds of silence.
_SILENCE = 600.0
_BEAT_EVERY = 60.0


def open_study(
    storage: Any,
    name: str | None,
    sampler: Any,
    pruner: Any,
    data: tuple,
    estimator: tuple,
) -> optuna.Study:
    """Return a new study, or go on with the one of that name in the storage.

    Parameters
    ----------
    storage : str, optuna.storages.BaseStorage or None
        None for memory.
    name : str or None
        None for a new study under a name of Optuna's.
    sampler, pruner : optuna objects
        Copied: one search does not move another's.
    data : tuple
        What the trials are about; a study made on other data is refused.
    estimator : tuple
        What is searched, as `describe` gives it; likewise.

    Returns
    -------
    optuna.Study
        Maximizes.

    Raises
    ------
    TypeError, ValueError
        If the storage cannot be opened, or the study is of another direction, other
        data or another estimator.
    """
    study = optuna.create_study(
        storage=_connect(storage),
        study_name=name,
        sampler=copy.deepcopy(sampler),
        pruner=copy.deepcopy(pruner),
        direction="maximize",
        load_if_exists=True,
    )
    if [direction.name for direction in study.directions] != ["MAXIMIZE"]:
        directions = " and ".join(one.name.lower() for one in study.directions)
        raise ValueError(
            f"The study {name!r} has the direction {directions}, but a search "
            "maximizes one score: give another study_name, or make the study with "
            "direction='maximize'."
        )
    if storage is not None:
        _compare(
            study,
            DATA,
            joblib.hash(data),
            f"The study {name!r} was made on other data, other folds or another "
            "scoring, so its scores say nothing here: give another study_name (None "
            "for a new study every time, as nested cross-validation needs). Folds that "
            "are shuffled are the same again only with a random_state.",
        )
        _compare(
            study,
            ESTIMATOR,
            joblib.hash(estimator),
            f"The study {name!r} was made with another estimator, or other parameters "
            "of it, so its scores say nothing here: give another study_name.",
        )
    return study


def _compare(study: optuna.Study, key: str, fingerprint: str, message: str) -> None:
    known = study.user_attrs.get(key)
    if known is None:
        study.set_user_attr(key, fingerprint)
    elif known != fingerprint:
        raise ValueError(message)


_NO_MATTER = ("verbose", "n_jobs", "memory")


def describe(estimator: Any) -> tuple:
    """Return what an estimator is, all its parameters; equal in every process.

    Parameters
    ----------
    estimator : estimator
        As it is given to a search.

    Returns
    -------
    tuple
        Of plain values, for hashing.
    """
    params = sorted(estimator.get_params(deep=True).items())
    return (
        _describe(estimator),
        *(
            (name, _describe(value))
            for name, value in params
            if name.rpartition("__")[2] not in _NO_MATTER
        ),
    )


def _describe(value: Any) -> Any:
    # No addresses, which differ from process to process.
    if isinstance(value, dict):
        return [(str(key), _describe(value[key])) for key in value]
    if isinstance(value, list | tuple):
        return [_describe(item) for item in value]
    if isinstance(value, bool | int | float | str | np.ndarray | None):
        return value
    if isinstance(value, np.generic):
        return value.item()
    kind = value if callable(value) and hasattr(value, "__qualname__") else type(value)
    config = {}
    if hasattr(value, "get_config") and not isinstance(value, type):
        config = {**value.get_config(), "name": None}  # Keras numbers names
    return (kind.__module__, kind.__qualname__, repr(sorted(config.items())))


def _connect(storage: Any) -> Any:
    """Open a storage, also while another process is making its tables."""
    if not isinstance(storage, str):
        if not isinstance(storage, optuna.storages.BaseStorage | None):
            raise TypeError(
                f"storage={storage!r} must be the address of a database, such as "
                "'sqlite:///study.db', a storage of Optuna, or None."
            )
        return storage
    if "://" not in storage:
        raise ValueError(
            f"storage={storage!r} is no address of a database: for a file of that "
            f"name give storage='sqlite:///{storage}'."
        )
    shown = re.sub(r":[^:@/]*@", ":***@", storage)  # without the password
    from sqlalchemy.exc import ArgumentError, DBAPIError, NoSuchModuleError

    for attempt in range(6):
        try:
            return optuna.storages.get_storage(storage)
        except (ArgumentError, NoSuchModuleError, ImportError) as error:
            raise ValueError(
                f"storage={shown!r} cannot be opened, because its database is not "
                f"known or the driver of it not installed: {error}"
            ) from error
        except DBAPIError as error:
            if attempt == 5:
                raise ValueError(
                    f"storage={shown!r} cannot be opened; its folder must exist, or "
                    f"its server run and let you in: {error.orig}"
                ) from error
            time.sleep(0.1 * 2**attempt)


class Workers:
    """The running trials of this process, kept known as alive to all others.

    Parameters
    ----------
    study : optuna.Study
        Where they run.
    shared : bool
        Other processes may see the study.
    """

    def __init__(self, study: optuna.Study, shared: bool) -> None:
        self.study = study
        self.shared = shared
        # Two searches of one process are two workers.
        self.name = f"{socket.gethostname()}:{os.getpid()}:{uuid.uuid4().hex[:8]}"
        self._running: dict[int, optuna.trial.Trial] = {}
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._beat, daemon=True)

    def __enter__(self) -> Workers:
        if self.shared:
            self._thread.start()
        return self

    def __exit__(self, *error: Any) -> None:
        self._stop.set()
        for trial in list(self._running.values()):  # an error or an interrupt
            try:
                self.give_up(trial)
                if self.shared:
                    self.study.enqueue_trial(trial.params)
            except (RuntimeError, ValueError):
                continue  # it was told in the last moment

    def _beat(self) -> None:
        while not self._stop.wait(_BEAT_EVERY):
            for trial in list(self._running.values()):
                try:
                    trial.set_user_attr(BEAT, time.time())
                except Exception:  # told meanwhile, or the storage hiccups
                    continue

    def ask(self, n_trials: int) -> optuna.trial.Trial | None:
        """Return a new trial, or None once the study has all it needs."""
        if self.shared:
            self._retry_lost()
        if sum(counts(trial) for trial in self._trials()) >= n_trials:
            return None
        trial = self.study.ask()
        if self.shared:
            trial.set_user_attr(WORKER, self.name)
            trial.set_user_attr(BEAT, time.time())
        self._running[trial.number] = trial
        # Two processes may both have asked for the last one. Numbers are unique: of
        # those that count, the first n_trials stay.
        earlier = [other for other in self._trials() if other.number < trial.number]
        if sum(map(counts, earlier)) >= n_trials:
            self.give_up(trial)
            return None
        return trial

    def _trials(self) -> list[FrozenTrial]:
        states = (*FINISHED, TrialState.RUNNING)
        return self.study.get_trials(deepcopy=False, states=states)

    def done(self, trial: optuna.trial.Trial) -> None:
        """Forget a trial that the study was told about."""
        self._running.pop(trial.number, None)

    def give_up(self, trial: optuna.trial.Trial) -> None:
        """End a trial as one that never counted."""
        trial.set_user_attr(LOST, True)
        self.study.tell(trial, state=TrialState.FAIL)
        self.done(trial)

    def _retry_lost(self) -> None:
        running = self.study.get_trials(deepcopy=False, states=(TrialState.RUNNING,))
        for frozen in running:
            if frozen.number not in self._running and self._is_lost(frozen):
                try:
                    self.study._storage.set_trial_user_attr(
                        frozen._trial_id, LOST, True
                    )
                    self.study.tell(frozen.number, state=TrialState.FAIL)
                except (RuntimeError, ValueError):
                    continue  # another process was quicker
                given = frozen.system_attrs.get("fixed_params", {})
                self.study.enqueue_trial({**given, **frozen.params})

    def _is_lost(self, frozen: FrozenTrial) -> bool:
        started = frozen.datetime_start
        began = time.time() if started is None else started.timestamp()
        worker = frozen.user_attrs.get(WORKER)
        if worker is None:
            # Killed between Optuna's asking and the name; or asked a moment ago.
            return time.time() - began > 60
        host, pid, _ = worker.rsplit(":", 2)
        if host == socket.gethostname() and not is_alive(int(pid)):
            return True
        return time.time() - frozen.user_attrs.get(BEAT, began) > _SILENCE


def counts(trial: FrozenTrial) -> bool:
    """Tell whether a trial is one of the n_trials."""
    return LOST not in trial.user_attrs


class Judge:
    """Asks a pruner about one stretch of a trial: the epochs of a fold, or the folds.

    Each stretch is compared with the same stretch of earlier trials, in a small study
    of its own in memory, so that the start of one fold is not held against the end of
    the last, and any pruner of Optuna's serves, in any process.

    Parameters
    ----------
    pruner : optuna.pruners.BasePruner
        Who decides.
    earlier : list of dict
        The same stretch of finished trials: "steps", "values", "rungs"
        and "pruned".
    number : int
        Number of the trial, which some pruners hash.
    """

    def __init__(self, pruner: Any, earlier: list[dict], number: int) -> None:
        self.never = isinstance(pruner, optuna.pruners.NopPruner)
        self.steps: list[int] = []
        self.values: list[float] = []
        self.trial: Any = None
        if self.never:
            return
        with quiet_optuna():
            study = optuna.create_study(
                study_name="stretch",  # Hyperband hashes it
                direction="maximize",
                pruner=copy.deepcopy(pruner),
                sampler=optuna.samplers.RandomSampler(seed=number),
            )
            study.add_trials([_as_trial(stretch) for stretch in earlier])
            self.study = study
            self.trial = study.ask()

    def prunes(self, value: float, step: int) -> bool:
        """Report a value of the stretch; tell whether to stop."""
        self.steps.append(step)
        self.values.append(value)
        if self.never:
            return False
        self.trial.report(value, step)
        return self.trial.should_prune()

    def stretch(self) -> dict:
        """Return what later trials are compared with."""
        rungs = {}
        if not self.never:
            rungs = dict(self.study.trials[self.trial.number].system_attrs)
        return {"steps": self.steps, "values": self.values, "rungs": rungs}


def _as_trial(stretch: dict) -> FrozenTrial:
    complete = not stretch.get("pruned", False)
    return optuna.trial.create_trial(
        state=TrialState.COMPLETE if complete else TrialState.PRUNED,
        value=0.0,  # pruners read the intermediate ones
        intermediate_values=dict(zip(stretch["steps"], stretch["values"], strict=True)),
        system_attrs=stretch.get("rungs", {}),
    )


_quiet_lock = threading.Lock()
_quiet: dict[str, int] = {"depth": 0, "before": logging.NOTSET}


@contextmanager
def quiet_optuna() -> Iterator[None]:
    """Keep Optuna's lines about every study and trial off the user's terminal."""
    logger = logging.getLogger("optuna")
    with _quiet_lock:
        if _quiet["depth"] == 0:
            _quiet["before"] = logger.level
            logger.setLevel(max(logger.level, logging.WARNING))
        _quiet["depth"] += 1
    try:
        yield
    finally:
        with _quiet_lock:
            _quiet["depth"] -= 1
            if _quiet["depth"] == 0:
                logger.setLevel(_quiet["before"])
