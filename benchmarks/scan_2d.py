"""Accuracy and speed of networks that read an image in two directions.

    python benchmarks/scan_2d.py digits [--seeds 3] [--images 134 1347]
    python benchmarks/scan_2d.py speed [--repeats 7]

"digits" trains on some of scikit-learn's digits without augmentation and tests on 450
others. "bilstm2d" with 44 units has as many weights as "lstm" with 64. "speed" compares
two ways to read all lines of a grid with one LSTM: the lines folded into the batch, and
a loop over them. It prints the milliseconds of a training step of this layer, forward
and backward. The two take turns, and the median counts.
"""

import argparse
import os
import platform
import statistics
import time
from importlib.metadata import version

from sklstm._keras import keras

import numpy as np
import tensorflow as tf
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

from sklstm import LSTMImageClassifier
from sklstm.networks._scan_2d import bilstm_2d
from sklstm.networks.layers._fused_lstm import known_batch_size

CANDIDATES = {
    '"lstm"': {},
    '"lstm", max': {"pooling": "max"},
    '"bilstm2d", 44 units': {"network": "bilstm2d", "units": 44},
    '"bilstm2d"': {"network": "bilstm2d"},
    '"bilstm2d", positions, patches of 2': {
        "network": "bilstm2d",
        "scan": "positions",
        "patch_size": 2,
        "n_layers": 2,
        "units": 24,
    },
    '"bilstm2d", positions, flatten': {
        "network": "bilstm2d",
        "scan": "positions",
        "pooling": "flatten",
        "patch_size": 2,
        "units": 32,
    },
    '"renet", patches of 2': {"network": "renet", "patch_size": 2, "units": 32},
}
# Batch size, rows, columns, features of a position, hidden units.
GRIDS = [(32, 8, 8, 1, 32), (32, 14, 14, 4, 32)]


def compare_accuracy(n_seeds, sizes, only):
    digits = load_digits()
    for name, params in CANDIDATES.items():
        if only and only not in name:
            continue
        for size in sizes:
            scores, seconds = [], 0.0
            for seed in range(n_seeds):
                X, X_test, y, y_test = train_test_split(
                    digits.images,
                    digits.target,
                    test_size=450,
                    stratify=digits.target,
                    random_state=seed,
                )
                if size < len(X):
                    X, _, y, _ = train_test_split(
                        X, y, train_size=size, stratify=y, random_state=seed
                    )
                classifier = LSTMImageClassifier(random_state=seed, **params)
                start = time.perf_counter()
                classifier.fit(X, y)
                seconds += (time.perf_counter() - start) / n_seeds
                scores.append(classifier.score(X_test, y_test))
            weights = classifier.model_.count_params()
            print(
                f"{name:36} {len(X):5} images {weights:8,} weights  "
                f"{np.mean(scores):.4f} {np.round(scores, 3)} {seconds:6.1f} s a fit",
                flush=True,
            )


def loop_over_lines(layers, grid):
    """Return what `bilstm_2d` returns, with one call of an LSTM for each line."""
    rows, columns = layers
    along_rows = [rows(grid[:, i]) for i in range(grid.shape[1])]
    along_columns = [columns(grid[:, :, j]) for j in range(grid.shape[2])]
    return tf.concat([tf.stack(along_rows, 1), tf.stack(along_columns, 2)], -1)


def stepper(call, weights, grid):
    """Return a function that runs `n_times` training steps in one graph."""

    @tf.function(autograph=False)
    def run(n_times):
        def body(k, total):
            with tf.GradientTape() as tape:
                loss = tf.reduce_sum(tf.square(call(grid)))
            gradients = tape.gradient(loss, weights)
            return k + 1, total + loss + sum(tf.reduce_sum(g) for g in gradients)

        loop = tf.while_loop(
            lambda k, _: k < n_times, body, (0, 0.0), parallel_iterations=1
        )
        return loop[1]

    return run


def compare_speed(repeats):
    print("batch, rows, columns, features, units   folded ms   loop ms   ratio")
    for shape in GRIDS:
        n, down, across, k, units = shape
        inputs = keras.Input((down, across, k))
        model = keras.Model(
            inputs, bilstm_2d(inputs, units=units, regularizer=None, prefix="")
        )
        layers = [model.get_layer(f"{axis}_bidirectional") for axis in AXES]
        grid = tf.random.normal((n, down, across, k))
        np.testing.assert_allclose(
            model(grid), loop_over_lines(layers, grid), atol=1e-5
        )
        weights = [variable.value for variable in model.trainable_variables]
        runs = {
            "folded": stepper(model, weights, grid),
            "loop": stepper(
                lambda x, both=layers: loop_over_lines(both, x), weights, grid
            ),
        }
        with known_batch_size(n):  # as the engine traces them
            for run in runs.values():
                run(tf.constant(1))
        times = {name: [] for name in runs}
        for _ in range(repeats):
            for name, run in runs.items():
                start = time.perf_counter()
                run(tf.constant(5))
                times[name].append((time.perf_counter() - start) / 5 * 1e3)
        median = {name: statistics.median(values) for name, values in times.items()}
        print(
            f"{shape!s:38} {median['folded']:10.1f} {median['loop']:9.1f} "
            f"{median['loop'] / median['folded']:7.1f}",
            flush=True,
        )


AXES = ("rows", "columns")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("what", choices=["digits", "speed"])
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--images", type=int, nargs="+", default=[134, 1347])
    parser.add_argument("--only", default="", help="part of the name of a network")
    parser.add_argument("--repeats", type=int, default=7)
    arguments = parser.parse_args()
    if arguments.what == "digits":
        compare_accuracy(arguments.seeds, arguments.images, arguments.only)
    else:
        compare_speed(arguments.repeats)
    print(
        f"\n{os.cpu_count()} cores, Python {platform.python_version()}, "
        + ", ".join(f"{name} {version(name)}" for name in ("keras", "tensorflow"))
    )


if __name__ == "__main__":
    main()
