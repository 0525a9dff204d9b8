"""OptunaSearchCV: what a GridSearchCV user counts on, and what Optuna adds."""

import logging
import pickle
import warnings

import numpy as np
import optuna
import pytest
import sklearn
from sklearn.base import clone, is_classifier
from sklearn.datasets import load_iris
from sklearn.metrics import get_scorer, make_scorer, recall_score
from sklearn.model_selection import GridSearchCV, GroupKFold, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC

from sklstm.model_selection import _study as study_module

X_IRIS, Y_IRIS = load_iris(return_X_y=True)
NEVER = optuna.pruners.NopPruner()


def test_scores_are_those_of_cross_val_score(svc_search):
    search = svc_search(pruner=NEVER).fit(X_IRIS, Y_IRIS)
    results = search.cv_results_
    for i, params in enumerate(results["params"]):
        expected = cross_val_score(SVC(**params), X_IRIS, Y_IRIS, cv=3)
        got = [results[f"split{k}_test_score"][i] for k in range(3)]
        np.testing.assert_array_equal(got, expected)
        assert results["mean_test_score"][i] == pytest.approx(expected.mean())
    assert search.best_score_ == results["mean_test_score"].max()
    assert search.best_params_ == results["params"][search.best_index_]


def test_results_have_all_that_grid_search_has(svc_search):
    grid = GridSearchCV(SVC(), {"C": [1, 2]}, cv=3, return_train_score=True)
    grid.fit(X_IRIS, Y_IRIS)
    search = svc_search(return_train_score=True).fit(X_IRIS, Y_IRIS)
    assert set(grid.cv_results_) <= set(search.cv_results_)
    assert all(len(column) == 6 for column in search.cv_results_.values())
    for name in ("best_estimator_", "classes_", "n_features_in_", "refit_time_"):
        assert hasattr(search, name), name


def test_repeats_from_random_state_and_keeps_the_callers_state(svc_search):
    before = np.random.get_state()[1].copy()  # noqa: NPY002
    level = logging.getLogger("optuna").level
    first, second = (svc_search().fit(X_IRIS, Y_IRIS) for _ in range(2))
    assert first.cv_results_["params"] == second.cv_results_["params"]
    assert len(first.study_.trials) == 6
    assert svc_search(random_state=1).fit(X_IRIS, Y_IRIS).best_params_ != (
        first.best_params_
    )
    np.testing.assert_array_equal(np.random.get_state()[1], before)  # noqa: NPY002
    assert logging.getLogger("optuna").level == level


def test_a_given_sampler_is_not_moved_on(svc_search):
    sampler = optuna.samplers.RandomSampler(seed=3)
    search = svc_search(sampler=sampler)
    first = search.fit(X_IRIS, Y_IRIS).cv_results_["params"]
    assert search.fit(X_IRIS, Y_IRIS).cv_results_["params"] == first


def test_clone_pickle_repr_and_tags(svc_search):
    search = svc_search().fit(X_IRIS, Y_IRIS)
    assert clone(search).get_params()["n_trials"] == 6
    again = pickle.loads(pickle.dumps(search))
    np.testing.assert_array_equal(again.predict(X_IRIS), search.predict(X_IRIS))
    assert len(again.study_.trials) == 6
    assert "OptunaSearchCV" in search._repr_html_()
    assert is_classifier(search)


def test_nested_cross_validation_is_stratified_and_shares_nothing(svc_search):
    # Sorted by class: unstratified folds would score 0.
    scores = cross_val_score(svc_search(), X_IRIS, Y_IRIS, cv=3, n_jobs=1)
    assert scores.min() > 0.9


def test_several_metrics(svc_search):
    scoring = {
        "accuracy": "accuracy",
        "recall": make_scorer(recall_score, average="macro"),
    }
    search = svc_search(scoring=scoring, refit="recall").fit(X_IRIS, Y_IRIS)
    assert search.multimetric_
    assert {"rank_test_accuracy", "rank_test_recall"} <= set(search.cv_results_)
    assert search.best_score_ == search.cv_results_["mean_test_recall"].max()
    assert search.study_.best_value == pytest.approx(search.best_score_)
    last = svc_search(scoring=scoring, refit=lambda results: 5).fit(X_IRIS, Y_IRIS)
    assert last.best_index_ == 5
    none = svc_search(scoring=scoring, refit=False).fit(X_IRIS, Y_IRIS)
    assert not hasattr(none, "best_index_")

    def both(estimator, X, y):
        accuracy = estimator.score(X, y)
        return {"accuracy": accuracy, "error": 1 - accuracy}

    search = svc_search(scoring=both, refit="accuracy").fit(X_IRIS, Y_IRIS)
    assert "mean_test_error" in search.cv_results_
    with pytest.raises(ValueError, match="refit"):
        svc_search(scoring=["accuracy", "f1_macro"]).fit(X_IRIS, Y_IRIS)


