"""OptunaSearchCV: what a GridSearchCV user counts on, and what Optuna adds."""

import logging
import os
import pickle
import signal
import socket
import subprocess
import sys
import time
import warnings
from types import SimpleNamespace
from unittest import mock

import joblib
import numpy as np
import optuna
import pytest
import sklearn
from optuna.distributions import CategoricalDistribution, FloatDistribution
from scipy.stats import loguniform, norm, randint, uniform
from sklearn.base import BaseEstimator, ClassifierMixin, clone, is_classifier
from sklearn.datasets import load_digits, load_iris
from sklearn.exceptions import FitFailedWarning
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import get_scorer, make_scorer, recall_score
from sklearn.model_selection import (
    GridSearchCV,
    GroupKFold,
    StratifiedKFold,
    cross_val_score,
)
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import FunctionTransformer, MinMaxScaler, StandardScaler
from sklearn.svm import SVC

from sklstm import LSTMImageClassifier, OptunaSearchCV, PatchSequencer, RowSequencer
from sklstm.model_selection import _parallel as parallel_module
from sklstm.model_selection import _study as study_module
from sklstm.model_selection import _workers as workers_module
from sklstm.model_selection import suggest_space
from sklstm.model_selection._pruning import completed_steps

X_IRIS, Y_IRIS = load_iris(return_X_y=True)
NEVER = optuna.pruners.NopPruner()


def svc_search(**params):
    settings = {"n_trials": 6, "random_state": 0, "cv": 3, **params}
    space = settings.pop("space", {"C": loguniform(1e-2, 1e2)})
    return OptunaSearchCV(settings.pop("estimator", SVC()), space, **settings)


class Choosy(ClassifierMixin, BaseEstimator):
    """Scores what it is told to, fails where it is told to; counts its fits."""

    fits: list = []

    def __init__(self, quality=0.5, fail=False):
        self.quality = quality
        self.fail = fail

    def fit(self, X, y, sample_weight=None):
        Choosy.fits.append(self.quality)
        if self.fail:
            raise MemoryError("no room for this one")
        self.classes_ = np.unique(y)
        return self

    def predict(self, X):
        return np.repeat(self.classes_[:1], len(X))

    def score(self, X, y, sample_weight=None):
        return self.quality


@pytest.fixture(autouse=True)
def _no_fits_yet():
    Choosy.fits.clear()


# What a GridSearchCV user counts on


def test_scores_are_those_of_cross_val_score():
    search = svc_search(pruner=NEVER).fit(X_IRIS, Y_IRIS)
    results = search.cv_results_
    for i, params in enumerate(results["params"]):
        expected = cross_val_score(SVC(**params), X_IRIS, Y_IRIS, cv=3)
        got = [results[f"split{k}_test_score"][i] for k in range(3)]
        np.testing.assert_array_equal(got, expected)
        assert results["mean_test_score"][i] == pytest.approx(expected.mean())
    assert search.best_score_ == results["mean_test_score"].max()
    assert search.best_params_ == results["params"][search.best_index_]


def test_results_have_all_that_grid_search_has():
    grid = GridSearchCV(SVC(), {"C": [1, 2]}, cv=3, return_train_score=True)
    grid.fit(X_IRIS, Y_IRIS)
    search = svc_search(return_train_score=True).fit(X_IRIS, Y_IRIS)
    assert set(grid.cv_results_) <= set(search.cv_results_)
    assert all(len(column) == 6 for column in search.cv_results_.values())
    for name in ("best_estimator_", "classes_", "n_features_in_", "refit_time_"):
        assert hasattr(search, name), name


def test_repeats_from_random_state_and_keeps_the_callers_state():
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


def test_a_given_sampler_is_not_moved_on():
    sampler = optuna.samplers.RandomSampler(seed=3)
    search = svc_search(sampler=sampler)
    first = search.fit(X_IRIS, Y_IRIS).cv_results_["params"]
    assert search.fit(X_IRIS, Y_IRIS).cv_results_["params"] == first


