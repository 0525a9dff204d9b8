from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from sklearn.pipeline import Pipeline
from sklearn.utils.validation import (
    check_array,
    check_consistent_length,
    column_or_1d,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


class RiskCoverageDisplay:
    """Plot of the error on the samples that are left if uncertain ones are rejected.

    Use `from_estimator` or `from_predictions` to create it. The coverage is the part of
    the samples that is kept, from the most certain on. The risk is the error rate on
    them [1]_ [2]_. If the uncertainty is worth its name, the curve falls to the left.

    Parameters
    ----------
    coverage : ndarray of shape (n_points,)
        Parts of the samples that are kept, from small to 1. Samples of equal
        uncertainty are kept or rejected together.
    risk : ndarray of shape (n_points,)
        Error rate on these samples.
    name : str or None
        Name of the curve in the legend.

    Attributes
    ----------
    area : float
        Area under the curve, the mean risk over all coverages. Without information in
        the uncertainty, it is the error rate.
    ax_ : matplotlib.axes.Axes
        Axes of the curve.
    figure_ : matplotlib.figure.Figure
        Figure that contains the axes.
    line_ : matplotlib.lines.Line2D
        The curve.

    See Also
    --------
    sklstm.LSTMImageClassifier.predict_uncertainty : Uncertainty of an ensemble.

    References
    ----------
    .. [1] R. El-Yaniv and Y. Wiener, "On the foundations of noise-free selective
       classification", Journal of Machine Learning Research 11, 2010.
    .. [2] Y. Geifman and R. El-Yaniv, "Selective classification for deep neural
       networks", NeurIPS 2017.

    Examples
    --------
    >>> from sklstm.inspection import RiskCoverageDisplay
    >>> display = RiskCoverageDisplay.from_predictions(
    ...     [0, 1, 1, 0], [0, 1, 1, 1], [0.1, 0.2, 0.3, 0.6]
    ... )
    >>> display.risk
    array([0.  , 0.  , 0.  , 0.25])
    """

    def __init__(
        self, *, coverage: np.ndarray, risk: np.ndarray, name: str | None = None
    ) -> None:
        self.coverage = coverage
        self.risk = risk
        self.name = name
        # Each step of the coverage counts with the risk that it leads to.
        self.area = float(np.diff(coverage, prepend=0) @ risk)

    @classmethod
    def from_estimator(
        cls,
        estimator: Any,
        X: Any,
        y: Any,
        *,
        uncertainty: str = "total",
        name: str | None = None,
        ax: Any = None,
    ) -> RiskCoverageDisplay:
        """Create the display from a fitted classifier and plot it.

        Parameters
        ----------
        estimator : classifier
            The fitted classifier, or a Pipeline or search that ends in one.
        X : array-like
            Samples that it was not trained on.
        y : array-like of shape (n_samples,)
            Their labels.
        uncertainty : {"total", "data", "model", "max_probability"}, default="total"
            What the samples are sorted by. The first three are the parts that
            ``predict_uncertainty`` returns. "max_probability" is 1 minus the highest
            probability, and needs ``predict_proba`` only.
        name : str, default=None
            Name of the curve. If None, `uncertainty`.
        ax : matplotlib.axes.Axes, default=None
            Axes to plot on. If None, create a figure.

        Returns
        -------
        RiskCoverageDisplay
            The display.

        Raises
        ------
        ValueError
            If `uncertainty` is unknown.
        TypeError
            If the estimator does not have the method that `uncertainty` needs.
        """
        if uncertainty not in ("total", "data", "model", "max_probability"):
            raise ValueError(
                f"uncertainty={uncertainty!r} must be 'total', 'data', 'model' or "
                "'max_probability'."
            )
        simple = uncertainty == "max_probability"
        method = "predict_proba" if simple else "predict_uncertainty"
        estimator, X = _last_step(estimator, X)
        if not hasattr(estimator, method):
            raise TypeError(
                f"A {type(estimator).__name__} has no {method}, which "
                f"uncertainty={uncertainty!r} needs: use 'max_probability', or "
                "from_predictions."
            )
        probabilities = estimator.predict_proba(X)
        predicted = estimator.classes_[probabilities.argmax(axis=1)]
        if simple:
            uncertain = 1 - probabilities.max(axis=1)
        else:
            uncertain = getattr(estimator.predict_uncertainty(X), uncertainty)
        return cls.from_predictions(
            y, predicted, uncertain, name=name or uncertainty, ax=ax
        )

    @classmethod
    def from_predictions(
        cls,
        y_true: Any,
        y_pred: Any,
        uncertainty: Any,
        *,
        name: str | None = None,
        ax: Any = None,
    ) -> RiskCoverageDisplay:
        """Create the display from predictions and plot it.

        Parameters
        ----------
        y_true, y_pred : array-like of shape (n_samples,)
            True and predicted labels.
        uncertainty : array-like of shape (n_samples,)
            A number for each prediction. The largest are rejected first.
        name : str, default=None
            Name of the curve.
        ax : matplotlib.axes.Axes, default=None
            Axes to plot on. If None, create a figure.

        Returns
        -------
        RiskCoverageDisplay
            The display.

        Raises
        ------
        ValueError
            If the arrays differ in length, or if an uncertainty is not finite.
        """
        true, predicted = column_or_1d(y_true), column_or_1d(y_pred)
        uncertain = check_array(
            uncertainty, ensure_2d=False, dtype=np.float64, input_name="uncertainty"
        )
        uncertain = column_or_1d(uncertain)
        check_consistent_length(true, predicted, uncertain)
        levels, places = np.unique(uncertain, return_inverse=True)
        kept = np.cumsum(np.bincount(places, minlength=len(levels)))
        wrong = np.cumsum(np.bincount(places, true != predicted))
        display = cls(coverage=kept / len(true), risk=wrong / kept, name=name)
        return display.plot(ax=ax)

    def plot(self, ax: Any = None, **line_kw: Any) -> RiskCoverageDisplay:
        """Plot the curve.

        Parameters
        ----------
        ax : matplotlib.axes.Axes, default=None
            Axes to plot on. If None, create a figure.
        **line_kw : dict
            Arguments of `matplotlib.axes.Axes.plot`.

        Returns
        -------
        RiskCoverageDisplay
            The display.
        """
        # matplotlib is optional.
        import matplotlib.pyplot as plt

        axes: Axes = plt.subplots(layout="constrained")[1] if ax is None else ax
        label = f"area {self.area:.3f}"
        if self.name is not None:
            label = f"{self.name} ({label})"
        kwargs = {"label": label, "drawstyle": "steps-pre", **line_kw}
        (self.line_,) = axes.plot(self.coverage, self.risk, **kwargs)
        axes.set(xlabel="coverage: part of the samples kept", ylabel="error rate")
        axes.set_xlim(0, 1)
        axes.grid(alpha=0.3)
        axes.legend()
        self.ax_ = axes
        self.figure_: Figure | Any = axes.figure
        return self


def _last_step(estimator: Any, X: Any) -> tuple[Any, Any]:
    """Return the classifier at the end of searches and Pipelines, and its samples."""
    while True:
        if isinstance(estimator, Pipeline):
            if len(estimator) > 1:
                X = estimator[:-1].transform(X)
            estimator = estimator[-1]
        elif hasattr(estimator, "best_estimator_"):
            estimator = estimator.best_estimator_
        else:
            return estimator, X
