from __future__ import annotations

import textwrap
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import numpy as np
from sklearn.pipeline import Pipeline
from sklearn.utils.validation import check_is_fitted

from sklstm.estimators._base import KerasEstimator
from sklstm.model_selection._panels import axes_for

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

PANELS = ("loss", "score", "gradient_norm", "learning_rate")

# Okabe and Ito's colours, which people with any vision can tell apart.
_TRAINING = "#0072B2"
_VALIDATION = "#D55E00"
_TITLES = {
    "loss": "loss",
    "score": "score",
    "gradient_norm": "gradient norm",
    "learning_rate": "learning rate",
}


class TrainingDisplay:
    """Plot of the training of a network, epoch by epoch.

    Use `from_estimator` to create it. It draws what `history_` holds: the loss, a
    score, the norm of the gradient and the learning rate. Solid lines are training, and
    dashed lines are validation. The members of an ensemble are thin lines, and their
    mean is thick. The loss of training includes noise, dropout and augmentation, so
    that it can be above that of validation.

    Parameters
    ----------
    histories : list of dict of str to list of float
        The `history_` of each network: values per epoch.
    mean : dict of str to list of float, default=None
        The mean of several histories. If None, the histories are drawn alone.
    best_epoch : int, default=None
        Number of epochs after which the kept weights were reached. If None, it is not
        marked.
    score : str, default=None
        Name of the score. If None, "accuracy", or else the first metric of `histories`.

    Attributes
    ----------
    score_name_ : str or None
        Name of the score that is drawn. None if there is none.
    notes_ : dict of str to str
        For each panel that lacks something, a sentence that says what records it.
    axes_ : dict of str to matplotlib.axes.Axes
        Axes of the panels "loss", "score", "gradient_norm" and "learning_rate".
    lines_ : dict of str to list of matplotlib.lines.Line2D
        Lines of each panel. The mean of an ensemble follows its members.
    figure_ : matplotlib.figure.Figure
        Figure that contains the axes.

    See Also
    --------
    sklstm.LSTMImageClassifier : Its attribute `history_` holds the values.

    Examples
    --------
    >>> import matplotlib.pyplot as plt
    >>> from sklearn.datasets import load_digits
    >>> from sklstm import LSTMImageClassifier
    >>> from sklstm.inspection import TrainingDisplay
    >>> digits = load_digits(n_class=3)
    >>> classifier = LSTMImageClassifier(units=8, epochs=3, random_state=0)
    >>> classifier.fit(digits.images[:90], digits.target[:90])
    LSTMImageClassifier(epochs=3, random_state=0, units=8)
    >>> display = TrainingDisplay.from_estimator(classifier)
    >>> list(display.axes_)
    ['loss', 'score', 'gradient_norm', 'learning_rate']
    >>> display.notes_["loss"]
    'No validation: set early_stopping=True, or give X_val and y_val to fit.'
    >>> plt.close("all")
    """

    def __init__(
        self,
        histories: list[dict[str, list[float]]],
        *,
        mean: dict[str, list[float]] | None = None,
        best_epoch: int | None = None,
        score: str | None = None,
    ) -> None:
        self.histories = histories
        self.mean = mean
        self.best_epoch = best_epoch
        self.score = score

    @classmethod
    def from_estimator(
        cls,
        estimator: Any,
        *,
        panels: Iterable[str] = PANELS,
        score: str | None = None,
        ax: Any = None,
    ) -> TrainingDisplay:
        """Create the display from a fitted estimator and plot it.

        Parameters
        ----------
        estimator : estimator
            A fitted `LSTMImageClassifier` or `LSTMDefectDetector`, an ensemble of them,
            or a Pipeline or search that ends in one.
        panels : sequence of str, default=("loss", "score", "gradient_norm", \
"learning_rate")
            What to draw, in this order.
        score : str, default=None
            Name of the score in `history_`. If None, "accuracy", or else the first
            metric.
        ax : matplotlib.axes.Axes or array-like of them, default=None
            As in `plot`.

        Returns
        -------
        TrainingDisplay
            The display.

        Raises
        ------
        TypeError
            If the estimator records no history.
        ValueError
            If a panel or the score is unknown, or if `ax` holds too few axes.
        """
        network = network_at_end(estimator)
        if not isinstance(network, KerasEstimator):
            raise TypeError(
                f"A {type(network).__name__} records no history: give an "
                "LSTMImageClassifier, an LSTMDefectDetector, or a Pipeline or search "
                "that ends in one."
            )
        check_is_fitted(network)
        members = network.estimators_
        single = len(members) == 1
        stopped = single and members[0].best_epoch_ < members[0].n_iter_
        display = cls(
            [member.history_ for member in members],
            mean=None if single else network.history_,
            best_epoch=members[0].best_epoch_ if stopped else None,
            score=score,
        )
        return display.plot(panels=panels, ax=ax)

    def plot(
        self, *, panels: Iterable[str] = PANELS, ax: Any = None, **line_kw: Any
    ) -> TrainingDisplay:
        """Plot the history.

        Parameters
        ----------
        panels : sequence of str, default=("loss", "score", "gradient_norm", \
"learning_rate")
            What to draw, in this order.
        ax : matplotlib.axes.Axes or array-like of them, default=None
            Axes for the panels. If there are several panels and one axes, the panels
            share its place. If None, create a figure.
        **line_kw : dict
            Arguments of `matplotlib.axes.Axes.plot`, for all lines.

        Returns
        -------
        TrainingDisplay
            The display.

        Raises
        ------
        ValueError
            If a panel or the score is unknown, or if `ax` does not hold one axes or one
            for each panel.
        """
        names = _checked_panels(panels)
        self.score_name_ = self._score_name()
        self.notes_: dict[str, str] = {}
        self.lines_: dict[str, list] = {}
        axes = axes_for(len(names), 2, ax)
        small = ax is not None and len(names) > 1
        for name, axis in zip(names, axes, strict=True):
            self._draw(name, axis, line_kw)
            _finish(axis, name, self.score_name_, self.notes_.get(name), small)
        self.axes_: dict[str, Axes] = dict(zip(names, axes, strict=True))
        self.figure_: Figure | Any = axes[0].figure
        return self

    def _score_name(self) -> str | None:
        known = [
            name
            for history in self.histories
            for name in history
            if not name.startswith("val_") and name not in PANELS
        ]
        if self.score is None:
            return "accuracy" if "accuracy" in known else next(iter(known), None)
        if self.score not in known:
            raise ValueError(
                f"score={self.score!r} is not in the history, which has "
                f"{', '.join(dict.fromkeys(known)) or 'no score'}."
            )
        return self.score

    def _draw(self, panel: str, axis: Axes, line_kw: dict[str, Any]) -> None:
        lines = self.lines_.setdefault(panel, [])
        key = self.score_name_ if panel == "score" else panel
        if key is None:
            self.notes_[panel] = (
                "No score: the history holds none; LSTMImageClassifier records the "
                "accuracy, and metrics= adds others."
            )
            return
        recorded = self._draw_values(key, axis, lines, "training", line_kw)
        if not recorded:
            self.notes_[panel] = (
                f"No {_TITLES.get(panel, panel)}: the history lacks it; fit records it "
                "in each epoch, so fit again."
            )
        if panel in ("loss", "score"):
            watched = self._draw_values(
                f"val_{key}", axis, lines, "validation", line_kw
            )
            if not watched and panel not in self.notes_:
                self.notes_[panel] = (
                    "No validation: set early_stopping=True, or give X_val and y_val "
                    "to fit."
                )
            if self.best_epoch is not None and lines:
                axis.axvline(
                    self.best_epoch,
                    color="0.4",
                    linestyle=":",
                    label=f"kept weights: epoch {self.best_epoch}",
                )

    def _draw_values(
        self, key: str, axis: Axes, lines: list, kind: str, line_kw: dict[str, Any]
    ) -> bool:
        """Draw the values of a name in all histories; return whether there are any."""
        several = self.mean is not None
        style: dict[str, Any] = {
            "color": _VALIDATION if kind == "validation" else _TRAINING,
            "linestyle": "--" if kind == "validation" else "-",
        }
        thin = {"linewidth": 0.7, "alpha": 0.6} if several else {"label": kind}
        found = False
        for history in self.histories:
            values = self._values(history, key)
            if values is not None:
                found = True
                lines += axis.plot(*values, **{**style, **thin, **line_kw})
        mean = None if self.mean is None else self._values(self.mean, key)
        if found and mean is not None:
            label = f"{kind}, mean of {len(self.histories)}"
            thick = {"linewidth": 2.2, "label": label}
            lines += axis.plot(*mean, **{**style, **thick, **line_kw})
        return found

    def _values(
        self, history: dict[str, list[float]], key: str
    ) -> tuple[np.ndarray, np.ndarray] | None:
        """Return epochs and values, or None if there are none, or not of each epoch."""
        values = np.asarray(history.get(key, []), float)
        n_epochs = len(history.get("loss", values))
        if len(values) == 0 or not np.isfinite(values).any():
            return None
        if len(values) != n_epochs:
            panel = "loss" if key in ("loss", "val_loss") else "score"
            self.notes_[panel] = (
                f"No validation: {len(values)} of {n_epochs} epochs had some, and the "
                "history does not say which; give it in each call of fit."
            )
            return None
        return np.arange(1, n_epochs + 1), values


