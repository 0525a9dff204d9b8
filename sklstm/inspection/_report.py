"""An HTML report on a classifier: data, scores, mistakes, leakage and robustness."""

from __future__ import annotations

import base64
import html
import io
import os
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.base import clone, is_classifier
from sklearn.metrics import ConfusionMatrixDisplay
from sklearn.utils import check_random_state, indexable
from sklearn.utils.validation import column_or_1d

from sklstm._compat import safe_split
from sklstm._version import __version__
from sklstm.estimators._labels import check_groups
from sklstm.inspection._attribution import attribute
from sklstm.inspection._parts import as_picture, parts_of
from sklstm.inspection._reliability_display import ReliabilityDisplay
from sklstm.model_selection import check_leakage, compare, robustness
from sklstm.model_selection._compare import fit_params_of, seeded
from sklstm.model_selection._splits import make_splits
from sklstm.model_selection._training_display import TrainingDisplay

_N_EXAMPLES = 5  # of each class
_MOST_CLASSES = 12  # in the picture of examples
SECTIONS = (
    "data",
    "leakage",
    "scores",
    "training",
    "mistakes",
    "reliability",
    "robustness",
)
_TITLES = {
    "data": "Data",
    "leakage": "Images that occur more than once",
    "scores": "Scores on the same folds as controls",
    "training": "Training",
    "mistakes": "Mistakes",
    "reliability": "Reliability of the probabilities",
    "robustness": "Robustness against changes of the images",
}
_STYLE = """
body { font: 16px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto;
       padding: 0 1rem; color: #1b1b1b; background: #fff; }
h1, h2 { line-height: 1.2; } h2 { margin-top: 2.5rem; border-bottom: 1px solid #ccc; }
img { max-width: 100%; height: auto; }
table { border-collapse: collapse; margin: 1rem 0; }
th, td { padding: .25rem .75rem; text-align: right; border-bottom: 1px solid #ddd; }
th:first-child, td:first-child { text-align: left; }
nav a { margin-right: 1rem; } code, pre { background: #f3f3f3; padding: .1rem .3rem; }
pre { padding: .75rem; overflow-x: auto; }
"""


def report(
    estimator: Any,
    X: Any,
    y: Any,
    path: Any,
    *,
    groups: Any = None,
    cv: Any = 5,
    n_repeats: int = 2,
    scoring: Any = None,
    controls: Any = "default",
    sections: Any = SECTIONS,
    n_mistakes: int = 12,
    n_jobs: int | None = None,
    random_state: Any = None,
) -> Path:
    """Write an HTML report on a classifier and its data.

    The report is one file without links to others. All scores, mistakes and
    probabilities are those of images that were not trained on: the classifier is cloned
    and fitted in each fold.

    Parameters
    ----------
    estimator : classifier
        Classifier or Pipeline. It is cloned.
    X : array-like of shape (n, height, width) or (n, height, width, channels)
        Images. Flat images are shown if their number of pixels is a perfect square.
    y : array-like of shape (n,)
        Classes.
    path : str or path
        File to write. If it exists, it is replaced when the report is whole.
    groups : array-like of shape (n,), default=None
        Groups of the images, such as patients. No group is on both sides of a split.
    cv : int or splitter, default=5
        As in `sklstm.model_selection.compare`.
    n_repeats : int, default=2
        Number of repetitions of the cross-validation that compares with controls.
        Mistakes and probabilities are those of one further cross-validation.
    scoring : str or callable, default=None
        Score of the comparison. If None, the accuracy.
    controls : "default", dict of str to classifier, or None, default="default"
        As in `sklstm.model_selection.compare`.
    sections : iterable of str, default=all
        Parts of the report: "data", "leakage", "scores", "training", "mistakes",
        "reliability" and "robustness". The order is always this.
    n_mistakes : int, default=12
        Number of mistakes that are shown, the most confident first.
    n_jobs : int, default=None
        Number of processes, see `joblib.Parallel`.
    random_state : int, RandomState instance or None, default=None
        Seed of the folds, of all classifiers and of the changes of the images.

    Returns
    -------
    pathlib.Path
        The file.

    Raises
    ------
    FileNotFoundError
        If the folder of `path` does not exist.
    TypeError
        If the estimator is no classifier.
    ValueError
        If a parameter is wrong. Nothing is written then.

    See Also
    --------
    sklstm.model_selection.compare : The scores.
    sklstm.model_selection.check_leakage : Images that occur more than once.
    sklstm.model_selection.robustness : The scores of changed images.
    sklstm.inspection.attribute : What speaks for a class.
    """
    path = Path(path)
    if not path.parent.is_dir():
        raise FileNotFoundError(
            f"path={str(path)!r} is in a folder that does not exist: create it first."
        )
    if not is_classifier(estimator):
        raise TypeError(
            f"{type(estimator).__name__} is no classifier: the report tells about "
            "classes."
        )
    sections = _checked_sections(sections)
    X, y, groups = indexable(X, y, groups)
    y = column_or_1d(y)
    if groups is not None:
        groups = check_groups(groups, len(y))
    seed = int(check_random_state(random_state).randint(2**31 - 1))
    case = _Case(
        estimator, X, y, groups, cv, n_repeats, scoring, controls, n_mistakes, n_jobs,
        seed,
    )  # fmt: skip
    parts = [(name, _WRITERS[name](case)) for name in SECTIONS if name in sections]
    _write_whole(path, _page(case, parts))
    return path


