"""Time of many short fits in scikeras, skorch and sklstm: five folds of 300 digits.

    pip install -e ".[benchmarks]"
    python benchmarks/small_folds.py [--repeats 5] [--searches]

The network is the same everywhere: a bidirectional LSTM of 64 units over the 8 rows of
an image, dropout and a dense layer, trained by Adam at a constant 1e-3 for 10 epochs
with batches of 32. Each peer has a process of its own, so that none slows another, and
they take turns in one run. Prints medians, spread, ratios and versions.
"""

import argparse
import json
import multiprocessing
import os
import platform
import statistics
import time
from importlib.metadata import version

import numpy as np

N_IMAGES, EPOCHS, BATCH, UNITS = 300, 10, 32, 64
PEERS = ("scikeras", "skorch", "sklstm")


def load():
    from sklearn.datasets import load_digits

    digits = load_digits()
    X = digits.images[:N_IMAGES].astype("float32")
    # The network of sklstm standardizes its input. The peers need standardized images.
    return (X - X.mean()) / X.std(), digits.target[:N_IMAGES]


def with_scikeras():
    import keras
    from scikeras.wrappers import KerasClassifier

    def build(meta, dropout):
        shape = meta["X_shape_"][1:]
        return keras.Sequential(
            [
                keras.Input(shape),
                keras.layers.Bidirectional(keras.layers.LSTM(UNITS)),
                keras.layers.Dropout(dropout),
                keras.layers.Dense(10, activation="softmax"),
            ]
        )

    def make(rate=1e-3, dropout=0.2):
        return KerasClassifier(
            build,
            model__dropout=dropout,
            optimizer="adam",
            optimizer__learning_rate=rate,
            loss="sparse_categorical_crossentropy",
            epochs=EPOCHS,
            batch_size=BATCH,
            verbose=0,
        )

    return make


def with_skorch():
    import torch
    from skorch import NeuralNetClassifier

    class Network(torch.nn.Module):
        def __init__(self, n_features=8, dropout=0.2):
            super().__init__()
            self.lstm = torch.nn.LSTM(
                n_features, UNITS, batch_first=True, bidirectional=True
            )
            self.dropout = torch.nn.Dropout(dropout)
            self.dense = torch.nn.Linear(2 * UNITS, 10)

        def forward(self, x):
            _, (h, _) = self.lstm(x)
            return self.dense(self.dropout(torch.cat([h[0], h[1]], dim=1)))

    def make(rate=1e-3, dropout=0.2, n_features=8):
        return NeuralNetClassifier(
            Network,
            module__dropout=dropout,
            module__n_features=n_features,
            criterion=torch.nn.CrossEntropyLoss,
            optimizer=torch.optim.Adam,
            lr=rate,
            max_epochs=EPOCHS,
            batch_size=BATCH,
            iterator_train__shuffle=True,
            train_split=None,
            verbose=0,
        )

    return make


def with_sklstm():
    from sklstm import LSTMImageClassifier

    def make(rate=1e-3, dropout=0.2):
        return LSTMImageClassifier(
            units=UNITS,
            input_noise=0,
            dropout=dropout,
            learning_rate=rate,
            lr_schedule="constant",
            clipvalue=None,
            epochs=EPOCHS,
            batch_size=BATCH,
        )

    return make


def job(name, make, X, y):
    """Run one job and return its accuracies."""
    from sklearn.model_selection import StratifiedKFold, cross_val_score

    from sklstm import RowSequencer

    folds = StratifiedKFold(5, shuffle=True, random_state=0)
    labels = y.astype("int64")
    if name == "folds":
        return cross_val_score(make(), X, labels, cv=folds).tolist()
    rng = np.random.default_rng(0)
    best = []
    for _ in range(20):
        if name == "search":
            estimator = make(10 ** rng.uniform(-3.5, -2), rng.uniform(0.1, 0.5))
            Z = X
        else:
            sequencer = RowSequencer(sequence_length=int(rng.integers(4, 9)))
            Z = sequencer.fit_transform(X)
            options = (
                {"n_features": Z.shape[2]}
                if "n_features" in make.__code__.co_varnames
                else {}
            )
            estimator = make(**options)
        best.append(cross_val_score(estimator, Z, labels, cv=folds).mean())
    return [max(best)]


