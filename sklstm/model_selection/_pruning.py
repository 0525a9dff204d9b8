"""Pruning: comparing the learning curves of a trial with those of earlier trials.

A trial has one curve for each fold, the scores on its test part during training, and
one curve of the mean scores over the folds so far.
"""

from __future__ import annotations

import copy
from typing import Any

import optuna
from optuna.trial import FrozenTrial, TrialState

from sklstm.model_selection._study import FOLDS, quiet_optuna

# The pruner sees a fold at most ten times: scoring the test part takes a fifth of a
# short epoch (benchmarks/optuna_search.py overhead).
_STEPS = 10


def median_pruner(n_warmup_steps: int) -> optuna.pruners.BasePruner:
    """Return the pruner that a search uses unless the user gives another."""
    return optuna.pruners.MedianPruner(
        n_startup_trials=5, n_warmup_steps=n_warmup_steps
    )


def completed_steps(n_epochs: int, planned: int) -> int:
    """Return how many tenths of the planned epochs are completed.

    Trials may plan different numbers of epochs: under ``epochs="auto"`` the number
    depends on the batch size. Tenths compare them at the same part of their training.
    """
    return n_epochs * _STEPS // planned


def earlier_trials(study: optuna.Study) -> list[dict]:
    """Return the curves of the completed and the pruned trials.

    Parameters
    ----------
    study : optuna.Study
        The study.

    Returns
    -------
    list of dict
        For each trial, "folds" with the results of its folds, "ends" with the curve of
        the means, and whether it was "pruned". They can be pickled. The list is empty
        if the pruner of the study never prunes.
    """
    if isinstance(study.pruner, optuna.pruners.NopPruner):
        return []
    states = (TrialState.COMPLETE, TrialState.PRUNED)
    return [
        {**trial.user_attrs[FOLDS], "pruned": trial.state is TrialState.PRUNED}
        for trial in study.get_trials(deepcopy=False, states=states)
        if FOLDS in trial.user_attrs
    ]


def curves_of_fold(earlier: list[dict], fold: int) -> list[dict]:
    """Return the curves of one fold, for the trials that began it."""
    curves = []
    for trial in earlier:
        n_begun = len(trial["folds"])
        if fold < n_begun:
            # A pruned trial ran all folds but its last one to the end.
            pruned = trial["pruned"] and fold == n_begun - 1
            curve = trial["folds"][fold].get("stretch", {})
            curves.append({**curve, "pruned": pruned})
    return [curve for curve in curves if curve.get("values")]


def curves_of_means(earlier: list[dict]) -> list[dict]:
    """Return the curves of the mean scores, for the trials that completed a fold."""
    curves = [{**trial["ends"], "pruned": trial["pruned"]} for trial in earlier]
    return [curve for curve in curves if curve.get("values")]


class CurvePruner:
    """Asks a pruner about one curve of a trial.

    The pruner compares it with the same curve of earlier trials, in a small study in
    memory. The start of one fold is thus never compared with the end of another, and
    every pruner of Optuna works, in any process.

    Parameters
    ----------
    pruner : optuna.pruners.BasePruner
        The pruner, which is copied.
    earlier : list of dict
        The same curve of finished trials: "steps", "values", "rungs" and "pruned".
    number : int
        Number of the trial. Some pruners hash it.
    """

    def __init__(self, pruner: Any, earlier: list[dict], number: int) -> None:
        self.never_prunes = isinstance(pruner, optuna.pruners.NopPruner)
        self.steps: list[int] = []
        self.values: list[float] = []
        self._trial: Any = None
        if self.never_prunes:
            return
        with quiet_optuna():
            self._study = optuna.create_study(
                study_name="stretch",  # Hyperband hashes the name
                direction="maximize",
                pruner=copy.deepcopy(pruner),
                sampler=optuna.samplers.RandomSampler(seed=number),
            )
            self._study.add_trials([_as_trial(curve) for curve in earlier])
            self._trial = self._study.ask()

    def should_prune(self, value: float, step: int) -> bool:
        """Add a value to the curve and return whether to stop the trial."""
        self.steps.append(step)
        self.values.append(value)
        if self.never_prunes:
            return False
        self._trial.report(value, step)
        return self._trial.should_prune()

    def curve(self) -> dict:
        """Return the curve, for comparison with later trials."""
        rungs = {}
        if not self.never_prunes:
            # SuccessiveHalvingPruner keeps the rungs that a trial has reached.
            rungs = dict(self._study.trials[self._trial.number].system_attrs)
        return {"steps": self.steps, "values": self.values, "rungs": rungs}


def _as_trial(curve: dict) -> FrozenTrial:
    complete = not curve.get("pruned", False)
    return optuna.trial.create_trial(
        state=TrialState.COMPLETE if complete else TrialState.PRUNED,
        # Pruners read only the intermediate values.
        value=0.0,
        intermediate_values=dict(zip(curve["steps"], curve["values"], strict=True)),
        system_attrs=curve.get("rungs", {}),
    )
