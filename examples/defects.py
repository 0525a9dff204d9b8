"""
Defects of magnetic tiles: masks by LSTMs and a CRF
===================================================

The data are photographs of 224 magnetic tiles with masks of their defects (Huang et
al., 2020). Each tile was photographed about six times under different light. The images
differ in size, most of them have no defect, and few pixels are defective.
`LSTMDefectDetector` reads the windows of an image along rows and columns. A conditional
random field (CRF) along both makes neighbouring windows agree, and a decoder draws the
outline of what they find. The detector chooses its threshold on tiles that it is not
trained on. All photographs of a tile are on the same side of every split.

It needs ``--data FOLDER`` with ``magnetic_tile/``, and takes several minutes on two
cores. ``--quick`` uses fewer tiles and epochs, for a look at the pictures.
"""

# sphinx_gallery_thumbnail_path = 'images/defects.png'

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
from sklstm.inspection import DefectDisplay

parser = argparse.ArgumentParser(description="Finds defects of magnetic tiles.")
parser.add_argument("--data", default=os.environ.get("SKLSTM_DATA"), help="folder")
parser.add_argument("--out", help="file for the picture")
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
# Frames are numbered in the order in which they were taken, and a jump of more than 100
# starts a new tile. A random split would train the detector on the tiles that test it.

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
# Train the detector without and with the CRF. Average precision (AP) and F1 count the
# pixels of all test images together. AUROC is that of `decision_function`, which ranks
# the images.

truth = np.concatenate([y.ravel() for y in Y_test])
print(f"{'':12}pixel AP   pixel F1   image AUROC   fragments   seconds to train")
for crf in (False, True):
    detector = LSTMDefectDetector(
        size=64 if arguments.quick else 128,
        crf=crf,
        augmentation={"flip": "both", "contrast": 0.2},
        epochs=3 if arguments.quick else 24,
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
# Draw test images with the answers of the last detector, the one with the CRF, and the
# scores of all test images. The line is the threshold of the pixels, as log-odds.

shown = [i for i in range(len(X_test)) if Y_test[i].any()]
shown = [shown[i] for i in np.linspace(0, len(shown) - 1, 6).astype(int)]
figure, axes = plt.subplots(
    1, 2, figsize=(16, 5), width_ratios=(2, 1), layout="constrained"
)
display = DefectDisplay.from_estimator(detector, X_test, Y_test, rows=shown, ax=axes[0])
display.plot(ax=axes[1], view="scores")
if arguments.out is not None:
    figure.savefig(arguments.out, dpi=80)
    print(f"pictures: {arguments.out}")

# %%
# Output
# ------
#
# The build of the documentation does not run this example. This is the stored output of
# ``python examples/defects.py --data FOLDER --out defects.png``
# (TensorFlow on one thread, beside other programs):
#
# .. rst-class:: sphx-glr-script-out
#
# .. literalinclude:: /outputs/defects.txt
#    :language: none
#
# .. image:: /images/defects.png
#    :alt: Tiles with the outlines of the predicted masks, the true masks and the
#          probabilities; a histogram of the scores of good tiles and of others.
