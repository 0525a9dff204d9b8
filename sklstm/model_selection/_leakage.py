"""Near duplicates and groups that are on both sides of a split."""

from __future__ import annotations

import html
import warnings
from collections.abc import Iterable
from dataclasses import dataclass, field
from numbers import Integral
from typing import Any

import numpy as np
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from sklearn.base import BaseEstimator
from sklearn.model_selection import check_cv
from sklearn.utils import Bunch
from sklearn.utils.multiclass import type_of_target

from sklstm.estimators._labels import check_groups, check_labels
from sklstm.images._ragged import check_images
from sklstm.images._validate import validate_images
from sklstm.model_selection._comparison import as_table
from sklstm.model_selection._leakage_display import LeakageDisplay
from sklstm.model_selection._near_duplicates import (
    FLIPS,
    MIN_IMAGES,
    NearDuplicates,
    equal_pairs,
    thumbnails,
)

_N_SHOWN = 10


def check_leakage(
    X: Any,
    groups: Any = None,
    cv: Any = None,
    *,
    y: Any = None,
    image_shape: Any = None,
    flip: str | None = None,
    expected_false: float = 0.2,
    min_similarity: float | None = None,
) -> Leakage:
    """Find near-duplicate images, and those that are on both sides of a split.

    Several photographs of one object make a test score too high if some are in the
    training part and others in the test part. This function finds such photographs
    without being told the objects. It compares images by a perceptual hash, shifts and
    stretches each of the most similar ones until it fits the other, and takes the
    correlation of their details. A pair is a near duplicate if different images of this
    set would hardly be as similar by chance [1]_.

    Parameters
    ----------
    X : array-like, or list of images that may differ in size
        Images (n, height, width) or (n, height, width, channels), or flat input
        (n, n_features). Channels are averaged. Images that differ in size are stretched
        to the same square.
    groups : array-like of shape (n,), default=None
        Known groups, such as patients.
    cv : int, splitter or iterable, default=None
        Splits to check: number of folds, a splitter of scikit-learn, or pairs of
        training and test rows. An int makes stratified folds if `y` is given. If None,
        no splits are checked.
    y : array-like of shape (n,), default=None
        Classes, for splitters that need them, and to find near duplicates whose labels
        differ.
    image_shape : tuple of int, default=None
        Shape of one image, (height, width) or (height, width, channels). Only flat
        input needs it. If None, flat input is read as square images.
    flip : {"horizontal", "vertical", "both"}, default=None
        Flips that near duplicates may have. If None, flipped images are different.
    expected_false : float, default=0.2
        Expected number of pairs in the set that are not near duplicates and are found
        all the same. A smaller number finds fewer pairs. It holds as far as the
        similarities of different images follow the model of the Notes.
    min_similarity : float, default=None
        If given, pairs from this correlation on are near duplicates, in place of
        `expected_false`. It is above 0 and at most 1.

    Returns
    -------
    Leakage
        The pairs, guessed groups for ``groups=`` of a splitter, and what crosses each
        split. ``str`` tells it in sentences.

    Raises
    ------
    ValueError
        If X holds no images, or if a parameter is invalid.
    TypeError
        If X is of a kind that cannot be read as images.

    Notes
    -----
    Images are reduced to gray images of 64 x 64 pixels. Each pixel is compared with its
    surroundings, so that light and exposure do not count. The candidates are the twelve
    nearest images by the lowest frequencies, also if they are shifted by 6 % or
    stretched by 8 %. The registration allows shifts and stretches of up to 20 % of the
    side, but starts with shifts of up to 12 %. It does not rotate. A photograph that
    contains a small part of another is not found.

    The number of different images within a distance of an image is taken to grow as a
    power of the distance. The power is the dimension of the set [2]_. It is estimated
    from neighbors that are too far away to be near duplicates. So a correlation of .75
    tells in photographs of rough surfaces, and .97 does not in digits of 8 x 8 pixels.
    Neighbors are too far away if they are further than a fifth of the set. If one group
    of near duplicates holds more than that, only its closest pairs are found.

    With fewer than 20 images, this estimate is not possible. Only equal images are
    found then, unless `min_similarity` is given.

    Memory grows with n and time with the square of n. Images of one color are not
    compared.

    References
    ----------
    .. [1] A. Desolneux, L. Moisan and J.-M. Morel, "Meaningful alignments",
       International Journal of Computer Vision 40, 2000.
    .. [2] E. Levina and P. J. Bickel, "Maximum likelihood estimation of intrinsic
       dimension", NeurIPS 2004.

    Examples
    --------
    Three photographs of each of 20 objects, which differ in light:

    >>> import numpy as np
    >>> from sklearn.model_selection import GroupKFold, KFold
    >>> from sklstm.model_selection import check_leakage
    >>> rng = np.random.default_rng(0)
    >>> objects = rng.uniform(50, 150, (20, 32, 32)).repeat(3, axis=0)
    >>> X = objects * rng.uniform(0.7, 1.3, (60, 1, 1))
    >>> found = check_leakage(X, cv=KFold(5, shuffle=True, random_state=0))
    >>> print(found)
    60 near-duplicate pairs join 60 of 60 images to 20 groups. Near duplicates are on
    both sides of 5 of 5 splits: of up to 12 of 12 test images, one is in the training
    part. Split by groups=found.groups_ to keep them together.
    >>> print(check_leakage(X, found.groups_, GroupKFold(5)).n_leaking_splits)
    0
    """
    _check_parameters(flip, expected_false, min_similarity)
    images = _read(X, image_shape)
    n = len(images)
    labels = None if y is None else check_labels(y, n)
    known = None if groups is None else check_groups(groups, n)
    splits = _read_splits(cv, n, labels, known)
    small = thumbnails(images)
    blank = np.asarray(~small.any(axis=(1, 2)))
    kept = np.flatnonzero(~blank)
    pairs, similarities = np.empty((0, 2), np.intp), np.empty(0)
    if len(kept) > 1:
        search = NearDuplicates(small[kept], flip)
        places, similarities = search.search(expected_false, min_similarity)
        pairs = kept[places]
    equal = equal_pairs(images)
    equal = equal[~blank[equal].any(axis=1)]
    pairs, similarities = _join(pairs, similarities, equal)
    shown = np.unique(pairs[:_N_SHOWN])
    return Leakage(
        pairs=pairs,
        similarities=similarities,
        n_equal=len(equal),
        groups_=_components(n, pairs, known),
        blank=np.flatnonzero(blank),
        y=labels,
        groups=known,
        splits=splits,
        enough=len(kept) >= MIN_IMAGES or min_similarity is not None,
        thumbnails={int(row): small[row] for row in shown},
    )


