"""Pruning: which scores are compared, and what is not run after that."""

import numpy as np
import optuna
import pytest
from scipy.stats import uniform
from sklearn.datasets import load_iris

from sklstm.estimators import _fitting
from sklstm.model_selection import _study as study_module
from sklstm.model_selection._pruning import completed_steps, curves_of_fold

X_IRIS, Y_IRIS = load_iris(return_X_y=True)
NEVER = optuna.pruners.NopPruner()


class Fixed(optuna.pruners.BasePruner):
    """Prunes at a given step, once so many earlier trials have the same curve."""

    def __init__(self, step, after):
        self.step = step
        self.after = after

    def prune(self, study, trial):
        finished = study.get_trials(
            deepcopy=False, states=(optuna.trial.TrialState.COMPLETE,)
        )
        return len(finished) >= self.after and trial.last_step == self.step


def test_folds_after_a_pruned_one_are_not_started(svc_search, choosy):
    search = svc_search(
        estimator=choosy(),
        space={"quality": uniform(0, 1)},
        pruner=optuna.pruners.ThresholdPruner(lower=0.5),
        n_trials=8,
        cv=4,
        refit=False,
    ).fit(X_IRIS, Y_IRIS)
    qualities = [params["quality"] for params in search.cv_results_["params"]]
    expected = [
        quality for quality in qualities for _ in range(1 if quality < 0.5 else 4)
    ]
    assert choosy.fits == expected
    states = search.cv_results_["trial_state"]
    assert set(states) == {"COMPLETE", "PRUNED"}
    assert np.isnan(search.cv_results_["mean_test_score"][states == "PRUNED"]).all()
    assert search.best_params_["quality"] == max(qualities)


def test_the_default_pruner_looks_at_the_folds_of_any_estimator(svc_search, choosy):
    search = svc_search(
        estimator=choosy(), space={"quality": uniform(0, 1)}, n_trials=20
    )
    states = search.fit(X_IRIS, Y_IRIS).cv_results_["trial_state"]
    assert set(states[:5]) == {"COMPLETE"}
    assert "PRUNED" in states


def test_pruned_by_epoch_through_a_pipeline(few_digits, lstm_search):
    # After the third epoch of six, five tenths are done; two trials are let through.
    search = lstm_search(pruner=Fixed(step=5, after=2)).fit(*few_digits)
    results = search.cv_results_
    assert list(results["trial_state"]) == ["COMPLETE"] * 2 + ["PRUNED"] * 2
    assert list(results["n_epochs"]) == [12, 12, 3, 3]
    assert np.isnan(results["split0_test_score"][2])
    assert search.best_index_ in (0, 1)
    states = [trial.state.name for trial in search.study_.trials]
    assert states == ["COMPLETE"] * 2 + ["PRUNED"] * 2


def test_a_step_is_compared_with_the_same_step_of_the_same_fold(
    few_digits, lstm_search
):
    search = lstm_search(n_trials=2).fit(*few_digits)
    folds = search.study_.trials[0].user_attrs[study_module.FOLDS]["folds"]
    for k, fold in enumerate(folds):
        curve = fold["stretch"]["values"]
        assert fold["stretch"]["steps"] == [1, 3, 5, 6, 8, 10]
        # The last epoch's score is the score of the fold.
        assert curve[-1] == search.cv_results_[f"split{k}_test_score"][0]


@pytest.mark.parametrize("planned", [10, 11, 19, 25, 60, 400])
def test_of_ten_epochs_or_more_ten_are_asked_about(planned):
    steps = [completed_steps(epoch, planned) for epoch in range(planned + 1)]
    asked = [k for k in range(1, planned + 1) if steps[k] != steps[k - 1]]
    assert [steps[k] for k in asked] == list(range(1, 11))
    # Evenly, the last after the last epoch, and never before its tenth is completed.
    assert asked[-1] == planned
    assert all(0 <= k - (i + 1) * planned / 10 < 1 for i, k in enumerate(asked))


@pytest.mark.parametrize("planned", range(1, 10))
def test_of_fewer_epochs_each_is_asked_about(planned):
    steps = [completed_steps(epoch, planned) for epoch in range(planned + 1)]
    assert len(set(steps)) == planned + 1
    assert steps[-1] == 10


def test_trials_of_different_batch_sizes_are_compared(few_digits, lstm_search):
    """Under epochs="auto" they plan different numbers of epochs."""
    search = lstm_search(
        n_trials=2,
        cv=[(np.arange(60), np.arange(60, 120))],
        own={"epochs": "auto"},
        space={"lstmimageclassifier__batch_size": [8, 12]},
        sampler=optuna.samplers.GridSampler(
            {"lstmimageclassifier__batch_size": [8, 12]}
        ),
        pruner=Fixed(step=3, after=1),
    )
    plans = []
    own = _fitting.train_network

    def few(*args, epochs, **kwargs):
        planned = epochs // 10  # for a quick test
        plans.append(planned)
        return own(*args, epochs=planned, **kwargs)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_fitting, "train_network", few)
        search.fit(*few_digits)
    assert len(set(plans)) == 2
    first, second = (
        trial.user_attrs[study_module.FOLDS]["folds"][0]["stretch"]["steps"]
        for trial in search.study_.trials
    )
    assert first == list(range(1, 11))
    assert second == [1, 2, 3]
    assert search.study_.trials[1].state.name == "PRUNED"


def test_watching_changes_no_score(few_digits, lstm_search):
    watched = lstm_search(n_trials=2).fit(*few_digits)
    plain = lstm_search(n_trials=2, pruner=NEVER).fit(*few_digits)
    np.testing.assert_array_equal(
        watched.cv_results_["mean_test_score"], plain.cv_results_["mean_test_score"]
    )


@pytest.mark.parametrize("pruner", [
    optuna.pruners.MedianPruner(n_startup_trials=1),
    optuna.pruners.SuccessiveHalvingPruner(),
    optuna.pruners.HyperbandPruner(max_resource=6),
    optuna.pruners.PercentilePruner(25.0, n_startup_trials=1),
])  # fmt: skip
def test_pruners_of_optuna(few_digits, pruner, lstm_search):
    search = lstm_search(n_trials=5, pruner=pruner).fit(*few_digits)
    assert set(search.cv_results_["trial_state"]) <= {"COMPLETE", "PRUNED"}
    assert search.cv_results_["trial_state"][search.best_index_] == "COMPLETE"


def test_a_pruned_trial_completed_all_folds_but_its_last():
    curve = {"steps": [1], "values": [0.5]}
    earlier = [
        {"folds": [{"stretch": curve}, {"stretch": curve}], "pruned": True},
        {"folds": [{"stretch": curve}] * 3, "pruned": False},
    ]
    pruned = [
        [curve["pruned"] for curve in curves_of_fold(earlier, fold)] for fold in (0, 1)
    ]
    assert pruned == [[False, False], [True, False]]
    assert curves_of_fold(earlier, 2) == [{**curve, "pruned": False}]
