"""What a converted file predicts, and how fast."""

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
    """Predict from a file or SavedModel.

    Parameters
    ----------
    path : Path
        What was written.
    samples : ndarray
        As the graph takes them.

    Returns
    -------
    probabilities : ndarray of shape (n, n_classes)
        Of the samples.
    latency : float
        Milliseconds for one sample, the median.
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
    import tensorflow as tf

    loaded = tf.saved_model.load(str(path))
    return lambda x: np.concatenate(
        [
            loaded.serve(x[i : i + 64])["probabilities"].numpy()
            for i in range(0, len(x), 64)
        ]
    )
