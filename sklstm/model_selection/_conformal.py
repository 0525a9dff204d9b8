"""ConformalClassifier: sets of classes that hold the true one as often as asked."""

from __future__ import annotations

import math
import warnings
from fractions import Fraction
from numbers import Real
from typing import Any

import numpy as np
from sklearn.base import BaseEstimator, ClassifierMixin, MetaEstimatorMixin, clone
from sklearn.frozen import FrozenEstimator
from sklearn.utils import (
    assert_all_finite,
    check_random_state,
    indexable,
)
from sklearn.utils.metaestimators import available_if
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.parallel import Parallel, delayed
from sklearn.utils.validation import check_is_fitted, column_or_1d

from sklstm._compat import safe_split
from sklstm.estimators._labels import check_groups
from sklstm.model_selection._compare import fit_params_of
from sklstm.model_selection._splits import make_splits

METHODS = ("threshold", "adaptive")


def _estimator_has(name: str) -> Any:
    def check(self: ConformalClassifier) -> bool:
        getattr(self.estimator, name)
        return True

    return check


class ConformalClassifier(ClassifierMixin, MetaEstimatorMixin, BaseEstimator):
    """Classifier that predicts a set of classes for each sample.

    With ``confidence=0.9``, the sets of nine of ten new samples hold the true class. A
    set has several classes where the classifier is not sure. This needs no trust in the
    probabilities: the sets are as large as the errors on held-out samples ask for. It
    needs samples that are exchangeable, such as independent draws from one source.

    Each clone of `estimator` is fitted on the training part of a split, and its scores
    are calibrated on the rest. With several folds, each sample is held out once, and
    the sets combine all clones (CV+ [1]_ [2]_). They hold the true class with a
    probability of usually about `confidence`. What is proved for random folds of n
    samples is at least ``2 * confidence - 1 - sqrt(2 / n)``. With a single random
    split, such as ``ShuffleSplit(1)``, or with ``cv="prefit"``, at least `confidence`
    is proved. Stratified splits are not quite random; with ``by_class=True`` they are
    within each class. All this is on average over training sets and new samples, not
    for each kind of sample.

    Parameters
    ----------
    estimator : classifier
        A classifier with ``predict_proba``, or a Pipeline that ends in one.
    confidence : float, default=0.9
        Part of the sets that hold the true class, between 0 and 1.
    method : {"threshold", "adaptive"}, default="threshold"
        "threshold" takes all classes whose probability is high enough [3]_. Its sets
        are the smallest on average. A set may be empty: then no class is probable
        enough. This is common if `confidence` is below the accuracy. "adaptive" adds
        classes from the most probable one on until their sum is high enough, the last
        one at random [1]_. Its sets differ more in size between easy and difficult
        samples.
    cv : int, splitter, iterable or "prefit", default=5
        Folds that are held out. An int makes stratified, shuffled folds, which keep
        `groups` together. No sample may be held out twice. With "prefit", `estimator`
        is fitted already, and all samples calibrate it: they must be others than those
        of its training.
    by_class : bool, default=False
        If True, calibrate each class by its own samples. The sets then hold the true
        class as often for rare classes as for others, and are larger.
    n_jobs : int, default=None
        Number of fits that run at the same time, see `joblib.Parallel`.
    random_state : int, RandomState instance or None, default=None
        Seed of the folds and of ``method="adaptive"``.

    Attributes
    ----------
    classes_ : ndarray of shape (n_classes,)
        Labels of the classes.
    estimators_ : list of estimators
        The fitted clone of each split.
    scores_ : list of ndarray
        Scores of the samples that each split holds out. The lower, the better the true
        class fits.
    codes_ : list of ndarray of int
        Places in `classes_` of their true classes.

    See Also
    --------
    sklearn.calibration.CalibratedClassifierCV : Calibrate probabilities.
    sklstm.metrics.set_coverage : Part of the sets that hold the true class.
    sklstm.metrics.mean_set_size : Mean number of classes in a set.

    References
    ----------
    .. [1] Y. Romano, M. Sesia and E. Candes, "Classification with valid and adaptive
       coverage", NeurIPS 2020.
    .. [2] R. F. Barber et al., "Predictive inference with the jackknife+", The Annals
       of Statistics 49(1), 2021.
    .. [3] M. Sadinle, J. Lei and L. Wasserman, "Least ambiguous set-valued classifiers
       with bounded error levels", Journal of the American Statistical Association
       114(525), 2019.

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> from sklearn.linear_model import LogisticRegression
    >>> from sklearn.model_selection import train_test_split
    >>> from sklstm.metrics import mean_set_size, set_coverage
    >>> from sklstm.model_selection import ConformalClassifier
    >>> X, X_test, y, y_test = train_test_split(
    ...     *load_digits(return_X_y=True), train_size=500, random_state=0
    ... )
    >>> model = ConformalClassifier(
    ...     LogisticRegression(C=1e-4, max_iter=500), confidence=0.95, random_state=0
    ... ).fit(X, y)
    >>> sets = model.predict_set(X_test)
    >>> sets.shape
    (1297, 10)
    >>> round(set_coverage(y_test, sets, classes=model.classes_), 2)
    0.95
    >>> round(mean_set_size(sets), 1)
    1.6
    """

    def __init__(
        self,
        estimator: Any,
        *,
        confidence: float = 0.9,
        method: str = "threshold",
        cv: Any = 5,
        by_class: bool = False,
        n_jobs: int | None = None,
        random_state: Any = None,
    ) -> None:
        self.estimator = estimator
        self.confidence = confidence
        self.method = method
        self.cv = cv
        self.by_class = by_class
        self.n_jobs = n_jobs
        self.random_state = random_state

    def fit(self, X: Any, y: Any, groups: Any = None) -> ConformalClassifier:
        """Fit a clone on each split, and calibrate it on what the split holds out.

        Parameters
        ----------
        X : array-like of shape (n_samples, ...)
            Samples of any shape, or a list of images, as `estimator` takes them.
        y : array-like of shape (n_samples,)
            Labels.
        groups : array-like of shape (n_samples,), default=None
            Groups of the samples, such as patients, which stay together in the folds.
            Fits that take ``groups`` are given those of their samples. The samples of a
            group are not exchangeable with those of others, so that the coverage is
            less certain than the number of samples suggests.

        Returns
        -------
        self : ConformalClassifier
            The fitted estimator.

        Raises
        ------
        ValueError
            If a parameter or the data cannot be used.

        Warns
        -----
        UserWarning
            If so few samples are held out that every set holds all classes.
        """
        _check_confidence(self.confidence)
        if self.method not in METHODS:
            raise ValueError(
                f"method={self.method!r} must be 'threshold' or 'adaptive'."
            )
        X, y, groups = indexable(list(X) if isinstance(X, tuple) else X, y, groups)
        y = column_or_1d(y, warn=True)
        if y.dtype.kind == "f":
            assert_all_finite(y, input_name="y")
        check_classification_targets(y)
        if groups is not None:
            groups = check_groups(groups, len(y))
        classes, codes = np.unique(y, return_inverse=True)
        if len(classes) < 2:
            raise ValueError(f"y holds one class only, {classes.tolist()}: give two.")
        seed = check_random_state(self.random_state).randint(np.iinfo(np.int32).max)
        estimator = self.estimator
        if isinstance(self.cv, str):
            if self.cv != "prefit":
                raise ValueError(
                    f"cv={self.cv!r} must be a number of folds, a splitter, pairs of "
                    "training and test rows, or 'prefit'."
                )
            check_is_fitted(estimator)
            unknown = np.setdiff1d(classes, estimator.classes_)
            if len(unknown):
                raise ValueError(
                    f"y holds {unknown.tolist()}, which the fitted estimator does not "
                    "know: give samples of its classes."
                )
            classes = estimator.classes_
            codes = np.searchsorted(classes, y)
            estimator = FrozenEstimator(estimator)
            splits = [(np.arange(0), np.arange(len(y)))]
        else:
            repeats = None if _own(self.cv) else 1
            splits = make_splits(X, y, groups, self.cv, repeats, seed)
        held_out = np.concatenate([test for _, test in splits])
        if len(np.unique(held_out)) < len(held_out):
            raise ValueError(
                f"cv={self.cv!r} holds a sample out in several splits: give a splitter "
                "that does so once, such as StratifiedKFold."
            )
        rng = np.random.default_rng([seed, 0])
        draws = [rng.uniform(size=len(test)) for _, test in splits]
        results = Parallel(n_jobs=self.n_jobs)(
            delayed(_fit_and_score)(
                clone(estimator), X, y, groups, split, classes, self.method, u
            )
            for split, u in zip(splits, draws, strict=True)
        )
        self.estimators_ = [model for model, _ in results]
        self.scores_ = [
            scores[np.arange(len(test)), codes[test]]
            for (_, scores), (_, test) in zip(results, splits, strict=True)
        ]
        self.codes_ = [codes[test] for _, test in splits]
        self.classes_ = classes
        self._seed = seed
        first = self.estimators_[0]
        for name in ("n_features_in_", "feature_names_in_"):
            if hasattr(first, name):
                setattr(self, name, getattr(first, name))
        self._warn_if_few(codes[held_out])
        return self

    def predict_set(self, X: Any, confidence: float | None = None) -> np.ndarray:
        """Predict the set of classes of each sample.

        Parameters
        ----------
        X : array-like of shape (n_samples, ...)
            Samples, as in `fit`.
        confidence : float, default=None
            Part of the sets that hold the true class. If None, use the parameter. The
            estimator need not be fitted again for another one.

        Returns
        -------
        ndarray of shape (n_samples, n_classes), bool
            True for the classes in the set, in the order of `classes_`.

        Raises
        ------
        ValueError
            If `confidence` is not between 0 and 1.
        """
        check_is_fitted(self)
        if confidence is None:
            confidence = self.confidence
        _check_confidence(confidence)
        probabilities = self._probabilities(X)
        n_samples, n_classes = probabilities[0].shape
        # One number for each sample, the same for all clones.
        rng = np.random.default_rng([self._seed, 1])
        u = rng.uniform(size=(n_samples,))
        below = np.zeros((n_samples, n_classes), int)
        n_calibration = np.zeros(n_classes, int)
        for p, scores, codes in zip(
            probabilities, self.scores_, self.codes_, strict=True
        ):
            own = _scores(p, self.method, u)
            for k in range(n_classes):
                used = np.sort(scores[codes == k] if self.by_class else scores)
                # The number of held-out samples that fit better than class k does.
                below[:, k] += np.searchsorted(used, own[:, k], side="left")
                n_calibration[k] += len(used)
        ranks = np.array([_rank(confidence, n) for n in n_calibration])
        return below < ranks

    def predict(self, X: Any) -> np.ndarray:
        """Predict the most probable class of each sample.

        Parameters
        ----------
        X : array-like of shape (n_samples, ...)
            Samples, as in `fit`.

        Returns
        -------
        ndarray of shape (n_samples,)
            Labels. A label need not be in the set of its sample.
        """
        check_is_fitted(self)
        return self.classes_[self.predict_proba(X).argmax(axis=1)]

    @available_if(_estimator_has("predict_proba"))
    def predict_proba(self, X: Any) -> np.ndarray:
        """Predict probabilities, the mean of all clones.

        Parameters
        ----------
        X : array-like of shape (n_samples, ...)
            Samples, as in `fit`.

        Returns
        -------
        ndarray of shape (n_samples, n_classes)
            Probabilities, in the order of `classes_`. They are not calibrated.
        """
        check_is_fitted(self)
        return np.mean(self._probabilities(X), axis=0)

    def _probabilities(self, X: Any) -> list[np.ndarray]:
        return [_all_classes(model, X, self.classes_) for model in self.estimators_]

    def _warn_if_few(self, codes: np.ndarray) -> None:
        """Warn if too few samples are held out for a set to leave a class out."""
        counts = np.bincount(codes, minlength=len(self.classes_))
        n = int(counts.min() if self.by_class else counts.sum())
        if _rank(self.confidence, n) <= n:
            return
        least = math.ceil(_exact(self.confidence) / (1 - _exact(self.confidence)))
        whose = ""
        if self.by_class:
            whose = f" of the class {self.classes_.tolist()[counts.argmin()]!r}"
        warnings.warn(
            f"{n} samples{whose} are held out, and confidence={self.confidence} needs "
            f"{least}: sets cannot leave {'this class' if whose else 'a class'} out. "
            "Give more samples or a lower confidence.",
            stacklevel=3,
        )

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        inner = getattr(self.estimator, "__sklearn_tags__", None)
        if inner is not None:
            tags.input_tags = inner().input_tags
        return tags


