"""
A training recipe for sixty images, step by step
================================================

A recipe is a set of choices: how the images change during training, how the weights are
kept small, which kernels the stem learns. This script adds one choice after the other,
and measures each step on the same three splits of 60 digits. A network without an LSTM
gets every step too, because a recipe that helps both says nothing about LSTMs. The
script takes about eight minutes on two cores.
"""

# sphinx_gallery_thumbnail_path = 'images/recipe.png'

import argparse

import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import load_digits
from sklearn.model_selection import StratifiedShuffleSplit, cross_val_score

from sklstm import LSTMImageClassifier

parser = argparse.ArgumentParser(description="Builds a recipe for 60 digits.")
parser.add_argument("--splits", type=int, default=3, help="number of splits")
parser.add_argument("--epochs", type=int, default=200, help="epochs of each fit")
parser.add_argument("--out", help="file for the picture")
arguments, _ = parser.parse_known_args()

# %%
# Train on 60 of the 1,797 digits, and test on the others.

digits = load_digits()
splits = StratifiedShuffleSplit(arguments.splits, train_size=60, random_state=0)

# %%
# Each step keeps the steps before it.

steps = {
    "no recipe": {},
    '+ augmentation="characters"': {"augmentation": "characters"},
    "+ weight_decay=0.3": {"weight_decay": 0.3},
    '+ stem_kernels="harmonic"': {"stem_kernels": "harmonic"},
    "+ average_epochs=10": {"average_epochs": 10},
}
networks = {"CNN + LSTM": "cnn_lstm", "CNN": "cnn"}
scores = {}
for name, network in networks.items():
    model = LSTMImageClassifier(network, epochs=arguments.epochs, random_state=0)
    for step, params in steps.items():
        model.set_params(**params)
        scores[name, step] = cross_val_score(
            model, digits.images, digits.target, cv=splits
        )

# %%
# The splits differ more than the steps do. So compare each step with the one before on
# the same splits, and look at the spread of the differences. The tests of all splits
# share images, and training sets overlap a little: the standard errors are too small
# rather than too large.

print(f"{'accuracy, and gain by the step':32}" + "".join(f"{n:>30}" for n in networks))
before = dict.fromkeys(networks)
for step in steps:
    cells = []
    for name in networks:
        found = scores[name, step]
        cell = f"{found.mean():.3f}"
        if before[name] is not None:
            gain = found - before[name]
            error = gain.std(ddof=1) / np.sqrt(len(gain)) if len(gain) > 1 else np.nan
            cell += f"  {gain.mean():+.3f} +- {error:.3f}"
        before[name] = found
        cells.append(cell)
    print(f"{step:32}" + "".join(f"{cell:>30}" for cell in cells))

# %%
# Draw the accuracy after each step. A point is a split, and the line joins the means.

figure, ax = plt.subplots(figsize=(8, 4.2), layout="constrained")
for name, color in zip(networks, ("tab:blue", "tab:orange"), strict=True):
    values = np.array([scores[name, step] for step in steps])
    ax.plot(values.mean(axis=1), range(len(steps)), "o-", color=color, label=name)
    for k in range(values.shape[1]):
        ax.plot(values[:, k], range(len(steps)), ".", color=color, alpha=0.5)
ax.set(yticks=range(len(steps)), yticklabels=list(steps), xlabel="test accuracy")
ax.set_title("Sixty digits: accuracy after each step of the recipe")
ax.invert_yaxis()
ax.grid(alpha=0.3)
ax.legend()
if arguments.out is not None:
    figure.savefig(arguments.out, dpi=110)
    print(f"picture: {arguments.out}")
