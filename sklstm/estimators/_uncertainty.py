"""The uncertainty of predictions and its parts. Loads no Keras."""

from typing import NamedTuple

import numpy as np


class Uncertainty(NamedTuple):
    """The uncertainty of each prediction in nats, and its two parts.

    The arrays have the shape (n,), or (n, height, width) for the pixels of a detector.

    Parameters
    ----------
    total : ndarray of shape (n,)
        Entropy of the mean probabilities.
    data : ndarray of shape (n,)
        Mean entropy of the members: what they agree that the image leaves open.
    model : ndarray of shape (n,)
        The rest, which is the mutual information of class and member: how far the
        members disagree.
    """

    total: np.ndarray
    data: np.ndarray
    model: np.ndarray


def decompose(probabilities: np.ndarray) -> Uncertainty:
    """Return the uncertainty of predictions from the probabilities of the members.

    Parameters
    ----------
    probabilities : ndarray of shape (n_members, n, n_classes)
        Probabilities.

    Returns
    -------
    Uncertainty
        Total, data and model uncertainty, float64. The last two add up to the total.

    References
    ----------
    Depeweg, S., Hernandez-Lobato, J. M., Doshi-Velez, F. and Udluft, S. (2018).
    Decomposition of uncertainty in Bayesian deep learning for efficient and
    risk-sensitive learning. ICML.
    """
    probabilities = np.asarray(probabilities, np.float64)
    total = _entropy(probabilities.mean(axis=0))
    # Rounding may make the mean entropy larger than that of the mean by 1e-16.
    data = np.minimum(_entropy(probabilities).mean(axis=0), total)
    return Uncertainty(total, data, total - data)


def _entropy(probabilities: np.ndarray) -> np.ndarray:
    # The limit of p log p at zero is zero.
    logs = np.log(np.where(probabilities > 0, probabilities, 1))
    return -(probabilities * logs).sum(axis=-1)
