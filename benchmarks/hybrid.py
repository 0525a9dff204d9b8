"""Accuracy of convolutions with an LSTM and of convolutions alone, with equal weights.

    python benchmarks/hybrid.py --data FOLDER [--images 2000] [--epochs 20]
    python benchmarks/hybrid.py digits [--seeds 10]

"digits" trains on 134 of scikit-learn's digits and tests on the others. It compares the
hybrid and the CNN, with ``augmentation="light"`` and otherwise defaults, with the row
LSTM and a tuned SVC. "cifar10" reads cifar10_jpeg.npz in FOLDER, trains both networks
in the same way on the same images, and tests on all 10,000. A seed chooses the images,
the weights and the order. Prints means with 95 % intervals of Student's t over the
seeds. Differences are paired by seed.
"""

import argparse
import os
import time
from importlib.metadata import version
from itertools import pairwise
from pathlib import Path

import cv2
import numpy as np
from scipy import stats
from sklearn.datasets import load_digits
from sklearn.model_selection import GridSearchCV, train_test_split
from sklearn.svm import SVC

from sklstm import LSTMImageClassifier, RowSequencer

# The gain in percentage points on a subset of ImageNet, published by the article from
# which this package grew.
ARTICLE = 1.7


def interval(values):
    values = np.asarray(values)
    half = stats.sem(values) * stats.t.ppf(0.975, len(values) - 1)
    return (
        f"{values.mean():.4f} [{values.mean() - half:.4f}, {values.mean() + half:.4f}]"
    )


def report(scores, first="cnn_lstm"):
    print("\nmean accuracy [95 % interval]")
    for name, values in scores.items():
        print(f"{name:24}{interval(values)}")
    print("\nhybrid minus the other, paired [95 % interval], p of a paired t test")
    for name, values in scores.items():
        if name != first:
            difference = np.subtract(scores[first], values)
            p = stats.ttest_rel(scores[first], values).pvalue
            print(f"{name:24}{interval(difference)}  p={p:.4f}", flush=True)


def score(scores, name, estimator, train, y_train, test, y_test):
    start = time.perf_counter()
    accuracy = estimator.fit(train, y_train).score(test, y_test)
    scores.setdefault(name, []).append(accuracy)
    seconds = time.perf_counter() - start
    print(f"  {name:24}{accuracy:.4f}  {seconds:6.1f} s", flush=True)


def digits(args):
    X, y = load_digits(return_X_y=True)
    images = X.reshape(-1, 8, 8)
    scores: dict[str, list[float]] = {}
    for seed in range(args.seeds):
        print(f"seed {seed}", flush=True)
        train, test = train_test_split(
            np.arange(len(y)), train_size=134, stratify=y, random_state=seed
        )
        data = images[train], y[train], images[test], y[test]
        for name, params in (
            ("cnn_lstm", {"network": "cnn_lstm"}),
            ("cnn", {"network": "cnn"}),
            ("row LSTM", {"sequencer": RowSequencer()}),
        ):
            model = LSTMImageClassifier(
                **params, augmentation="light", random_state=seed
            )
            score(scores, name, model, *data)
        grid = {"C": [1, 10, 100], "gamma": ["scale", 0.0005, 0.001, 0.002]}
        svc = GridSearchCV(SVC(), grid)
        score(scores, "SVC, tuned", svc, X[train], y[train], X[test], y[test])
    report(scores)


def read_cifar10(folder):
    with np.load(Path(folder) / "cifar10_jpeg.npz") as data:
        jpeg, ends = data["jpeg"], data["offsets"]
        y, is_train = data["y"], data["is_train"]
    images = np.stack(
        [
            cv2.imdecode(jpeg[a:b], cv2.IMREAD_COLOR)[..., ::-1]
            for a, b in pairwise(ends)
        ]
    )
    is_train = is_train.astype(bool)
    return images[is_train], y[is_train], images[~is_train], y[~is_train]


def cifar10(args):
    X, y, X_test, y_test = read_cifar10(args.data)
    scores: dict[str, list[float]] = {}
    print(f"CIFAR-10, {args.images} training images, {args.epochs} epochs, batch 64")
    for seed in range(args.seeds):
        print(f"seed {seed}", flush=True)
        rows = np.arange(len(y))
        if args.images < len(y):
            rows, _ = train_test_split(
                rows, train_size=args.images, stratify=y, random_state=seed
            )
        for network in ("cnn_lstm", "cnn"):
            model = LSTMImageClassifier(
                network,
                augmentation={"flip": "horizontal", "translation": 0.1},
                input_noise=0.1,
                learning_rate=2e-3,
                batch_size=64,
                epochs=args.epochs,
                random_state=seed,
            )
            score(scores, network, model, X[rows], y[rows], X_test, y_test)
            del model
    report(scores)
    print(f"the article claims +{ARTICLE / 100:.3f} on an ImageNet subset")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "part", choices=["digits", "cifar10"], nargs="?", default="cifar10"
    )
    parser.add_argument("--seeds", type=int)
    parser.add_argument("--images", type=int, default=2000)
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--data", default=os.environ.get("SKLSTM_DATA"))
    args = parser.parse_args()
    if args.part == "digits":
        args.seeds = args.seeds or 10
        digits(args)
    else:
        if not args.data:
            parser.error("give --data FOLDER, the folder that holds cifar10_jpeg.npz")
        args.seeds = args.seeds or 3
        cifar10(args)
    packages = ("scikit-learn", "keras", "tensorflow")
    print(", ".join(f"{name} {version(name)}" for name in packages))


if __name__ == "__main__":
    main()
