"""Diagnosis of an estimator: controls, training, memory, and what to change."""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterable
from dataclasses import dataclass
from numbers import Integral, Real
from typing import Any

import numpy as np
from scipy import stats
from sklearn.base import BaseEstimator, clone, is_classifier, is_regressor
from sklearn.dummy import DummyClassifier, DummyRegressor
from sklearn.exceptions import ConvergenceWarning
from sklearn.metrics import check_scoring, get_scorer
from sklearn.model_selection import GroupKFold, KFold
from sklearn.pipeline import Pipeline
from sklearn.utils import check_random_state, indexable
from sklearn.utils.parallel import Parallel, delayed
from sklearn.utils.validation import column_or_1d

from sklstm._compat import safe_split
from sklstm.estimators._auto import choose, is_auto
from sklstm.estimators._base import KerasEstimator
from sklstm.estimators._labels import check_groups
from sklstm.model_selection._compare import fit_params_of, seeded
from sklstm.model_selection._diagnosis import Diagnosis
from sklstm.model_selection._findings import Finding
from sklstm.model_selection._shuffled_steps import without_order
from sklstm.model_selection._splits import make_splits
from sklstm.model_selection._statistics import corrected_mean
from sklstm.model_selection._training_checks import (
    check_fit,
    check_gradients,
    check_loss,
    check_validation,
)
from sklstm.model_selection._training_display import network_at_end
from sklstm.training._memory import (
    available_memory,
    estimate_memory,
    is_out_of_memory,
)

# With fewer permutations, no rank reaches a p-value of .05.
_FEWEST_FOR_RANKS = 19
_TRIES = 100
_TRAINING_CHECKS = ("loss oscillates", "validation stalls", "gradients", "memory")
_CONTROLS = (
    "majority class",
    "shuffled labels",
    "shuffled steps",
    "under- or overfitting",
)


