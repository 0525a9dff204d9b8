"""Near duplicates that `check_leakage` finds in magnetic tiles and in other images.

    python benchmarks/leakage.py --data FOLDER [--pictures FOLDER]

FOLDER holds magnetic_tile/ and the other image sets. The check is not told the tiles.
Its pairs, and the groups that they make, are compared with two truths:

- "frames": a new tile starts where frame numbers jump by more than 100.
- "audited": "frames", corrected by eye. In 17 groups of frames, two or three tiles were
  photographed by turns, and 19 sets of groups show a tile that was photographed again
  later. Pairs of groups were looked at down to a similarity of .59, the highest first.

The settings of the check were chosen on the first 112 groups, which are the first half
of the tiles. The second half is the measurement. Photographs are given as they are, and
resized to squares as a classifier would get them.

On the other sets there are no known near duplicates. The table has the number of pairs
found, and the part that is found of 60 that are planted: copies that are 20 % darker,
shifted by a pixel, or saved as JPEG of quality 80. Settings were chosen on training
images of MNIST, Fashion-MNIST and CIFAR-10, and the table has test images. They were
chosen on the same digits and the same retinal photographs as the table has.
"""

import argparse
import os
import time
from importlib.metadata import version
from pathlib import Path

import _image_sets as sets
import cv2
import numpy as np
from defects import read
from sklearn.datasets import load_digits
from sklearn.model_selection import StratifiedKFold

from sklstm.model_selection import check_leakage

N_FIRST = 112
# In these groups of frames, tiles of two sizes were photographed by turns: the height
# that divides them. In 176, the width does.
HEIGHTS = {
    1: 320, 2: 320, 5: 320, 9: 330, 15: 350, 35: 300, 47: 300, 78: 282, 137: 310,
    147: 310, 172: 310, 175: 300, 177: 310, 189: 310, 191: 310, 194: 310,
}  # fmt: skip
WIDTHS = {176: 270}
# Groups of frames that show one tile. "s" is the smaller and "l" the larger tile.
SAME = [
    "60 61 62 63 64", "49 50", "24 25", "34 35s 36", "15s 12 13 16", "46 52",
    "212 213", "57 58", "129 130", "119 120", "67 68", "219 221", "8 19", "169 170",
    "123 124", "89 90", "177l 180", "80 81", "159 160",
]  # fmt: skip


def audited(images, frames):
    """Return the tile of each photograph, as seen by eye."""
    tiles = []
    for number, (image, group) in enumerate(zip(images, frames, strict=True)):
        height, width = image.shape
        name = str(group)
        if group in HEIGHTS:
            name += "l" if height >= HEIGHTS[group] else "s"
        if group in WIDTHS:
            name += "l" if width > WIDTHS[group] else "s"
        # Two tiles of one size, one after the other.
        before = tiles[max(0, number - 30) : number]
        if name == "5s" and before.count("5s") == 6 and "5l" in before:
            name = "5t"
        tiles.append(name)
    first = {name: one.split()[0] for one in SAME for name in one.split()}
    return np.unique([first.get(tile, tile) for tile in tiles], return_inverse=True)[1]


