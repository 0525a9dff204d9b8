"""Running trials: in turn, side by side through joblib, or on a Dask cluster."""

from __future__ import annotations

import itertools
from collections.abc import Generator, Iterator
from typing import Any

import sklearn
from joblib.parallel import get_active_backend
from sklearn.utils.parallel import Parallel, delayed

from sklstm.model_selection._study import quiet_optuna
from sklstm.model_selection._trial import TrialJob, run_trial


def _run(job: TrialJob, number: int, params: dict, earlier: list) -> tuple:
    with quiet_optuna():
        return number, run_trial(job, params, number, earlier)


def in_turn(job: TrialJob, jobs: Iterator[tuple], n_jobs: int) -> Generator[tuple]:
    """Run one trial after another."""
    for trial, params, earlier in jobs:
        yield trial, _run(job, trial.number, params, earlier)[1]


def in_parallel(job: TrialJob, jobs: Iterator[tuple], n_jobs: int) -> Generator[tuple]:
    """Run trials side by side; only what can be pickled goes to the workers."""
    client = getattr(get_active_backend()[0], "client", None)
    if client is not None:
        yield from _on_dask(client, job, jobs, n_jobs)
        return
    trials = {}

    def calls() -> Iterator[Any]:
        for trial, params, earlier in jobs:
            trials[trial.number] = trial
            yield delayed(_run)(job, trial.number, params, earlier)

    parallel = Parallel(
        n_jobs=n_jobs,
        prefer="threads",
        return_as="generator_unordered",
        pre_dispatch=n_jobs,
    )
    outcomes = parallel(calls())
    try:
        for number, outcome in outcomes:
            yield trials.pop(number), outcome
    finally:
        # After an error the running trials are of no use. joblib would warn of them
        # and advise on an iterator that is not the user's. A filter of warnings does
        # not stop that, because the running trials change the filters as well.
        parallel.return_generator = False
        outcomes.close()


def _on_dask(
    client: Any, job: TrialJob, jobs: Iterator[tuple], n_jobs: int
) -> Iterator[tuple]:
    """Do what joblib's dask backend cannot: give each result when it is there."""
    from distributed import as_completed

    shared = client.scatter(job, broadcast=True)
    config = sklearn.get_config()
    trials: dict[int, Any] = {}
    running = as_completed()

    def submit_next() -> None:
        for trial, *parts in itertools.islice(jobs, 1):
            trials[trial.number] = trial
            running.add(
                client.submit(
                    _run_with, config, shared, trial.number, *parts, pure=False
                )
            )

    for _ in range(n_jobs):
        submit_next()
    for future in running:
        number, outcome = future.result()
        yield trials.pop(number), outcome
        submit_next()


def _run_with(config: dict, *parts: Any) -> tuple:
    with sklearn.config_context(**config):
        return _run(*parts)