def diagnose(
    estimator: Any,
    X: Any,
    y: Any,
    *,
    groups: Any = None,
    cv: Any = 5,
    scoring: Any = None,
    n_permutations: int = 5,
    random_state: Any = None,
    n_jobs: int | None = None,
) -> Diagnosis:
    """Check whether an estimator learns, how it trains, and what to change.

    It trains clones of the estimator, and never the estimator itself. The checks are:

    - "majority class": is it better than the most frequent class, or the mean target?
    - "shuffled labels": is it better than the same estimator on shuffled labels [1]_?
    - "shuffled steps": is it better than the same network on samples whose steps are
      shuffled, each in its own order? If not, the order tells nothing, and an LSTM has
      no advantage over pooling. Networks that read images get shuffled blocks instead.
    - "under- or overfitting": its scores on training samples and on others;
    - "loss oscillates", "validation stalls" and "gradients": the training of one
      network, from epoch to epoch;
    - "memory": an estimate of what training takes, and what halves it.

    Intervals and tests over several splits are corrected for shared training samples
    [2]_. With one split, a sign test over its test samples compares two estimators.

    Parameters
    ----------
    estimator : classifier or regressor
        What to diagnose: an estimator, or a Pipeline that ends in one. Without a
        network, the checks of training and memory do not apply.
    X : array-like
        Images or other samples, as the estimator takes them.
    y : array-like of shape (n,)
        Classes, or numbers for a regressor.
    groups : array-like of shape (n,), default=None
        Groups of the samples, such as patients. No group is on both sides of a split.
        Labels are shuffled between whole groups.
    cv : int, float or splitter, default=5
        Number of folds; or a float in (0, 0.5], the part of the samples that is held
        out once; or a splitter.
    scoring : str or callable, default=None
        Score, larger is better. If None, the method ``score`` of the estimator.
    n_permutations : int, default=5
        Number of times that the labels are shuffled. Each takes a fit on each split.
        From 19 on, the p-value is that of the rank among them. With fewer, no rank can
        be significant, and a t-test compares the score with theirs. With 0, there is
        no such check. 2 is the smallest other number.
    random_state : int, RandomState instance or None, default=None
        Seed of the splits, of the shuffling and of all fits.
    n_jobs : int, default=None
        Number of processes, see `joblib.Parallel`.

    Returns
    -------
    Diagnosis
        Its attribute ``findings`` has a verdict and a sentence of advice for each
        check. It has ``to_frame`` and ``plot``.

    Raises
    ------
    TypeError
        If the estimator is neither a classifier nor a regressor.
    ValueError
        If a parameter, X or y cannot be used.

    See Also
    --------
    compare : Compare classifiers with each other and with controls.
    sklstm.inspection.TrainingDisplay : Plot the training of a fitted estimator.

    References
    ----------
    .. [1] M. Ojala and G. C. Garriga, "Permutation tests for studying classifier
       performance", Journal of Machine Learning Research 11, 2010.
    .. [2] C. Nadeau and Y. Bengio, "Inference for the generalization error", Machine
       Learning 52, 2003.

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> from sklearn.naive_bayes import GaussianNB
    >>> from sklstm.model_selection import diagnose
    >>> X, y = load_digits(n_class=3, return_X_y=True)
    >>> found = diagnose(GaussianNB(), X, y, random_state=0)
    >>> found["shuffled labels"].verdict
    'good'
    >>> found["memory"].verdict
    'not checked'
    """
    if not isinstance(estimator, BaseEstimator) or not (
        is_classifier(estimator) or is_regressor(estimator)
    ):
        raise TypeError(
            f"estimator must be a classifier or a regressor; got {estimator!r}. "
            "TrainingDisplay plots the training of an LSTMDefectDetector."
        )
    good_count = isinstance(n_permutations, Integral) and n_permutations >= 0
    if not good_count or n_permutations == 1:
        raise ValueError(
            f"n_permutations={n_permutations!r} must be 0, or a whole number of at "
            "least 2."
        )
    X, y, groups = indexable(list(X) if isinstance(X, tuple) else X, y, groups)
    y = column_or_1d(y)
    if groups is not None:
        groups = check_groups(groups, len(y))
    if isinstance(scoring, str):
        get_scorer(scoring)  # raises if it is unknown
    base = int(check_random_state(random_state).randint(2**31 - 1))
    if not isinstance(cv, Real) and not hasattr(cv, "split"):
        cv = list(cv) if isinstance(cv, Iterable) else cv  # it is read several times
    splits = _splits(estimator, X, y, groups, cv, base)
    data = _Data(X, y, groups, scoring)
    watched = _monitor(estimator, data, splits[0], base)
    if watched.error is not None:
        return _failed(watched, scoring)
    jobs, arms = _jobs(estimator, data, splits, cv, n_permutations, base, watched)
    results = Parallel(n_jobs=n_jobs)(
        delayed(_run)(one, train, test, targets, seed, data)
        for one, train, test, targets, seed in jobs
    )
    return _result(estimator, data, splits, results, arms, watched)


@dataclass
class _Data:
    X: Any
    y: np.ndarray
    groups: Any
    scoring: Any


@dataclass
class _Watched:
    """The monitored fit."""

    network: Any = None
    path: str = ""
    params: dict[str, Any] | None = None
    recipe: dict[str, Any] | None = None
    memory: Any = None
    error: BaseException | None = None


@dataclass
class _Arms:
    """Which results belong to which estimator."""

    own: slice
    baseline: slice
    permuted: list[slice]
    shuffled: slice | None
    ordered: slice | None
    unit: str
    no_permutation: str = ""


def _splits(
    estimator: Any, X: Any, y: np.ndarray, groups: Any, cv: Any, base: int
) -> list[tuple[np.ndarray, np.ndarray]]:
    once = isinstance(cv, Real) and not isinstance(cv, Integral)
    if once:
        if not 0 < cv <= 0.5:
            raise ValueError(
                f"cv={cv!r} must be a part of the samples in (0, 0.5], a number of "
                "folds, or a splitter."
            )
        cv = round(1 / cv)
    if is_regressor(estimator) and isinstance(cv, Integral):
        kind = KFold if groups is None else GroupKFold
        found = kind(cv, shuffle=True, random_state=base % 2**31).split(X, y, groups)
        splits = list(found)
    else:
        n_repeats = 1 if isinstance(cv, Integral) else None
        splits = make_splits(X, y, groups, cv, n_repeats, base)
    return splits[:1] if once else splits


