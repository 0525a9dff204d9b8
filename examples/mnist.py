"""
MNIST, read row by row
======================

A bidirectional LSTM reads the 28 rows of each image of MNIST. It is trained on the
60,000 images of the official split, and tested once on the other 10,000. The script
prints the time, the seed and the versions beside the accuracy, and draws the digits
that the network misreads.

It needs ``--data FOLDER`` with ``mnist.npz`` (keys ``x_train``, ``y_train``,
``x_test``, ``y_test``), and takes about five minutes on two cores.
"""

# sphinx_gallery_thumbnail_path = 'images/mnist.png'

import argparse
import os
import platform
import time
from importlib.metadata import version
from pathlib import Path

import numpy as np
from sklearn.pipeline import Pipeline

from sklstm import LSTMImageClassifier, RowSequencer

parser = argparse.ArgumentParser(description="MNIST, read row by row.")
parser.add_argument("--data", default=os.environ.get("SKLSTM_DATA"), help="folder")
parser.add_argument("--out", help="file for the picture; none is drawn without it")
parser.add_argument("--seed", type=int, default=0)
parser.add_argument("--epochs", type=int, default=15)
parser.add_argument("--units", type=int, default=128)
parser.add_argument(
    "--n-train", type=int, default=60_000, help="fewer for a quick look"
)
arguments = parser.parse_args()
if arguments.data is None:
    parser.error("give --data FOLDER, the folder that holds mnist.npz")
path = Path(arguments.data) / "mnist.npz"
if not path.is_file():
    parser.error(f"looked for {path}, which is not there")

with np.load(path) as file:
    X_train, y_train = file["x_train"], file["y_train"]
    X_test, y_test = file["x_test"], file["y_test"]
X_train, y_train = X_train[: arguments.n_train], y_train[: arguments.n_train]

# %%
# The images stay bytes from 0 to 255: the network standardizes its input.

model = Pipeline(
    [
        ("seq", RowSequencer()),
        (
            "clf",
            LSTMImageClassifier(
                units=arguments.units,
                dropout=0.3,
                learning_rate=4e-3,
                batch_size=128,
                epochs=arguments.epochs,
                random_state=arguments.seed,
                verbose=1,
            ),
        ),
    ]
)
start = time.perf_counter()
model.fit(X_train, y_train)
seconds = time.perf_counter() - start
start = time.perf_counter()
accuracy = model.score(X_test, y_test)
print(
    f"\ntest accuracy {accuracy:.4f} on {len(y_test)} images after {arguments.epochs} "
    f"epochs of {len(y_train)} images: {seconds:.0f} s to train, "
    f"{time.perf_counter() - start:.1f} s to predict"
)
print(
    f"seed {arguments.seed}, {os.cpu_count()} cores, "
    f"Python {platform.python_version()}, "
    + ", ".join(
        f"{name} {version(name)}"
        for name in ("numpy", "scikit-learn", "keras", "tensorflow", "sklstm")
    )
)

# %%
# Of the test images that the network misreads, show those about which it is most
# certain.

if arguments.out is not None:
    import matplotlib.pyplot as plt

    probabilities = model.predict_proba(X_test)
    answers = model.classes_[probabilities.argmax(axis=1)]
    wrong = np.flatnonzero(answers != y_test)
    wrong = wrong[np.argsort(-probabilities[wrong].max(axis=1), kind="stable")[:16]]
    figure, axes = plt.subplots(2, 8, figsize=(10, 3.2), layout="constrained")
    for axis in axes.flat:
        axis.axis("off")
    for axis, i in zip(axes.flat, wrong, strict=False):
        axis.imshow(X_test[i], cmap="gray_r")
        axis.set_title(f"{y_test[i]}, read as {answers[i]}", fontsize=9)
    figure.savefig(arguments.out, dpi=110)
    print(f"picture: {arguments.out}")

# %%
# Output
# ------
#
# The build of the documentation does not run this example. This is the stored output of
# ``python examples/mnist.py --data FOLDER --out mnist.png``
# (TensorFlow on one thread, beside other programs):
#
# .. rst-class:: sphx-glr-script-out
#
# .. literalinclude:: /outputs/mnist.txt
#    :language: none
#
# .. image:: /images/mnist.png
#    :alt: Digits that the network misreads, each with its label and its answer.
