"""The best trials of a search: their repeats on other folds, and their ensemble."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from optuna.pruners import NopPruner
from sklearn.base import clone
from sklearn.ensemble import VotingClassifier
from sklearn.frozen import FrozenEstimator
from sklearn.model_selection import KFold, StratifiedKFold
from sklearn.utils.parallel import Parallel, delayed

from sklstm.model_selection._trial import TrialJob, run_trial


def finalists_of(results: dict[str, Any], metric: str, n_finalists: int) -> list[int]:
    """Return the rows of the best completed trials, the best first."""
    complete = np.flatnonzero(results["trial_state"] == "COMPLETE")
    ranks = results[f"rank_test_{metric}"][complete]
    return complete[np.argsort(ranks, kind="stable")][:n_finalists].tolist()


def shuffled(splitter: Any, seed: int) -> Any:
    """Return a splitter that draws other folds of the same kind.

    Parameters
    ----------
    splitter : splitter
        The splitter of the search.
    seed : int
        Seed of the new folds.

    Raises
    ------
    ValueError
        If the splitter has always the same folds.
    """
    twin = clone(splitter, safe=False)
    # The plain folds of an int or None are in file order until they are shuffled.
    if isinstance(twin, KFold | StratifiedKFold) or getattr(twin, "shuffle", False):
        twin.shuffle = True
    elif not hasattr(twin, "random_state") or hasattr(twin, "shuffle"):
        raise ValueError(
            f"n_repeats needs folds that can be drawn anew, which {splitter!r} does "
            "not: give an int, a splitter with shuffle=True or a ShuffleSplit as cv, "
            "or set n_repeats=0."
        )
    twin.random_state = seed
    return twin


def repeat(
    job: TrialJob,
    params: list[dict],
    repeats: list[list[tuple]],
    n_jobs: int | None,
) -> list[dict[str, np.ndarray]]:
    """Cross-validate sets of parameters again, on other folds, without pruning.

    Parameters
    ----------
    job : TrialJob
        The cross-validation of the search.
    params : list of dict
        Parameters of each finalist.
    repeats : list of list of (train, test)
        Folds of each repeat.
    n_jobs : int or None
        Number of cross-validations at a time.

    Returns
    -------
    list of dict
        For each finalist, the mean score of each repeat by metric, arrays of shape
        (n_repeats,). A repeat that failed scores NaN.
    """
    never = NopPruner()
    jobs = [
        replace(job, splits=splits, epoch_pruner=never, fold_pruner=never)
        for splits in repeats
    ]
    outcomes = Parallel(n_jobs=n_jobs, prefer="threads")(
        delayed(run_trial)(one, own, 0, []) for own in params for one in jobs
    )
    found = []
    for k in range(len(params)):
        own = outcomes[k * len(jobs) : (k + 1) * len(jobs)]
        names = [name for o in own for name in o.folds[0].get("test", {})]
        found.append(
            {
                name: np.array(
                    [
                        np.mean([fold["test"][name] for fold in outcome.folds])
                        if outcome.state == "COMPLETE"
                        else np.nan
                        for outcome in own
                    ]
                )
                for name in dict.fromkeys(names)
            }
        )
    return found


def add_repeats(
    results: dict[str, Any],
    rows: list[int],
    scores: list[dict[str, np.ndarray]],
    names: list[str],
) -> None:
    """Add the mean and the standard deviation over the repeats to the results."""
    for name in names:
        mean = np.full(len(results["params"]), np.nan)
        std = mean.copy()
        for row, found in zip(rows, scores, strict=True):
            if name in found:
                mean[row], std[row] = found[name].mean(), found[name].std()
        results[f"mean_repeated_test_{name}"] = mean
        results[f"std_repeated_test_{name}"] = std


def best_of_repeats(results: dict[str, Any], rows: list[int], metric: str) -> int:
    """Return the row of the finalist with the best mean over the repeats.

    Raises
    ------
    ValueError
        If all finalists failed in a repeat.
    """
    means = results[f"mean_repeated_test_{metric}"][rows]
    if np.isnan(means).all():
        raise ValueError(
            f"All {len(rows)} finalists failed when they were cross-validated again: "
            "set n_repeats=0, or error_score='raise' to see why."
        )
    return rows[int(np.nanargmax(means))]


def average(fitted: dict[str, Any], X: Any, y: Any) -> VotingClassifier:
    """Return a classifier that averages the probabilities of fitted ones.

    Parameters
    ----------
    fitted : dict of str to estimator
        Classifiers that were fitted on X and y, by name.
    X, y : array-like
        Samples and labels.
    """
    frozen = [(name, FrozenEstimator(one)) for name, one in fitted.items()]
    return VotingClassifier(frozen, voting="soft").fit(X, y)