def _monitor(estimator: Any, data: _Data, split: tuple, base: int) -> _Watched:
    """Fit one network on the training part of a split, and watch the test part."""
    model = seeded(clone(estimator), base)
    steps = model.steps if isinstance(model, Pipeline) else [("", model)]
    path, last = steps[-1]
    if not isinstance(last, KerasEstimator):
        return _Watched(network_at_end(last))
    train, test = split
    X_train, y_train = safe_split(model, data.X, data.y, train)
    X_test, y_test = safe_split(model, data.X, data.y, test, train)
    if len(steps) > 1:
        X_train = model[:-1].fit_transform(X_train, y_train)
        X_test = model[:-1].transform(X_test)
    recipe = choose(last, X_train).recipe if is_auto(last) else {}
    last.set_params(**recipe)
    given = last.get_params(deep=False)
    # One network shows how all of them train.
    single = {"n_estimators": 1, "bootstrap": False, "calibration": None}
    last.set_params(**{k: v for k, v in single.items() if k in given})
    how: dict[str, Any] = {}
    if data.groups is not None:
        how["groups"] = data.groups[train]
    # Early stopping must not see the test part, so it holds out its own.
    known = np.isin(y_test, y_train) | is_regressor(last)
    if not last.early_stopping and known.any():
        rows = np.flatnonzero(known)
        how["X_val"], how["y_val"] = np.asarray(X_test)[rows], y_test[rows]
    found = _Watched(last, f"{path}__" if path else "", given, recipe)
    try:
        with warnings.catch_warnings():
            # The check of the gradient tells this.
            warnings.simplefilter("ignore", ConvergenceWarning)
            last.fit(X_train, y_train, **how)
    except Exception as error:
        if not isinstance(error, FloatingPointError) and not is_out_of_memory(error):
            raise
        found.error = error
        return found
    # Here and not above: this loads Keras.
    from sklstm.estimators._samples import check_new_samples
    from sklstm.networks import get_network

    given["takes"] = get_network(given["network"]).takes
    if given["batch_size"] == "auto":
        given["batch_size"] = last.batch_size_
        given["gradient_accumulation_steps"] = last.gradient_accumulation_steps_
    compiled = last._fitted_network.compiled
    x = check_new_samples(last, X_train)
    found.memory = estimate_memory(compiled.model, x, given["batch_size"])
    return found


def _failed(watched: _Watched, scoring: Any) -> Diagnosis:
    """Return the diagnosis of an estimator whose training fails."""
    assert watched.params is not None
    params = watched.params
    if isinstance(watched.error, FloatingPointError):
        check = "gradients"
        new: dict[str, Any] = {
            "learning_rate": float(f"{params['learning_rate'] / 10:.2g}")
        }
        if params["clipvalue"] is None:
            new = {"clipvalue": 1.0, **new}
        told = "The loss became NaN or infinite"
    else:
        check, new = "memory", _halved(params)
        told = "Memory ran out in training"
    what = " and ".join(f"{name}={value!r}" for name, value in new.items())
    advice = f"{told}: set {what or 'units to a half'}."
    problem = Finding(check, "problem", advice, {}, _with_path(new, watched.path))
    findings = [
        problem
        if name == check
        else Finding(name, "not checked", f"Training failed: see {check!r}.")
        for name in (*_CONTROLS, *_TRAINING_CHECKS)
    ]
    none = np.array([])
    return Diagnosis(
        findings, none, none, none, none, none, none, {}, scoring=str(scoring)
    )


