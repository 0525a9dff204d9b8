"""Classifiers that a network has to beat."""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn.base import BaseEstimator, clone
from sklearn.dummy import DummyClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import get_scorer
from sklearn.model_selection import (
    GridSearchCV,
    StratifiedGroupKFold,
    StratifiedKFold,
)
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler
from sklearn.svm import SVC

from sklstm.estimators import LSTMImageClassifier
from sklstm.estimators._auto import choose, is_auto

_N_INNER_FOLDS = 3
# What a CNN takes over from a network that has no CNN of its own size.
_SHARED = (
    "augmentation",
    "batch_size",
    "epochs",
    "early_stopping",
    "patience",
    "validation_fraction",
    "class_weight",
    "ordinal",
    "n_estimators",
)
_SVC_GRID = {"svc__C": [1.0, 10.0, 100.0], "svc__gamma": [0.25, 1.0, 4.0]}


def default_controls(
    estimators: dict[str, Any], X: Any, has_groups: bool, scoring: Any = "accuracy"
) -> dict[str, Any]:
    """Return the controls of a comparison by name.

    Parameters
    ----------
    estimators : dict of str to estimator
        What is compared. The first network among them says what the CNN is matched to.
    X : array-like
        Images, volumes or sequences.
    has_groups : bool
        Whether the inner folds of the SVC keep groups together.
    scoring : str or callable
        What the inner folds choose by.

    Returns
    -------
    dict of str to estimator
        "majority class"; "logistic regression" on pixels; "tuned SVC" on pixels, whose
        C and gamma are chosen in inner folds, unless the score needs probabilities,
        which it does not give; and "matched CNN", if there is an `LSTMImageClassifier`
        that reads images.

    Raises
    ------
    ValueError
        If X has no pixels.
    """
    if np.ndim(X) < 2 or np.asarray(X[:1]).dtype.kind not in "buif":
        raise ValueError(
            "controls='default' read pixels, and X holds none: give images as an "
            "array, or controls of your own, or controls=None."
        )
    svc = make_pipeline(
        FunctionTransformer(flat),
        StandardScaler(),
        # gamma=1 is then what gamma="scale" is.
        FunctionTransformer(to_unit_length),
        SVC(),
    )
    found = {
        "majority class": DummyClassifier(strategy="most_frequent"),
        "logistic regression": make_pipeline(
            FunctionTransformer(flat),
            StandardScaler(),
            LogisticRegression(max_iter=1000),
        ),
        "tuned SVC": GridSearchCV(
            svc,
            _SVC_GRID,
            cv=InnerFolds(by_group=has_groups, random_state=0),
            scoring=scoring,
        ),
    }
    if _needs_probabilities(scoring):
        del found["tuned SVC"]
    cnn = _matched_cnn(estimators.values(), X)
    if cnn is not None:
        found["matched CNN"] = cnn
    return {name: one for name, one in found.items() if name not in estimators}


class InnerFolds:
    """Stratified folds, fewer of them if a class has few samples or groups.

    With less than two in a class, the only split has all samples on both sides, so that
    a search takes its first candidate.

    Parameters
    ----------
    by_group : bool
        Whether groups stay together.
    random_state : int
        Seed of the folds.
    """

    def __init__(self, by_group: bool, random_state: int) -> None:
        self.by_group = by_group
        self.random_state = random_state

    def split(self, X: Any, y: Any, groups: Any = None) -> Any:
        """Yield training and test rows."""
        y = np.asarray(y)
        n_folds = self._n_folds(y, groups)
        if n_folds < 2:
            return iter([(np.arange(len(y)), np.arange(len(y)))])
        kind: Any = StratifiedGroupKFold if self.by_group else StratifiedKFold
        folds = kind(n_folds, shuffle=True, random_state=self.random_state)
        return folds.split(np.zeros(len(y)), y, groups if self.by_group else None)

    def get_n_splits(self, X: Any, y: Any, groups: Any = None) -> int:
        """Return the number of splits."""
        return max(1, self._n_folds(np.asarray(y), groups))

    def _n_folds(self, y: np.ndarray, groups: Any) -> int:
        units = np.arange(len(y)) if groups is None else np.asarray(groups)
        each = [len(np.unique(units[y == label])) for label in np.unique(y)]
        return min(_N_INNER_FOLDS, *each)


def _needs_probabilities(scoring: Any) -> bool:
    scorer = get_scorer(scoring) if isinstance(scoring, str) else scoring
    return getattr(scorer, "_response_method", None) == "predict_proba"


def flat(X: Any) -> np.ndarray:
    """Return the pixels of each image side by side."""
    X = np.asarray(X)
    return X.reshape(len(X), -1)


def to_unit_length(X: np.ndarray) -> np.ndarray:
    """Divide standardized pixels, so that the mean square of a row is one."""
    return X / np.sqrt(X.shape[1])


def _matched_cnn(estimators: Any, X: Any) -> BaseEstimator | None:
    """Return a CNN with the training, and if possible the size, of a network."""
    placed = [(one, *_network_in(one)) for one in estimators]
    placed = [(one, path, net) for one, path, net in placed if net is not None]
    if any(net.network in ("cnn", "cnn3d") for _, _, net in placed):
        return None
    for kind, name in (("cnn_lstm", "cnn"), ("bilstm3d", "cnn3d")):
        for one, path, net in placed:
            if is_auto(net) and np.ndim(X) > 2:
                # The kind and the number of all images are those of a fold, nearly.
                recipe = choose(net, X).recipe
                if recipe["network"] != kind:
                    continue
                own = {f"{path}{key}": value for key, value in recipe.items()}
                return clone(one).set_params(**{**own, f"{path}network": name})
            if net.network == kind:
                # All steps before it, and the search around it, stay.
                return clone(one).set_params(**{f"{path}network": name})
    volumes = any(net.network == "conv_lstm" for _, _, net in placed)
    if np.ndim(X) < 3 or not placed or volumes:
        return None
    first = placed[0][2]
    shared = {name: getattr(first, name) for name in _SHARED}
    return LSTMImageClassifier("cnn", **shared)


def _network_in(estimator: Any) -> tuple[str, Any]:
    """Return the prefix of the parameters of the network in an estimator, and it."""
    path = ""
    while not isinstance(estimator, LSTMImageClassifier):
        if isinstance(estimator, Pipeline):
            name, estimator = estimator.steps[-1]
            path += f"{name}__"
        elif hasattr(estimator, "estimator"):
            estimator = estimator.estimator
            path += "estimator__"
        else:
            return path, None
    return path, estimator
