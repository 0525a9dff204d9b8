"""Metrics for ordered grades."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
from sklearn.exceptions import UndefinedMetricWarning
from sklearn.metrics import make_scorer
from sklearn.utils.validation import (
    check_array,
    check_consistent_length,
    column_or_1d,
)

__all__ = ["quadratic_kappa_scorer", "quadratic_weighted_kappa"]


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
