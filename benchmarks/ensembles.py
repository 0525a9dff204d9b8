"""Cost, accuracy and uncertainty of ensembles.

    python benchmarks/ensembles.py cost [--members 1,5,10]
    python benchmarks/ensembles.py accuracy --data FOLDER [--sets digits,mnist,...]
        [--networks cnn_lstm,cnn] [--splits 5] [--jobs 2] [--store FILE]
    python benchmarks/ensembles.py calibration [--seeds 5]
    python benchmarks/ensembles.py uncertainty --data FOLDER [--seeds 5]

cost         Seconds and memory of one fit of an LSTM on 300 digits, of an ensemble, of
             as many separate fits, of separate fits in threads, and of scikit-learn's
             BaggingClassifier and VotingClassifier of the same networks. Each way runs
             in a process of its own, after a fit that builds the graph.
             benchmarks/stacking.py has stacked fits.
accuracy     Accuracy of the first 1, 3, 5 and 10 members of an ensemble, and the
             expected calibration error of 5 members before and after the temperature,
             with 95 % intervals over the splits. Sets and recipes are those of
             recipes.py. The network "cnn" is the control: it has no LSTM, and as many
             weights. With `--store`, each fit is a line of a file, and a run goes on
             where the last one stopped.
calibration  Expected calibration error and log-loss on digits, with 300 to train on:
             of one row LSTM, of 5 members, and of these with a temperature from samples
             held out (a fifth) and from samples out of the bag.
uncertainty  Accuracy on digits without the most uncertain 10 %, and how well the
             uncertainty tells Fashion-MNIST from MNIST (area under the ROC curve), for
             ensembles of 5 networks.
"""

import argparse
import os
import statistics
import time
from concurrent.futures import (
    ProcessPoolExecutor,
    ThreadPoolExecutor,
)
from itertools import product
from multiprocessing import get_context
from pathlib import Path

import numpy as np
from _fits import add_arguments, run_fits, versions
from recipes import BASES, data_of, interval, params_of

MEMBERS = (1, 3, 5, 10)
SMALL = {"units": 64, "epochs": 10}
WAYS = ("cost", "accuracy", "calibration", "uncertainty")


# --- cost ---------------------------------------------------------------------------


def cost(way, n, seed):
    """Return the seconds and the memory in MB of one way to train n networks."""
    import psutil
    from sklearn.datasets import load_digits
    from sklearn.ensemble import BaggingClassifier, VotingClassifier

    from sklstm import LSTMImageClassifier

    X, y = load_digits(return_X_y=True)
    X, y = X[:300].reshape(-1, 8, 8), y[:300]
    flat = X.reshape(len(X), -1)

    def one(i=0):
        return LSTMImageClassifier(random_state=seed + i, **SMALL)

    def separate():
        return [one(i).fit(X, y) for i in range(n)]

    def threads():
        with ThreadPoolExecutor(os.cpu_count()) as pool:
            return list(pool.map(lambda i: one(i).fit(X, y), range(n)))

    ways = {
        "separate fits": separate,
        "fits in threads": threads,
        "ensemble": lambda: one().set_params(n_estimators=n).fit(X, y),
        "ensemble, bootstrap": lambda: (
            one().set_params(n_estimators=n, bootstrap=True).fit(X, y)
        ),
        "BaggingClassifier": lambda: BaggingClassifier(
            one(), n_estimators=n, random_state=seed
        ).fit(flat, y),
        "VotingClassifier": lambda: VotingClassifier(
            [(str(i), one(i)) for i in range(n)], voting="soft"
        ).fit(flat, y),
    }
    one().fit(X, y)
    process = psutil.Process()
    before = process.memory_info().rss
    start = time.perf_counter()
    fitted = ways[way]()
    seconds = time.perf_counter() - start
    members = fitted if isinstance(fitted, list) else [fitted]
    start = time.perf_counter()
    for member in members:
        shaped = "Classifier" in way
        member.predict_proba(flat if shaped else X)
    predicting = time.perf_counter() - start
    return seconds, (process.memory_info().rss - before) / 1e6, predicting


def print_cost(members, repeats):
    ways = (
        "separate fits",
        "fits in threads",
        "ensemble",
        "ensemble, bootstrap",
        "BaggingClassifier",
        "VotingClassifier",
    )
    print("seconds to train, MB that this added, seconds to predict; medians")
    context = get_context("spawn")
    for n in members:
        for way in ways:
            found = []
            for seed in range(repeats):
                with ProcessPoolExecutor(1, context) as process:
                    found.append(process.submit(cost, way, n, seed).result())
            figures = [statistics.median(column) for column in zip(*found, strict=True)]
            print("{:3} {:20} {:7.1f} {:7.0f} {:7.2f}".format(n, way, *figures))