@dataclass(repr=False)
class Leakage:
    """Near duplicates in a set of images, and what is on both sides of its splits.

    `sklstm.model_selection.check_leakage` returns it.

    Parameters
    ----------
    pairs : ndarray of int, shape (n_pairs, 2)
        Rows of the near duplicates, the most similar pairs first. Of a group of many
        images, not every pair is among them.
    similarities : ndarray of float, shape (n_pairs,)
        Correlation of the details of each pair, at most 1.
    n_equal : int
        Number of images that equal an earlier one.
    groups_ : ndarray of int, shape (n,)
        Guessed group of each image, from 0 on. Images that a chain of pairs joins are
        in one group, and so are images of one known group. An image without a near
        duplicate is a group.
    blank : ndarray of int, shape (n_blank,)
        Rows of images of one color. They were not compared.
    y : ndarray of shape (n,) or None
        Classes, if given.
    groups : ndarray of shape (n,) or None
        Known groups, if given.
    splits : list of tuple of ndarray
        Training and test rows of each split. Empty if no `cv` was given.
    enough : bool, default=True
        Whether there were enough images to look for more than equal ones.
    thumbnails : dict of int to ndarray of float, shape (64, 64)
        Small images of the first pairs, for the plot.

    Attributes
    ----------
    different_labels : ndarray of int
        Places in `pairs` of those whose labels differ. Empty without `y`.
    different_groups : ndarray of int
        Places in `pairs` of those in different known groups. Empty without `groups`.
    crossing : list of Bunch
        For each split, the places in `pairs` that cross it (``pairs``), the known
        groups that cross it (``groups``), and the test rows of which a near duplicate,
        or an image of the same group, is in the training part (``test_rows``).
    n_leaking_splits : int
        Number of splits that near duplicates or known groups cross.
    """

    pairs: np.ndarray
    similarities: np.ndarray
    n_equal: int
    groups_: np.ndarray
    blank: np.ndarray
    y: np.ndarray | None = None
    groups: np.ndarray | None = None
    splits: list[tuple[np.ndarray, np.ndarray]] = field(default_factory=list)
    enough: bool = True
    thumbnails: dict[int, np.ndarray] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.different_labels = self._where_differ(self.y)
        self.different_groups = self._where_differ(self.groups)
        self.crossing = [self._crossing(*split) for split in self.splits]
        self.n_leaking_splits = sum(len(one.test_rows) > 0 for one in self.crossing)

    def _where_differ(self, values: np.ndarray | None) -> np.ndarray:
        if values is None:
            return np.empty(0, np.intp)
        return np.flatnonzero(values[self.pairs[:, 0]] != values[self.pairs[:, 1]])

    def _crossing(self, train: np.ndarray, test: np.ndarray) -> Any:
        n = len(self.groups_)
        in_train, in_test = np.zeros(n, bool), np.zeros(n, bool)
        in_train[train], in_test[test] = True, True
        a, b = self.pairs.T
        crosses = (in_train[a] & in_test[b]) | (in_test[a] & in_train[b])
        groups = np.empty(0)
        if self.groups is not None:
            groups = np.intersect1d(self.groups[train], self.groups[test])
        shared = np.isin(self.groups_[test], self.groups_[train])
        return Bunch(
            pairs=np.flatnonzero(crosses), groups=groups, test_rows=test[shared]
        )

    def to_frame(self) -> Any:
        """Return a row for each pair, the most similar first.

        Returns
        -------
        pandas.DataFrame or list of dict
            The columns are "first" and "second" (rows of the images), "similarity",
            "group" (of `groups_`), "n_splits" (number of splits that the pair crosses),
            and, if they were given, "label_first", "label_second", "group_first" and
            "group_second". A list if pandas is not installed.
        """
        n_splits = np.zeros(len(self.pairs), int)
        for one in self.crossing:
            n_splits[one.pairs] += 1
        rows = []
        for place, (a, b) in enumerate(self.pairs.tolist()):
            row = {
                "first": a,
                "second": b,
                "similarity": float(self.similarities[place]),
                "group": int(self.groups_[a]),
                "n_splits": int(n_splits[place]),
            }
            for name, values in (("label", self.y), ("group", self.groups)):
                if values is not None:
                    row[f"{name}_first"] = values[a]
                    row[f"{name}_second"] = values[b]
            rows.append(row)
        return as_table(rows)

    def plot(self, n_pairs: int = 6, ax: Any = None) -> LeakageDisplay:
        """Plot the most similar pairs side by side.

        Parameters
        ----------
        n_pairs : int, default=6
            Number of pairs, at most 10.
        ax : matplotlib.axes.Axes, default=None
            Axes to plot on. If None, create a figure.

        Returns
        -------
        LeakageDisplay
            The display.
        """
        return LeakageDisplay.from_leakage(self, n_pairs=n_pairs, ax=ax)

    def sentences(self) -> list[str]:
        """Return what was found, a sentence each."""
        return [
            *self._about_pairs(),
            *self._about_labels_and_groups(),
            *self._about_splits(),
            *self._about_limits(),
        ]

    def _about_pairs(self) -> list[str]:
        n = len(self.groups_)
        if not len(self.pairs):
            return [f"No near duplicates are among {n} images."]
        numbers = np.unique(self.pairs)
        joined = np.unique(self.groups_[numbers])
        equal = f", {self.n_equal} of equal images," if self.n_equal else ""
        return [
            f"{_count(len(self.pairs), 'near-duplicate pair')}{equal} "
            f"{'join' if len(self.pairs) > 1 else 'joins'} {len(numbers)} of {n} images"
            f" to {_count(len(joined), 'group')}."
        ]

    def _about_labels_and_groups(self) -> list[str]:
        found = []
        for places, what in (
            (self.different_labels, "have different labels"),
            (self.different_groups, "are in different groups"),
        ):
            if len(places):
                a, b = self.pairs[places[0]]
                found.append(
                    f"{len(places)} of these pairs {what}, such as X[{a}] and X[{b}]."
                )
        return found

    def _about_splits(self) -> list[str]:
        if not self.splits:
            return []
        n_splits = len(self.splits)
        if not self.n_leaking_splits:
            which = "near duplicates" if self.groups is None else "groups"
            return [f"No {which} are on both sides of the {n_splits} splits."]
        found = []
        n_by_group = sum(len(one.groups) > 0 for one in self.crossing)
        if n_by_group:
            most = max(len(one.groups) for one in self.crossing)
            found.append(
                f"Groups are on both sides of {n_by_group} of {n_splits} splits, up to "
                f"{most} at once."
            )
        worst = max(
            range(n_splits),
            key=lambda k: len(self.crossing[k].test_rows) / len(self.splits[k][1]),
        )
        n_rows, n_test = len(self.crossing[worst].test_rows), len(self.splits[worst][1])
        if any(len(one.pairs) for one in self.crossing):
            found.append(
                f"Near duplicates are on both sides of {self.n_leaking_splits} of "
                f"{n_splits} splits: of up to {n_rows} of {n_test} test images, one is "
                "in the training part."
            )
        found.append("Split by groups=found.groups_ to keep them together.")
        return found

    def _about_limits(self) -> list[str]:
        found = []
        if len(self.blank):
            found.append(
                f"{_count(len(self.blank), 'image')} of one color "
                f"{'were' if len(self.blank) > 1 else 'was'} not compared, such as "
                f"X[{self.blank[0]}]."
            )
        if not self.enough:
            found.append(
                f"With fewer than {MIN_IMAGES} images, only equal images are found: "
                "give min_similarity= to find others."
            )
        return found

    def __str__(self) -> str:
        return " ".join(self.sentences())

    def __repr__(self) -> str:
        return (
            f"<Leakage: {len(self.pairs)} pairs in {len(self.groups_)} images, "
            f"{self.n_leaking_splits} of {len(self.splits)} splits leak>"
        )

    def _repr_html_(self) -> str:
        items = "".join(f"<li>{html.escape(one)}</li>" for one in self.sentences())
        if not len(self.pairs):
            return f"<ul>{items}</ul>"
        body = "".join(
            f"<tr><td>{a}</td><td>{b}</td><td>{similarity:.3f}</td></tr>"
            for (a, b), similarity in zip(
                self.pairs[:_N_SHOWN].tolist(), self.similarities, strict=False
            )
        )
        head = "<th>first</th><th>second</th><th>similarity</th>"
        return (
            f"<ul>{items}</ul>\n<table><thead><tr>{head}</tr></thead>"
            f"<tbody>{body}</tbody></table>"
        )


