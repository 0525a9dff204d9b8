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


def measure(path: Path, samples: np.ndarray) -> tuple[dict[str, np.ndarray], float]:
    """Predict with a file or a SavedModel, and measure the time.

    Parameters
    ----------
    path : Path
        Path of the file or of the SavedModel.
    samples : ndarray of shape (n_samples, ...)
        Samples, as the graph takes them.

    Returns
    -------
    outputs : dict of str to ndarray
        Outputs for the samples by their names. One of them is "probabilities".
    latency : float
        Median time for one sample in milliseconds.
    """
    predict = _predictor(path)
    outputs = predict(samples)
    seconds = []
    for i in range(_WARM_UP + _RUNS):
        sample = samples[i % len(samples)][None]
        start = time.perf_counter()
        predict(sample)
        seconds.append(time.perf_counter() - start)
    return outputs, 1e3 * statistics.median(seconds[_WARM_UP:])


def _predictor(path: Path) -> Callable[[np.ndarray], dict[str, np.ndarray]]:
    if not path.is_dir():
        return load_exported(path).outputs
    # Other files are measured without TensorFlow, as they run without it.
    import tensorflow as tf

    loaded = tf.saved_model.load(str(path))

    def predict(x: np.ndarray) -> dict[str, np.ndarray]:
        parts = [loaded.serve(x[i : i + 64]) for i in range(0, len(x), 64)]
        return {
            name: np.concatenate([part[name].numpy() for part in parts])
            for name in parts[0]
        }

    return predict
