from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.utils.validation import check_is_fitted

from sklstm.images._validate import as_array
from sklstm.inspection._parts import as_picture, parts_of, sequencer_inside
from sklstm.preprocessing._base import BaseSequencer
from sklstm.preprocessing._gather import average_to_pixels

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# With more steps, only some of them are numbered or have an arrow.
_FEW_STEPS = 16
# How far the far side of a volume is drawn to the right and up, in sides of its front.
_DEPTH = (0.5, 0.4)
_PLATE = {"boxstyle": "round,pad=0.15", "facecolor": "white", "edgecolor": "none"}


class ScanDisplay:
    """Plot of the order in which an image is read, and of the sequence.

    Use `from_estimator` to create it. The colour shows the number of the step, from
    dark for the first to light for the last. Rows and columns are coloured, and arrows
    show the direction in which each is read. Patches and cubes are joined from centre
    to centre. A few steps have an outline. Of a volume, the first slice is in front.

    Parameters
    ----------
    image : ndarray
        Image of shape (height, width[, channels]), or volume of shape (depth, height,
        width[, channels]).
    index_map : ndarray of int, shape (n_steps, n_pixels_per_step)
        Indices of the pixels of each step in the flattened image, -1 for padding.
    sequence : ndarray of shape (n_steps, n_features)
        The image as a sequence.
    volume : bool
        Whether `image` is a volume.

    Attributes
    ----------
    ax_ : ndarray of shape (1,) or (2,) of matplotlib.axes.Axes
        Axes of the scan and, if it is drawn, of the sequence.
    figure_ : matplotlib.figure.Figure
        Figure that contains the axes.

    See Also
    --------
    sklstm.RowSequencer : Read images by rows or columns.
    sklstm.PatchSequencer : Read images by patches.
    sklstm.VolumeSequencer : Read volumes by slices or cubes.

    Examples
    --------
    >>> import matplotlib.pyplot as plt
    >>> from sklearn.datasets import load_digits
    >>> from sklstm import PatchSequencer
    >>> from sklstm.inspection import ScanDisplay
    >>> image = load_digits().images[0]
    >>> display = ScanDisplay.from_estimator(PatchSequencer(4, 2), image)
    >>> display.sequence.shape
    (9, 16)
    >>> plt.close("all")
    """

    def __init__(
        self,
        *,
        image: np.ndarray,
        index_map: np.ndarray,
        sequence: np.ndarray,
        volume: bool = False,
    ) -> None:
        self.image = image
        self.index_map = index_map
        self.sequence = sequence
        self.volume = volume

    @classmethod
    def from_estimator(
        cls,
        estimator: Any,
        image: Any,
        *,
        windows: Any = 3,
        colorbar: bool = True,
        ax: Any = None,
    ) -> ScanDisplay:
        """Create the display from a sequencer or from what contains one, and plot it.

        Parameters
        ----------
        estimator : estimator
            A sequencer, a classifier with a sequencer inside, or a Pipeline or search
            of them. Steps in front of the sequencer must be fitted. The others need not
            be. A classifier without a sequencer whose network reads sequences reads the
            rows of an image.
        image : array-like or path
            One sample as `estimator` takes it: an image (height, width[, channels]), a
            volume, an image as a flat array, or what the first step of the Pipeline
            takes.
        windows : int or array-like of int, default=3
            Number of steps that get an outline, or their indices in `index_map`.
        colorbar : bool, default=True
            If True, draw a bar of the numbers of the steps.
        ax : matplotlib.axes.Axes or array-like of two, default=None
            Axes of the scan, or of the scan and of the sequence. If None, create a
            figure with both.

        Returns
        -------
        ScanDisplay
            The display.

        Raises
        ------
        TypeError
            If the estimator does not read images by a scan of their pixels.
        ValueError
            If the image does not suit the sequencer, or if `windows` or `ax` is wrong.
        """
        parts = parts_of(estimator)
        sequencer = parts.sequencer
        if sequencer is None:
            sequencer = sequencer_inside(parts.classifier)
        if not isinstance(sequencer, BaseSequencer):
            last = parts.classifier if sequencer is None else sequencer
            raise TypeError(
                f"A {type(last).__name__} does not read images by a scan of their "
                "pixels: give a RowSequencer, PatchSequencer or VolumeSequencer, or a "
                "classifier with one."
            )
        images = parts.images([image])
        try:
            check_is_fitted(sequencer)
        except NotFittedError:
            sequencer = clone(sequencer).fit(images)
        sequence = sequencer.transform(images)[0]
        display = cls(
            image=np.asarray(as_array(images)).reshape(sequencer.image_shape_),
            index_map=sequencer.index_map_,
            sequence=sequence,
            volume=sequencer._n_axes == 3,
        )
        return display.plot(ax=ax, windows=windows, colorbar=colorbar)

    def plot(
        self, ax: Any = None, *, windows: Any = 3, colorbar: bool = True
    ) -> ScanDisplay:
        """Plot the scan and, if there are two axes, the sequence.

        Parameters
        ----------
        ax : matplotlib.axes.Axes or array-like of two, default=None
            Axes of the scan, or of the scan and of the sequence. If None, create a
            figure with both.
        windows : int or array-like of int, default=3
            Number of steps that get an outline, or their indices in `index_map`.
        colorbar : bool, default=True
            If True, draw a bar of the numbers of the steps.

        Returns
        -------
        ScanDisplay
            The display.

        Raises
        ------
        ValueError
            If `ax` does not hold one or two axes, or if `windows` names steps that do
            not exist.
        """
        # matplotlib is optional.
        import matplotlib.pyplot as plt
        from matplotlib.cm import ScalarMappable
        from matplotlib.colors import LinearSegmentedColormap, Normalize
        from matplotlib.ticker import MaxNLocator

        chosen = self._chosen(windows)
        axes: np.ndarray
        if ax is None:
            figure, axes = plt.subplots(1, 2, figsize=(9, 4), layout="constrained")
        else:
            axes = np.asarray(ax).ravel()
            if len(axes) not in (1, 2):
                raise ValueError(
                    f"ax holds {len(axes)} axes, but the display draws the scan, or "
                    "the scan and the sequence: give one or two."
                )
            figure = axes[0].figure
        n_steps = len(self.index_map)
        # The lightest colours of the map are hard to see on white.
        ends = plt.get_cmap("viridis")(np.linspace(0, 0.9, 64))
        colors = LinearSegmentedColormap.from_list("steps", ends)
        scale = ScalarMappable(Normalize(1, max(n_steps, 2)), colors)
        if self.volume:
            _draw_volume(axes[0], self, scale, chosen)
        else:
            _draw_image(axes[0], self, scale, chosen)
        if colorbar:
            ticks = MaxNLocator(nbins=6, integer=True)
            figure.colorbar(scale, ax=axes[0], label="step", shrink=0.8, ticks=ticks)
        if len(axes) == 2:
            self._plot_sequence(axes[1], scale)
        self.ax_: np.ndarray = axes
        self.figure_: Figure = figure
        return self

    def _chosen(self, windows: Any) -> np.ndarray:
        """Return the steps that get an outline."""
        n_steps = len(self.index_map)
        wanted = np.asarray(windows)
        if wanted.dtype.kind not in "iu" and wanted.size:
            raise ValueError(
                f"windows={windows!r} must be a number of steps, or their indices."
            )
        if wanted.ndim == 0:
            # The first ones, whose overlap shows, and the last one.
            n = int(np.clip(wanted, 0, n_steps))
            return np.append(np.arange(n - 1), n_steps - 1) if n else np.arange(0)
        if wanted.size and not 0 <= wanted.min() <= wanted.max() < n_steps:
            raise ValueError(
                f"windows={windows!r} names steps that do not exist: there are "
                f"{n_steps}, from 0 to {n_steps - 1}."
            )
        return wanted.astype(int).ravel()

    def _plot_sequence(self, ax: Axes, scale: Any) -> None:
        n_steps, n_features = self.sequence.shape
        values = as_picture(self.sequence)
        sides = (0.5, n_steps + 0.5)
        ax.imshow(
            values.T,
            cmap="gray",
            vmin=0,
            vmax=1,
            aspect="auto",
            interpolation="nearest",
            extent=(*sides, n_features - 0.5, -0.5),
        )
        strip = 0.05 * n_features
        ax.imshow(
            np.arange(1, n_steps + 1)[None],
            cmap=scale.cmap,
            norm=scale.norm,
            aspect="auto",
            interpolation="nearest",
            extent=(*sides, -0.5, -0.5 - strip),
        )
        ax.set(xlim=sides, ylim=(n_features - 0.5, -0.5 - strip))
        ax.set(xlabel="step", ylabel="value of the step")
        ax.set_title(f"{n_steps} steps of {n_features} values", fontsize="medium")


