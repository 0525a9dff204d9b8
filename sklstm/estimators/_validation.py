"""The validation data of a classifier. Loads no Keras."""

from typing import Any

import numpy as np

from sklstm.estimators._labels import check_both_given, check_labels, encode
from sklstm.estimators._samples import check_samples
from sklstm.training._data import take_rows


def checked_validation(
    classifier: Any, X_val: Any, y_val: Any
) -> tuple[np.ndarray, np.ndarray]:
    """Return the samples and class numbers of the validation data.

    Parameters
    ----------
    classifier : LSTMImageClassifier
        It knows the classes and the shape of a sample already.
    X_val, y_val : array-like
        What `fit` was given.

    Returns
    -------
    x_val : ndarray of shape (n, ...)
        Samples in the form that the network reads.
    codes : ndarray of int, shape (n,)
        Class numbers.

    Raises
    ------
    TypeError or ValueError
        If one of both is missing, or if they do not suit X and y.
    """
    check_both_given(X_val=X_val, y_val=y_val)
    try:
        x_val = check_samples(classifier, X_val, reset=False)
    except (TypeError, ValueError) as error:
        # The message is about X. Here it has to be about X_val.
        reason = str(error)
        if "was fitted on" in reason:
            reason = (reason.rpartition(";")[0] or reason).removeprefix("X ")
            reason = f"it {reason}"
            reason += (
                "; bring X_val to the form of X (in a Pipeline, "
                "transform_input=['X_val'] leads it through the same steps)."
            )
        raise type(error)(f"X_val cannot be used: {reason}") from None
    labels = check_labels(y_val, len(x_val), "y_val", "X_val")
    return x_val, encode(labels, classifier.classes_, "y_val")


def weighted_validation(
    x_val: np.ndarray, codes: np.ndarray, per_class: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Weight validation data by their classes, and leave out those of weight zero.

    Parameters
    ----------
    x_val : ndarray of shape (n, ...)
        Samples.
    codes : ndarray of int, shape (n,)
        Class numbers.
    per_class : ndarray of shape (n_classes,)
        Weights of the classes.

    Returns
    -------
    tuple of ndarray
        Samples, class numbers and weights of those that are left.

    Raises
    ------
    ValueError
        If none is left.
    """
    weights = per_class[codes]
    used = weights > 0
    if not used.any():
        raise ValueError(
            "class_weight gives every class in y_val the weight zero: nothing is left "
            "to watch."
        )
    if not used.all():
        x_val = take_rows(x_val, np.flatnonzero(used))
    return x_val, codes[used], weights[used]
