"""Benefit and cost of OptunaSearchCV: pruning, gain over the defaults, and overhead.

    python benchmarks/optuna_search.py pruning defaults overhead jobs
        [--data FOLDER] [--seeds 5] [--sets digits,mnist,fashion_mnist]

pruning    Runs 30 trials on 300 digits, with and without pruning, for each seed. Prints
           the epochs and the best scores.
defaults   Runs 30 trials over the basic space, for each seed, on 300 digits, and on 50
           images per class of MNIST and of Fashion-MNIST. Compares the best trial, the
           best of five finalists after three repeats (n_repeats=3), and the ensemble of
           the five (refit="ensemble") with the defaults on the same images, on the
           other digits or on 5,000 test images. `--sets` leaves sets out.
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
from scipy.stats import t
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


def pruning(seeds):
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


def few_and_test(name, folder, seed):
    """Return images and labels to train on, and those of the test."""
    rng = np.random.default_rng(seed)
    if name == "digits":
        digits = load_digits()
        X, y = digits.images.astype("uint8"), digits.target
        rows = rng.permutation(len(y))
        return X[rows[:300]], y[rows[:300]], X[rows[300:]], y[rows[300:]]
    if folder is None:
        raise SystemExit(f"defaults needs --data FOLDER, which holds {name}.npz")
    with np.load(Path(folder) / f"{name}.npz") as file:
        X, y = file["x_train"], file["y_train"]
        test = file["x_test"][:5000], file["y_test"][:5000]
    rows = [rng.permutation(np.flatnonzero(y == k))[:50] for k in range(10)]
    rows = rng.permutation(np.concatenate(rows))
    return X[rows], y[rows], *test


def defaults(seeds, folder, sets):
    names = ("best trial", "repeated", "ensemble")
    how = (
        {},
        {"n_finalists": 5, "n_repeats": 3},
        {"n_finalists": 5, "refit": "ensemble"},
    )
    for set_name in sets:
        print(f"\n{set_name}, 30 trials; test accuracy, and gain over the defaults")
        print(f"seed  defaults  {names[0]:>17} {names[1]:>17} {names[2]:>17}")
        gains = []
        for seed in range(seeds):
            X, y, X_test, y_test = few_and_test(set_name, folder, seed)
            plain = pipeline(seed).fit(X, y).score(X_test, y_test)
            # The three searches share their trials.
            shared = {
                "storage": optuna.storages.InMemoryStorage(),
                "study_name": "one",
            }
            found = [
                searched(seed, 30, X.shape[1:3])
                .set_params(**shared, **own)
                .fit(X, y)
                .score(X_test, y_test)
                for own in how
            ]
            gains.append([score - plain for score in found])
            cells = [f"{s:9.4f} {s - plain:+.4f}" for s in found]
            print(f"{seed:4}  {plain:8.4f}  {'  '.join(cells)}", flush=True)
        if seeds < 2:
            continue
        gains = np.array(gains)
        half = t.ppf(0.975, seeds - 1) * gains.std(axis=0, ddof=1) / seeds**0.5
        for name, mean, width in zip(names, gains.mean(axis=0), half, strict=True):
            print(
                f"{name}: mean gain {mean:+.4f}, 95 % interval {mean - width:+.4f} to "
                f"{mean + width:+.4f} (paired, {seeds} seeds)"
            )


def overhead(seeds):
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


def jobs(seeds):
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
    named = {part.__name__: part for part in (pruning, defaults, overhead, jobs)}
    parser.add_argument("parts", nargs="+", choices=named)
    parser.add_argument("--data", default=os.environ.get("SKLSTM_DATA"))
    parser.add_argument("--sets", default="digits,mnist,fashion_mnist")
    parser.add_argument("--seeds", type=int, default=5)
    arguments = parser.parse_args()
    for name in arguments.parts:
        own = (arguments.data, arguments.sets.split(",")) if name == "defaults" else ()
        named[name](arguments.seeds, *own)
    names = ("numpy", "scikit-learn", "keras", "tensorflow", "optuna", "joblib")
    print(
        f"\n{os.cpu_count()} cores, Python {platform.python_version()}, "
        + ", ".join(f"{name} {version(name)}" for name in names)
    )


if __name__ == "__main__":
    main()
