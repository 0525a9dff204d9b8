"""Deletion and insertion of pixels, which test attributions."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from sklearn.utils import check_random_state

from sklstm.images._validate import is_count
from sklstm.inspection._attribution import ScoredImages


@dataclass
class Faithfulness:
    """Scores of images from which pixels were deleted, or in which they were inserted.

    `faithfulness` returns it.

    Parameters
    ----------
    fractions : ndarray of shape (n_points + 1,)
        Parts of the pixels that were changed, from 0 to 1.
    deletion : ndarray of shape (n, n_points + 1)
        Score of each image without its first pixels.
    insertion : ndarray of shape (n, n_points + 1)
        Score of the baseline of each image with its first pixels.
    """

    fractions: np.ndarray
    deletion: np.ndarray
    insertion: np.ndarray

    @property
    def deletion_area(self) -> np.ndarray:
        """Area under the curve of deletion, (n,). Low is good."""
        return np.trapezoid(self.deletion, self.fractions, axis=1)

    @property
    def insertion_area(self) -> np.ndarray:
        """Area under the curve of insertion, (n,). High is good."""
        return np.trapezoid(self.insertion, self.fractions, axis=1)


def faithfulness(
    estimator: Any,
    X: Any,
    attributions: Any,
    *,
    target: Any = None,
    baseline: Any = "mean",
    n_points: int = 16,
    batch_size: int = 128,
    random_state: Any = None,
) -> Faithfulness:
    """Measure the score as the pixels of high attribution are deleted and inserted.

    If attributions are faithful, the score falls quickly as the pixels of the highest
    attribution are replaced by those of a baseline first, and rises quickly as they are
    put into the baseline first [1]_. Compare with random attributions, because some
    images lose and regain their class quickly whatever the order.

    Parameters
    ----------
    estimator : classifier
        Fitted classifier, or a Pipeline or search that ends in one.
    X : array-like
        Samples, as ``predict_proba`` takes them.
    attributions : array-like of shape (n, height, width) or (n, depth, height, width)
        Attributions, such as those of `attribute`. Only their order counts.
    target : label or array-like of shape (n,), default=None
        Class whose probability is the score, for all images or for each. If None, the
        predicted class of each image.
    baseline : {"mean", "blur"}, float or array-like, default="mean"
        What deleted pixels show, see `attribute`.
    n_points : int, default=16
        Number of equal parts in which the pixels are changed.
    batch_size : int, default=128
        Number of changed images that are predicted at a time.
    random_state : int, RandomState instance or None, default=None
        Seed for the order of pixels of equal attribution.

    Returns
    -------
    Faithfulness
        The curves, with the areas under them.

    Raises
    ------
    ValueError
        If `attributions` do not have the shape of the images, or are not finite.

    See Also
    --------
    attribute : Attributions of a classifier.

    References
    ----------
    .. [1] V. Petsiuk, A. Das and K. Saenko, "RISE: Randomized input sampling for
       explanation of black-box models", BMVC 2018.

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> from sklearn.naive_bayes import GaussianNB
    >>> from sklstm.inspection import attribute, faithfulness
    >>> X, y = load_digits(n_class=3, return_X_y=True)
    >>> classifier = GaussianNB(var_smoothing=0.1).fit(X, y)
    >>> maps = attribute(classifier, X[:20], occlude=1)
    >>> found = faithfulness(classifier, X[:20], maps, random_state=0)
    >>> bool(found.deletion_area.mean() < found.insertion_area.mean())
    True
    """
    for name, value in (("n_points", n_points), ("batch_size", batch_size)):
        if not is_count(value):
            raise ValueError(f"{name}={value!r} must be a whole number, 1 or more.")
    scored = ScoredImages(estimator, X, batch_size)
    scored.set_target(target)
    base = scored.baseline(baseline)
    n, n_pixels = len(scored.images), math.prod(scored.shape)
    maps = np.asarray(attributions, np.float64)
    if maps.shape != (n, *scored.shape):
        raise ValueError(
            f"attributions have shape {maps.shape}, but the images need "
            f"{(n, *scored.shape)}."
        )
    if not np.isfinite(maps).all():
        raise ValueError("attributions must be finite, and they hold NaN or infinity.")
    ties = check_random_state(random_state).uniform(size=(n, n_pixels))
    order = np.lexsort([ties, -maps.reshape(n, -1)], axis=-1)
    ranks = np.empty_like(order)
    np.put_along_axis(ranks, order, np.arange(n_pixels)[None], axis=1)
    fractions = np.linspace(0, 1, n_points + 1)
    counts = np.rint(fractions * n_pixels)
    whole = scored.images.reshape(n, n_pixels, -1)
    nothing = base.reshape(whole.shape)
    curves = [
        _curve(scored, ranks, counts, start, end)
        for start, end in ((whole, nothing), (nothing, whole))
    ]
    return Faithfulness(counts / n_pixels, *curves)


def _curve(
    scored: ScoredImages,
    ranks: np.ndarray,
    counts: np.ndarray,
    start: np.ndarray,
    end: np.ndarray,
) -> np.ndarray:
    """Return the scores as the first pixels change from `start` to `end`."""
    scores = np.empty((len(ranks), len(counts)))
    for first in range(0, scores.size, scored.batch_size):
        places = np.arange(first, min(first + scored.batch_size, scores.size))
        rows, points = np.divmod(places, len(counts))
        changed = ranks[rows] < counts[points, None]
        batch = np.where(changed[..., None], end[rows], start[rows])
        shaped = batch.reshape(len(rows), *scored.images.shape[1:])
        scores.flat[places] = scored.scores(shaped, rows)
    return scores
