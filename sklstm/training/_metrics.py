"""Keras metrics that receive the targets that they are made for.

The loss decides whether Keras trains on class numbers or on one-hot targets, and Keras
gives the same targets to the metrics. Here, each metric converts the targets. Its value
therefore does not depend on the loss.
"""

import copy
import functools
import itertools
import re
from collections.abc import Iterator
from typing import Any

from sklstm._keras import keras

from sklstm.training._copies import keep_whole_in_copies, rebuilt


class _Targeted:
    """Mixin for Keras metrics, see `targeted`."""

    _sklstm_mixed = True
    _class_numbers = (False, False)  # for targets, for predictions

    def update_state(
        self: Any, y_true: Any, y_pred: Any, sample_weight: Any = None
    ) -> Any:
        of_targets, of_predictions = self._class_numbers
        n_classes = y_pred.shape[-1]
        y_true = (_to_numbers if of_targets else _to_rows)(y_true, n_classes)
        if of_predictions:
            y_pred = keras.ops.argmax(y_pred, axis=-1)
        weights = {} if sample_weight is None else {"sample_weight": sample_weight}
        return super().update_state(y_true, y_pred, **weights)  # type: ignore[misc]

    def result(self: Any) -> Any:
        value = super().result()  # type: ignore[misc]
        if isinstance(value, dict):
            return value
        # The validation would write into a variable.
        value = keras.ops.copy(value)
        if len(value.shape) == 0:
            return value
        parts = keras.ops.reshape(value, (-1,))
        each = {f"{self.name}_class_{i}": parts[i] for i in range(parts.shape[0])}
        return {self.name: keras.ops.mean(parts), **each}


@functools.cache
def targeted(kind: type, class_numbers: tuple[bool, bool]) -> type:
    """Return a subclass of a Keras metric that converts targets and predictions.

    Parameters
    ----------
    kind : type
        A subclass of `keras.metrics.Metric`.
    class_numbers : tuple of bool
        Whether targets become class numbers instead of one-hot rows, and whether
        predictions become class numbers instead of probabilities.

    Returns
    -------
    type
        Class of the same name. It is saved under the name of the original.
    """
    namespace = {"__module__": kind.__module__, "_class_numbers": class_numbers}
    return type(kind.__name__, (_Targeted, kind), namespace)


def make_metrics(given: Any, made: Any, routed: dict, n_classes: int) -> list:
    """Return metrics for `keras.Model.compile` that suit any loss.

    Parameters
    ----------
    given : Any
        Parameter ``metrics`` of the estimator: names, classes, functions and instances,
        which may be nested.
    made : Any
        The same nesting, in which scikeras has made instances.
    routed : dict
        Parameters with the prefix ``metrics__``.
    n_classes : int
        Number of outputs of the network.

    Returns
    -------
    list of str and keras.metrics.Metric
        Copies. The metrics of the user do not change.

    Raises
    ------
    TypeError, ValueError
        If a metric cannot be computed from the outputs of the network.
    """
    named = any(name.endswith("name") for name in routed)
    metrics: list = []
    taken = {"accuracy"}
    for source, metric in zip(leaves(given), leaves(made), strict=True):
        if metric in ("accuracy", "acc"):
            metrics.append(metric)  # Keras chooses the metric by the targets
            continue
        if metric in ("crossentropy", "ce"):
            metric = keras.metrics.CategoricalCrossentropy()
        name = getattr(metric, "name", None)
        if isinstance(source, str):
            name = source
        elif isinstance(source, type) and _in_keras(source.__module__) and not named:
            name = re.sub(r"_\d+$", "", str(name))  # Keras numbers the names
        metric = _make_metric(metric, name, n_classes)
        first, count = metric.name, itertools.count(1)
        while metric.name in taken:
            metric.name = f"{first}_{next(count)}"
        taken.add(metric.name)
        metrics.append(metric)
    return metrics


