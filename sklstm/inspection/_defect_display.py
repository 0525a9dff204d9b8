from __future__ import annotations

from numbers import Integral
from typing import TYPE_CHECKING, Any

import numpy as np

from sklstm.inspection._parts import as_picture, parts_of
from sklstm.metrics import _as_list, _as_mask, _score_maps, _true_masks

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_OUTLINE = "#56B4E9"
_GOOD, _DEFECT = "#0072B2", "#D55E00"


class DefectDisplay:
    """Plot of masks of defects, or of the scores of images with and without them.

    Use `from_estimator` or `from_predictions` to create it. The first view, "masks",
    shows images with the outline of the predicted mask, the true masks, and the
    probabilities with the same outline. The second view, "scores", shows a histogram of
    the scores of good images and of images with a defect, and the threshold.

    Parameters
    ----------
    images : list of ndarray of shape (height, width[, channels])
        Images.
    masks : list of ndarray of bool, shape (height, width)
        True masks.
    probabilities : list of ndarray of shape (height, width)
        Probability of a defect for each pixel.
    predicted : list of ndarray of bool, shape (height, width)
        Predicted masks.
    scores : ndarray of shape (n,)
        Score of each image.
    score_threshold : float or None
        Score at which the threshold is drawn.
    score_name : str
        What the score is, for the label of the axis.

    Attributes
    ----------
    ax_ : matplotlib.axes.Axes
        Axes of the last plot.
    axes_ : ndarray of shape (3, n_drawn) of matplotlib.axes.Axes
        In the view "masks", the axes of the single pictures, inside `ax_`.
    rows_ : ndarray of int, shape (n_drawn,)
        In the view "masks", positions of the images drawn.
    figure_ : matplotlib.figure.Figure
        Figure that contains the axes.

    See Also
    --------
    sklstm.LSTMDefectDetector : Learn masks of defects.
    sklstm.metrics.region_overlap : Score of masks.

    Examples
    --------
    >>> import matplotlib.pyplot as plt
    >>> import numpy as np
    >>> from sklstm.inspection import DefectDisplay
    >>> images = np.random.default_rng(0).uniform(size=(2, 8, 8))
    >>> masks = np.zeros((2, 8, 8), bool)
    >>> masks[0, 2:5, 2:5] = True
    >>> display = DefectDisplay.from_predictions(images, masks, 0.2 + 0.6 * masks)
    >>> display.scores
    array([0.8, 0.2])
    >>> plt.close("all")
    """

    def __init__(
        self,
        *,
        images: list[np.ndarray],
        masks: list[np.ndarray],
        probabilities: list[np.ndarray],
        predicted: list[np.ndarray],
        scores: np.ndarray,
        score_threshold: float | None = None,
        score_name: str = "score of the image",
    ) -> None:
        self.images = images
        self.masks = masks
        self.probabilities = probabilities
        self.predicted = predicted
        self.scores = scores
        self.score_threshold = score_threshold
        self.score_name = score_name

    @classmethod
    def from_estimator(
        cls,
        estimator: Any,
        X: Any,
        y: Any,
        *,
        view: str = "masks",
        rows: Any = None,
        ax: Any = None,
    ) -> DefectDisplay:
        """Create the display from a fitted detector and plot it.

        The scores are those of ``decision_function``. Their threshold is the log-odds
        of ``threshold_``.

        Parameters
        ----------
        estimator : LSTMDefectDetector
            Fitted detector, or a Pipeline or search that ends in one.
        X : array-like
            Images that it was not trained on, as ``predict`` takes them.
        y : array-like of shape (n, height, width), or list of array-like
            Their masks. None stands for an image without defects.
        view : {"masks", "scores"}, default="masks"
            What to plot.
        rows : array-like of int, default=None
            Positions of the images in "masks". If None, up to four.
        ax : matplotlib.axes.Axes, default=None
            Axes to plot on. If None, create a figure.

        Returns
        -------
        DefectDisplay
            The display.

        Raises
        ------
        TypeError
            If the estimator is no detector.
        ValueError
            If X and y do not belong together, or if a parameter is wrong.
        """
        _check_view(view)
        parts = parts_of(estimator)
        detector = parts.classifier
        methods = ("predict", "predict_proba", "decision_function")
        if not all(hasattr(detector, name) for name in (*methods, "threshold_")):
            raise TypeError(
                f"estimator must be a fitted LSTMDefectDetector, or a Pipeline or "
                f"search that ends in one; got {type(estimator).__name__}."
            )
        images = parts.images(X)
        threshold = float(detector.threshold_)
        # A threshold of 0 or 1 calls all pixels, or none, defective: there is no line.
        is_inside = 0 < threshold < 1
        display = cls._checked(
            images,
            y,
            detector.predict_proba(images),
            detector.predict(images),
            detector.decision_function(images),
            float(np.log(threshold / (1 - threshold))) if is_inside else None,
            "decision_function (log-odds)",
        )
        return display.plot(ax=ax, view=view, rows=rows)

    @classmethod
    def from_predictions(
        cls,
        X: Any,
        y: Any,
        probabilities: Any,
        *,
        predicted: Any = None,
        scores: Any = None,
        threshold: float = 0.5,
        view: str = "masks",
        rows: Any = None,
        ax: Any = None,
    ) -> DefectDisplay:
        """Create the display from predictions and plot it.

        Parameters
        ----------
        X : array-like of shape (n, height, width[, channels]), or list of array-like
            Images.
        y : array-like of shape (n, height, width), or list of array-like
            True masks. None stands for an image without defects.
        probabilities : array-like of shape (n, height, width), or list of array-like
            Probability of a defect for each pixel, in [0, 1].
        predicted : array-like of shape (n, height, width), or list, default=None
            Predicted masks. If None, the pixels whose probability is at least
            `threshold`.
        scores : array-like of shape (n,), default=None
            Score of each image, high for defects. If None, the largest probability of
            the image. A threshold is drawn only then.
        threshold : float, default=0.5
            Probability from which a pixel is defective.
        view : {"masks", "scores"}, default="masks"
            What to plot.
        rows : array-like of int, default=None
            Positions of the images in "masks". If None, up to four.
        ax : matplotlib.axes.Axes, default=None
            Axes to plot on. If None, create a figure.

        Returns
        -------
        DefectDisplay
            The display.

        Raises
        ------
        ValueError
            If the arrays do not belong together, or if a parameter is wrong.
        """
        _check_view(view)
        if not 0 <= threshold <= 1:
            raise ValueError(f"threshold={threshold!r} must be between 0 and 1.")
        maps = _score_maps(probabilities, "probabilities")
        if predicted is None:
            _true_masks([None] * len(maps), maps, "probabilities")
            predicted = [one >= threshold for one in maps]
        is_given = scores is not None
        display = cls._checked(
            X,
            y,
            probabilities,
            predicted,
            scores if is_given else [one.max() for one in maps],
            None if is_given else threshold,
            "score of the image" if is_given else "largest probability in the image",
        )
        return display.plot(ax=ax, view=view, rows=rows)

    @classmethod
    def _checked(
        cls,
        X: Any,
        y: Any,
        probabilities: Any,
        predicted: Any,
        scores: Any,
        score_threshold: float | None,
        score_name: str,
    ) -> DefectDisplay:
        maps = _score_maps(probabilities, "probabilities")
        masks = _true_masks(y, maps, "probabilities", "y")
        for i, one in enumerate(maps):
            # Rounding in float32 may lead out of the range.
            if one.min() < -1e-5 or one.max() > 1 + 1e-5:
                raise ValueError(
                    f"probabilities[{i}] has values from {one.min():.4g} to "
                    f"{one.max():.4g}; probabilities must be between 0 and 1."
                )
        images = _as_list("X", X)
        found = [
            _as_mask(mask, f"predicted[{i}]")
            for i, mask in enumerate(_as_list("predicted", predicted))
        ]
        for name, given in (("X", images), ("predicted", found)):
            if len(given) != len(maps):
                raise ValueError(
                    f"{name} has {len(given)} entries, but probabilities has "
                    f"{len(maps)}: give one for each image."
                )
            for i, (one, of) in enumerate(zip(given, maps, strict=True)):
                if one is None or one.shape[:2] != of.shape:
                    shape = None if one is None else one.shape
                    raise ValueError(
                        f"{name}[{i}] has the shape {shape}, but probabilities[{i}] has"
                        f" {of.shape}: they must agree in height and width."
                    )
        values = np.asarray(scores, np.float64)
        if values.shape != (len(maps),) or not np.isfinite(values).all():
            raise ValueError(
                f"scores must be {len(maps)} finite numbers, one for each image; got an"
                f" array of shape {values.shape}."
            )
        return cls(
            images=images,
            masks=masks,
            probabilities=maps,
            predicted=found,
            scores=values,
            score_threshold=score_threshold,
            score_name=score_name,
        )

    def plot(
        self, ax: Any = None, *, view: str = "masks", rows: Any = None
    ) -> DefectDisplay:
        """Plot one of the views.

        Parameters
        ----------
        ax : matplotlib.axes.Axes, default=None
            Axes to plot on. If None, create a figure. The view "masks" draws its
            pictures inside the axes, which it makes invisible.
        view : {"masks", "scores"}, default="masks"
            What to plot.
        rows : array-like of int, default=None
            Positions of the images in "masks". If None, up to four, evenly spread over
            the images with a defect, or over all images if none has one.

        Returns
        -------
        DefectDisplay
            The display.

        Raises
        ------
        ValueError
            If `view` is unknown, or if `rows` names an image that does not exist.
        """
        # matplotlib is optional.
        import matplotlib.pyplot as plt

        _check_view(view)
        chosen = self._chosen(rows) if view == "masks" else None
        if ax is None:
            size = None if chosen is None else (1.5 * max(len(chosen), 3) + 1.4, 4.8)
            ax = plt.subplots(figsize=size, layout="constrained")[1]
        self.ax_: Axes = ax
        self.figure_: Figure | Any = ax.figure
        if chosen is None:
            self._plot_scores(ax)
        else:
            self._plot_masks(ax, chosen)
        return self

    def _chosen(self, rows: Any) -> np.ndarray:
        n = len(self.images)
        if rows is None:
            places = [i for i, mask in enumerate(self.masks) if mask.any()] or range(n)
            spread = np.linspace(0, len(places) - 1, min(4, len(places)))
            return np.asarray(places)[spread.astype(int)]
        chosen = list(np.ravel(rows))
        if not chosen or not all(
            isinstance(i, Integral) and not isinstance(i, bool) and 0 <= int(i) < n
            for i in chosen
        ):
            raise ValueError(
                f"rows={rows!r} must hold whole numbers from 0 to {n - 1}, positions of"
                " images."
            )
        return np.array(chosen, int)

    def _plot_masks(self, ax: Axes, chosen: np.ndarray) -> None:
        # matplotlib is optional.
        import matplotlib.patheffects as effects
        from matplotlib.lines import Line2D

        ax.axis("off")
        n = len(chosen)
        left, right, top, gap = 0.06, 0.89, 0.87, 0.05
        width, height = (right - left) / n, top / 3
        axes = np.empty((3, n), object)
        for column, place in enumerate(chosen):
            for row in range(3):
                box = (left + column * width, top - (row + 1) * height)
                size = (width * (1 - gap), height * (1 - gap))
                axes[row, column] = ax.inset_axes((*box, *size))
            picture = as_picture(self.images[place])
            upper, middle, lower = axes[:, column]
            upper.imshow(picture, cmap="gray", vmin=0, vmax=1)
            middle.imshow(self.masks[place], cmap="gray", vmin=0, vmax=1)
            drawn = lower.imshow(
                self.probabilities[place], cmap="magma", vmin=0, vmax=1
            )
            upper.set_title(f"no. {place}", fontsize="small")
            for one in axes[:, column]:
                one.set(xticks=[], yticks=[])
            for one in (upper, lower):
                _draw_outline(one, self.predicted[place])
        for one, text in zip(
            axes[:, 0], ("image", "truth", "probability"), strict=True
        ):
            one.set_ylabel(text, fontsize="small")
        bar_axes = ax.inset_axes((right + 0.02, top / 3 * 0.04, 0.02, top / 3 * 0.9))
        bar = self.figure_.colorbar(drawn, cax=bar_axes, ticks=[0, 0.5, 1])
        bar.ax.tick_params(labelsize="small")
        line = Line2D([], [], color=_OUTLINE, lw=1.5, label="predicted mask")
        line.set_path_effects([effects.withStroke(linewidth=3, foreground="black")])
        ax.legend(
            handles=[line], loc="upper left", fontsize="small", frameon=False,
            borderpad=0, bbox_to_anchor=(left - 0.01, 1.0), borderaxespad=0,
        )  # fmt: skip
        self.axes_ = axes
        self.rows_ = chosen

    def _plot_scores(self, ax: Axes) -> None:
        defective = np.array([bool(mask.any()) for mask in self.masks])
        low, high = self.scores.min(), self.scores.max()
        if self.score_threshold is not None:
            low, high = min(low, self.score_threshold), max(high, self.score_threshold)
        if low == high:
            low, high = low - 0.5, high + 0.5
        n_bins = int(np.clip(np.sqrt(len(self.scores)) * 1.5, 8, 40))
        edges = np.linspace(low, high, n_bins + 1)
        for name, color, hatch, which in (
            ("good", _GOOD, None, ~defective),
            ("with a defect", _DEFECT, "////", defective),
        ):
            counts = np.histogram(self.scores[which], edges)[0]
            label = f"{name} ({which.sum()})"
            ax.stairs(
                counts, edges, fill=True, facecolor=(color, 0.3), edgecolor=color,
                hatch=hatch, lw=1.5, label=label,
            )  # fmt: skip
        if self.score_threshold is not None:
            ax.axvline(
                self.score_threshold, color="0.2", ls="--", lw=1.5,
                label=f"threshold {self.score_threshold:.2f}",
            )  # fmt: skip
        ax.set(xlabel=self.score_name, ylabel="number of images")
        ax.yaxis.get_major_locator().set_params(integer=True)
        ax.set_ylim(0)
        ax.legend()


def _check_view(view: str) -> None:
    if view not in ("masks", "scores"):
        raise ValueError(f"view={view!r} must be 'masks' or 'scores'.")


def _draw_outline(ax: Axes, mask: np.ndarray) -> None:
    if not mask.any():
        return
    # matplotlib is optional.
    import matplotlib.patheffects as effects

    # The border closes regions at the edge of the image.
    padded = np.pad(mask, 1).astype(float)
    limits = ax.get_xlim(), ax.get_ylim()
    height, width = padded.shape
    drawn = ax.contour(
        np.arange(width) - 1, np.arange(height) - 1, padded, levels=[0.5],
        colors=_OUTLINE, linewidths=1.2,
    )  # fmt: skip
    drawn.set_path_effects([effects.withStroke(linewidth=2.4, foreground="black")])
    ax.set(xlim=limits[0], ylim=limits[1])
