"""The threshold of the detector."""

from collections.abc import Iterable, Sequence

import numpy as np

# Evenly spaced in log-odds.
THRESHOLDS = 1 / (1 + np.exp(-np.linspace(-6, 6, 49)))
# Of calibrated probabilities, the best threshold is half of the F1 that it reaches. A
# lower one finds the whole of the few large stains that were held out, and many specks
# in other images.
OF_PIXELS = THRESHOLDS[THRESHOLDS > 0.15]


def mean_threshold(thresholds: Sequence[float]) -> float:
    """Return the threshold whose log-odds are the mean of those of others."""
    values = np.asarray(thresholds)
    odds = np.log(values / (1 - values)).mean()
    return float(1 / (1 + np.exp(-odds)))


def best_threshold(
    truth: Sequence[np.ndarray],
    decisions: Iterable[Sequence[np.ndarray]],
    n_draws: int = 200,
    thresholds: np.ndarray = THRESHOLDS,
) -> float:
    """Return the threshold whose decisions have the highest F1.

    The F1 is averaged over resamples of the images. With few images held out, the
    image with the largest defect would decide alone otherwise.

    Parameters
    ----------
    truth : sequence of ndarray
        For each image, 1 or 0 for each pixel or window, or the part of it that is
        defective.
    decisions : iterable of sequences of ndarray of bool
        For each threshold, what it calls defective in each image. Shapes are those of
        `truth`.
    n_draws : int
        Number of resamples besides the images themselves.
    thresholds : ndarray
        The thresholds of the decisions.

    Returns
    -------
    float
        The middle one if several are best.

    References
    ----------
    Lipton, Z. C., Elkan, C. and Naryanaswamy, B. (2014). Optimal thresholding of
    classifiers to maximize F1 measure. ECML PKDD.

    Rubin, D. B. (1981). The Bayesian bootstrap. The Annals of Statistics 9(1).
    """
    hits, chosen = np.empty((2, len(truth), len(thresholds)))
    for k, found_at in zip(range(len(thresholds)), decisions, strict=True):
        for i, (mask, found) in enumerate(zip(truth, found_at, strict=True)):
            hits[i, k] = mask[found].sum()
            chosen[i, k] = np.count_nonzero(found)
    positive = np.array([mask.sum() for mask in truth], float)
    # The weights of the Bayesian bootstrap leave no image out as a whole.
    draws = np.random.default_rng(0).exponential(size=(n_draws, len(positive)))
    draws = np.concatenate([np.ones((1, len(positive))), draws])
    f1 = 2 * draws @ hits / (draws @ chosen + (draws @ positive)[:, None] + 1e-9)
    f1 = f1.mean(axis=0)
    best = np.flatnonzero(f1 >= f1.max() - 1e-12)
    return float(thresholds[best[len(best) // 2]])