def _halved(params: dict[str, Any]) -> dict[str, Any]:
    """Return what halves the activations of a batch, but not what an update sees."""
    size = params["batch_size"]
    if size == "auto":  # it was halved down to one sample
        size = 1
    if size < 2:
        return {"units": params["units"] // 2} if params["units"] > 1 else {}
    steps = params["gradient_accumulation_steps"]
    return {"batch_size": size // 2, "gradient_accumulation_steps": 2 * steps}


def _with_path(params: dict[str, Any], path: str) -> dict[str, Any]:
    return {f"{path}{name}": value for name, value in params.items()}


def _jobs(
    estimator: Any,
    data: _Data,
    splits: list,
    cv: Any,
    n_permutations: int,
    base: int,
    watched: _Watched,
) -> tuple[list, _Arms]:
    """Return the fits, and which of them belong together."""
    jobs: list[tuple] = []

    def add(one: Any, targets: np.ndarray, splits: list = splits) -> slice:
        start = len(jobs)
        for k, (train, test) in enumerate(splits):
            drawn = np.random.SeedSequence([base, 3, k]).generate_state(1)[0]
            jobs.append((one, train, test, targets, int(drawn >> 1)))
        return slice(start, len(jobs))

    dummy: Any = DummyClassifier(strategy="most_frequent")
    if is_regressor(estimator):
        dummy = DummyRegressor()
    own, baseline = add(estimator, data.y), add(dummy, data.y)
    permuted: list[slice] = []
    why = ""
    rng = np.random.default_rng([base, 4])
    for _ in range(n_permutations):
        drawn = _shuffled_targets(estimator, data, cv, rng, base)
        if drawn is None:
            why = "Shuffled labels leave a class out of a training part: raise the "
            why += "number of samples in the rarest class, or lower cv."
            permuted = []
            break
        permuted.append(add(estimator, *drawn))
    shuffled, ordered, unit = without_order(estimator, watched.recipe or {})
    return jobs, _Arms(
        own,
        baseline,
        permuted,
        None if shuffled is None else add(shuffled, data.y),
        None if ordered is None else add(ordered, data.y),
        unit,
        why,
    )


def _shuffled_targets(
    estimator: Any, data: _Data, cv: Any, rng: np.random.Generator, base: int
) -> tuple[np.ndarray, list] | None:
    """Return the targets in another order, and splits that are stratified by them.

    Splits by the true labels would not be: if a class is rare in a training part, it is
    frequent in the test part, so that the scores are below chance. None if a training
    part lacks a class.
    """
    n_classes = len(np.unique(data.y))
    for _ in range(_TRIES):
        targets = _permuted(data.y, data.groups, rng)
        with warnings.catch_warnings():
            # A rare class may have less members in a fold than there are folds.
            warnings.simplefilter("ignore", UserWarning)
            splits = _splits(estimator, data.X, targets, data.groups, cv, base)
        if not is_classifier(estimator) or all(
            len(np.unique(targets[train])) == n_classes for train, _ in splits
        ):
            return targets, splits
    return None


def _permuted(y: np.ndarray, groups: Any, rng: np.random.Generator) -> np.ndarray:
    """Return the targets in another order. Targets of a group stay together.

    If all samples of each group have one target, the groups exchange their targets.
    Otherwise the targets follow each other group by group, in another order of the
    groups.
    """
    if groups is None:
        return rng.permutation(y)
    names, codes = np.unique(groups, return_inverse=True)
    rows = [np.flatnonzero(codes == k) for k in range(len(names))]
    order = rng.permutation(len(names))
    found = y.copy()
    if all(len(np.unique(y[own])) == 1 for own in rows):
        for k, own in enumerate(rows):
            found[own] = y[rows[order[k]][0]]
        return found
    found[np.concatenate(rows)] = y[np.concatenate([rows[k] for k in order])]
    return found


def _run(
    estimator: Any,
    train: np.ndarray,
    test: np.ndarray,
    targets: np.ndarray,
    seed: int,
    data: _Data,
) -> tuple[float, float, np.ndarray]:
    """Return the scores on test and training samples, and how near each prediction is.

    The nearness is whether a class is right, or the negative distance of a number.
    """
    model = seeded(clone(estimator), seed)
    X_train, y_train = safe_split(model, data.X, targets, train)
    X_test, y_test = safe_split(model, data.X, targets, test, train)
    how = fit_params_of(model, None if data.groups is None else data.groups[train])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        model.fit(X_train, y_train, **how)
    scorer = check_scoring(model, data.scoring)
    predicted = np.asarray(model.predict(X_test))
    if is_regressor(model):
        near = -np.abs(predicted - y_test)
    else:
        near = (predicted == y_test).astype(float)
    on_test = float(scorer(model, X_test, y_test))
    return on_test, float(scorer(model, X_train, y_train)), near


def _result(
    estimator: Any,
    data: _Data,
    splits: list,
    results: list,
    arms: _Arms,
    watched: _Watched,
) -> Diagnosis:
    def scores(part: slice | None, column: int = 0) -> np.ndarray:
        found = [] if part is None else results[part]
        return np.array([one[column] for one in found], float)

    def near(part: slice) -> np.ndarray:
        return np.concatenate([one[2] for one in results[part]])

    n_test = float(np.mean([len(test) for _, test in splits]))
    ratio = float(np.mean([len(test) / len(train) for train, test in splits]))
    test = _Test(ratio, 1 / n_test)
    own, base = scores(arms.own), scores(arms.baseline)
    train = scores(arms.own, 1)
    permuted = np.array([scores(part).mean() for part in arms.permuted])
    shuffled = scores(arms.shuffled)
    ordered = own if arms.ordered is None else scores(arms.ordered)
    findings = [
        _against_baseline(own, base, test, near(arms.own), near(arms.baseline)),
        _against_labels(own, permuted, arms.no_permutation, n_test * len(splits)),
    ]
    if arms.shuffled is None:
        why = f"This does not apply: {arms.unit}."
        findings.append(Finding("shuffled steps", "not checked", why))
    else:
        both = near(arms.ordered or arms.own), near(arms.shuffled)
        findings.append(_against_steps(ordered, shuffled, test, *both, arms.unit))
    gap = corrected_mean(train - own, test.ratio, test.resolution)
    low = gap.interval()[0]
    certain = gap.value > 0 if math.isnan(low) else low > 0
    params = watched.params or {}
    learned, scored, chance = (float(part.mean()) for part in (train, own, base))
    best_score = _best_score(data.scoring)
    findings.append(check_fit(learned, scored, chance, best_score, certain, params))
    history: dict[str, list[float]] = {}
    best = None
    if watched.params is not None:
        history, best = watched.network.history_, watched.network.best_epoch_
        findings += [
            check_loss(history, params),
            check_validation(history, params, best),
            check_gradients(history, params),
            _memory_finding(watched.memory, params),
        ]
        findings = [
            Finding(
                one.check,
                one.verdict,
                one.advice,
                one.figures,
                _with_path(one.params, watched.path),
            )
            for one in findings
        ]
    else:
        why = f"This does not apply: a {type(watched.network).__name__} trains by no "
        why += "epochs that could be watched."
        findings += [Finding(name, "not checked", why) for name in _TRAINING_CHECKS]
    name = data.scoring
    if not isinstance(name, str):
        name = "score" if name is None else str(name)
    return Diagnosis(
        findings, own, train, base, permuted, shuffled, ordered, history, best,
        watched.memory, name,
    )  # fmt: skip


@dataclass
class _Test:
    """How much the splits overlap, and the smallest difference of two scores."""

    ratio: float
    resolution: float

    def of(
        self, a: np.ndarray, b: np.ndarray, near_a: np.ndarray, near_b: np.ndarray
    ) -> tuple[float, float, str]:
        """Return by how much a is better than b, the p-value, and words for both.

        The p-value is one-sided. Over several splits, it is that of the corrected
        t-test. With one split, a sign test counts the samples on which one is better.
        """
        mean = corrected_mean(a - b, self.ratio, self.resolution)
        if mean.df >= 1:
            two_sided = mean.p_value()
            p = two_sided / 2 if mean.value > 0 else 1 - two_sided / 2
            low, high = mean.interval()
            words = f"{mean.value:+.3f}, 95 % interval {low:+.3f} to {high:+.3f}"
            return mean.value, p, words
        wins, losses = int((near_a > near_b).sum()), int((near_a < near_b).sum())
        p = 1.0
        if wins + losses:
            p = float(
                stats.binomtest(wins, wins + losses, alternative="greater").pvalue
            )
        return mean.value, p, f"{mean.value:+.3f}, {_p_in_words(p)}"


def _p_in_words(p: float) -> str:
    return "p < 0.001" if p < 0.001 else f"p = {p:.3f}"


def _best_score(scoring: Any) -> float:
    """Return the highest value that a score can have."""
    scorer = get_scorer(scoring) if isinstance(scoring, str) else scoring
    return 0.0 if getattr(scorer, "_sign", 1) < 0 else 1.0


def _against_baseline(
    own: np.ndarray, base: np.ndarray, test: _Test, *near: np.ndarray
) -> Finding:
    difference, p, words = test.of(own, base, *near)
    figures = {
        "score": float(own.mean()),
        "baseline": float(base.mean()),
        "difference": difference,
        "p_value": p,
    }
    seen = f"It scores {own.mean():.3f}, and the baseline {base.mean():.3f} ({words})"
    name = "majority class"
    if p < 0.05:
        return Finding(name, "good", f"{seen}.", figures)
    verdict = "problem" if difference <= 0 else "warning"
    advice = "train on more samples, or see 'under- or overfitting'"
    return Finding(name, verdict, f"{seen}: {advice}.", figures)


def _against_labels(
    own: np.ndarray, permuted: np.ndarray, why: str, n_tested: float
) -> Finding:
    name = "shuffled labels"
    if len(permuted) == 0:
        return Finding(
            name, "not checked", why or "Set n_permutations=5 or more for this check."
        )
    score, n = float(own.mean()), len(permuted)
    mean = float(permuted.mean())
    if n >= _FEWEST_FOR_RANKS:
        p = float((1 + (permuted >= score).sum()) / (1 + n))
    else:
        # A new score of the same distribution, if it is about normal. A mean over
        # few samples has steps, which hide a small spread.
        spread = max(permuted.std(ddof=1), 1 / (n_tested * math.sqrt(12)))
        p = float(stats.t.sf((score - mean) / (spread * math.sqrt(1 + 1 / n)), n - 1))
    figures = {
        "score": score,
        "shuffled_mean": mean,
        "shuffled_max": float(permuted.max()),
        "p_value": p,
        "n_permutations": n,
    }
    seen = (
        f"It scores {score:.3f}, and {mean:.3f} with shuffled labels "
        f"({n} times, {_p_in_words(p)})"
    )
    if p < 0.05:
        return Finding(name, "good", f"{seen}.", figures)
    verdict = "problem" if score <= mean else "warning"
    more = "n_permutations=99 decides" if score > permuted.max() else "train on more"
    advice = more if score > permuted.max() else "train on more samples"
    return Finding(name, verdict, f"{seen}: {advice}.", figures)


def _against_steps(
    ordered: np.ndarray,
    shuffled: np.ndarray,
    test: _Test,
    near_ordered: np.ndarray,
    near_shuffled: np.ndarray,
    unit: str,
) -> Finding:
    difference, p, words = test.of(ordered, shuffled, near_ordered, near_shuffled)
    figures = {
        "ordered": float(ordered.mean()),
        "shuffled": float(shuffled.mean()),
        "difference": difference,
        "p_value": p,
    }
    seen = (
        f"It scores {ordered.mean():.3f}, and {shuffled.mean():.3f} with shuffled "
        f"{unit} ({words})"
    )
    name = "shuffled steps"
    if p < 0.05:
        return Finding(name, "good", f"{seen}: their order matters.", figures)
    advice = "the order is not shown to matter, so try pooling='mean' or another scan"
    if "block" in unit:
        advice = "their places are not shown to matter, so try pooling='mean'"
    return Finding(name, "warning", f"{seen}: {advice}.", figures)


def _memory_finding(memory: Any, params: dict[str, Any]) -> Finding:
    free = available_memory()
    figures = {
        "weights": memory.weights,
        "gradients": memory.gradients,
        "optimizer": memory.optimizer,
        "activations": memory.activations,
        "data": memory.data,
        "total": memory.total,
        "available": free,
    }
    figures["fraction"] = None if not free else memory.total / free
    by_batch = 2 * memory.activations >= memory.total
    new = _halved(params)
    if not by_batch and params["units"] > 1:
        new = {"units": params["units"] // 2}
    what = " and ".join(f"{name}={value!r}" for name, value in new.items())
    part = "the activations of a batch" if by_batch else "the weights"
    seen = f"Training takes about {_in_words(memory.total)}"
    if free:
        seen += f" of {_in_words(free)} that are free"
    halves = f"{what or 'a shorter sequence'} would halve {part}"
    fraction = figures["fraction"] or 0.0
    if fraction < 0.5:
        return Finding("memory", "good", f"{seen}; {halves}.", figures)
    verdict = "problem" if fraction > 1 else "warning"
    return Finding(
        "memory", verdict, f"{seen}: set {what} to halve {part}.", figures, new
    )


def _in_words(n_bytes: float) -> str:
    for unit in ("bytes", "KiB", "MiB"):
        if n_bytes < 1024:
            return f"{n_bytes:.0f} {unit}"
        n_bytes /= 1024
    return f"{n_bytes:.1f} GiB"
