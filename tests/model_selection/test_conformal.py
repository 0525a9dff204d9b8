"""ConformalClassifier: coverage, classes, groups, images, and what it refuses."""

import math
import warnings

import numpy as np
import pytest
from sklearn.base import BaseEstimator, ClassifierMixin, clone
from sklearn.datasets import load_digits
from sklearn.exceptions import NotFittedError
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import (
    GroupKFold,
    KFold,
    RepeatedStratifiedKFold,
    StratifiedShuffleSplit,
    cross_val_score,
)
from sklearn.naive_bayes import GaussianNB
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import parametrize_with_checks

from sklstm import LSTMImageClassifier
from sklstm.metrics import mean_set_size, set_coverage
from sklstm.model_selection import ConformalClassifier

HALF = StratifiedShuffleSplit(1, test_size=0.5, random_state=0)


def blobs(n, rng, shares=(0.5, 0.3, 0.2)):
    """Three classes that overlap, in two dimensions."""
    y = rng.choice(3, n, p=shares)
    return rng.normal(size=(n, 2)) + 1.5 * np.eye(3, 2)[y], y


class Told(ClassifierMixin, BaseEstimator):
    """Its probabilities are the samples themselves."""

    def fit(self, X, y):
        self.classes_ = np.unique(y)
        return self

    def predict_proba(self, X):
        return np.asarray(X)


def told(n, rng):
    """Samples that are probabilities of two classes, which are true."""
    p = rng.uniform(size=n)
    return np.column_stack([1 - p, p]), (rng.uniform(size=n) < p).astype(int)


# --- coverage -----------------------------------------------------------------------


@pytest.mark.parametrize("method", ["threshold", "adaptive"])
@pytest.mark.parametrize("cv", [5, HALF], ids=["folds", "one split"])
@pytest.mark.parametrize("by_class", [False, True])
def test_sets_hold_the_true_class_as_often_as_asked(method, cv, by_class):
    rng = np.random.default_rng(0)
    found, of_rare = [], []
    for seed in range(30):
        X, y = blobs(200, rng)
        X_test, y_test = blobs(400, rng)
        model = ConformalClassifier(
            GaussianNB(), method=method, cv=cv, by_class=by_class, random_state=seed
        ).fit(X, y)
        for confidence in (0.8, 0.9):
            sets = model.predict_set(X_test, confidence)
            found.append(set_coverage(y_test, sets))
            if by_class:
                of_rare.append(
                    set_coverage(
                        y_test[y_test == 2], sets[y_test == 2], classes=[0, 1, 2]
                    )
                )
    found = np.reshape(found, (30, 2)).mean(axis=0)
    # 30 training sets: the standard error is about .007, and .02 for the rare class.
    np.testing.assert_allclose(found, [0.8, 0.9], atol=0.025)
    if by_class:
        of_rare = np.reshape(of_rare, (30, 2)).mean(axis=0)
        np.testing.assert_allclose(of_rare, [0.8, 0.9], atol=0.05)


def test_the_rank_is_exact():
    """Without ties, the coverage is the rank by n + 1, no more or less."""
    rng = np.random.default_rng(0)
    cv = [(np.arange(20), np.arange(20, 29))]  # nine samples: ranks are tenths
    for confidence, covered in ((0.5, 0.5), (0.7, 0.7), (0.9, 0.9), (0.55, 0.6)):
        hits = []
        for _ in range(400):
            X, y = told(29, rng)
            model = ConformalClassifier(Told(), confidence=confidence, cv=cv)
            X_test, y_test = told(20, rng)
            sets = model.fit(X, y).predict_set(X_test)
            hits.append(set_coverage(y_test, sets, classes=[0, 1]))
        error = np.std(hits) / np.sqrt(len(hits))
        assert np.mean(hits) == pytest.approx(covered, abs=4 * error)
        assert error < 0.015


def test_the_rank_is_not_rounded_in_binary():
    # As floats, 0.55 * 100 is a little more than 55, which would be rank 56.
    assert math.ceil(0.55 * 100) == 56
    X = np.column_stack([1 - np.arange(99) / 100, np.arange(99) / 100])
    model = ConformalClassifier(
        Told(), confidence=0.55, cv=[(np.arange(99), np.arange(99))]
    )
    model.fit(X, np.r_[np.zeros(98, int), 1])
    model.scores_ = [np.arange(99) / 100]  # the 55th is .54, the 56th .55
    sets = model.predict_set([[0.455, 0.545], [0.465, 0.535]])
    np.testing.assert_array_equal(sets[:, 0], [False, True])


