"""Comparison of estimators on the same repeated, stratified, grouped folds."""

from __future__ import annotations

import copy
import time
import warnings
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import sklearn
from sklearn.base import BaseEstimator, clone, is_classifier
from sklearn.exceptions import FitFailedWarning
from sklearn.metrics import check_scoring, get_scorer
from sklearn.model_selection import (
    GroupKFold,
    GroupShuffleSplit,
    LeaveOneGroupOut,
    LeavePGroupsOut,
    StratifiedGroupKFold,
)
from sklearn.pipeline import Pipeline
from sklearn.utils import check_random_state, indexable
from sklearn.utils.metadata_routing import get_routing_for_object
from sklearn.utils.parallel import Parallel, delayed
from sklearn.utils.validation import column_or_1d, has_fit_parameter

from sklstm._compat import BaseSearchCV, safe_split
from sklstm.estimators._labels import check_groups
from sklstm.images._validate import is_count
from sklstm.model_selection._comparison import Comparison
from sklstm.model_selection._controls import InnerFolds, default_controls
from sklstm.model_selection._score_file import ScoreFile
from sklstm.model_selection._splits import checked_sizes, make_splits, training_parts

_BY_GROUP = (
    GroupKFold,
    GroupShuffleSplit,
    InnerFolds,
    LeaveOneGroupOut,
    LeavePGroupsOut,
    StratifiedGroupKFold,
)


