"""Draw docs/images/scans.png: the order in which each scan reads an image.

Run ``python docs/plot_scans.py``. All drawings follow from the index maps of the
sequencers. Lines connect the centres of consecutive steps, and the colour shows the
position of a step in the sequence.
"""

from pathlib import Path

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.patches import Rectangle

from sklstm import PatchSequencer, RowSequencer, VolumeSequencer

OUTPUT = Path(__file__).parent / "images" / "scans.png"
SIDE = 8
COLORS = plt.get_cmap("viridis")
PLATE = {"boxstyle": "circle,pad=0.15", "facecolor": "white", "edgecolor": "none"}


def draw_steps(ax, index_map, *, window, gap=0.0):
    """Draw a rectangle for each step, every other one shifted by `gap`.

    Yields the number of the step and the (y, x) of its first and its last pixel.
    """
    n_steps = len(index_map)
    for step, pixels in enumerate(index_map):
        y, x = np.unravel_index(pixels, (SIDE, SIDE))
        top, left = y.min(), x.min()
        color = COLORS(0.9 * step / max(n_steps - 1, 1))
        shift = gap * (step % 2)
        ax.add_patch(
            Rectangle(
                (left + 0.08 + shift, top + 0.08),
                window[1] - 0.16 - gap,
                window[0] - 0.16,
                facecolor=(*color[:3], 0.35),
                edgecolor=color,
                linewidth=1.2,
            )
        )
        yield step, (y[0], x[0]), (y[-1], x[-1])


def label(ax, x, y, text, **options):
    """Write a small text around a point."""
    ax.text(x, y, text, ha="center", va="center", fontsize=9, **options)


def arrow(ax, start, end, color="0.15"):
    """Draw an arrow from one point to another."""
    ax.annotate(
        "",
        xytext=start,
        xy=end,
        arrowprops={
            "arrowstyle": "-|>",
            "color": color,
            "linewidth": 1.2,
            "shrinkA": 0,
            "shrinkB": 0,
            "mutation_scale": 9,
        },
    )


def draw_lines(ax, sequencer, window, title):
    """Draw rows, columns or windows of rows, each with its number and direction."""
    index_map = sequencer.get_index_map((SIDE, SIDE))
    columns = window[0] == SIDE and window[1] < SIDE
    overlap = window[0] > 1 and not columns
    for step, first, last in draw_steps(
        ax, index_map, window=window, gap=0.9 if overlap else 0.0
    ):
        if columns:
            label(ax, first[1] + 0.5, -0.55, step + 1)
            low, high = first[0] + 0.7, last[0] + 0.3
            arrow(ax, (first[1] + 0.5, low), (first[1] + 0.5, high))
            continue
        middle = (first[0] + last[0] + 1) / 2
        side = -0.55 if not overlap or step % 2 == 0 else SIDE + 0.6
        label(ax, side, middle, step + 1)
        if overlap:
            continue
        ends = first[1] + 0.5, last[1] + 0.5
        direction = np.sign(ends[1] - ends[0]) * 0.2
        arrow(ax, (ends[0] + direction, middle), (ends[1] - direction, middle))
    finish(ax, title)


def draw_patches(ax, order, title):
    """Draw the centres of the patches, joined in the order of the sequence."""
    sequencer = PatchSequencer(patch_size=2, stride=1, order=order)
    first = sequencer.get_index_map((SIDE + 1, SIDE + 1))[:, 0]
    y, x = np.unravel_index(first, (SIDE + 1, SIDE + 1))
    # The SIDE x SIDE patches fill the same square as the images of the other drawings.
    centers = np.column_stack([x, y]) + 0.5
    colors = COLORS(0.9 * np.linspace(0, 1, len(centers)))
    for start, end, color in zip(centers[:-1], centers[1:], colors, strict=False):
        ax.plot(*np.column_stack([start, end]), color=color, linewidth=2)
    ax.scatter(*centers.T, c=colors, s=14, zorder=3)
    for (x, y), name in ((centers[0], "first"), (centers[-1], "last")):
        label(ax, x, -0.45 if y < SIDE / 2 else SIDE + 0.5, name)
    finish(ax, title)


