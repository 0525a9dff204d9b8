"""What a CRF over the steps costs beside the LSTM that feeds it.

    python benchmarks/crf.py [--units 64] [--repeats 15]

Milliseconds, the median of interleaved repetitions, each in a graph of its own, for a
batch of 32 sequences. The LSTM is FusedLSTM(units) on 16 features, all steps returned.
The CRF has two labels, its layer included. A step of training is value and gradient: of
the LSTM's outputs with respect to its input and weights, of the log-likelihood with
respect to emissions and the CRF's weights. In brackets, the time over that of the LSTM.
In the last lines TensorFlow does not know the number of steps when it makes the graph.
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
    """Return a function of x: value and gradient with respect to x and the weights."""

    def step(x, *others):
        with tf.GradientTape() as tape:
            tape.watch(x)
            total = tf.reduce_sum(value(x, *others))
        return total, tape.gradient(total, [x, *(w.value for w in weights)])

    return step


def functions(n_steps, known, units):
    """Return what is timed, by the name of its column, called without arguments."""
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
                if repeat > 0:  # the first makes what the graph needs
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
