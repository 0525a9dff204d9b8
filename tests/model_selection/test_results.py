"""The results of a search: failures, ranks and parameters."""

import numpy as np
import optuna
import pytest
from scipy.stats import loguniform, uniform
from sklearn.datasets import load_iris
from sklearn.exceptions import FitFailedWarning
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import MinMaxScaler, StandardScaler
from sklearn.svm import SVC

X_IRIS, Y_IRIS = load_iris(return_X_y=True)
NEVER = optuna.pruners.NopPruner()


def test_a_failed_trial_is_told_and_the_search_goes_on(svc_search, choosy):
    search = svc_search(
        estimator=choosy(),
        space={"quality": uniform(0, 1), "fail": [True, False]},
        n_trials=10,
        pruner=NEVER,
    )
    message = "trials failed .*no room for this one"
    with pytest.warns(FitFailedWarning, match=message) as told:
        search.fit(X_IRIS, Y_IRIS)
    assert told[0].filename == __file__
    states = search.cv_results_["trial_state"]
    for params, state, why in zip(
        search.cv_results_["params"], states, search.cv_results_["failure"], strict=True
    ):
        assert state == ("FAIL" if params["fail"] else "COMPLETE")
        assert why == ("MemoryError: no room for this one" if params["fail"] else "")
    assert not search.best_params_["fail"]
    assert np.isnan(search.cv_results_["mean_test_score"][states == "FAIL"]).all()


def test_all_failed_or_raise(svc_search, choosy):
    failing = {"estimator": choosy(), "space": {"fail": [True]}}
    with pytest.raises(
        ValueError, match=r"^All 6 trials failed, .*MemoryError: no room"
    ):
        svc_search(**failing).fit(X_IRIS, Y_IRIS)
    with pytest.raises(MemoryError, match="no room"):
        svc_search(**failing, error_score="raise").fit(X_IRIS, Y_IRIS)


def test_a_failed_trial_never_wins(svc_search, choosy):
    # With a score below zero an error_score of 0 would be the best.
    search = svc_search(
        estimator=choosy(),
        space={"quality": uniform(-2, 1), "fail": [True, False]},
        n_trials=8,
        error_score=0.0,
    )
    with pytest.warns(FitFailedWarning):
        search.fit(X_IRIS, Y_IRIS)
    assert search.best_score_ < 0
    assert not search.best_params_["fail"]
    last = search.cv_results_["trial_state"] == "FAIL"
    search.set_params(refit=lambda results: int(np.flatnonzero(last)[0]))
    with (
        pytest.warns(FitFailedWarning),
        pytest.raises(ValueError, match="not completed"),
    ):
        search.fit(X_IRIS, Y_IRIS)


def test_a_scorer_that_returns_a_dict_without_refit(svc_search):
    def both(estimator, X, y):
        return {"accuracy": estimator.score(X, y), "zero": 0.0}

    search = svc_search(scoring=both, refit=False).fit(X_IRIS, Y_IRIS)
    assert search.study_.best_value == search.cv_results_["mean_test_accuracy"].max()


def test_values_that_no_study_can_keep_need_their_space(tmp_path, svc_search):
    kept = {"storage": f"sqlite:///{tmp_path}/s.db", "study_name": "s"}
    pipeline = Pipeline([("pre", None), ("svc", SVC())])
    steps = {"pre": [StandardScaler(), MinMaxScaler()]}
    first = svc_search(estimator=pipeline, space=steps, n_trials=2, **kept)
    first.fit(X_IRIS, Y_IRIS)
    again = svc_search(estimator=pipeline, space=steps, n_trials=3, **kept)
    again.fit(X_IRIS, Y_IRIS)
    assert type(again.best_params_["pre"]) in (StandardScaler, MinMaxScaler)
    other = {"svc__C": loguniform(0.1, 10)}
    search = svc_search(estimator=pipeline, space=other, n_trials=4, **kept)
    with pytest.raises(ValueError, match="values that are not plain"):
        search.fit(X_IRIS, Y_IRIS)
