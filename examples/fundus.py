"""
Retinal photographs: grades by windows
======================================

This is a grading pipeline on real photographs. The DRIVE data set has no grades, but a
person has marked the vessels in it. The task is to grade how dense the vessels are in a
window of 64 x 64 pixels, from 0 to 3. `FundusPreprocessor` prepares the photographs. An
LSTM with attention at several scales reads the patches of a window, and predicts
ordered grades. All windows of a photograph are on the same side of every split.

It needs ``--data FOLDER`` with ``drive.npz``, and takes about 15 minutes on two cores.
``--quick`` uses fewer photographs and epochs, for a look at the pictures.
"""

# sphinx_gallery_thumbnail_path = 'images/fundus_grades.png'

import argparse
import csv
import os
import tempfile
import time
from importlib.metadata import version
from pathlib import Path

import cv2
import matplotlib.pyplot as plt
import numpy as np
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GroupKFold, cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler

from sklstm import (
    FundusPreprocessor,
    ImageReader,
    LSTMImageClassifier,
    PatchSequencer,
    load_image_table,
)
from sklstm.metrics import quadratic_weighted_kappa

parser = argparse.ArgumentParser(description="Grades windows of retinal photographs.")
parser.add_argument("--data", default=os.environ.get("SKLSTM_DATA"), help="folder")
parser.add_argument("--out", help="file for the picture")
parser.add_argument("--quick", action="store_true", help="few photographs and epochs")
arguments = parser.parse_args()
if arguments.data is None:
    parser.error("give --data FOLDER, the folder that holds drive.npz")
path = Path(arguments.data) / "drive.npz"
if not path.is_file():
    parser.error(f"looked for {path}, which is not there")
with np.load(path) as file:
    truth, fields = file["vessels"], file["fov"]
    raw = file["images"]
n_photographs = 8 if arguments.quick else len(raw)

# %%
# In a clinic the photographs are files, listed in a table. Write such files to a
# temporary folder. `load_image_table` checks them, and lists files that are missing,
# damaged or duplicates.

