"""Gain of each part of a training recipe on small image sets.

    python benchmarks/recipes.py --data FOLDER [--sets cifar10,retina,digits,mnist]
        [--networks cnn_lstm,cnn] [--steps NAMES] [--splits 5] [--part development]
        [--epochs N] [--jobs 2] [--store FILE]

The sets:

cifar10  50 images a class, 200 epochs. cifar10_jpeg.npz in FOLDER
retina   RetinaMNIST, 1,080 photographs in five grades. retinamnist.npz in FOLDER
digits   134 of scikit-learn's digits
mnist    60 images a class. mnist.npz in FOLDER
tiles    magnetic_tile/ in FOLDER: photographs in six classes, 64 x 64. All photographs
         of a tile are in one of five folds. Named by --sets only
adrenal  AdrenalMNIST3D, 1,188 volumes in two classes. adrenalmnist3d.npz in FOLDER.
         Named by --sets only, and without an augmentation

The network "cnn" is the control: it has no LSTM, and as many weights. Both get every
step. The first steps follow on each other: "base" is what the documentation advised
before there were recipes, "kind" augments by the kind of the images, and "decay" also
has weight decay. Each further step adds one part to "decay". "recipe" adds all parts
that are chosen for the set. The steps "narrow", "wide", "shallow", "deep", "fine",
"coarse" and "residual 2" change width, depth, resolution and blocks of the stem, "stem
dropout" drops features inside residual blocks, "sided" keeps left and right eyes, and
"squeezed 32", "squeezed 64" and "positions" change how the LSTMs read it (of "cnn_lstm"
alone); name them to run them. So is "auto", which trains
``LSTMImageClassifier("auto")``, and for the control a "cnn" with all that it chose. All
else is chosen with `--part development`:

cifar10  Training and test images are of two halves of the training part.
retina   Five folds of the training part.
others   The same images as in the test, in other splits.

Without it, the test images are the test part of CIFAR-10 without those that have a
near-duplicate among all training images, the validation part of RetinaMNIST, the digits
that were not trained on, and the test part of MNIST.

Prints the mean over the splits with its 95 % interval (Student's t), and the mean gain
over the step before on the same splits. With `--store`, each fit is a line of a file,
and a run goes on where the last one stopped. `--jobs` fits train at once, in one thread
each.
"""

import argparse
import os
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

FLIPS_AND_LIGHT = {
    "flip": "horizontal",
    "rotation": 15,
    "translation": 0.1,
    "zoom": 0.1,
}
BASES = {
    "cifar10": {"augmentation": FLIPS_AND_LIGHT, "epochs": 200},
    "retina": {"augmentation": "light"},
    "digits": {"augmentation": "light"},
    "mnist": {"augmentation": "light"},
    "tiles": {"augmentation": "light"},
    "adrenal": {},
}
KINDS = {
    "cifar10": "photo",
    "retina": "fundus",
    "digits": "characters",
    "mnist": "characters",
    "tiles": "surface",
}
DECAY = {"weight_decay": 0.3}
RESIDUAL = {"stem_blocks": "residual", "stem_depth": 1}
# What each step adds to "decay".
PARTS = {
    "warm-up": {"warmup": 0.1, "learning_rate": 6e-3, "weight_decay": 0.15},
    "smoothing": {"label_smoothing": 0.1},
    "mean": {"average_epochs": 10},
    "mixup": {"mixup": 0.2},
    "cutmix": {"cutmix": 1.0},
    "harmonic": {"stem_kernels": "harmonic"},
    "residual": RESIDUAL,
    "drop path": {**RESIDUAL, "drop_path": 0.2},
    "ordinal": {"ordinal": True},
}
# Width, depth and resolution of the stem. They are not among the default steps.
STEMS = {
    "narrow": {"network__filters": 16},
    "wide": {"network__filters": 48},
    "shallow": {"stem_depth": 1},
    "deep": {"stem_depth": 3},
    "fine": {"stem_size": 16},
    "coarse": {"stem_size": 4},
    "residual 2": {"stem_blocks": "residual", "stem_depth": 2},
    "stem dropout": {**RESIDUAL, "stem_dropout": 0.2},
}
# How the LSTMs read what the stem gives. They are not among the default steps either.
READERS = {
    "squeezed 32": {"network__squeezed_filters": 32},
    "squeezed 64": {"network__squeezed_filters": 64},
    "positions": {"network__scan": "positions"},
}
# Another kind of image. It comes after "base", as "kind" does.
OTHER_KINDS = {"sided": {"augmentation": "fundus_sided"}}
STEPS = ("base", "kind", "decay", *PARTS, "recipe")
# Chosen with --part development.
RECIPES: dict[str, dict] = {
    "cifar10": {"stem_kernels": "harmonic"},
    "retina": {"weight_decay": None},
    "digits": {"stem_kernels": "harmonic"},
    "mnist": {"stem_kernels": "harmonic"},
}


