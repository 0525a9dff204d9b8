"""The results of a search: from the finished trials of a study to `cv_results_`."""

from __future__ import annotations

import warnings
from collections.abc import Iterable
from typing import Any

import numpy as np
from optuna.trial import FixedTrial, FrozenTrial
from scipy.stats import rankdata
from sklearn.exceptions import FitFailedWarning

from sklstm.model_selection._space import Space, suggest
from sklstm.model_selection._study import FAILURE, FOLDS, PARAMS


def folds_of(trial: FrozenTrial) -> list[dict]:
    """Return the results of the folds that a trial began."""
    return trial.user_attrs[FOLDS]["folds"]


def metric_names(trials: list[FrozenTrial]) -> list[str]:
    """Return the names of the metrics; a single metric is called "score"."""
    scored = (fold for trial in trials for fold in folds_of(trial) if "test" in fold)
    return list(next(scored)["test"])


def params_of(trial: FrozenTrial, space: Space, study_name: str | None) -> dict:
    """Return the parameters that the estimator got in a trial.

    Parameters
    ----------
    trial : optuna.trial.FrozenTrial
        A finished trial.
    space : dict or callable
        The search space. It yields values that a study cannot store.
    study_name : str or None
        Name of the study, for the message.

    Returns
    -------
    dict
        Parameter names to values.

    Raises
    ------
    ValueError
        If the trial has values that only another space yields.
    """
    # The stored parameters come first: the space may have changed since the trial.
    params = trial.user_attrs.get(PARAMS)
    if params is not None:
        return params
    try:
        return suggest(space, FixedTrial(trial.params))
    except ValueError:
        raise ValueError(
            f"Trial {trial.number} of the study {study_name!r} was made in another "
            "space, with values that are not plain and that only that space has: give "
            "another study_name."
        ) from None


def report_failures(trials: list[FrozenTrial], stacklevel: int) -> None:
    """Warn if some trials failed, and raise if none was completed.

    Parameters
    ----------
    trials : list of optuna.trial.FrozenTrial
        The finished trials.
    stacklevel : int
        Place of the warning, counted from the function that calls this one.
    """
    states = {trial.state.name for trial in trials}
    failures = [trial.user_attrs.get(FAILURE, "") for trial in trials]
    failed = [why for why in failures if why]
    if "COMPLETE" not in states:
        if not failed:
            raise ValueError(
                f"All {len(trials)} trials were pruned: use a pruner that starts "
                "later, or optuna.pruners.NopPruner()."
            )
        rest = " that were not pruned" if "PRUNED" in states else ""
        raise ValueError(
            f"All {len(failed)} trials{rest} failed, the first with {failed[0]}"
        )
    if failed:
        warnings.warn(
            f"{len(failed)} of {len(trials)} trials failed (see "
            f"cv_results_['failure']), the first with {failed[0]}",
            FitFailedWarning,
            stacklevel=stacklevel + 1,
        )


def fold_rows(
    trials: list[FrozenTrial],
    names: list[str],
    n_splits: int,
    error_score: float,
    return_train_score: bool,
) -> list[dict]:
    """Return one row for each fold of each trial, as scikit-learn formats results.

    Parameters
    ----------
    trials : list of optuna.trial.FrozenTrial
        The finished trials.
    names : list of str
        Names of the metrics.
    n_splits : int
        Number of folds.
    error_score : float
        Score of a fold that was not completed because the trial failed. Other folds
        that were not run score NaN.
    return_train_score : bool
        Whether the rows have scores of the training parts.

    Returns
    -------
    list of dict
        The rows, trial by trial.
    """
    rows = []
    for trial in trials:
        empty = error_score if trial.state.name == "FAIL" else np.nan
        no_scores = dict.fromkeys(names, empty)
        folds = folds_of(trial)
        for k in range(n_splits):
            fold = folds[k] if k < len(folds) else {}
            row = {
                "test_scores": fold.get("test", no_scores),
                "n_test_samples": fold.get("n_test", 0),
                "fit_time": fold.get("fit_time", 0.0),
                "score_time": fold.get("score_time", 0.0),
                "fit_error": None,
            }
            if return_train_score:
                row["train_scores"] = fold.get("train", no_scores)
            if names == ["score"]:
                for key in ("test_scores", "train_scores"):
                    if key in row:
                        row[key] = row[key]["score"]
            rows.append(row)
    return rows


def add_trial_columns(results: dict[str, Any], trials: list[FrozenTrial]) -> None:
    """Add to the results what scikit-learn's own searches do not have."""
    results["trial_number"] = np.array([trial.number for trial in trials])
    results["trial_state"] = np.array([trial.state.name for trial in trials])
    results["n_epochs"] = np.array(
        [sum(fold.get("n_epochs", 0) for fold in folds_of(trial)) for trial in trials]
    )
    failures = [trial.user_attrs.get(FAILURE, "") for trial in trials]
    results["failure"] = np.array(failures, dtype=object)


def rank_completed_first(results: dict[str, Any], names: Iterable[str]) -> None:
    """Rank pruned and failed trials last, whatever `error_score` is."""
    complete = results["trial_state"] == "COMPLETE"
    for name in names:
        means = np.where(complete, results[f"mean_test_{name}"], -np.inf)
        ranks = rankdata(-means, method="min").astype(np.int32)
        results[f"rank_test_{name}"] = ranks