def test_clone_pickle_repr_and_tags():
    search = svc_search().fit(X_IRIS, Y_IRIS)
    assert clone(search).get_params()["n_trials"] == 6
    again = pickle.loads(pickle.dumps(search))
    np.testing.assert_array_equal(again.predict(X_IRIS), search.predict(X_IRIS))
    assert len(again.study_.trials) == 6
    assert "OptunaSearchCV" in search._repr_html_()
    assert is_classifier(search)


def test_nested_cross_validation_is_stratified_and_shares_nothing():
    # Sorted by class: unstratified folds would score 0.
    scores = cross_val_score(svc_search(), X_IRIS, Y_IRIS, cv=3, n_jobs=1)
    assert scores.min() > 0.9


def test_several_metrics():
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


def test_groups_and_sample_weights_reach_splitter_and_fit():
    seen = []

    class Weighted(Choosy):
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


# Spaces


def test_every_kind_of_distribution():
    scaler = StandardScaler()
    space = {
        "logisticregression__C": FloatDistribution(0.1, 10, log=True),
        "logisticregression__max_iter": randint(200, 300),
        "logisticregression__tol": uniform(1e-4, 1e-3),
        "logisticregression__intercept_scaling": norm(10, 1),
        "logisticregression__fit_intercept": CategoricalDistribution((True, False)),
        "standardscaler": [scaler, "passthrough"],
    }
    pipeline = make_pipeline(StandardScaler(), LogisticRegression())
    search = OptunaSearchCV(pipeline, space, n_trials=8, cv=3, random_state=0)
    search.fit(X_IRIS, Y_IRIS)
    for params in search.cv_results_["params"]:
        assert set(params) == set(space)
        assert 0.1 <= params["logisticregression__C"] <= 10
        assert 200 <= params["logisticregression__max_iter"] < 300
        assert 1e-4 <= params["logisticregression__tol"] <= 1.1e-3
        assert abs(params["logisticregression__intercept_scaling"] - 10) < 5
        assert params["standardscaler"] in (scaler, "passthrough")
    assert not hasattr(scaler, "mean_")  # a value in the space is not fitted


def test_a_function_makes_conditional_spaces():
    def space(trial):
        kernel = trial.suggest_categorical("kernel", ["linear", "rbf"])
        params = {"kernel": kernel, "C": trial.suggest_float("C", 0.1, 10, log=True)}
        if kernel == "rbf":
            params["gamma"] = trial.suggest_float("gamma", 0.01, 1, log=True)
        return params

    search = svc_search(space=space, n_trials=10).fit(X_IRIS, Y_IRIS)
    kinds = {
        params["kernel"]: "gamma" in params for params in search.cv_results_["params"]
    }
    assert kinds == {"linear": False, "rbf": True}
    assert "param_gamma" in search.cv_results_


def test_ready_spaces():
    rows = make_pipeline(RowSequencer(), LSTMImageClassifier())
    basic = suggest_space(rows, image_shape=(56, 28))
    length = basic["rowsequencer__sequence_length"]
    assert (length.low, length.high) == (32, 64)
    assert set(basic) == {
        "rowsequencer__sequence_length",
        "lstmimageclassifier__dropout",
        "lstmimageclassifier__learning_rate",
    }
    columns = make_pipeline(RowSequencer(axis="columns"), LSTMImageClassifier())
    length = suggest_space(columns, image_shape=(56, 28))[
        "rowsequencer__sequence_length"
    ]
    assert (length.low, length.high) == (16, 32)
    patches = make_pipeline(PatchSequencer(patch_size=8), LSTMImageClassifier())
    deep = suggest_space(patches, "architecture")
    assert deep["patchsequencer__stride"].choices == (2, 4, 8)
    for pipeline in (rows, patches):
        names = set(suggest_space(pipeline, "architecture"))
        assert names <= set(pipeline.get_params())
        assert {"lstmimageclassifier__units", "lstmimageclassifier__n_layers"} <= names
    with pytest.raises(ValueError, match="level='all' is not known"):
        suggest_space(rows, "all")
    with pytest.raises(ValueError, match="No step of SVC"):
        suggest_space(SVC())


