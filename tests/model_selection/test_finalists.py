"""Repeats of the best trials on other folds, and their ensemble."""

import numpy as np
import optuna
import pytest
from scipy.stats import loguniform
from sklearn.base import clone
from sklearn.datasets import load_iris
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import (
    GroupKFold,
    LeaveOneOut,
    PredefinedSplit,
    RepeatedStratifiedKFold,
    ShuffleSplit,
    StratifiedGroupKFold,
    StratifiedKFold,
    cross_val_score,
)
from sklearn.svm import SVC, SVR

from sklstm.model_selection._finalists import shuffled

X_IRIS, Y_IRIS = load_iris(return_X_y=True)
NEVER = optuna.pruners.NopPruner()
SEEDS = np.random.RandomState(0).randint(2**31 - 1, size=3)[1:]


def test_the_best_finalist_wins_on_folds_that_are_drawn_anew(svc_search):
    search = svc_search(pruner=NEVER, n_finalists=3, n_repeats=2).fit(X_IRIS, Y_IRIS)
    results = search.cv_results_
    repeated = results["mean_repeated_test_score"]
    finalists = np.flatnonzero(np.isfinite(repeated))
    assert len(finalists) == 3
    others = np.setdiff1d(np.arange(6), finalists)
    means = results["mean_test_score"]
    assert means[finalists].min() >= means[others].max()
    for row in finalists:
        scores = [
            cross_val_score(
                SVC(**results["params"][row]),
                X_IRIS,
                Y_IRIS,
                cv=StratifiedKFold(3, shuffle=True, random_state=seed),
            ).mean()
            for seed in SEEDS.tolist()
        ]
        assert repeated[row] == pytest.approx(np.mean(scores))
        assert results["std_repeated_test_score"][row] == pytest.approx(np.std(scores))
    assert search.best_index_ == finalists[np.argmax(repeated[finalists])]
    assert search.best_score_ == repeated[search.best_index_]
    assert search.best_params_ == results["params"][search.best_index_]


def test_a_lucky_trial_loses_in_the_repeats(svc_search, choosy):
    class Lucky(choosy):
        """Far above its quality on the first folds, which are in file order."""

        def fit(self, X, y, sample_weight=None):
            self.first_ = X[0, 0]
            return super().fit(X, y)

        def score(self, X, y, sample_weight=None):
            in_order = (np.diff(X[:, 0]) > 0).all()
            return self.quality + (self.quality < 0.5 and in_order)

    X, y = np.arange(60.0)[:, None], np.arange(60) % 2
    space = {"quality": [0.2, 0.6]}
    settings = {"estimator": Lucky(), "space": space, "n_trials": 8, "pruner": NEVER}
    lucky = svc_search(**settings, cv=ShuffleOnDemand(3)).fit(X, y)
    assert lucky.best_params_ == {"quality": 0.2}
    fair = svc_search(**settings, cv=ShuffleOnDemand(3), n_finalists=8, n_repeats=2)
    fair.fit(X, y)
    assert fair.best_params_ == {"quality": 0.6}
    assert fair.best_score_ == pytest.approx(0.6)


class ShuffleOnDemand(StratifiedKFold):
    """Keeps its test parts in order without shuffling, and out of it with."""

    def __init__(self, n_splits=3, *, shuffle=False, random_state=None):
        super().__init__(n_splits, shuffle=shuffle, random_state=random_state)

    def split(self, X, y=None, groups=None):
        for train, test in super().split(X, y, groups):
            yield train, test[::-1] if self.shuffle else test


@pytest.mark.parametrize(
    "cv",
    [
        StratifiedKFold(3),
        StratifiedGroupKFold(3, shuffle=True, random_state=1),
        ShuffleSplit(4, random_state=1),
        RepeatedStratifiedKFold(n_splits=3, n_repeats=2, random_state=1),
    ],
    ids=lambda cv: type(cv).__name__,
)
def test_folds_that_can_be_drawn_anew(cv):
    groups = np.arange(150) // 5 if "Group" in type(cv).__name__ else None

    def folds(splitter):
        return [test.tolist() for _, test in splitter.split(X_IRIS, Y_IRIS, groups)]

    before = folds(cv)
    one, same, other = (shuffled(cv, seed) for seed in (1000, 1000, 1001))
    assert folds(one) == folds(same) != folds(other) != before
    assert len(folds(one)) == len(before)
    assert folds(cv) == before


