"""Memory over 300 fits in one process, and the time of one prediction.

    python benchmarks/many_fits.py [--fits 300] [--structures]

Each fit has another learning rate and dropout. Prints the resident memory after the
10th and the last fit, and the number of TensorFlow's warnings of retracing. Then prints
the median time of `predict_proba` for one image, and that of Keras' own `predict` of
the same model.

With ``--structures``, prints how much memory each of ten networks of different width
leaves after it was trained, used and dropped, and `clear_pool` was called. The peer is
plain Keras with `keras.backend.clear_session`.
"""

import argparse
import gc
import logging
import multiprocessing
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
    """Counts log records that mention retracing."""

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


def one_of_ours(units, X, y):
    from sklstm.estimators import clear_pool

    LSTMImageClassifier(units=units, epochs=2).fit(X, y).predict(X)
    clear_pool()


def one_of_keras(units, X, y):
    import keras

    layers = keras.layers
    recurrent = layers.Bidirectional(layers.LSTM(units))
    inputs = [keras.Input(X.shape[1:]), recurrent, layers.Dropout(0.3)]
    model = keras.Sequential([*inputs, layers.Dense(10, "softmax")])
    model.compile("adam", "sparse_categorical_crossentropy")
    model.fit(X, y, epochs=2, verbose=0)
    model.predict(X, verbose=0)
    del model
    keras.backend.clear_session()


def left_by_structures(name):
    """Print how much memory each new structure leaves, after three to warm up."""
    digits = load_digits()
    X, y = digits.images[:200], digits.target[:200]
    for units in range(8, 21):
        globals()[name](units, X, y)
        gc.collect()
        if units == 10:
            before = resident()
    print(f"{name}: {(resident() - before) / 10:.1f} MiB a structure")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--fits", type=int, default=300)
    parser.add_argument("--structures", action="store_true")
    arguments = parser.parse_args()
    if arguments.structures:
        for name in ("one_of_ours", "one_of_keras"):
            process = multiprocessing.get_context("spawn").Process(
                target=left_by_structures, args=(name,)
            )
            process.start()
            process.join()
        return
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