# Failures and bad input


def test_a_failed_trial_is_told_and_the_search_goes_on():
    search = svc_search(
        estimator=Choosy(),
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


def test_all_failed_or_raise():
    failing = {"estimator": Choosy(), "space": {"fail": [True]}}
    with pytest.raises(
        ValueError, match=r"^All 6 trials failed, .*MemoryError: no room"
    ):
        svc_search(**failing).fit(X_IRIS, Y_IRIS)
    with pytest.raises(MemoryError, match="no room"):
        svc_search(**failing, error_score="raise").fit(X_IRIS, Y_IRIS)


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
def test_bad_input(params, error, match):
    with pytest.raises(error, match=match):
        svc_search(**params).fit(X_IRIS, Y_IRIS)


def test_a_callback_can_end_the_search():
    seen = []

    def stop(study, trial):
        seen.append(trial.state.name)
        return len(seen) == 3

    search = svc_search(callbacks=[stop]).fit(X_IRIS, Y_IRIS)
    assert seen == ["COMPLETE"] * 3
    assert len(search.cv_results_["params"]) == 3


def test_a_failed_trial_never_wins():
    # With a score below zero an error_score of 0 would be the best.
    search = svc_search(
        estimator=Choosy(),
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


def test_a_scorer_that_returns_a_dict_without_refit():
    def both(estimator, X, y):
        return {"accuracy": estimator.score(X, y), "zero": 0.0}

    search = svc_search(scoring=both, refit=False).fit(X_IRIS, Y_IRIS)
    assert search.study_.best_value == search.cv_results_["mean_test_accuracy"].max()


@pytest.mark.parametrize("n_jobs", [1, 2])
def test_an_error_in_the_space_ends_the_search(n_jobs):
    def space(trial):
        if trial.number == 4:
            raise KeyError("the fifth is too much")
        return {"C": trial.suggest_float("C", 0.1, 1)}

    with pytest.raises(KeyError, match="the fifth"):
        svc_search(space=space, n_trials=8, n_jobs=n_jobs).fit(X_IRIS, Y_IRIS)


@pytest.mark.parametrize("n_jobs", [1, 2])
def test_metadata_routing(n_jobs):
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


# Pruning


class Fixed(optuna.pruners.BasePruner):
    """Prunes at a given step of every stretch that has as many earlier trials."""

    def __init__(self, step, after):
        self.step = step
        self.after = after

    def prune(self, study, trial):
        finished = study.get_trials(
            deepcopy=False, states=(optuna.trial.TrialState.COMPLETE,)
        )
        return len(finished) >= self.after and trial.last_step == self.step


def test_folds_after_a_pruned_one_are_not_started():
    search = svc_search(
        estimator=Choosy(),
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
    assert Choosy.fits == expected
    states = search.cv_results_["trial_state"]
    assert set(states) == {"COMPLETE", "PRUNED"}
    assert np.isnan(search.cv_results_["mean_test_score"][states == "PRUNED"]).all()
    assert search.best_params_["quality"] == max(qualities)


def test_the_default_pruner_looks_at_the_folds_of_any_estimator():
    search = svc_search(
        estimator=Choosy(), space={"quality": uniform(0, 1)}, n_trials=20
    )
    states = search.fit(X_IRIS, Y_IRIS).cv_results_["trial_state"]
    assert set(states[:5]) == {"COMPLETE"}
    assert "PRUNED" in states


@pytest.fixture(scope="module")
def digits():
    data = load_digits()
    return data.images[:120].astype("uint8"), data.target[:120]


def lstm_search(**params):
    pipeline = make_pipeline(
        RowSequencer(),
        LSTMImageClassifier(
            **{
                **{"units": 8, "epochs": 6, "batch_size": 16, "random_state": 0},
                **params.pop("own", {}),
            }
        ),
    )
    space = params.pop(
        "space", {"lstmimageclassifier__learning_rate": loguniform(1e-3, 1e-1)}
    )
    settings = {"n_trials": 4, "cv": 2, "random_state": 0, "refit": False, **params}
    return OptunaSearchCV(pipeline, space, **settings)


def test_pruned_by_epoch_through_a_pipeline(digits):
    # After the third epoch of six, five tenths are done; two trials are let through.
    search = lstm_search(pruner=Fixed(step=5, after=2)).fit(*digits)
    results = search.cv_results_
    assert list(results["trial_state"]) == ["COMPLETE"] * 2 + ["PRUNED"] * 2
    assert list(results["n_epochs"]) == [12, 12, 3, 3]
    assert np.isnan(results["split0_test_score"][2])
    assert search.best_index_ in (0, 1)
    states = [trial.state.name for trial in search.study_.trials]
    assert states == ["COMPLETE"] * 2 + ["PRUNED"] * 2


def test_a_step_is_compared_with_the_same_step_of_the_same_fold(digits):
    search = lstm_search(n_trials=2).fit(*digits)
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


def test_trials_of_different_batch_sizes_are_compared(digits):
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
    own = LSTMImageClassifier._train_network

    def few(self, *args, epochs, **kwargs):
        planned = epochs // 10  # for a quick test
        plans.append(planned)
        return own(self, *args, epochs=planned, **kwargs)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(LSTMImageClassifier, "_train_network", few)
        search.fit(*digits)
    assert len(set(plans)) == 2
    first, second = (
        trial.user_attrs[study_module.FOLDS]["folds"][0]["stretch"]["steps"]
        for trial in search.study_.trials
    )
    assert first == list(range(1, 11))
    assert second == [1, 2, 3]
    assert search.study_.trials[1].state.name == "PRUNED"


def test_watching_changes_no_score(digits):
    watched = lstm_search(n_trials=2).fit(*digits)
    plain = lstm_search(n_trials=2, pruner=NEVER).fit(*digits)
    np.testing.assert_array_equal(
        watched.cv_results_["mean_test_score"], plain.cv_results_["mean_test_score"]
    )


@pytest.mark.parametrize("pruner", [
    optuna.pruners.MedianPruner(n_startup_trials=1),
    optuna.pruners.SuccessiveHalvingPruner(),
    optuna.pruners.HyperbandPruner(max_resource=6),
    optuna.pruners.PercentilePruner(25.0, n_startup_trials=1),
])  # fmt: skip
def test_pruners_of_optuna(digits, pruner):
    search = lstm_search(n_trials=5, pruner=pruner).fit(*digits)
    assert set(search.cv_results_["trial_state"]) <= {"COMPLETE", "PRUNED"}
    assert search.cv_results_["trial_state"][search.best_index_] == "COMPLETE"


def test_refit_for_the_median_best_epoch(digits):
    search = lstm_search(
        n_trials=2,
        refit=True,
        refit_epochs="median_best",
        own={"early_stopping": True, "patience": 2, "validation_fraction": 0.2},
    ).fit(*digits)
    folds = search.study_.trials[search.best_index_].user_attrs[study_module.FOLDS]
    best = np.median([fold["best_epoch"] for fold in folds["folds"]])
    classifier = search.best_estimator_[-1]
    assert classifier.epochs == classifier.n_iter_ == int(best)
    assert not classifier.early_stopping
    assert "val_loss" not in classifier.history_


def test_searches_a_sequencer_inside_the_classifier(digits):
    inside = LSTMImageClassifier(
        sequencer=PatchSequencer((4, 3)), units=4, epochs=1, random_state=0
    )
    model = Pipeline([("same", FunctionTransformer()), ("clf", inside)])
    space = suggest_space(model)
    assert space["clf__sequencer__stride"].choices == (1, 3)
    order = suggest_space(model, "architecture")["clf__sequencer__order"]
    assert set(order.choices) == {"raster", "snake", "hilbert"}
    search = OptunaSearchCV(model, space, n_trials=4, cv=2, random_state=2)
    search.fit(*digits)
    assert set(search.cv_results_["trial_state"]) == {"COMPLETE"}
    strides = [
        params["clf__sequencer__stride"] for params in search.cv_results_["params"]
    ]
    assert set(strides) == {1, 3}
    best = search.best_estimator_["clf"]
    assert best.sequencer_.stride == search.best_params_["clf__sequencer__stride"]
    params = {name: [value] for name, value in search.best_params_.items()}
    grid = GridSearchCV(model, params, cv=2).fit(*digits)
    assert grid.best_score_ == search.best_score_


# Storage


def test_goes_on_with_a_named_study_and_counts_what_is_there(tmp_path):
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


def test_the_space_may_change_and_scores_stay_with_their_parameters(tmp_path):
    storage = f"sqlite:///{tmp_path}/study.db"
    kept = {"storage": storage, "study_name": "s", "cv": 3}
    both = {"quality": FloatDistribution(0.6, 0.9), "fail": [False]}
    first = svc_search(estimator=Choosy(), space=both, n_trials=3, **kept)
    first.fit(X_IRIS, Y_IRIS)
    # Without `fail`, and over worse values: the best is one of the first three.
    less = {"quality": FloatDistribution(0.1, 0.2)}
    second = svc_search(estimator=Choosy(), space=less, n_trials=5, **kept)
    second.fit(X_IRIS, Y_IRIS)
    assert second.cv_results_["params"][:3] == first.cv_results_["params"]
    assert second.best_params_ == first.best_params_
    assert second.best_params_["fail"] is False
    assert second.best_estimator_.quality == pytest.approx(second.best_score_)
    assert second.cv_results_["param_fail"].mask.tolist() == [False] * 3 + [True] * 2
    # With it again.
    third = svc_search(estimator=Choosy(), space=both, n_trials=6, **kept)
    third.fit(X_IRIS, Y_IRIS)
    assert third.best_params_["quality"] == pytest.approx(third.best_score_)

    def function(trial):
        return {"quality": trial.suggest_float("q", 0.95, 0.99)}

    with pytest.raises(ValueError, match="made with another estimator"):
        svc_search(estimator=Choosy(0.3), space=less, n_trials=6, **kept).fit(
            X_IRIS, Y_IRIS
        )
    n_before = len(third.study_.trials)
    other = {"quality": FloatDistribution(0.1, 0.2), "fail": [False, True]}
    with pytest.raises(
        ValueError, match=r"searched 'fail' over \[False\], not over \[False, True\]"
    ):
        svc_search(estimator=Choosy(), space=other, n_trials=9, **kept).fit(
            X_IRIS, Y_IRIS
        )
    assert len(third.study_.trials) == n_before
    kept["study_name"] = "f"
    last = svc_search(estimator=Choosy(), space=function, n_trials=2, **kept)
    last.fit(X_IRIS, Y_IRIS)
    assert 0.95 <= last.best_params_["quality"] <= 0.99


@pytest.mark.parametrize(
    "directions", [["minimize"], ["maximize", "maximize"]], ids=["minimize", "two"]
)
def test_a_study_of_another_direction_is_refused(directions, tmp_path):
    kept = {"storage": f"sqlite:///{tmp_path}/study.db", "study_name": "s"}
    optuna.create_study(**kept, directions=directions)
    words = " and ".join(directions)
    with pytest.raises(
        ValueError, match=f"'s' has the direction {words}, but a search"
    ):
        svc_search(**kept).fit(X_IRIS, Y_IRIS)


def test_a_range_keeps_its_kind_within_a_study(tmp_path):
    kept = {"storage": f"sqlite:///{tmp_path}/s.db", "study_name": "s", "n_trials": 1}
    svc_search(**kept).fit(X_IRIS, Y_IRIS)
    kept["n_trials"] = 2
    for other in (uniform(0.1, 1), randint(1, 9), FloatDistribution(0.1, 1)):
        with pytest.raises(ValueError, match="searched 'C' over FloatDistribution"):
            svc_search(space={"C": other}, **kept).fit(X_IRIS, Y_IRIS)
    svc_search(space={"C": FloatDistribution(0.1, 1, log=True)}, **kept).fit(
        X_IRIS, Y_IRIS
    )


def test_a_storage_that_fails_ends_the_search_with_its_error():
    class Full(optuna.storages.InMemoryStorage):
        def set_trial_user_attr(self, trial_id, key, value):
            if key == study_module.FOLDS:
                raise OSError("the disk is full")
            super().set_trial_user_attr(trial_id, key, value)

    for n_jobs in (1, 2):
        with pytest.raises(OSError, match="the disk is full"):
            svc_search(storage=Full(), n_jobs=n_jobs).fit(X_IRIS, Y_IRIS)


def test_a_failing_search_gives_no_warning_of_its_running_trials():
    # Filters of warnings are no help: a running trial may replace them at any time.
    def run(job, number, params, earlier):
        time.sleep(0.1 * number)
        return number, None

    jobs = ((SimpleNamespace(number=number), {}, []) for number in range(4))
    with (
        mock.patch.object(parallel_module, "_run", run),
        mock.patch("warnings.filterwarnings"),
    ):
        outcomes = parallel_module.in_parallel(None, jobs, 2)
        next(outcomes)
        outcomes.close()


def test_values_that_no_study_can_keep_need_their_space(tmp_path):
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


def test_an_estimator_is_known_again_in_any_process():
    def described(classifier=None, **params):
        steps = [("seq", RowSequencer(**params)), ("clf", classifier or SVC())]
        return joblib.hash(study_module.describe(Pipeline(steps)))

    assert described() == described(SVC(verbose=True))
    others = [
        described(axis="columns"),
        described(SVC(C=2)),
        described(SVC(kernel=sum)),
        described(LogisticRegression()),
        described(LSTMImageClassifier()),
        described(LSTMImageClassifier(optimizer__beta_1=0.8)),
    ]
    assert len({described(), *others}) == 1 + len(others)
    assert described(SVC(kernel=lambda X, Y: X)) == described(
        SVC(kernel=lambda X, Y: X)
    )


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
def test_what_is_not_optunas_is_said_before_the_first_trial(params, error, message):
    with pytest.raises(error, match=message):
        svc_search(**params).fit(X_IRIS, Y_IRIS)


def test_a_function_as_scoring_is_known_again(tmp_path):
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


SLEEPER = """
import sys, time, optuna
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.datasets import load_iris
from scipy.stats import uniform
from sklstm import OptunaSearchCV

class Slow(ClassifierMixin, BaseEstimator):
    def __init__(self, quality=0.0): self.quality = quality
    def fit(self, X, y):
        self.classes_ = [0, 1, 2]
        print("fit", flush=True)
        time.sleep(float(sys.argv[3]))
        return self
    def predict(self, X): return [0] * len(X)
    def score(self, X, y): return self.quality

storage = sys.argv[1]
if storage.endswith(".log"):
    from optuna.storages import JournalStorage
    from optuna.storages.journal import JournalFileBackend
    storage = JournalStorage(JournalFileBackend(storage))
search = OptunaSearchCV(
    Slow(), {"quality": uniform(0, 1)}, n_trials=int(sys.argv[2]), cv=2,
    storage=storage, study_name="s", refit=False, pruner=optuna.pruners.NopPruner(),
).fit(*load_iris(return_X_y=True))
print(len(search.cv_results_["params"]), flush=True)
"""


def start(storage, n_trials, seconds):
    return subprocess.Popen(
        [sys.executable, "-c", SLEEPER, storage, str(n_trials), str(seconds)],
        stdout=subprocess.PIPE,
        text=True,
    )


def trials_of(storage):
    if storage.endswith(".log"):
        from optuna.storages import JournalStorage
        from optuna.storages.journal import JournalFileBackend

        storage = JournalStorage(JournalFileBackend(storage))
    study = optuna.load_study(study_name="s", storage=storage)
    trials = study.trials
    study._storage.remove_session()
    engine = getattr(getattr(study._storage, "_backend", None), "engine", None)
    if engine is not None:
        engine.dispose()
    return trials


@pytest.fixture(params=["sqlite", "journal", "postgresql"])
def storage(request, tmp_path):
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/s.db"
    if request.param == "journal":
        return str(tmp_path / "s.log")
    return request.getfixturevalue("postgresql")


def test_a_killed_process_loses_nothing_that_was_finished(tmp_path):
    storage = f"sqlite:///{tmp_path}/s.db"
    process = start(storage, 6, 0.3)
    for _ in range(6):  # two trials of two folds, and into the third
        assert process.stdout.readline() == "fit\n"
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    process.stdout.close()
    before = trials_of(storage)
    done = [t for t in before if t.state.name == "COMPLETE"]
    running = [t for t in before if t.state.name == "RUNNING"]
    assert len(done) >= 2
    assert len(running) == 1

    process = start(storage, 6, 0.0)
    assert process.communicate(timeout=60)[0].splitlines()[-1] == "6"
    after = trials_of(storage)
    complete = {t.number: t.value for t in after if t.state.name == "COMPLETE"}
    assert len(complete) == 6
    assert all(complete[t.number] == t.value for t in done)
    lost = after[running[0].number]
    assert lost.state.name == "FAIL"
    retried = [t.number for t in after if t.params == lost.params]
    assert len(retried) == 2  # the same parameters were tried again


def test_two_processes_work_on_one_study(storage):
    processes = [start(storage, 9, 0.05) for _ in range(2)]
    fits = [process.communicate(timeout=60)[0].count("fit") for process in processes]
    assert [process.returncode for process in processes] == [0, 0]
    trials = trials_of(storage)
    counted = [t for t in trials if study_module.counts(t)]
    assert len(counted) == 9
    assert {t.state.name for t in counted} == {"COMPLETE"}
    assert sum(fits) == 18  # each trial of two folds was run once
    assert min(fits) > 0


def test_of_two_that_ask_for_the_last_trial_one_stays(monkeypatch):
    study = optuna.create_study(direction="maximize")
    ask = study.ask

    def after_another():
        ask()  # between our counting and our asking
        return ask()

    monkeypatch.setattr(study, "ask", after_another)
    assert workers_module.Worker(study, shared=False).ask(1) is None
    assert [trial.state.name for trial in study.trials] == ["RUNNING", "FAIL"]
    assert [study_module.counts(trial) for trial in study.trials] == [True, False]


@pytest.mark.parametrize(("host", "pid", "silent", "lost"), [
    ("here", "own", 0, False),
    ("here", 2**22 + 1, 0, True),  # beyond the largest process number
    ("here", "own", 700, True),  # the number is another process' by now
    ("elsewhere", 1, 100, False),
    ("elsewhere", 1, 700, True),
])  # fmt: skip
def test_whose_process_is_dead(host, pid, silent, lost):
    study = optuna.create_study(direction="maximize")
    trial = study.ask()
    trial.suggest_float("quality", 0, 1)
    host = socket.gethostname() if host == "here" else host
    pid = os.getpid() if pid == "own" else pid
    trial.set_user_attr(workers_module.WORKER, f"{host}:{pid}:abc")
    trial.set_user_attr(workers_module.BEAT, time.time() - silent)
    again = workers_module.Worker(study, shared=True).ask(1)
    if lost:
        assert study.trials[0].state.name == "FAIL"
        assert again.suggest_float("quality", 0, 1) == trial.params["quality"]
    else:
        assert study.trials[0].state.name == "RUNNING"
        assert again is None


@pytest.fixture(scope="session")
def postgresql(tmp_path_factory):
    """A server of its own, on loopback, in a temporary folder."""
    import glob
    import shutil

    pytest.importorskip("psycopg", reason="psycopg is not installed")
    places = [os.environ.get("PATH", ""), *glob.glob("/usr/lib/postgresql/*/bin")]
    initdb = shutil.which("initdb", path=os.pathsep.join(places))
    if initdb is None:
        pytest.skip("no PostgreSQL server is installed")
    folder = tmp_path_factory.mktemp("postgresql")
    as_user = []
    if os.geteuid() == 0:  # the server refuses to run as root
        as_user = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"]
        place = folder
        while place != place.parent and place.stat().st_uid == 0:
            if place.stat().st_mode & 0o005 != 0o005 and str(place) != "/tmp":
                place.chmod(0o755)
            place = place.parent
        os.chown(folder, 65534, 65534)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    data = str(folder / "data")
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.PIPE, "cwd": folder}
    made = subprocess.run(
        [*as_user, initdb, "-D", data, "-U", "sklstm", "--auth=trust"], **quiet
    )
    assert made.returncode == 0, made.stderr
    server = subprocess.Popen(
        [*as_user, initdb.replace("initdb", "postgres"), "-D", data, "-p", str(port),
         "-h", "127.0.0.1", "-k", str(folder)],
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, cwd=folder,
    )  # fmt: skip
    import psycopg

    for _ in range(100):
        try:
            psycopg.connect(
                host="127.0.0.1", port=port, user="sklstm", dbname="postgres"
            ).close()
            break
        except psycopg.OperationalError:
            time.sleep(0.1)
    yield f"postgresql+psycopg://sklstm@127.0.0.1:{port}/postgres"
    server.send_signal(signal.SIGINT)  # does not wait for clients to leave
    server.wait(timeout=30)


# Many at a time


@pytest.mark.parametrize("backend", ["threading", "loky"])
def test_trials_side_by_side_score_the_same(backend):
    with joblib.parallel_config(backend=backend):
        search = svc_search(n_jobs=2).fit(X_IRIS, Y_IRIS)
    assert list(search.cv_results_["trial_number"]) == list(range(6))
    for i, params in enumerate(search.cv_results_["params"]):
        if search.cv_results_["trial_state"][i] == "COMPLETE":
            score = cross_val_score(SVC(**params), X_IRIS, Y_IRIS, cv=3).mean()
            assert search.cv_results_["mean_test_score"][i] == pytest.approx(score)


def test_networks_in_two_threads(digits):
    search = lstm_search(n_jobs=2, pruner=NEVER).fit(*digits)
    for i, params in enumerate(search.cv_results_["params"]):
        estimator = clone(search.estimator).set_params(**params)
        expected = cross_val_score(estimator, *digits, cv=StratifiedKFold(2)).mean()
        assert search.cv_results_["mean_test_score"][i] == pytest.approx(expected)


@pytest.mark.slow
def test_dask_runs_trials_in_worker_processes():
    distributed = pytest.importorskip("distributed", reason="dask is not installed")
    with (
        warnings.catch_warnings(),
        distributed.LocalCluster(
            n_workers=2, threads_per_worker=1, dashboard_address=None
        ) as cluster,
        distributed.Client(cluster),
        joblib.parallel_config(backend="dask"),
    ):
        warnings.simplefilter("ignore")
        search = svc_search(n_jobs=2).fit(X_IRIS, Y_IRIS)
    assert len(search.cv_results_["params"]) == 6


def test_bar(capsys):
    svc_search(verbose=1).fit(X_IRIS, Y_IRIS)
    shown = capsys.readouterr().err
    assert "6/6" in shown
    assert "best=0.9" in shown