def params_of(set_name, step):
    if step == "auto":
        return {}
    params = dict(BASES[set_name])
    if step != "base":
        params["augmentation"] = KINDS[set_name]
    if step not in ("base", "kind", *OTHER_KINDS):
        params.update(DECAY)
    return {
        **params,
        **(
            RECIPES[set_name]
            if step == "recipe"
            else {**PARTS, **STEMS, **READERS, **OTHER_KINDS}.get(step, {})
        ),
    }


def step_before(step):
    before = {
        "base": None,
        "kind": "base",
        "decay": "kind",
        "sided": "base",
        "auto": "base",
    }
    return before.get(step, "decay")


def data_of(set_name, folder, split, development):
    """Return training images and labels, then those of the test."""
    rng = np.random.default_rng([split, development])
    if set_name == "cifar10":
        X, y, X_test, y_test = cifar10(folder)
        if not development:
            rows, test = choose(y, 50, rng, np.arange(len(y))), cifar10_test(folder)
            return X[rows], y[rows], X_test[test], y_test[test]
        first, second = np.split(np.random.default_rng(0).permutation(len(y)), 2)
        rows, test = choose(y, 50, rng, first), rng.choice(second, 1500, False)
        return X[rows], y[rows], X[test], y[test]
    if set_name == "retina":
        X, y = retina(folder)["train"]
        if not development:
            return X, y, *retina(folder)["val"]
        from sklearn.model_selection import StratifiedKFold

        folds = StratifiedKFold(5, shuffle=True, random_state=split // 5)
        rows, test = list(folds.split(X, y))[split % 5]
        return X[rows], y[rows], X[test], y[test]
    if set_name == "tiles":
        return tiles(folder, split + 1000 * development)
    if set_name == "adrenal":
        with np.load(os.path.join(folder, "adrenalmnist3d.npz")) as file:
            parts = ("train", "val" if development else "test")
            found = [(file[f"{p}_images"], file[f"{p}_labels"][:, 0]) for p in parts]
        return *found[0], *found[1]
    if set_name == "digits":
        return few_digits(split + 1000 * development)
    X, y, X_test, y_test = grey_digits(folder, "mnist")
    rows = choose(y, 60, rng, np.arange(len(y)))
    return X[rows], y[rows], X_test[:5000], y_test[:5000]


def tiles(folder, split):
    """Return photographs of tiles and their classes, and those of other tiles."""
    import cv2
    from defects import read
    from sklearn.model_selection import StratifiedGroupKFold

    images, _, classes, groups = read(folder)
    X = np.stack(
        [cv2.resize(one, (64, 64), interpolation=cv2.INTER_AREA) for one in images]
    )
    folds = StratifiedGroupKFold(5, shuffle=True, random_state=split // 5)
    rows, test = list(folds.split(X, classes, groups))[split % 5]
    return X[rows], classes[rows], X[test], classes[test]


def fit(job, folder):
    from sklearn.metrics import (
        accuracy_score,
        balanced_accuracy_score,
        roc_auc_score,
    )

    from sklstm import LSTMImageClassifier
    from sklstm.metrics import quadratic_weighted_kappa
    from sklstm.model_selection._controls import default_controls

    split = job["split"]
    X, y, X_test, y_test = data_of(job["set"], folder, split, job["development"])
    start = time.perf_counter()
    model = LSTMImageClassifier(job["network"], random_state=split, **job["params"])
    if job["step"] == "auto":
        model.set_params(network="auto")
        if job["network"] == "cnn":
            model = default_controls({"auto": model}, X, False)["matched CNN"]
    model.fit(X, y)
    seconds = time.perf_counter() - start
    probabilities = model.predict_proba(X_test)
    predicted = model.classes_[probabilities.argmax(axis=1)]
    scores = {"accuracy": accuracy_score(y_test, predicted)}
    if job["set"] == "retina":
        scores["auc"] = roc_auc_score(y_test, probabilities, multi_class="ovr")
        scores["kappa"] = quadratic_weighted_kappa(y_test, predicted)
    if job["set"] == "adrenal":
        scores["auc"] = roc_auc_score(y_test, probabilities[:, 1])
    if job["set"] == "tiles":
        scores["balanced"] = balanced_accuracy_score(y_test, predicted)
    return {
        **job,
        **scores,
        "train": float(model.score(X, y)),
        "weights": int(model.estimators_[0].model_.count_params()),
        "seconds": seconds,
    }


def report(lines, sets, networks, steps):
    for set_name in sets:
        more = {
            "retina": ("auc", "kappa"),
            "tiles": ("balanced",),
            "adrenal": ("auc",),
        }
        measures = ("accuracy", *more.get(set_name, ()))
        for measure in measures:
            print(f"\n{set_name}, {measure}: mean, 95 % interval; gain by the step")
            for network in networks:
                own = [
                    line
                    for line in lines
                    if line["set"] == set_name and line["network"] == network
                ]
                of_step: dict = {}
                for line in own:
                    of_step.setdefault(line["step"], {})[line["split"]] = line
                for step in steps:
                    found = of_step.get(step, {})
                    if not found:
                        continue
                    mean, half = interval([line[measure] for line in found.values()])
                    before = of_step.get(step_before(step), {})
                    gains = [
                        found[split][measure] - before[split][measure]
                        for split in found.keys() & before.keys()
                    ]
                    text = "{:+.3f} +-{:.3f}".format(*interval(gains)) if gains else ""
                    found = list(found.values())
                    train = np.mean([line["train"] for line in found])
                    seconds = np.median([line["seconds"] for line in found])
                    print(
                        f"{network:9} {step:16} {mean:.3f} +-{half:.3f}  {text:16}"
                        f"n={len(found)}  train {train:.3f}  {seconds:.0f} s"
                    )


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", default=os.environ.get("SKLSTM_DATA"))
    parser.add_argument("--sets", default="cifar10,retina,digits,mnist")
    parser.add_argument("--networks", default="cnn_lstm,cnn")
    parser.add_argument("--steps", default=",".join(STEPS))
    parser.add_argument("--splits", type=int, default=5)
    parser.add_argument("--part", choices=["development", "test"], default="test")
    parser.add_argument("--epochs", type=int, help="in place of those of the set")
    add_arguments(parser)
    args = parser.parse_args()
    sets, networks, steps = (
        given.split(",") for given in (args.sets, args.networks, args.steps)
    )
    if not args.data and sets != ["digits"]:
        parser.error("give --data FOLDER, the folder that holds the sets")
    development = args.part == "development"
    jobs = []
    for split in range(args.splits):
        for set_name in sets:
            for step in steps:
                if step == "recipe" and set_name not in RECIPES:
                    continue
                if step == "ordinal" and set_name != "retina":
                    continue
                for network in networks:
                    params = params_of(set_name, step)
                    if args.epochs:
                        params["epochs"] = args.epochs
                    job = {
                        "set": set_name,
                        "network": network,
                        "step": step,
                        "split": split,
                        "development": development,
                        "params": params,
                    }
                    jobs.append(job)

    def tell(line):
        names = ("set", "network", "step", "split")
        print(*(line[name] for name in names), end=" ")
        print(f"{line['accuracy']:.3f} ({line['seconds']:.0f} s)", flush=True)

    lines = run_fits(
        fit, jobs, args.data, n_jobs=args.jobs, store=args.store, tell=tell
    )
    report(lines, sets, networks, steps)
    print(f"\n{versions()}")


if __name__ == "__main__":
    main()