def test_sets_by_hand():
    X = np.array([[0.9, 0.1], [0.6, 0.4], [0.3, 0.7], [0.2, 0.8]])
    y = [0, 0, 1, 0]
    cv = [(np.arange(4), np.arange(4))]
    model = ConformalClassifier(Told(), cv=cv, confidence=0.6).fit(X, y)
    np.testing.assert_allclose(model.scores_[0], [0.1, 0.4, 0.3, 0.8])
    # Rank 3 of 5: what fits at least as well as the third of four, 0.4.
    new = np.array([[0.6, 0.4], [0.59, 0.41], [0.45, 0.55], [0.1, 0.9]])
    expected = [[True, False], [False, False], [False, False], [False, True]]
    np.testing.assert_array_equal(model.predict_set(new), expected)
    assert model.predict_set(new, 0.99).all()
    own = ConformalClassifier(Told(), cv=cv, confidence=0.5, by_class=True)
    # Rank 2 of class 0, of 0.1, 0.4 and 0.8; rank 1 of class 1, of 0.3.
    np.testing.assert_array_equal(own.fit(X, y).predict_set(new), expected)
    np.testing.assert_array_equal(
        own.predict_set([[0.5, 0.5], [0.3, 0.7]]), [[False, False], [False, True]]
    )
    np.testing.assert_array_equal(model.predict(new), [0, 0, 1, 1])
    np.testing.assert_allclose(model.predict_proba(new), new)


def test_adaptive_scores_by_hand():
    X = np.array([[0.2, 0.5, 0.3]] * 2)
    cv = [(np.arange(3), np.arange(3))]
    three = np.array([[0.2, 0.5, 0.3]] * 3)
    model = ConformalClassifier(
        Told(), method="adaptive", cv=cv, confidence=0.5, random_state=0
    )
    (scores,) = model.fit(three, [0, 1, 2]).scores_
    u = np.random.default_rng([model._seed, 0]).uniform(size=3)
    expected = [0.8 + 0.2 * u[0], 0.5 * u[1], 0.5 + 0.3 * u[2]]
    np.testing.assert_allclose(scores, expected)
    sets = model.predict_set(X, 0.75)  # rank 3 of 3: all that fit as well as class 0
    v = np.random.default_rng([model._seed, 1]).uniform(size=2)
    np.testing.assert_array_equal(sets[:, 0], 0.8 + 0.2 * v <= scores.max())
    assert sets[:, 1:].all()


def test_difficult_samples_have_larger_sets():
    rng = np.random.default_rng(0)
    X, y = blobs(400, rng)
    model = ConformalClassifier(GaussianNB(), method="adaptive", random_state=0)
    sets = model.fit(X, y).predict_set(X)
    certain = model.predict_proba(X).max(axis=1)
    order = np.argsort(certain)
    assert mean_set_size(sets[order[:100]]) > mean_set_size(sets[order[-100:]]) + 0.5


# --- what it is given ---------------------------------------------------------------


class Remembers(GaussianNB):
    """Tells which rows and groups its fit got."""

    def fit(self, X, y, groups=None):
        self.seen_ = np.asarray(X)[:, 0].copy(), groups
        return super().fit(X, y)


def test_groups_stay_together_and_reach_the_fits():
    rng = np.random.default_rng(0)
    X, y = blobs(60, rng)
    X[:, 0] += 1e-9 * np.arange(60)
    groups = np.arange(60) // 4
    for cv in (3, GroupKFold(3)):
        model = ConformalClassifier(Remembers(), cv=cv, random_state=0)
        model.fit(X, y, groups=groups)
        for one in model.estimators_:
            rows, of_rows = one.seen_
            own = np.isin(X[:, 0], rows)
            np.testing.assert_array_equal(of_rows, groups[own])
            assert not np.isin(groups[own], groups[~own]).any()
    with pytest.raises(ValueError, match="cv puts samples of a group on both sides"):
        ConformalClassifier(GaussianNB(), cv=KFold(7)).fit(X, y, groups=groups)


def test_a_class_that_a_fold_lacks():
    rng = np.random.default_rng(0)
    X, y = blobs(60, rng, (0.5, 0.5, 0.0))
    X, y = np.vstack([X, [[9.0, 9.0]]]), np.append(y, 2)
    folds = [(np.arange(60), [60]), (np.arange(10, 61), np.arange(10))]
    model = ConformalClassifier(GaussianNB(), cv=folds).fit(X, y)
    assert [len(one.classes_) for one in model.estimators_] == [2, 3]
    assert model.scores_[0] == [1.0]  # a class without probability
    assert model.predict_proba(X).shape == (61, 3)


def test_one_fitted_model_is_calibrated_as_it_is():
    rng = np.random.default_rng(0)
    X, y = blobs(300, rng)
    fitted = GaussianNB().fit(X[:100], y[:100])
    model = ConformalClassifier(FrozenEstimator(fitted), random_state=0)
    model.fit(X[100:], y[100:])
    np.testing.assert_allclose(model.predict_proba(X), fitted.predict_proba(X))
    scores = 1 - fitted.predict_proba(X[100:])[np.arange(200), y[100:]]
    np.testing.assert_allclose(np.sort(np.concatenate(model.scores_)), np.sort(scores))
    limit = np.sort(scores)[180]  # rank 181 of 201, which is .9 of them
    expected = 1 - fitted.predict_proba(X) <= limit
    np.testing.assert_array_equal(model.predict_set(X), expected)


