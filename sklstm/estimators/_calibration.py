"""Calibration of probabilities by one temperature. Loads no Keras."""

from dataclasses import replace
from typing import Any

import numpy as np
from scipy.optimize import minimize_scalar

from sklstm.estimators._labels import stratified_split
from sklstm.estimators._samples import LabelledSamples
from sklstm.estimators._weights import class_weights, mean_weight, multiply
from sklstm.images._validate import batches
from sklstm.training._data import AT_ONCE, take_rows

# Standard deviation of the logarithm of the temperature in its prior. Without a prior,
# a few samples that are all classified correctly would give a temperature of zero.
_PRIOR_SPREAD = 0.5
# The exported graph uses this bound too.
SMALLEST_PROBABILITY = 1e-30


def rows_to_train_on(
    classifier: Any, samples: LabelledSamples, given: tuple | None
) -> tuple[np.ndarray, LabelledSamples | None]:
    """Return the rows for the members, and the samples for the temperature.

    Parameters
    ----------
    classifier : LSTMImageClassifier
        Its parameters `calibration`, `bootstrap` and `validation_fraction` decide.
    samples : LabelledSamples
        Samples of `fit`.
    given : tuple or None
        Samples and class numbers of ``X_val, y_val``.

    Returns
    -------
    rows : ndarray of int
        Rows of weight above zero that the members may be trained on.
    held_out : LabelledSamples or None
        Samples for the temperature. With `bootstrap`, these are all samples, and
        `calibrate` takes out-of-bag predictions of them. Samples of a class of weight
        zero have the weight zero here, because the members know nothing of it.
    """
    weights = multiply(samples.weights, np.ones(len(samples)))  # raises if all are zero
    rows = np.flatnonzero(weights)
    if classifier.calibration is None:
        return rows, None
    per_class = class_weights(
        classifier.class_weight, classifier.classes_, samples.codes, samples.weights
    )
    if classifier.bootstrap:
        return rows, _without(samples, per_class)
    if given is not None:
        x, codes = given
        held_out = LabelledSamples(x, codes, np.ones(len(codes)), None)
        return rows, _without(held_out, per_class)
    groups = None if samples.groups is None else samples.groups[rows]
    train, held = stratified_split(
        samples.codes[rows],
        classifier.validation_fraction,
        np.random.SeedSequence(classifier._split_seed),
        groups,
        instead="set calibration=None",
    )
    return rows[train], _without(samples.take(rows[held]), per_class)


def _without(samples: LabelledSamples, per_class: np.ndarray) -> LabelledSamples:
    """Return samples in which those of a class of weight zero weigh nothing."""
    counts = per_class[samples.codes] > 0
    return replace(samples, weights=np.where(counts, samples.weights, 0))


def calibrate(classifier: Any, held_out: LabelledSamples) -> None:
    """Fit `temperature_` on samples that the members were not trained on.

    Raises
    ------
    ValueError
        If each sample was drawn by each member.
    """
    n, n_classes = len(held_out), len(classifier.classes_)
    sums, counts = np.zeros((n, n_classes)), np.zeros(n)
    for member, chosen in zip(
        classifier._members, classifier.estimators_samples_, strict=True
    ):
        rows = np.flatnonzero(held_out.weights > 0)
        if classifier.bootstrap:
            rows = np.setdiff1d(rows, chosen)
        # The samples may be larger than memory.
        for part in batches(len(rows), held_out.x[0].nbytes, AT_ONCE):
            x = take_rows(held_out.x, rows[part])[:]
            sums[rows[part]] += member._fitted_network.predict(x)
        counts[rows] += 1
    known = np.flatnonzero(counts)
    if not len(known):
        raise ValueError(
            "calibration='temperature' with bootstrap=True needs samples that a "
            f"resample lacks, and none of {n} is one: raise n_estimators, or set "
            "bootstrap=False."
        )
    classifier.temperature_ = fit_temperature(
        sums[known] / counts[known, None],
        held_out.codes[known],
        held_out.weights[known],
    )


def fit_temperature(
    probabilities: np.ndarray, codes: np.ndarray, weights: np.ndarray
) -> float:
    """Return the temperature that suits samples which were not trained on.

    It maximizes the likelihood of the classes [1]_ times a log-normal prior around 1.

    Parameters
    ----------
    probabilities : ndarray of shape (n, n_classes)
        Probabilities of these samples.
    codes : ndarray of int, shape (n,)
        Their classes.
    weights : ndarray of shape (n,)
        Their weights. Only the proportions count.

    Returns
    -------
    float
        Temperature between 0.05 and 20. Above 1, the probabilities were too extreme.

    References
    ----------
    .. [1] C. Guo, G. Pleiss, Y. Sun and K. Q. Weinberger, "On calibration of modern
       neural networks", ICML 2017.
    """
    logs = np.log(np.maximum(probabilities, SMALLEST_PROBABILITY, dtype=np.float64))
    weights = weights / mean_weight(weights)

    def loss(log_temperature: float) -> float:
        scaled = logs / np.exp(log_temperature)
        largest = scaled.max(axis=1)
        norm = largest + np.log(np.exp(scaled - largest[:, None]).sum(axis=1))
        fit = weights @ (norm - scaled[np.arange(len(codes)), codes])
        return fit + 0.5 * (log_temperature / _PRIOR_SPREAD) ** 2

    bounds = np.log([0.05, 20])
    return float(np.exp(minimize_scalar(loss, bounds=bounds, method="bounded").x))


def with_temperature(probabilities: np.ndarray, temperature: float) -> np.ndarray:
    """Divide the logarithms of probabilities by a temperature.

    Parameters
    ----------
    probabilities : ndarray of shape (n, n_classes), float32
        Probabilities.
    temperature : float
        The temperature.

    Returns
    -------
    ndarray of shape (n, n_classes), float32
        Probabilities, in the same order from least to most probable.
    """
    logs = np.log(np.maximum(probabilities, SMALLEST_PROBABILITY, dtype=np.float64))
    logs /= temperature
    powers = np.exp(logs - logs.max(axis=1, keepdims=True))
    return (powers / powers.sum(axis=1, keepdims=True)).astype(np.float32)
