from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import optuna
from sklearn.utils.validation import check_is_fitted

from sklstm.model_selection import OptunaSearchCV

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


class SearchDisplay:
    """Plot of a search: its history and the importance of the parameters.

    Use `from_estimator` to create it. The importance of a parameter is the share of the
    variance of the scores that it explains, by functional ANOVA [1]_.

    Parameters
    ----------
    numbers : ndarray of shape (n_trials,)
        Numbers of the trials.
    scores : ndarray of shape (n_trials,)
        Mean test scores. They are NaN for trials that were pruned or failed.
    states : ndarray of str of shape (n_trials,)
        States of the trials: "COMPLETE", "PRUNED" or "FAIL".
    importances : dict of str to float
        Importance of each parameter. It is empty if fewer than four trials were
        completed, or if all of them have the same score.

    Attributes
    ----------
    ax_ : ndarray of shape (2,) of matplotlib.axes.Axes
        Axes of the history and of the importances.
    figure_ : matplotlib.figure.Figure
        Figure that contains the axes.

    See Also
    --------
    sklstm.OptunaSearchCV : The search.

    References
    ----------
    .. [1] F. Hutter, H. Hoos and K. Leyton-Brown, "An Efficient Approach for Assessing
       Hyperparameter Importance", International Conference on Machine Learning, 2014.

    Examples
    --------
    >>> from scipy.stats import loguniform
    >>> from sklearn.datasets import load_iris
    >>> from sklearn.svm import SVC
    >>> from sklstm import OptunaSearchCV
    >>> from sklstm.inspection import SearchDisplay
    >>> search = OptunaSearchCV(
    ...     SVC(),
    ...     {"C": loguniform(0.01, 100), "gamma": loguniform(0.01, 1)},
    ...     n_trials=10,
    ...     random_state=0,
    ... ).fit(*load_iris(return_X_y=True))
    >>> display = SearchDisplay.from_estimator(search)
    >>> sorted(display.importances)
    ['C', 'gamma']
    """

    def __init__(
        self,
        *,
        numbers: np.ndarray,
        scores: np.ndarray,
        states: np.ndarray,
        importances: dict[str, float],
    ) -> None:
        self.numbers = numbers
        self.scores = scores
        self.states = states
        self.importances = importances

    @classmethod
    def from_estimator(
        cls, search: Any, *, metric: str | None = None, ax: Any = None
    ) -> SearchDisplay:
        """Create the display from a fitted search and plot it.

        Parameters
        ----------
        search : OptunaSearchCV
            The fitted search.
        metric : str, default=None
            Name of the metric to plot, if the search has several. If None, use the one
            that `refit` names.
        ax : array-like of two matplotlib.axes.Axes, default=None
            Axes to plot on. If None, create a figure.

        Returns
        -------
        SearchDisplay
            The display.

        Raises
        ------
        TypeError
            If `search` is not an `OptunaSearchCV`.
        ValueError
            If the search has no such metric, or if `ax` does not hold two axes.
        """
        if not isinstance(search, OptunaSearchCV):
            raise TypeError(
                f"A {type(search).__name__} has no study to draw: give a fitted "
                "OptunaSearchCV."
            )
        check_is_fitted(search, "cv_results_")
        results = search.cv_results_
        if metric is None:
            metric = search.refit if isinstance(search.refit, str) else "score"
        if f"mean_test_{metric}" not in results:
            known = [k[10:] for k in results if k.startswith("mean_test_")]
            raise ValueError(f"metric={metric!r} is not one of the search's: {known}.")
        scores = results[f"mean_test_{metric}"]
        complete = np.isfinite(scores)
        importances: dict[str, float] = {}
        if complete.sum() >= 4 and np.ptp(scores[complete]) > 0:
            score_of = dict(zip(results["trial_number"], scores, strict=True))
            importances = optuna.importance.get_param_importances(
                search.study_,
                evaluator=optuna.importance.FanovaImportanceEvaluator(seed=0),
                # The study stores only the metric that the search maximized.
                target=lambda trial: float(score_of.get(trial.number, np.nan)),
            )
        display = cls(
            numbers=results["trial_number"],
            scores=scores,
            states=results["trial_state"],
            importances=importances,
        )
        return display.plot(ax=ax)

    def plot(self, ax: Any = None) -> SearchDisplay:
        """Plot the history and the importances.

        Parameters
        ----------
        ax : array-like of two matplotlib.axes.Axes, default=None
            Axes to plot on. If None, create a figure.

        Returns
        -------
        SearchDisplay
            The display.

        Raises
        ------
        ValueError
            If `ax` does not hold two axes.
        """
        # matplotlib is optional.
        import matplotlib.pyplot as plt

        axes: np.ndarray
        if ax is None:
            figure, axes = plt.subplots(1, 2, figsize=(10, 3.8), layout="constrained")
        else:
            axes = np.asarray(ax).ravel()
            if len(axes) != 2:
                raise ValueError(
                    f"ax holds {len(axes)} axes, but the display draws two, history "
                    "and importances: make them by plt.subplots(1, 2)."
                )
            figure = axes[0].figure
        self._plot_history(axes[0])
        self._plot_importances(axes[1])
        self.ax_: np.ndarray = axes
        self.figure_: Figure = figure
        return self

    def _plot_history(self, ax: Axes) -> None:
        complete = self.states == "COMPLETE"
        ax.plot(
            self.numbers[complete], self.scores[complete], "o", label="completed trial"
        )
        if complete.any():
            best = np.fmax.accumulate(self.scores[complete])
            ax.step(self.numbers[complete], best, where="post", label="best so far")
        for state, mark, label in (("PRUNED", "|", "pruned"), ("FAIL", "x", "failed")):
            chosen = self.numbers[self.states == state]
            if len(chosen):
                # These trials have no score, so their marks line the lower edge.
                bottom = np.full(len(chosen), 0.03)
                across = ax.get_xaxis_transform()
                ax.plot(
                    chosen, bottom, mark, color="0.4", transform=across, label=label
                )
        ax.set(xlabel="trial", ylabel="mean test score", title="Optimization history")
        ax.grid(alpha=0.3)
        ax.legend(loc="center right")

    def _plot_importances(self, ax: Axes) -> None:
        names = list(self.importances)[::-1]
        ax.barh(names, [self.importances[name] for name in names])
        ax.set(xlabel="share of the variance (fANOVA)", title="Parameter importance")
        if not names:
            ax.text(0.5, 0.5, "too few trials", ha="center", transform=ax.transAxes)