def n_pairs(labels):
    sizes = np.unique(labels, return_counts=True)[1]
    return (sizes * (sizes - 1) // 2).sum()


def agreement(found, truth):
    """Return precision and recall of the pairs, and of the groups that they make."""
    a, b = found.pairs.T
    right = (truth[a] == truth[b]).sum()
    joint = n_pairs(found.groups_ * (truth.max() + 1) + truth)
    return (
        right / len(found.pairs),
        right / n_pairs(truth),
        joint / n_pairs(found.groups_),
        joint / n_pairs(truth),
    )


def tiles(folder, pictures):
    images, _, classes, frames = read(folder)
    truths = {"frames": frames, "audited": audited(images, frames)}
    print(
        f"{len(images)} photographs; tiles by frames: {frames.max() + 1}, audited: "
        f"{truths['audited'].max() + 1}"
    )
    print("precision and recall of pairs, precision and recall of pairs in a group")
    halves = {"first half": frames < N_FIRST, "second half": frames >= N_FIRST}
    for size in (None, 224, 128, 64, 32):
        for half, mask in halves.items():
            rows = np.flatnonzero(mask)
            X = [images[row] for row in rows]
            if size is not None:
                X = [cv2.resize(x, (size, size), interpolation=3) for x in X]
            start = time.perf_counter()
            found = check_leakage(X)
            seconds = time.perf_counter() - start
            for name, truth in truths.items():
                part = np.unique(truth[rows], return_inverse=True)[1]
                text = "  ".join(f"{value:.3f}" for value in agreement(found, part))
                print(
                    f"{half:11} {size or 'as they are':>11} {name:8} {text}  "
                    f"{len(found.pairs)} pairs, {len(np.unique(found.groups_))} groups "
                    f"of {part.max() + 1}, {seconds:.0f} s",
                    flush=True,
                )
    small = [cv2.resize(x, (64, 64), interpolation=3) for x in images]
    folds = StratifiedKFold(5, shuffle=True, random_state=0)
    found = check_leakage(small, cv=folds, y=classes)
    print(f"all, random folds: {found}")
    found = check_leakage(small, frames)
    print(f"all, groups by frames: {found}")
    if pictures is not None:
        figure = found.plot().figure_
        figure.savefig(Path(pictures) / "tiles.png", dpi=110)


def planted(X, rng):
    """Return images with 60 changed copies at the end, and the rows they copy."""
    rows = rng.choice(len(X), 60, False)
    shift = np.array([[1, 0, 1], [0, 1, 1]], np.float32)
    copies = []
    for number, image in enumerate(X[rows]):
        size = image.shape[1::-1]
        if number % 3 == 0:
            copies.append((image * 0.8).astype(np.uint8))
        elif number % 3 == 1:
            copies.append(
                cv2.warpAffine(image, shift, size, borderMode=cv2.BORDER_REPLICATE)
            )
        else:
            _, data = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, 80])
            copies.append(cv2.imdecode(data, cv2.IMREAD_UNCHANGED))
    return np.concatenate([X, copies]), rows


def other_sets(folder):
    yield "digits, 8 x 8", (load_digits().images * 15).astype(np.uint8)
    rng = np.random.default_rng(0)
    for name, file in (("MNIST", "mnist"), ("Fashion-MNIST", "fashion_mnist")):
        X = sets.grey_digits(folder, file)[2]
        yield f"{name}, test", X[rng.choice(len(X), 3000, False)]
    parts = sets.retina(folder)
    yield "RetinaMNIST, all", np.concatenate([parts[part][0] for part in parts])
    X = sets.cifar10(folder)[2]
    yield "CIFAR-10, test", X[rng.choice(len(X), 3000, False)]


def others(folder, pictures):
    print("\nother sets: pairs without the planted, part found of the planted")
    for name, X in other_sets(folder):
        every, rows = planted(X, np.random.default_rng(1))
        start = time.perf_counter()
        found = check_leakage(every)
        seconds = time.perf_counter() - start
        pairs = set(map(tuple, found.pairs.tolist()))
        n_own = sum(b < len(X) for _, b in pairs)
        hits = [(row, len(X) + k) in pairs for k, row in enumerate(rows.tolist())]
        text = "  ".join(
            f"{what} {np.mean(hits[k::3]):.2f}"
            for k, what in enumerate(("darker", "shifted", "JPEG"))
        )
        print(
            f"{name:20} {len(X)} images  {n_own} pairs, {found.n_equal} equal  {text}  "
            f"{seconds:.0f} s",
            flush=True,
        )
        own = check_leakage(X)
        if pictures is not None and len(own.pairs):
            figure = own.plot(n_pairs=10).figure_
            figure.savefig(Path(pictures) / f"{name.split(',')[0]}.png", dpi=110)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", default=os.environ.get("SKLSTM_DATA"))
    parser.add_argument("--pictures", help="folder for pictures of pairs")
    parser.add_argument("--parts", nargs="*", default=["tiles", "others"])
    args = parser.parse_args()
    if not args.data:
        parser.error("give --data FOLDER, the folder that holds magnetic_tile")
    names = ("numpy", "opencv-python-headless", "scikit-learn")
    print(", ".join(f"{name} {version(name)}" for name in names))
    if "tiles" in args.parts:
        tiles(args.data, args.pictures)
    if "others" in args.parts:
        others(args.data, args.pictures)


if __name__ == "__main__":
    main()
