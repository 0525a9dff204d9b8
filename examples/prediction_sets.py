"""
Prediction sets: several classes where one would be a guess
===========================================================

A classifier names one class for each image, however unsure it is.
``ConformalClassifier`` names a set of classes, which holds the true one as often as you
ask. Clear images get one class. Images that look like several classes get several.

The script takes about a minute.
"""

# sphinx_gallery_thumbnail_path = 'images/prediction_sets.png'

import argparse

import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

from sklstm import LSTMImageClassifier
from sklstm.metrics import mean_set_size, set_coverage
from sklstm.model_selection import ConformalClassifier

parser = argparse.ArgumentParser(description="Predicts sets of digits.")
parser.add_argument("--epochs", type=int, default=100)
parser.add_argument("--out", help="file for the picture")
arguments, _ = parser.parse_known_args()

# %%
# Fit a network on each of five folds of 300 digits. Each digit is held out once, and
# its score tells how well the true class fits.

digits = load_digits()
X, X_test, y, y_test = train_test_split(
    digits.images, digits.target, train_size=300, stratify=digits.target, random_state=0
)
network = LSTMImageClassifier(epochs=arguments.epochs, random_state=0)
model = ConformalClassifier(network, random_state=0).fit(X, y)
print(f"accuracy of the most probable class: {model.score(X_test, y_test):.3f}")

# %%
# Ask for sets of several confidences. The networks need not be fitted again.

for confidence in (0.8, 0.9, 0.95, 0.99):
    sets = model.predict_set(X_test, confidence)
    size = sets.sum(axis=1)
    print(
        f"confidence {confidence:.2f}: the true class is in "
        f"{set_coverage(y_test, sets):.3f} of the sets, {mean_set_size(sets):.2f} "
        f"classes in a set, {np.mean(size == 0):.3f} are empty, "
        f"{np.mean(size > 1):.3f} have several"
    )

# %%
# Show digits whose sets at .95 have one digit, several, and none.

sets = model.predict_set(X_test, 0.95)
size = sets.sum(axis=1)
several, empty = np.flatnonzero(size > 1)[:8], np.flatnonzero(size == 0)[:4]
one = np.flatnonzero(size == 1)[: 16 - len(several) - len(empty)]
shown = np.concatenate([one, several, empty])
figure, axes = plt.subplots(2, 8, figsize=(9.5, 3.2), layout="constrained")
for ax in axes.flat[len(shown) :]:  # few sets of one kind after few epochs
    ax.set_axis_off()
for ax, i in zip(axes.flat, shown, strict=False):
    ax.imshow(X_test[i], cmap="gray_r")
    named = " ".join(str(label) for label in model.classes_[sets[i]])
    ax.set_title(named or "none", fontsize=9)
    right = sets[i, y_test[i]]
    ax.set_xlabel(f"true: {y_test[i]}", fontsize=9, color="k" if right else "#d55e00")
    ax.set(xticks=[], yticks=[])
figure.suptitle("Sets of digits with a confidence of .95", fontsize=11)
if arguments.out is not None:
    figure.savefig(arguments.out, dpi=110)
    print(f"picture: {arguments.out}")

# %%
# Output
# ------
#
# The build of the documentation does not run this example. This is the stored output of
# ``python examples/prediction_sets.py --out prediction_sets.png``:
#
# .. rst-class:: sphx-glr-script-out
#
# .. literalinclude:: /outputs/prediction_sets.txt
#    :language: none
#
# .. image:: /images/prediction_sets.png
#    :alt: Sixteen digits. Above each is its set: one digit, several for those that are
#          hard to read, or none.
