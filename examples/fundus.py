"""
Retinal photographs: grades by windows
======================================

A grading pipeline on real photographs. DRIVE carries no grades, so a task is made of
what it does carry, vessels marked by a person: how dense are they in a window of 64 x
64 pixels, in four grades? Photographs are prepared by `FundusPreprocessor`, which
learns nothing; an LSTM reads the patches of a window, with attention at several
scales, and ends in ordered grades. All windows of a photograph are on one side of
every split. Takes ``--data FOLDER`` with ``drive.npz``, and some minutes on two
cores; ``--quick`` is for a look at the pictures.
"""

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
parser.add_argument("--out", default="fundus.png", help="where the pictures go")
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
# A clinic has files and a table. Here they are written to a folder that is gone at the
# end. `load_image_table` checks the files and lists what is missing, damaged or double.

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
    # crop=False: every pixel stays where the person's mask has it.
    prepared = FundusPreprocessor("stack", crop=False).fit_transform(photographs.paths)

# %%
# Windows inside the field of view, and their grades: vessels on less than 6, 10, 14 %
# of the pixels, or on more.

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
# The pipeline, and what could beat it: the CNN of the same package on the same input,
# a logistic regression on histograms of the colours, and one that is given a single
# number, the mean vesselness of the window.


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
    """95 % interval of the kappa, whole photographs drawn with replacement."""
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
# A page of pictures: photographs that the network has not seen, what becomes of them,
# and where it looks, window by window.

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
figure.savefig(arguments.out, dpi=80)
print(f"pictures: {arguments.out}")
