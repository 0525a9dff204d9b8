"""The names by which a file knows classes and functions, and which it may name."""

from __future__ import annotations

import sys
from importlib import import_module
from typing import Any

import numpy as np
from sklearn.base import BaseEstimator
from sklearn.model_selection._search import BaseSearchCV

import sklstm

# Their estimators are plain values and arrays after a fit, or are refused for the
# attribute that is not. Left out are modules whose compiled code trusts the arrays that
# it is given.
_SKLEARN_MODULES = tuple(
    f"sklearn.{name}"
    for name in """
    compose decomposition discriminant_analysis dummy ensemble feature_selection impute
    kernel_approximation linear_model multiclass multioutput naive_bayes pipeline
    preprocessing random_projection
    """.split()
)

# Parameters that name a folder of one machine: what they are to the one who saves, and
# what a file would ask for.
FOLDERS = {
    "memory": ("a cache on this machine", "a folder to keep a cache in"),
    "on_disk": ("a folder of this machine", "a folder to write images to"),
}
# Their compiled code trusts averages that it goes on from.
_LEFT_OUT = frozenset(
    """
    PassiveAggressiveClassifier PassiveAggressiveRegressor Perceptron SGDClassifier
    SGDOneClassSVM SGDRegressor
    """.split()
)


def qualified_name(value: Any) -> str:
    """Return module and name of a class or function, the public ones if there are."""
    name = getattr(value, "__qualname__", value.__name__)
    if name in sklstm.__all__ and getattr(sklstm, name) is value:
        return f"sklstm.{name}"
    for module in _SKLEARN_MODULES:
        # The private module that defines it may be another in the next version.
        if getattr(sys.modules.get(module), name, None) is value:
            return f"{module}.{name}"
    return f"{value.__module__}.{name}"


def estimator_class(name: str) -> type | None:
    """Return the estimator of that public name, None if it is not on the list."""
    module, _, class_name = name.rpartition(".")
    if module == "sklstm" and class_name in sklstm.__all__:
        value = getattr(sklstm, class_name)
    elif module in _SKLEARN_MODULES and not class_name.startswith("_"):
        value = getattr(import_module(module), class_name, None)
    else:
        return None
    allowed = (
        isinstance(value, type)
        and issubclass(value, BaseEstimator)
        and not issubclass(value, BaseSearchCV)
        and class_name not in _LEFT_OUT
    )
    return value if allowed else None


def numpy_class(name: str) -> type | None:
    """Return the kind of NumPy's numbers of that name, None if there is none."""
    module, _, class_name = name.rpartition(".")
    value = getattr(np, class_name, None) if module == "numpy" else None
    is_kind = isinstance(value, type) and issubclass(value, np.generic)
    return value if is_kind else None
