"""Metrics for grades, probabilities, prediction sets and masks of defects."""

from __future__ import annotations

import warnings
from numbers import Integral, Real
from typing import Any

import numpy as np
from scipy.ndimage import label
from sklearn.exceptions import UndefinedMetricWarning
from sklearn.metrics import average_precision_score, make_scorer, roc_auc_score
from sklearn.utils.validation import (
    check_array,
    check_consistent_length,
    column_or_1d,
)

__all__ = [
    "expected_calibration_error",
    "image_auroc",
    "image_auroc_scorer",
    "mean_set_size",
    "pixel_average_precision",
    "pixel_average_precision_scorer",
    "pixel_f1",
    "pixel_f1_scorer",
    "quadratic_kappa_scorer",
    "quadratic_weighted_kappa",
    "region_overlap",
    "region_overlap_scorer",
    "set_coverage",
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


def set_coverage(y_true: Any, sets: Any, *, classes: Any = None) -> float:
    """Compute the part of the prediction sets that hold the true class.

    Parameters
    ----------
    y_true : array-like of shape (n_samples,)
        True labels.
    sets : array-like of shape (n_samples, n_classes), bool
        Whether each class is in the set, as
        `sklstm.model_selection.ConformalClassifier.predict_set` returns it.
    classes : array-like of shape (n_classes,), default=None
        Labels of the columns, such as ``classes_``. If None, use the sorted labels that
        occur in `y_true`.

    Returns
    -------
    float
        The coverage, from 0 to 1.

    Raises
    ------
    ValueError
        If the lengths differ, or a label of `y_true` is not in `classes`.

    Examples
    --------
    >>> from sklstm.metrics import set_coverage
    >>> set_coverage([0, 1, 1, 0], [[1, 0], [1, 1], [1, 0], [1, 0]])
    0.75
    """
    y_true, sets = column_or_1d(y_true), _checked_sets(sets)
    check_consistent_length(y_true, sets)
    names = np.unique(y_true if classes is None else classes)
    if classes is not None and not np.array_equal(names, np.asarray(classes)):
        raise ValueError("classes must be sorted and without repetition.")
    if sets.shape[1] != len(names):
        raise ValueError(
            f"sets has {sets.shape[1]} columns, but there are {len(names)} classes: "
            "give classes=, the labels of the columns."
        )
    unknown = np.setdiff1d(y_true, names)
    if len(unknown):
        raise ValueError(f"y_true holds {unknown.tolist()}, which classes= lacks.")
    rows = np.arange(len(y_true))
    return float(sets[rows, np.searchsorted(names, y_true)].mean())


def mean_set_size(sets: Any) -> float:
    """Compute the mean number of classes in a prediction set.

    Parameters
    ----------
    sets : array-like of shape (n_samples, n_classes), bool
        Whether each class is in the set.

    Returns
    -------
    float
        The mean. Of sets with the same coverage, smaller ones say more.

    Examples
    --------
    >>> from sklstm.metrics import mean_set_size
    >>> mean_set_size([[True, False], [True, True]])
    1.5
    """
    return float(_checked_sets(sets).sum(axis=1).mean())


def _checked_sets(sets: Any) -> np.ndarray:
    sets = np.asarray(sets)
    if sets.ndim != 2 or not len(sets) or not np.isin(sets, (0, 1)).all():
        raise ValueError(
            "sets must be an array (n_samples, n_classes) of bool, one row for each "
            f"sample; got {sets.dtype} of shape {sets.shape}."
        )
    return sets.astype(bool)


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


def pixel_f1(y_true: Any, y_pred: Any) -> float:
    """Compute the F1 score over the pixels of all images together.

    Parameters
    ----------
    y_true : array-like of shape (n, height, width), or list of array-like
        True masks of 0 and 1, or of bool. A list may hold masks that differ in size,
        and None for an image without defects.
    y_pred : array-like of shape (n, height, width), or list of array-like
        Predicted masks of 0 and 1, or of bool.

    Returns
    -------
    float
        The score, in [0, 1]. It is 1 if no pixel is defective and none is predicted to
        be.

    Raises
    ------
    ValueError
        If the masks differ in number or in shape, or have values other than 0 and 1.

    Examples
    --------
    >>> from sklstm.metrics import pixel_f1
    >>> round(pixel_f1([[[0, 1], [0, 1]]], [[[0, 1], [0, 0]]]), 3)
    0.667
    """
    predicted = _as_list("y_pred", y_pred)
    truth = _true_masks(y_true, predicted, "y_pred")
    found = [_as_mask(mask, f"y_pred[{i}]") for i, mask in enumerate(predicted)]
    hits = sum(int((t & f).sum()) for t, f in zip(truth, found, strict=True))
    total = sum(int(t.sum()) + int(f.sum()) for t, f in zip(truth, found, strict=True))
    return 2 * hits / total if total else 1.0


def pixel_average_precision(y_true: Any, y_score: Any) -> float:
    """Compute the average precision over the pixels of all images together.

    Parameters
    ----------
    y_true : array-like of shape (n, height, width), or list of array-like
        True masks, as in `pixel_f1`.
    y_score : array-like of shape (n, height, width), or list of array-like
        Probability of a defect for each pixel, or another score that is high for
        defects.

    Returns
    -------
    float
        The average precision, in [0, 1]. It is NaN if no pixel is defective.

    Raises
    ------
    ValueError
        If masks and scores differ in number or in shape, if a mask has values other
        than 0 and 1, or if a score is not finite.

    Warns
    -----
    UndefinedMetricWarning
        If no pixel is defective.

    See Also
    --------
    sklearn.metrics.average_precision_score : The same for labels of samples.

    Examples
    --------
    >>> from sklstm.metrics import pixel_average_precision
    >>> masks, scores = [[[0, 1], [0, 1]]], [[[0.1, 0.9], [0.4, 0.3]]]
    >>> round(pixel_average_precision(masks, scores), 3)
    0.833
    """
    scores = _score_maps(y_score)
    truth = np.concatenate(
        [mask.ravel() for mask in _true_masks(y_true, scores, "y_score")]
    )
    if not truth.any():
        return _undefined("average precision of pixels", "no pixel is defective")
    return float(
        average_precision_score(truth, np.concatenate([one.ravel() for one in scores]))
    )


def region_overlap(y_true: Any, y_score: Any, *, max_fpr: float = 0.3) -> float:
    """Compute the area under the per-region overlap curve (AU-PRO).

    A region is a connected set of defective pixels of one mask, where pixels that touch
    at a corner are connected. At a threshold, the pixels whose score is at least the
    threshold are found. The overlap of a region is the part of its pixels that is
    found, and the per-region overlap (PRO) is the mean over all regions of all images.
    A small region therefore counts as much as a large one. The false positive rate is
    the part of the pixels without defects, of all images, that is found.

    The score is the area under the PRO as a function of the false positive rate, from 0
    to `max_fpr`, divided by `max_fpr` [1]_. The curve starts at (0, 0), has a point for
    each distinct score, and is linear between points.

    Parameters
    ----------
    y_true : array-like of shape (n, height, width), or list of array-like
        True masks, as in `pixel_f1`.
    y_score : array-like of shape (n, height, width), or list of array-like
        Probability of a defect for each pixel, or another score that is high for
        defects.
    max_fpr : float, default=0.3
        False positive rate up to which the curve is integrated, in (0, 1]. The default
        is that of [1]_.

    Returns
    -------
    float
        The normalized area, in [0, 1]. Scores without information give ``max_fpr / 2``.
        It is NaN if no pixel is defective, or if all are.

    Raises
    ------
    ValueError
        If masks and scores differ in number or in shape, if a mask has values other
        than 0 and 1, if a score is not finite, or if `max_fpr` is outside (0, 1].

    Warns
    -----
    UndefinedMetricWarning
        If no pixel is defective, or if all are.

    References
    ----------
    .. [1] P. Bergmann, K. Batzner, M. Fauser, D. Sattlegger and C. Steger, "The MVTec
       anomaly detection dataset: a comprehensive real-world dataset for unsupervised
       anomaly detection", International Journal of Computer Vision 129, 2021.

    Examples
    --------
    The second of two regions is found only together with half of the other pixels:

    >>> from sklstm.metrics import region_overlap
    >>> region_overlap([[[1, 0, 0, 1]]], [[[0.9, 0.5, 0.1, 0.5]]], max_fpr=0.5)
    0.75
    """
    if not isinstance(max_fpr, Real) or not 0 < max_fpr <= 1:
        raise ValueError(f"max_fpr={max_fpr!r} must be above 0 and at most 1.")
    scores = _score_maps(y_score)
    gains, n_regions, n_good = [], 0, 0
    for mask in _true_masks(y_true, scores, "y_score"):
        regions, n_here = label(mask, structure=np.ones((3, 3)))
        sizes = np.bincount(regions.ravel(), minlength=n_here + 1)
        # What a pixel adds to the sum of overlaps once it is found.
        gain = 1 / np.maximum(sizes, 1)
        gain[0] = 0
        gains.append(gain[regions].ravel())
        n_regions += n_here
        n_good += int(sizes[0])
    if not n_regions or not n_good:
        share = "no pixel is" if n_good else "all pixels are"
        return _undefined("overlap of regions", f"{share} defective")
    gained = np.concatenate(gains)
    flat = np.concatenate([one.ravel() for one in scores])
    order = np.argsort(-flat, kind="stable")
    gained, flat = gained[order], flat[order]
    # Pixels of equal score are found together, at the last of them.
    last = np.append(np.flatnonzero(np.diff(flat)), len(flat) - 1)
    overlap = np.append(0, np.cumsum(gained)[last] / n_regions)
    rate = np.append(0, np.cumsum(gained == 0)[last] / n_good)
    inside = rate <= max_fpr
    x, y = rate[inside], overlap[inside]
    if x[-1] < max_fpr:
        after = int(inside.sum())
        part = (max_fpr - x[-1]) / (rate[after] - x[-1])
        x = np.append(x, max_fpr)
        y = np.append(y, y[-1] + part * (overlap[after] - y[-1]))
    # The sum of the parts of a region may exceed 1 by rounding.
    return min(1.0, float(np.trapezoid(y, x) / max_fpr))


def image_auroc(y_true: Any, y_score: Any) -> float:
    """Compute the area under the ROC curve of images with and without a defect.

    Parameters
    ----------
    y_true : array-like of shape (n, height, width), or list of array-like
        True masks, as in `pixel_f1`. An image with a defective pixel is a positive one.
    y_score : array-like of shape (n,)
        Score of each image, which is high for defects.

    Returns
    -------
    float
        The area, in [0, 1]. It is NaN if all images show a defect, or if none does.

    Raises
    ------
    ValueError
        If masks and scores differ in number, if a mask has values other than 0 and 1,
        or if a score is not finite.

    Warns
    -----
    UndefinedMetricWarning
        If all images show a defect, or if none does.

    See Also
    --------
    sklearn.metrics.roc_auc_score : The same for labels of samples.

    Examples
    --------
    >>> from sklstm.metrics import image_auroc
    >>> image_auroc([[[0, 1]], [[0, 0]], None], [2.0, -1.0, 3.0])
    0.5
    """
    scores = column_or_1d(
        check_array(y_score, ensure_2d=False, dtype=np.float64, input_name="y_score")
    )
    masks = _as_list("y_true", y_true)
    check_consistent_length(masks, scores)
    defective = [
        mask is not None and bool(_as_mask(mask, f"y_true[{i}]").any())
        for i, mask in enumerate(masks)
    ]
    if len(set(defective)) < 2:
        which = "all images show" if defective[0] else "no image shows"
        return _undefined("AUROC of images", f"{which} a defect")
    return float(roc_auc_score(defective, scores))


def _undefined(name: str, reason: str) -> float:
    warnings.warn(
        f"The {name} is not defined, because {reason}: NaN.",
        UndefinedMetricWarning,
        stacklevel=3,
    )
    return float("nan")


def _as_list(name: str, maps: Any) -> list[Any]:
    try:
        given = list(maps)
    except TypeError:
        given = []
    if not given or isinstance(maps, str | bytes | dict) or hasattr(maps, "columns"):
        raise ValueError(
            f"{name} must hold one array for each image; got {type(maps).__name__}."
        )
    return [None if one is None else np.asarray(one) for one in given]


def _as_mask(mask: Any, name: str) -> np.ndarray:
    if mask is None or mask.dtype.kind not in "buif":
        raise ValueError(f"{name} must be a mask of 0 and 1, or of bool.")
    if mask.ndim == 3 and mask.shape[2] in (1, 3) and (mask == mask[..., :1]).all():
        mask = mask[..., 0]  # A mask file that was read in colour.
    if mask.dtype != bool and not ((mask == 0) | (mask == 1)).all():
        raise ValueError(
            f"{name} has values from {mask.min()} to {mask.max()}, but a mask is 0 "
            "and 1."
        )
    return mask.astype(bool)


def _true_masks(
    y_true: Any, maps: list[Any], name: str, true_name: str = "y_true"
) -> list[np.ndarray]:
    """Return a bool mask for each of the maps, which must have its shape."""
    given = _as_list(true_name, y_true)
    if len(given) != len(maps):
        raise ValueError(
            f"{true_name} has {len(given)} masks, but {name} has {len(maps)}: give one "
            "for each image."
        )
    masks = []
    for i, (mask, one) in enumerate(zip(given, maps, strict=True)):
        if one is None or one.ndim != 2:
            raise ValueError(f"{name}[{i}] must have the shape (height, width).")
        if mask is None:
            masks.append(np.zeros(one.shape, bool))
            continue
        mask = _as_mask(mask, f"{true_name}[{i}]")
        if mask.shape != one.shape:
            raise ValueError(
                f"{true_name}[{i}] has the shape {mask.shape}, but {name}[{i}] has "
                f"{one.shape}: a mask has one value for each pixel."
            )
        masks.append(mask)
    return masks


def _score_maps(y_score: Any, name: str = "y_score") -> list[Any]:
    maps = _as_list(name, y_score)
    return [
        None
        if one is None
        else check_array(
            one,
            ensure_2d=False,
            allow_nd=True,
            dtype=[np.float64, np.float32],
            input_name=f"{name}[{i}]",
        )
        for i, one in enumerate(maps)
    ]


class _MaskScorer:
    """Scorer of masks. `make_scorer` takes scores of pixels only from classifiers."""

    def __init__(self, metric: Any, method: str) -> None:
        self.metric = metric
        self.method = method

    def __call__(self, estimator: Any, X: Any, y: Any) -> float:
        return self.metric(y, getattr(estimator, self.method)(X))

    def __repr__(self) -> str:
        return f"{self.metric.__name__}_scorer"


quadratic_kappa_scorer = make_scorer(quadratic_weighted_kappa)
pixel_f1_scorer = _MaskScorer(pixel_f1, "predict")
pixel_average_precision_scorer = _MaskScorer(pixel_average_precision, "predict_proba")
region_overlap_scorer = _MaskScorer(region_overlap, "predict_proba")
image_auroc_scorer = _MaskScorer(image_auroc, "decision_function")
