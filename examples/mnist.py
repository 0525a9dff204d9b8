"""
MNIST, read row by row
======================

The official split: 60,000 images to train on, 10,000 to test once, at the end. A
bidirectional LSTM reads the 28 rows of each image. Takes ``--data FOLDER`` with
``mnist.npz`` (keys ``x_train, y_train, x_test, y_test``) and prints time, seed and
versions beside the accuracy.
"""

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
