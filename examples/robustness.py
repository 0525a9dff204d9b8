"""
Which classifier stands changes of the image best?
==================================================

A test set is made by the camera that made the training set. In use, images are turned,
shifted, noisy or compressed. This script measures three classifiers on digits that are
changed more and more: LSTMs over the rows, a CNN without LSTMs that was trained alike,
and an SVC. The same LSTMs are also trained with augmentation. The script takes about
two minutes on two cores.
"""

# sphinx_gallery_thumbnail_path = 'images/robustness.png'

import argparse

import matplotlib.pyplot as plt
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer
from sklearn.svm import SVC

from sklstm import LSTMImageClassifier, RowSequencer
from sklstm.inspection import RobustnessDisplay
from sklstm.model_selection import robustness

parser = argparse.ArgumentParser(description="Measures robustness on digits.")
parser.add_argument("--train", type=int, default=600, help="number of training images")
parser.add_argument("--epochs", type=int, default=60, help="epochs of each network")
parser.add_argument("--out", help="file for the picture")
arguments, _ = parser.parse_known_args()

# %%
# Each classifier is fitted once, on images that are not changed.

digits = load_digits()
X, X_test, y, y_test = train_test_split(
    digits.images,
    digits.target,
    train_size=arguments.train,
    stratify=digits.target,
    random_state=0,
)
own = {"epochs": arguments.epochs, "random_state": 0}
flat = FunctionTransformer(lambda images: images.reshape(len(images), -1))
classifiers = {
    "row LSTM": LSTMImageClassifier(sequencer=RowSequencer(), **own),
    "row LSTM, augmented": LSTMImageClassifier(
        sequencer=RowSequencer(), augmentation="characters", **own
    ),
    "CNN": LSTMImageClassifier("cnn", **own),
    "SVC": make_pipeline(flat, SVC(C=10)),
}
for classifier in classifiers.values():
    classifier.fit(X, y)

# %%
# The test images are changed in the same way for all of them, because the seed is the
# same. The area under a curve is the mean accuracy along it.

changes = ["rotation", "shift", "scale", "noise", "blur", "contrast"]
found = {
    name: robustness(classifier, X_test, y_test, changes=changes, random_state=0)
    for name, classifier in classifiers.items()
}
print(f"{'area under the curve':20}" + "".join(f"{name:>10}" for name in changes))
for name, result in found.items():
    print(f"{name:20}" + "".join(f"{result.area(change):10.3f}" for change in changes))
print("\nrow LSTM,", found["row LSTM"])

# %%
# Draw all of them together. The bands are intervals of 95 %.

display = RobustnessDisplay.from_robustness(found, baseline=0.1)
if arguments.out is not None:
    display.figure_.savefig(arguments.out, dpi=110)
    print(f"picture: {arguments.out}")
plt.show()
