"""Time of a first fit, before anything is learned, and where it goes.

    pip install -e ".[benchmarks]"
    python benchmarks/first_fit.py [--repeats 3]

A first fit of a network builds the Keras model, traces its graphs or compiles them, and
runs them for the first time. A later fit of the same network needs nothing of this. The
difference of the two is the price of a new graph. Each network has a process of its
own. Prints medians, on TensorFlow also the number of operators in the training graph,
and versions.
"""

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import time
from importlib.metadata import version

NETWORKS = ("lstm", "cnn_lstm", "lstm_transformer", "detector")


def make(name):
    import numpy as np

    from sklstm import LSTMDefectDetector, LSTMImageClassifier

    rng = np.random.default_rng(0)
    if name == "detector":
        X = rng.integers(0, 255, (12, 64, 64)).astype(np.uint8)
        Y = np.zeros((12, 64, 64), np.uint8)
        Y[::2, 20:40, 20:40] = 1
        return LSTMDefectDetector(epochs=1, batch_size=4, random_state=0), X, Y
    X, y = rng.integers(0, 255, (40, 28, 28)).astype(np.uint8), np.arange(40) % 4
    params = {"epochs": 1, "batch_size": 20, "random_state": 0}
    return LSTMImageClassifier(name, **params), X, y


def operators(engine):
    """Return the number of operators of the training graph, with those of loops."""
    [function] = engine._train_epoch.traced.values()
    [concrete] = function._list_all_concrete_functions()
    graph = concrete.graph.as_graph_def()
    return len(graph.node) + sum(len(f.node_def) for f in graph.library.function)


def measure(name):
    """Print the seconds of this process' first fit and of later ones."""
    estimator, X, y = make(name)
    import keras

    if keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        tf.function(lambda: tf.ones(3) + 1)()  # TensorFlow itself starts
    from sklstm.training import _compiled

    build = _compiled.CompiledNetwork.__init__
    seconds = {}

    def timed(self, spec):
        start = time.perf_counter()
        build(self, spec)
        seconds["build"] = time.perf_counter() - start

    _compiled.CompiledNetwork.__init__ = timed
    fits = []
    for _ in range(4):
        start = time.perf_counter()
        estimator.fit(X, y)
        fits.append(time.perf_counter() - start)
    seconds["first"] = fits[0]
    seconds["later"] = statistics.median(fits[1:])
    if keras.backend.backend() == "tensorflow":
        seconds["operators"] = operators(estimator._fitted_network.compiled.engine)
    print(json.dumps(seconds))


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--networks", nargs="+", default=NETWORKS)
    parser.add_argument("--measure", choices=NETWORKS, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.measure:
        measure(arguments.measure)
        return
    found = {name: [] for name in arguments.networks}
    for _ in range(arguments.repeats):
        for name in arguments.networks:
            done = subprocess.run(
                [sys.executable, __file__, "--measure", name],
                stdout=subprocess.PIPE,
                check=True,
                text=True,
            )
            found[name].append(json.loads(done.stdout.splitlines()[-1]))
    print("seconds            first  later  new graph  of it building  operators")
    for name, runs in found.items():
        first, later, build = (
            statistics.median(run[part] for run in runs)
            for part in ("first", "later", "build")
        )
        count = runs[0].get("operators", "")
        print(
            f"{name:17} {first:6.2f} {later:6.2f} {first - later:10.2f} "
            f"{build:15.2f}  {count}"
        )
    backend = os.environ.get("KERAS_BACKEND", "tensorflow")
    names = ("keras", backend, "numpy")
    print(
        f"\n{os.cpu_count()} cores, Python {platform.python_version()}, {backend}, "
        + ", ".join(f"{name} {version(name)}" for name in names)
    )


if __name__ == "__main__":
    main()
