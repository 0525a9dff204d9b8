"""
Defects of magnetic tiles: masks by LSTMs and a CRF
===================================================

Photographs of 224 magnetic tiles, each taken about six times under different light,
with masks of their defects (Huang et al., 2020). The images differ in size, most have
no defect, and what is defective is some percent of the pixels. `LSTMDefectDetector`
reads the windows of an image along rows and columns, and chains along both make
neighbours agree; it chooses its threshold on tiles that it is not trained on. All
photographs of a tile are on one side of every split. Takes ``--data FOLDER`` with
``magnetic_tile/``, and some minutes on two cores; ``--quick`` is for a look at the
pictures.
"""

import argparse
import os
import re
import time
from importlib.metadata import version
from pathlib import Path

import cv2
import matplotlib.pyplot as plt
import numpy as np
from sklearn.metrics import average_precision_score, roc_auc_score
from sklearn.model_selection import StratifiedGroupKFold

from sklstm import LSTMDefectDetector

parser = argparse.ArgumentParser(description="Finds defects of magnetic tiles.")
parser.add_argument("--data", default=os.environ.get("SKLSTM_DATA"), help="folder")
parser.add_argument("--out", default="defects.png", help="where the pictures go")
parser.add_argument("--quick", action="store_true", help="few tiles and epochs")
arguments = parser.parse_args()
if arguments.data is None:
    parser.error("give --data FOLDER, the folder that holds magnetic_tile")
folder = Path(arguments.data) / "magnetic_tile"
files = sorted(
    folder.glob("*/*.jpg"), key=lambda path: int(re.search(r"num_(\d+)", path.name)[1])
)
if not files:
    parser.error(f"looked for {folder}/*/*.jpg; none is there")

# %%
# Frames are numbered as they were taken: a new tile starts where the number jumps by
# more than 100. A random split would show the network the tile it is tested on.

frames = np.array([int(re.search(r"num_(\d+)", path.name)[1]) for path in files])
tiles = np.cumsum(np.diff(frames, prepend=frames[0]) > 100)
if arguments.quick:
    files = [path for path, tile in zip(files, tiles, strict=True) if tile % 4 == 0]
    tiles = tiles[tiles % 4 == 0]
X = [cv2.imread(str(path), cv2.IMREAD_GRAYSCALE) for path in files]
Y = [
    cv2.imread(str(path.with_suffix(".png")), cv2.IMREAD_GRAYSCALE) > 127
    for path in files
]
print(
    f"{len(X)} images of {len(np.unique(tiles))} tiles, {min(x.shape for x in X)} to "
    f"{max(x.shape for x in X)} pixels; {sum(y.any() for y in Y)} have defects, "
    f"{100 * np.mean([y.mean() for y in Y]):.1f} % of the pixels"
)
classes = [path.parent.name for path in files]
split = StratifiedGroupKFold(5, shuffle=True, random_state=0)
train, test = next(split.split(X, classes, groups=tiles))
X_test, Y_test = [X[i] for i in test], [Y[i] for i in test]

# %%
# With chains and without. The figures are of pixels, of all images together; images
# are ranked by `decision_function`.

truth = np.concatenate([y.ravel() for y in Y_test])
print(f"{'':12}pixel AP   pixel F1   image AUROC   fragments   seconds to train")
for crf in (False, True):
    detector = LSTMDefectDetector(
        size=64 if arguments.quick else 128,
        crf=crf,
        augmentation={"flip": "both", "contrast": 0.2},
        epochs=3 if arguments.quick else 12,
        random_state=0,
    )
    start = time.perf_counter()
    detector.fit([X[i] for i in train], [Y[i] for i in train], groups=tiles[train])
    seconds = time.perf_counter() - start
    probabilities = detector.predict_proba(X_test)
    masks = detector.predict(X_test)
    scores = detector.decision_function(X_test)
    found = np.concatenate([p.ravel() for p in probabilities])
    precision = average_precision_score(truth[::7], found[::7])
    f1 = detector.score(X_test, Y_test)
    ranking = roc_auc_score([y.any() for y in Y_test], scores)
    fragments = sum(cv2.connectedComponents(m.astype(np.uint8))[0] - 1 for m in masks)
    print(
        f"{'CRF' if crf else 'no CRF':12}{precision:8.3f}{f1:11.3f}{ranking:14.3f}"
        f"{fragments:12}{seconds:19.0f}"
    )
packages = ("numpy", "scikit-learn", "keras", "tensorflow", "sklstm")
print("seed 0, " + ", ".join(f"{name} {version(name)}" for name in packages))

# %%
# Images that the network has not seen, of the last detector, the one with chains.

shown = [i for i in range(len(X_test)) if Y_test[i].any()]
shown = [shown[i] for i in np.linspace(0, len(shown) - 1, 6).astype(int)]
figure, axes = plt.subplots(4, len(shown), figsize=(2.2 * len(shown), 8))
for column, i in zip(axes.T, shown, strict=True):
    column[0].imshow(X_test[i], cmap="gray")
    column[1].imshow(Y_test[i], cmap="gray", vmin=0, vmax=1)
    column[2].imshow(probabilities[i], cmap="magma", vmin=0, vmax=1)
    column[3].imshow(masks[i], cmap="gray", vmin=0, vmax=1)
for row, title in zip(axes, ("image", "truth", "probability", "mask"), strict=True):
    row[0].set_ylabel(title)
    for axis in row:
        axis.set(xticks=[], yticks=[])
figure.tight_layout()
figure.savefig(arguments.out, dpi=80)
print(f"pictures: {arguments.out}")