def _checked_sections(sections: Any) -> tuple[str, ...]:
    named = (sections,) if isinstance(sections, str) else tuple(sections)
    for name in named:
        if name not in SECTIONS:
            raise ValueError(
                f"sections has {name!r}: it knows {', '.join(map(repr, SECTIONS))}."
            )
    if not named:
        raise ValueError("sections is empty: name at least one.")
    return named


@dataclass
class _Case:
    """What is reported on, and what several sections share."""

    estimator: Any
    X: Any
    y: np.ndarray
    groups: Any
    cv: Any
    n_repeats: int
    scoring: Any
    controls: Any
    n_mistakes: int
    n_jobs: int | None
    seed: int

    def __post_init__(self) -> None:
        self._folds: Any = None

    @property
    def name(self) -> str:
        """Name of the estimator: that of its last step."""
        classifier = parts_of(self.estimator).classifier
        return type(classifier).__name__

    @property
    def classes(self) -> np.ndarray:
        """Sorted labels."""
        return np.unique(self.y)

    def pictures(self, rows: Any) -> list[np.ndarray] | None:
        """Return images as they are drawn, or None if X holds none."""
        images = np.asarray([self.X[row] for row in rows])
        if images.dtype.kind not in "buif":
            return None
        if images.ndim == 2:
            side = round(images.shape[1] ** 0.5)
            if side * side != images.shape[1] or side < 2:
                return None
            images = images.reshape(-1, side, side)
        if images.ndim not in (3, 4) or (images.ndim == 4 and images.shape[-1] > 4):
            return None
        return [as_picture(image) for image in images]

    def folds(self) -> list[_Fold]:
        """Return the folds, each with a classifier that is fitted on its other part."""
        if self._folds is None:
            # As `compare` and `robustness` draw it, so that all see the same folds.
            base = int(check_random_state(self.seed).randint(2**31 - 1))
            n_repeats = 1 if isinstance(self.cv, int | np.integer) else None
            splits = make_splits(self.X, self.y, self.groups, self.cv, n_repeats, base)
            self._folds = [
                self._fit(k, train, test) for k, (train, test) in enumerate(splits)
            ]
        return self._folds

    def _fit(self, k: int, train: np.ndarray, test: np.ndarray) -> _Fold:
        fitted = seeded(clone(self.estimator), self.seed + k)
        groups = None if self.groups is None else self.groups[train]
        fitted.fit(
            *safe_split(fitted, self.X, self.y, train), **fit_params_of(fitted, groups)
        )
        X, _ = safe_split(fitted, self.X, self.y, test, train)
        predicted = fitted.predict(X)
        found = np.full((len(test), len(self.classes)), np.nan)
        if hasattr(fitted, "predict_proba"):
            found[:] = 0.0  # a class that is not in the training part
            columns = np.searchsorted(self.classes, fitted.classes_)
            found[:, columns] = fitted.predict_proba(X)
        return _Fold(fitted, train, test, predicted, found)


