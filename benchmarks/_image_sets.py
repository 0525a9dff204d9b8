"""What several benchmarks share: image sets in a folder, and intervals of means."""

from functools import cache
from itertools import pairwise
from pathlib import Path

import cv2
import numpy as np

# Correlation of 16 x 16 pixels from which two photographs count as near-duplicates. It
# leaves out as many test images as Barz and Denzler (2020) found, 3.3 %.
DUPLICATE = 0.92


@cache
def cifar10(folder):
    with np.load(Path(folder) / "cifar10_jpeg.npz") as data:
        jpeg, ends = data["jpeg"], data["offsets"]
        y, is_train = data["y"], data["is_train"].astype(bool)
    images = np.stack(
        [
            cv2.imdecode(jpeg[a:b], cv2.IMREAD_COLOR)[..., ::-1]
            for a, b in pairwise(ends)
        ]
    )
    return images[is_train], y[is_train], images[~is_train], y[~is_train]


def near_duplicates(images, others):
    """Return whether each image correlates with one of the others."""

    def vectors(images):
        small = [
            cv2.resize(one, (16, 16), interpolation=cv2.INTER_AREA) for one in images
        ]
        flat = np.stack(small).reshape(len(small), -1).astype(np.float32)
        flat -= flat.mean(axis=1, keepdims=True)
        return flat / (np.linalg.norm(flat, axis=1, keepdims=True) + 1e-6)

    own, other = vectors(images), vectors(others)
    highest = [(own[i : i + 500] @ other.T).max(1) for i in range(0, len(own), 500)]
    return np.concatenate(highest) > DUPLICATE


@cache
def cifar10_test(folder):
    """Return 3,000 rows of the test part without near-duplicates of training images."""
    X, _, X_test, _ = cifar10(folder)
    kept = np.flatnonzero(~near_duplicates(X_test, X))
    return np.random.default_rng(0).choice(kept, 3000, False)


@cache
def retina(folder):
    """Return images and grades of the parts "train", "val" and "test"."""
    with np.load(Path(folder) / "retinamnist.npz") as data:
        return {
            part: (data[f"{part}_images"], data[f"{part}_labels"].ravel())
            for part in ("train", "val", "test")
        }


@cache
def grey_digits(folder, name):
    """Return training and test parts of mnist.npz, or of fashion_mnist.npz."""
    with np.load(Path(folder) / f"{name}.npz") as data:
        return tuple(data[part] for part in ("x_train", "y_train", "x_test", "y_test"))


def few_digits(state):
    """Return 134 of scikit-learn's digits to train on, and the others to test on."""
    from sklearn.datasets import load_digits
    from sklearn.model_selection import train_test_split

    X, y = load_digits(return_X_y=True)
    train, test, y_train, y_test = train_test_split(
        X.reshape(-1, 8, 8), y, train_size=134, stratify=y, random_state=state
    )
    return train, y_train, test, y_test


def choose(y, n_each, rng, rows):
    """Return so many rows of each class."""
    chosen = [rng.choice(rows[y[rows] == c], n_each, False) for c in np.unique(y)]
    return np.concatenate(chosen)


def interval(values):
    """Return the mean and half of its 95 % interval."""
    from scipy import stats

    values = np.asarray(values)
    if len(values) < 2:
        return values.mean(), np.nan
    half = stats.t.ppf(0.975, len(values) - 1) * stats.sem(values)
    return values.mean(), half
