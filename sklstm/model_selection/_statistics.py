"""Means, intervals and tests of scores on folds whose training parts overlap.

The folds of a cross-validation share most of their training samples, so their scores
vary together, and the usual standard error is too small. The functions here correct the
variance of the mean by the ratio of test and training samples (Nadeau and Bengio).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from scipy import stats


@dataclass(frozen=True)
class Mean:
    """The mean of scores or of differences, with its uncertainty.

    Parameters
    ----------
    value : float
        Mean over the splits.
    scale : float
        Corrected standard error. NaN for a single split.
    df : int
        Degrees of freedom, the number of splits minus one.
    """

    value: float
    scale: float
    df: int

    def interval(self) -> tuple[float, float]:
        """Return the ends of the 95 % interval of Student's t distribution."""
        if self.df < 1:
            return math.nan, math.nan
        half = stats.t.ppf(0.975, self.df) * self.scale
        return self.value - half, self.value + half

    def p_value(self) -> float:
        """Return the two-sided p-value of a mean of zero."""
        if self.df < 1:
            return math.nan
        if self.scale == 0:
            return 1.0 if self.value == 0 else 0.0
        return float(2 * stats.t.sf(abs(self.value) / self.scale, self.df))

    def probabilities(self, rope: float) -> tuple[float, float, float]:
        """Return the probabilities that the mean is below, inside and above a region.

        Parameters
        ----------
        rope : float
            The region of practical equivalence is -rope to rope.
        """
        if self.df < 1:
            return math.nan, math.nan, math.nan
        if self.scale == 0:
            below, above = self.value < -rope, self.value > rope
            return float(below), float(not (below or above)), float(above)
        below = stats.t.cdf((-rope - self.value) / self.scale, self.df)
        above = stats.t.sf((rope - self.value) / self.scale, self.df)
        return float(below), float(np.clip(1 - below - above, 0, 1)), float(above)


def corrected_mean(values: np.ndarray, ratio: float, resolution: float = 0.0) -> Mean:
    """Return the mean over the splits of a repeated cross-validation.

    Parameters
    ----------
    values : ndarray of shape (n_splits,)
        Scores, or differences of the scores of two estimators on the same splits.
    ratio : float
        Number of test samples divided by that of training samples.
    resolution : float
        Smallest difference that a score can show. A score on 20 samples has steps of
        .05, so equal values on few splits do not show that nothing varies.

    Returns
    -------
    Mean
        Over the values that are not NaN. Its scale is ``sqrt((1 / n + ratio) * s**2)``,
        with the variance s**2 of the values [1]_. This is also the scale of the
        posterior distribution of the Bayesian test [2]_ with the correlation ``ratio /
        (1 + ratio)``.

    References
    ----------
    .. [1] C. Nadeau and Y. Bengio, "Inference for the generalization error", Machine
       Learning 52, 2003.
    .. [2] A. Benavoli, G. Corani, J. Demsar and M. Zaffalon, "Time for a change: a
       tutorial for comparing multiple classifiers through Bayesian analysis", Journal
       of Machine Learning Research 18, 2017.
    """
    values = np.asarray(values, float)
    values = values[~np.isnan(values)]
    n = len(values)
    if n < 2:
        return Mean(float(values.mean()) if n else math.nan, math.nan, 0)
    # Equal scores differ by rounding alone.
    spread = 0.0 if np.ptp(values) < 1e-12 else float(values.std(ddof=1))
    # The standard deviation of what is rounded away.
    spread = max(spread, resolution / math.sqrt(12))
    return Mean(float(values.mean()), math.sqrt(1 / n + ratio) * spread, n - 1)


def holm(p_values: np.ndarray) -> np.ndarray:
    """Return p-values that are corrected for their number [1]_.

    Parameters
    ----------
    p_values : ndarray of shape (n,)
        p-values. NaN counts as no test.

    Returns
    -------
    ndarray of shape (n,)
        If all hypotheses are true, the probability that one of these is below .05 is at
        most .05.

    References
    ----------
    .. [1] S. Holm, "A simple sequentially rejective multiple test procedure",
       Scandinavian Journal of Statistics 6, 1979.
    """
    p_values = np.asarray(p_values, float)
    found = np.full(len(p_values), math.nan)
    tested = np.flatnonzero(~np.isnan(p_values))
    order = tested[np.argsort(p_values[tested], kind="stable")]
    factors = len(order) - np.arange(len(order))
    found[order] = np.minimum(np.maximum.accumulate(p_values[order] * factors), 1.0)
    return found


def variances(scores: np.ndarray) -> tuple[float, float]:
    """Return the variance between splits, and that between seeds on the same split.

    Parameters
    ----------
    scores : ndarray of shape (n_splits, n_seeds)
        Scores of one estimator.

    Returns
    -------
    between_splits : float
        Variance of the scores over the splits, without that of the seeds. NaN for one
        split.
    between_seeds : float
        Mean over the splits of the variance over the seeds. NaN for one seed.
    """
    scores = np.asarray(scores, float)
    n_splits, n_seeds = scores.shape
    between = within = math.nan
    if n_seeds > 1:
        within = float(scores.var(axis=1, ddof=1).mean())
    if n_splits > 1:
        between = float(scores.mean(axis=1).var(ddof=1))
        if n_seeds > 1:
            between = max(0.0, between - within / n_seeds)
    return between, within
