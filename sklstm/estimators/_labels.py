"""Classes, weights and the split for early stopping: NumPy and scikit-learn alone."""

import warnings
from numbers import Real
from typing import Any

import numpy as np
from sklearn.model_selection import StratifiedGroupKFold, train_test_split
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_array, column_or_1d


def check_labels(
    y: Any, n_samples: int, name: str = "y", samples: str = "X"
) -> np.ndarray:
    """Return `y` as a vector of class labels.

    Parameters
    ----------
    y : array-like of shape (n_samples,)
        Labels of any kind scikit-learn takes for classes.
    n_samples : int
        How many there must be.
    name, samples : str
        What messages call the labels and the samples they belong to.

    Returns
    -------
    ndarray of shape (n_samples,)
        The labels.

    Raises
    ------
    ValueError
        If they are missing, continuous, not one-dimensional, or too few or many.
    """
    if y is None:
        raise ValueError(
            "This classifier requires y to be passed, but the target y is None."
        )
    y = column_or_1d(y, warn=True)
    if len(y) != n_samples:
        raise ValueError(
            f"Found input variables with inconsistent numbers of samples: {samples} "
            f"has {n_samples}, {name} has {len(y)}; every sample needs one label."
        )
    if y.dtype.kind == "f" and not np.isfinite(y).all():
        raise ValueError(
            f"Input {name} contains NaN or infinity: every class must be known."
        )
    check_classification_targets(y)
    try:
        np.unique(y)
    except TypeError:
        kinds = sorted({type(label).__name__ for label in y.tolist()})
        raise ValueError(
            f"{name} mixes labels of the kinds {', '.join(kinds)}, which have no "
            "order: give all as strings or all as numbers, and none missing."
        ) from None
    return y


def encode(y: np.ndarray, classes: np.ndarray, name: str = "y") -> np.ndarray:
    """Return each label's place in `classes` (sorted), int32.

    Raises
    ------
    ValueError
        If a label is not among the classes.
    """
    unknown = np.setdiff1d(y, classes)
    if unknown.size:
        raise ValueError(
            f"{name} has the classes {unknown.tolist()}, which are not among "
            f"{classes.tolist()}: all classes must be known from the first fit on."
        )
    return np.searchsorted(classes, y).astype(np.int32)


def sample_weights(
    codes: np.ndarray,
    classes: np.ndarray,
    sample_weight: Any,
    class_weight: Any,
) -> np.ndarray:
    """Multiply the weights of samples and of their classes.

    Parameters
    ----------
    codes : ndarray of shape (n,)
        The samples' classes, as places in `classes`.
    classes : ndarray of shape (n_classes,)
        Labels.
    sample_weight : array-like of shape (n,), float or None
        Weight of each sample, or of all.
    class_weight : dict, "balanced" or None
        Labels to weights, 1 where the dict is silent; labels that do not occur here
        are allowed, as a fold may lack a class. "balanced" gives
        ``n / (n_classes * n_of_class)`` over the classes that occur.

    Returns
    -------
    ndarray of shape (n,), float32
        The products.

    Raises
    ------
    ValueError
        If weights are negative, not finite, too few or many, or all zero.
    """
    if sample_weight is None or isinstance(sample_weight, Real):
        sample_weight = np.full(
            len(codes), 1.0 if sample_weight is None else sample_weight
        )
    weights = check_array(
        sample_weight, ensure_2d=False, dtype=np.float64, input_name="sample_weight"
    )
    if weights.shape != codes.shape:
        raise ValueError(
            f"sample_weight has the shape {weights.shape}, but X has {len(codes)} "
            f"samples: give one weight for each, shape {codes.shape}."
        )
    if (weights < 0).any():
        raise ValueError(
            f"sample_weight has negative values, down to {weights.min():.3g}: use 0 to "
            "leave a sample out."
        )
    if class_weight == "balanced":
        counts = np.bincount(codes, minlength=len(classes))
        n_present = np.count_nonzero(counts)
        per_class = len(codes) / (n_present * np.maximum(counts, 1))
        weights = weights * per_class[codes]
    elif class_weight is not None:
        if class_weight and not set(class_weight) & set(classes.tolist()):
            raise ValueError(
                f"class_weight names {list(class_weight)}, and none of the classes "
                f"{classes.tolist()}: use the labels of y as keys."
            )
        given = [class_weight.get(label, 1.0) for label in classes.tolist()]
        try:
            per_class = np.array(given, dtype=float)
        except (TypeError, ValueError):
            per_class = np.array(np.nan)
        if not np.isfinite(per_class).all():
            raise ValueError(
                f"class_weight has the weights {given}: each must be a finite number."
            )
        if (per_class < 0).any():
            raise ValueError(
                f"class_weight has negative values, down to {per_class.min():.3g}: use "
                "0 to leave a class out."
            )
        weights = weights * per_class[codes]
    if not weights.any():
        raise ValueError(
            "Every sample has weight zero, by sample_weight or class_weight: nothing "
            "is left to train on."
        )
    return weights.astype(np.float32)


