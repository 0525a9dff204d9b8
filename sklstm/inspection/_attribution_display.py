from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from sklstm.inspection._attribution import ScoredImages, attribute
from sklstm.inspection._parts import as_picture

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# Part of the image that shows through where the attribution is highest.
_LEAST_IMAGE = 0.3


class AttributionDisplay:
    """Plot of attributions on the images that they belong to.

    Use `from_estimator` or `from_attributions` to create it. Red pixels speak for the
    class, and blue ones against it. Each image has its own scale, which ends at its
    largest attribution. Of a volume, the slice with the largest attributions is drawn.

    Parameters
    ----------
    images : ndarray of shape (n, height, width[, channels]) or (n, depth, ...)
        Images or volumes.
    attributions : ndarray of shape (n, height, width) or (n, depth, height, width)
        Attribution of each pixel.
    titles : list of str or None
        Titles of the images.

    Attributes
    ----------
    ax_ : ndarray of shape (n,) of matplotlib.axes.Axes
        Axes of the images.
    figure_ : matplotlib.figure.Figure
        Figure that contains the axes.

    See Also
    --------
    attribute : Attributions of a classifier.

    Examples
    --------
    >>> import matplotlib.pyplot as plt
    >>> from sklearn.datasets import load_digits
    >>> from sklearn.naive_bayes import GaussianNB
    >>> from sklstm.inspection import AttributionDisplay
    >>> X, y = load_digits(n_class=3, return_X_y=True)
    >>> classifier = GaussianNB(var_smoothing=0.1).fit(X, y)
    >>> display = AttributionDisplay.from_estimator(classifier, X[:3], occlude=2)
    >>> display.attributions.shape
    (3, 8, 8)
    >>> plt.close("all")
    """

    def __init__(
        self,
        *,
        images: np.ndarray,
        attributions: np.ndarray,
        titles: list[str] | None = None,
    ) -> None:
        self.images = images
        self.attributions = attributions
        self.titles = titles

    @classmethod
    def from_estimator(
        cls,
        estimator: Any,
        X: Any,
        *,
        method: str = "occlusion",
        target: Any = None,
        baseline: Any = "mean",
        occlude: Any = None,
        n_steps: int = 32,
        batch_size: int = 128,
        colorbar: bool = True,
        ax: Any = None,
    ) -> AttributionDisplay:
        """Create the display from a fitted classifier and plot it.

        The titles are the classes and their probabilities.

        Parameters
        ----------
        estimator : classifier
            Fitted classifier, or a Pipeline or search that ends in one.
        X : array-like
            A few samples, as ``predict_proba`` takes them.
        method : {"occlusion", "gradients", "attention"}, default="occlusion"
            What is computed, see `attribute`.
        target : label or array-like of shape (n,), default=None
            Class that the attributions are for. If None, the predicted class of each
            image.
        baseline : {"mean", "blur"}, float or array-like, default="mean"
            What shows nothing, see `attribute`.
        occlude : int, tuple of int, sequencer or None, default=None
            What "occlusion" replaces at a time, see `attribute`.
        n_steps : int, default=32
            Number of points on the line of "gradients".
        batch_size : int, default=128
            Number of changed images that are predicted at a time.
        colorbar : bool, default=True
            If True, draw one bar of the scale for all images.
        ax : matplotlib.axes.Axes or array-like of them, default=None
            Axes for the images, at least as many. If None, create a figure.

        Returns
        -------
        AttributionDisplay
            The display.

        Raises
        ------
        TypeError
            If the method does not suit the classifier.
        ValueError
            If a parameter is wrong, or if X does not hold images.
        """
        attributions = attribute(
            estimator,
            X,
            method=method,
            target=target,
            baseline=baseline,
            occlude=occlude,
            n_steps=n_steps,
            batch_size=batch_size,
        )
        scored = ScoredImages(estimator, X, batch_size)
        scored.set_target(target)
        scores = scored.scores(scored.images, np.arange(len(scored.images)))
        labels = scored.parts.classifier.classes_[scored.target]
        titles = [
            f"{label}: {score:.2f}" for label, score in zip(labels, scores, strict=True)
        ]
        display = cls(images=scored.images, attributions=attributions, titles=titles)
        return display.plot(ax=ax, colorbar=colorbar)

    @classmethod
    def from_attributions(
        cls,
        images: Any,
        attributions: Any,
        *,
        titles: Any = None,
        colorbar: bool = True,
        ax: Any = None,
    ) -> AttributionDisplay:
        """Create the display from attributions and plot it.

        Parameters
        ----------
        images : array-like of shape (n, height, width[, channels]) or (n, depth, ...)
            Images or volumes.
        attributions : array-like of shape (n, height, width) or (n, depth, ...)
            Attribution of each pixel.
        titles : list of str, default=None
            Titles of the images.
        colorbar : bool, default=True
            If True, draw one bar of the scale for all images.
        ax : matplotlib.axes.Axes or array-like of them, default=None
            Axes for the images, at least as many. If None, create a figure.

        Returns
        -------
        AttributionDisplay
            The display.

        Raises
        ------
        ValueError
            If the attributions do not have the shape of the images, or if there are
            not as many titles.
        """
        images = np.asarray(images)
        attributions = np.asarray(attributions, np.float64)
        n_axes = attributions.ndim - 1
        if n_axes not in (2, 3) or images.shape[: n_axes + 1] != attributions.shape:
            raise ValueError(
                f"attributions have shape {attributions.shape}, but images have "
                f"{images.shape}: they must have one value for each pixel."
            )
        if images.ndim not in (n_axes + 1, n_axes + 2):
            raise ValueError(
                f"images have shape {images.shape}: at most one axis of channels may "
                "follow those of the attributions."
            )
        if not np.isfinite(attributions).all():
            raise ValueError(
                "attributions must be finite, and they hold NaN or infinity."
            )
        if titles is not None:
            titles = [str(title) for title in titles]
            if len(titles) != len(images):
                raise ValueError(
                    f"titles has {len(titles)} entries for {len(images)} images: give "
                    "one for each."
                )
        display = cls(images=images, attributions=attributions, titles=titles)
        return display.plot(ax=ax, colorbar=colorbar)

    def plot(self, ax: Any = None, *, colorbar: bool = True) -> AttributionDisplay:
        """Plot the images with their attributions.

        Parameters
        ----------
        ax : matplotlib.axes.Axes or array-like of them, default=None
            Axes for the images, at least as many. If None, create a figure.
        colorbar : bool, default=True
            If True, draw one bar of the scale for all images.

        Returns
        -------
        AttributionDisplay
            The display.

        Raises
        ------
        ValueError
            If `ax` holds fewer axes than there are images.
        """
        # matplotlib is optional.
        import matplotlib.pyplot as plt
        from matplotlib.cm import ScalarMappable
        from matplotlib.colors import Normalize

        n = len(self.images)
        axes: np.ndarray
        if ax is None:
            n_columns = min(n, 5)
            n_rows = -(-n // n_columns)
            size = (1.9 * n_columns + 1.2, 2.1 * n_rows + 0.2)
            figure, grid = plt.subplots(
                n_rows, n_columns, figsize=size, layout="constrained", squeeze=False
            )
            axes = grid.ravel()
            for unused in axes[n:]:
                unused.axis("off")
        else:
            axes = np.asarray(ax).ravel()
            figure = axes[0].figure
            if len(axes) < n:
                raise ValueError(
                    f"ax holds {len(axes)} axes for {n} images: give one for each."
                )
        lowest = -1 if (self.attributions < 0).any() else 0
        scale = ScalarMappable(Normalize(-1, 1), "RdBu_r")
        for place in range(n):
            self._plot_one(axes[place], place, scale)
        if colorbar:
            bar = figure.colorbar(
                scale, ax=axes.tolist(), label="attribution / largest", shrink=0.8
            )
            bar.ax.set_ylim(lowest, 1)
        self.ax_: np.ndarray = axes[:n]
        self.figure_: Figure = figure
        return self

    def _plot_one(self, ax: Any, place: int, scale: Any) -> None:
        values = self.attributions[place]
        picture = as_picture(self.images[place], n_axes=values.ndim)
        title = "" if self.titles is None else self.titles[place]
        if values.ndim == 3:
            number = int(np.abs(values).sum(axis=(1, 2)).argmax())
            values, picture = values[number], picture[number]
            title = f"{title}, slice {number}".removeprefix(", ")
        largest = np.abs(values).max()
        relative = values / largest if largest > 0 else np.zeros_like(values)
        # Pale, so that the colours show on black too.
        pale = 0.45 + 0.55 * picture
        ax.imshow(pale, cmap="gray", vmin=0, vmax=1, interpolation="nearest")
        ax.imshow(
            relative,
            cmap=scale.cmap,
            norm=scale.norm,
            alpha=(1 - _LEAST_IMAGE) * np.abs(relative) ** 0.7,
            interpolation="nearest",
        )
        ax.set(xticks=[], yticks=[])
        ax.set_title(title, fontsize="medium")
