"""Draw two pictures of the uncertainty of an ensemble.

Run ``python docs/plot_uncertainty.py FOLDER``, with the folder that holds ``mnist.npz``
and ``fashion_mnist.npz``. docs/images/risk_coverage.png is the error on digits without
the uncertain ones. docs/images/other_images.png is the uncertainty on digits of MNIST
and on clothes of Fashion-MNIST, which the ensemble has never seen.
"""

import sys
from pathlib import Path

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

from sklstm import LSTMImageClassifier
from sklstm.inspection import RiskCoverageDisplay

IMAGES = Path(__file__).parent / "images"


def draw_risk_coverage():
    """Draw the error of an ensemble and of its first network on digits."""
    X, y = load_digits(return_X_y=True)
    train, test, y_train, y_test = train_test_split(
        X.reshape(-1, 8, 8), y, train_size=300, stratify=y, random_state=0
    )
    ensemble = LSTMImageClassifier(n_estimators=5, epochs=30, random_state=0)
    ensemble.fit(train, y_train)
    figure, ax = plt.subplots(figsize=(6, 3.6), layout="constrained")
    for name, model, kind in (
        ("one network, highest probability", ensemble.estimators_[0], None),
        ("five networks, highest probability", ensemble, None),
        ("five networks, total uncertainty", ensemble, "total"),
        ("five networks, model uncertainty", ensemble, "model"),
    ):
        RiskCoverageDisplay.from_estimator(
            model, test, y_test, uncertainty=kind or "max_probability", name=name, ax=ax
        )
    figure.savefig(IMAGES / "risk_coverage.png", dpi=110)


def draw_other_images(folder):
    """Draw the uncertainty on digits and on clothes."""
    with np.load(Path(folder) / "mnist.npz") as data:
        X, y, digits = data["x_train"][:1000], data["y_train"][:1000], data["x_test"]
    with np.load(Path(folder) / "fashion_mnist.npz") as data:
        clothes = data["x_test"][:1000]
    digits = digits[:1000]
    ensemble = LSTMImageClassifier(
        "cnn_lstm",
        n_estimators=5,
        units=32,
        network__filters=8,
        epochs=12,
        random_state=0,
    ).fit(X, y)
    figure, axes = plt.subplots(1, 2, figsize=(8, 3.2), layout="constrained")
    kinds = ("digits, as in training", "clothes")
    found = [ensemble.predict_uncertainty(images) for images in (digits, clothes)]
    for ax, part in zip(axes, ("data", "model"), strict=True):
        values = [getattr(one, part) for one in found]
        bins = np.linspace(0, max(one.max() for one in values), 30)
        for one, kind in zip(values, kinds, strict=True):
            ax.hist(one, bins, alpha=0.6, label=kind)
        ax.set(xlabel=f"{part} uncertainty (nats)", ylabel="images", yscale="log")
    axes[1].legend()
    figure.savefig(IMAGES / "other_images.png", dpi=110)


if __name__ == "__main__":
    draw_risk_coverage()
    draw_other_images(sys.argv[1])