class _Boxes:
    """The box around the pixels of each step, and the centre of the box."""

    def __init__(self, index_map: np.ndarray, shape: tuple[int, ...]) -> None:
        present = index_map >= 0
        places = np.stack(np.unravel_index(np.maximum(index_map, 0), shape), axis=-1)
        large = np.iinfo(places.dtype).max
        self.low = np.where(present[..., None], places, large).min(axis=1)
        self.high = np.where(present[..., None], places, -1).max(axis=1) + 1
        self.center = (self.low + self.high) / 2
        self.first = places[:, 0]
        self.last = places[:, -1]
        sides = self.high - self.low
        whole = (sides == np.asarray(shape)).all(axis=0)
        # The one axis along which the steps follow each other, if they are whole slices
        # of the image.
        along = np.flatnonzero(~whole)
        self.axis = int(along[0]) if len(along) == 1 else None
        self.thick = bool((sides[:, along] > 1).any())


def _draw_image(ax: Axes, shown: ScanDisplay, scale: Any, chosen: np.ndarray) -> None:
    height, width = shape = shown.image.shape[:2]
    boxes = _Boxes(shown.index_map, shape)
    edges = (0, width, height, 0)
    ax.imshow(
        as_picture(shown.image), cmap="gray", vmin=0, vmax=1, extent=edges, alpha=0.8
    )
    ax.set(xticks=[], yticks=[], xlim=(0, width), ylim=(height, 0))
    if boxes.axis is None:
        _draw_path(ax, boxes.center[:, ::-1], scale)
    else:
        n_steps = len(shown.index_map)
        numbers = np.arange(1.0, n_steps + 1)[None, :, None]
        mean = average_to_pixels(numbers, shown.index_map, height * width)
        ax.imshow(
            mean.reshape(shape),
            cmap=scale.cmap,
            norm=scale.norm,
            alpha=0.5,
            interpolation="nearest",
            extent=edges,
        )
        _draw_lines(ax, boxes, n_steps)
    _draw_windows(ax, boxes, scale, chosen)


