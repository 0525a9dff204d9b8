"""Time of a linear-chain CRF, compared with the LSTM whose outputs it reads.

    python benchmarks/crf.py [--units 64] [--repeats 15]

Prints milliseconds for a batch of 32 sequences: medians over the repeats, in which all
functions take turns. Each function has a graph of its own. The LSTM is
``FusedLSTM(units)`` on 16 features and returns all steps. The CRF has two labels, and
its times include the layer. A training step computes a value and its gradient. For the
LSTM, it is the sum of the outputs and its gradient with respect to input and weights.
For the CRF, it is the log-likelihood and its gradient with respect to emissions and
weights. The ratio to the LSTM's time is in brackets. In the last lines, TensorFlow does
not know the number of steps when it makes the graph.
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

from sklstm.networks import (
    FusedLSTM,
    LinearChainCRF,
    log_likelihood,
    marginals,
    viterbi,
)

N, N_FEATURES, N_LABELS = 32, 16, 2
COLUMNS = ("LSTM", "log-likelihood", "marginals", "viterbi", "LSTM step", "CRF step")


def training_step(value, weights):
    """Return a function that computes `value` and its gradient by x and `weights`."""

    def step(x, *others):
        with tf.GradientTape() as tape:
            tape.watch(x)
            total = tf.reduce_sum(value(x, *others))
        return total, tape.gradient(total, [x, *(w.value for w in weights)])

    return step


def functions(n_steps, known, units):
    """Return {column: (function, arguments)}, the functions to time."""
    rng = np.random.default_rng(0)
    x = tf.constant(rng.normal(size=(N, n_steps, N_FEATURES)), tf.float32)
    emissions = tf.constant(rng.normal(size=(N, n_steps, N_LABELS)), tf.float32)
    labels = tf.constant(rng.integers(0, N_LABELS, (N, n_steps)), tf.int32)
    lstm = FusedLSTM(units, return_sequences=True)
    lstm.build((None, None, N_FEATURES))
    crf = LinearChainCRF()
    crf.build((None, None, N_LABELS))

    def likelihood(emissions, labels):
        return log_likelihood(crf(emissions), labels)

    jobs = (
        (lstm, (x,)),
        (likelihood, (emissions, labels)),
        (lambda emissions: marginals(crf(emissions)), (emissions,)),
        (lambda emissions: viterbi(crf(emissions)), (emissions,)),
        (training_step(lstm, lstm.trainable_variables), (x,)),
        (training_step(likelihood, crf.trainable_variables), (emissions, labels)),
    )
    length = n_steps if known else None
    runs = {}
    for name, (job, arguments) in zip(COLUMNS, jobs, strict=True):
        specs = [tf.TensorSpec((N, length, *a.shape[2:]), a.dtype) for a in arguments]
        graph = tf.function(job, input_signature=specs, autograph=False)
        runs[name] = (graph.get_concrete_function(), arguments)
    return runs


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--units", type=int, default=64)
    parser.add_argument("--repeats", type=int, default=15)
    arguments = parser.parse_args()
    print(f"{'n_steps':>12}" + "".join(f"{name:>17}" for name in COLUMNS))
    for n_steps, known in (
        (64, True), (512, True), (4000, True), (64, False), (512, False), (4000, False),
    ):  # fmt: skip
        runs = functions(n_steps, known, arguments.units)
        times = {name: [] for name in COLUMNS}
        for repeat in range(arguments.repeats + 1):
            for name, (run, inputs) in runs.items():
                start = time.perf_counter()
                run(*inputs)
                if repeat > 0:  # The first run initializes the graph.
                    times[name].append((time.perf_counter() - start) * 1e3)
        median = {name: statistics.median(values) for name, values in times.items()}
        line = f"{n_steps if known else f'{n_steps} unknown':>12}"
        for name in COLUMNS:
            against = median["LSTM step" if "step" in name else "LSTM"]
            line += f"{median[name]:10.2f} ({median[name] / against:4.2f})"
        print(line, flush=True)
    print(
        f"\n{os.cpu_count()} cores, Python {platform.python_version()}, "
        + ", ".join(f"{name} {version(name)}" for name in ("keras", "tensorflow"))
        + f", backend {keras.backend.backend()}"
    )


if __name__ == "__main__":
    main()
