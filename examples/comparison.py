"""
Comparison: is one classifier better than another?
==================================================

``compare`` trains classifiers on the same folds, with 40 and with 200 digits. The
controls are the majority class, a logistic regression, an SVC whose parameters are
tuned inside each fold, and a CNN that is trained like the first network and has as many
weights. The folds share training images, so the intervals and the tests are corrected
for that.

The script takes several minutes.
"""

# sphinx_gallery_thumbnail_path = 'images/comparison.png'

import argparse

from sklearn.datasets import load_digits
from sklearn.pipeline import make_pipeline

from sklstm import LSTMImageClassifier, RowSequencer
from sklstm.model_selection import compare

parser = argparse.ArgumentParser(description="Compares classifiers of digits.")
parser.add_argument("--epochs", type=int, default=60)
parser.add_argument("--folds", type=int, default=5)
parser.add_argument("--repeats", type=int, default=2)
parser.add_argument("--store", help="file that keeps the scores of finished fits")
parser.add_argument("--out", help="file for the picture")
arguments, _ = parser.parse_known_args()

# %%
# Name what is compared. The first network says how the CNN is trained.

digits = load_digits()
X, y = digits.images[:300], digits.target[:300]
models = {
    "CNN + LSTM": LSTMImageClassifier(
        "cnn_lstm",
        augmentation="characters",
        weight_decay=0.3,
        stem_kernels="harmonic",
        epochs=arguments.epochs,
    ),
    "LSTM over rows": make_pipeline(
        RowSequencer(), LSTMImageClassifier(epochs=arguments.epochs)
    ),
}

# %%
# Compare on five folds, twice. With ``store=``, a comparison that is interrupted goes
# on where it stopped.

found = compare(
    models,
    X,
    y,
    train_sizes=[40, 200],
    cv=arguments.folds,
    n_repeats=arguments.repeats,
    random_state=0,
    store=arguments.store,
)
print(found)

# %%
# Plot the scores over the number of training images, with 95 % intervals.

display = found.plot()
n_splits = found.scores.shape[2]
display.ax_.set_title(f"Digits, {n_splits} splits")
if arguments.out is not None:
    display.figure_.savefig(arguments.out, dpi=110)
    print(f"picture: {arguments.out}")

# %%
# Output
# ------
#
# The build of the documentation does not run this example. This is the stored output of
# ``python examples/comparison.py --out comparison.png``
# (TensorFlow on one thread, beside other programs):
#
# .. rst-class:: sphx-glr-script-out
#
# .. literalinclude:: /outputs/comparison.txt
#    :language: none
#
# .. image:: /images/comparison.png
#    :alt: Accuracy of six classifiers with 40 and with 200 training digits, with
#          intervals.
