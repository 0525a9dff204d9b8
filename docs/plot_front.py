"""Draw docs/images/front.png: from an image to a sequence to a class.

Run ``python docs/plot_front.py``. The image is a test digit, and the probabilities are
those of a classifier that the script trains on other digits.
"""

from pathlib import Path

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.patches import FancyBboxPatch, Rectangle
from sklearn.datasets import load_digits
from sklearn.pipeline import make_pipeline

from sklstm import LSTMImageClassifier, RowSequencer

OUTPUT = Path(__file__).parent / "images" / "front.png"
SIDE = 8
COLORS = plt.get_cmap("viridis")(np.linspace(0, 0.9, SIDE))
ARROW = {"arrowstyle": "-|>", "color": "0.3", "linewidth": 1.3, "shrinkA": 0}


def draw_image(ax, image):
    """Draw the image, with a colour for each row."""
    ax.imshow(image, cmap="gray_r", extent=(0, SIDE, SIDE, 0))
    for row, color in enumerate(COLORS):
        ax.add_patch(Rectangle((-0.6, row + 0.1), 0.4, 0.8, facecolor=color))
    ax.add_patch(Rectangle((0, 0), SIDE, SIDE, fill=False, edgecolor="0.6"))
    ax.set(xlim=(-1, SIDE + 0.2), ylim=(SIDE + 0.2, -0.2))
    ax.set_title("image")
    ax.axis("off")


def draw_sequence(ax, sequence):
    """Draw each step as a column, above the LSTM that reads the steps in turn."""
    for step, (values, color) in enumerate(zip(sequence, COLORS, strict=True)):
        left = 2 * step
        ax.imshow(
            values[:, None],
            cmap="gray_r",
            vmin=0,
            vmax=sequence.max(),
            extent=(left, left + 0.8, SIDE, 0),
        )
        ax.add_patch(
            Rectangle((left, 0), 0.8, SIDE, fill=False, edgecolor=color, linewidth=2.2)
        )
        ax.annotate("", (left + 0.4, 9.8), (left + 0.4, 8.1), arrowprops=ARROW)
        ax.add_patch(
            FancyBboxPatch(
                (left - 0.3, 10),
                1.4,
                1.8,
                boxstyle="round,pad=0,rounding_size=0.3",
                facecolor="#e8eef4",
                edgecolor="0.4",
            )
        )
        ax.text(left + 0.4, 10.9, "LSTM", ha="center", va="center", fontsize=6.5)
        # The default LSTM reads the sequence in both directions.
        style = "<|-|>" if step < SIDE - 1 else "-|>"
        between = {**ARROW, "arrowstyle": style, "shrinkB": 0, "mutation_scale": 7}
        ax.annotate("", (left + 1.7, 10.9), (left + 1.1, 10.9), arrowprops=between)
    ax.set(xlim=(-0.6, 2 * SIDE), ylim=(12, -0.2), aspect="auto")
    ax.set_title("sequence: one step per row")
    ax.axis("off")


def draw_answer(ax, probabilities):
    """Draw the probabilities of the classes as bars."""
    best = probabilities.argmax()
    colors = ["C0" if label == best else "0.75" for label in range(10)]
    ax.barh(range(10), probabilities, color=colors)
    ax.set(xlim=(0, 1), yticks=range(10), xlabel="probability", title="class")
    ax.invert_yaxis()
    ax.spines[["top", "right"]].set_visible(False)


def main():
    """Train, draw and save."""
    digits = load_digits()
    model = make_pipeline(RowSequencer(), LSTMImageClassifier(random_state=0))
    model.fit(digits.images[:1000], digits.target[:1000])
    image = digits.images[1001:1002]
    figure, axes = plt.subplots(
        1, 3, figsize=(10, 3), width_ratios=(2.6, 5, 2.6), layout="constrained"
    )
    draw_image(axes[0], image[0])
    draw_sequence(axes[1], model[0].transform(image)[0])
    draw_answer(axes[2], model.predict_proba(image)[0])
    figure.savefig(OUTPUT, dpi=130)


if __name__ == "__main__":
    main()
