"""The splits of a comparison, and stratified parts of their training samples."""

from __future__ import annotations

import warnings
from collections.abc import Iterable
from typing import Any

import numpy as np
from sklearn.model_selection import StratifiedGroupKFold, StratifiedKFold


def make_splits(
    X: Any, y: np.ndarray, groups: Any, cv: Any, n_repeats: int | None, base: int
) -> list[tuple[np.ndarray, np.ndarray]]:
    """Return training and test rows of each split.

    Parameters
    ----------
    X, y, groups : array-like
        As in `compare`.
    cv : int, splitter, or iterable of pairs of rows
        An int makes stratified, shuffled folds.
    n_repeats : int or None
        Number of repetitions of these folds. If None, 2, and 1 for a splitter.
    base : int
        Seed.

    Raises
    ------
    ValueError
        If `cv` is invalid, or splits a group.
    """
    if not isinstance(cv, int | np.integer):
        if n_repeats not in (None, 1):
            raise ValueError(
                f"n_repeats={n_repeats} needs a number of folds: give an int for cv, "
                "or a splitter that repeats."
            )
        if not hasattr(cv, "split") and not isinstance(cv, Iterable):
            raise ValueError(
                f"cv={cv!r} must be a number of folds, a splitter, or pairs of "
                "training and test rows."
            )
        with warnings.catch_warnings():
            # Whether groups are ignored is checked below.
            warnings.filterwarnings("ignore", "The groups parameter is ignored")
            pairs = cv.split(X, y, groups) if hasattr(cv, "split") else cv
            found = [(np.asarray(train), np.asarray(test)) for train, test in pairs]
        for train, test in found:
            if groups is not None and np.intersect1d(groups[train], groups[test]).size:
                raise ValueError(
                    "cv puts samples of a group on both sides of a split: give a "
                    "splitter by groups, or an int."
                )
        return found
    found = []
    for repeat in range(2 if n_repeats is None else n_repeats):
        state = int(np.random.SeedSequence([base, 0, repeat]).generate_state(1)[0] >> 1)
        kind: Any = StratifiedKFold if groups is None else StratifiedGroupKFold
        folds = kind(cv, shuffle=True, random_state=state)
        found.extend(folds.split(np.zeros(len(y)), y, groups))
    return found


def checked_sizes(train_sizes: Any, most: int) -> list[int | None]:
    """Return numbers of training samples in increasing order; None for all.

    Raises
    ------
    ValueError
        If a size is larger than `most`, the smallest training part, or invalid.
    """
    if train_sizes is None:
        return [None]
    sizes: set[int] = set()
    if np.ndim(train_sizes) != 1 or len(train_sizes) == 0:
        raise ValueError(f"train_sizes={train_sizes!r} must be a list of numbers.")
    for size in train_sizes:
        number = size * most if isinstance(size, float | np.floating) else size
        if not 2 <= number <= most:
            raise ValueError(
                f"train_sizes: {size!r} must be a part of at most 1.0, or a number "
                f"from 2 to {most}, the samples of the smallest training part."
            )
        sizes.add(int(number))
    return [*sorted(sizes)]


def _nested_order(
    y: np.ndarray, rows: np.ndarray, groups: Any, seed: list[int]
) -> np.ndarray:
    """Return rows in an order whose beginnings are stratified.

    With groups, whole groups follow each other, and count with their commonest class.
    """
    rng = np.random.default_rng(seed)
    if groups is None:
        return rows[_stratified(y[rows], rng)]
    own = groups[rows]
    names = np.unique(own)
    classes, codes = np.unique(y[rows], return_inverse=True)
    commonest = np.array(
        [np.bincount(codes[own == n], minlength=len(classes)).argmax() for n in names]
    )
    order = names[_stratified(commonest, rng)]
    return np.concatenate([rows[own == name] for name in order])


def _stratified(labels: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Return places in a random order whose beginnings have the classes of the whole.

    One of each class comes first, so that no class is missing.
    """
    ranks = np.empty(len(labels))
    for label in np.unique(labels):
        own = rng.permutation(np.flatnonzero(labels == label))
        ranks[own] = (np.arange(len(own)) + rng.uniform(0, 1, len(own))) / len(own)
        ranks[own[0]] = rng.uniform(-1, 0)
    return np.argsort(ranks, kind="stable")


def _first(order: np.ndarray, size: int, groups: Any) -> np.ndarray:
    if groups is None:
        return order[:size]
    names = groups[order]
    ends = np.flatnonzero(np.r_[names[1:] != names[:-1], True]) + 1
    fitting = ends[ends <= size]
    return order[: fitting[-1] if len(fitting) else ends[0]]


def training_parts(
    splits: list, sizes: list[int | None], y: np.ndarray, groups: Any, base: int
) -> list[list[np.ndarray]]:
    """Return the training rows for each size and each split.

    The smaller ones are parts of the larger ones, and stratified.
    """
    orders = [
        _nested_order(y, train, groups, [base, 1, number])
        for number, (train, _) in enumerate(splits)
    ]
    return [
        [
            train if size is None else np.sort(_first(order, size, groups))
            for order, (train, _) in zip(orders, splits, strict=True)
        ]
        for size in sizes
    ]