# --- accuracy -----------------------------------------------------------------------


def fit(job, folder):
    from sklstm import LSTMImageClassifier
    from sklstm.metrics import expected_calibration_error

    X, y, X_test, y_test = data_of(job["set"], folder, job["split"], False)
    model = LSTMImageClassifier(
        job["network"],
        n_estimators=job["members"],
        calibration="temperature" if job["calibrated"] else None,
        random_state=job["split"],
        **job["params"],
    )
    start = time.perf_counter()
    model.fit(X, y)
    found = {"seconds": time.perf_counter() - start}
    each = np.stack([m.predict_proba(X_test) for m in model.estimators_])

    def score(probabilities):
        predicted = model.classes_[probabilities.argmax(axis=1)]
        return {
            "accuracy": float((predicted == y_test).mean()),
            "ece": expected_calibration_error(
                y_test, probabilities, labels=model.classes_
            ),
        }

    if job["calibrated"]:
        found["before"] = score(each.mean(axis=0))
        found["after"] = score(model.predict_proba(X_test))
        found["temperature"] = model.temperature_
    else:
        for n in MEMBERS:
            if n <= job["members"]:
                found[str(n)] = score(each[:n].mean(axis=0))
    return {**job, **found}


def print_accuracy(args, sets, networks):
    jobs = [
        {
            "set": set_name,
            "network": network,
            "split": split,
            "members": n,
            "calibrated": calibrated,
            "params": params_of(set_name, args.step),
        }
        for split in range(args.splits)
        for set_name in sets
        for network in networks
        for n, calibrated in ((max(MEMBERS), False), (5, True))
    ]

    def tell(line):
        names = ("set", "network", "split", "members")
        print(*(line[name] for name in names), f"{line['seconds']:.0f} s", flush=True)

    lines = run_fits(
        fit, jobs, args.data, n_jobs=args.jobs, store=args.store, tell=tell
    )
    print("\naccuracy and expected calibration error, with 95 % intervals")
    for set_name in sets:
        for network in networks:
            own = [
                one
                for one in lines
                if one["set"] == set_name and one["network"] == network
            ]
            for name in (*map(str, MEMBERS), "before", "after"):
                rows = [one for one in own if name in one]
                if not rows:
                    continue
                texts = [
                    "{:.3f} +-{:.3f}".format(*interval([r[name][m] for r in rows]))
                    for m in ("accuracy", "ece")
                ]
                first = {one["split"]: one for one in own if "1" in one}
                gains = [
                    one[name]["accuracy"] - one["1"]["accuracy"]
                    for one in rows
                    if name in first.get(one["split"], {}) and name != "1"
                ]
                gain = "{:+.3f} +-{:.3f}".format(*interval(gains)) if gains else ""
                print(
                    f"{set_name:8} {network:9} {name:7} accuracy {texts[0]}  "
                    f"{gain:16} ECE {texts[1]}  n={len(rows)}"
                )


# --- uncertainty --------------------------------------------------------------------


def print_calibration(seeds, n_estimators):
    from sklearn.datasets import load_digits
    from sklearn.metrics import log_loss
    from sklearn.model_selection import train_test_split

    from sklstm import LSTMImageClassifier
    from sklstm.metrics import expected_calibration_error

    X, y = load_digits(return_X_y=True)
    X = X.reshape(-1, 8, 8)
    rows: dict = {}
    for seed in range(seeds):
        train, test, y_train, y_test = train_test_split(
            X, y, train_size=300, stratify=y, random_state=seed
        )

        def add(name, probabilities, temperature=np.nan, y_test=y_test):
            probabilities = np.asarray(probabilities, np.float64)
            probabilities /= probabilities.sum(axis=1, keepdims=True)
            rows.setdefault(name, []).append(
                (
                    (probabilities.argmax(axis=1) == y_test).mean(),
                    expected_calibration_error(y_test, probabilities),
                    log_loss(y_test, probabilities),
                    temperature,
                )
            )

        for name, params in (
            ("all samples", {}),
            ("held out", {"calibration": "temperature", "validation_fraction": 0.2}),
            ("out of bag", {"calibration": "temperature", "bootstrap": True}),
        ):
            model = LSTMImageClassifier(
                n_estimators=n_estimators, epochs=30, random_state=seed, **params
            ).fit(train, y_train)
            each = [member.predict_proba(test) for member in model.estimators_]
            if not params:
                add("one network", each[0])
            add(f"{name}, mean", np.mean(each, axis=0))
            if params:
                add(f"{name}, tempered", model.predict_proba(test), model.temperature_)
        print(f"seed {seed}: done", flush=True)
    for name, found in rows.items():
        texts = [
            "{:.3f} +-{:.3f}".format(*interval(column))
            for column in zip(*found, strict=True)
        ]
        print("{:22} accuracy {}  ECE {}  log-loss {}  T {}".format(name, *texts))


