"""The result of a diagnosis: findings, figures, table, picture."""

from __future__ import annotations

import html
from dataclasses import dataclass
from typing import Any

import numpy as np

from sklstm.model_selection._comparison import as_table
from sklstm.model_selection._findings import Finding
from sklstm.model_selection._training_display import TrainingDisplay

_COLOURS = {
    "good": "#009E73",
    "warning": "#A66F00",
    "problem": "#D55E00",
    "not checked": "#888888",
}


@dataclass
class Diagnosis:
    """What the checks of `sklstm.model_selection.diagnose` found.

    Parameters
    ----------
    findings : list of Finding
        One for each check, with ``check``, ``verdict``, ``advice``, ``figures`` and
        ``params``.
    scores : ndarray of shape (n_splits,)
        Scores of the estimator on samples that it was not trained on.
    train_scores : ndarray of shape (n_splits,)
        Its scores on its training samples.
    baseline_scores : ndarray of shape (n_splits,)
        Scores of the majority class, or of the mean target.
    permuted_scores : ndarray of shape (n_permutations,)
        Mean scores of the estimator trained and scored on shuffled labels.
    shuffled_scores : ndarray of shape (n_splits,)
        Scores of the estimator on shuffled steps. Empty if they do not apply.
    ordered_scores : ndarray of shape (n_splits,)
        What `shuffled_scores` are compared with.
    history : dict of str to list of float
        Values per epoch of the monitored fit. Empty if the estimator records none.
    best_epoch : int or None
        Number of epochs after which the kept weights of this fit were reached.
    memory : MemoryEstimate or None
        Bytes that training takes.
    scoring : str
        Name of the score.
    """

    findings: list[Finding]
    scores: np.ndarray
    train_scores: np.ndarray
    baseline_scores: np.ndarray
    permuted_scores: np.ndarray
    shuffled_scores: np.ndarray
    ordered_scores: np.ndarray
    history: dict[str, list[float]]
    best_epoch: int | None = None
    memory: Any = None
    scoring: str = "score"

    def __getitem__(self, check: str) -> Finding:
        """Return the finding of a check by its name."""
        for finding in self.findings:
            if finding.check == check:
                return finding
        known = ", ".join(repr(finding.check) for finding in self.findings)
        raise KeyError(f"{check!r} is not a check: use {known}.")

    def to_frame(self) -> Any:
        """Return a row for each check.

        Returns
        -------
        pandas.DataFrame or list of dict
            The columns are "check", "verdict", "advice", "params" and "figures". A list
            if pandas is not installed.
        """
        names = ("check", "verdict", "advice", "params", "figures")
        return as_table(
            [
                {name: getattr(finding, name) for name in names}
                for finding in self.findings
            ]
        )

    def plot(self, ax: Any = None) -> TrainingDisplay:
        """Plot the training of the monitored fit, with the verdicts in its titles.

        Parameters
        ----------
        ax : matplotlib.axes.Axes or array-like of them, default=None
            As in `TrainingDisplay.plot`.

        Returns
        -------
        TrainingDisplay
            The display.

        Raises
        ------
        ValueError
            If the estimator records no history.
        """
        if not self.history:
            raise ValueError(
                "There is no history to plot: the estimator records none, or its fit "
                "failed; see findings."
            )
        early = self.best_epoch not in (None, len(self.history["loss"]))
        best = self.best_epoch if early else None
        display = TrainingDisplay([self.history], best_epoch=best).plot(ax=ax)
        places = {
            "loss oscillates": "loss",
            "validation stalls": "loss",
            "under- or overfitting": "score",
            "gradients": "gradient_norm",
        }
        told: dict[str, list[Finding]] = {}
        for finding in self.findings:
            if finding.check in places:
                told.setdefault(places[finding.check], []).append(finding)
        order = list(_COLOURS)
        for panel, findings in told.items():
            checked = [one for one in findings if one.verdict != "not checked"]
            if not checked:
                continue
            worst = max(checked, key=lambda one: order.index(one.verdict))
            title = display.axes_[panel].title
            what = "" if worst.verdict == "good" else f"{worst.check}, "
            title.set_text(f"{title.get_text()}: {what}{worst.verdict}")
            title.set_color(_COLOURS[worst.verdict])
        return display

    def __str__(self) -> str:
        return "\n".join(map(str, self.findings))

    def _repr_html_(self) -> str:
        rows = "".join(
            f"<tr><td style='color:{_COLOURS[one.verdict]}'><b>"
            f"{html.escape(one.verdict)}</b></td><td>{html.escape(one.check)}</td>"
            f"<td style='text-align:left'>{html.escape(one.advice)}</td></tr>"
            for one in self.findings
        )
        head = "<tr><th>verdict</th><th>check</th><th>advice</th></tr>"
        return f"<table><thead>{head}</thead><tbody>{rows}</tbody></table>"