def compare(
    estimators: Any,
    X: Any,
    y: Any,
    *,
    groups: Any = None,
    train_sizes: Any = None,
    cv: Any = 5,
    n_repeats: int | None = None,
    n_seeds: int = 1,
    scoring: Any = None,
    controls: Any = "default",
    rope: float = 0.01,
    n_jobs: int | None = None,
    random_state: Any = None,
    store: Any = None,
    verbose: int = 0,
) -> Comparison:
    """Compare classifiers on the same folds, and tell which differences are real.

    Each classifier is trained and scored on the same splits of a repeated
    cross-validation. The folds share training samples, so intervals and tests use the
    corrected variance of Nadeau and Bengio [1]_. Pairs are tested with Holm's
    correction for their number, and a Bayesian test gives the probability that two
    classifiers are practically equivalent [2]_.

    Parameters
    ----------
    estimators : dict of str to classifier, list of classifiers, or classifier
        What to compare. They are cloned.
    X : array-like
        Images or other samples, as the classifiers take them.
    y : array-like of shape (n,)
        Classes.
    groups : array-like of shape (n,), default=None
        Groups of the samples, such as patients. No group is on both sides of a split.
        Fits that take ``groups`` are given those of their samples, and so are searches
        whose `cv` is a splitter by groups.
    train_sizes : list of int or float, default=None
        Numbers of training samples, or parts of the training samples of a split. Each
        classifier is trained on stratified, nested parts of this size. If None, on all.
    cv : int or splitter, default=5
        Number of folds, which are stratified and shuffled, or a splitter.
    n_repeats : int, default=None
        Number of repetitions with other folds. If None, 2, and 1 for a splitter.
    n_seeds : int, default=1
        Number of fits with other seeds on each split. With several, the variance of the
        seeds is reported apart from that of the splits.
    scoring : str or callable, default=None
        Score, larger is better. If None, the accuracy, for searches as well.
    controls : "default", dict of str to classifier, or None, default="default"
        Classifiers to beat. "default" are the majority class, a logistic regression on
        pixels, an SVC on pixels with C and gamma tuned inside each fold, and a CNN that
        is trained as the first network is, with as many weights if that is "cnn_lstm".
    rope : float, default=0.01
        Region of practical equivalence. Scores that differ by no more are equivalent.
    n_jobs : int, default=None
        Number of processes, see `joblib.Parallel`.
    random_state : int, RandomState instance or None, default=None
        Seed of the folds and of all classifiers. It replaces each ``random_state``
        inside them and that of splitters, so that a fit does not depend on others.
    store : str or path, default=None
        File to which each score is written as soon as it is there. A comparison that is
        run again reads the scores of the fits that it has done. It needs an int as
        `random_state`.
    verbose : int, default=0
        If 1, print a line for each fit.

    Returns
    -------
    Comparison
        Its methods ``table``, ``pairs`` and ``verdicts`` tell the result.

    Raises
    ------
    ValueError
        If a parameter is invalid, if `cv` splits a group, or if all fits of a
        classifier fail. If some fail, a warning tells the first error, and their scores
        are NaN.

    References
    ----------
    .. [1] C. Nadeau and Y. Bengio, "Inference for the generalization error", Machine
       Learning 52, 2003.
    .. [2] A. Benavoli, G. Corani, J. Demsar and M. Zaffalon, "Time for a change: a
       tutorial for comparing multiple classifiers through Bayesian analysis", Journal
       of Machine Learning Research 18, 2017.

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> from sklearn.naive_bayes import GaussianNB
    >>> from sklearn.neighbors import KNeighborsClassifier
    >>> from sklstm.model_selection import compare
    >>> X, y = load_digits(n_class=4, return_X_y=True)
    >>> found = compare(
    ...     {"neighbours": KNeighborsClassifier(), "Bayes": GaussianNB()},
    ...     X, y, controls=None, random_state=0,
    ... )
    >>> found.verdicts()[0].split(" by ")[0]
    'neighbours is better than Bayes'
    """
    named = _named(estimators, "estimators")
    n_own = len(named)
    _check_numbers(n_repeats, n_seeds, rope)
    scoring = _checked_scoring(scoring)
    if store is not None and not isinstance(random_state, int | np.integer):
        raise ValueError(
            "store= finds fits again by their seeds: give an int as random_state."
        )
    X, y, groups = indexable(list(X) if isinstance(X, tuple) else X, y, groups)
    y = column_or_1d(y)
    if groups is not None:
        groups = check_groups(groups, len(y))
    base = int(check_random_state(random_state).randint(2**31 - 1))
    splits = make_splits(X, y, groups, cv, n_repeats, base)
    sizes = checked_sizes(train_sizes, min(len(train) for train, _ in splits))
    named.update(_controls(controls, named, X, groups is not None, scoring))
    parts = training_parts(splits, sizes, y, groups, base)
    # The controls first: they are quick, and show what is wrong with the data.
    places = {name: place for place, name in enumerate(named)}
    jobs = [
        _Job(
            (places[name], j, k, seed),
            name,
            parts[j][k],
            splits[k][1],
            _seed_of(base, k, seed),
        )
        for name in [*list(named)[n_own:], *list(named)[:n_own]]
        for j in range(len(sizes))
        for k in range(len(splits))
        for seed in range(n_seeds)
    ]
    scores = np.full((len(named), len(sizes), len(splits), n_seeds), np.nan)
    seconds = scores.copy()
    kept = None if store is None else ScoreFile(store, named, X, y, groups, scoring)
    todo = []
    for job in jobs:
        found = None if kept is None else kept.get(job)
        if found is None:
            todo.append(job)
        else:
            scores[job.place], seconds[job.place] = found
    data = X, y, groups, scoring
    results = Parallel(n_jobs=n_jobs, return_as="generator_unordered")(
        delayed(_fit_and_score)(job, named[job.name], *data) for job in todo
    )
    failed: dict[str, list[str]] = {}
    for number, (job, score, duration, error) in enumerate(results, 1):
        scores[job.place], seconds[job.place] = score, duration
        if error is not None:
            failed.setdefault(job.name, []).append(f"{job}: {error}")
        elif kept is not None:
            kept.put(job, score, duration)
        if verbose:
            print(f"{number}/{len(todo)}  {job}: {score:.3f} ({duration:.1f} s)")
    _tell_failures(failed, n_each=scores[0].size)
    n_test = np.array([len(test) for _, test in splits])
    # The whole training parts tell how much the splits overlap, at each size.
    n_whole = np.array([len(train) for train, _ in splits])
    return Comparison(
        names=list(named),
        n_controls=len(named) - n_own,
        train_sizes=np.array(
            [round(np.mean([len(part) for part in of_size])) for of_size in parts]
        ),
        scores=scores,
        fit_seconds=seconds,
        ratio=float((n_test / n_whole).mean()),
        resolution=float(1 / n_test.mean()),
        scoring=scoring if isinstance(scoring, str) else str(scoring),
        rope=float(rope),
    )


@dataclass(frozen=True)
class _Job:
    """One fit: its place among the scores, its samples and its seed."""

    place: tuple[int, int, int, int]
    name: str
    train: np.ndarray
    test: np.ndarray
    seed: int

    def __str__(self) -> str:
        _, _, split, number = self.place
        return (
            f"{self.name}, {len(self.train)} training samples, split {split}, seed "
            f"{number}"
        )


def _check_numbers(n_repeats: Any, n_seeds: Any, rope: Any) -> None:
    repeats = 1 if n_repeats is None else n_repeats
    for name, value in (("n_repeats", repeats), ("n_seeds", n_seeds)):
        if not is_count(value):
            raise ValueError(
                f"{name} must be a whole number of at least 1; got {value!r}."
            )
    if not rope >= 0:
        raise ValueError(f"rope must be a number of at least 0; got {rope!r}.")


