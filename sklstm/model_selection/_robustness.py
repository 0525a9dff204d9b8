"""The accuracy of a classifier on changed images."""

from __future__ import annotations

import html
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from sklearn.base import clone, is_classifier
from sklearn.utils import check_random_state
from sklearn.utils.parallel import Parallel, delayed
from sklearn.utils.validation import check_consistent_length, check_is_fitted

from sklstm._compat import safe_split
from sklstm.estimators._labels import check_groups, check_labels
from sklstm.images._validate import is_count
from sklstm.model_selection._compare import fit_params_of, seeded
from sklstm.model_selection._comparison import as_table
from sklstm.model_selection._comparison_display import COLOURS, MARKERS
from sklstm.model_selection._image_changes import CHANGES, ImageBatch, check_changes
from sklstm.model_selection._panels import axes_for
from sklstm.model_selection._proportions import (
    accuracy_interval,
    area_interval,
    difference_interval,
)
from sklstm.model_selection._splits import make_splits

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# A loss of accuracy that is worth a sentence.
_WORTH_TELLING = 0.1


def robustness(
    estimator: Any,
    X: Any,
    y: Any,
    *,
    changes: Any = None,
    cv: Any = None,
    groups: Any = None,
    n_repeats: int = 1,
    confidence: float = 0.95,
    image_shape: Any = None,
    value_range: tuple[float, float] | None = None,
    fill: str = "nearest",
    n_jobs: int | None = None,
    random_state: Any = None,
) -> Robustness:
    """Measure the accuracy of a classifier on images that are changed more and more.

    Only test images are changed. Training images stay as they are, so the result tells
    what the classifier does with images of another camera, scanner or position.

    Parameters
    ----------
    estimator : classifier
        Classifier, or a Pipeline or search that ends in one. With ``cv=None`` it is
        fitted. Otherwise it is cloned and fitted in each fold.
    X : array-like of shape (n, height, width), (n, height, width, channels) or \
(n, n_features)
        Images. With ``cv=None``, they must not have been trained on.
    y : array-like of shape (n,)
        Their classes.
    changes : str, list of str, or dict of str to list of float, default=None
        Names of the changes, or names and severities: "rotation", "shift", "scale",
        "noise", "blur", "contrast" and "jpeg". `change_images` says what they do. If
        None, all of them.
    cv : int, splitter or iterable, default=None
        Folds, as in `compare`, without repetitions. Each image is then predicted by a
        classifier that was not fitted on it. If None, `estimator` is used as it is.
    groups : array-like of shape (n,), default=None
        Groups of the images, such as patients. No group is on both sides of a fold, and
        intervals are those of different groups.
    n_repeats : int, default=1
        Number of times that images are rotated, shifted, scaled and made noisy, each
        time in other directions and with other noise. The result is their mean.
    confidence : float, default=0.95
        Confidence of the intervals.
    image_shape, value_range, fill : object
        How images are read and changed, see `change_images`.
    n_jobs : int, default=None
        Number of folds, or of changes if ``cv=None``, at the same time, see
        `joblib.Parallel`.
    random_state : int, RandomState instance or None, default=None
        Seed of the folds, of the classifiers in them, and of the changes. An image is
        changed in the same direction at all severities, and for all classifiers that
        are measured with the same seed.

    Returns
    -------
    Robustness
        Its methods ``table`` and ``areas`` return the result, and ``plot`` draws it.

    Raises
    ------
    ValueError
        If a parameter is invalid, if X holds no images, or if `cv` splits a group.
    TypeError
        If `estimator` is no classifier.
    sklearn.exceptions.NotFittedError
        If `cv` is None and `estimator` is not fitted.

    See Also
    --------
    change_images : Change images, to look at them.
    sklstm.inspection.RobustnessDisplay : Draw several results together.

    Notes
    -----
    The intervals are those of the images. They leave out how much a classifier changes
    with its training images and its seed. An accuracy has Wilson's interval, and the
    loss by a change that of Agresti and Min for matched pairs [1]_. With `groups`, both
    are widened by the variance between groups.

    References
    ----------
    .. [1] A. Agresti and Y. Min, "Simple improved confidence intervals for comparing
       matched proportions", Statistics in Medicine 24, 2005.

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> from sklearn.svm import SVC
    >>> from sklstm.model_selection import robustness
    >>> X, y = load_digits(n_class=4, return_X_y=True)
    >>> classifier = SVC().fit(X[:400], y[:400])
    >>> found = robustness(
    ...     classifier, X[400:], y[400:], changes={"rotation": [20, 45]}, random_state=0
    ... )
    >>> print(found)
    accuracy 0.978 (0.956 to 0.989) of 320 images
    rotation: the accuracy falls to 0.478 at 45 degrees. It has lost 0.1 at 21 degrees.
    """
    if not is_classifier(estimator):
        raise TypeError(
            f"{type(estimator).__name__} is no classifier, and robustness measures the "
            "accuracy of one."
        )
    if not is_count(n_repeats):
        raise ValueError(
            f"n_repeats must be a whole number of at least 1; got {n_repeats!r}."
        )
    if not 0 < confidence < 1:
        raise ValueError(f"confidence={confidence!r} must be above 0 and below 1.")
    severities = check_changes(changes)
    images = ImageBatch(X, image_shape, value_range, fill)
    check_consistent_length(X, y, groups)
    y = check_labels(y, len(images))
    codes = None
    if groups is not None:
        groups = check_groups(groups, len(images))
        codes = np.unique(groups, return_inverse=True)[1]
        if codes.max() == 0:
            raise ValueError(
                "groups has one group, which tells nothing about others: leave it out."
            )
    base = int(check_random_state(random_state).randint(2**31 - 1))
    conditions = [
        (name, float(severity), repeat)
        for name, values in severities.items()
        for severity in values[1:]
        for repeat in range(n_repeats if CHANGES[name].is_random else 1)
    ]
    conditions.append(("", 0.0, 0))  # unchanged
    data = images, y, base
    if cv is None:
        check_is_fitted(estimator)
        rows = np.arange(len(images))
        jobs = [(estimator, rows, [one]) for one in conditions]
        found = Parallel(n_jobs=n_jobs, prefer="threads")(
            delayed(_are_right)(*job, *data) for job in jobs
        )
    else:
        n_folds = 1 if isinstance(cv, int | np.integer) else None
        splits = make_splits(X, y, groups, cv, n_folds, base)
        found = Parallel(n_jobs=n_jobs)(
            delayed(_fit_and_ask)(
                estimator, X, groups, split, base + k, conditions, *data
            )
            for k, split in enumerate(splits)
        )
    total = {condition: np.zeros(len(images)) for condition in conditions}
    count = np.zeros(len(images))
    for rows, right in found:
        for condition, values in right.items():
            np.add.at(total[condition], rows, values)
        if ("", 0.0, 0) in right:
            np.add.at(count, rows, 1)
    kept = count > 0  # a splitter may leave images out of all test parts
    right = {c: values[kept] / count[kept] for c, values in total.items()}
    unchanged = right["", 0.0, 0]
    return Robustness(
        severities={n: values.tolist() for n, values in severities.items()},
        right={
            name: np.stack(
                [
                    unchanged,
                    *(
                        np.mean(
                            [right[c] for c in conditions if c[:2] == (name, severity)],
                            axis=0,
                        )
                        for severity in values[1:].tolist()
                    ),
                ]
            )
            for name, values in severities.items()
        },
        groups=None
        if codes is None
        else np.unique(codes[kept], return_inverse=True)[1],
        confidence=float(confidence),
    )


