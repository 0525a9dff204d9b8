"""Weights of samples and classes, scaled to a mean of one. Loads no Keras."""

from numbers import Real
from typing import Any

import numpy as np
from scipy.sparse import issparse

from sklstm.estimators._labels import is_missing
from sklstm.images._validate import to_numpy


def check_sample_weight(sample_weight: Any, n_samples: int) -> np.ndarray:
    """Return one weight for each sample.

    Parameters
    ----------
    sample_weight : array-like of shape (n_samples,), float or None
        Weight of each sample, or one weight for all. None means 1.
    n_samples : int
        Required number of weights.

    Returns
    -------
    ndarray of shape (n_samples,), float64
        Weights that are finite and not negative.

    Raises
    ------
    ValueError
        If the weights cannot be used.
    TypeError
        If they are sparse or cannot be converted to an array.
    """
    if isinstance(sample_weight, str):
        instead = "give one number for each sample"
        if sample_weight == "balanced":
            instead = "set class_weight='balanced' to weigh classes by their frequency"
        raise ValueError(
            f"sample_weight={sample_weight!r} is a string, but weights are numbers: "
            f"{instead}."
        )
    if issparse(sample_weight):
        raise TypeError(
            "sample_weight is sparse, but must be dense: use sample_weight.toarray()."
        )
    if sample_weight is None or isinstance(sample_weight, Real):
        one = 1.0 if sample_weight is None else sample_weight
        sample_weight = np.full(n_samples, one)
    # In a list of numbers and strings, NumPy would turn the numbers into strings.
    plain = isinstance(sample_weight, list | tuple)
    given: Any = to_numpy(
        sample_weight, "sample_weight", dtype=object if plain else None
    )
    if given.shape != (n_samples,):
        raise ValueError(
            f"sample_weight has the shape {given.shape}, but X has {n_samples} "
            f"samples: give one weight for each, shape {(n_samples,)}."
        )
    if given.dtype == object:
        given = [np.nan if is_missing(one) else one for one in given]
    elif given.dtype.kind not in "buif":
        given = given.tolist()
    foreign = [one for one in given if not isinstance(one, Real | np.bool_)]
    if foreign:
        raise ValueError(
            f"sample_weight has {foreign[0]!r} among its entries, but weights are "
            "numbers: give one for each sample."
        )
    weights = _as_floats(given)
    bad = ~np.isfinite(weights)
    if bad.any():
        raise ValueError(
            f"Input sample_weight contains NaN or infinity: {np.count_nonzero(bad)} of "
            f"{n_samples} weights, the first is sample_weight[{bad.argmax()}]."
        )
    if (weights < 0).any():
        raise ValueError(
            f"sample_weight has negative values, down to {weights.min():.3g}: use 0 to "
            "leave a sample out."
        )
    return weights


def class_weights(
    class_weight: Any,
    classes: np.ndarray,
    codes: np.ndarray,
    sample_weight: np.ndarray,
) -> np.ndarray:
    """Return the weight of each class by the rules of scikit-learn.

    Parameters
    ----------
    class_weight : dict, "balanced" or None
        Weights by label. Classes that the dict does not name have the weight 1. A dict
        that names all classes may name others too, because a fold may lack a class.
        "balanced" gives all classes that occur the same total weight.
    classes : ndarray of shape (n_classes,)
        Labels.
    codes : ndarray of shape (n,)
        Classes of the samples, as indices into `classes`.
    sample_weight : ndarray of shape (n,)
        Weights of the samples.

    Returns
    -------
    ndarray of shape (n_classes,), float64
        Weights of the classes. "balanced" divides the total weight of all samples by
        the number of classes that occur and by the total weight of the class. The
        weight of a class without samples is 0.

    Raises
    ------
    ValueError
        If a dict has an unknown label and leaves a class out, or if a weight is not a
        finite number of at least 0.
    """
    if class_weight is None:
        return np.ones(len(classes))
    if class_weight == "balanced":
        totals = np.bincount(codes, sample_weight, minlength=len(classes))
        present = totals > 0
        shares = np.zeros(len(classes))
        shares[present] = totals.sum() / present.sum() / totals[present]
        return shares
    labels = classes.tolist()
    silent = [label for label in labels if label not in class_weight]
    keys = [key.item() if isinstance(key, np.generic) else key for key in class_weight]
    unknown = [key for key in keys if key not in labels]
    if unknown and silent:
        raise ValueError(
            f"class_weight has the keys {unknown}, which are not among the classes "
            f"{labels}, and none for {silent}: use the labels of y as keys, and name "
            "all of them if a part of the data may lack some."
        )
    given = [class_weight.get(label, 1.0) for label in labels]
    weights = np.full(len(labels), np.nan)
    if all(isinstance(one, Real) for one in given):
        weights = _as_floats(given)
    if not np.isfinite(weights).all():
        raise ValueError(
            f"class_weight has the weights {given}: each must be a finite number."
        )
    if (weights < 0).any():
        raise ValueError(
            f"class_weight has negative values, down to {weights.min():.3g}: use 0 to "
            "leave a class out."
        )
    return weights


def _as_floats(numbers: Any) -> np.ndarray:
    try:
        return np.asarray(numbers, dtype=np.float64)
    except OverflowError:  # a whole number beyond 1e308
        return np.full(len(numbers), np.inf)


def multiply(of_samples: np.ndarray, of_classes: np.ndarray) -> np.ndarray:
    """Multiply the weight of each sample by the weight of its class.

    Raises
    ------
    ValueError
        If no product is above zero, or if float64 cannot hold one.
    """
    with np.errstate(over="ignore", under="ignore"):
        weights = of_samples * of_classes
    if not weights.any():
        raise ValueError(
            "Every sample has weight zero, by sample_weight or class_weight: nothing "
            "is left to train on."
        )
    if not np.isfinite(weights).all():
        raise ValueError(
            "sample_weight times class_weight is beyond what float64 can hold: only "
            "the proportions of weights count, so give smaller ones."
        )
    return weights


def mean_weight(weights: np.ndarray) -> float:
    """Return the mean of the weights above zero, without overflow."""
    weights = weights[weights > 0]
    largest = weights.max()  # the sum of large weights could be infinite
    return float(largest * np.mean(weights / largest))


def rescale(weights: np.ndarray, mean: float | None = None) -> np.ndarray:
    """Divide weights by their mean, or by a given mean.

    Parameters
    ----------
    weights : ndarray of shape (n,), float64
        Weights that are not negative.
    mean : float or None
        Divisor. If None, use the mean of the weights above zero.

    Returns
    -------
    ndarray of shape (n,), float32
        Scaled weights. Those that are too small for float32 are zero.

    Raises
    ------
    ValueError
        If all scaled weights are zero.
    """
    with np.errstate(over="ignore", under="ignore"):
        mean = mean_weight(weights) if mean is None else mean
        found = (weights / mean).astype(np.float32)
    if not found.any():
        raise ValueError(
            f"sample_weight times class_weight is {weights.max():.3g} at most, nothing "
            f"beside the {mean:.3g} of the first call of partial_fit: give weights on "
            "the scale of that call."
        )
    return found
