"""One trial: its folds, one after another, each watched epoch by epoch."""

from __future__ import annotations

import time
from contextlib import nullcontext
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from sklearn.base import clone
from sklearn.pipeline import Pipeline

from sklstm._compat import check_method_params, safe_split
from sklstm.estimators import clear_pool, watch_epochs
from sklstm.model_selection._study import Judge

# Steps of a fold, at each of which a pruner is asked once: to score the test part takes
# a fifth of a small epoch (benchmarks/optuna_search.py overhead).
_STEPS = 10


@dataclass
class TrialJob:
    """What every trial of a search shares; it can be pickled.

    Parameters
    ----------
    estimator : estimator
        Cloned for every fold.
    splits : list of (train, test)
        Indices.
    scorer : callable or dict of callables
        As scikit-learn makes them.
    refit_metric : str
        What pruning and the study look at, of several.
    fit_params, score_params : dict
        Routed metadata.
    """

    estimator: Any
    X: Any
    y: Any
    splits: list
    scorer: Any
    refit_metric: str
    fit_params: dict
    score_params: dict
    error_score: Any
    return_train_score: bool
    pruner: Any
    ends_pruner: Any


@dataclass
class Outcome:
    """What came of a trial.

    Parameters
    ----------
    state : {"COMPLETE", "PRUNED", "FAIL"}
        As Optuna names them.
    folds : list of dict
        One for each fold begun.
    ends : dict
        The running mean after each fold, as `Judge.stretch` gives it.
    failure : str
        Why it failed.
    """

    state: str = "COMPLETE"
    folds: list[dict] = field(default_factory=list)
    ends: dict = field(default_factory=dict)
    failure: str = ""


def run_trial(job: TrialJob, params: dict, number: int, earlier: list[dict]) -> Outcome:
    """Cross-validate one set of parameters, until a pruner or an error ends it.

    Parameters
    ----------
    job : TrialJob
        What is cross-validated.
    params : dict
        Parameters of the estimator.
    number : int
        The trial's number.
    earlier : list of dict
        Finished trials: "pruned", and the stretches "folds" and "ends".

    Returns
    -------
    Outcome
        Folds that were not started are missing.
    """
    outcome = Outcome()
    ends = Judge(job.ends_pruner, _stretches(earlier, None), number)
    scores = []
    for k, (train, test) in enumerate(job.splits):
        judge = Judge(job.pruner, _stretches(earlier, k), number)
        fold: dict = {"fit_time": 0.0, "score_time": 0.0, "n_test": len(test)}
        outcome.folds.append(fold)
        try:
            pruned = _run_fold(job, params, train, test, judge, fold)
        except Exception as error:
            if job.error_score == "raise":
                raise
            outcome.state = "FAIL"
            outcome.failure = f"{type(error).__name__}: {_reason(error)}"
            if isinstance(error, MemoryError) or "Exhausted" in type(error).__name__:
                clear_pool()
            break
        finally:
            fold["stretch"] = judge.stretch()
        if pruned:
            outcome.state = "PRUNED"
            break
        scores.append(_watched(job, fold["test"]))
        if not np.isfinite(scores[-1]):
            outcome.state = "FAIL"
            outcome.failure = f"the score of fold {k} is {scores[-1]}"
            break
        last = k == len(job.splits) - 1
        if ends.prunes(float(np.mean(scores)), k) and not last:
            outcome.state = "PRUNED"
            break
    outcome.ends = ends.stretch()
    return outcome


def _reason(error: Exception) -> str:
    """Return an error's own words, of TensorFlow's without the traceback in them."""
    lines = str(error).strip().splitlines()
    if len(lines) > 8:
        told = [line for line in lines if line.strip() and not line.startswith(" ")]
        return (told or lines)[-1].strip()
    return "\n".join(lines)


def _stretches(earlier: list[dict], fold: int | None) -> list[dict]:
    """Return the same stretch of earlier trials, of those that got there."""
    found = []
    for trial in earlier:
        if fold is None:
            stretch = trial["ends"]
            pruned = trial["pruned"]
        elif fold < len(trial["folds"]):
            stretch = trial["folds"][fold].get("stretch", {})
            # Of a pruned trial, the folds before the last ran to their end.
            pruned = trial["pruned"] and fold == len(trial["folds"]) - 1
        else:
            continue
        if stretch.get("values"):
            found.append({**stretch, "pruned": pruned})
    return found


