"""Batches that are filled up with samples that do not count.

A filled batch has the same size as the others, so one compiled step serves both. The
gradients and metrics must be those of the real samples alone. This holds if no layer,
loss or metric lets one sample depend on another, apart from the means over a batch that
are masked: those of the loss, of the metrics and of batch normalization.
"""

from typing import Any

from sklstm._keras import keras

from sklstm.networks import SavedNetwork, WindowLoss
from sklstm.training._spec import NetworkSpec

# Losses and metrics of Keras that compare each sample with its own target. Dice,
# Tversky and Circle are missing: they compare sums over the batch, or its samples.
_EACH_SAMPLE = {
    "binary_accuracy",
    "binary_crossentropy",
    "binary_focal_crossentropy",
    "categorical_accuracy",
    "categorical_crossentropy",
    "categorical_focal_crossentropy",
    "categorical_generalized_cross_entropy",
    "categorical_hinge",
    "cosine_similarity",
    "hinge",
    "huber",
    "kl_divergence",
    "log_cosh",
    "mean_absolute_error",
    "mean_absolute_percentage_error",
    "mean_squared_error",
    "mean_squared_logarithmic_error",
    "poisson",
    "sparse_categorical_accuracy",
    "sparse_categorical_crossentropy",
    "sparse_top_k_categorical_accuracy",
    "squared_hinge",
    "top_k_categorical_accuracy",
}
# Metrics of Keras that add up weighted counts.
_COUNTS = (
    "AUC",
    "F1Score",
    "FBetaScore",
    "FalseNegatives",
    "FalsePositives",
    "Precision",
    "PrecisionAtRecall",
    "Recall",
    "RecallAtPrecision",
    "SensitivityAtSpecificity",
    "SpecificityAtSensitivity",
    "TrueNegatives",
    "TruePositives",
)
_MEANS = ("sum_over_batch_size", "mean")
_REDUCTIONS = (*_MEANS, "sum", "mean_with_sample_weight")


def padded_size(n: int) -> int:
    """Return one of few numbers of rows that are at least `n`.

    There are four of them between a power of two and the next one. So the sizes of
    folds that differ little usually become equal, and at most a fifth of the rows is
    filling.
    """
    step = max(1, 1 << max(0, (n - 1).bit_length() - 3))
    return -(-n // step) * step


def can_pad(model: keras.Model, spec: NetworkSpec) -> bool:
    """Return whether a batch may be filled up without a change of the results.

    Parameters
    ----------
    model : keras.Model
        Compiled model whose metrics are built.
    spec : NetworkSpec
        Specification of the model.
    """
    if not isinstance(spec.network, str) or isinstance(spec.network, SavedNetwork):
        return False  # the layers of a user's own network are not known
    augmentation = spec.network_params.get("augmentation")
    augmentation = spec.reading_params.get("augmentation", augmentation)
    augmentation = (spec.mixing or {}).get("augmentation", augmentation)
    if isinstance(augmentation, keras.layers.Layer):
        return False
    metrics = split_metrics(model)[1]
    return _knows_loss(model.loss) and all(map(_knows_metric, metrics))


def split_metrics(model: keras.Model) -> tuple[Any, list]:
    """Return the mean of the loss, and the metrics of targets and outputs."""
    tracker, *groups = model.metrics
    return tracker, [metric for group in groups for metric in group.metrics]


def _knows_loss(loss: Any) -> bool:
    if isinstance(loss, str):
        loss = keras.losses.get(loss)
    if isinstance(loss, WindowLoss):
        return type(loss) is WindowLoss and loss.reduction in _REDUCTIONS
    if isinstance(loss, keras.losses.Loss):
        return (
            _is_of_keras(type(loss))
            and loss.reduction in _REDUCTIONS
            and _compares_each_sample(loss)
        )
    return _is_of_keras(loss) and getattr(loss, "__name__", "") in _EACH_SAMPLE


def _knows_metric(metric: Any) -> bool:
    # The classes of `_metrics.py` have the name and the module of their base.
    if not _is_of_keras(type(metric)):
        return False
    if isinstance(metric, keras.metrics.MeanMetricWrapper):
        return _compares_each_sample(metric)
    return type(metric).__name__ in _COUNTS


def _compares_each_sample(wrapper: Any) -> bool:
    function = getattr(wrapper, "_fn", getattr(wrapper, "fn", None))
    options = getattr(wrapper, "_fn_kwargs", getattr(wrapper, "fn_kwargs", {})) or {}
    if isinstance(function, keras.losses.Loss):
        return _is_of_keras(type(function)) and _compares_each_sample(function)
    known = getattr(function, "__name__", "") in _EACH_SAMPLE
    return known and _is_of_keras(function) and options.get("axis", -1) == -1


def _is_of_keras(thing: Any) -> bool:
    return (getattr(thing, "__module__", "") or "").partition(".")[0] == "keras"


def row_weights(loss: Any, weights: Any, mask: Any) -> Any:
    """Return weights with which a loss over all rows is that over the masked rows.

    Parameters
    ----------
    loss : Any
        Loss of the model. Its reduction divides by the number of all rows, or does not.
    weights : tensor of shape (n,)
        Weights of the samples.
    mask : tensor of bool, shape (n,)
        Rows that count.
    """
    ops = keras.ops
    real = ops.cast(mask, "float32")
    weights = ops.where(mask, weights, 0.0)
    if getattr(loss, "reduction", "sum_over_batch_size") not in _MEANS:
        return weights
    return weights * (mask.shape[0] / ops.maximum(ops.sum(real), 1.0))