def _checked_scoring(scoring: Any) -> Any:
    """Return a scorer, or the name of one."""
    if scoring is None:
        return "accuracy"  # a search without a scorer would use its own
    if isinstance(scoring, str):
        get_scorer(scoring)  # raises if it is unknown
    elif not callable(scoring):
        raise ValueError(
            f"scoring must be the name of one score or a scorer; got {scoring!r}."
        )
    return scoring


def _tell_failures(failed: dict[str, list[str]], n_each: int) -> None:
    for name, messages in failed.items():
        text = f"{len(messages)} of {n_each} fits of {name} failed. {messages[0]}"
        if len(messages) == n_each:
            raise ValueError(text)
        warnings.warn(text, FitFailedWarning, stacklevel=3)


def _controls(
    controls: Any, named: dict[str, Any], X: Any, has_groups: bool, scoring: Any
) -> dict[str, Any]:
    """Return the controls by name."""
    if controls is None:
        return {}
    if isinstance(controls, str):
        if controls != "default":
            raise ValueError(
                f"controls={controls!r} must be 'default', a dict or None."
            )
        return default_controls(named, X, has_groups, scoring)
    found = _named(controls, "controls")
    both = sorted(named.keys() & found.keys())
    if both:
        raise ValueError(f"controls and estimators share the name {both[0]!r}.")
    return found


def _seed_of(base: int, split: int, number: int) -> int:
    """Return the seed of a fit. All classifiers have the same on a split."""
    drawn = np.random.SeedSequence([base, 2, split, number]).generate_state(1)[0]
    return int(drawn >> 1)


def _named(estimators: Any, what: str) -> dict[str, Any]:
    """Return classifiers by name."""
    if isinstance(estimators, BaseEstimator):
        estimators = [estimators]
    if isinstance(estimators, Mapping):
        named = dict(estimators)
    elif isinstance(estimators, Iterable) and not isinstance(estimators, str):
        named = {}
        for one in estimators:
            kind = type(one.steps[-1][1] if isinstance(one, Pipeline) else one).__name__
            number = 1 + sum(name.split(" ")[0] == kind for name in named)
            named[kind if number == 1 else f"{kind} {number}"] = one
    else:
        raise ValueError(f"{what} must be classifiers by name, or a list of them.")
    if not named:
        raise ValueError(f"{what} is empty.")
    for name, one in named.items():
        if not isinstance(one, BaseEstimator) or not is_classifier(one):
            raise ValueError(f"{what}: {name!r} is no classifier, but {one!r}.")
    return named


def _fit_and_score(
    job: _Job, estimator: Any, X: Any, y: np.ndarray, groups: Any, scoring: Any
) -> tuple[_Job, float, float, str | None]:
    """Train a clone on one part of the data and score it on another.

    A fit that fails scores NaN, and its error is told, so that no other fit is lost.
    """
    model = seeded(clone(estimator), job.seed)
    fit_params = fit_params_of(model, None if groups is None else groups[job.train])
    start = time.perf_counter()
    try:
        model.fit(*safe_split(model, X, y, job.train), **fit_params)
        seconds = time.perf_counter() - start
        scorer = check_scoring(model, scoring)
        score = float(scorer(model, *safe_split(model, X, y, job.test, job.train)))
    except Exception as error:
        return (
            job,
            np.nan,
            time.perf_counter() - start,
            f"{type(error).__name__}: {error}",
        )
    return job, score, seconds, None if np.isfinite(score) else f"it scores {score}"


def seeded(estimator: Any, seed: int) -> Any:
    """Set each `random_state` of an estimator, of its parts and of its splitters."""
    new: dict[str, Any] = {}
    for name, value in estimator.get_params(deep=True).items():
        if name == "random_state" or name.endswith("__random_state"):
            new[name] = seed
        elif hasattr(value, "split") and getattr(value, "random_state", 0) is None:
            new[name] = copy.copy(value)
            if getattr(value, "shuffle", True):
                new[name].random_state = seed
    return estimator.set_params(**new)


def fit_params_of(estimator: Any, groups: Any) -> dict[str, Any]:
    """Return the groups as the fit of an estimator takes them, if it does."""
    if groups is None:
        return {}
    if sklearn.get_config()["enable_metadata_routing"]:
        routing = get_routing_for_object(estimator)
        return {"groups": groups} if routing.consumes("fit", ["groups"]) else {}
    if isinstance(estimator, BaseSearchCV):
        # Folds by class warn of groups.
        return {"groups": groups} if isinstance(estimator.cv, _BY_GROUP) else {}
    if has_fit_parameter(estimator, "groups"):
        return {"groups": groups}
    if isinstance(estimator, Pipeline):
        name, last = estimator.steps[-1]
        return {f"{name}__{k}": v for k, v in fit_params_of(last, groups).items()}
    return {}
