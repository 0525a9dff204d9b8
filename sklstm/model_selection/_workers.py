"""The trials that this process runs, and those that dead processes left behind."""

from __future__ import annotations

import os
import socket
import threading
import time
import uuid
from typing import Any

import optuna
from optuna.trial import FrozenTrial, TrialState

from sklstm.model_selection._liveness import is_alive
from sklstm.model_selection._study import FINISHED, LOST, counts

# Keys of the user attributes by which processes recognize each other's trials.
WORKER = "sklstm_worker"
BEAT = "sklstm_beat"

# A process on another machine counts as dead after so many seconds without a beat.
_SILENCE = 600.0
_BEAT_EVERY = 60.0


class Worker:
    """Asks the study for trials and keeps them marked as running.

    Several processes may work on one study. Each marks its running trials with its name
    and, every minute, with the time. A trial of a dead process is ended as failed, and
    its parameters are queued again.

    Parameters
    ----------
    study : optuna.Study
        The study.
    shared : bool
        Whether other processes may work on the study.
    """

    def __init__(self, study: optuna.Study, shared: bool) -> None:
        self.study = study
        self.shared = shared
        # One process may run two searches, so its number alone is not a name.
        self.name = f"{socket.gethostname()}:{os.getpid()}:{uuid.uuid4().hex[:8]}"
        self._running: dict[int, optuna.trial.Trial] = {}
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._beat, daemon=True)

    def __enter__(self) -> Worker:
        if self.shared:
            self._thread.start()
        return self

    def __exit__(self, *error: Any) -> None:
        self._stop.set()
        # Trials still run here only after an error or an interrupt.
        for trial in list(self._running.values()):
            try:
                self.give_up(trial)
                if self.shared:
                    self.study.enqueue_trial(trial.params)
            except (RuntimeError, ValueError):
                continue  # the study got the result in the meantime

    def _beat(self) -> None:
        while not self._stop.wait(_BEAT_EVERY):
            for trial in list(self._running.values()):
                try:
                    trial.set_user_attr(BEAT, time.time())
                except Exception:
                    # The trial has ended in the meantime, or the storage did not
                    # answer. The next beat tries again.
                    continue

    def ask(self, n_trials: int) -> optuna.trial.Trial | None:
        """Return a new trial, or None once the study has `n_trials` of them."""
        if self.shared:
            self._retry_lost()
        if sum(counts(trial) for trial in self._trials()) >= n_trials:
            return None
        trial = self.study.ask()
        if self.shared:
            trial.set_user_attr(WORKER, self.name)
            trial.set_user_attr(BEAT, time.time())
        self._running[trial.number] = trial
        # Two processes may ask for the last trial at the same time. Their trials have
        # different numbers, and the first n_trials of those that count remain.
        earlier = [other for other in self._trials() if other.number < trial.number]
        if sum(map(counts, earlier)) >= n_trials:
            self.give_up(trial)
            return None
        return trial

    def _trials(self) -> list[FrozenTrial]:
        states = (*FINISHED, TrialState.RUNNING)
        return self.study.get_trials(deepcopy=False, states=states)

    def done(self, trial: optuna.trial.Trial) -> None:
        """Forget a trial whose result the study has."""
        self._running.pop(trial.number, None)

    def give_up(self, trial: optuna.trial.Trial) -> None:
        """End a trial as failed, so that it does not count."""
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
                    continue  # another process was faster
                given = frozen.system_attrs.get("fixed_params", {})
                self.study.enqueue_trial({**given, **frozen.params})

    def _is_lost(self, frozen: FrozenTrial) -> bool:
        started = frozen.datetime_start
        began = time.time() if started is None else started.timestamp()
        worker = frozen.user_attrs.get(WORKER)
        if worker is None:
            # The process has just asked for the trial, or it was killed before it
            # could mark the trial with its name.
            return time.time() - began > 60
        host, pid, _ = worker.rsplit(":", 2)
        if host == socket.gethostname() and not is_alive(int(pid)):
            return True
        return time.time() - frozen.user_attrs.get(BEAT, began) > _SILENCE