@dataclass
class _Fold:
    """A classifier, and its predictions of the part that it was not fitted on.

    Parameters
    ----------
    estimator : classifier
        Fitted on the training part.
    train : ndarray of int, shape (n_train,)
        Rows of the training part.
    rows : ndarray of int, shape (n_test,)
        Rows of the test part.
    predicted : ndarray of shape (n_test,)
        Predicted labels.
    probabilities : ndarray of shape (n_test, n_classes)
        NaN if the classifier gives none.
    """

    estimator: Any
    train: np.ndarray
    rows: np.ndarray
    predicted: np.ndarray
    probabilities: np.ndarray


def _data(case: _Case) -> str:
    labels, counts = np.unique(case.y, return_counts=True)
    shape = " x ".join(map(str, np.shape(case.X)))
    dtype = getattr(case.X, "dtype", type(case.X[0]).__name__)
    facts = [f"X has the shape {shape} and the type {dtype}."]
    if case.groups is not None:
        facts.append(f"There are {len(np.unique(case.groups))} groups.")
    values = np.asarray(case.X) if getattr(dtype, "kind", "O") in "buif" else None
    if values is not None:
        facts.append(
            f"Its values are from {values.min():g} to {values.max():g}, with a mean of "
            f"{values.mean():g}."
        )
    rows = [[label, n, f"{n / len(case.y):.1%}"] for label, n in zip(labels, counts)]  # noqa: B905
    parts = [_paragraph(facts), _table(["class", "images", "part"], rows)]
    if len(labels) > 2 * counts.max() or counts.max() > 10 * counts.min():
        parts.append(
            _paragraph(
                [
                    f"The largest class has {counts.max()} images, and the smallest "
                    f"{counts.min()}: look at scoring='balanced_accuracy' as well."
                ]
            )
        )
    shown = labels[:_MOST_CLASSES]
    rng = np.random.default_rng(case.seed)
    chosen = [rng.permutation(np.flatnonzero(case.y == k))[:_N_EXAMPLES] for k in shown]
    pictures = case.pictures(np.concatenate(chosen))
    if pictures is not None:
        figure = _new_figure(1.1 * _N_EXAMPLES + 1.2, 1.15 * len(shown))
        axes = figure.subplots(len(shown), _N_EXAMPLES, squeeze=False)
        left = iter(pictures)
        for label, rows_of_class, line in zip(shown, chosen, axes, strict=True):
            for ax in line:
                ax.set_axis_off()
            for ax, _ in zip(line, rows_of_class, strict=False):
                _draw(ax, next(left))
            line[0].set_title(str(label), fontsize=9, loc="left")
        parts.append(_image(figure, "Some images of each class, chosen by chance."))
        if len(labels) > len(shown):
            parts.append(_paragraph([f"The first {len(shown)} classes are shown."]))
    return "".join(parts)


def _leakage(case: _Case) -> str:
    try:
        found = check_leakage(
            case.X, case.groups, [(f.train, f.rows) for f in case.folds()], y=case.y
        )
    except (TypeError, ValueError) as error:
        return _paragraph([f"This was not checked: {error}"])
    parts = [_paragraph(found.sentences())]
    if len(found.pairs):
        figure = _new_figure(7, 3.2)
        found.plot(ax=figure.subplots())
        parts.append(_image(figure, "The most similar pairs, with their rows in X."))
    return "".join(parts)


