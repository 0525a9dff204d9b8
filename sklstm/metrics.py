"""Figures for ordered grades."""

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
    """Measure the agreement of grades: Cohen's kappa, distances squared as weights.

    One minus the mean squared distance of the grades over what it would be, were the
    two independent [1]_: 1 where they agree, 0 at chance, negative below. It is
    scikit-learn's ``cohen_kappa_score(..., weights="quadratic")``, but the distance is
    that of the grades themselves. There it is that of their places among the labels
    that occur: in a fold without grade 2, a 3 would be next to a 1.

    Parameters
    ----------
    y_true, y_pred : array-like of shape (n,)
        Grades, as numbers.
    sample_weight : array-like of shape (n,), default=None
        Weight of each sample.

    Returns
    -------
    float
        At most 1. NaN, with a warning, where all grades, true and predicted, are one.

    Raises
    ------
    ValueError
        If the grades are no numbers, or differ in number.

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
    # Of independent a and b, the mean of (a - b)^2, where that of a is 0.
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
