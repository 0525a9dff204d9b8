"""The loop of a search: ask the study for a trial, run it, tell the study its result.

`TrialRunner` asks for trials (_workers.py) and hands them on to be run (_parallel.py).
Each of them is a cross-validation (_trial.py), which a pruner may stop (_pruning.py).
"""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import optuna
from joblib import effective_n_jobs
from optuna.trial import TrialState
from tqdm.auto import tqdm

from sklstm.model_selection._parallel import in_parallel, in_turn
from sklstm.model_selection._pruning import earlier_trials
from sklstm.model_selection._space import Space, plain_params, suggest
from sklstm.model_selection._study import FAILURE, FOLDS, PARAMS, finished_trials
from sklstm.model_selection._trial import Outcome, TrialJob
from sklstm.model_selection._workers import Worker


class TrialRunner:
    """Runs trials of a study until the search ends.

    A search ends when the study has enough trials, when the time is up, when a callback
    returns True, or with an error.

    Parameters
    ----------
    study : optuna.Study
        The study.
    space : dict or callable
        The search space, as `OptunaSearchCV` takes it.
    n_trials : int
        Number of finished trials after which the search ends.
    timeout : float or None
        Seconds after which no further trial begins.
    seed : int or None
        Seed of the default sampler. If None, keep the sampler of the study.
    n_jobs : int or None
        Number of trials that run at the same time.
    callbacks : sequence of callable
        They are called with the study and with each finished trial.
    shared : bool
        Whether other processes may work on the study.
    progress : bool
        Whether to show a progress bar.
    """

    def __init__(
        self,
        study: optuna.Study,
        space: Space,
        *,
        n_trials: int,
        timeout: float | None,
        seed: int | None,
        n_jobs: int | None,
        callbacks: Sequence[Callable],
        shared: bool,
        progress: bool,
    ) -> None:
        self.study = study
        self.space = space
        self.n_trials = n_trials
        self.end = time.monotonic() + (np.inf if timeout is None else timeout)
        self.seed = seed
        self.n_jobs = effective_n_jobs(n_jobs)
        self.callbacks = callbacks
        self.worker = Worker(study, shared)
        self.progress = progress
        self.stopped = False
        self.error: BaseException | None = None

    def run(self, job: TrialJob) -> None:
        """Run trials of a job, and raise the error that ended the search, if any."""
        run_all = in_turn if self.n_jobs == 1 else in_parallel
        with self.worker, _ProgressBar(self.n_trials, self.study, self.progress) as bar:
            outcomes = run_all(job, self._next_trials(), self.n_jobs)
            try:
                for trial, outcome in outcomes:
                    self._finish(trial, outcome)
                    finished = self.study.trials[trial.number]
                    for callback in self.callbacks:
                        self.stopped |= callback(self.study, finished) is True
                    bar.update(finished)
            finally:
                self.stopped = True
                # After an error this ends the running trials at once. Otherwise they
                # would run until the generator is collected as garbage.
                outcomes.close()
            if self.error is not None:
                raise self.error

    def _next_trials(self) -> Iterator[tuple]:
        """Yield trials with their parameters and the trials to compare them with."""
        while not self.stopped and time.monotonic() < self.end:
            try:
                trial = self.worker.ask(self.n_trials)
                if trial is None:
                    return
                if self.seed is not None:
                    self.study.sampler = self._sampler(self.seed, trial.number)
                params = suggest(self.space, trial)
                trial.set_user_attr(PARAMS, plain_params(params))
                earlier = earlier_trials(self.study)
            except BaseException as error:
                # joblib may call this generator in a thread of its own, which an error
                # must not end. `run` raises the error.
                self.error = error
                return
            yield trial, params, earlier

    def _sampler(self, seed: int, number: int) -> optuna.samplers.BaseSampler:
        # Each trial has a sampler of its own, seeded by its number. A search that
        # continues a study, or a second process, thus repeats no earlier draw.
        mixed = int(np.random.SeedSequence([seed, number]).generate_state(1)[0])
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            return optuna.samplers.TPESampler(seed=mixed, constant_liar=self.n_jobs > 1)

    def _finish(self, trial: optuna.trial.Trial, outcome: Outcome) -> None:
        """Tell the study the result of a trial."""
        try:
            self._tell(trial, outcome)
        except (RuntimeError, ValueError):
            # Another machine may have taken this process for dead and ended the trial.
            # Its result is then lost, and its parameters are tried again.
            if not self.study.trials[trial.number].state.is_finished():
                raise
        self.worker.done(trial)

    def _tell(self, trial: optuna.trial.Trial, outcome: Outcome) -> None:
        # Stored studies know the curve of the means as "ends".
        trial.set_user_attr(FOLDS, {"folds": outcome.folds, "ends": outcome.means})
        if outcome.failure:
            trial.set_user_attr(FAILURE, outcome.failure)
        means = outcome.means.get("values", [])
        for step, mean in enumerate(means):
            trial.report(mean, step)
        if outcome.state == "COMPLETE":
            self.study.tell(trial, means[-1])
        else:
            self.study.tell(trial, state=TrialState[outcome.state])


class _ProgressBar:
    """Shows on stderr the number of finished trials, the best score and the time left.

    Parameters
    ----------
    n_trials : int
        Number of trials at the end of the search.
    study : optuna.Study
        The study, which may have finished trials already.
    shown : bool
        If False, show nothing.
    """

    def __init__(self, n_trials: int, study: optuna.Study, shown: bool) -> None:
        self.bar = None
        self.best = -np.inf
        if shown:
            done = len(finished_trials(study))
            self.bar = tqdm(total=n_trials, initial=done, unit="trial")

    def __enter__(self) -> _ProgressBar:
        return self

    def __exit__(self, *error: Any) -> None:
        if self.bar is not None:
            self.bar.close()

    def update(self, trial: optuna.trial.FrozenTrial) -> None:
        """Count a finished trial."""
        if self.bar is None:
            return
        if trial.state is TrialState.COMPLETE:
            self.best = max(self.best, trial.value)
        self.bar.set_postfix(best=f"{self.best:.4f}", refresh=False)
        self.bar.update()