def network_at_end(estimator: Any) -> Any:
    """Return the last step of Pipelines and searches.

    Parameters
    ----------
    estimator : estimator
        A Pipeline, a fitted search, or another estimator, in any nesting.
    """
    while True:
        if isinstance(estimator, Pipeline):
            estimator = estimator.steps[-1][1]
        elif hasattr(estimator, "best_estimator_"):
            estimator = estimator.best_estimator_
        else:
            return estimator


def _checked_panels(panels: Iterable[str]) -> list[str]:
    names = [panels] if isinstance(panels, str) else list(panels)
    unknown = [name for name in names if name not in PANELS]
    if unknown or not names or len(set(names)) < len(names):
        raise ValueError(
            f"panels={panels!r} must be different names of 'loss', 'score', "
            "'gradient_norm' and 'learning_rate'."
        )
    return names


def _finish(
    axis: Axes, name: str, score_name: str | None, note: str | None, small: bool
) -> None:
    # matplotlib is optional.
    from matplotlib.ticker import MaxNLocator

    size = 7 if small else 9
    title = _TITLES[name]
    if name == "score" and score_name is not None:
        title = score_name.replace("_", " ")
    axis.set_title(title, fontsize=size + 1)
    axis.set_xlabel("epoch", fontsize=size)
    axis.tick_params(labelsize=size)
    axis.xaxis.set_major_locator(MaxNLocator(4 if small else 6, integer=True))
    axis.grid(alpha=0.3)
    drawn = [values for line in axis.lines for values in line.get_ydata()]
    positive = [value for value in drawn if value > 0]
    if name == "gradient_norm" and positive:
        axis.set_yscale("log")
        if max(positive) < 10 * min(positive):
            # Less than a decade has no label on a logarithmic scale.
            axis.set_yscale("linear")
            axis.set_ylim(0)
    if name == "learning_rate" and positive:
        axis.set_ylim(0)
        axis.ticklabel_format(axis="y", scilimits=(-2, 3))
        axis.yaxis.get_offset_text().set_fontsize(size)
    labelled = axis.get_legend_handles_labels()[0]
    if labelled and name in ("loss", "score"):
        axis.legend(fontsize=size - 1, loc="best", framealpha=0.8)
    if note is not None:
        if drawn:
            axis.set_title(title, fontsize=size + 1, pad=14 if not small else 11)
            short = note.partition(":")[0].lower()
            axis.annotate(
                f"({short})",
                (0.5, 1.01),
                xycoords="axes fraction",
                ha="center",
                va="bottom",
                fontsize=size - 1,
                color="0.35",
            )
        else:
            axis.set(xticks=[], yticks=[])
            axis.text(
                0.5,
                0.5,
                # matplotlib does not wrap text to the axes.
                textwrap.fill(note, 24 if small else 34),
                transform=axis.transAxes,
                ha="center",
                va="center",
                fontsize=size,
                color="0.35",
            )