def check_groups(groups: Any, n_samples: int) -> np.ndarray:
    """Return `groups` as a vector, one entry a sample."""
    groups = column_or_1d(groups)
    if len(groups) != n_samples:
        raise ValueError(
            f"groups has {len(groups)} entries, but X has {n_samples} samples: give "
            "one for each."
        )
    return groups


def stratified_split(
    codes: np.ndarray,
    fraction: float,
    seed: np.random.SeedSequence,
    groups: np.ndarray | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """Return rows to train on and rows to watch, each with every class.

    Parameters
    ----------
    codes : ndarray of shape (n,)
        Classes.
    fraction : float
        Part to watch, in (0, 1).
    seed : numpy.random.SeedSequence
        Determines the split.
    groups : ndarray of shape (n,), optional
        Rows of one group go to one side; as near to the fraction as they allow.

    Returns
    -------
    train, watched : ndarray
        Row numbers, sorted.

    Raises
    ------
    ValueError
        If a class would be missing on either side.
    """
    rows = np.arange(len(codes))
    state = np.random.RandomState(seed.generate_state(1)[0])
    remedy = (
        "raise validation_fraction, give X_val and y_val to fit, or set "
        "early_stopping=False."
    )
    try:
        if groups is None:
            train, watched = train_test_split(
                rows, test_size=fraction, stratify=codes, random_state=state
            )
        else:
            train, watched = _split_groups(codes, fraction, groups, state)
    except ValueError as error:
        raise ValueError(
            f"validation_fraction={fraction} of {len(codes)} samples leaves a class "
            f"out ({error}): {remedy}"
        ) from error
    classes = np.unique(codes)
    for part, name in ((train, "training"), (watched, "validation")):
        if len(np.unique(codes[part])) < len(classes):
            raise ValueError(
                f"validation_fraction={fraction} of {len(codes)} samples leaves a "
                f"class out of the {name} part: {remedy}"
            )
    return np.sort(train), np.sort(watched)


def _split_groups(
    codes: np.ndarray, fraction: float, groups: np.ndarray, state: Any
) -> tuple[np.ndarray, np.ndarray]:
    """Split by groups; of the folds the first that has every class on both sides."""
    n_groups = len(np.unique(groups))
    if n_groups < 2:
        raise ValueError("all samples are of one group")
    n_folds = min(max(2, round(1 / fraction)), n_groups)
    folds = StratifiedGroupKFold(n_folds, shuffle=True, random_state=state)
    with warnings.catch_warnings():
        # A class of fewer members than folds: the caller looks for that.
        warnings.filterwarnings("ignore", "The least populated class", UserWarning)
        splits = list(folds.split(codes, codes, groups))
    n_classes = len(np.unique(codes))

    def is_whole(split: tuple) -> bool:
        return all(len(np.unique(codes[part])) == n_classes for part in split)

    return next(filter(is_whole, splits), splits[0])