def _training(case: _Case) -> str:
    classifier = case.folds()[0].estimator
    figure = _new_figure(8, 5)
    try:
        TrainingDisplay.from_estimator(classifier, ax=figure.subplots())
    except (AttributeError, TypeError, ValueError):
        return _paragraph([f"{case.name} keeps no history of its training."])
    return _image(figure, "Training on the first fold.")


def _robustness(case: _Case) -> str:
    try:
        found = robustness(
            case.estimator,
            case.X,
            case.y,
            cv=case.cv,
            groups=case.groups,
            n_jobs=case.n_jobs,
            random_state=case.seed,
        )
    except (TypeError, ValueError) as error:
        return _paragraph([f"This was not measured: {error}"])
    figure = _new_figure(11, 5.6)
    _, counts = np.unique(case.y, return_counts=True)
    found.plot(ax=figure.subplots(), baseline=counts.max() / counts.sum())
    return found._repr_html_() + _image(
        figure, "Accuracy on changed test images, with 95 % intervals."
    )


def _scores(case: _Case) -> str:
    integer = isinstance(case.cv, int | np.integer)
    found = compare(
        {case.name: case.estimator},
        case.X,
        case.y,
        groups=case.groups,
        cv=case.cv,
        n_repeats=case.n_repeats if integer else None,
        scoring=case.scoring,
        controls=case.controls,
        n_jobs=case.n_jobs,
        random_state=case.seed,
    )
    figure = _new_figure(7, 1 + 0.45 * len(found.names))
    found.plot(ax=figure.subplots())
    return found._repr_html_() + _image(figure, "Means with 95 % intervals.")


def _mistakes(case: _Case) -> str:
    rows = np.concatenate([fold.rows for fold in case.folds()])
    predicted = np.concatenate([fold.predicted for fold in case.folds()])
    wrong = predicted != case.y[rows]
    parts = [
        _paragraph(
            [
                f"{wrong.sum()} of {len(rows)} predictions are wrong "
                f"({wrong.mean():.1%}). Each image is predicted by a classifier that "
                "was not fitted on it."
            ]
        )
    ]
    side = 2 + 0.45 * len(case.classes)
    figure = _new_figure(side + 1, side)
    ConfusionMatrixDisplay.from_predictions(
        case.y[rows],
        predicted,
        ax=figure.subplots(),
        cmap="Blues",
        colorbar=False,
        xticks_rotation="vertical" if len(case.classes) > 6 else "horizontal",
    )
    parts.append(_image(figure, "Confusion matrix: true classes in rows."))
    parts.append(_worst(case))
    return "".join(parts)


