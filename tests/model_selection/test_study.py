"""Studies in a storage: which search may continue which study."""

import numpy as np
import optuna
import pytest
from optuna.distributions import FloatDistribution
from sklearn.datasets import load_iris

X_IRIS, Y_IRIS = load_iris(return_X_y=True)


def test_goes_on_with_a_named_study_and_counts_what_is_there(tmp_path, svc_search):
    storage = f"sqlite:///{tmp_path}/study.db"
    first = svc_search(storage=storage, study_name="iris", n_trials=3)
    first.fit(X_IRIS, Y_IRIS)
    second = svc_search(storage=storage, study_name="iris", n_trials=5)
    second.fit(X_IRIS, Y_IRIS)
    assert second.cv_results_["params"][:3] == first.cv_results_["params"]
    np.testing.assert_array_equal(
        second.cv_results_["mean_test_score"][:3], first.cv_results_["mean_test_score"]
    )
    assert len(second.study_.trials) == 5
    tried = {params["C"] for params in second.cv_results_["params"]}
    assert len(tried) == 5  # the same seed draws nothing twice
    unnamed = svc_search(storage=storage, n_trials=2).fit(X_IRIS, Y_IRIS)
    assert len(unnamed.study_.trials) == 2
    with pytest.raises(ValueError, match="made on other data"):
        svc_search(storage=storage, study_name="iris").fit(X_IRIS[1:], Y_IRIS[1:])


def test_the_space_may_change_and_scores_stay_with_their_parameters(
    tmp_path, svc_search, choosy
):
    storage = f"sqlite:///{tmp_path}/study.db"
    kept = {"storage": storage, "study_name": "s", "cv": 3}
    both = {"quality": FloatDistribution(0.6, 0.9), "fail": [False]}
    first = svc_search(estimator=choosy(), space=both, n_trials=3, **kept)
    first.fit(X_IRIS, Y_IRIS)
    # Without `fail`, and over worse values: the best is one of the first three.
    less = {"quality": FloatDistribution(0.1, 0.2)}
    second = svc_search(estimator=choosy(), space=less, n_trials=5, **kept)
    second.fit(X_IRIS, Y_IRIS)
    assert second.cv_results_["params"][:3] == first.cv_results_["params"]
    assert second.best_params_ == first.best_params_
    assert second.best_params_["fail"] is False
    assert second.best_estimator_.quality == pytest.approx(second.best_score_)
    assert second.cv_results_["param_fail"].mask.tolist() == [False] * 3 + [True] * 2
    # With it again.
    third = svc_search(estimator=choosy(), space=both, n_trials=6, **kept)
    third.fit(X_IRIS, Y_IRIS)
    assert third.best_params_["quality"] == pytest.approx(third.best_score_)

    def function(trial):
        return {"quality": trial.suggest_float("q", 0.95, 0.99)}

    with pytest.raises(ValueError, match="made with another estimator"):
        svc_search(estimator=choosy(0.3), space=less, n_trials=6, **kept).fit(
            X_IRIS, Y_IRIS
        )
    n_before = len(third.study_.trials)
    other = {"quality": FloatDistribution(0.1, 0.2), "fail": [False, True]}
    with pytest.raises(
        ValueError, match=r"searched 'fail' over \[False\], not over \[False, True\]"
    ):
        svc_search(estimator=choosy(), space=other, n_trials=9, **kept).fit(
            X_IRIS, Y_IRIS
        )
    assert len(third.study_.trials) == n_before
    kept["study_name"] = "f"
    last = svc_search(estimator=choosy(), space=function, n_trials=2, **kept)
    last.fit(X_IRIS, Y_IRIS)
    assert 0.95 <= last.best_params_["quality"] <= 0.99


@pytest.mark.parametrize(
    "directions", [["minimize"], ["maximize", "maximize"]], ids=["minimize", "two"]
)
def test_a_study_of_another_direction_is_refused(directions, tmp_path, svc_search):
    kept = {"storage": f"sqlite:///{tmp_path}/study.db", "study_name": "s"}
    optuna.create_study(**kept, directions=directions)
    words = " and ".join(directions)
    with pytest.raises(
        ValueError, match=f"'s' has the direction {words}, but a search"
    ):
        svc_search(**kept).fit(X_IRIS, Y_IRIS)


def test_a_function_as_scoring_is_known_again(tmp_path, svc_search):
    def make():  # a new object each time, as in a new process
        def zero(estimator, X, y):
            return 0.0

        return zero

    named = {"storage": f"sqlite:///{tmp_path}/study.db", "study_name": "iris"}
    for scoring in (make, lambda: {"zero": make()}):
        named["study_name"] += "+"
        for n_trials in (1, 2):
            search = svc_search(
                **named, scoring=scoring(), n_trials=n_trials, refit=False
            ).fit(X_IRIS, Y_IRIS)
        assert len(search.study_.trials) == 2
    with pytest.raises(ValueError, match="another scoring"):
        svc_search(**named, scoring="accuracy").fit(X_IRIS, Y_IRIS)