def _fit_and_ask(
    estimator: Any,
    X: Any,
    groups: Any,
    split: tuple[np.ndarray, np.ndarray],
    seed: int,
    conditions: list[tuple],
    images: ImageBatch,
    y: np.ndarray,
    base: int,
) -> tuple[np.ndarray, dict]:
    train, test = split
    model = seeded(clone(estimator), seed)
    own = None if groups is None else groups[train]
    model.fit(*safe_split(model, X, y, train), **fit_params_of(model, own))
    return _are_right(model, test, conditions, images, y, base)


def _are_right(
    estimator: Any,
    rows: np.ndarray,
    conditions: list[tuple],
    images: ImageBatch,
    y: np.ndarray,
    base: int,
) -> tuple[np.ndarray, dict]:
    """Return rows and, for each condition, whether each is predicted rightly."""
    right = {}
    for name, severity, repeat in conditions:
        X = images.changed(rows, name, severity, base, repeat)
        predicted = np.asarray(estimator.predict(X))
        right[name, severity, repeat] = (predicted == y[rows]).astype(float)
    return rows, right


@dataclass
class Robustness:
    """Accuracy on images that are changed more and more.

    `sklstm.model_selection.robustness` returns it.

    Parameters
    ----------
    severities : dict of str to list of float
        Severities of each change, 0 first.
    right : dict of str to ndarray of shape (n_severities, n_images)
        For each image, 1 for a right and 0 for a wrong prediction, or the mean of
        several.
    groups : ndarray of int, shape (n_images,), or None
        Numbers of the groups of the images.
    confidence : float
        Confidence of the intervals.
    """

    severities: dict[str, list[float]]
    right: dict[str, np.ndarray]
    groups: np.ndarray | None = None
    confidence: float = 0.95

    def table(self) -> Any:
        """Return a row for each change and severity.

        Returns
        -------
        pandas.DataFrame or list of dict
            The columns are "change", "severity", "accuracy", "low" and "high" (its
            interval), "loss" (the accuracy on the unchanged images minus this one),
            "loss_low" and "loss_high". A list if pandas is not installed.
        """
        return as_table(self._rows())

    def _rows(self) -> list[dict[str, Any]]:
        rows = []
        for name, values in self.severities.items():
            for severity, right in zip(values, self.right[name], strict=True):
                low, high = accuracy_interval(right, self.groups, self.confidence)
                lost = self.right[name][0] - right
                ends = (0.0, 0.0)
                if severity > 0:
                    ends = difference_interval(lost, self.groups, self.confidence)
                rows.append(
                    {
                        "change": name,
                        "severity": severity,
                        "accuracy": float(right.mean()),
                        "low": low,
                        "high": high,
                        "loss": float(lost.mean()),
                        "loss_low": ends[0],
                        "loss_high": ends[1],
                    }
                )
        return rows

    def areas(self) -> Any:
        """Return the area under each curve of accuracy over severity.

        The largest severity counts as 1, so that the area is the mean accuracy along
        the curve.

        Returns
        -------
        pandas.DataFrame or list of dict
            The columns are "change", "area", "low" and "high" (its interval).
        """
        return as_table(self._rows_of_areas())

    def area(self, change: str) -> float:
        """Return the area under the curve of one change."""
        found = {row["change"]: row["area"] for row in self._rows_of_areas()}
        return found[change]

    def _rows_of_areas(self) -> list[dict[str, Any]]:
        rows = []
        for name, values in self.severities.items():
            x = np.array(values) / values[-1]
            steps = np.diff(x)
            weights = np.zeros(len(x))
            weights[1:] += steps / 2
            weights[:-1] += steps / 2
            each = weights @ self.right[name]
            low, high = area_interval(each, self.groups, self.confidence)
            row = {"change": name, "area": float(each.mean()), "low": low, "high": high}
            rows.append(row)
        return rows

    def plot(self, ax: Any = None, **kwargs: Any) -> RobustnessDisplay:
        """Plot accuracy over severity.

        Parameters
        ----------
        ax : matplotlib.axes.Axes, default=None
            Axes whose place the panels share. If None, create a figure.
        **kwargs : dict
            Arguments of `RobustnessDisplay.from_robustness`.

        Returns
        -------
        RobustnessDisplay
            The display.
        """
        return RobustnessDisplay.from_robustness(self, ax=ax, **kwargs)

    def sentences(self) -> list[str]:
        """Return a sentence or two for each change."""
        return [self._sentence(name) for name in self.severities]

    def _sentence(self, name: str) -> str:
        unit = CHANGES[name].unit
        values, means = self.severities[name], self.right[name].mean(axis=1)
        lost = means[0] - means
        worst = int(np.argmin(means))
        if lost[worst] < _WORTH_TELLING:
            most = max(0.0, float(lost[worst]))
            return (
                f"{name}: the accuracy falls by {most:.3f} at most, up to "
                f"{values[-1]:g}{unit}."
            )
        k = int(np.argmax(lost >= _WORTH_TELLING))
        part = (_WORTH_TELLING - lost[k - 1]) / (lost[k] - lost[k - 1])
        at = values[k - 1] + part * (values[k] - values[k - 1])
        return (
            f"{name}: the accuracy falls to {means[worst]:.3f} at "
            f"{values[worst]:g}{unit}. It has lost {_WORTH_TELLING} at {at:.2g}{unit}."
        )

    def _how_many(self) -> str:
        right = next(iter(self.right.values()))[0]
        low, high = accuracy_interval(right, self.groups, self.confidence)
        of = f"{len(right)} images"
        if self.groups is not None:
            of += f" in {self.groups.max() + 1} groups"
        return f"accuracy {right.mean():.3f} ({low:.3f} to {high:.3f}) of {of}"

    def __str__(self) -> str:
        return "\n".join([self._how_many(), *self.sentences()])

    def _repr_html_(self) -> str:
        columns = ("change", "area", "low", "high")
        head = "".join(f"<th>{name}</th>" for name in columns)
        body = "".join(
            "<tr>"
            + f"<td>{html.escape(row['change'])}</td>"
            + "".join(f"<td>{row[name]:.3f}</td>" for name in columns[1:])
            + "</tr>"
            for row in self._rows_of_areas()
        )
        items = "".join(f"<li>{html.escape(one)}</li>" for one in self.sentences())
        return (
            f"<p>{html.escape(self._how_many())}</p>"
            f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"
            f"<ul>{items}</ul>"
        )


