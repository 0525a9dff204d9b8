"""Metrics for ordered grades and for probabilities."""

from __future__ import annotations

import warnings
from numbers import Integral
from typing import Any

import numpy as np
from sklearn.exceptions import UndefinedMetricWarning
from sklearn.metrics import make_scorer
from sklearn.utils.validation import (
    check_array,
    check_consistent_length,
    column_or_1d,
)

__all__ = [
    "expected_calibration_error",
    "quadratic_kappa_scorer",
    "quadratic_weighted_kappa",
]


def expected_calibration_error(
    y_true: Any,
    y_proba: Any,
    *,
    labels: Any = None,
    pos_label: Any = None,
    n_bins: int = 15,
    strategy: str = "quantile",
) -> float:
    """Compute the expected calibration error of the most probable class.

    The samples are sorted by the probability of their most probable class into bins of
    equally many samples. The error is the mean distance, over the samples, between the
    mean probability of their bin and its accuracy [1]_ [2]_. It is 0 if, of the samples
    that are predicted with a probability of 0.8, four of five are right.

    Parameters
    ----------
    y_true : array-like of shape (n_samples,)
        True labels.
    y_proba : array-like of shape (n_samples, n_classes)
        Probabilities of the classes.
    labels : array-like of shape (n_classes,), default=None
        Labels of the columns, such as ``classes_``. If None, use the sorted labels that
        occur in `y_true`.
    pos_label : label, default=None
        If not None, take the probability of this class in place of that of the most
        probable class, and its frequency in place of the accuracy.
    n_bins : int, default=15
        Number of bins, at most the number of samples.
    strategy : {"quantile", "uniform"}, default="quantile"
        "quantile" makes bins of equally many samples, and equal probabilities share a
        bin. "uniform" divides the range from 0 to 1 into bins of equal width, as in
        [1]_.

    Returns
    -------
    float
        The error, in [0, 1]. A small sample has an error above 0 by chance.

    Raises
    ------
    ValueError
        If the arrays differ in length, if the columns are not as many as the labels, if
        a label is unknown, if `y_proba` has values outside [0, 1], or if `strategy` is
        unknown.

    See Also
    --------
    sklstm.inspection.ReliabilityDisplay : Plot of the accuracy in each bin.

    References
    ----------
    .. [1] C. Guo, G. Pleiss, Y. Sun and K. Q. Weinberger, "On calibration of modern
       neural networks", ICML 2017.
    .. [2] J. Nixon et al., "Measuring calibration in deep learning", CVPR Workshops
       2019.

    Examples
    --------
    >>> from sklstm.metrics import expected_calibration_error
    >>> y_proba = [[0.8, 0.2]] * 10
    >>> float(round(expected_calibration_error([0] * 8 + [1] * 2, y_proba), 3))
    0.0
    >>> float(round(expected_calibration_error([0] * 5 + [1] * 5, y_proba), 3))
    0.3
    """
    predicted, happened = predicted_and_happened(y_true, y_proba, labels, pos_label)
    bins = calibration_bins(predicted, n_bins, strategy)
    gaps = np.bincount(bins, predicted - happened)
    return float(np.abs(gaps).sum() / len(predicted))


def predicted_and_happened(
    y_true: Any, y_proba: Any, labels: Any, pos_label: Any
) -> tuple[np.ndarray, np.ndarray]:
    """Return a probability for each sample, and whether what it predicts is true.

    The parameters are those of `expected_calibration_error`.
    """
    true = column_or_1d(y_true)
    probabilities = check_array(y_proba, dtype=np.float64, input_name="y_proba")
    check_consistent_length(true, probabilities)
    low, high = probabilities.min(), probabilities.max()
    # Rounding in float32 may lead out of the range.
    if low < -1e-5 or high > 1 + 1e-5:
        raise ValueError(
            f"y_proba has values from {low:.4g} to {high:.4g}; probabilities must be "
            "between 0 and 1."
        )
    known = np.unique(true) if labels is None else column_or_1d(labels)
    if len(known) != probabilities.shape[1]:
        raise ValueError(
            f"y_proba has {probabilities.shape[1]} columns, but there are {len(known)} "
            "labels: pass labels=classes_."
        )
    unknown = np.setdiff1d(true, known)
    if len(unknown):
        raise ValueError(
            f"y_true has the labels {unknown.tolist()}, which are not among labels, "
            f"{known.tolist()}."
        )
    if pos_label is None:
        right = known[probabilities.argmax(axis=1)] == true
        return probabilities.max(axis=1), right
    places = np.flatnonzero(known == pos_label)
    if len(places) != 1:
        raise ValueError(
            f"pos_label={pos_label!r} must be one of the labels, {known.tolist()}."
        )
    return probabilities[:, places[0]], true == pos_label


