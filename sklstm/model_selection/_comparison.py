"""The result of a comparison: tables, tests, sentences."""

from __future__ import annotations

import html
import itertools
import math
import warnings
from dataclasses import dataclass
from typing import Any

import numpy as np

from sklstm.model_selection._comparison_display import ComparisonDisplay
from sklstm.model_selection._statistics import Mean, corrected_mean, holm, variances

# Names of scores, or their beginnings, that lie between 0 and 1.
_FROM_0_TO_1 = (
    "accuracy",
    "average_precision",
    "balanced_accuracy",
    "f1",
    "jaccard",
    "precision",
    "recall",
    "roc_auc",
    "top_k_accuracy",
)


@dataclass
class Comparison:
    """Scores of several estimators on the same splits, and what they tell.

    `sklstm.model_selection.compare` returns it.

    Parameters
    ----------
    names : list of str
        Names of the estimators, the controls last.
    n_controls : int
        Number of controls.
    train_sizes : ndarray of int, shape (n_sizes,)
        Mean numbers of training samples, in increasing order.
    scores : ndarray of float, shape (n_estimators, n_sizes, n_splits, n_seeds)
        Scores on the test parts.
    fit_seconds : ndarray of float, of the same shape
        Times of the fits.
    ratio : float
        Number of test samples divided by that of all training samples of a split. It
        tells how much the splits overlap.
    resolution : float
        Smallest difference of two scores, 1 divided by the number of test samples.
    scoring : str
        Name of the score.
    rope : float
        Scores that differ by no more are practically equivalent.
    """

    names: list[str]
    n_controls: int
    train_sizes: np.ndarray
    scores: np.ndarray
    fit_seconds: np.ndarray
    ratio: float
    resolution: float = 0.0
    scoring: str = "accuracy"
    rope: float = 0.01

    def __post_init__(self) -> None:
        # Seeds on one split are no further splits.
        with warnings.catch_warnings():
            # A split without any score has no mean.
            warnings.simplefilter("ignore", RuntimeWarning)
            self._by_split = np.nanmean(self.scores, axis=3)

    def table(self) -> Any:
        """Return a row for each estimator and each number of training samples.

        Returns
        -------
        pandas.DataFrame or list of dict
            The columns are "estimator", "train_size", "mean", "low" and "high" (the
            95 % interval, corrected for overlapping folds), "drop" (the mean with the
            largest number of samples minus this one), "std_splits", "std_seeds", and
            "fit_seconds" (median). A list if pandas is not installed.
        """
        return as_table(self._rows())

    def _rows(self) -> list[dict[str, Any]]:
        rows = []
        for i, name in enumerate(self.names):
            for j, size in enumerate(self.train_sizes):
                mean = self.mean_of(i, j)
                low, high = self.within_bounds(mean.interval())
                between, within = variances(self.scores[i, j])
                rows.append(
                    {
                        "estimator": name,
                        "train_size": int(size),
                        "mean": mean.value,
                        "low": low,
                        "high": high,
                        "drop": self.mean_of(i, -1).value - mean.value,
                        "std_splits": math.sqrt(between),
                        "std_seeds": math.sqrt(within),
                        "fit_seconds": float(np.nanmedian(self.fit_seconds[i, j])),
                    }
                )
        return rows

    def pairs(self) -> Any:
        """Return a row for each pair, without pairs of two controls.

        Returns
        -------
        pandas.DataFrame or list of dict
            The columns are "train_size", "a", "b", "difference" (of a minus b), "low"
            and "high" (its 95 % interval), "p_value" (two-sided, corrected for
            overlapping folds), "p_holm" (corrected for the number of pairs as well),
            "p_better", "p_equivalent" and "p_worse" (probabilities that a is better
            than b by more than `rope`, that they are equivalent, and that it is worse),
            and "verdict", a sentence.
        """
        return as_table(self._rows_of_pairs())

    def _rows_of_pairs(self) -> list[dict[str, Any]]:
        n_own = len(self.names) - self.n_controls
        every = itertools.combinations(range(len(self.names)), 2)
        pairs = [(a, b) for a, b in every if a < n_own]
        rows = []
        for j, size in enumerate(self.train_sizes):
            means = [self._difference(a, b, j) for a, b in pairs]
            corrected = holm(np.array([mean.p_value() for mean in means]))
            for (a, b), mean, p_holm in zip(pairs, means, corrected, strict=True):
                low, high = mean.interval()
                worse, equal, better = mean.probabilities(self.rope)
                row = {
                    "train_size": int(size),
                    "a": self.names[a],
                    "b": self.names[b],
                    "difference": mean.value,
                    "low": low,
                    "high": high,
                    "p_value": mean.p_value(),
                    "p_holm": float(p_holm),
                    "p_better": better,
                    "p_equivalent": equal,
                    "p_worse": worse,
                }
                rows.append({**row, "verdict": self._verdict(row)})
        return rows

    def verdicts(self) -> list[str]:
        """Return a sentence for each pair, with the largest number of samples first."""
        rows = self._rows_of_pairs()
        sizes = sorted({row["train_size"] for row in rows}, reverse=True)
        several = len(sizes) > 1
        return [
            f"With {size} training samples: {row['verdict']}"
            if several
            else row["verdict"]
            for size in sizes
            for row in rows
            if row["train_size"] == size
        ]

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
        return ComparisonDisplay.from_comparison(self, ax=ax)

    def mean_of(self, estimator: int, size: int) -> Mean:
        """Return the mean over the splits of an estimator at a size, by their places.

        Parameters
        ----------
        estimator, size : int
            Places in `names` and in `train_sizes`.

        Returns
        -------
        Mean
            Its ``value`` is the mean score, and ``interval()`` returns the ends of its
            95 % interval.
        """
        values = self._by_split[estimator, size]
        return corrected_mean(values, self.ratio, self.resolution)

    def within_bounds(self, ends: tuple[float, float]) -> tuple[float, float]:
        """Cut an interval of a score that is never below 0 or above 1.

        Parameters
        ----------
        ends : tuple of float
            Ends of the interval.

        Returns
        -------
        tuple of float
            The ends, from 0 to 1 if `scoring` names a score that is.
        """
        if not self.scoring.startswith(_FROM_0_TO_1):
            return ends
        return max(0.0, ends[0]), min(1.0, ends[1])

    def _difference(self, a: int, b: int, j: int) -> Mean:
        differences = self._by_split[a, j] - self._by_split[b, j]
        return corrected_mean(differences, self.ratio, self.resolution)

    def _verdict(self, row: dict[str, Any]) -> str:
        a, b, difference = row["a"], row["b"], row["difference"]
        if math.isnan(row["p_value"]):
            return (
                f"One split cannot tell {a} from {b}: they differ by {difference:+.3f}."
            )
        p = "p < 0.001" if row["p_holm"] < 0.001 else f"p = {row['p_holm']:.3f}"
        interval = f"95 % interval {row['low']:+.3f} to {row['high']:+.3f}"
        if row["p_equivalent"] > 0.95:
            return (
                f"{a} and {b} are practically equivalent: they differ by "
                f"{difference:+.3f}, and by less than {self.rope:g} with a probability "
                f"of {row['p_equivalent']:.2f}."
            )
        if row["p_holm"] < 0.05:
            word = "better" if difference > 0 else "worse"
            return (
                f"{a} is {word} than {b} by {abs(difference):.3f} ({interval}, "
                f"{p} after Holm)."
            )
        return (
            f"The scores do not tell {a} from {b}: they differ by {difference:+.3f} "
            f"({interval}, {p} after Holm)."
        )

    def __str__(self) -> str:
        lines = [f"{self.scoring}, {self._how_many()}"]
        width = max(len(name) for name in self.names)
        for row in self._rows():
            lines.append(
                f"{row['estimator']:{width}}  {row['train_size']:6d}  "
                f"{row['mean']:.3f}  {row['low']:.3f} to {row['high']:.3f}  "
                f"{row['fit_seconds']:7.1f} s"
            )
        return "\n".join([*lines, *self._missing(), *self.verdicts()])

    def _missing(self) -> list[str]:
        """Return a sentence for each estimator that lacks scores."""
        missing = np.isnan(self.scores).sum(axis=(1, 2, 3))
        return [
            f"{n} of {self.scores[0].size} scores of {name} are missing, and its means "
            "are those of the others."
            for name, n in zip(self.names, missing, strict=True)
            if n
        ]

    def _repr_html_(self) -> str:
        parts = [f"<p>{html.escape(self.scoring)}, {self._how_many()}</p>"]
        columns = ("estimator", "train_size", "mean", "low", "high", "fit_seconds")
        head = "".join(f"<th>{name.replace('_', ' ')}</th>" for name in columns)
        body = "".join(
            "<tr>"
            + "".join(f"<td>{_cell(row[name])}</td>" for name in columns)
            + "</tr>"
            for row in self._rows()
        )
        parts.append(
            f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"
        )
        sentences = [*self._missing(), *self.verdicts()]
        items = "".join(f"<li>{html.escape(one)}</li>" for one in sentences)
        return "\n".join([*parts, f"<ul>{items}</ul>"])

    def _how_many(self) -> str:
        n_splits, n_seeds = self.scores.shape[2:]
        seeds = f" and {n_seeds} seeds on each" if n_seeds > 1 else ""
        return f"{n_splits} splits{seeds}, means with 95 % intervals"


def _cell(value: Any) -> str:
    return f"{value:.3f}" if isinstance(value, float) else html.escape(str(value))


def as_table(rows: list[dict[str, Any]]) -> Any:
    try:
        # pandas is optional.
        import pandas as pd  # type: ignore[import-untyped]
    except ImportError:
        return rows
    return pd.DataFrame(rows)
