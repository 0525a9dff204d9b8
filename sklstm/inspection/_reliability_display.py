from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from sklstm.inspection._risk_coverage_display import _last_step
from sklstm.metrics import (
    calibration_bins,
    expected_calibration_error,
    predicted_and_happened,
)
from sklstm.model_selection._comparison_display import COLOURS, MARKERS

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# 97.5 % quantile of the normal distribution, for intervals of 95 %.
_Z = 1.959963984540054
# A histogram with all samples in one bin takes this part of the height.
_HISTOGRAM_HEIGHT = 0.3


class ReliabilityDisplay:
    """Plot of how often predictions are right, against their probability.

    Use `from_estimator` or `from_predictions` to create it. The samples are sorted by
    probability into bins. Each bin is a point: the mean probability, and the part of
    the samples for which the prediction is true, with Wilson's 95 % interval [1]_. The
    points of calibrated probabilities lie on the diagonal, up to chance. Below it, the
    probabilities are too high. The outline at the bottom is a histogram of the
    probabilities.

    Parameters
    ----------
    prob_true : ndarray of shape (n_bins,)
        Part of the samples of each bin for which the prediction is true. Empty bins are
        left out.
    prob_pred : ndarray of shape (n_bins,)
        Mean probability of each bin.
    counts : ndarray of int, shape (n_bins,)
        Number of samples in each bin.
    y_prob : ndarray of shape (n_samples,)
        Probability of each sample.
    calibration_error : float
        Expected calibration error.
    pos_label : label or None
        Class whose probability is drawn. If None, it is that of the most probable
        class of each sample.
    n_bins : int
        Number of bins that was asked for. The histogram has as many.
    name : str or None
        Name of the curve in the legend.

    Attributes
    ----------
    interval : ndarray of shape (2, n_bins)
        Lower and upper ends of the 95 % intervals of `prob_true`.
    ax_ : matplotlib.axes.Axes
        Axes of the curve.
    figure_ : matplotlib.figure.Figure
        Figure that contains the axes.
    line_ : matplotlib.lines.Line2D
        The curve.

    See Also
    --------
    sklstm.metrics.expected_calibration_error : The number in the legend.
    RiskCoverageDisplay : Error without uncertain predictions.

    References
    ----------
    .. [1] E. B. Wilson, "Probable inference, the law of succession, and statistical
       inference", Journal of the American Statistical Association 22, 1927.

    Examples
    --------
    >>> import matplotlib.pyplot as plt
    >>> from sklstm.inspection import ReliabilityDisplay
    >>> display = ReliabilityDisplay.from_predictions(
    ...     ["cat", "cat", "dog", "dog"],
    ...     [[0.9, 0.1], [0.9, 0.1], [0.7, 0.3], [0.3, 0.7]],
    ...     n_bins=2,
    ... )
    >>> display.prob_pred, display.prob_true
    (array([0.7, 0.9]), array([0.5, 1. ]))
    >>> plt.close("all")
    """

    def __init__(
        self,
        *,
        prob_true: np.ndarray,
        prob_pred: np.ndarray,
        counts: np.ndarray,
        y_prob: np.ndarray,
        calibration_error: float,
        pos_label: Any = None,
        n_bins: int = 15,
        name: str | None = None,
    ) -> None:
        self.prob_true = prob_true
        self.prob_pred = prob_pred
        self.counts = counts
        self.y_prob = y_prob
        self.calibration_error = calibration_error
        self.pos_label = pos_label
        self.n_bins = n_bins
        self.name = name
        self.interval = _wilson(prob_true, counts)

    @classmethod
    def from_estimator(
        cls,
        estimator: Any,
        X: Any,
        y: Any,
        *,
        pos_label: Any = None,
        n_bins: int = 15,
        strategy: str = "quantile",
        name: str | None = None,
        ax: Any = None,
        **line_kw: Any,
    ) -> ReliabilityDisplay:
        """Create the display from a fitted classifier and plot it.

        Parameters
        ----------
        estimator : classifier
            The fitted classifier, or a Pipeline or search that ends in one.
        X : array-like
            Samples that it was neither trained nor calibrated on.
        y : array-like of shape (n_samples,)
            Their labels.
        pos_label : label, default=None
            Class whose probability is drawn, against the others together. If None, draw
            that of the most probable class of each sample.
        n_bins : int, default=15
            Number of bins.
        strategy : {"quantile", "uniform"}, default="quantile"
            "quantile" makes bins of equally many samples, and "uniform" bins of equal
            width.
        name : str, default=None
            Name of the curve. If None, the name of the class of the classifier.
        ax : matplotlib.axes.Axes, default=None
            Axes to plot on, which may hold other displays. If None, create a figure.
        **line_kw : dict
            Arguments of `matplotlib.axes.Axes.errorbar`.

        Returns
        -------
        ReliabilityDisplay
            The display.

        Raises
        ------
        TypeError
            If the estimator has no ``predict_proba``.
        ValueError
            If a parameter or a label is unknown.
        """
        estimator, X = _last_step(estimator, X)
        if not hasattr(estimator, "predict_proba"):
            raise TypeError(
                f"A {type(estimator).__name__} has no predict_proba, so there are no "
                "probabilities to draw: use a classifier that has it."
            )
        return cls.from_predictions(
            y,
            estimator.predict_proba(X),
            labels=estimator.classes_,
            pos_label=pos_label,
            n_bins=n_bins,
            strategy=strategy,
            name=type(estimator).__name__ if name is None else name,
            ax=ax,
            **line_kw,
        )

    @classmethod
    def from_predictions(
        cls,
        y_true: Any,
        y_proba: Any,
        *,
        labels: Any = None,
        pos_label: Any = None,
        n_bins: int = 15,
        strategy: str = "quantile",
        name: str | None = None,
        ax: Any = None,
        **line_kw: Any,
    ) -> ReliabilityDisplay:
        """Create the display from probabilities and plot it.

        Parameters
        ----------
        y_true : array-like of shape (n_samples,)
            True labels.
        y_proba : array-like of shape (n_samples, n_classes)
            Probabilities of the classes.
        labels : array-like of shape (n_classes,), default=None
            Labels of the columns, such as ``classes_``. If None, use the sorted labels
            that occur in `y_true`.
        pos_label : label, default=None
            Class whose probability is drawn, against the others together. If None, draw
            that of the most probable class of each sample.
        n_bins : int, default=15
            Number of bins.
        strategy : {"quantile", "uniform"}, default="quantile"
            "quantile" makes bins of equally many samples, and "uniform" bins of equal
            width.
        name : str, default=None
            Name of the curve.
        ax : matplotlib.axes.Axes, default=None
            Axes to plot on, which may hold other displays. If None, create a figure.
        **line_kw : dict
            Arguments of `matplotlib.axes.Axes.errorbar`.

        Returns
        -------
        ReliabilityDisplay
            The display.

        Raises
        ------
        ValueError
            If the arrays do not fit each other, if `y_proba` has values outside [0, 1],
            or if a parameter or a label is unknown.
        """
        predicted, happened = predicted_and_happened(y_true, y_proba, labels, pos_label)
        bins = calibration_bins(predicted, n_bins, strategy)
        counts = np.bincount(bins)
        sums = np.bincount(bins, happened), np.bincount(bins, predicted)
        used = counts > 0
        display = cls(
            prob_true=sums[0][used] / counts[used],
            prob_pred=sums[1][used] / counts[used],
            counts=counts[used],
            y_prob=predicted,
            calibration_error=expected_calibration_error(
                y_true,
                y_proba,
                labels=labels,
                pos_label=pos_label,
                n_bins=n_bins,
                strategy=strategy,
            ),
            pos_label=pos_label,
            n_bins=n_bins,
            name=name,
        )
        return display.plot(ax=ax, **line_kw)

    def plot(self, ax: Any = None, **line_kw: Any) -> ReliabilityDisplay:
        """Plot the curve, its intervals and the histogram.

        Parameters
        ----------
        ax : matplotlib.axes.Axes, default=None
            Axes to plot on, which may hold other displays. If None, create a figure.
        **line_kw : dict
            Arguments of `matplotlib.axes.Axes.errorbar`.

        Returns
        -------
        ReliabilityDisplay
            The display.
        """
        # matplotlib is optional.
        import matplotlib.pyplot as plt

        axes: Axes = plt.subplots(layout="constrained")[1] if ax is None else ax
        place = sum(line.get_gid() == "reliability" for line in axes.lines)
        if place == 0:
            axes.plot(
                [0, 1], [0, 1], ":", color="0.4", label="calibrated", zorder=1, lw=1.2
            )
        label = f"ECE {self.calibration_error:.3f}"
        style: dict[str, Any] = {
            "label": label if self.name is None else f"{self.name} ({label})",
            "color": COLOURS[place % len(COLOURS)],
            "marker": MARKERS[place % len(MARKERS)],
            "markersize": 4,
            "capsize": 2,
            "elinewidth": 0.8,
            **line_kw,
        }
        ends = np.abs(self.interval - self.prob_true)
        drawn = axes.errorbar(self.prob_pred, self.prob_true, yerr=ends, **style)
        self.line_ = drawn.lines[0]
        self.line_.set_gid("reliability")
        self._plot_histogram(axes, self.line_.get_color())
        if self.pos_label is None:
            names = "mean probability of the top class", "accuracy"
        else:
            kind = f"class {self.pos_label}"
            names = f"mean probability of {kind}", f"frequency of {kind}"
        axes.set(xlabel=names[0], ylabel=names[1])
        axes.set(xlim=(-0.02, 1.02), ylim=(-0.02, 1.02))
        axes.grid(alpha=0.3)
        axes.legend(fontsize="small")
        self.ax_ = axes
        self.figure_: Figure | Any = axes.figure
        return self

    def _plot_histogram(self, axes: Axes, color: Any) -> None:
        counts, edges = np.histogram(np.clip(self.y_prob, 0, 1), self.n_bins, (0, 1))
        heights = _HISTOGRAM_HEIGHT * counts / len(self.y_prob)
        axes.stairs(heights, edges, color=color, fill=True, alpha=0.12, zorder=0)
        axes.stairs(heights, edges, color=color, alpha=0.6, lw=0.8, zorder=0)


def _wilson(part: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """Return the ends of Wilson's 95 % intervals of proportions, (2, n)."""
    shrink = 1 + _Z**2 / counts
    middle = (part + _Z**2 / (2 * counts)) / shrink
    variance = part * (1 - part) / counts + _Z**2 / (4 * counts**2)
    reach = _Z * np.sqrt(variance) / shrink
    return np.clip([middle - reach, middle + reach], 0, 1)
