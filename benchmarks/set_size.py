"""Learning rate, weight decay, batch size and updates by the size of a digits set.

    python benchmarks/set_size.py [--sizes 60,134,500] [--network cnn_lstm] [--splits 3]
        [--jobs 2] [--store FILE]

Trains on so many of scikit-learn's digits, with augmentation="characters", and tests on
the others. Learning rate, weight decay and batch size vary together, at 1,200 updates.
Then the number of updates varies, and early stopping, at the defaults of the others.

Prints for each size the mean accuracy over the splits with the standard error of the
mean. With `--store`, each fit is a line of a file, and a run goes on where the last one
stopped.
"""

import argparse
import math
import time
from itertools import product

import numpy as np
from _fits import add_arguments, run_fits, versions

DEFAULT = {"learning_rate": 3e-3, "weight_decay": None, "batch_size": 32}
GRID = [
    {"learning_rate": rate, "weight_decay": decay, "batch_size": batch, "updates": 1200}
    for batch, decay, rate in product((16, 32), (None, 0.3), (1e-3, 3e-3, 1e-2))
]
UPDATES = [{**DEFAULT, "updates": n} for n in (300, 600, 2400)]
# A tenth of 60 images would hold fewer images than there are classes.
HELD_OUT = {"early_stopping": True, "validation_fraction": 0.2}
STOPPED = [{**DEFAULT, "updates": 1200, **HELD_OUT}]


def fit(job):
    from sklearn.datasets import load_digits
    from sklearn.model_selection import train_test_split

    from sklstm import LSTMImageClassifier

    size, split, variant = job["size"], job["split"], job["variant"]
    digits = load_digits()
    X, X_test, y, y_test = train_test_split(
        digits.images,
        digits.target,
        train_size=size,
        stratify=digits.target,
        random_state=2000 + split,
    )
    params = {name: value for name, value in variant.items() if name != "updates"}
    epochs = math.ceil(variant["updates"] / math.ceil(size / params["batch_size"]))
    model = LSTMImageClassifier(
        job["network"],
        augmentation="characters",
        epochs=epochs,
        random_state=split,
        **params,
    )
    start = time.perf_counter()
    model.fit(X, y)
    return {
        **job,
        "accuracy": float(model.score(X_test, y_test)),
        "epochs": model.n_iter_,
        "seconds": time.perf_counter() - start,
    }


def text(variant):
    words = [f"{name} {value}" for name, value in variant.items() if value is not None]
    return ", ".join(words)


def report(lines, sizes):
    rows = {text(variant): variant for variant in (*GRID, *UPDATES, *STOPPED)}
    print("\naccuracy +- standard error, by the number of training images")
    print(f"{'':72}" + "".join(f"{size:>16}" for size in sizes))
    for name in rows:
        cells = []
        for size in sizes:
            found = [
                line["accuracy"]
                for line in lines
                if line["size"] == size and text(line["variant"]) == name
            ]
            error = np.std(found, ddof=1) / math.sqrt(len(found)) if found[1:] else 0
            cells.append(f"{np.mean(found):.3f} +-{error:.3f}" if found else "")
        print(f"{name:72}" + "".join(f"{cell:>16}" for cell in cells))


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sizes", default="60,134,500")
    parser.add_argument("--network", default="cnn_lstm")
    parser.add_argument("--splits", type=int, default=3)
    add_arguments(parser)
    args = parser.parse_args()
    sizes = [int(size) for size in args.sizes.split(",")]
    jobs = [
        {"network": args.network, "size": size, "split": split, "variant": variant}
        for split in range(args.splits)
        for size in sizes
        for variant in (*GRID, *UPDATES, *STOPPED)
    ]
    report(run_fits(fit, jobs, n_jobs=args.jobs, store=args.store), sizes)
    print(f"\n{versions()}")


if __name__ == "__main__":
    main()