def _draw_lines(ax: Axes, boxes: _Boxes, n_steps: int) -> None:
    """Number rows or columns at their side, and show where they are read from."""
    along = boxes.axis or 0
    some = np.unique(np.linspace(0, n_steps - 1, min(n_steps, _FEW_STEPS)).astype(int))
    numbered = some
    if n_steps > _FEW_STEPS:
        numbered = np.unique(np.linspace(0, n_steps - 1, 6).astype(int))
    ticks = boxes.center[numbered, along]
    (ax.set_yticks if along == 0 else ax.set_xticks)(ticks, numbered + 1)
    ax.tick_params(length=0)
    if boxes.thick:
        return
    for step in some:
        ends = np.array([boxes.first[step], boxes.last[step]])[:, ::-1] + 0.5
        _draw_arrow(ax, *ends, color="0.1", linewidth=1.2)


def _draw_windows(ax: Axes, boxes: _Boxes, scale: Any, chosen: np.ndarray) -> None:
    """Outline steps. Whole rows and columns that overlap are drawn apart."""
    # matplotlib is optional.
    from matplotlib.patches import Rectangle
    from matplotlib.patheffects import withStroke

    if boxes.axis is not None and not boxes.thick:
        return  # the colours of single rows show them
    for place, step in enumerate(chosen):
        (top, left), (bottom, right) = boxes.low[step], boxes.high[step]
        if boxes.axis == 0:
            gap = 0.05 * (right - left)
            left, right = left + gap * (1 + place % 2), right - gap * (2 - place % 2)
        elif boxes.axis == 1:
            gap = 0.05 * (bottom - top)
            top, bottom = top + gap * (1 + place % 2), bottom - gap * (2 - place % 2)
        color = scale.to_rgba(step + 1)
        ax.add_patch(
            Rectangle(
                (left, top),
                right - left,
                bottom - top,
                fill=False,
                edgecolor=color,
                linewidth=1.8,
                zorder=3,
                clip_on=False,
                path_effects=[withStroke(linewidth=3, foreground="white")],
            )
        )
        if boxes.axis is None:
            # Overlapping patches must not hide each other's number.
            ax.annotate(
                str(step + 1),
                (left, top),
                xytext=(1, -1),
                textcoords="offset points",
                ha="left",
                va="top",
                fontsize=8,
                color=color,
                fontweight="bold",
                bbox=_PLATE,
                zorder=6,
            )