def worker(peer, connection):
    import psutil

    make = {
        "scikeras": with_scikeras,
        "skorch": with_skorch,
        "sklstm": with_sklstm,
    }[peer]()
    X, y = load()
    process = psutil.Process()
    while (name := connection.recv()) is not None:
        start = time.perf_counter()
        scores = job(name, make, X, y)
        seconds = time.perf_counter() - start
        connection.send((seconds, scores, process.memory_info().rss / 2**20))


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--searches", action="store_true", help="also run searches")
    parser.add_argument("--json", help="write the figures to this file")
    arguments = parser.parse_args()

    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    spawn = multiprocessing.get_context("spawn")
    pipes = {}
    for peer in PEERS:
        ours, theirs = spawn.Pipe()
        spawn.Process(target=worker, args=(peer, theirs), daemon=True).start()
        pipes[peer] = ours

    def run(name, repeats):
        times = {peer: [] for peer in PEERS}
        accuracy = {peer: [] for peer in PEERS}
        memory = {peer: [] for peer in PEERS}
        for _ in range(repeats):
            for peer in PEERS:
                pipes[peer].send(name)
                seconds, scores, mib = pipes[peer].recv()
                times[peer].append(seconds)
                accuracy[peer].extend(scores)
                memory[peer].append(mib)
        return times, accuracy, memory

    figures = {}
    times, accuracy, memory = run("folds", 1 + arguments.repeats)
    figures["folds"] = times
    steady = {peer: statistics.median(times[peer][1:]) for peer in PEERS}
    print(f"\nFive folds of {N_IMAGES} digits, {arguments.repeats} repeats")
    print("peer      first s  median s  (min - max)      accuracy         memory MiB")
    for peer in PEERS:
        rest = times[peer][1:]
        print(
            f"{peer:9} {times[peer][0]:7.2f}  {steady[peer]:8.2f}  "
            f"({min(rest):.2f} - {max(rest):.2f})  "
            f"{np.mean(accuracy[peer]):.3f} +- {np.std(accuracy[peer]):.3f}  "
            f"{memory[peer][0]:.0f} -> {memory[peer][-1]:.0f}"
        )
    print(
        f"sklstm / skorch {steady['sklstm'] / steady['skorch']:.2f}, "
        f"scikeras / sklstm {steady['scikeras'] / steady['sklstm']:.1f}, "
        f"first call sklstm / skorch {times['sklstm'][0] / times['skorch'][0]:.2f}"
    )
    if arguments.searches:
        for name, title in (
            ("search", "20 trials over learning rate and dropout"),
            ("lengths", "20 trials over sequence length, 4 to 8"),
        ):
            times, accuracy, _ = run(name, 1)
            figures[name] = times
            print(f"\n{title}, five folds each")
            for peer in PEERS:
                print(
                    f"{peer:9} {times[peer][0]:7.1f} s  best {accuracy[peer][0]:.3f}  "
                    f"{times[peer][0] / times['sklstm'][0]:.1f} x sklstm"
                )
    for peer in PEERS:
        pipes[peer].send(None)
    names = (
        "numpy",
        "scikit-learn",
        "keras",
        "tensorflow",
        "scikeras",
        "skorch",
        "torch",
    )
    print(
        f"\n{os.cpu_count()} cores, Python {platform.python_version()}, "
        + ", ".join(f"{name} {version(name)}" for name in names)
    )
    if arguments.json:
        with open(arguments.json, "w") as file:
            json.dump(figures, file)


if __name__ == "__main__":
    main()
