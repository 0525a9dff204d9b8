"""Targets that a classifier trains on, and the loss for them. Loads no Keras."""

from typing import Any

import numpy as np


def softens(classifier: Any) -> bool:
    """Return whether a target of training can lie between the classes."""
    parts = (classifier.label_smoothing, classifier.mixup, classifier.cutmix)
    return any(part > 0 for part in parts)


def one_hot(classifier: Any) -> bool:
    """Return whether the loss receives one-hot targets.

    Parameters
    ----------
    classifier : LSTMImageClassifier
        Its parameters determine the targets.

    Returns
    -------
    bool
        False if the loss receives class numbers.

    Raises
    ------
    ValueError
        If the loss takes class numbers, and targets can lie between the classes.
    """
    loss = classifier.loss
    if loss is None:
        return softens(classifier)
    kind = loss if isinstance(loss, type) else type(loss)
    names = [getattr(loss, "name", None), getattr(loss, "__name__", None)]
    names += [loss, *(parent.__name__ for parent in kind.__mro__)]
    sparse = any("sparse" in str(name).lower() for name in names)
    if sparse and softens(classifier):
        raise ValueError(
            f"loss={loss!r} compares class numbers, and label_smoothing, mixup and "
            "cutmix make targets between the classes: give a loss for one-hot "
            "targets, or leave loss out."
        )
    return not sparse


def loss_of(classifier: Any) -> Any:
    """Return the loss, or the name of the cross-entropy of the targets."""
    prefix = "" if one_hot(classifier) else "sparse_"
    return classifier.loss or f"{prefix}categorical_crossentropy"


def make_targets(
    classifier: Any, codes: np.ndarray, smoothing: float = 0.0
) -> np.ndarray:
    """Return the targets of samples.

    Parameters
    ----------
    classifier : LSTMImageClassifier
        Its parameters and its `classes_` determine the targets.
    codes : ndarray of int, shape (n,)
        Class numbers.
    smoothing : float
        Part of a one-hot target that is spread evenly over all classes.

    Returns
    -------
    ndarray
        Class numbers (n,), or one-hot rows (n, n_classes), float32.
    """
    if not one_hot(classifier):
        return codes
    n_classes = len(classifier.classes_)
    rows = np.eye(n_classes, dtype=np.float32)[codes]
    part = np.float32(smoothing)
    return (1 - part) * rows + part / np.float32(n_classes)
