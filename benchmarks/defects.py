"""Scores of LSTMDefectDetector and of four controls on photographs of magnetic tiles.

    python benchmarks/defects.py --data FOLDER [--seeds 0 1 2 3 4] [--split random]

FOLDER holds magnetic_tile/. All photographs of one tile are on one side of each split.
A new tile starts where frame numbers jump by more than 100. A fifth of the tiles of
each class is the test set, and a fifth of the others chooses the threshold of every
model. ``--split random`` splits photographs instead of tiles, as published results do.
Most photographs of a tile are then in the training set when the others are tested.

The controls are the detector without chains (``crf=False``); a U-Net with about as many
weights, trained on the same images at the same size, with the same contrast,
augmentation and weights of defects; a random forest on statistics of the same windows
and their surroundings; and the distance to the image's median. The scores count all
pixels at the size of the photographs. The average precision uses every fifth pixel.

``--few N`` compares the detector with and without ``synthetic_defects`` instead. It
trains on N photographs with defects, drawn at random for each seed, and on all good
ones. The other parts of the split stay as they are.
"""

import argparse
import os
import re
import time
from importlib.metadata import version
from pathlib import Path

import cv2
import numpy as np
from sklearn.ensemble import RandomForestClassifier
from sklearn.metrics import average_precision_score, roc_auc_score
from sklearn.model_selection import StratifiedGroupKFold

from sklstm import LSTMDefectDetector, PatchSequencer
from sklstm.estimators._threshold import OF_PIXELS, THRESHOLDS, best_threshold

SIZE = 128
GRID = SIZE // 8
LEARNING_RATE = 4e-3
AUGMENTATION = {"flip": "both", "contrast": 0.2}
# What `--few` compares.
SYNTHETIC = {
    "none": None,
    "paste": {"paste": 0.5},
    "noise": {"noise": 0.5},
    "both": {"paste": 0.25, "noise": 0.25},
}


def read(folder):
    """Return images, masks, classes and groups, sorted by frame number."""
    files = []
    for path in (Path(folder) / "magnetic_tile").glob("*/*.jpg"):
        frame = int(re.search(r"num_(\d+)", path.name)[1])
        files.append((frame, path.parent.name, path))
    files.sort()
    if not files:
        raise SystemExit(f"looked for {folder}/magnetic_tile/*/*.jpg; none is there")
    frames = np.array([frame for frame, _, _ in files])
    groups = np.cumsum(np.diff(frames, prepend=frames[0]) > 100)
    images = [cv2.imread(str(path), cv2.IMREAD_GRAYSCALE) for *_, path in files]
    masks = [
        cv2.imread(str(path.with_suffix(".png")), cv2.IMREAD_GRAYSCALE) > 127
        for *_, path in files
    ]
    return images, masks, np.array([c for _, c, _ in files]), groups


def split(classes, groups, seed):
    """Return the rows for training, for choosing the threshold and for testing."""

    def part(rows, n_parts):
        folds = StratifiedGroupKFold(n_parts, shuffle=True, random_state=seed)
        kept, taken = next(folds.split(rows, classes[rows], groups[rows]))
        return rows[kept], rows[taken]

    rest, test = part(np.arange(len(groups)), 5)
    return (*part(rest, 5), test)


def keep_few(rows, masks, n, seed):
    """Return the rows without defects, and `n` of those with defects."""
    defective = np.array([masks[i].any() for i in rows])
    kept = np.random.default_rng(seed).permutation(rows[defective])[:n]
    if len(kept) < n or n < 1:
        raise SystemExit(f"--few {n}: give 1 to {defective.sum()} defective images")
    return np.sort(np.concatenate([rows[~defective], kept]))


