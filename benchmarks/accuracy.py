"""Accuracy, size and speed of all networks that read images, and of their controls.

    python benchmarks/accuracy.py --data FOLDER
        [--sets digits134,mnist,fashion,retina,cifar10] [--networks NAMES] [--seeds 5]
        [--train 5000] [--epochs auto] [--augmentation kind] [--params JSON]
        [--jobs 1] [--store FILE]

The sets:

digits134  134 of scikit-learn's digits. The others are the test.
mnist      TRAIN images of mnist.npz in FOLDER, as many of each class
fashion    TRAIN images of fashion_mnist.npz in FOLDER, as many of each class
retina     RetinaMNIST, the 1,080 photographs of its training part, in five grades.
           retinamnist.npz in FOLDER
cifar10    TRAIN images of cifar10_jpeg.npz in FOLDER, as many of each class. The test
           are 3,000 images that have no near-duplicate among the training images.

The other sets are tested on their whole test part. The networks are "lstm", which reads
the rows, and all named networks that read images. "cnn" is the control: it has no LSTM,
and as many weights as "cnn_lstm". All have default parameters. With `--augmentation
kind`, each set has the augmentation of its kind of images, the same for all networks;
with `none`, there is none. `--params '{"pooling": "last"}'` gives all of them further
parameters. A seed chooses the training images, the weights and the order, and all
networks get the same images.

Prints for each set the mean accuracy over the seeds with its 95 % interval (Student's
t), the mean gain over "cnn" on the same images, the accuracy on the training images,
the number of weights, and the median seconds of a fit. The milliseconds of a training
step of 32 images, and those of one image of a large prediction, are measured after all
fits, one network at a time: medians of three, after a first fit that traces the graph.

`--jobs` fits train at once, in one thread each, and their seconds are then longer than
alone. With `--store`, each result is a line of a file, and a run goes on where the last
one stopped.
"""

import argparse
import json
import os
import platform
import time

import numpy as np
from _fits import add_arguments, run_fits, versions
from _image_sets import (
    choose,
    cifar10,
    cifar10_test,
    few_digits,
    grey_digits,
    interval,
    retina,
)

KINDS = {
    "digits134": "characters",
    "mnist": "characters",
    "fashion": {"flip": "horizontal", "translation": 0.1, "zoom": 0.1},
    "retina": "fundus",
    "cifar10": "photo",
}
CONTROL = "cnn"
BATCH = 32


def image_networks():
    """Return the names of "lstm" and of all networks that read images."""
    from sklstm.networks import NETWORKS

    return ["lstm", *(name for name, one in NETWORKS.items() if one.takes == "images")]


