"""The kappa of grades, beside scikit-learn's and where that one misjudges."""

import numpy as np
import pytest
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.exceptions import UndefinedMetricWarning
from sklearn.metrics import cohen_kappa_score
from sklearn.model_selection import cross_val_score

from sklstm.metrics import (
    expected_calibration_error,
    quadratic_kappa_scorer,
    quadratic_weighted_kappa,
)


@pytest.fixture
def grades():
    rng = np.random.default_rng(0)
    true = rng.integers(0, 5, 200)
    return true, np.clip(true + rng.integers(-1, 2, 200), 0, 4), rng.random(200)


def test_where_all_grades_occur_it_is_scikit_learns(grades):
    true, predicted, weights = grades
    for w in (None, weights):
        expected = cohen_kappa_score(
            true, predicted, weights="quadratic", sample_weight=w
        )
        found = quadratic_weighted_kappa(true, predicted, sample_weight=w)
        assert found == pytest.approx(expected, abs=1e-12)


def test_a_grade_that_does_not_occur_keeps_its_place():
    true, predicted = [0, 1, 3, 4, 4], [0, 3, 3, 4, 1]
    expected = cohen_kappa_score(true, predicted, labels=range(5), weights="quadratic")
    assert quadratic_weighted_kappa(true, predicted) == pytest.approx(expected)
    wrong = cohen_kappa_score(true, predicted, weights="quadratic")
    assert abs(wrong - expected) > 0.01


def test_the_ends_of_the_scale():
    assert quadratic_weighted_kappa([0, 1, 2], [0, 1, 2]) == 1
    assert quadratic_weighted_kappa([0, 2], [2, 0]) == -1
    assert quadratic_weighted_kappa([0, 0, 2, 2], [0, 2, 0, 2]) == 0
    with pytest.warns(UndefinedMetricWarning, match="all the same is not defined"):
        assert np.isnan(quadratic_weighted_kappa([3, 3], [3, 3]))


def test_what_cannot_be_graded():
    with pytest.raises(ValueError, match="y_true must hold grades as numbers"):
        quadratic_weighted_kappa(["mild", "none"], [0, 1])
    with pytest.raises(ValueError, match="inconsistent numbers of samples"):
        quadratic_weighted_kappa([0, 1, 2], [0, 1])
    with pytest.raises(ValueError, match="y_pred contains NaN"):
        quadratic_weighted_kappa([0, 1], [0, np.nan])


class Reads(ClassifierMixin, BaseEstimator):
    """Predicts the first feature."""

    def fit(self, X, y):
        self.classes_ = np.unique(y)
        return self

    def predict(self, X):
        return X[:, 0].astype(int)


def test_the_scorer_in_cross_validation(grades):
    true, predicted, _ = grades
    scores = cross_val_score(
        Reads(), predicted[:, None], true, scoring=quadratic_kappa_scorer, cv=4
    )
    assert scores.mean() == pytest.approx(
        quadratic_weighted_kappa(true, predicted), abs=0.05
    )


def test_the_calibration_error_of_drawn_labels():
    rng = np.random.default_rng(0)
    p = rng.uniform(0.5, 1, 20000)
    y = np.where(rng.uniform(size=20000) < p, "a", "b")
    error = expected_calibration_error(y, np.column_stack([p, 1 - p]))
    assert error < 0.02
    # Overconfident by 0.1 wherever that is possible.
    sure = np.minimum(p + 0.1, 1)
    error = expected_calibration_error(y, np.column_stack([sure, 1 - sure]))
    assert error == pytest.approx(np.mean(sure - p), abs=0.01)


def test_the_order_of_samples_does_not_change_the_calibration_error():
    rng = np.random.default_rng(0)
    proba = np.array([[0.8, 0.2]] * 30 + [[0.1, 0.9]] * 30)
    y = rng.integers(0, 2, 60)
    expected = expected_calibration_error(y, proba, n_bins=7)
    for _ in range(5):
        rows = rng.permutation(60)
        found = expected_calibration_error(y[rows], proba[rows], n_bins=7)
        assert found == pytest.approx(expected)


def test_the_calibration_error_refuses_other_labels():
    with pytest.raises(ValueError, match="has 3 columns, but there are 2 labels"):
        expected_calibration_error([0, 1], np.eye(3)[:2])
    with pytest.raises(ValueError, match=r"the labels \[5\], which are not"):
        expected_calibration_error([0, 5], np.eye(3)[:2], labels=[0, 1, 2])
    with pytest.raises(ValueError, match="n_bins=0"):
        expected_calibration_error([0, 1], np.eye(2), n_bins=0)