def _worst(case: _Case) -> str:
    """Return a picture of the most confident mistakes, with their attributions."""
    found = [
        (-float(np.nan_to_num(fold.probabilities[i].max())), int(fold.rows[i]), fold, i)
        for fold in case.folds()
        for i in np.flatnonzero(fold.predicted != case.y[fold.rows])
    ]
    found = sorted(found, key=lambda one: one[:2])[: case.n_mistakes]
    pictures = case.pictures([row for _, row, _, _ in found]) if found else None
    if pictures is None:
        return ""
    columns = min(6, len(found))
    lines = -(-len(found) // columns)
    figure = _new_figure(1.7 * columns, 3.9 * lines)
    axes = figure.subplots(2 * lines, columns, squeeze=False)
    for ax in axes.flat:
        ax.set_axis_off()
    explained = True
    for k, (minus, row, fold, i) in enumerate(found):
        line, column = divmod(k, columns)
        ax, below = axes[2 * line, column], axes[2 * line + 1, column]
        _draw(ax, pictures[k])
        sure = f" ({-minus:.2f})" if minus else ""
        ax.set_title(
            f"row {row}: {case.y[row]}\nnot {fold.predicted[i]}{sure}", fontsize=8
        )
        map_ = _attribution(fold.estimator, case.X, row)
        if map_ is None:
            explained = False
            continue
        most = np.abs(map_).max() or 1.0
        _draw(below, pictures[k])
        below.imshow(map_, cmap="PuOr_r", vmin=-most, vmax=most, alpha=0.75)
    what = (
        "The most confident mistakes. Above: the row in X, the true class, the "
        "predicted class and its probability."
    )
    if explained:
        what += (
            " Below: what speaks for the predicted class (orange) and against it "
            "(violet), by occlusion."
        )
    return _image(figure, what)


def _attribution(estimator: Any, X: Any, row: int) -> np.ndarray | None:
    """Return what speaks for the prediction, or None if it cannot be computed."""
    try:
        found = attribute(estimator, X[row : row + 1])[0]
    except (TypeError, ValueError):
        # Classifiers without probabilities, and images that are not arrays.
        return None
    return found if found.ndim == 2 else None


def _reliability(case: _Case) -> str:
    folds = case.folds()
    probabilities = np.concatenate([fold.probabilities for fold in folds])
    if np.isnan(probabilities).any():
        return _paragraph([f"{case.name} gives no probabilities."])
    y = case.y[np.concatenate([fold.rows for fold in folds])]
    figure = _new_figure(5.5, 5)
    ReliabilityDisplay.from_predictions(y, probabilities, ax=figure.subplots())
    return _image(
        figure,
        "Part of right predictions against their probability, for images that were not "
        "trained on. Below the diagonal, the probabilities are too high.",
    )


def _page(case: _Case, parts: list[tuple[str, str]]) -> str:
    title = f"Report on {html.escape(case.name)}"
    links = "".join(f'<a href="#{name}">{_TITLES[name]}</a>' for name, _ in parts)
    body = "".join(
        f'<section id="{name}"><h2>{_TITLES[name]}</h2>{text}</section>'
        for name, text in parts
    )
    return (
        f'<!DOCTYPE html><html lang="en"><head><meta charset="utf-8"><title>{title}'
        f"</title><style>{_STYLE}</style></head><body><h1>{title}</h1><nav>{links}</nav>"
        f"<pre>{html.escape(repr(case.estimator))}</pre>{body}"
        f"<footer><p>sklstm {__version__}, seed {case.seed}.</p></footer></body></html>"
    )


def _write_whole(path: Path, text: str) -> None:
    """Write a file so that it is never there in part."""
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=".report")
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(text)
        os.chmod(name, 0o666 & ~_umask())
        os.replace(name, path)
    except BaseException:
        os.unlink(name)
        raise


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def _paragraph(sentences: list[str]) -> str:
    return f"<p>{html.escape(' '.join(sentences))}</p>"


def _table(head: list[str], rows: list[list[Any]]) -> str:
    top = "".join(f"<th>{html.escape(name)}</th>" for name in head)
    lines = (
        "".join(f"<td>{html.escape(str(cell))}</td>" for cell in row) for row in rows
    )
    body = "".join(f"<tr>{line}</tr>" for line in lines)
    return f"<table><thead><tr>{top}</tr></thead><tbody>{body}</tbody></table>"


def _new_figure(width: float, height: float) -> Any:
    # matplotlib is optional. A figure without pyplot leaves the user's figures alone.
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), layout="constrained")


def _draw(ax: Any, picture: np.ndarray) -> None:
    ax.imshow(picture, cmap="gray", vmin=0, vmax=1)
    ax.set_axis_off()


def _image(figure: Any, caption: str) -> str:
    """Return a figure as a picture inside the page."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=110)
    data = base64.b64encode(buffer.getvalue()).decode("ascii")
    text = html.escape(caption)
    return (
        f'<figure><img alt="{text}" src="data:image/png;base64,{data}">'
        f"<figcaption>{text}</figcaption></figure>"
    )


_WRITERS = {
    "data": _data,
    "leakage": _leakage,
    "scores": _scores,
    "training": _training,
    "mistakes": _mistakes,
    "reliability": _reliability,
    "robustness": _robustness,
}
