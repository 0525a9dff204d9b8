"""
Few images: augmentation, convolutions, attention
=================================================

With 134 digits to learn from, a row LSTM is less accurate than an SVC. Augmentation
inside the network and convolutions before the LSTM make up for it. A network with
attention shows where it looked. The script takes about two minutes on two cores.
"""

# sphinx_gallery_thumbnail_path = 'images/attention.png'

import argparse

import matplotlib.pyplot as plt
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from sklearn.svm import SVC

from sklstm import LSTMImageClassifier, PatchSequencer, RowSequencer

parser = argparse.ArgumentParser(description="Learns from 134 digits.")
parser.add_argument("--out", help="file for the picture")
arguments, _ = parser.parse_known_args()

digits = load_digits()
X_train, X_test, y_train, y_test = train_test_split(
    digits.images, digits.target, train_size=134, stratify=digits.target, random_state=0
)

# %%
# Every model takes images. The sequencer is a layer of the network, so that training
# can rotate and shift the images before the network cuts them into patches.

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
# Draw where the network with attention looked in ten test images. A pixel shows the
# mean weight of the patches that contain it.

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
if arguments.out is not None:
    figure.savefig(arguments.out, dpi=110)
    print(f"picture: {arguments.out}")

# %%
# Output
# ------
#
# The build of the documentation does not run this example. This is the stored output of
# ``python examples/inside_the_network.py --out inside_the_network.png``
# (TensorFlow on one thread):
#
# .. rst-class:: sphx-glr-script-out
#
# .. literalinclude:: /outputs/inside_the_network.txt
#    :language: none
#
# .. image:: /images/attention.png
#    :alt: Ten digits, and below each the attention of the network.
