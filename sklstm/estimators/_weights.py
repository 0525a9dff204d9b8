"""Weights of samples and classes: checked, multiplied, brought to a mean of one."""

from numbers import Real
from typing import Any

import numpy as np
from scipy.sparse import issparse

from sklstm.estimators._labels import is_missing
from sklstm.images import to_numpy


def check_sample_weight(sample_weight: Any, n_samples: int) -> np.ndarray:
    """Return one weight for each sample.

    Parameters
    ----------
    sample_weight : array-like of shape (n_samples,), float or None
        Weight of each sample, or of all. None is 1.
    n_samples : int
        How many there must be.

    Returns
    -------
    ndarray of shape (n_samples,), float64
        The weights, finite and not negative.

    Raises
    ------
    ValueError
        If they are anything else.
    TypeError
        If they are sparse, or cannot be made an array.
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
    # Of a list NumPy would make strings of numbers beside strings.
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
    """Return the weight of every class, by the rules of scikit-learn.

    Parameters
    ----------
    class_weight : dict, "balanced" or None
        Labels to weights. A dict that names some of the classes leaves the others at
        1, and one that names all may name more, since a fold may lack a class.
        "balanced" gives all classes that occur the same total weight.
    classes : ndarray of shape (n_classes,)
        Labels.
    codes : ndarray of shape (n,)
        The samples' classes, as places in `classes`.
    sample_weight : ndarray of shape (n,)
        Weights of the samples.

    Returns
    -------
    ndarray of shape (n_classes,), float64
        "balanced": the total weight of all samples, divided by the number of classes
        and by the total weight of the class; 0 for a class without samples.

    Raises
    ------
    ValueError
        If a dict names what is no class and leaves a class out, or if a weight is not a
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
    """Multiply the weight of each sample by that of its class.

    Raises
    ------
    ValueError
        If nothing is above zero, or float64 cannot hold a product.
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
    """Return the mean of those above zero, whatever their size."""
    weights = weights[weights > 0]
    largest = weights.max()  # without it, a sum of large ones would be infinite
    return float(largest * np.mean(weights / largest))


def rescale(weights: np.ndarray, mean: float | None = None) -> np.ndarray:
    """Divide weights by their mean, or by that of others.

    Parameters
    ----------
    weights : ndarray of shape (n,), float64
        Not negative.
    mean : float or None
        What they are divided by. None for the mean of those above zero.

    Returns
    -------
    ndarray of shape (n,), float32
        Weights too small beside the mean for float32 are zero.

    Raises
    ------
    ValueError
        If that is true of all of them.
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
