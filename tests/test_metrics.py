"""Metrics of grades and of masks, beside scikit-learn's and by hand."""

import pickle

import numpy as np
import pytest
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.exceptions import UndefinedMetricWarning
from sklearn.metrics import (
    average_precision_score,
    cohen_kappa_score,
    f1_score,
    roc_auc_score,
)
from sklearn.model_selection import GridSearchCV, cross_val_score, cross_validate

from sklstm import OptunaSearchCV
from sklstm.metrics import (
    expected_calibration_error,
    image_auroc,
    image_auroc_scorer,
    pixel_average_precision,
    pixel_average_precision_scorer,
    pixel_f1,
    pixel_f1_scorer,
    quadratic_kappa_scorer,
    quadratic_weighted_kappa,
    region_overlap,
    region_overlap_scorer,
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


# --- masks --------------------------------------------------------------------------


@pytest.fixture
def spots():
    """Images whose values are high where the masks are; two have no defect."""
    rng = np.random.default_rng(0)
    masks = np.zeros((8, 6, 7), int)
    masks[:6, 2:4, 1:5] = 1
    return np.clip(0.3 * masks + rng.uniform(0, 0.7, masks.shape), 0, 1), masks


def test_pixels_count_as_samples_of_scikit_learn(spots):
    X, masks = spots
    found = X > 0.6
    assert pixel_f1(masks, found) == pytest.approx(
        f1_score(masks.ravel(), found.ravel())
    )
    assert pixel_average_precision(masks, X) == pytest.approx(
        average_precision_score(masks.ravel(), X.ravel())
    )
    best = X.max(axis=(1, 2))
    assert image_auroc(masks, best) == pytest.approx(
        roc_auc_score(masks.any(axis=(1, 2)), best)
    )
    # Masks that differ in size, in colour, and None for an image without defects.
    mixed = [masks[0], np.stack([masks[1][:4]] * 3, axis=-1), None]
    truth = [masks[0], masks[1][:4], masks[7]]
    maps = [X[0], X[1][:4], X[7]]
    flat = [np.concatenate([one.ravel() for one in part]) for part in (truth, maps)]
    assert pixel_f1(mixed, [one > 0.6 for one in maps]) == pytest.approx(
        f1_score(flat[0], flat[1] > 0.6)
    )
    assert pixel_average_precision(mixed, maps) == pytest.approx(
        average_precision_score(*flat)
    )
    assert pixel_f1([None], [np.zeros((2, 2), bool)]) == 1


def test_region_overlap_by_hand():
    # Regions of 1 and 2 pixels, and 4 pixels without defects.
    truth = [[[1, 0, 0, 1, 1, 0, 0]]]
    score = [[[0.9, 0.8, 0.1, 0.7, 0.6, 0.6, 0.2]]]
    # (rate, overlap): (0, .5), (.25, .5), (.25, .75), (.5, 1), (.75, 1), (1, 1)
    assert region_overlap(truth, score, max_fpr=0.25) == pytest.approx(0.5)
    area = 0.25 * 0.5 + 0.25 * (0.75 + 1) / 2
    assert region_overlap(truth, score, max_fpr=0.5) == pytest.approx(area / 0.5)
    # Between two points the curve is linear: .85 at a rate of .35.
    area = 0.25 * 0.5 + 0.1 * (0.75 + 0.85) / 2
    assert region_overlap(truth, score, max_fpr=0.35) == pytest.approx(area / 0.35)
    assert region_overlap(truth, score, max_fpr=1) == pytest.approx(
        0.25 * 0.5 + 0.25 * (0.75 + 1) / 2 + 0.5
    )


def test_pixels_that_touch_at_a_corner_are_one_region():
    corner = np.array([[1, 0, 0, 0, 0, 0], [0, 1, 0, 0, 0, 1]])
    score = np.where([[0] * 6, [0] * 5 + [1]], 1.0, 0.0)
    score[0, 0] = 1
    # Half of one region and all of the other are found before any other pixel.
    assert region_overlap([corner], [score], max_fpr=1e-9) == pytest.approx(0.75)


def test_a_small_region_counts_as_much_as_a_large_one():
    truth = np.zeros((2, 10, 10), int)
    truth[0, :5], truth[1, 0, 0] = 1, 1
    for k in (0, 1):
        only = np.zeros(truth.shape)
        only[k] = truth[k]
        assert region_overlap(truth, only, max_fpr=1e-9) == pytest.approx(0.5)
    assert region_overlap(truth, truth) == 1
    # A constant score has no information.
    assert region_overlap(truth, np.zeros(truth.shape)) == pytest.approx(0.15)


@pytest.mark.parametrize("metric", [pixel_average_precision, region_overlap])
def test_masks_without_a_defect_have_no_score(metric):
    with pytest.warns(UndefinedMetricWarning, match="no pixel is defective: NaN"):
        assert np.isnan(metric([None, None], np.zeros((2, 2, 2))))


def test_scores_that_are_not_defined():
    with pytest.warns(UndefinedMetricWarning, match="all pixels are defective: NaN"):
        assert np.isnan(region_overlap(np.ones((1, 2, 2)), np.ones((1, 2, 2))))
    with pytest.warns(UndefinedMetricWarning, match="all images show a defect: NaN"):
        assert np.isnan(image_auroc(np.ones((2, 2, 2)), [1, 2]))


def test_masks_that_cannot_be_scored(spots):
    X, masks = spots
    with pytest.raises(ValueError, match=r"y_true has 7 masks, but y_score has 8"):
        region_overlap(masks[1:], X)
    with pytest.raises(ValueError, match=r"y_true\[0\] has the shape \(5, 7\), but"):
        pixel_f1(masks[:, 1:], X > 0.5)
    with pytest.raises(ValueError, match=r"y_true\[0\] has values from 0 to 255, but"):
        pixel_f1(masks * 255, X > 0.5)
    with pytest.raises(ValueError, match=r"y_pred\[0\] has values from 0\."):
        pixel_f1(masks, X)
    with pytest.raises(ValueError, match=r"y_score\[0\] contains NaN"):
        pixel_average_precision(masks, np.full(X.shape, np.nan))
    with pytest.raises(ValueError, match=r"y_score\[0\] must have the shape"):
        region_overlap(masks, X[..., None])
    with pytest.raises(ValueError, match="y_true must hold one array for each image"):
        pixel_f1(1, X > 0.5)
    for wrong in (0, 1.1, "all"):
        with pytest.raises(ValueError, match=r"max_fpr=.* must be above 0 and at most"):
            region_overlap(masks, X, max_fpr=wrong)


class Bright(BaseEstimator):
    """Calls bright pixels defective."""

    def __init__(self, threshold=0.5):
        self.threshold = threshold

    def fit(self, X, y):
        self.fitted_ = True
        return self

    def predict_proba(self, X):
        return np.asarray(X)

    def predict(self, X):
        return np.asarray(X) > self.threshold

    def decision_function(self, X):
        return np.asarray(X).max(axis=(1, 2))


SCORERS = {
    "f1": pixel_f1_scorer,
    "precision": pixel_average_precision_scorer,
    "overlap": region_overlap_scorer,
    "auroc": image_auroc_scorer,
}


def test_scorers_in_cross_validation(spots):
    X, masks = spots
    X, masks = X[[0, 1, 6, 2, 3, 7]], masks[[0, 1, 6, 2, 3, 7]]
    expected = {
        "f1": lambda s: pixel_f1(masks[s], X[s] > 0.5),
        "precision": lambda s: pixel_average_precision(masks[s], X[s]),
        "overlap": lambda s: region_overlap(masks[s], X[s]),
        "auroc": lambda s: image_auroc(masks[s], X[s].max(axis=(1, 2))),
    }
    found = cross_validate(Bright(), X, masks, cv=2, scoring=SCORERS)
    for name, scorer in SCORERS.items():
        by_hand = [expected[name](slice(0, 3)), expected[name](slice(3, 6))]
        np.testing.assert_allclose(found[f"test_{name}"], by_hand)
        again = cross_val_score(Bright(), list(X), list(masks), cv=2, scoring=scorer)
        np.testing.assert_allclose(again, by_hand)
        assert repr(pickle.loads(pickle.dumps(scorer))) == repr(scorer)


def test_scorers_in_searches(spots):
    X, masks = spots
    X, masks = X[[0, 1, 6, 2, 3, 7]], masks[[0, 1, 6, 2, 3, 7]]
    grid = GridSearchCV(
        Bright(), {"threshold": [0.01, 0.6, 0.99]}, scoring=pixel_f1_scorer, cv=2
    ).fit(X, masks)
    assert grid.best_params_ == {"threshold": 0.6}
    search = OptunaSearchCV(
        Bright(), {"threshold": [0.01, 0.6, 0.99]}, n_trials=3, cv=2, random_state=0,
        scoring=SCORERS, refit="f1",
    ).fit(X, masks)  # fmt: skip
    assert search.best_params_ == {"threshold": 0.6}
    assert np.isfinite(search.cv_results_["mean_test_overlap"]).all()