# With all filters, the networks need ten times as long for the same answer.
CONVOLUTIONAL = {"network__filters": 8, "units": 32, "epochs": 12}


def print_uncertainty(folder, seeds, n_estimators, networks):
    from sklearn.datasets import load_digits
    from sklearn.metrics import roc_auc_score
    from sklearn.model_selection import train_test_split

    from sklstm import LSTMImageClassifier

    X, y = load_digits(return_X_y=True)
    X = X.reshape(-1, 8, 8)
    rows = []
    for seed in range(seeds):
        train, test, y_train, y_test = train_test_split(
            X, y, train_size=300, stratify=y, random_state=seed
        )
        model = LSTMImageClassifier(
            n_estimators=n_estimators, epochs=30, random_state=seed
        )
        right = model.fit(train, y_train).predict(test) == y_test
        order = np.argsort(model.predict_uncertainty(test).total)
        kept = order[: int(0.9 * len(order))]
        rows.append((right.mean(), right[kept].mean()))
        print(f"digits, seed {seed}: {rows[-1][0]:.4f}, kept {rows[-1][1]:.4f}")
    for name, column in (("all", 0), ("certain 90 %", 1)):
        values = [row[column] for row in rows]
        print("accuracy on {}: {:.4f} +-{:.4f}".format(name, *interval(values)))
    if folder is None:
        return
    with np.load(Path(folder) / "mnist.npz") as data:
        X, y, known = data["x_train"], data["y_train"], data["x_test"][:1000]
    with np.load(Path(folder) / "fashion_mnist.npz") as data:
        other = data["x_test"][:1000]
    measures: dict = {}
    for seed, network in product(range(seeds), networks):
        chosen = np.random.default_rng(seed).choice(len(X), 1000, False)
        params = {"epochs": 20} if network == "lstm" else CONVOLUTIONAL
        model = LSTMImageClassifier(
            network, n_estimators=n_estimators, random_state=seed, **params
        ).fit(X[chosen], y[chosen])
        both = np.concatenate([known, other])
        is_other = np.arange(len(both)) >= len(known)
        found = model.predict_uncertainty(both)._asdict()
        found["max_probability"] = 1 - model.predict_proba(both).max(axis=1)
        alone = model.estimators_[0].predict_proba(both)
        found["max_probability of one network"] = 1 - alone.max(axis=1)
        for name, values in found.items():
            area = roc_auc_score(is_other, values)
            measures.setdefault((network, name), []).append(area)
        print(f"MNIST, {network}, seed {seed}: done", flush=True)
    for (network, name), values in measures.items():
        print(
            "{:8} AUROC of {}: {:.3f} +-{:.3f}".format(network, name, *interval(values))
        )


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("what", choices=WAYS)
    parser.add_argument("--data", default=os.environ.get("SKLSTM_DATA"))
    parser.add_argument("--members", default="1,5,10")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--sets", default=",".join(BASES))
    parser.add_argument("--networks", default="cnn_lstm,cnn")
    parser.add_argument("--step", default="decay", help="step of recipes.py")
    parser.add_argument("--splits", type=int, default=5)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--n-estimators", type=int, default=5)
    add_arguments(parser)
    args = parser.parse_args()
    if args.what == "cost":
        print_cost(list(map(int, args.members.split(","))), args.repeats)
    elif args.what == "accuracy":
        sets = args.sets.split(",")
        if not args.data and sets != ["digits"]:
            parser.error("give --data FOLDER, the folder that holds the sets")
        print_accuracy(args, sets, args.networks.split(","))
    elif args.what == "calibration":
        print_calibration(args.seeds, args.n_estimators)
    else:
        networks = args.networks.split(",")
        print_uncertainty(args.data, args.seeds, args.n_estimators, networks)
    print(f"\n{versions()}")


if __name__ == "__main__":
    main()
