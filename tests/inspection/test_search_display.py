import matplotlib
import numpy as np
import pytest
from optuna.pruners import NopPruner
from scipy.stats import loguniform
from sklearn.datasets import load_iris
from sklearn.exceptions import NotFittedError
from sklearn.model_selection import GridSearchCV
from sklearn.svm import SVC

from sklstm import OptunaSearchCV
from sklstm.inspection import SearchDisplay

matplotlib.use("Agg")


@pytest.fixture(scope="module")
def search():
    space = {"C": loguniform(1e-3, 1e2), "tol": loguniform(1e-5, 1e-4)}
    search = OptunaSearchCV(SVC(), space, n_trials=12, cv=3, random_state=0)
    return search.fit(*load_iris(return_X_y=True))


def test_draws_history_and_importances(search):
    display = SearchDisplay.from_estimator(search)
    history, importances = display.ax_
    points, best = history.get_lines()[:2]
    complete = search.cv_results_["trial_state"] == "COMPLETE"
    np.testing.assert_array_equal(
        points.get_ydata(), search.cv_results_["mean_test_score"][complete]
    )
    assert best.get_ydata()[-1] == search.best_score_
    assert (np.diff(best.get_ydata()) >= 0).all()
    # C decides, the tolerance does not.
    assert display.importances["C"] > display.importances["tol"]
    assert [label.get_text() for label in importances.get_yticklabels()] == ["tol", "C"]


def test_importances_are_of_the_metric_that_is_drawn():
    scoring = {
        "C": lambda model, X, y: np.log(model.C),
        "tol": lambda model, X, y: np.log(model.tol),
    }
    space = {"C": loguniform(1e-3, 1e2), "tol": loguniform(1e-5, 1e-4)}
    search = OptunaSearchCV(
        SVC(), space, n_trials=12, cv=2, scoring=scoring, refit="C", random_state=0,
        pruner=NopPruner(),
    ).fit(*load_iris(return_X_y=True))  # fmt: skip
    for metric, drawn in ((None, "C"), ("C", "C"), ("tol", "tol")):
        display = SearchDisplay.from_estimator(search, metric=metric)
        assert max(display.importances, key=display.importances.get) == drawn
        np.testing.assert_array_equal(
            display.scores, search.cv_results_[f"mean_test_{drawn}"]
        )


def test_draws_where_it_is_told_to(search):
    _, axes = matplotlib.pyplot.subplots(2, 1)
    assert SearchDisplay.from_estimator(search, ax=axes).ax_[0] is axes[0]


def test_bad_input(search):
    with pytest.raises(ValueError, match=r"metric='f1' is not one .*\['score'\]"):
        SearchDisplay.from_estimator(search, metric="f1")
    with pytest.raises(ValueError, match="ax holds 1 axes, but the display draws t"):
        SearchDisplay.from_estimator(search, ax=matplotlib.pyplot.gca())
    with pytest.raises(NotFittedError):
        SearchDisplay.from_estimator(OptunaSearchCV(SVC(), {"C": [1]}))


def test_other_searches_have_no_study():
    with pytest.raises(TypeError, match="GridSearchCV has no study to draw"):
        SearchDisplay.from_estimator(GridSearchCV(SVC(), {"C": [1]}))