class RobustnessDisplay:
    """Plot of accuracy over the severity of changes, a panel for each change.

    Use `from_robustness` or `from_estimator` to create it. Lines are accuracies, and
    bands are their intervals. Results of several classifiers are drawn together. A
    dotted line is the accuracy of the commonest class, if it is known.

    Parameters
    ----------
    results : dict of str to Robustness
        Results by name. All have the same changes.

    Attributes
    ----------
    axes_ : dict of str to matplotlib.axes.Axes
        Axes of each change.
    lines_ : dict of str to list of matplotlib.lines.Line2D
        Lines of each change, in the order of `results`.
    figure_ : matplotlib.figure.Figure
        Figure that contains the axes.

    See Also
    --------
    sklstm.model_selection.robustness : Measure the accuracy on changed images.

    Examples
    --------
    >>> import matplotlib.pyplot as plt
    >>> from sklearn.datasets import load_digits
    >>> from sklearn.svm import SVC
    >>> from sklstm.inspection import RobustnessDisplay
    >>> X, y = load_digits(n_class=3, return_X_y=True)
    >>> classifier = SVC().fit(X[:300], y[:300])
    >>> display = RobustnessDisplay.from_estimator(
    ...     classifier, X[300:], y[300:], changes=["rotation", "noise"], random_state=0
    ... )
    >>> list(display.axes_)
    ['rotation', 'noise']
    >>> plt.close("all")
    """

    def __init__(self, results: dict[str, Robustness]) -> None:
        self.results = results

    @classmethod
    def from_robustness(
        cls,
        results: Any,
        *,
        baseline: float | None = None,
        ax: Any = None,
        **line_kw: Any,
    ) -> RobustnessDisplay:
        """Create the display from one result, or from several by name, and plot it.

        Parameters
        ----------
        results : Robustness or dict of str to Robustness
            What `sklstm.model_selection.robustness` returned.
        baseline : float, default=None
            Accuracy of the commonest class, which is drawn as a dotted line.
        ax : matplotlib.axes.Axes or array-like of them, default=None
            Axes for the panels. If there are several panels and one axes, the panels
            share its place. If None, create a figure.
        **line_kw : dict
            Arguments of `matplotlib.axes.Axes.plot`, for all lines.

        Returns
        -------
        RobustnessDisplay
            The display.

        Raises
        ------
        ValueError
            If there is no result, if results have different changes, or if `ax` does
            not hold one axes or one for each panel.
        """
        return cls(_by_name(results)).plot(baseline=baseline, ax=ax, **line_kw)

    @classmethod
    def from_estimator(
        cls,
        estimator: Any,
        X: Any,
        y: Any,
        *,
        name: str | None = None,
        ax: Any = None,
        **kwargs: Any,
    ) -> RobustnessDisplay:
        """Measure the robustness of a classifier and plot it.

        Parameters
        ----------
        estimator : classifier
            As in `sklstm.model_selection.robustness`.
        X : array-like
            Images. If no `cv` is given, they must not have been trained on.
        y : array-like of shape (n,)
            Their classes.
        name : str, default=None
            Name in the legend. If None, there is no legend.
        ax : matplotlib.axes.Axes or array-like of them, default=None
            As in `from_robustness`.
        **kwargs : dict
            Further arguments of `sklstm.model_selection.robustness`.

        Returns
        -------
        RobustnessDisplay
            The display.
        """
        found = robustness(estimator, X, y, **kwargs)
        return cls({name or "": found}).plot(ax=ax)

    def plot(
        self, *, baseline: float | None = None, ax: Any = None, **line_kw: Any
    ) -> RobustnessDisplay:
        """Plot accuracy over severity.

        Parameters
        ----------
        baseline : float, default=None
            As in `from_robustness`.
        ax : matplotlib.axes.Axes or array-like of them, default=None
            As in `from_robustness`.
        **line_kw : dict
            Arguments of `matplotlib.axes.Axes.plot`, for all lines.

        Returns
        -------
        RobustnessDisplay
            The display.
        """
        changes = list(next(iter(self.results.values())).severities)
        n_columns = 3 if len(changes) in (3, 5, 6) else 4
        axes = axes_for(len(changes), n_columns, ax, panel=(3.0, 2.7), fill=False)
        self.axes_: dict[str, Axes] = dict(zip(changes, axes, strict=True))
        self.figure_: Figure | Any = axes[0].figure
        self.lines_: dict[str, list] = {}
        lowest = 1.0
        for change, axis in self.axes_.items():
            lines = self.lines_.setdefault(change, [])
            for i, (name, result) in enumerate(self.results.items()):
                rows = [row for row in result._rows() if row["change"] == change]
                x, mean, low, high = (
                    np.array([row[key] for row in rows])
                    for key in ("severity", "accuracy", "low", "high")
                )
                colour = COLOURS[i % len(COLOURS)]
                style = {
                    "color": colour,
                    "marker": MARKERS[i % len(MARKERS)],
                    "markersize": 4,
                    "label": name or None,
                    **line_kw,
                }
                lines += axis.plot(x, mean, **style)
                axis.fill_between(
                    x, low, high, color=style["color"], alpha=0.2, linewidth=0
                )
                lowest = min(lowest, float(low.min()))
            if baseline is not None:
                label = "commonest class" if change == changes[0] else None
                axis.axhline(baseline, color="grey", linestyle=":", label=label)
                lowest = min(lowest, baseline)
            axis.set_xlabel(CHANGES[change].label)
            axis.grid(alpha=0.3)
        bottom = max(0.0, math.floor(lowest * 10) / 10)
        for k, axis in enumerate(axes):
            axis.set_ylim(bottom, 1.02)
            if k % n_columns == 0 or len(axes) == 1:
                axis.set_ylabel("accuracy")
        if any(self.results) or baseline is not None:
            if ax is None and len(axes) > 1:
                # Curves fill the panels, so that a legend inside would cover some.
                handles = axes[0].get_legend_handles_labels()
                self.figure_.legend(*handles, loc="outside lower center", ncols=5)
            else:
                axes[0].legend(fontsize="small", loc="lower left")
        return self


def _by_name(results: Any) -> dict[str, Any]:
    named = dict(results) if isinstance(results, Mapping) else {"": results}
    if not named or not all(hasattr(one, "severities") for one in named.values()):
        raise ValueError(
            "results must be what robustness returns, or a dict of names to that."
        )
    changes = [one.severities for one in named.values()]
    if any(one != changes[0] for one in changes):
        raise ValueError(
            "results have different changes or severities: measure them with the same."
        )
    return named
