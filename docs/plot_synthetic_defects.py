"""Draw docs/images/synthetic_defects.png: what `synthetic_defects` makes.

Run ``python docs/plot_synthetic_defects.py``. The script draws grainy surfaces of
different brightness. Two of them have a defect, and the others have none.
"""

from pathlib import Path

import matplotlib

matplotlib.use("Agg")

import cv2
import matplotlib.pyplot as plt
import numpy as np

from sklstm.estimators._synthetic_defects import noise_defects, paste_defects

OUTPUT = Path(__file__).parent / "images" / "synthetic_defects.png"
SIDE = 128
N_SHOWN = 6


def surfaces(n):
    """Return surfaces and masks. The first has a scratch, and the second a spot."""
    rng = np.random.default_rng(0)
    X = np.empty((n, SIDE, SIDE, 1), np.uint8)
    Y = np.zeros((n, SIDE, SIDE), np.uint8)
    scratch = np.array([[30, 34], [52, 44], [80, 66], [98, 94]], np.int32)
    cv2.polylines(Y[0], [scratch], False, 255, 3, cv2.LINE_AA)
    cv2.circle(Y[1], (84, 46), 9, 255, -1, cv2.LINE_AA)
    for i, (image, mask) in enumerate(zip(X, Y, strict=True)):
        grain = cv2.GaussianBlur(rng.normal(0, 1, (SIDE, SIDE)), (0, 0), 1.4)
        light = np.linspace(-1, 1, SIDE)[None, :] * rng.uniform(-25, 25)
        values = (90, 175, 150, 120, 190, 100)[i % 6] + light
        values = values + rng.uniform(6, 14) * grain / grain.std()
        values -= (75 if i == 0 else 60) * (mask / 255)
        image[..., 0] = np.clip(values, 0, 255)
    return X, Y


def main():
    """Draw the defects that are given, and both kinds of synthetic ones."""
    X, Y = surfaces(2 + N_SHOWN)
    strips = {
        "given": (X[:2], Y[:2]),
        '"paste"': paste_defects(X, Y, N_SHOWN, 2),
        '"noise"': noise_defects(X, Y, N_SHOWN, 4),
    }
    figure, axes = plt.subplots(
        4,
        N_SHOWN + 3,
        figsize=(10.5, 5.6),
        layout="constrained",
        # A gap between the images that are given and those that are made.
        width_ratios=[1, 1, 0.1] + N_SHOWN * [1],
    )
    for ax in axes.flat:
        ax.axis("off")
    for row, name in ((0, '"paste"'), (2, '"noise"')):
        both = zip((strips["given"], strips[name]), (0, 3), strict=True)
        for (images, masks), first in both:
            for k, (image, mask) in enumerate(zip(images, masks, strict=True)):
                above, below = axes[row : row + 2, first + k]
                above.imshow(image[..., 0], "gray", vmin=0, vmax=255)
                below.imshow(mask, "gray", vmin=0, vmax=255)
        for ax, text in zip(axes[row : row + 2, 0], (name, "masks"), strict=True):
            ax.text(
                -0.08,
                0.5,
                text,
                transform=ax.transAxes,
                ha="right",
                va="center",
                size=12,
            )
    axes[0, 0].set_title("given", fontsize=11)
    axes[0, 3].set_title("made", fontsize=11)
    figure.savefig(OUTPUT, dpi=90)


if __name__ == "__main__":
    main()
