"""Clones of estimators that share a large parameter."""

from __future__ import annotations

from typing import Any, TypeVar

from sklearn.base import BaseEstimator

_Estimator = TypeVar("_Estimator", bound=BaseEstimator)


def clone_sharing(estimator: _Estimator, *names: str) -> _Estimator:
    """Return a clone that has the same objects as some parameters, and no copies.

    Parameters
    ----------
    estimator : BaseEstimator
        It has a method `__sklearn_clone__` that calls this function.
    *names : str
        Parameters of the constructor whose default is None, or that may be None.
    """
    twin = object.__new__(type(estimator))
    vars(twin).update(vars(estimator) | dict.fromkeys(names))
    made: Any = BaseEstimator.__sklearn_clone__(twin)
    for name in names:
        setattr(made, name, getattr(estimator, name))
    return made