def data_of(set_name, folder, seed, n_train):
    """Return training images and labels, then those of the test."""
    if set_name == "digits134":
        return few_digits(seed)
    if set_name == "retina":
        return *retina(folder)["train"], *retina(folder)["test"]
    if set_name == "cifar10":
        X, y, X_test, y_test = cifar10(folder)
        test = cifar10_test(folder)
        X_test, y_test = X_test[test], y_test[test]
    else:
        name = {"fashion": "fashion_mnist"}.get(set_name, set_name)
        X, y, X_test, y_test = grey_digits(folder, name)
    rng = np.random.default_rng(seed)
    rows = choose(y, n_train // 10, rng, np.arange(len(y)))
    return X[rows], y[rows], X_test, y_test


def make(job, **params):
    from sklstm import LSTMImageClassifier, RowSequencer

    if job["network"] == "lstm":  # the scan is inside, where augmentation comes first
        params["sequencer"] = RowSequencer()
    augmentation = KINDS[job["set"]] if job["augmentation"] == "kind" else None
    params |= {"augmentation": augmentation, "batch_size": BATCH, **job["params"]}
    return LSTMImageClassifier(job["network"], **params)


def fit(job, folder):
    """Return the accuracy of a network that is trained with one seed."""
    X, y, X_test, y_test = data_of(job["set"], folder, job["seed"], job["train"])
    model = make(job, epochs=job["epochs"], random_state=job["seed"])
    start = time.perf_counter()
    model.fit(X, y)
    seconds = time.perf_counter() - start
    return {
        **job,
        "accuracy": float(model.score(X_test, y_test)),
        "on_training": float(model.score(X, y)),
        "weights": int(model.model_.count_params()),
        "seconds": seconds,
    }


def measure(job, folder):
    """Return the milliseconds of a training step and of one predicted image."""
    X, y, _, _ = data_of(job["set"], folder, 0, job["train"])
    rows = np.random.default_rng(0).permutation(len(X))[:1024]
    X, y = X[rows], y[rows]
    epochs = 3
    n_steps = epochs * -(-len(X) // BATCH)
    model = make(job, epochs=epochs, random_state=0)
    many = np.concatenate([X] * -(-1024 // len(X)))
    steps, images = [], []
    for repeat in range(4):
        start = time.perf_counter()
        model.fit(X, y)
        middle = time.perf_counter()
        model.predict_proba(many)
        if repeat > 0:
            steps.append((middle - start) / n_steps * 1000)
        start = time.perf_counter()
        model.predict_proba(many)
        if repeat > 0:
            images.append((time.perf_counter() - start) / len(many) * 1000)
    return {**job, "step": np.median(steps), "image": np.median(images)}


WORK = {"fit": fit, "measure": measure}


def run(job, folder):
    return WORK[job["work"]](job, folder)


def show(value, width, form):
    return f"{'' if value is None else format(value, form):>{width}}"


def report(lines, sets, networks):
    for set_name in sets:
        print(
            f"\n{set_name:18}{'accuracy':>14}{'gain over cnn':>17}{'training':>10}"
            f"{'weights':>11}{'step, ms':>10}{'image, ms':>11}{'fit, s':>9}{'fits':>6}"
        )
        own = [line for line in lines if line["set"] == set_name]
        fits: dict = {}
        for line in own:
            if line["work"] == "fit":
                fits.setdefault(line["network"], {})[line["seed"]] = line
        times = {x["network"]: x for x in own if x["work"] == "measure"}
        control = fits.get(CONTROL, {})
        for network in networks:
            found = fits.get(network, {})
            if not found:
                continue
            mean, half = interval([line["accuracy"] for line in found.values()])
            gains = [
                found[seed]["accuracy"] - control[seed]["accuracy"]
                for seed in found.keys() & control.keys()
                if network != CONTROL
            ]
            gain = "{:+.3f} +-{:.3f}".format(*interval(gains)) if gains else ""
            lines_of = list(found.values())
            training = np.mean([line["on_training"] for line in lines_of])
            seconds = np.median([line["seconds"] for line in lines_of])
            time_of = times.get(network, {})
            print(
                f"{network:18}{f'{mean:.3f} +-{half:.3f}':>14}{gain:>17}"
                f"{training:>10.3f}{lines_of[0]['weights']:>11,}"
                + show(time_of.get("step"), 10, ".1f")
                + show(time_of.get("image"), 11, ".3f")
                + f"{seconds:>9.0f}{len(lines_of):>6}"
            )


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", default=os.environ.get("SKLSTM_DATA"))
    parser.add_argument("--sets", default=",".join(KINDS))
    parser.add_argument("--networks", default=None)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--train", type=int, default=5000)
    parser.add_argument("--epochs", default="auto")
    parser.add_argument("--augmentation", choices=["kind", "none"], default="kind")
    parser.add_argument("--params", type=json.loads, default={})
    add_arguments(parser)
    args = parser.parse_args()
    sets = args.sets.split(",")
    unknown = set(sets) - set(KINDS)
    if unknown:
        parser.error(f"--sets has {sorted(unknown)}; known are {', '.join(KINDS)}")
    if not args.data and sets != ["digits134"]:
        parser.error("give --data FOLDER, the folder that holds the sets")
    networks = args.networks.split(",") if args.networks else image_networks()
    unknown = set(networks) - set(image_networks())
    if unknown:
        parser.error(f"--networks has {sorted(unknown)}, which read no images")
    shared = {
        "train": args.train,
        "epochs": args.epochs if args.epochs == "auto" else int(args.epochs),
        "augmentation": args.augmentation,
        "params": args.params,
        "versions": versions(),
    }
    jobs = [
        {"work": work, "set": set_name, "network": network, "seed": seed, **shared}
        for work in WORK
        for seed in range(args.seeds if work == "fit" else 1)
        for set_name in sets
        for network in networks
    ]

    def tell(line):
        names = ("set", "network", "seed", "accuracy", "seconds", "step", "image")
        print(*(f"{line[n]:.3g}" if isinstance(line[n], float) else line[n]
                for n in names if n in line), flush=True)  # fmt: skip

    lines = []
    for work, n_jobs in (("fit", args.jobs), ("measure", 1)):
        own = [job for job in jobs if job["work"] == work]
        lines += run_fits(
            run, own, args.data, n_jobs=n_jobs, store=args.store, tell=tell
        )
    report(lines, sets, networks)
    print(
        f"\n{platform.processor() or platform.machine()}, {versions()}; "
        f"{args.jobs} fits at once"
    )


if __name__ == "__main__":
    main()
