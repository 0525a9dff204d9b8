"""scikit-learn's own tests of RandomizedSearchCV, run on OptunaSearchCV.

The tests of sklearn/model_selection/tests/test_search.py in which that name appears, in
a copy of the module where it stands for a class of the same signature over ours.
"""

import importlib.util
import inspect
import warnings

import numpy as np
import optuna
import pytest
import sklearn.model_selection
from sklearn.linear_model import LogisticRegression
from sklearn.utils.estimator_checks import parametrize_with_checks

from sklstm import OptunaSearchCV

# scikit-learn's own warnings, on which its tests do not look.
pytestmark = pytest.mark.filterwarnings("default")

# Not run, and why.
LEFT_OUT = {
    "test_array_api_search_cv_classifier": "it tests array API support",
    "test_pickle": "its classes cannot be pickled from a copy of the module",
    "test_random_search_cv_results": "it searches a list of dicts; we take a function",
    "test_random_search_cv_results_multimetric": "as above",
    "test_refit_callable_out_bound": "it counts on lists being tried without repeats",
    "test_search_default_iid": "it takes the first trial, unseeded, for C=1",
    "test_search_callbacks_no_propagation": "callbacks do not reach the trials' fits",
    "test_search_callbacks_propagation": "as above",
    "test_search_cv_results_rank_tie_breaking": (
        "it counts on lists being tried without repeats"
    ),
    "test_search_cv_timing": "as above",
    "test_search_with_2d_array": "as above",
    "test_searchcv_raise_warning_with_non_finite_score": (
        "a score that is not finite is a failed trial here, with its own warning"
    ),
}


class RandomizedSearchCV(OptunaSearchCV):
    """OptunaSearchCV behind the signature of RandomizedSearchCV, nothing pruned."""

    def __init__(
        self, estimator, param_distributions, *, n_iter=10, scoring=None, n_jobs=None,
        refit=True, cv=None, verbose=0, random_state=None, error_score=np.nan,
        return_train_score=False,
    ):  # fmt: skip
        super().__init__(
            estimator, param_distributions, n_trials=n_iter, scoring=scoring,
            n_jobs=n_jobs, refit=refit, cv=cv, random_state=random_state,
            error_score=error_score, return_train_score=return_train_score,
            pruner=optuna.pruners.NopPruner(),
        )  # fmt: skip
        self.n_iter = n_iter

    def fit(self, X, y=None, **params):
        self.n_trials = self.n_iter
        return super().fit(X, y, **params)


def _theirs():
    """Return scikit-learn's tests by name, made for the class above."""
    spec = importlib.util.find_spec("sklearn.model_selection.tests.test_search")
    module = importlib.util.module_from_spec(spec)
    before = sklearn.model_selection.RandomizedSearchCV
    sklearn.model_selection.RandomizedSearchCV = RandomizedSearchCV
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about how they are parametrized
            spec.loader.exec_module(module)
    finally:
        sklearn.model_selection.RandomizedSearchCV = before
    return {
        name: test
        for name, test in vars(module).items()
        if name.startswith("test_")
        and inspect.isfunction(test)
        and "RandomizedSearchCV" in inspect.getsource(test)
        and name not in LEFT_OUT
    }


# Under their own names and with their own parameters.
globals().update(_theirs())


@parametrize_with_checks([
    OptunaSearchCV(LogisticRegression(), {"C": [0.1, 1.0]}, n_trials=2, cv=2,
                   error_score="raise")
])  # fmt: skip
def test_common_checks(estimator, check):
    check(estimator)
