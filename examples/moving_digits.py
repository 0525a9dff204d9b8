"""
Videos: which way does the digit go?
====================================

In each video a handwritten digit moves over a black frame: across, up or down, or
slantwise. A single frame does not show which. A convolutional LSTM reads the videos as
they are. An LSTM reads them frame by frame, through a `VolumeSequencer` inside the
network.

The digits are the small ones of scikit-learn, or those of MNIST if ``--data FOLDER``
holds ``mnist.npz``. The script takes about half a minute on two cores, and three
minutes with MNIST.
"""

import argparse
import os
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression

from sklstm import LSTMImageClassifier, VolumeSequencer

parser = argparse.ArgumentParser(description="Classifies videos of moving digits.")
parser.add_argument("--data", default=os.environ.get("SKLSTM_DATA"), help="folder")
parser.add_argument("--out", help="file for the picture")
arguments, _ = parser.parse_known_args()

# %%
# Make 1,000 videos, 700 of them to train on. Each digit moves by one or two pixels per
# frame. Its place in the middle frame is independent of its direction and does not give
# the answer away. No digit occurs in a training video and in a test video.

if arguments.data:
    with np.load(Path(arguments.data) / "mnist.npz") as data:
        digits = data["x_train"][:1000]
    speed, side = 2, 44
else:
    digits = (load_digits().images[:1000] * 15).astype(np.uint8)
    speed, side = 1, 16
n_frames = 7
ways = {"across": (0, 1), "up or down": (1, 0), "slantwise": (1, 1)}

rng = np.random.default_rng(0)
y = rng.choice(list(ways), len(digits))
videos = np.zeros((len(digits), n_frames, side, side), np.uint8)
for video, digit, label in zip(videos, digits, y, strict=True):
    way = speed * np.array(ways[label]) * rng.choice([-1, 1], 2)
    size = len(digit)
    reach = speed * (n_frames // 2)
    middle = rng.integers(reach, side - size - reach + 1, 2)
    for i, frame in enumerate(video):
        row, column = middle + (i - n_frames // 2) * way
        frame[row : row + size, column : column + size] = digit
X_train, X_test, y_train, y_test = videos[:700], videos[700:], y[:700], y[700:]

# %%
# Train both networks, and as a control a logistic regression on all pixels of all
# frames. On videos as simple as these the control does as well.

models = {
    "conv_lstm": LSTMImageClassifier(
        "conv_lstm", network__filters=8, epochs=15, random_state=0
    ),
    "lstm": LSTMImageClassifier(
        sequencer=VolumeSequencer(), epochs=60, dropout=0, random_state=0
    ),
}
for name, model in models.items():
    model.fit(X_train, y_train)
    print(f"{name:20} test accuracy {model.score(X_test, y_test):.3f}")
flat = [X.reshape(len(X), -1) / 255 for X in (X_train, X_test)]
control = LogisticRegression(max_iter=200).fit(flat[0], y_train)
print(f"{'logistic regression':20} test accuracy {control.score(flat[1], y_test):.3f}")

# %%
# Draw four of the test videos, with the answers of the convolutional LSTM.

predicted = models["conv_lstm"].predict(X_test[:4])
figure, axes = plt.subplots(4, n_frames, figsize=(7, 5))
for row, video, truth, answer in zip(axes, X_test, y_test, predicted, strict=False):
    for axis, frame in zip(row, video, strict=True):
        axis.imshow(frame, cmap="gray", vmin=0, vmax=255)
        axis.set(xticks=[], yticks=[])
    row[0].set_ylabel(f"{truth}\n({answer})")
figure.suptitle("direction of the digit (predicted direction in brackets)")
figure.tight_layout()
if arguments.out is not None:
    figure.savefig(arguments.out, dpi=110)
    print(f"picture: {arguments.out}")
