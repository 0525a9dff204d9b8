"""Accuracy on rotated and shifted images, with and without augmentation.

    python benchmarks/augmentation.py [--data FOLDER] [--out FIGURE.png] [--seeds 3]

The data are scikit-learn's digits, half of them for training, and MNIST if FOLDER holds
mnist.npz, with 1,000 training images and 2,000 images of the test set. The test images
are rotated by 0 to 40 degrees, or shifted by 0 to 4 pixels, each in a random direction.
Pixels from beyond the border are 0. The models are the row LSTM, the hybrid, a CNN with
as many weights, and an SVC. To augment for the SVC, ten changed copies of each image
are added, with the same ranges as in the networks.
"""

import argparse
import os
from importlib.metadata import version
from pathlib import Path

import cv2
import numpy as np
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer
from sklearn.svm import SVC

from sklstm import LSTMImageClassifier, RowSequencer

ANGLES = (0, 10, 20, 30, 40)
SHIFTS = (0, 1, 2, 3, 4)
AUGMENTATION = {"rotation": 30, "translation": 0.15, "zoom": 0.1}


def warp(images, matrices):
    size = images.shape[2], images.shape[1]
    pairs = zip(images, matrices, strict=True)
    return np.stack([cv2.warpAffine(image, m, size) for image, m in pairs])


def turned(images, degrees, rng):
    center = (images.shape[2] - 1) / 2, (images.shape[1] - 1) / 2
    signs = rng.choice([-1, 1], len(images))
    return warp(
        images, [cv2.getRotationMatrix2D(center, s * degrees, 1) for s in signs]
    )


def shifted(images, pixels, rng):
    ways = np.array([(1, 0), (-1, 0), (0, 1), (0, -1)]) * float(pixels)
    return warp(
        images, [np.c_[np.eye(2), ways[rng.integers(4)]] for _ in range(len(images))]
    )


def flatten(images):
    return images.reshape(len(images), -1)


def copies(images, y, rng, n=10):
    """Augment for an SVC: return the images and n changed copies of each."""
    most, shift, zoom = (AUGMENTATION[k] for k in ("rotation", "translation", "zoom"))
    height, width = images.shape[1:]
    made = [images]
    for _ in range(n):
        for image in images:
            angle = rng.uniform(-most, most)
            scale = 1 / (1 + rng.uniform(-zoom, zoom))
            center = (width - 1) / 2, (height - 1) / 2
            matrix = cv2.getRotationMatrix2D(center, angle, scale)
            matrix[:, 2] += rng.uniform(-shift, shift, 2) * (width, height)
            made.append(
                cv2.warpAffine(
                    image, matrix, (width, height), borderMode=cv2.BORDER_REPLICATE
                )[None]
            )
    return np.concatenate(made), np.tile(y, n + 1)


def models(seed, epochs):
    for name, params in (
        ("row LSTM", {"sequencer": RowSequencer()}),
        ("hybrid", {"network": "cnn_lstm"}),
        ("CNN", {"network": "cnn"}),
    ):
        for augmentation in (None, AUGMENTATION):
            yield (
                (name, augmentation is not None),
                LSTMImageClassifier(
                    **params,
                    augmentation=augmentation,
                    epochs=epochs,
                    random_state=seed,
                ),
            )
    for augmented in (False, True):
        svc = make_pipeline(FunctionTransformer(flatten), SVC(C=10))
        yield ("SVC", augmented), svc


def read(name, folder, seed):
    if name == "digits":
        X, y = load_digits(return_X_y=True)
        X = X.reshape(-1, 8, 8).astype("float32")
        return train_test_split(X, y, train_size=0.5, stratify=y, random_state=seed)
    with np.load(Path(folder) / "mnist.npz") as data:
        X, y = data["x_train"], data["y_train"]
        X_test, y_test = data["x_test"][:2000], data["y_test"][:2000]
    X, _, y, _ = train_test_split(X, y, train_size=1000, stratify=y, random_state=seed)
    return X.astype("float32"), X_test.astype("float32"), y, y_test


def accuracies(name, args, epochs):
    """Return mean accuracies as {(model, augmented): (rotated, shifted)}."""
    found: dict = {}
    for seed in range(args.seeds):
        train, test, y, y_test = read(name, args.data, seed)
        rng = np.random.default_rng(seed)
        kinds = [
            [turned(test, angle, rng) for angle in ANGLES],
            [shifted(test, shift, rng) for shift in SHIFTS],
        ]
        for key, model in models(seed, epochs):
            if key == ("SVC", True):
                model.fit(*copies(train, y, np.random.default_rng(seed)))
            else:
                model.fit(train, y)
            rows = [[model.score(images, y_test) for images in kind] for kind in kinds]
            found.setdefault(key, []).append(rows)
            print(
                f"  {name} seed {seed} {key} {np.round(rows, 3).tolist()}", flush=True
            )
            del model
    spread = [np.std(rows, axis=0, ddof=1) for rows in found.values() if len(rows) > 1]
    if spread:
        print(f"  {name}: standard deviation over seeds at most {np.max(spread):.3f}")
    return {key: np.mean(rows, axis=0) for key, rows in found.items()}


def draw(results, path):
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(
        len(results), 2, figsize=(9, 3.6 * len(results)), sharey=True, squeeze=False
    )
    colors = {"row LSTM": "C0", "hybrid": "C1", "CNN": "C2", "SVC": "C7"}
    for row, (name, found) in zip(axes, results.items(), strict=True):
        for (model, augmented), rows in found.items():
            for axis, x, values in zip(row, (ANGLES, SHIFTS), rows, strict=True):
                axis.plot(
                    x,
                    values,
                    "o-" if augmented else "o--",
                    color=colors[model],
                    label=f"{model}, augmented" if augmented else model,
                )
        row[0].set(xlabel="turned by (degrees)", ylabel=f"{name}: accuracy")
        row[1].set(xlabel="shifted by (pixels)", xticks=SHIFTS)
        for axis in row:
            axis.set_ylim(0, 1.02)
            axis.grid(alpha=0.3)
    axes[0, 0].legend(fontsize=8)
    figure.tight_layout()
    figure.savefig(path, dpi=110)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", default=os.environ.get("SKLSTM_DATA"))
    parser.add_argument("--out", help="file for the figure")
    parser.add_argument("--seeds", type=int, default=3)
    args = parser.parse_args()
    results = {"digits": accuracies("digits", args, 60)}
    if args.data:
        results["MNIST"] = accuracies("MNIST", args, 30)
    for name, found in results.items():
        print(
            f"\n{name:20}turned by {ANGLES} degrees         shifted by {SHIFTS} pixels"
        )
        for (model, augmented), rows in found.items():
            label = f"{model}, augmented" if augmented else model
            cells = "   ".join(" ".join(f"{v:.3f}" for v in row) for row in rows)
            print(f"{label:20}{cells}")
    packages = ("scikit-learn", "keras", "tensorflow", "opencv-python-headless")
    print(", ".join(f"{name} {version(name)}" for name in packages))
    if args.out:
        draw(results, args.out)


if __name__ == "__main__":
    main()
