"""
Attribution: which pixels speak for a class?
============================================

A network reads digits as sequences of overlapping patches. ``attribute`` tells how much
each pixel contributes to a prediction, in three ways: occlusion, integrated gradients
and attention. ``faithfulness`` tests whether the prediction depends on the pixels that
they name, against random ones.

The script takes about a minute.
"""

# sphinx_gallery_thumbnail_path = 'images/attribution.png'

import argparse

import matplotlib.pyplot as plt
import numpy as np
from scipy.stats import t as student
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

from sklstm import LSTMImageClassifier, PatchSequencer
from sklstm.inspection import AttributionDisplay, attribute, faithfulness

parser = argparse.ArgumentParser(description="Attributes predictions to pixels.")
parser.add_argument("--epochs", type=int, default=40)
parser.add_argument("--images", type=int, default=200, help="images of the test")
parser.add_argument("--points", type=int, default=256, help="points of the gradients")
parser.add_argument("--out", help="file for the picture")
arguments, _ = parser.parse_known_args()

digits = load_digits()
X_train, X_test, y_train, y_test = train_test_split(
    digits.images, digits.target, stratify=digits.target, random_state=0
)
classifier = LSTMImageClassifier(
    sequencer=PatchSequencer(patch_size=4, stride=2),
    attention="additive",
    epochs=arguments.epochs,
    random_state=0,
).fit(X_train, y_train)
print(f"test accuracy {classifier.score(X_test, y_test):.3f}")

# %%
# Attributions of test images. The baseline is black, the paper of these digits.
# Occlusion replaces a patch at a time. The attention of this network jumps from patch
# to patch on the way from the baseline to the image, so gradients need many points.

X = X_test[: arguments.images]
methods = ("occlusion", "gradients", "attention")
maps = {
    method: attribute(
        classifier, X, method=method, baseline=0, n_steps=arguments.points
    )
    for method in methods
}

# %%
# Integrated gradients sum to the difference of two probabilities: that of the image and
# that of the baseline.

probabilities = classifier.predict_proba(X)
classes = probabilities.argmax(axis=1)
rows = np.arange(len(X))
difference = probabilities[rows, classes]
difference = difference - classifier.predict_proba(0 * X[:1])[0, classes]
error = np.abs(maps["gradients"].sum(axis=(1, 2)) - difference).max()
print(f"largest error of a sum of gradients {error:.4f}")

# %%
# Delete the pixels of the highest attribution first, and insert them first. A faithful
# attribution has a smaller area under the first curve than random numbers have, and a
# larger area under the second. The intervals are those of the mean over the images.

rng = np.random.default_rng(0)
maps["random"] = rng.uniform(size=X.shape)
curves = {
    name: faithfulness(classifier, X, values, baseline=0, random_state=0)
    for name, values in maps.items()
}


def with_interval(gains):
    """Return the mean and the reach of its 95 % interval."""
    reach = student.ppf(0.975, len(gains) - 1) * gains.std(ddof=1) / len(gains) ** 0.5
    return f"{gains.mean():+.3f} +- {reach:.3f}"


random = curves["random"]
for name in methods:
    lower = random.deletion_area - curves[name].deletion_area
    higher = curves[name].insertion_area - random.insertion_area
    print(
        f"{name:10} deletion better by {with_interval(lower)}, "
        f"insertion by {with_interval(higher)}"
    )

# %%
# A row for each method: five digits with class and probability, and the curves of all
# images. Random attributions are grey.

figure, axes = plt.subplots(3, 6, figsize=(11, 5.6), layout="constrained")
titles = [
    f"{label}: {p:.2f}"
    for label, p in zip(
        classifier.classes_[classes[:5]], probabilities.max(axis=1)[:5], strict=True
    )
]
for name, row in zip(methods, axes, strict=True):
    AttributionDisplay.from_attributions(
        X[:5], maps[name][:5], titles=titles, colorbar=False, ax=row[:5]
    )
    row[0].set_ylabel(name)
    for shown, style in ((random, {"color": "0.6"}), (curves[name], {})):
        for part, line in (("deletion", "-"), ("insertion", "--")):
            row[5].plot(
                shown.fractions,
                getattr(shown, part).mean(axis=0),
                line,
                label=part if shown is not random else None,
                **{"color": "#0072B2", **style},
            )
    row[5].set(ylim=(0, 1.02), ylabel="mean probability")
axes[0, 5].legend(fontsize="small")
axes[2, 5].set_xlabel("part of the pixels")
if arguments.out is not None:
    figure.savefig(arguments.out, dpi=110)
    print(f"picture: {arguments.out}")

# %%
# Output
# ------
#
# The build of the documentation does not run this example. This is the stored output of
# ``python examples/attribution.py --out attribution.png``
# (TensorFlow on one thread, beside other programs):
#
# .. rst-class:: sphx-glr-script-out
#
# .. literalinclude:: /outputs/attribution.txt
#    :language: none
#
# .. image:: /images/attribution.png
#    :alt: Five digits with occlusion, integrated gradients and attention, and the
#          curves of deletion and insertion.