def test_groups_and_sample_weights_reach_splitter_and_fit(svc_search, choosy):
    seen = []

    class Weighted(choosy):
        def fit(self, X, y, sample_weight=None):
            seen.append(sample_weight)
            return super().fit(X, y)

    groups = np.arange(150) // 10
    search = svc_search(
        estimator=Weighted(),
        space={"quality": [0.1, 0.2]},
        n_trials=1,
        cv=GroupKFold(3),
        scoring="accuracy",
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # scikit-learn's, about the scorer
        search.fit(X_IRIS, Y_IRIS, groups=groups, sample_weight=groups * 1.0)
    assert [len(weights) for weights in seen] == [100, 100, 100, 150]
    train, _ = next(GroupKFold(3).split(X_IRIS, Y_IRIS, groups))
    np.testing.assert_array_equal(seen[0], groups[train])
    with pytest.raises(ValueError, match="groups"):
        search.fit(X_IRIS, Y_IRIS)


@pytest.mark.parametrize(("params", "error", "match"), [
    ({"space": {}}, TypeError, "must be a dict of parameter names"),
    ({"space": {"C": {"a": 1}}}, TypeError, r"param_distributions\['C'\]={'a': 1} m"),
    ({"space": {3: [1]}}, TypeError, "has the key 3, which is no str"),
    ({"space": {"C": "abc"}}, TypeError, r"param_distributions\['C'\]='abc'"),
    ({"space": {"C": []}}, ValueError, r"param_distributions\['C'\] is empty"),
    ({"space": lambda trial: None}, TypeError, "must return a dict"),
    ({"n_trials": 0}, ValueError, "n_trials"),
    ({"refit_epochs": "median_best"}, ValueError, "SVC does not"),
    ({"refit_epochs": "mean"}, ValueError, "refit_epochs"),
    ({"timeout": 0}, ValueError, "timeout=0 was over"),
])  # fmt: skip
def test_bad_input(params, error, match, svc_search):
    with pytest.raises(error, match=match):
        svc_search(**params).fit(X_IRIS, Y_IRIS)


@pytest.mark.parametrize("n_jobs", [1, 2])
def test_metadata_routing(n_jobs, svc_search):
    weights = np.where(Y_IRIS == 0, 0.0, 1.0)  # the first class is not to be learned
    with sklearn.config_context(enable_metadata_routing=True):
        svc = SVC().set_fit_request(sample_weight=True)
        scorer = get_scorer("accuracy").set_score_request(sample_weight=False)
        pipeline = make_pipeline(
            StandardScaler().set_fit_request(sample_weight=False), svc
        )
        search = svc_search(
            estimator=pipeline,
            space={"svc__C": [1.0]},
            n_trials=3,
            n_jobs=n_jobs,
            scoring=scorer,
        )
        search.fit(X_IRIS, Y_IRIS, sample_weight=weights)
    assert search.best_score_ < 0.7


def test_refit_for_the_median_best_epoch(few_digits, lstm_search):
    search = lstm_search(
        n_trials=2,
        refit=True,
        refit_epochs="median_best",
        own={"early_stopping": True, "patience": 2, "validation_fraction": 0.2},
    ).fit(*few_digits)
    folds = search.study_.trials[search.best_index_].user_attrs[study_module.FOLDS]
    best = np.median([fold["best_epoch"] for fold in folds["folds"]])
    classifier = search.best_estimator_[-1]
    assert classifier.epochs == classifier.n_iter_ == int(best)
    assert not classifier.early_stopping
    assert "val_loss" not in classifier.history_


@pytest.mark.parametrize(
    ("params", "error", "message"),
    [
        ({"pruner": "median"}, TypeError, "pruner='median' must be a pruner of Optuna"),
        ({"sampler": "tpe"}, TypeError, "sampler='tpe' must be a sampler of Optuna"),
        (
            {"pruner": optuna.pruners.MedianPruner},
            TypeError,
            "must be a pruner of Optuna",
        ),
        (
            {"storage": "digits.db", "study_name": "a"},
            ValueError,
            "'digits.db' is no address .* give storage='sqlite:///digits.db'",
        ),
        ({"storage": 3}, TypeError, "storage=3 must be the address of a database"),
        (
            {"storage": "nosuch://user:secret@server/a"},
            ValueError,
            r"storage='nosuch://user:\*\*\*@server/a' cannot be opened, because",
        ),
        ({"callbacks": [3]}, TypeError, "callbacks holds 3, which cannot be called"),
    ],
)
def test_what_is_not_optunas_is_said_before_the_first_trial(
    params, error, message, svc_search
):
    with pytest.raises(error, match=message):
        svc_search(**params).fit(X_IRIS, Y_IRIS)
