"""Time of a training step through the LSTM of Keras and through FusedLSTM.

    python benchmarks/lstm_layers.py [--repeats 5]

Each line has batch size, steps, features, units and the directions, the milliseconds of
one training step of one layer, forward and backward, for both layers, and their ratio.
The layers take turns.
"""

import argparse
import os
import platform
import statistics
import time
from importlib.metadata import version

from sklstm._keras import keras

import tensorflow as tf

from sklstm.networks import FusedLSTM

SHAPES = [
    (32, 8, 8, 64),
    (32, 28, 28, 64),
    (64, 28, 28, 64),
    (128, 28, 28, 64),
    (256, 28, 28, 64),
    (16, 49, 256, 32),
    (32, 28, 28, 128),
    (128, 28, 28, 128),
    (32, 64, 768, 128),
]


def stepper(shape, bidirectional, kind):
    """Return a function that runs `n_times` training steps in one graph."""
    n, n_steps, n_features, units = shape
    if kind == "keras":
        layer = keras.layers.LSTM(units)
    else:
        layer = FusedLSTM(units, halves=not bidirectional)
    if bidirectional:
        layer = keras.layers.Bidirectional(layer)
    model = keras.Sequential([keras.Input((None, n_features)), layer])
    x = tf.random.normal((n, n_steps, n_features))
    weights = [variable.value for variable in model.trainable_variables]

    @tf.function(autograph=False)
    def run(n_times):
        def body(k, total):
            with tf.GradientTape() as tape:
                loss = tf.reduce_sum(tf.square(model(x, training=True)))
            gradients = tape.gradient(loss, weights)
            return k + 1, total + loss + sum(tf.reduce_sum(g) for g in gradients)

        loop = tf.while_loop(
            lambda k, _: k < n_times, body, (0, 0.0), parallel_iterations=1
        )
        return loop[1]

    return run


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=5)
    arguments = parser.parse_args()
    print("batch, steps, features, units       keras ms  fused ms  ratio")
    for bidirectional in (False, True):
        for shape in SHAPES:
            kinds = {
                kind: stepper(shape, bidirectional, kind) for kind in ("keras", "fused")
            }
            for run in kinds.values():
                run(tf.constant(1))
            start = time.perf_counter()
            kinds["keras"](tf.constant(3))
            n_times = max(3, int(1.5 / (time.perf_counter() - start)))
            times = {kind: [] for kind in kinds}
            for _ in range(arguments.repeats):
                for kind, run in kinds.items():
                    start = time.perf_counter()
                    run(tf.constant(n_times))
                    times[kind].append((time.perf_counter() - start) / n_times * 1e3)
            median = {kind: statistics.median(values) for kind, values in times.items()}
            name = f"{shape} {'both' if bidirectional else 'one'}"
            print(
                f"{name:35} {median['keras']:8.2f}  {median['fused']:8.2f}  "
                f"{median['fused'] / median['keras']:5.2f}",
                flush=True,
            )
    print(
        f"\n{os.cpu_count()} cores, Python {platform.python_version()}, "
        + ", ".join(f"{name} {version(name)}" for name in ("keras", "tensorflow"))
    )


if __name__ == "__main__":
    main()