@pytest.mark.parametrize(
    "cv", [GroupKFold(3), LeaveOneOut(), PredefinedSplit(np.arange(150) % 3), "list"]
)
def test_folds_that_cannot_are_refused_before_the_search(svc_search, cv, choosy):
    if cv == "list":
        cv = list(StratifiedKFold(3).split(X_IRIS, Y_IRIS))
    search = svc_search(estimator=choosy(), space={"quality": [0.5]}, cv=cv)
    search.set_params(n_repeats=1)
    groups = {"groups": np.arange(150) // 5} if isinstance(cv, GroupKFold) else {}
    with pytest.raises(ValueError, match="n_repeats needs folds that can be drawn"):
        search.fit(X_IRIS, Y_IRIS, **groups)
    assert not choosy.fits


def test_repeats_know_all_metrics(svc_search):
    search = svc_search(
        pruner=NEVER,
        n_finalists=2,
        n_repeats=1,
        scoring=["accuracy", "f1_macro"],
        refit="f1_macro",
    ).fit(X_IRIS, Y_IRIS)
    columns = [
        search.cv_results_[f"mean_repeated_test_{name}"]
        for name in ("accuracy", "f1_macro")
    ]
    assert all(np.isfinite(column).sum() == 2 for column in columns)
    assert search.best_score_ == np.nanmax(columns[1])


def test_repeats_of_a_scorer_that_returns_a_dict_without_refit(svc_search):
    def both(estimator, X, y):
        return {"accuracy": estimator.score(X, y), "zero": 0.0}

    search = svc_search(
        scoring=both, refit=False, pruner=NEVER, n_finalists=2, n_repeats=1
    ).fit(X_IRIS, Y_IRIS)
    results = search.cv_results_
    finalists = np.flatnonzero(np.isfinite(results["mean_repeated_test_accuracy"]))
    best = np.argsort(results["rank_test_accuracy"], kind="stable")[:2]
    assert set(finalists) == set(best)


def test_repeats_cut_weights_to_their_folds(svc_search, choosy):
    class Weighed(choosy):
        def fit(self, X, y, sample_weight=None):
            np.testing.assert_array_equal(sample_weight, X[:, 0])
            return super().fit(X, y)

    X = np.arange(60.0)[:, None]
    search = svc_search(estimator=Weighed(), space={"quality": [0.1]}, n_repeats=1)
    search.set_params(error_score="raise").fit(
        X, np.arange(60) % 2, sample_weight=X[:, 0]
    )
    assert len(choosy.fits) == 6 * 3 + 5 * 3 + 1


def test_a_finalist_that_fails_does_not_win(svc_search, choosy):
    class Shy(choosy):
        """Fails on shuffled samples."""

        def fit(self, X, y, sample_weight=None):
            if self.fail and (np.diff(X[:, 0]) < 0).any():
                raise ValueError("these are out of order")
            self.classes_ = np.unique(y)
            return self

        def score(self, X, y, sample_weight=None):
            return self.quality + self.fail

    class Turned(ShuffleOnDemand):
        def split(self, X, y=None, groups=None):
            for train, test in super().split(X, y, groups):
                yield (train[::-1] if self.shuffle else train), test

    X, y = np.arange(60.0)[:, None], np.arange(60) % 2
    settings = {"estimator": Shy(), "n_trials": 6, "pruner": NEVER, "cv": Turned(3)}
    search = svc_search(
        **settings, space={"fail": [True, False]}, n_finalists=6, n_repeats=1
    ).fit(X, y)
    assert search.best_params_ == {"fail": False}
    settings["estimator"] = Shy(fail=True)
    search = svc_search(**settings, space={"quality": [0.1]}, n_repeats=1)
    with pytest.raises(ValueError, match="All 5 finalists failed when they were"):
        search.fit(X, y)


def test_an_ensemble_of_the_best_averages_their_probabilities(svc_search):
    search = svc_search(
        estimator=LogisticRegression(max_iter=1000),
        space={"C": loguniform(1e-2, 1)},
        pruner=NEVER,
        n_finalists=3,
        refit="ensemble",
    ).fit(X_IRIS, Y_IRIS)
    results = search.cv_results_
    best = np.argsort(results["rank_test_score"], kind="stable")[:3]
    base = clone(search.estimator)
    expected = np.mean(
        [
            clone(base)
            .set_params(**results["params"][row])
            .fit(X_IRIS, Y_IRIS)
            .predict_proba(X_IRIS)
            for row in best
        ],
        axis=0,
    )
    np.testing.assert_allclose(search.predict_proba(X_IRIS), expected)
    labels = search.classes_[expected.argmax(axis=1)]
    np.testing.assert_array_equal(search.predict(X_IRIS), labels)
    names = [name for name, _ in search.best_estimator_.estimators]
    assert names == [f"trial_{results['trial_number'][row]}" for row in best]
    assert search.best_index_ == best[0]


@pytest.mark.parametrize("estimator", [SVR(), SVC()], ids=["regressor", "no proba"])
def test_an_ensemble_needs_probabilities(svc_search, estimator):
    search = svc_search(
        estimator=estimator, space={"C": loguniform(0.1, 1)}, refit="ensemble"
    )
    with pytest.raises(ValueError, match="refit='ensemble' averages probabilities"):
        search.fit(X_IRIS, Y_IRIS)


def test_an_ensemble_of_lstm_pipelines(lstm_search, few_digits):
    search = lstm_search(
        n_trials=2, n_finalists=2, n_repeats=1, refit="ensemble", n_jobs=2
    ).fit(*few_digits)
    members = search.best_estimator_.estimators_
    X = few_digits[0]
    expected = np.mean([one.predict_proba(X) for one in members], axis=0)
    np.testing.assert_allclose(search.predict_proba(X), expected, atol=1e-7)
