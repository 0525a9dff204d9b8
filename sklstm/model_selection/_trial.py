"""One trial: cross-validation of one set of parameters, which a pruner may stop."""

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
from sklstm.model_selection._pruning import (
    CurvePruner,
    completed_steps,
    curves_of_fold,
    curves_of_means,
)
from sklstm.training._memory import is_out_of_memory


@dataclass
class TrialJob:
    """What all trials of a search share. It can be pickled.

    Parameters
    ----------
    estimator : estimator
        The estimator, which is cloned for every fold.
    X, y : array-like
        All data of the search.
    splits : list of (train, test)
        Indices of the folds.
    scorer : callable or dict of callables
        Scorers, as scikit-learn makes them.
    refit_metric : str
        Name of the metric that the pruner and the study see.
    fit_params, score_params : dict
        Metadata for `fit` and for the scorers.
    error_score : "raise" or float
        If "raise", an error of a fold ends the search.
    return_train_score : bool
        Whether to score the training parts as well.
    epoch_pruner, fold_pruner : optuna.pruners.BasePruner
        Pruners of the curves within a fold, and of the mean score over the folds.
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
    epoch_pruner: Any
    fold_pruner: Any


@dataclass
class Outcome:
    """The result of a trial.

    Parameters
    ----------
    state : {"COMPLETE", "PRUNED", "FAIL"}
        State of the trial, as Optuna names it.
    folds : list of dict
        Results of the folds that were begun.
    means : dict
        Curve of the mean score after each fold, as `CurvePruner.curve` returns it.
    failure : str
        Message of the error, if the trial failed.
    """

    state: str = "COMPLETE"
    folds: list[dict] = field(default_factory=list)
    means: dict = field(default_factory=dict)
    failure: str = ""


def run_trial(job: TrialJob, params: dict, number: int, earlier: list[dict]) -> Outcome:
    """Cross-validate one set of parameters, until a pruner or an error ends it.

    Parameters
    ----------
    job : TrialJob
        The cross-validation.
    params : dict
        Parameters of the estimator.
    number : int
        Number of the trial.
    earlier : list of dict
        Finished trials, as `earlier_trials` returns them.

    Returns
    -------
    Outcome
        The result, with the folds that were begun.
    """
    outcome = Outcome()
    mean_pruner = CurvePruner(job.fold_pruner, curves_of_means(earlier), number)
    scores = []
    for k, (train, test) in enumerate(job.splits):
        pruner = CurvePruner(job.epoch_pruner, curves_of_fold(earlier, k), number)
        fold: dict = {"fit_time": 0.0, "score_time": 0.0, "n_test": len(test)}
        outcome.folds.append(fold)
        try:
            pruned = _run_fold(job, params, train, test, pruner, fold)
        except Exception as error:
            if job.error_score == "raise":
                raise
            outcome.state = "FAIL"
            outcome.failure = f"{type(error).__name__}: {_reason(error)}"
            if is_out_of_memory(error):
                # Compiled networks that wait for a next fit take memory, too.
                clear_pool()
            break
        finally:
            # Stored studies know the curve by this name.
            fold["stretch"] = pruner.curve()
        if pruned:
            outcome.state = "PRUNED"
            break
        scores.append(_watched(job, fold["test"]))
        if not np.isfinite(scores[-1]):
            outcome.state = "FAIL"
            outcome.failure = f"the score of fold {k} is {scores[-1]}"
            break
        last = k == len(job.splits) - 1
        if mean_pruner.should_prune(float(np.mean(scores)), k) and not last:
            outcome.state = "PRUNED"
            break
    outcome.means = mean_pruner.curve()
    return outcome


def _reason(error: Exception) -> str:
    """Return the message of an error, without the traceback that TensorFlow adds."""
    lines = str(error).strip().splitlines()
    if len(lines) > 8:
        told = [line for line in lines if line.strip() and not line.startswith(" ")]
        return (told or lines)[-1].strip()
    return "\n".join(lines)


def _run_fold(
    job: TrialJob, params: dict, train: Any, test: Any, pruner: CurvePruner, fold: dict
) -> bool:
    """Fit and score one fold; return whether it was pruned."""
    # Parameters may be estimators, which a fit would change.
    estimator = clone(job.estimator).set_params(**clone(params, safe=False))
    X_train, y_train = safe_split(estimator, job.X, job.y, train)
    X_test, y_test = safe_split(estimator, job.X, job.y, test, train)
    fit_params = check_method_params(job.X, params=job.fit_params, indices=train)
    score_params = check_method_params(job.X, params=job.score_params, indices=test)
    watcher = _EpochWatcher(job, estimator, X_test, y_test, score_params, pruner)

    start = time.perf_counter()
    # The watcher also counts the epochs, so it watches even if nothing is pruned.
    with watch_epochs(watcher) if trains_by_epochs(estimator) else nullcontext():
        if y_train is None:
            estimator.fit(X_train, **fit_params)
        else:
            estimator.fit(X_train, y_train, **fit_params)
    fold["fit_time"] = time.perf_counter() - start
    fold["n_epochs"] = watcher.n_epochs
    if watcher.pruned:
        return True
    best = getattr(final_step(estimator)[1], "best_epoch_", None)
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
        if isinstance(score, str):
            # scikit-learn returns the traceback of a scorer that failed.
            raise ValueError(f"scoring failed: {score.strip().splitlines()[-1]}")
        try:
            scores[name] = float(score)
        except (TypeError, ValueError):
            raise ValueError(
                f"scoring returned {score!r} for {name}: it must return a number."
            ) from None
    return scores


def _watched(job: TrialJob, scores: dict) -> float:
    # A single metric is called "score", whatever `refit` says.
    return scores.get(job.refit_metric, next(iter(scores.values())))


def final_step(estimator: Any) -> tuple[str, Any]:
    """Return the last step of a Pipeline, and the prefix of its parameters."""
    prefix = ""
    while isinstance(estimator, Pipeline):
        name, estimator = estimator.steps[-1]
        prefix += f"{name}__"
    return prefix, estimator


def trains_by_epochs(estimator: Any) -> bool:
    """Tell whether an estimator, or the last step of a Pipeline, trains by epochs."""
    names = final_step(estimator)[1].get_params(deep=False)
    return {"epochs", "early_stopping"} <= set(names)


class _EpochWatcher:
    """Scores a network on the test part of its fold during training.

    It scores after each tenth of the planned epochs, and asks the pruner whether to
    stop. In a Pipeline, the steps before the network are fitted by then, so they
    transform the test part only once.
    """

    def __init__(
        self,
        job: TrialJob,
        estimator: Any,
        X: Any,
        y: Any,
        params: dict,
        pruner: CurvePruner,
    ) -> None:
        self.job = job
        self.estimator = estimator
        self.X = X
        self.y = y
        self.params = params
        self.pruner = pruner
        self.n_epochs = 0
        self.pruned = False
        self._transformed: Any = None

    def __call__(self, fitted: Any, epoch: int, logs: dict) -> bool:
        if fitted is not final_step(self.estimator)[1]:
            return False
        self.n_epochs += 1
        if self.pruned:
            # Each further member of an ensemble stops after its first epoch.
            return True
        before = completed_steps(epoch, fitted._planned_epochs)
        step = completed_steps(epoch + 1, fitted._planned_epochs)
        if self.pruner.never_prunes or step == before:
            return False
        if self._transformed is None:
            X, estimator = self.X, self.estimator
            while isinstance(estimator, Pipeline):
                X = estimator[:-1].transform(X) if len(estimator) > 1 else X
                estimator = estimator.steps[-1][1]
            self._transformed = X
        scores = _scores(self.job, fitted, self._transformed, self.y, self.params)
        self.pruned = self.pruner.should_prune(_watched(self.job, scores), step)
        return self.pruned