def calibration_bins(predicted: np.ndarray, n_bins: int, strategy: str) -> np.ndarray:
    """Return the number of the bin of each probability. Bins may be empty."""
    if not isinstance(n_bins, Integral) or n_bins < 1:
        raise ValueError(f"n_bins={n_bins!r} must be a whole number, 1 or more.")
    if strategy == "uniform":
        return np.searchsorted(np.linspace(0, 1, n_bins + 1)[1:-1], predicted)
    if strategy != "quantile":
        raise ValueError(f"strategy={strategy!r} must be 'quantile' or 'uniform'.")
    # Equal probabilities belong to one bin, or their order would matter.
    _, places, counts = np.unique(predicted, return_inverse=True, return_counts=True)
    middle = np.cumsum(counts) - counts / 2
    n = len(predicted)
    return np.floor(middle * min(n_bins, n) / n).astype(int)[places]


def quadratic_weighted_kappa(
    y_true: Any, y_pred: Any, *, sample_weight: Any = None
) -> float:
    """Compute the quadratically weighted kappa of two sets of grades.

    Cohen's kappa with quadratic weights [1]_ divides the mean squared distance between
    true and predicted grades by its expectation for independent grades, and subtracts
    the ratio from 1. The kappa is 1 for perfect agreement, 0 for agreement by chance
    and negative for less than that. scikit-learn's ``cohen_kappa_score(...,
    weights="quadratic")`` measures distances between the positions of the grades among
    the labels that occur: in a fold without grade 2, it takes 1 and 3 as neighbors.
    This function measures distances between the grades themselves.

    Parameters
    ----------
    y_true, y_pred : array-like of shape (n_samples,)
        True and predicted grades, as numbers.
    sample_weight : array-like of shape (n_samples,), default=None
        Sample weights. If None, all samples have the same weight.

    Returns
    -------
    float
        The kappa, at most 1. It is NaN if all true and predicted grades are the same.

    Raises
    ------
    ValueError
        If the grades are not numbers, or if the arrays differ in length.

    Warns
    -----
    UndefinedMetricWarning
        If all true and predicted grades are the same.

    References
    ----------
    .. [1] J. Cohen, "Weighted kappa: nominal scale agreement with provision for scaled
       disagreement or partial credit", Psychological Bulletin 70(4), 1968.

    Examples
    --------
    >>> from sklstm.metrics import quadratic_weighted_kappa
    >>> round(quadratic_weighted_kappa([0, 1, 3, 4], [0, 1, 4, 4]), 3)
    0.957
    """
    true, predicted = _grades("y_true", y_true), _grades("y_pred", y_pred)
    check_consistent_length(true, predicted, sample_weight)
    weights = None
    if sample_weight is not None:
        weights = check_array(
            sample_weight, ensure_2d=False, dtype=float, input_name="sample_weight"
        )
    middle = np.average(true, weights=weights)
    true, predicted = true - middle, predicted - middle
    observed = np.average((true - predicted) ** 2, weights=weights)
    # The expectation of (a - b)^2 for independent a and b is that of a^2 + b^2 if a has
    # the mean 0.
    second = np.average(true**2 + predicted**2, weights=weights)
    if second == 0:
        warnings.warn(
            "The kappa of grades that are all the same is not defined: NaN.",
            UndefinedMetricWarning,
            stacklevel=2,
        )
        return float("nan")
    return float(1 - observed / second)


def _grades(name: str, values: Any) -> np.ndarray:
    values = column_or_1d(values)
    if values.dtype.kind not in "buif":
        raise ValueError(
            f"{name} must hold grades as numbers, whose distances count; it is "
            f"{values.dtype}."
        )
    return check_array(values, ensure_2d=False, dtype=np.float64, input_name=name)


quadratic_kappa_scorer = make_scorer(quadratic_weighted_kappa)
