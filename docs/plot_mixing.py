"""Draw docs/images/mixing.png: digits that mixup and CutMix have mixed.

Run ``python docs/plot_mixing.py``. The layer of the package mixes them. The titles show
the targets.
"""

from pathlib import Path

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import load_digits

from sklstm.networks import MixedPairs

OUTPUT = Path(__file__).parent / "images" / "mixing.png"
N = 8


def main():
    """Mix digits and draw them."""
    digits = load_digits()
    x = digits.images[10 : 10 + N, ..., None].astype("float32")
    y = np.eye(10, dtype="float32")[digits.target[10 : 10 + N]]
    rows = [(x, y)]
    for params in ({"mixup": 1.0}, {"cutmix": 1.0}):
        layer = MixedPairs(**params)
        state = layer.seed_generator.state
        state.assign(np.array([4, 0], state.dtype))
        mixed, target, _ = layer(x, y, np.ones(N, "float32"))
        rows.append((np.asarray(mixed), np.asarray(target)))
    figure, axes = plt.subplots(3, N, figsize=(8, 4.1), layout="constrained")
    names = ("images", "mixup", "cutmix")
    for line, (images, targets), name in zip(axes, rows, names, strict=True):
        line[0].set_ylabel(name)
        for ax, image, target in zip(line, images, targets, strict=True):
            ax.imshow(image[..., 0], cmap="gray_r", vmin=0, vmax=16)
            parts = [f"{k}: {p:.2f}" for k, p in enumerate(target) if p > 0.005]
            ax.set_title("\n".join(parts), fontsize=8)
            ax.set(xticks=[], yticks=[])
    figure.savefig(OUTPUT, dpi=150)


if __name__ == "__main__":
    main()
