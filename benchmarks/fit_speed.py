"""Time of one epoch of MNIST in plain Keras, skorch and sklstm.

    pip install -e ".[benchmarks]"
    python benchmarks/fit_speed.py --data FOLDER [--repeats 5]

The networks are an LSTM(128) and a bidirectional LSTM(128) over the 28 rows, with
batches of 128. Each peer has a process of its own, and all take turns in one run. The
line "products" has the time of the matrix products alone, forward and backward, in
NumPy.
"""

import argparse
import multiprocessing
import os
import platform
import statistics
import time
from importlib.metadata import version
from pathlib import Path

import numpy as np

BATCH, UNITS, STEPS, FEATURES = 128, 128, 28, 28
PEERS = ("keras", "skorch", "sklstm")
NAMES = ("numpy", "keras", "tensorflow", "skorch", "torch")


def with_keras(X, y, bidirectional):
    import keras

    layer = keras.layers.LSTM(UNITS)
    model = keras.Sequential(
        [
            keras.Input((STEPS, FEATURES)),
            keras.layers.Bidirectional(layer) if bidirectional else layer,
            keras.layers.Dense(10, activation="softmax"),
        ]
    )
    model.compile("adam", "sparse_categorical_crossentropy", metrics=["accuracy"])
    return lambda: model.fit(X, y, batch_size=BATCH, epochs=1, verbose=0)


def with_skorch(X, y, bidirectional):
    import torch
    from skorch import NeuralNetClassifier

    class Network(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.lstm = torch.nn.LSTM(
                FEATURES, UNITS, batch_first=True, bidirectional=bidirectional
            )
            self.dense = torch.nn.Linear(UNITS * (1 + bidirectional), 10)

        def forward(self, x):
            _, (h, _) = self.lstm(x)
            return self.dense(h.transpose(0, 1).flatten(1))

    net = NeuralNetClassifier(
        Network,
        criterion=torch.nn.CrossEntropyLoss,
        optimizer=torch.optim.Adam,
        batch_size=BATCH,
        iterator_train__shuffle=True,
        train_split=None,
        verbose=0,
    ).initialize()
    labels = y.astype("int64")
    return lambda: net.fit_loop(X, labels, epochs=1)


def with_sklstm(X, y, bidirectional):
    from sklstm import LSTMImageClassifier

    classifier = LSTMImageClassifier(
        units=UNITS,
        bidirectional=bidirectional,
        input_noise=0,
        dropout=0,
        clipvalue=None,
        batch_size=BATCH,
    )
    return lambda: classifier.partial_fit(X, y)


def bare_products(n_batches, bidirectional):
    """Return the seconds of the matrix products of all steps, forward and backward."""
    rng = np.random.default_rng(0)
    x = rng.standard_normal((BATCH, FEATURES), dtype="float32")
    h = rng.standard_normal((BATCH, UNITS), dtype="float32")
    gates = rng.standard_normal((BATCH, 4 * UNITS), dtype="float32")
    kernel = rng.standard_normal((FEATURES, 4 * UNITS), dtype="float32")
    recurrent = rng.standard_normal((UNITS, 4 * UNITS), dtype="float32")
    start = time.perf_counter()
    for _ in range(n_batches * STEPS * (1 + bidirectional)):
        x @ kernel
        x.T @ gates
        h @ recurrent
        gates @ recurrent.T
        h.T @ gates
    return time.perf_counter() - start


def worker(peer, path, connection):
    make = {"keras": with_keras, "skorch": with_skorch, "sklstm": with_sklstm}[peer]
    with np.load(path) as file:
        X = file["x_train"].astype("float32") / 255
        y = file["y_train"]
    jobs = {}
    while (bidirectional := connection.recv()) is not None:
        if bidirectional not in jobs:
            jobs[bidirectional] = make(X, y, bidirectional)
        start = time.perf_counter()
        jobs[bidirectional]()
        connection.send(time.perf_counter() - start)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", default=os.environ.get("SKLSTM_DATA"))
    parser.add_argument("--repeats", type=int, default=5)
    arguments = parser.parse_args()
    if arguments.data is None:
        parser.error("give --data FOLDER, the folder that holds mnist.npz")
    path = Path(arguments.data) / "mnist.npz"
    if not path.is_file():
        parser.error(f"looked for {path}, which is not there")

    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    spawn = multiprocessing.get_context("spawn")
    pipes = {}
    for peer in PEERS:
        ours, theirs = spawn.Pipe()
        spawn.Process(target=worker, args=(peer, path, theirs), daemon=True).start()
        pipes[peer] = ours
    for bidirectional in (False, True):
        times = {peer: [] for peer in PEERS}
        for _ in range(1 + arguments.repeats):
            for peer in PEERS:
                pipes[peer].send(bidirectional)
                times[peer].append(pipes[peer].recv())
        median = {peer: statistics.median(times[peer][1:]) for peer in PEERS}
        name = "bidirectional LSTM(128)" if bidirectional else "LSTM(128)"
        print(f"\n{name}: seconds of one epoch of 60,000 images")
        for peer in PEERS:
            rest = times[peer][1:]
            print(
                f"{peer:9} first {times[peer][0]:6.1f}  median {median[peer]:6.1f}  "
                f"({min(rest):.1f} - {max(rest):.1f})"
            )
        products = bare_products(469, bidirectional)
        print(f"products  {products:.1f}")
        print(
            f"sklstm / keras {median['sklstm'] / median['keras']:.2f}, "
            f"sklstm / skorch {median['sklstm'] / median['skorch']:.2f}, "
            f"sklstm / products {median['sklstm'] / products:.2f}"
        )
    for peer in PEERS:
        pipes[peer].send(None)
    print(
        f"\n{os.cpu_count()} cores, Python {platform.python_version()}, "
        + ", ".join(f"{name} {version(name)}" for name in NAMES)
    )


if __name__ == "__main__":
    main()