def _count(n: int, noun: str) -> str:
    return f"{n} {noun}" if n == 1 else f"{n} {noun}s"


def _check_parameters(flip: Any, expected_false: Any, min_similarity: Any) -> None:
    if flip is not None and (not isinstance(flip, str) or flip not in FLIPS):
        raise ValueError(
            f"flip={flip!r} must be None, 'horizontal', 'vertical' or 'both'."
        )
    if not isinstance(expected_false, int | float) or not 0 < expected_false < np.inf:
        raise ValueError(f"expected_false={expected_false!r} must be a number above 0.")
    if min_similarity is not None and (
        not isinstance(min_similarity, int | float) or not 0 < min_similarity <= 1
    ):
        raise ValueError(
            f"min_similarity={min_similarity!r} must be None, or a correlation above 0 "
            "and at most 1."
        )


def _read(X: Any, image_shape: Any) -> Any:
    """Return images as an array, or as a list if they differ in size."""
    ragged = isinstance(X, list | tuple) or (
        isinstance(X, np.ndarray) and X.dtype.kind == "O"
    )
    if ragged and image_shape is None and not hasattr(X, "columns"):
        shapes = {np.shape(image)[:2] for image in X if hasattr(image, "shape")}
        if len(shapes) > 1:
            return check_images(X)
    return validate_images(BaseEstimator(), X, reset=True, image_shape=image_shape)


