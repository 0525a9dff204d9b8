"""Running trials one after another, in parallel with joblib, or on a Dask cluster."""

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


def in_turn(job: TrialJob, trials: Iterator[tuple], n_jobs: int) -> Generator[tuple]:
    """Run one trial after another."""
    for trial, params, earlier in trials:
        yield trial, _run(job, trial.number, params, earlier)[1]


def in_parallel(
    job: TrialJob, trials: Iterator[tuple], n_jobs: int
) -> Generator[tuple]:
    """Run `n_jobs` trials at a time; the workers get only what can be pickled."""
    client = getattr(get_active_backend()[0], "client", None)
    if client is not None:
        yield from _on_dask(client, job, trials, n_jobs)
        return
    running = {}

    def calls() -> Iterator[Any]:
        for trial, params, earlier in trials:
            running[trial.number] = trial
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
            yield running.pop(number), outcome
    finally:
        # After an error, nobody needs the running trials. joblib would warn of them
        # and give advice about an iterator that is not the user's. A filter of warnings
        # does not help, because the running trials change the filters as well.
        parallel.return_generator = False
        outcomes.close()


def _on_dask(
    client: Any, job: TrialJob, trials: Iterator[tuple], n_jobs: int
) -> Iterator[tuple]:
    """Yield each result as soon as it is there, which joblib's backend cannot."""
    # Dask is optional, and it is installed where there is a client.
    from distributed import as_completed

    shared = client.scatter(job, broadcast=True)
    config = sklearn.get_config()
    running: dict[int, Any] = {}
    futures = as_completed()

    def submit_next() -> None:
        for trial, *parts in itertools.islice(trials, 1):
            running[trial.number] = trial
            futures.add(
                client.submit(
                    _run_with, config, shared, trial.number, *parts, pure=False
                )
            )

    for _ in range(n_jobs):
        submit_next()
    for future in futures:
        number, outcome = future.result()
        yield running.pop(number), outcome
        submit_next()


def _run_with(config: dict, *parts: Any) -> tuple:
    with sklearn.config_context(**config):
        return _run(*parts)
