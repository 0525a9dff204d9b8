"""Memory over 300 fits in one process, and the time of one prediction.

    python benchmarks/many_fits.py [--fits 300]

Prints the resident memory after the 10th and the last fit, each of another learning
rate and dropout, and whether TensorFlow warned of retracing; then the median time of
one image through `predict_proba`, beside Keras' own `predict` of the same model.
"""

import argparse
import logging
import os
import platform
import statistics
import time
from importlib.metadata import version

import numpy as np
import psutil
from sklearn.datasets import load_digits

from sklstm import LSTMImageClassifier


class Count(logging.Handler):
    """Counts log records that speak of retracing."""

    n = 0

    def emit(self, record):
        """Count one record."""
        self.n += "retracing" in record.getMessage()


def resident():
    return psutil.Process().memory_info().rss / 2**20


def median_ms(function, repeats):
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        function()
        times.append(time.perf_counter() - start)
    return statistics.median(times[repeats // 10 :]) * 1e3


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--fits", type=int, default=300)
    arguments = parser.parse_args()
    retracing = Count()
    logging.getLogger("tensorflow").addHandler(retracing)

    digits = load_digits()
    X, y = digits.images[:200], digits.target[:200]
    rng = np.random.default_rng(0)
    after_tenth = 0.0
    start = time.perf_counter()
    for i in range(arguments.fits):
        classifier = LSTMImageClassifier(
            epochs=2,
            dropout=rng.uniform(0.1, 0.5),
            learning_rate=10 ** rng.uniform(-4, -2),
            random_state=i,
        ).fit(X, y)
        classifier.predict(X)
        if i == 9:
            after_tenth = resident()
    print(
        f"{arguments.fits} fits in {time.perf_counter() - start:.0f} s: resident "
        f"memory {after_tenth:.0f} MiB after the tenth, {resident():.0f} MiB after the "
        "last, "
        f"{retracing.n} retracing warnings"
    )

    one = X[:1]
    ours = median_ms(lambda: classifier.predict_proba(one), 300)
    model = classifier.model_
    array = one.astype("float32")
    keras_predict = median_ms(lambda: model.predict(array, verbose=0), 40)
    print(
        f"one image: predict_proba {ours:.2f} ms, keras predict {keras_predict:.1f} ms"
    )
    print(
        f"{os.cpu_count()} cores, Python {platform.python_version()}, "
        + ", ".join(
            f"{name} {version(name)}"
            for name in ("numpy", "scikit-learn", "keras", "tensorflow", "sklstm")
        )
    )


if __name__ == "__main__":
    main()