def _read_splits(
    cv: Any, n: int, y: np.ndarray | None, groups: np.ndarray | None
) -> list[tuple[np.ndarray, np.ndarray]]:
    if cv is None:
        return []
    counts = isinstance(cv, Integral) and not isinstance(cv, bool)
    if isinstance(cv, str) or not (
        counts or hasattr(cv, "split") or isinstance(cv, Iterable)
    ):
        raise ValueError(
            f"cv={cv!r} must be a number of folds, a splitter, or pairs of training "
            "and test rows."
        )
    classes = y is not None and type_of_target(y) in ("binary", "multiclass")
    splitter = check_cv(cv, y, classifier=classes)
    with warnings.catch_warnings():
        # Whether groups are on both sides is what is checked here.
        warnings.filterwarnings("ignore", "The groups parameter is ignored")
        try:
            found = list(splitter.split(np.zeros((n, 1)), y, groups))
        except TypeError as error:
            if y is not None:
                raise
            raise ValueError(
                f"cv={cv!r} cannot split without classes: give them as y."
            ) from error
    try:
        pairs = [(_rows(train, n), _rows(test, n)) for train, test in found]
    except (TypeError, ValueError, IndexError):
        raise ValueError(
            f"cv must give pairs of training and test rows from 0 to {n - 1}, the "
            "rows of X."
        ) from None
    if not pairs or any(not len(test) for _, test in pairs):
        raise ValueError("cv makes no test part: give at least one test row a split.")
    return pairs


