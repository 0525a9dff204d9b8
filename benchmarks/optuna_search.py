"""Benefit and cost of OptunaSearchCV: pruning, gain over the defaults, and overhead.

    python benchmarks/optuna_search.py pruning defaults overhead jobs
        [--data FOLDER] [--seeds 5]

pruning    Runs 30 trials on 300 digits, with and without pruning, for each seed. Prints
           the epochs and the best scores.
defaults   Runs 30 trials over the basic space on 50 MNIST images per class and refits,
           for each seed. Compares the result with the defaults on the same images, on
           5,000 test images.
overhead   Times the same fits in a loop by hand, in a search, and in a search that asks
           a pruner, in turn.
jobs       Times the same search with one job, with two threads and with two processes.
"""

import argparse
import os
import platform
import statistics
import time
from importlib.metadata import version
from pathlib import Path

import joblib
import numpy as np
import optuna
from sklearn.base import clone
from sklearn.datasets import load_digits
from sklearn.model_selection import StratifiedKFold, cross_val_score
from sklearn.pipeline import make_pipeline

from sklstm import LSTMImageClassifier, OptunaSearchCV, RowSequencer
from sklstm.model_selection import suggest_space

NEVER = optuna.pruners.NopPruner()


def digits(seed):
    digits = load_digits()
    rows = np.random.default_rng(seed).permutation(len(digits.target))[:300]
    return digits.images[rows].astype("uint8"), digits.target[rows]


def pipeline(seed, **params):
    classifier = LSTMImageClassifier(random_state=seed, **params)
    return make_pipeline(RowSequencer(), classifier)


def searched(seed, n_trials, image_shape, pruner=None, cv=3, **params):
    estimator = pipeline(seed, **params)
    return OptunaSearchCV(
        estimator,
        suggest_space(estimator, image_shape=image_shape),
        n_trials=n_trials,
        pruner=pruner,
        cv=StratifiedKFold(cv, shuffle=True, random_state=seed),
        random_state=seed,
    )


def pruning(seeds, data):
    print("\n30 trials on 300 digits, 3 folds, at most 40 epochs")
    print("seed   epochs  pruned  saved    best  pruned  standard error")
    saved, differences = [], []
    for seed in range(seeds):
        X, y = digits(seed)
        full, cut = (
            searched(seed, 30, (8, 8), pruner, epochs=40).fit(X, y)
            for pruner in (NEVER, None)
        )
        n_full, n_cut = (s.cv_results_["n_epochs"].sum() for s in (full, cut))
        error = (full.best_score_ * (1 - full.best_score_) / len(y)) ** 0.5
        saved.append(1 - n_cut / n_full)
        differences.append((cut.best_score_ - full.best_score_) / error)
        print(
            f"{seed:4}  {n_full:7}  {n_cut:6}  {saved[-1]:5.0%}  "
            f"{full.best_score_:6.3f}  {cut.best_score_:6.3f}  {error:.3f}",
            flush=True,
        )
    print(
        f"mean saved {np.mean(saved):.0%}; best score pruned - unpruned: mean "
        f"{np.mean(differences):+.2f} standard errors, worst {min(differences):+.2f}"
    )


def defaults(seeds, data):
    if data is None:
        raise SystemExit("defaults needs --data FOLDER, which holds mnist.npz")
    with np.load(Path(data) / "mnist.npz") as file:
        images, labels = file["x_train"], file["y_train"]
        X_test, y_test = file["x_test"][:5000], file["y_test"][:5000]
    print("\n50 MNIST images a class, 30 trials; accuracy on 5,000 test images")
    print("seed  defaults  searched  difference  best parameters")
    differences = []
    for seed in range(seeds):
        rng = np.random.default_rng(seed)
        rows = np.concatenate(
            [rng.permutation(np.flatnonzero(labels == k))[:50] for k in range(10)]
        )
        rows = rng.permutation(rows)
        X, y = images[rows], labels[rows]
        plain = pipeline(seed).fit(X, y).score(X_test, y_test)
        search = searched(seed, 30, (28, 28)).fit(X, y)
        best = search.score(X_test, y_test)
        differences.append(best - plain)
        found = {k.partition("__")[2]: v for k, v in search.best_params_.items()}
        shown = ", ".join(f"{name} {value:.3g}" for name, value in found.items())
        print(
            f"{seed:4}  {plain:8.4f}  {best:8.4f}  {best - plain:+10.4f}  {shown}",
            flush=True,
        )
    from scipy.stats import t

    mean, n = np.mean(differences), len(differences)
    if n > 1:
        half = t.ppf(0.975, n - 1) * np.std(differences, ddof=1) / n**0.5
        print(f"mean difference {mean:+.4f}, 95 % interval {mean - half:+.4f} to "
              f"{mean + half:+.4f} (paired, {n} seeds)")  # fmt: skip


def overhead(seeds, data):
    X, y = digits(0)
    times = {"by hand": [], "search": [], "search, asking a pruner": []}
    never_prunes = optuna.pruners.ThresholdPruner(lower=-1.0)
    for _ in range(1 + seeds):
        search = searched(0, 5, (8, 8), NEVER).set_params(refit=False)
        start = time.perf_counter()
        search.fit(X, y)
        seconds = {"search": time.perf_counter() - start}
        start = time.perf_counter()
        for params in search.cv_results_["params"]:
            estimator = clone(search.estimator).set_params(**params)
            cross_val_score(estimator, X, y, cv=search.cv)
        seconds["by hand"] = time.perf_counter() - start
        search = searched(0, 5, (8, 8), never_prunes).set_params(refit=False)
        start = time.perf_counter()
        search.fit(X, y)
        seconds["search, asking a pruner"] = time.perf_counter() - start
        for name, value in seconds.items():
            times[name].append(value)
    print(f"\n5 trials on 300 digits, 3 folds, 60 epochs; medians of {seeds}")
    by_hand = statistics.median(times["by hand"][1:])
    for name, values in times.items():
        median = statistics.median(values[1:])
        print(f"{name:25} {median:6.2f} s  {median / by_hand - 1:+.1%}")


def jobs(seeds, data):
    print(
        "\n8 trials on 300 digits, 3 folds, no pruning: seconds, second search of two"
    )
    X, y = digits(0)
    for name, n_jobs, backend in (
        ("one job", 1, "threading"),
        ("two threads", 2, "threading"),
        ("two processes", 2, "loky"),
    ):
        search = searched(0, 8, (8, 8), NEVER).set_params(refit=False, n_jobs=n_jobs)
        with joblib.parallel_config(backend=backend):
            first, second = time.perf_counter(), None
            search.fit(X, y)
            second = time.perf_counter()
            search.fit(X, y)
        print(
            f"{name:15} first {second - first:6.1f}  "
            f"second {time.perf_counter() - second:6.1f}",
            flush=True,
        )


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parts = (pruning, defaults, overhead, jobs)
    named = {part.__name__: part for part in parts}
    parser.add_argument("parts", nargs="+", choices=named)
    parser.add_argument("--data", default=os.environ.get("SKLSTM_DATA"))
    parser.add_argument("--seeds", type=int, default=5)
    arguments = parser.parse_args()
    for name in arguments.parts:
        named[name](arguments.seeds, arguments.data)
    names = ("numpy", "scikit-learn", "keras", "tensorflow", "optuna", "joblib")
    print(
        f"\n{os.cpu_count()} cores, Python {platform.python_version()}, "
        + ", ".join(f"{name} {version(name)}" for name in names)
    )


if __name__ == "__main__":
    main()
