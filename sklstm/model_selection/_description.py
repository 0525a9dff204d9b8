"""Descriptions of estimators and scores that are equal in every process."""

from __future__ import annotations

from typing import Any

import joblib
import numpy as np

# These parameters do not change the scores.
_WITHOUT_EFFECT = ("verbose", "n_jobs", "memory")
_PLAIN = (bool, int, float, str, np.ndarray, type(None))


def describe(estimator: Any) -> tuple:
    """Describe an estimator and its parameters, equally in every process.

    Functions are described by their names, so two lambdas of a module are equal.

    Parameters
    ----------
    estimator : estimator
        The estimator of a search or a comparison.

    Returns
    -------
    tuple
        Description of the class, then pairs of a name and a description for each
        parameter. They are plain values, which can be hashed.
    """
    params = sorted(estimator.get_params(deep=True).items())
    return (
        _describe(estimator),
        *(
            (name, _describe(value))
            for name, value in params
            if name.rpartition("__")[2] not in _WITHOUT_EFFECT
        ),
    )


def _describe(value: Any) -> Any:
    # The description holds no addresses, because they differ between processes.
    if isinstance(value, dict):
        return [(str(key), _describe(value[key])) for key in value]
    if isinstance(value, list | tuple):
        return [_describe(item) for item in value]
    if isinstance(value, _PLAIN):
        return value
    if isinstance(value, np.generic):
        return value.item()
    if callable(value) and hasattr(value, "__qualname__"):
        return _place(value, {})  # a class or a function
    if hasattr(value, "get_params"):
        # The parameters of an estimator inside are among those of the whole.
        return _place(type(value), {})
    if hasattr(value, "get_config"):
        # Keras numbers the names of its objects.
        place = _place(type(value), {**value.get_config(), "name": None})
        weights = value.get_weights() if hasattr(value, "get_weights") else []
        return (*place, joblib.hash(weights)) if weights else place
    attributes = getattr(value, "__dict__", {})  # of a splitter, for example
    plain = {k: v for k, v in attributes.items() if isinstance(v, _PLAIN)}
    return _place(type(value), plain)


def _place(kind: Any, config: dict[str, Any]) -> tuple[str, ...]:
    return (kind.__module__, kind.__qualname__, repr(sorted(config.items())))


def describe_scoring(scoring: Any) -> Any:
    """Return the names of the scorers, equal in every process."""
    if isinstance(scoring, dict):
        return {name: describe_scoring(scorer) for name, scorer in scoring.items()}
    return getattr(scoring, "__qualname__", None) or str(scoring)