def _make_metric(metric: Any, name: str | None, n_classes: int) -> Any:
    if not callable(metric):
        raise TypeError(
            f"metrics: {metric!r} is no metric: give names, classes, functions or "
            "instances of keras.metrics."
        )
    if not isinstance(metric, keras.metrics.Metric):
        name = name or getattr(metric, "__name__", type(metric).__name__)
        if isinstance(metric, keras.losses.Loss):
            keep_whole_in_copies()
            metric = copy.deepcopy(metric)
            metric.reduction = None  # batches differ in size
        metric = keras.metrics.MeanMetricWrapper(metric, name=name)
    if type(metric) in (keras.metrics.Mean, keras.metrics.Sum):
        raise ValueError(
            f"metrics={type(metric).__name__} takes values and not targets and "
            "predictions: give a metric that compares the two."
        )
    _check_n_classes(metric, n_classes)
    forms = _forms(metric)
    reasons = []
    for form in forms:
        kind: type = type(metric)
        copied = rebuilt(metric, targeted(kind, form))
        if len(forms) > 1:
            reason = _failure(rebuilt(copied), n_classes)
            if reason is not None:
                reasons.append(reason)
                continue
        copied.name = name or copied.name
        return copied
    raise ValueError(
        f"metrics={name or metric.name!r} can be computed neither of rows of zeros and "
        f"a one nor of class numbers, beside rows of {n_classes} probabilities: "
        f"{reasons[0]}"
    )


def _check_n_classes(metric: Any, n_classes: int) -> None:
    kinds = keras.metrics
    if not isinstance(metric, kinds.IoU) or isinstance(metric, kinds.BinaryIoU):
        return
    if metric.num_classes < n_classes:
        raise ValueError(
            f"metrics={metric.name!r} has num_classes={metric.num_classes}, and y "
            f"has {n_classes} classes: set num_classes={n_classes}."
        )


def _forms(metric: Any) -> list[tuple[bool, bool]]:
    """Return the forms of targets and predictions that a metric may need."""
    kinds = keras.metrics
    if isinstance(metric, kinds.BinaryIoU):
        return [(False, False)]
    if isinstance(metric, kinds.IoU):
        return [(metric.sparse_y_true, metric.sparse_y_pred)]
    known = next(kind for kind in type(metric).__mro__ if _in_keras(kind.__module__))
    name = known.__name__
    if known is kinds.Accuracy:
        return [(True, True)]
    if known is kinds.MeanMetricWrapper:
        function = getattr(metric, "_fn", None)
        kind = function if callable(function) else None
        if isinstance(function, keras.losses.Loss):
            kind = type(function)
        name = getattr(kind, "__name__", "")
        if not _in_keras(getattr(kind, "__module__", "") or ""):
            known = kinds.Metric
    own = known in (kinds.Metric, kinds.Mean, kinds.Sum)
    if own:
        name = f"{type(metric).__name__} {metric.name} {name}"
    if "sparse" in name.lower():
        return [(True, False)]
    return [(False, False), (True, False)] if own else [(False, False)]


def _failure(metric: Any, n_classes: int) -> str | None:
    """Return the reason why a metric cannot be computed, or None."""
    ops = keras.ops
    n = 2 * n_classes + 1  # with one row for each class, shapes would fit by accident
    numbers = ops.arange(n) % n_classes
    rows = ops.full((n, n_classes), 1 / n_classes)
    try:
        metric.update_state(numbers, rows)
        metric.result()
    except Exception as error:
        return str(error).strip().partition("\n")[0] or type(error).__name__
    return None


def _in_keras(module: str) -> bool:
    return module.partition(".")[0] == "keras"


def _to_numbers(targets: Any, n_classes: int) -> Any:
    if len(targets.shape) > 1 and targets.shape[-1] == n_classes:
        return keras.ops.cast(keras.ops.argmax(targets, axis=-1), "int32")
    return targets


def _to_rows(targets: Any, n_classes: int) -> Any:
    # The rows of smoothed labels and of mixtures are no rows of zeros and a one.
    numbers = _to_numbers(targets, n_classes)
    return keras.ops.one_hot(keras.ops.cast(numbers, "int32"), n_classes)


def leaves(nested: Any) -> Iterator:
    """Yield the items of nested lists, tuples and dicts, without None."""
    if isinstance(nested, list | tuple | dict):
        for item in nested.values() if isinstance(nested, dict) else nested:
            yield from leaves(item)
    elif nested is not None:
        yield nested


def to_floats(logs: dict) -> dict[str, float]:
    """Return logs as one flat dict of floats. Some metrics return a dict."""
    floats: dict[str, float] = {}
    for name, value in logs.items():
        if isinstance(value, dict):
            floats.update(to_floats(value))
        else:
            floats[name] = float(value)
    return floats