def _run_fold(
    job: TrialJob, params: dict, train: Any, test: Any, judge: Judge, fold: dict
) -> bool:
    """Fit and score one fold; return whether it was pruned."""
    # Parameters may be estimators themselves, which a fit would change.
    estimator = clone(job.estimator).set_params(**clone(params, safe=False))
    X_train, y_train = safe_split(estimator, job.X, job.y, train)
    X_test, y_test = safe_split(estimator, job.X, job.y, test, train)
    fit_params = check_method_params(job.X, params=job.fit_params, indices=train)
    score_params = check_method_params(job.X, params=job.score_params, indices=test)
    watcher = _Watcher(job, estimator, X_test, y_test, score_params, judge)

    start = time.perf_counter()
    # Also with a pruner that never prunes: who watches counts the epochs.
    with watch_epochs(watcher) if _has_epochs(estimator) else nullcontext():
        if y_train is None:
            estimator.fit(X_train, **fit_params)
        else:
            estimator.fit(X_train, y_train, **fit_params)
    fold["fit_time"] = time.perf_counter() - start
    fold["n_epochs"] = watcher.n_epochs
    if watcher.pruned:
        return True
    best = getattr(_final(estimator), "best_epoch_", None)
    if best is not None:
        fold["best_epoch"] = int(best)
    start = time.perf_counter()
    fold["test"] = _scores(job, estimator, X_test, y_test, score_params)
    fold["score_time"] = time.perf_counter() - start
    if job.return_train_score:
        score_params = check_method_params(job.X, job.score_params, indices=train)
        fold["train"] = _scores(job, estimator, X_train, y_train, score_params)
    return False


def _scores(job: TrialJob, estimator: Any, X: Any, y: Any, score_params: dict) -> dict:
    args = (X,) if y is None else (X, y)
    scores = job.scorer(estimator, *args, **score_params)
    if not isinstance(scores, dict):
        scores = {"score": scores}
    for name, score in scores.items():
        if isinstance(score, str):  # what scikit-learn makes of a scorer's error
            raise ValueError(f"scoring failed: {score.strip().splitlines()[-1]}")
        try:
            scores[name] = float(score)
        except (TypeError, ValueError):
            raise ValueError(
                f"scoring returned {score!r} for {name}: it must return a number."
            ) from None
    return scores


def _watched(job: TrialJob, scores: dict) -> float:
    # A single metric has no name, whatever `refit` says.
    return scores.get(job.refit_metric, next(iter(scores.values())))


def _final(estimator: Any) -> Any:
    while isinstance(estimator, Pipeline):
        estimator = estimator.steps[-1][1]
    return estimator


def _has_epochs(estimator: Any) -> bool:
    from sklstm.estimators._base import KerasEstimator

    return isinstance(_final(estimator), KerasEstimator)


def completed_steps(n_epochs: int, planned: int) -> int:
    """Return how many tenths of the planned epochs are completed.

    Trials that train for different numbers of epochs, as batch sizes make them under
    ``epochs="auto"``, are compared at the same part of their training.
    """
    return n_epochs * _STEPS // planned


class _Watcher:
    """Scores the fold's test part after each tenth of training and asks the judge.

    The final estimator of a Pipeline is seen while it trains; the steps before it are
    fitted by then, so they transform the test part once.
    """

    def __init__(
        self, job: TrialJob, estimator: Any, X: Any, y: Any, params: dict, judge: Judge
    ) -> None:
        self.job = job
        self.estimator = estimator
        self.X = X
        self.y = y
        self.params = params
        self.judge = judge
        self.n_epochs = 0
        self.pruned = False
        self._transformed: Any = None

    def __call__(self, fitted: Any, epoch: int, logs: dict) -> bool:
        if fitted is not _final(self.estimator):
            return False
        before = completed_steps(self.n_epochs, fitted._planned_epochs)
        self.n_epochs += 1
        step = completed_steps(self.n_epochs, fitted._planned_epochs)
        if self.judge.never or step == before:
            return False
        if self._transformed is None:
            X, estimator = self.X, self.estimator
            while isinstance(estimator, Pipeline):
                X = estimator[:-1].transform(X) if len(estimator) > 1 else X
                estimator = estimator.steps[-1][1]
            self._transformed = X
        scores = _scores(self.job, fitted, self._transformed, self.y, self.params)
        self.pruned = self.judge.prunes(_watched(self.job, scores), step)
        return self.pruned