def test_a_fitted_model_with_cv_prefit():
    rng = np.random.default_rng(0)
    X, y = blobs(300, rng)
    fitted = GaussianNB().fit(X[:100], y[:100])
    two = y[100:] < 2  # the third class has no sample to calibrate with
    model = ConformalClassifier(fitted, cv="prefit").fit(X[100:][two], y[100:][two])
    np.testing.assert_array_equal(model.classes_, [0, 1, 2])
    n = two.sum()
    scores = 1 - fitted.predict_proba(X[100:][two])[np.arange(n), y[100:][two]]
    limit = np.sort(scores)[-(-9 * (n + 1) // 10) - 1]
    np.testing.assert_array_equal(
        model.predict_set(X), 1 - fitted.predict_proba(X) <= limit
    )
    with pytest.raises(NotFittedError):
        ConformalClassifier(GaussianNB(), cv="prefit").fit(X, y)
    with pytest.raises(ValueError, match=r"y holds \[3\], which the fitted estimator"):
        ConformalClassifier(fitted, cv="prefit").fit(X, np.where(y == 2, 3, y))


def test_images_and_a_network():
    digits = load_digits(n_class=3)
    images, names = digits.images, np.array(["no", "one", "two"])[digits.target]
    network = LSTMImageClassifier(units=8, epochs=12, batch_size=16, random_state=0)
    model = ConformalClassifier(network, cv=2, random_state=0)
    model.fit(images[:200], names[:200])
    sets = model.predict_set(images[200:])
    assert sets.shape == (337, 3)
    coverage = set_coverage(names[200:], sets, classes=model.classes_)
    assert 0.8 < coverage <= 1
    assert mean_set_size(sets) < 1.6
    again = clone(model).fit(images[:200], names[:200])
    np.testing.assert_array_equal(again.predict_set(images[200:]), sets)


def test_the_seed_decides():
    X, y = blobs(100, np.random.default_rng(0))
    sets = []
    for seed in (0, 0, 1):
        model = ConformalClassifier(GaussianNB(), method="adaptive", random_state=seed)
        sets.append(model.fit(X, y).predict_set(X, 0.5))
    np.testing.assert_array_equal(sets[0], sets[1])
    assert (sets[0] != sets[2]).any()


def test_its_accuracy_can_be_cross_validated():
    X, y = blobs(100, np.random.default_rng(0))
    model = ConformalClassifier(GaussianNB(), cv=3, random_state=0)
    assert cross_val_score(model, X, y, cv=3).mean() > 0.5


# --- what it refuses ----------------------------------------------------------------


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"confidence": 90}, "confidence=90 must be a number between 0 and 1"),
        ({"confidence": True}, "confidence=True must be"),
        ({"method": "aps"}, "method='aps' must be 'threshold' or 'adaptive'"),
        ({"cv": RepeatedStratifiedKFold()}, "holds a sample out in several splits"),
        ({"cv": 0.5}, "cv=0.5 must be a number of folds, a splitter"),
        ({"cv": "fitted"}, "cv='fitted' must be .* or 'prefit'"),
    ],
    ids=["percent", "bool", "method", "repeated", "number", "word"],
)
def test_parameters(params, message):
    X, y = blobs(60, np.random.default_rng(0))
    with pytest.raises(ValueError, match=message):
        ConformalClassifier(GaussianNB(), **params).fit(X, y)


def test_other_things_that_cannot_be_used():
    X, y = blobs(60, np.random.default_rng(0))
    with pytest.raises(ValueError, match="y holds one class only"):
        ConformalClassifier(GaussianNB()).fit(X, 0 * y)
    model = ConformalClassifier(GaussianNB(), cv=3).fit(X, y)
    with pytest.raises(ValueError, match=r"confidence=1\.5 must be"):
        model.predict_set(X, 1.5)
    assert not hasattr(ConformalClassifier(StandardScaler()), "predict_proba")


def test_too_few_samples_are_told():
    X, y = blobs(18, np.random.default_rng(0))
    with pytest.warns(
        UserWarning, match=r"18 samples are held out, and confidence=0\.95 needs 19"
    ):
        model = ConformalClassifier(GaussianNB(), confidence=0.95, cv=3).fit(X, y)
    assert model.predict_set(X).all()
    X, y = blobs(60, np.random.default_rng(0))
    with pytest.warns(UserWarning, match="samples of the class 2 are held out"):
        ConformalClassifier(
            GaussianNB(), confidence=0.95, cv=3, by_class=True, random_state=0
        ).fit(X, y)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        ConformalClassifier(GaussianNB(), confidence=0.9, cv=3).fit(X, y)


@pytest.mark.slow
@parametrize_with_checks(
    [ConformalClassifier(LogisticRegression(), cv=2, confidence=0.5, random_state=0)]
)
def test_checks_of_scikit_learn(estimator, check):
    check(estimator)