def draw_overlap(ax):
    """Draw two neighbouring patches and the one at the border, shifted apart."""
    index_map = PatchSequencer(patch_size=4, stride=3).get_index_map((SIDE, SIDE))
    grid = index_map.reshape(3, 3, -1)
    for number, (pixels, hatch) in enumerate(
        zip(grid[0], ["", "///", "\\\\\\"], strict=True), start=1
    ):
        y, x = np.unravel_index(pixels[[0, -1]], (SIDE, SIDE))
        color = COLORS(0.4 * number - 0.4)
        top = y[0] + 1.1 * (number - 1)
        ax.add_patch(
            Rectangle(
                (x[0] + 0.06, top + 0.06),
                x[1] - x[0] + 0.88,
                y[1] - y[0] + 0.88,
                facecolor=(*color[:3], 0.25),
                edgecolor=color,
                linewidth=1.6,
                hatch=hatch,
            )
        )
        label(ax, x[1] + 0.5, top + 0.55, number, bbox=PLATE)
    text = "patch 4, stride 3, drawn apart:\nthe third ends at the border"
    label(ax, 4, 7.1, text)
    finish(ax, "patches at the border")


def draw_volume(ax, axis, title):
    """Draw the slices of a volume, seen from the side.

    The first slice is drawn last, because it is the nearest one.
    """
    n, depth = 5, (0.62, -0.5)
    order = VolumeSequencer(axis=axis).get_index_map((n, n, n))
    assert len(order) == n
    size = 4.6
    for step in reversed(range(n)):
        color = COLORS(0.9 * step / (n - 1))
        if axis == "depth":
            x, y = 0.6 + depth[0] * step, 3.2 + depth[1] * step
            corners = [(x, y), (x + size, y), (x + size, y + size), (x, y + size)]
            at = (x + 0.3, y + size - 0.4) if step == 0 else (x + size - 0.3, y + 0.32)
        else:
            top = 3.2 + size * step / (n - 1)
            back = np.array(depth) * (n - 1)
            corners = [
                (0.6, top),
                (0.6 + size, top),
                (0.6 + size + back[0], top + back[1]),
                (0.6 + back[0], top + back[1]),
            ]
            at = (0.1, top)
        ax.add_patch(
            plt.Polygon(
                corners, facecolor=(*color[:3], 0.75), edgecolor="white", linewidth=1
            )
        )
        white = {"color": "white"} if axis == "depth" else {}
        label(ax, *at, step + 1, **white)
    finish(ax, title, frame=False)


def draw_cubes(ax):
    """Draw the centres of the cubes, joined in the order of the sequence."""
    sequencer = VolumeSequencer(axis=None, step_size=1, order="snake")
    z, y, x = np.unravel_index(sequencer.get_index_map((3, 3, 3))[:, 0], (3, 3, 3))
    centers = np.column_stack([0.7 + 2.6 * x + 0.8 * z, 2.2 + 2.4 * y - 0.7 * z])
    colors = COLORS(0.9 * np.linspace(0, 1, len(centers)))
    for start, end, color in zip(centers[:-1], centers[1:], colors, strict=False):
        ax.plot(*np.column_stack([start, end]), color=color, linewidth=2)
    ax.scatter(*centers.T, c=colors, s=45, zorder=3)
    label(ax, *(centers[0] + [-0.1, -0.6]), "first")
    label(ax, *(centers[-1] + [0.1, 0.6]), "last")
    finish(ax, 'cubes, order="snake"', frame=False)


def finish(ax, title, frame=True):
    """Frame the image, set the title, and give each drawing the same limits."""
    if frame:
        ax.add_patch(
            Rectangle((0, 0), SIDE, SIDE, fill=False, edgecolor="0.6", linewidth=1)
        )
    ax.set(xlim=(-1.1, SIDE + 1.1), ylim=(SIDE + 0.8, -0.8), aspect="equal")
    ax.set_title(title, fontsize=10)
    ax.axis("off")


def main():
    """Draw all scans and save the figure."""
    figure, axes = plt.subplots(3, 4, figsize=(11, 8.4), layout="constrained")
    rows = RowSequencer
    lines = [
        (rows(), (1, SIDE), "rows"),
        (rows(order="backward"), (1, SIDE), 'rows, order="backward"'),
        (rows(order="snake"), (1, SIDE), 'rows, order="snake"'),
        (rows(axis="columns"), (SIDE, 1), "columns"),
        (rows(sequence_length=6), (2, SIDE), "sequence_length=6 of 8 rows"),
    ]
    for ax, line in zip(axes.flat, lines, strict=False):
        draw_lines(ax, *line)
    draw_patches(axes[1, 1], "raster", 'patches, order="raster"')
    draw_patches(axes[1, 2], "snake", 'patches, order="snake"')
    draw_patches(axes[1, 3], "hilbert", 'patches, order="hilbert"')
    draw_overlap(axes[2, 0])
    draw_volume(axes[2, 1], "depth", 'volume, axis="depth"')
    draw_volume(axes[2, 2], "height", 'volume, axis="height"')
    draw_cubes(axes[2, 3])
    figure.savefig(OUTPUT, dpi=110)


if __name__ == "__main__":
    OUTPUT.parent.mkdir(exist_ok=True)
    main()