def _own(cv: Any) -> bool:
    return not isinstance(cv, int | np.integer)


def _check_confidence(confidence: Any) -> None:
    real = isinstance(confidence, Real) and not isinstance(confidence, bool)
    if not (real and 0 < confidence < 1):
        raise ValueError(
            f"confidence={confidence!r} must be a number between 0 and 1, such as 0.9."
        )


def _exact(confidence: float) -> Fraction:
    # 0.9 stands for nine of ten, and not for the nearest binary number.
    return Fraction(repr(float(confidence)))


def _rank(confidence: float, n: int) -> int:
    """Return k: a class is in the set if fewer than k of n samples fit better."""
    return math.ceil(_exact(confidence) * (n + 1))


def _fit_and_score(
    model: Any,
    X: Any,
    y: np.ndarray,
    groups: Any,
    split: tuple[np.ndarray, np.ndarray],
    classes: np.ndarray,
    method: str,
    u: np.ndarray,
) -> tuple[Any, np.ndarray]:
    """Return the fitted model, and the scores of the samples that were held out."""
    train, test = split
    params = fit_params_of(model, None if groups is None else groups[train])
    model.fit(*safe_split(model, X, y, train), **params)
    X_test, _ = safe_split(model, X, y, test, train)
    held_out = _all_classes(model, X_test, classes)
    return model, _scores(held_out, method, u)


def _all_classes(model: Any, X: Any, classes: np.ndarray) -> np.ndarray:
    """Return probabilities of all classes; 0 for those that a model did not see."""
    found = np.asarray(model.predict_proba(X), float)
    if np.array_equal(model.classes_, classes):
        return found
    p = np.zeros((len(found), len(classes)))
    p[:, np.searchsorted(classes, model.classes_)] = found
    return p


def _scores(p: np.ndarray, method: str, u: np.ndarray) -> np.ndarray:
    """Return how badly each class fits each sample, from 0 to 1."""
    if method == "threshold":
        return 1 - p
    order = np.argsort(-p, axis=1, kind="stable")
    ranked = np.take_along_axis(p, order, axis=1)
    # The classes before it, and a random part of its own probability.
    ranked = np.cumsum(ranked, axis=1) - ranked + u[:, None] * ranked
    scores = np.empty_like(p)
    np.put_along_axis(scores, order, ranked, axis=1)
    return scores