def _rows(rows: Any, n: int) -> np.ndarray:
    """Return numbers of rows. A mask gives those where it is true."""
    return np.arange(n)[np.asarray(rows)]


def _join(
    pairs: np.ndarray, similarities: np.ndarray, equal: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Return the pairs, those of equal images as well, the most similar first."""
    known = set(map(tuple, equal.tolist()))
    other = np.array([pair not in known for pair in map(tuple, pairs.tolist())], bool)
    pairs = np.concatenate([equal, pairs[other]])
    similarities = np.concatenate([np.ones(len(equal)), similarities[other]])
    order = np.argsort(-similarities, kind="stable")
    return pairs[order], np.minimum(similarities[order], 1.0)


def _components(n: int, pairs: np.ndarray, groups: np.ndarray | None) -> np.ndarray:
    """Return the group of each image, numbered by the first image of each."""
    links = [pairs]
    if groups is not None:
        _, first, places = np.unique(groups, return_index=True, return_inverse=True)
        links.append(np.stack([first[places], np.arange(n)], axis=1))
    a, b = np.concatenate(links).T
    graph = coo_array((np.ones(len(a)), (a, b)), shape=(n, n))
    _, found = connected_components(graph, directed=False)
    _, first, places = np.unique(found, return_index=True, return_inverse=True)
    return np.argsort(np.argsort(first))[places]
