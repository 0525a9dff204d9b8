"""Norm, clipping and update of all gradients in few operators of the backend.

Keras computes each of them variable by variable, in many small operators. On
TensorFlow, a third of the operators of a training graph belong to the optimizer, and
each of them is traced and prepared. On PyTorch, each is a call from Python. The
functions here give the same results up to rounding.
"""

import math
from typing import Any

from sklstm._keras import keras

# Each backend works without the others.
_BACKEND = keras.backend.backend()
if _BACKEND == "tensorflow":
    import tensorflow as tf
elif _BACKEND == "torch":
    import torch


def gradient_norm(gradients: list) -> Any:
    """Return the Euclidean norm of all gradients together, a float32 scalar.

    Parameters
    ----------
    gradients : list of tensors
        Gradients. None stands for a variable without one.
    """
    present = [g for g in gradients if g is not None]
    if not present:
        return keras.ops.zeros((), "float32")
    if _BACKEND == "torch":
        norms = torch._foreach_norm([g.float() for g in present])
        return torch.linalg.vector_norm(torch.stack(norms))
    present = [keras.ops.cast(g, "float32") for g in present]
    if _BACKEND == "tensorflow":
        halves = tf.add_n([tf.nn.l2_loss(g) for g in present])
        return math.sqrt(2) * tf.sqrt(halves)
    return keras.ops.sqrt(sum(keras.ops.sum(keras.ops.square(g)) for g in present))


def clip_by_value(gradients: list, bound: float) -> list:
    """Return the gradients with values between -bound and bound."""
    if _BACKEND == "torch" and all(g is not None for g in gradients):
        return list(
            torch._foreach_clamp_min(torch._foreach_clamp_max(gradients, bound), -bound)
        )
    if _BACKEND == "tensorflow" and all(map(_is_dense, gradients)):
        low, high = tf.constant(-float(bound)), tf.constant(float(bound))
        return [
            tf.raw_ops.ClipByValue(t=g, clip_value_min=low, clip_value_max=high)
            for g in gradients
        ]
    return [None if g is None else keras.ops.clip(g, -bound, bound) for g in gradients]


def shrink(variables: list, factor: Any) -> None:
    """Multiply variables by one number, a float32 scalar."""
    if _BACKEND == "torch":
        if variables:
            torch._foreach_mul_([v.value for v in variables], float(factor))
        return
    for variable in variables:
        variable.assign(variable * keras.ops.cast(factor, variable.dtype))


def updates_at_once(optimizer: Any, gradients: list) -> bool:
    """Return whether `update` computes what the optimizer's own `update_step` does.

    It does for Keras' Adam and AdamW on TensorFlow, without amsgrad. A subclass may
    compute anything.
    """
    plain = (keras.optimizers.Adam, keras.optimizers.AdamW)
    return (
        _BACKEND == "tensorflow"
        and optimizer.made_of in plain
        and not optimizer.amsgrad
        and not tf.distribute.has_strategy()
        and all(map(_is_dense, gradients))
    )


def update(
    optimizer: Any, gradients: list, variables: list, learning_rate: Any
) -> None:
    """Apply Adam's update to all variables, by one operator each."""
    step = tf.cast(optimizer.iterations, tf.float32) + 1.0
    shared = {
        "beta1_power": tf.pow(float(optimizer.beta_1), step),
        "beta2_power": tf.pow(float(optimizer.beta_2), step),
        "lr": tf.cast(learning_rate, tf.float32),
        "beta1": tf.constant(float(optimizer.beta_1)),
        "beta2": tf.constant(float(optimizer.beta_2)),
        "epsilon": tf.constant(float(optimizer.epsilon)),
    }
    for gradient, variable in zip(gradients, variables, strict=True):
        slot = optimizer._get_variable_index(variable)
        tf.raw_ops.ResourceApplyAdam(
            var=variable.value.handle,
            m=optimizer._momentums[slot].value.handle,
            v=optimizer._velocities[slot].value.handle,
            grad=gradient,
            use_locking=False,
            use_nesterov=False,
            **shared,
        )


def _is_dense(gradient: Any) -> bool:
    # The gradient of an embedding is sparse.
    return isinstance(gradient, tf.Tensor) and gradient.dtype == tf.float32
