"""
Few images: augmentation, convolutions, attention
=================================================

134 digits to learn from, 1,663 to be tested on. A row LSTM alone falls behind an SVC
there. Augmentation inside the network, before the scan, and convolutions before the
LSTM make up for it; and a network that weighs its patches shows where it looked. Takes
about two minutes on two cores.
"""

import argparse

import matplotlib.pyplot as plt
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from sklearn.svm import SVC

from sklstm import LSTMImageClassifier, PatchSequencer, RowSequencer

parser = argparse.ArgumentParser(description="Learns from 134 digits.")
parser.add_argument("--out", default="attention.png", help="where the picture goes")
arguments, _ = parser.parse_known_args()

digits = load_digits()
X_train, X_test, y_train, y_test = train_test_split(
    digits.images, digits.target, train_size=134, stratify=digits.target, random_state=0
)

# %%
# X holds images for all of them: the sequencer is a layer of the network, so that
# training can turn and shift the images before they are cut into patches.

models = {
    "row LSTM": LSTMImageClassifier(sequencer=RowSequencer()),
    "row LSTM, augmented": LSTMImageClassifier(
        sequencer=RowSequencer(), augmentation="light"
    ),
    "patches, attention": LSTMImageClassifier(
        sequencer=PatchSequencer(patch_size=4, stride=1),
        attention="additive",
        augmentation="light",
    ),
    "CNN + LSTM": LSTMImageClassifier("cnn_lstm", augmentation="light"),
    "CNN": LSTMImageClassifier("cnn", augmentation="light"),
}
for name, model in models.items():
    model.set_params(random_state=0).fit(X_train, y_train)
    print(f"{name:20} test accuracy {model.score(X_test, y_test):.3f}")
svc = SVC(C=10).fit(X_train.reshape(134, -1), y_train)
accuracy = svc.score(X_test.reshape(len(X_test), -1), y_test)
print(f"{'SVC(C=10)':20} test accuracy {accuracy:.3f}")

# %%
# Where the network with attention looked: the weight of each patch, painted on the
# pixels it holds, over ten test images.

looker = models["patches, attention"]
maps = looker.attention_map(X_test[:10], per="pixel")
figure, axes = plt.subplots(2, 10, figsize=(11, 2.6))
for column, image, weights, label in zip(
    axes.T, X_test, maps, looker.predict(X_test[:10]), strict=False
):
    column[0].imshow(image, cmap="gray_r")
    column[0].set_title(f"read as {label}", fontsize=8)
    column[1].imshow(weights, cmap="magma")
    for axis in column:
        axis.set(xticks=[], yticks=[])
figure.tight_layout()
if "__file__" in globals():
    figure.savefig(arguments.out, dpi=110)
    print(f"picture: {arguments.out}")