class Detector:
    """The detector of this package."""

    def __init__(self, epochs, seed, **params):
        self.model = LSTMDefectDetector(
            SIZE,
            **params,
            augmentation=AUGMENTATION,
            learning_rate=LEARNING_RATE,
            epochs=epochs,
            random_state=seed,
        )

    def fit(self, X, Y, X_val, Y_val):
        self.model.fit(X, Y, X_val, Y_val)
        self.n_weights = self.model.model_.count_params()

    def maps(self, X):
        return list(self.model.predict_proba(X))

    def masks(self, X):
        return list(self.model.predict(X))

    def scores(self, X):
        return self.model.decision_function(X)


class UNet:
    """U-Net with skip connections at every resolution."""

    def __init__(self, epochs, seed):
        self.epochs, self.seed = epochs, seed

    def fit(self, X, Y, X_val, Y_val):
        from sklstm._keras import keras

        from sklstm.estimators._masks import resize_masks
        from sklstm.images._ragged import resize_images
        from sklstm.networks import (
            JointAugmentation,
            LocalContrast,
            split_augmentation,
        )
        from sklstm.networks.layers._augmentation import make_augmentation
        from sklstm.networks.windows._window_loss import MAX_WEIGHT

        keras.utils.set_random_seed(self.seed)
        layers = keras.layers

        def convolve(x, filters, size=3, strides=1):
            x = layers.Conv2D(
                filters, size, strides=strides, padding="same", use_bias=False
            )(x)
            return layers.ReLU()(layers.BatchNormalization(momentum=0.9)(x))

        inputs = keras.Input((SIZE, SIZE, 1))
        x = LocalContrast()(layers.Rescaling(1 / 50, -2)(inputs))
        x = convolve(x, 10, 5, 2)
        skips = []
        for filters in (10, 20, 40):
            x = convolve(x, filters)
            skips.append(x)
            x = layers.MaxPooling2D()(x)
        x = convolve(convolve(x, 46), 46)
        for filters, skip in zip((40, 20, 10), skips[::-1], strict=True):
            x = layers.Concatenate()([layers.UpSampling2D()(x), skip])
            x = convolve(x, filters)
        outputs = layers.UpSampling2D(interpolation="bilinear")(layers.Conv2D(1, 1)(x))
        self.model = keras.Model(inputs, outputs)
        self.n_weights = self.model.count_params()
        x = resize_images([image[..., None] for image in X], (SIZE, SIZE))
        y = resize_masks(Y, (SIZE, SIZE)).astype("float32")[..., None] / 255

        def loss(y_true, y_pred):
            # Pixels get the weights that the detector gives to its windows.
            share = keras.ops.mean(y_true, axis=(1, 2, 3), keepdims=True)
            share = keras.ops.maximum(share, 1e-4)
            weight = keras.ops.clip(keras.ops.sqrt((1 - share) / share), 1, MAX_WEIGHT)
            losses = keras.ops.softplus(y_pred) - y_true * y_pred
            losses = losses * (1 + (weight - 1) * y_true)
            # And the Dice loss in images with a defect, as the detector's decoder.
            p, axes = keras.ops.sigmoid(y_pred), (1, 2, 3)
            n_defective = keras.ops.sum(y_true, axis=axes)
            dice = 2 * keras.ops.sum(y_true * p, axis=axes)
            dice = dice / (n_defective + keras.ops.sum(p, axis=axes) + 1e-6)
            dice = keras.ops.where(n_defective > 0, 1 - dice, 0.0)
            return keras.ops.mean(losses) + keras.ops.mean(dice)

        steps = -(-len(x) // 16) * self.epochs
        schedule = keras.optimizers.schedules.CosineDecay(LEARNING_RATE, steps)
        self.model.compile(keras.optimizers.Adam(schedule, clipvalue=1.0), loss)
        moves, changes = split_augmentation(AUGMENTATION)
        augment = JointAugmentation(moves, (SIZE, SIZE, 1))
        contrast = make_augmentation(changes)

        class Batches(keras.utils.PyDataset):
            rng = np.random.default_rng(self.seed)

            def __len__(inner):
                return -(-len(x) // 16)

            def __getitem__(inner, i):
                if i == 0:
                    inner.order = inner.rng.permutation(len(x))
                rows = inner.order[16 * i : 16 * i + 16]
                images, masks, _ = augment(x[rows], y[rows][..., 0], None)
                images = contrast(images, training=True)
                return np.asarray(images), np.asarray(masks)[..., None]

        self.model.fit(Batches(), epochs=self.epochs, verbose=0, shuffle=False)
        truth, found = resize_masks(Y_val, (SIZE, SIZE)) > 127, self._predict(X_val)
        decisions = (found >= t for t in OF_PIXELS)
        self.threshold = best_threshold(truth, decisions, thresholds=OF_PIXELS)

    def _predict(self, X):
        from sklstm.images._ragged import resize_images

        x = resize_images([image[..., None] for image in X], (SIZE, SIZE))
        odds = self.model.predict(x.astype("float32"), batch_size=32, verbose=0)
        return 1 / (1 + np.exp(-odds[..., 0]))

    def maps(self, X):
        found = self._predict(X)
        return [
            cv2.resize(one, image.shape[::-1])
            for one, image in zip(found, X, strict=True)
        ]

    def masks(self, X):
        return [one >= self.threshold for one in self.maps(X)]

    def scores(self, X):
        found = self._predict(X).reshape(len(X), -1)
        # Two windows of the detector have 128 pixels.
        return np.sort(found, axis=1)[:, -128:].mean(axis=1)


class Forest:
    """Random forest on statistics of the windows and their surroundings."""

    def __init__(self, seed):
        self.seed = seed

    def _features(self, X):
        rows = []
        for image in X:
            image = cv2.resize(image, (SIZE, SIZE), interpolation=cv2.INTER_AREA)
            values = image.astype(np.float32)
            values = (values - values.mean()) / (values.std() + 5)
            slope = np.hypot(cv2.Sobel(values, -1, 1, 0), cv2.Sobel(values, -1, 0, 1))
            maps = []
            for side in (8, 24, 64):
                mean, square = (
                    cv2.blur(v, (side, side)) for v in (values, values * values)
                )
                maps += [mean, np.sqrt(np.maximum(square - mean**2, 0))]
                maps.append(cv2.blur(slope, (side, side)))
            kernel = np.ones((8, 8), np.uint8)
            maps += [cv2.erode(values, kernel), cv2.dilate(values, kernel)]
            rows.append(np.stack([m[4::8, 4::8] for m in maps], -1))
            rows[-1] = rows[-1].reshape(GRID**2, -1)
        return np.stack(rows)

    def fit(self, X, Y, X_val, Y_val):
        from sklstm.estimators._masks import resize_masks
        from sklstm.networks import WindowLoss

        self.n_weights = 0

        # The windows have the detector's labels. Defective windows have the weight that
        # they have there on average, 5.
        index_map = PatchSequencer(8, 8).get_index_map((SIZE, SIZE))
        loss = WindowLoss((GRID, GRID), index_map, coverage=0.1)
        y = np.asarray(loss.labels(resize_masks(Y, (SIZE, SIZE))))
        y = y.reshape(len(Y), -1) > 0
        features = self._features(X)
        rng = np.random.default_rng(self.seed)
        n_none = min(150_000, np.count_nonzero(~y))
        none = np.flatnonzero(~y.ravel())
        rows = np.concatenate(
            [np.flatnonzero(y.ravel()), rng.choice(none, n_none, replace=False)]
        )
        self.forest = RandomForestClassifier(
            150,
            min_samples_leaf=4,
            class_weight={False: 1, True: 5},
            n_jobs=2,
            random_state=self.seed,
        )
        flat = features.reshape(-1, features.shape[-1])
        self.forest.fit(flat[rows], y.ravel()[rows])
        truth = resize_masks(Y_val, (SIZE, SIZE)) > 127
        found = np.stack(self._painted(X_val))
        self.threshold = best_threshold(truth, (found >= t for t in THRESHOLDS))

    def _windows(self, X):
        features = self._features(X)
        flat = features.reshape(-1, features.shape[-1])
        found = self.forest.predict_proba(flat)[:, 1]
        return found.reshape(len(X), GRID, GRID).astype(np.float32)

    def _painted(self, X):
        painted = np.repeat(np.repeat(self._windows(X), 8, axis=1), 8, axis=2)
        return list(painted)

    def maps(self, X):
        return [
            cv2.resize(one, image.shape[::-1])
            for one, image in zip(self._painted(X), X, strict=True)
        ]

    def masks(self, X):
        return [one >= self.threshold for one in self.maps(X)]

    def scores(self, X):
        windows = self._windows(X).reshape(len(X), -1)
        return np.sort(windows, axis=1)[:, -2:].mean(axis=1)


class Intensity:
    """Distance of the smoothed image from the median of the image."""

    n_weights = 0

    def fit(self, X, Y, X_val, Y_val):
        found = self.maps(X_val)
        self.threshold = best_threshold(
            Y_val, ([one >= t for one in found] for t in THRESHOLDS)
        )

    def maps(self, X):
        out = []
        for image in X:
            smooth = cv2.GaussianBlur(image.astype(np.float32), (0, 0), 2)
            out.append(np.minimum(np.abs(smooth - np.median(image)) / 100, 1))
        return out

    def masks(self, X):
        return [one >= self.threshold for one in self.maps(X)]

    def scores(self, X):
        return np.array([np.sort(m, axis=None)[-128:].mean() for m in self.maps(X)])


def boundary(mask):
    """Return the pixels of a mask that touch a pixel outside of it."""
    mask = mask.astype(np.uint8)
    inside = cv2.erode(
        mask, np.ones((3, 3), np.uint8), borderType=cv2.BORDER_CONSTANT, borderValue=0
    )
    return mask > inside


def boundary_f1(truth, masks, distance=2):
    """Return F1 of boundary pixels, which may lie `distance` pixels apart.

    As for regions, the pixels of all images are counted together.
    """
    hits, counts = np.zeros((2, 2))
    for pair in zip(truth, masks, strict=True):
        edges = [boundary(mask) for mask in pair]
        for k, (edge, other) in enumerate((edges, edges[::-1])):
            counts[k] += edge.sum()
            if edge.any() and other.any():
                away = cv2.distanceTransform(
                    (~other).astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE
                )
                hits[k] += (away[edge] <= distance).sum()
    recall, precision = hits / np.maximum(counts, 1)
    return 2 * precision * recall / max(precision + recall, 1e-9)


def by_kind(kinds, scores):
    """Return the AUROC of the images of each kind against the good ones, as text."""
    found = []
    for kind in sorted(set(kinds) - {"free"}):
        seen = np.isin(kinds, [kind, "free"])
        found.append(f"{kind} {roc_auc_score(kinds[seen] == kind, scores[seen]):.2f}")
    return ", ".join(found)


def figures(truth, maps, masks, scores):
    """Return the scores of one model, by name."""
    y = np.concatenate([t.ravel() for t in truth])
    p = np.concatenate([m.ravel() for m in maps]).astype(np.float32)
    chosen = np.concatenate([m.ravel() for m in masks])
    hits = (y & chosen).sum()
    overlaps, fragments, regions = [], 0, 0
    for mask, found in zip(truth, masks, strict=True):
        n, labels = cv2.connectedComponents(mask.astype(np.uint8))
        overlaps += [found[labels == i].mean() for i in range(1, n)]
        fragments += cv2.connectedComponents(found.astype(np.uint8))[0] - 1
        regions += n - 1
    return {
        "AP": average_precision_score(y[::5], p[::5]),
        "F1": 2 * hits / (y.sum() + chosen.sum()),
        "IoU": hits / (y | chosen).sum(),
        "region overlap": np.mean(overlaps),
        "boundary F1": boundary_f1(truth, masks),
        "image AUROC": roc_auc_score([t.any() for t in truth], scores),
        "fragments / region": fragments / regions,
    }


def time_predict(images, masks):
    """Print the speed of `predict` for images of 256 x 256, which the docs give."""
    detector = LSTMDefectDetector(256, epochs=1, random_state=0)
    large = [cv2.resize(image, (256, 256)) for image in images[:256]]
    detector.fit(
        large, [cv2.resize(m.astype(np.uint8), (256, 256)) > 0 for m in masks[:256]]
    )
    detector.predict(large)
    start = time.perf_counter()
    detector.predict(large)
    seconds = time.perf_counter() - start
    print(f"predict, 256 x 256: {len(large) / seconds:.0f} images a second")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", default=os.environ.get("SKLSTM_DATA"))
    parser.add_argument("--seeds", type=int, nargs="*", default=[0, 1, 2, 3, 4])
    parser.add_argument("--split", choices=["tiles", "random"], default="tiles")
    parser.add_argument("--epochs", type=int, default=24)
    parser.add_argument("--models", nargs="*")
    parser.add_argument("--few", type=int, metavar="N")
    args = parser.parse_args()
    if not args.data:
        parser.error("give --data FOLDER, the folder that holds magnetic_tile")
    images, masks, classes, groups = read(args.data)
    print(f"{len(images)} images of {groups.max() + 1} tiles")
    table: dict = {}
    if args.split == "random":
        groups = np.arange(len(images))
    for seed in args.seeds:
        models = {
            "detector": Detector(args.epochs, seed),
            "detector, crf=False": Detector(args.epochs, seed, crf=False),
            "detector, decoder=False": Detector(args.epochs, seed, decoder=False),
            "U-Net": UNet(args.epochs, seed),
            "random forest": Forest(seed),
            "intensity": Intensity(),
        }
        parts = split(classes, groups, seed)
        if args.few is not None:
            models = {
                f"detector, {name}": Detector(args.epochs, seed, synthetic_defects=how)
                for name, how in SYNTHETIC.items()
            }
            parts = (keep_few(parts[0], masks, args.few, seed), *parts[1:])
        data = [[a[i] for i in rows] for rows in parts for a in (images, masks)]
        X, Y, X_val, Y_val, X_test, Y_test = data
        for name, model in models.items():
            if args.models and name not in args.models:
                continue
            start = time.perf_counter()
            model.fit(X, Y, X_val, Y_val)
            trained = time.perf_counter() - start
            start = time.perf_counter()
            maps = model.maps(X_test)
            rate = len(X_test) / (time.perf_counter() - start)
            scores = model.scores(X_test)
            row = figures(Y_test, maps, model.masks(X_test), scores)
            table.setdefault(name, []).append(row)
            text = "  ".join(f"{key} {value:.3f}" for key, value in row.items())
            print(
                f"seed {seed}  {name:20} {text}  {trained:.0f} s to train, "
                f"{rate:.0f} images a second, {model.n_weights} weights; AUROC of "
                f"kinds: {by_kind(classes[parts[2]], np.asarray(scores))}",
                flush=True,
            )
    print("\nmean over seeds, +- standard deviation")
    for name, rows in table.items():
        cells = [
            f"{key} {np.mean(v):.3f} +- {np.std(v, ddof=min(1, len(v) - 1)):.3f}"
            for key in rows[0]
            for v in [[row[key] for row in rows]]
        ]
        print(f"{name:20} {'  '.join(cells)}")
    if args.few is None:
        time_predict(images, masks)
    packages = ("numpy", "scikit-learn", "keras", "tensorflow", "sklstm")
    print(", ".join(f"{name} {version(name)}" for name in packages))


if __name__ == "__main__":
    main()
