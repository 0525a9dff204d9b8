"""Accuracy and AUC of the networks that read volumes, on AdrenalMNIST3D.

    python benchmarks/volumes.py --data FOLDER [--networks bilstm3d,cnn3d,conv_lstm]
        [--seeds 3] [--epochs 10] [--small] [--augment] [--jobs 1] [--store FILE]

The set has 1,188 training volumes of 28 x 28 x 28 voxels and 298 test volumes, split by
patient; adrenalmnist3d.npz in FOLDER. The networks train alike, with Adam and the
learning rate 1e-3. "cnn3d" is the control of "bilstm3d": no LSTM, as many weights. With
`--small`, all have half of their default units and filters. With `--augment`, volumes
are shifted by up to 10 % and flipped.

Prints the mean over the seeds with its 95 % interval (Student's t), and the difference
to the control on the same seeds. With `--store`, each fit is a line of a file, and a
run goes on where the last one stopped. `--jobs` fits train at once, in one thread each.
"""

import argparse
import os
import time
from pathlib import Path

import numpy as np
from _fits import add_arguments, run_fits, versions
from _image_sets import interval

NETWORKS = ("bilstm3d", "cnn3d", "conv_lstm")
CONTROL = "cnn3d"
MEASURES = ("auc", "accuracy")
# AUC and accuracy of Yang et al., "MedMNIST v2", Scientific Data 10, 2023.
PUBLISHED = {"ResNet-18 + 3D": (0.827, 0.721), "ResNet-18 + ACS": (0.839, 0.754)}
SMALL = {
    "bilstm3d": {"units": 32, "network__filters": 8},
    "cnn3d": {"units": 32, "network__filters": 8},
    "conv_lstm": {"network__filters": 8},
}
SHIFTS_AND_FLIPS = {"translation": 0.1, "flip": "both"}


def fit(job, folder):
    from sklearn.metrics import accuracy_score, roc_auc_score

    from sklstm import LSTMImageClassifier

    with np.load(Path(folder) / "adrenalmnist3d.npz") as data:
        X, y = data["train_images"], data["train_labels"].ravel()
        X_test, y_test = data["test_images"], data["test_labels"].ravel()
    model = LSTMImageClassifier(
        job["network"],
        augmentation=SHIFTS_AND_FLIPS if job["augment"] else None,
        learning_rate=1e-3,
        epochs=job["epochs"],
        random_state=job["seed"],
        **(SMALL[job["network"]] if job["small"] else {}),
    )
    start = time.perf_counter()
    model.fit(X, y)
    seconds = time.perf_counter() - start
    probabilities = model.predict_proba(X_test)
    return {
        **job,
        "auc": float(roc_auc_score(y_test, probabilities[:, 1])),
        "accuracy": float(accuracy_score(y_test, probabilities.argmax(axis=1))),
        "train": model.history_["accuracy"][-1],
        "weights": int(model.model_.count_params()),
        "seconds": seconds,
    }


def report(lines, networks):
    of: dict = {}
    for line in lines:
        of.setdefault(line["network"], {})[line["seed"]] = line
    for measure in MEASURES:
        print(f"\n{measure}: mean, 95 % interval; difference to {CONTROL!r}")
        for network in networks:
            own, control = of.get(network, {}), of.get(CONTROL, {})
            if not own:
                continue
            text = "{:.3f} +-{:.3f}".format(
                *interval([line[measure] for line in own.values()])
            )
            shared = sorted(own.keys() & control.keys())
            if shared and network != CONTROL:
                gains = [own[s][measure] - control[s][measure] for s in shared]
                text += "  {:+.3f} +-{:.3f}".format(*interval(gains))
            each = list(own.values())
            print(
                f"{network:10} {text:34} n={len(each)}, {each[0]['weights']:,} weights,"
                f" train accuracy {np.mean([line['train'] for line in each]):.3f},"
                f" {np.median([line['seconds'] for line in each]):.0f} s"
            )
    print("\npublished, AUC and accuracy:", PUBLISHED)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", default=os.environ.get("SKLSTM_DATA"))
    parser.add_argument("--networks", default=",".join(NETWORKS))
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--small", action="store_true")
    parser.add_argument("--augment", action="store_true")
    add_arguments(parser)
    args = parser.parse_args()
    if not args.data:
        parser.error("give --data FOLDER, the folder that holds adrenalmnist3d.npz")
    networks = args.networks.split(",")
    jobs = [
        {
            "network": network,
            "seed": seed,
            "epochs": args.epochs,
            "small": args.small,
            "augment": args.augment,
        }
        for seed in range(args.seeds)
        for network in networks
    ]

    def tell(line):
        print(
            f"{line['network']:10} seed {line['seed']}: AUC {line['auc']:.3f}, "
            f"accuracy {line['accuracy']:.3f} ({line['seconds']:.0f} s)",
            flush=True,
        )

    lines = run_fits(
        fit, jobs, args.data, n_jobs=args.jobs, store=args.store, tell=tell
    )
    report(lines, networks)
    print(f"\n{versions()}")


if __name__ == "__main__":
    main()