def _draw_path(ax: Axes, centers: np.ndarray, scale: Any) -> None:
    """Join the centres of consecutive steps, with an arrow here and there."""
    # matplotlib is optional.
    from matplotlib.collections import LineCollection

    n_steps = len(centers)
    numbers = np.arange(1, n_steps + 1)
    pieces = np.stack([centers[:-1], centers[1:]], axis=1)
    colors = scale.to_rgba(numbers)
    ax.add_collection(LineCollection(pieces, colors="white", linewidths=3.4, zorder=3))
    ax.add_collection(LineCollection(pieces, colors=colors[:-1], linewidths=1.8))
    ax.collections[-1].set_zorder(4)
    if n_steps <= 400:
        size = 40 if n_steps <= 30 else 14
        ax.scatter(
            *centers.T, c=colors, s=size, zorder=6, edgecolors="white", linewidths=0.5
        )
    for step in np.unique(np.linspace(0, n_steps - 2, min(n_steps - 1, 6)).astype(int)):
        start, end = pieces[step]
        _draw_arrow(ax, start, start + 0.62 * (end - start), color=colors[step])


def _draw_arrow(
    ax: Axes, start: Any, end: Any, *, color: Any, linewidth: float = 1.8
) -> None:
    # matplotlib is optional.
    from matplotlib.patches import FancyArrowPatch
    from matplotlib.patheffects import withStroke

    ax.add_patch(
        FancyArrowPatch(
            tuple(start),
            tuple(end),
            arrowstyle="-|>",
            mutation_scale=9,
            shrinkA=0,
            shrinkB=0,
            color=color,
            linewidth=linewidth,
            zorder=5,
            path_effects=[withStroke(linewidth=linewidth + 1.6, foreground="white")],
        )
    )


def _project(points: Any, shape: tuple[int, ...]) -> np.ndarray:
    """Return where (z, y, x) is drawn, as (x, y). The first slice is in front."""
    z, y, x = np.moveaxis(np.asarray(points, float), -1, 0)
    depth, height, width = shape
    far = z / depth
    return np.stack(
        [x + _DEPTH[0] * far * width, y - _DEPTH[1] * far * height], axis=-1
    )


def _draw_volume(ax: Axes, shown: ScanDisplay, scale: Any, chosen: np.ndarray) -> None:
    shape = shown.image.shape[:3]
    boxes = _Boxes(shown.index_map, shape)
    picture = as_picture(shown.image, n_axes=3)
    _, height, width = shape
    whole = np.zeros(3), np.array(shape)
    _draw_box(ax, *whole, shape, color="0.75", linewidth=0.8, zorder=0)
    if boxes.axis is None:
        _draw_slice(ax, picture, 0, 0, shape, alpha=0.4)
        _draw_path(ax, _project(boxes.center, shape), scale)
        for step in chosen:
            corners = boxes.low[step], boxes.high[step]
            color = scale.to_rgba(step + 1)
            _draw_box(ax, *corners, shape, color=color, linewidth=1.8, zorder=5)
    else:
        _draw_slabs(ax, boxes, picture, shape, scale)
    ax.set_xlim(-0.06 * width, (1.04 + _DEPTH[0]) * width)
    ax.set_ylim(1.04 * height, -(0.06 + _DEPTH[1]) * height)
    ax.set_aspect("equal")
    ax.axis("off")


