"""Intervals of means of bounded values, such as an accuracy, with and without groups.

The usual interval of a mean has length zero if all values are equal, which an accuracy
of 1 on twenty images does not deserve. None of the intervals here has length zero.

Without groups, values of different images are independent. With groups, such as
patients, only values of different groups are.
"""

from __future__ import annotations

import math

import numpy as np
from scipy import stats


def accuracy_interval(
    values: np.ndarray, groups: np.ndarray | None, confidence: float
) -> tuple[float, float]:
    """Return the interval of Wilson [1]_ of the mean of values from 0 to 1.

    Parameters
    ----------
    values : ndarray of shape (n,)
        1 for a right and 0 for a wrong prediction, or the mean of several.
    groups : ndarray of int, shape (n,), or None
        Numbers of the groups, from 0 on. The number of images is divided by the design
        effect [2]_: the variance of the mean that the groups show, divided by that of
        independent images. It counts as 1 at least. If all values are 0 or all are 1,
        each group counts as one image.
    confidence : float
        Probability that the interval covers the accuracy.

    References
    ----------
    .. [1] E. B. Wilson, "Probable inference, the law of succession, and statistical
       inference", Journal of the American Statistical Association 22, 1927.
    .. [2] J. N. K. Rao and A. J. Scott, "A simple method for the analysis of clustered
       binary data", Biometrics 48, 1992.
    """
    n = float(len(values))
    mean = float(values.mean())
    factor = _quantile(groups, confidence)
    if groups is not None:
        sums = np.bincount(groups, values - mean)
        independent = mean * (1 - mean) / n
        if independent > 0:
            variance = len(sums) / (len(sums) - 1) * float(sums @ sums) / n**2
            n /= max(1.0, variance / independent)
        else:
            n = float(len(sums))
    ratio = factor**2 / n
    centre = (mean + ratio / 2) / (1 + ratio)
    half = factor * math.sqrt(mean * (1 - mean) / n + ratio / (4 * n)) / (1 + ratio)
    # At 0 and 1, rounding could put the mean outside.
    return max(0.0, min(mean, centre - half)), min(1.0, max(mean, centre + half))


def difference_interval(
    values: np.ndarray, groups: np.ndarray | None, confidence: float
) -> tuple[float, float]:
    """Return the interval of Agresti and Min [1]_ of a mean of paired differences.

    It adds half an image to each cell of the table of right and wrong predictions
    before and after. With groups, it adds groups of the mean size, the variance is that
    between groups, and the quantile is that of Student's t distribution.

    Parameters
    ----------
    values : ndarray of shape (n,)
        Differences of two values from 0 to 1.
    groups : ndarray of int, shape (n,), or None
        As in `accuracy_interval`.
    confidence : float
        Probability that the interval covers the difference.

    References
    ----------
    .. [1] A. Agresti and Y. Min, "Simple improved confidence intervals for comparing
       matched proportions", Statistics in Medicine 24, 2005.
    """
    added = np.array([-1.0, 0.0, 1.0]), np.array([0.5, 1.0, 0.5])
    low, high = _with_added(values, groups, confidence, *added)
    return max(-1.0, low), min(1.0, high)


def area_interval(
    values: np.ndarray, groups: np.ndarray | None, confidence: float
) -> tuple[float, float]:
    """Return an interval of the mean of values from 0 to 1 that need not be 0 or 1.

    As Agresti and Caffo [1]_ do for proportions, it adds one image of the value 0 and
    one of the value 1. With groups it does as `difference_interval` does.

    Parameters
    ----------
    values : ndarray of shape (n,)
        For each image, the area under its own curve.
    groups : ndarray of int, shape (n,), or None
        As in `accuracy_interval`.
    confidence : float
        Probability that the interval covers the mean.

    References
    ----------
    .. [1] A. Agresti and B. Caffo, "Simple and effective confidence intervals for
       proportions and differences of proportions result from adding two successes and
       two failures", The American Statistician 54, 2000.
    """
    added = np.array([0.0, 1.0]), np.array([1.0, 1.0])
    low, high = _with_added(values, groups, confidence, *added)
    return max(0.0, low), min(1.0, high)


def _with_added(
    values: np.ndarray,
    groups: np.ndarray | None,
    confidence: float,
    added: np.ndarray,
    weights: np.ndarray,
) -> tuple[float, float]:
    """Return the interval of a mean after images, or groups of the mean size, join."""
    sizes = np.ones(len(values)) if groups is None else np.bincount(groups)
    sums = values if groups is None else np.bincount(groups, values)
    size = float(sizes.mean())
    total = len(values) + size * weights.sum()
    mean = (sums.sum() + size * (weights @ added)) / total
    squares = np.square(sums - sizes * mean).sum()
    squares += weights @ np.square(size * (added - mean))
    half = _quantile(groups, confidence) * math.sqrt(squares) / total
    plain = float(values.mean())
    return min(plain, float(mean - half)), max(plain, float(mean + half))


def _quantile(groups: np.ndarray | None, confidence: float) -> float:
    upper = (1 + confidence) / 2
    if groups is None:
        return float(stats.norm.ppf(upper))
    return float(stats.t.ppf(upper, int(groups.max())))
