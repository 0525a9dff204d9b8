"""The constraints of an estimator's parameters, from the table of hyperparameters."""

import inspect
from typing import Any

from sklstm._compat import Interval, StrOptions
from sklstm.training._hyperparameters import TABLE, Choice, Number


def constraints_of(estimator: type) -> dict[str, Any]:
    """Return what scikit-learn's validation of parameters asks of hyperparameters.

    Parameters
    ----------
    estimator : type
        An estimator. Its signature says which of the hyperparameters it has.

    Returns
    -------
    dict
        Names to constraints, as `_parameter_constraints` holds them.
    """
    has = inspect.signature(estimator).parameters
    names = [kind.__name__ for kind in estimator.__mro__]
    constraints: dict[str, Any] = {}
    for row in TABLE:
        if row.name in has:
            other = [row.values_in[name] for name in names if name in row.values_in]
            values = other[0] if other else row.values
            constraints[row.name] = [_constraint(value) for value in values]
            if not values:
                constraints[row.name] = "no_validation"
    return constraints


def _constraint(value: Any) -> Any:
    if isinstance(value, Number):
        return Interval(value.kind, value.low, value.high, closed=value.closed)
    if isinstance(value, Choice):
        return StrOptions(set(value.values))
    return value
