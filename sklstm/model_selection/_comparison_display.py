from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from sklstm.model_selection._comparison import Comparison

# Okabe and Ito's colours, which people with any vision can tell apart.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
MARKERS = "osD^vPX"


class ComparisonDisplay:
    """Plot of the scores of several classifiers with their intervals.

    Use `from_comparison`, or the method ``plot`` of a `Comparison`, to create it. With
    one number of training samples, each classifier is a row. With several, each is a
    line over the number of training samples. Controls are grey.

    Parameters
    ----------
    comparison : Comparison
        Result of `sklstm.model_selection.compare`.

    Attributes
    ----------
    ax_ : matplotlib.axes.Axes
        Axes of the plot.
    figure_ : matplotlib.figure.Figure
        Figure that contains the axes.

    See Also
    --------
    sklstm.model_selection.compare : Compare classifiers.

    Examples
    --------
    >>> import matplotlib.pyplot as plt
    >>> from sklearn.datasets import load_digits
    >>> from sklearn.naive_bayes import GaussianNB
    >>> from sklstm.inspection import ComparisonDisplay
    >>> from sklstm.model_selection import compare
    >>> X, y = load_digits(n_class=3, return_X_y=True)
    >>> found = compare([GaussianNB()], X, y, controls=None, random_state=0)
    >>> ComparisonDisplay.from_comparison(found).ax_.get_xlabel()
    'accuracy'
    >>> plt.close("all")
    """

    def __init__(self, comparison: Comparison) -> None:
        self.comparison = comparison

    @classmethod
    def from_comparison(
        cls, comparison: Comparison, *, ax: Any = None
    ) -> ComparisonDisplay:
        """Create the display and plot it.

        Parameters
        ----------
        comparison : Comparison
            Result of `sklstm.model_selection.compare`.
        ax : matplotlib.axes.Axes, default=None
            Axes to plot on. If None, create a figure.

        Returns
        -------
        ComparisonDisplay
            The display.
        """
        return cls(comparison).plot(ax=ax)

    def plot(self, ax: Any = None) -> ComparisonDisplay:
        """Plot means and intervals.

        Parameters
        ----------
        ax : matplotlib.axes.Axes, default=None
            Axes to plot on. If None, create a figure.

        Returns
        -------
        ComparisonDisplay
            The display.
        """
        # matplotlib is optional.
        import matplotlib.pyplot as plt

        n_names = len(self.comparison.names)
        several = len(self.comparison.train_sizes) > 1
        axes: Axes = ax
        if ax is None:
            size = (6.4, 4.2) if several else (6.4, 1.2 + 0.4 * n_names)
            axes = plt.subplots(figsize=size, layout="constrained")[1]
        (self._plot_lines if several else self._plot_rows)(axes)
        axes.grid(alpha=0.3)
        self.ax_ = axes
        self.figure_: Figure | Any = axes.figure
        return self

    def _plot_rows(self, axes: Axes) -> None:
        found = self.comparison
        for place in range(len(found.names)):
            mean = found.mean_of(place, 0)
            self._errorbar(axes, place, [mean], rows=True)
            axes.annotate(
                f"{mean.value:.3f}",
                (mean.value, place),
                textcoords="offset points",
                xytext=(0, 6),
                ha="center",
                fontsize=8,
            )
        axes.set_yticks(range(len(found.names)), found.names)
        axes.set_ylim(len(found.names) - 0.4, -0.7)
        axes.set_xlabel(found.scoring)

    def _plot_lines(self, axes: Axes) -> None:
        found = self.comparison
        for place in range(len(found.names)):
            means = [found.mean_of(place, j) for j in range(len(found.train_sizes))]
            self._errorbar(axes, place, means, rows=False)
        axes.set_xscale("log")
        axes.set_xticks(found.train_sizes, [str(size) for size in found.train_sizes])
        axes.minorticks_off()
        axes.set(xlabel="training samples", ylabel=found.scoring)
        axes.legend()

    def _errorbar(self, axes: Axes, place: int, means: list, rows: bool) -> None:
        found = self.comparison
        own = len(found.names) - found.n_controls
        control = place >= own
        values = np.array([mean.value for mean in means])
        within = self.comparison.within_bounds
        ends = np.array([within(mean.interval()) for mean in means]).T
        lengths = np.nan_to_num(np.abs(ends - values))
        style: dict[str, Any] = {
            "color": "0.55" if control else COLOURS[place % len(COLOURS)],
            "marker": MARKERS[place % len(MARKERS)],
            "linestyle": "--" if control else "-",
            "capsize": 3,
            "elinewidth": 1,
            "label": found.names[place],
        }
        if rows:
            axes.errorbar(values, [place], xerr=lengths, **style)
        else:
            # Apart, so that no interval covers another.
            shift = 1 + 0.03 * (place - len(found.names) / 2)
            axes.errorbar(found.train_sizes * shift, values, yerr=lengths, **style)
