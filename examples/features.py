"""
Pretrained features: a few photographs, and a network that has seen a million
==============================================================================

``FeatureSequencer`` runs photographs through a Keras model with pretrained weights. An
LSTM reads the positions of its feature map, and a logistic regression reads their mean.
A cross-validation runs the model once for each photograph. On these photographs, the
logistic regression scores higher than the LSTM.

The script needs ``--data FOLDER``, a folder with a folder of photographs for each
class. ``--backbone FILE`` names a file of a Keras model. Without it, Keras downloads
the weights of EfficientNetB0. The stored output is that of 500 photographs of CIFAR-10,
50 of each class, and of an EfficientNet-Lite0 with the weights of ImageNet. It took
about five minutes on two cores.
"""

# sphinx_gallery_thumbnail_path = 'images/features.png'

import argparse
import time

import keras
import matplotlib.pyplot as plt
import numpy as np
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedKFold, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from sklstm import FeatureSequencer, ImageReader, LSTMImageClassifier, load_image_folder

parser = argparse.ArgumentParser(description="Classifies photographs by features.")
parser.add_argument("--data", help="folder with a folder for each class")
parser.add_argument("--backbone", help="file of a Keras model without its top")
parser.add_argument("--size", type=int, default=160, help="size for the backbone")
parser.add_argument("--out", help="file for the picture")
arguments, _ = parser.parse_known_args()
if not arguments.data:
    parser.error("give --data FOLDER, a folder with a folder of photographs each class")

# %%
# Read the photographs, and load the backbone.

photographs = load_image_folder(arguments.data)
X = ImageReader(size=arguments.size, color="rgb").fit_transform(photographs.paths)
y = photographs.labels
if arguments.backbone:
    backbone = keras.models.load_model(arguments.backbone)
else:
    backbone = keras.applications.EfficientNetB0(include_top=False)
features = FeatureSequencer(backbone)
print(f"{len(X)} photographs of {len(photographs.classes)} classes")

# %%
# Compare two classifiers in five folds. The first cross-validation computes the
# features. The second one finds them in the cache.

pooled = FeatureSequencer(backbone, pooling="mean")
linear = make_pipeline(pooled, StandardScaler(), LogisticRegression(C=0.01))
lstm = LSTMImageClassifier(
    units=128, dropout=0.3, input_noise=0.1, pooling="attention", epochs=30,
    random_state=0,
)  # fmt: skip
folds = StratifiedKFold(5, shuffle=True, random_state=0)
for name, model in (
    ("logistic regression of the mean", linear),
    ("the same again", linear),
    ("LSTM over the positions", make_pipeline(features, lstm)),
):
    start = time.perf_counter()
    scores = cross_val_score(model, X, y, cv=folds)
    seconds = time.perf_counter() - start
    print(f"{name:33} {scores.mean():.3f} +- {scores.std():.3f}  {seconds:5.1f} s")

# %%
# Draw what the attention of the LSTM reads on photographs that it has not seen.

train, test = next(folds.split(X, y))
sequences = features.fit_transform(X)
lstm.fit(sequences[train], y[train])
chosen = np.random.default_rng(0).permutation(test)[:8]
attention = features.steps_to_image(lstm.attention_map(sequences[chosen]))
predicted = lstm.predict(sequences[chosen])

figure, axes = plt.subplots(
    2, len(chosen), figsize=(12, 3.4), layout="constrained", squeeze=False
)
for k, (above, below) in enumerate(axes.T):
    above.imshow(X[chosen[k]])
    above.set_title(predicted[k], fontsize=9)
    below.imshow(X[chosen[k]].mean(axis=2), cmap="gray")
    below.imshow(attention[k], cmap="magma", alpha=0.6)
    for ax in (above, below):
        ax.set(xticks=[], yticks=[])
axes[0, 0].set_ylabel("predicted")
axes[1, 0].set_ylabel("attention")
if arguments.out is not None:
    figure.savefig(arguments.out, dpi=110)
    print(f"picture: {arguments.out}")

# %%
# Output
# ------
#
# The build of the documentation does not run this example. This is the stored output of
# ``python examples/features.py --data FOLDER --backbone FILE --out features.png``
# (TensorFlow on one thread, beside other programs):
#
# .. rst-class:: sphx-glr-script-out
#
# .. literalinclude:: /outputs/features.txt
#    :language: none
#
# .. image:: /images/features.png
#    :alt: Photographs with the predicted class, and below each the parts that the
#          attention reads.