def _draw_slabs(
    ax: Axes, boxes: _Boxes, picture: np.ndarray, shape: tuple[int, ...], scale: Any
) -> None:
    """Draw some slices of a volume, each with the number of its step."""
    axis = boxes.axis or 0
    n_steps = len(boxes.center)
    some = np.unique(np.linspace(0, n_steps - 1, min(n_steps, 5)).astype(int))
    # The nearest is drawn last: the front, the top or the right side.
    near = boxes.center[some, axis] * (1 if axis == 2 else -1)
    for step in some[np.argsort(near, kind="stable")]:
        place = int(boxes.center[step, axis])
        outline = _draw_slice(ax, picture, axis, place, shape)
        color = scale.to_rgba(step + 1)
        ax.fill(*outline.T, facecolor=(*color[:3], 0.25), edgecolor=color, lw=2)
        # The corner that no nearer slice hides.
        corner, shift, ha, va = (
            (1, (-2, -2), "right", "top"),
            (0, (-3, 0), "right", "center"),
            (1, (0, -3), "center", "top"),
        )[axis]
        ax.annotate(
            str(step + 1),
            outline[corner],
            xytext=shift,
            textcoords="offset points",
            ha=ha,
            va=va,
            fontsize=8,
            bbox=_PLATE,
        )


def _draw_slice(
    ax: Axes,
    picture: np.ndarray,
    axis: int,
    place: int,
    shape: tuple[int, ...],
    alpha: float = 1.0,
) -> np.ndarray:
    """Draw one slice where it lies, and return its corners."""
    # matplotlib is optional.
    from matplotlib.patches import Polygon
    from matplotlib.transforms import Affine2D

    level = float(place) if axis == 0 else place + 0.5
    across = [other for other in range(3) if other != axis]
    corners = np.zeros((4, 3))
    corners[:, axis] = level
    # Two sides of the slice: its rows run along the second.
    corners[:, across[0]] = [0, 0, shape[across[0]], shape[across[0]]]
    corners[:, across[1]] = [0, shape[across[1]], shape[across[1]], 0]
    outline = _project(corners, shape)
    pixels = np.take(picture, place, axis=axis)
    n_rows, n_columns = pixels.shape[:2]
    right = (outline[1] - outline[0]) / n_columns
    down = (outline[3] - outline[0]) / n_rows
    matrix = np.array(
        [
            [right[0], down[0], outline[0, 0]],
            [right[1], down[1], outline[0, 1]],
            [0, 0, 1],
        ]
    )
    drawn = ax.imshow(
        pixels,
        cmap="gray",
        vmin=0,
        vmax=1,
        extent=(0, n_columns, n_rows, 0),
        interpolation="nearest",
        alpha=alpha,
    )
    drawn.set_transform(Affine2D(matrix) + ax.transData)
    drawn.set_clip_path(Polygon(outline, transform=ax.transData))
    # The order of drawing decides which slice is in front.
    drawn.set_zorder(1)
    return outline


def _draw_box(
    ax: Axes, low: np.ndarray, high: np.ndarray, shape: tuple[int, ...], **style: Any
) -> None:
    """Draw the edges of a box in a volume."""
    ends = np.array([low, high])
    for axis in range(3):
        others = [other for other in range(3) if other != axis]
        for first in (0, 1):
            for second in (0, 1):
                edge = ends.astype(float)
                edge[:, others[0]] = ends[first, others[0]]
                edge[:, others[1]] = ends[second, others[1]]
                ax.plot(*_project(edge, shape).T, **style)
