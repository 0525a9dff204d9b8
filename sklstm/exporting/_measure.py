"""Predictions of a converted file, and the time that they take."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from sklstm.predictor import load_exported

_WARM_UP = 3
_RUNS = 30


def measure(path: Path, samples: np.ndarray) -> tuple[np.ndarray, float]:
    """Predict with a file or a SavedModel, and measure the time.

    Parameters
    ----------
    path : Path
        Path of the file or of the SavedModel.
    samples : ndarray of shape (n_samples, ...)
        Samples, as the graph takes them.

    Returns
    -------
    probabilities : ndarray of shape (n_samples, n_classes)
        Probabilities of the samples.
    latency : float
        Median time for one sample in milliseconds.
    """
    predict = _predictor(path)
    probabilities = predict(samples)
    seconds = []
    for i in range(_WARM_UP + _RUNS):
        sample = samples[i % len(samples)][None]
        start = time.perf_counter()
        predict(sample)
        seconds.append(time.perf_counter() - start)
    return probabilities, 1e3 * statistics.median(seconds[_WARM_UP:])


def _predictor(path: Path) -> Callable[[np.ndarray], np.ndarray]:
    if not path.is_dir():
        return load_exported(path).predict_proba
    # Other files are measured without TensorFlow, as they run without it.
    import tensorflow as tf

    loaded = tf.saved_model.load(str(path))
    return lambda x: np.concatenate(
        [
            loaded.serve(x[i : i + 64])["probabilities"].numpy()
            for i in range(0, len(x), 64)
        ]
    )