with tempfile.TemporaryDirectory() as folder:
    table = Path(folder) / "photographs.csv"
    with open(table, "w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["file", "half"])
        for i in range(n_photographs):
            cv2.imwrite(f"{folder}/{i:02}.png", raw[i][..., ::-1])
            rows.writerow([f"{i:02}.png", "training" if i < 20 else "test"])
    photographs = load_image_table(table, "file", "half")
    images = ImageReader(color="rgb").fit_transform(photographs.paths)
    # Without cropping, the pixels stay in line with the masks of the vessels.
    prepared = FundusPreprocessor("stack", crop=False).fit_transform(photographs.paths)

# %%
# Cut windows inside the field of view. The grade of a window is the number of
# thresholds (6, 10 and 14 %) that its share of vessel pixels reaches.

SIDE = 64
windows, colours, shares, groups = [], [], [], []
for i in range(n_photographs):
    height, width = fields[i].shape
    for top in range(0, height - SIDE + 1, SIDE):
        for left in range(0, width - SIDE + 1, SIDE):
            here = np.s_[i, top : top + SIDE, left : left + SIDE]
            if fields[here].all():
                windows.append(prepared[here])
                colours.append(images[here])
                shares.append(truth[here].mean())
                groups.append(i)
windows, colours, groups = map(np.array, (windows, colours, groups))
grades = np.digitize(shares, [0.06, 0.10, 0.14])
print(
    f"{len(windows)} windows of {n_photographs} photographs, grades "
    f"{np.bincount(grades).tolist()}"
)

# %%
# Compare the LSTM with models that could beat it: the convolutional networks of this
# package on the same input, a logistic regression on histograms of the colours, and a
# logistic regression on a single number, the mean vesselness of the window.


def histograms(images):
    counts = [
        np.histogram(image[..., c], bins=16, range=(0, 256))[0]
        for image in images
        for c in range(3)
    ]
    return np.sqrt(np.reshape(counts, (len(images), -1)))


def mean_vesselness(stacks):
    return stacks[..., 2].reshape(len(stacks), -1).mean(axis=1, keepdims=True)


training = {
    "ordinal": True,
    "class_weight": "balanced",
    "augmentation": {"flip": "both", "rotation": 20},
    "epochs": 3 if arguments.quick else 20,
    "random_state": 0,
}
small = {"units": 32, "network__filters": 8}
regression = LogisticRegression(class_weight="balanced", max_iter=2000)
lstm = LSTMImageClassifier(
    sequencer=PatchSequencer(16, 8), attention="multiscale", pooling="mean", **training
)
models = {
    "LSTM, patches, attention": (lstm, windows),
    "CNN + LSTM": (LSTMImageClassifier("cnn_lstm", **small, **training), windows),
    "CNN": (LSTMImageClassifier("cnn", **small, **training), windows),
    "colour histogram": (
        make_pipeline(FunctionTransformer(histograms), StandardScaler(), regression),
        colours,
    ),
    "mean vesselness": (
        make_pipeline(
            FunctionTransformer(mean_vesselness), StandardScaler(), regression
        ),
        windows,
    ),
}


def interval(predicted, n_draws=2000):
    """Bootstrap a 95 % interval of the kappa by drawing whole photographs."""
    rng = np.random.default_rng(0)
    members = [np.flatnonzero(groups == i) for i in np.unique(groups)]
    kappas = []
    for _ in range(n_draws):
        drawn = rng.integers(len(members), size=len(members))
        rows = np.concatenate([members[i] for i in drawn])
        kappas.append(quadratic_weighted_kappa(grades[rows], predicted[rows]))
    return np.percentile(kappas, [2.5, 97.5])


print(f"{'':26}quadratic kappa   95 % interval   seconds, 4 folds")
for name, (model, X) in models.items():
    start = time.perf_counter()
    predicted = cross_val_predict(model, X, grades, groups=groups, cv=GroupKFold(4))
    seconds = time.perf_counter() - start
    low, high = interval(predicted)
    kappa = quadratic_weighted_kappa(grades, predicted)
    print(f"{name:26}{kappa:15.3f}   {low:.3f} to {high:.3f}{seconds:19.0f}")
packages = ("numpy", "scikit-learn", "keras", "tensorflow", "sklstm")
print("seed 0, " + ", ".join(f"{name} {version(name)}" for name in packages))

# %%
# Draw three photographs that the network has not seen: the steps of their preparation,
# where the network looks in each window, and the grades that it predicts.

shown = np.unique(groups)[-3:]
lstm.fit(windows[~np.isin(groups, shown)], grades[~np.isin(groups, shown)])
figure, axes = plt.subplots(len(shown), 6, figsize=(15, 2.6 * len(shown)))
titles = ["photograph", "field of view", "enhanced", "vesselness", "attention", "grade"]
for i, row in zip(shown, axes, strict=True):
    _, inside = FundusPreprocessor(crop=False).transform_with_masks([images[i]])
    attention = np.full(fields[i].shape, np.nan)
    predicted = np.full(fields[i].shape, np.nan)
    for top in range(0, fields[i].shape[0] - SIDE + 1, SIDE):
        for left in range(0, fields[i].shape[1] - SIDE + 1, SIDE):
            here = np.s_[top : top + SIDE, left : left + SIDE]
            if fields[i][here].all():
                one = prepared[i][here][None]
                weights = lstm.attention_map(one, per="pixel")[0]
                attention[here] = weights / weights.max()
                predicted[here] = lstm.predict(one)[0]
    row[0].imshow(images[i])
    row[1].imshow(inside[0], cmap="gray")
    row[2].imshow(prepared[i][..., 0], cmap="gray")
    row[3].imshow(prepared[i][..., 2], cmap="gray")
    row[4].imshow(prepared[i][..., 0], cmap="gray")
    row[4].imshow(attention, cmap="magma", alpha=0.6)
    row[5].imshow(prepared[i][..., 0], cmap="gray")
    row[5].imshow(predicted, cmap="viridis", vmin=0, vmax=3, alpha=0.5)
    for axis in row:
        axis.set(xticks=[], yticks=[])
for axis, title in zip(axes[0], titles, strict=True):
    axis.set_title(title)
figure.tight_layout()
if arguments.out is not None:
    figure.savefig(arguments.out, dpi=80)
    print(f"pictures: {arguments.out}")

# %%
# Output
# ------
#
# The build of the documentation does not run this example. This is the stored output of
# ``python examples/fundus.py --data FOLDER --out fundus.png``
# (TensorFlow on one thread, beside other programs):
#
# .. rst-class:: sphx-glr-script-out
#
# .. literalinclude:: /outputs/fundus.txt
#    :language: none
#
# .. image:: /images/fundus_grades.png
#    :alt: Three photographs, the steps of their preparation, attention and grades.
