"""Optimizers with a schedule in variables and a measure of the gradient.

The learning-rate schedule consists of optimizer variables and not of constants of the
graph. Another learning rate or number of epochs therefore needs no new graph, and the
schedule works on each backend that has optimizer variables.
"""

import functools
import math
from typing import Any

from sklstm._keras import keras

from sklstm.training._updates import (
    clip_by_value,
    gradient_norm,
    shrink,
    update,
    updates_at_once,
)

# Weights of two or more dimensions to which weight decay does not apply. The biases of
# `keras.layers.MultiHeadAttention` have two, and so have the transitions of a CRF.
_WITHOUT_DECAY = {"bias", "beta", "gamma", "transitions", "positions"}


class _Scheduled:
    """Mixin for Keras optimizers, see `scheduled`."""

    _sklstm_mixed = True
    made_of: type  # the optimizer of Keras or of the user that is mixed with
    warms = False  # whether the learning rate can rise before it falls
    decays = False  # whether weight decay leaves out biases and normalizations
    slows = False  # whether some variables, those of a backbone, learn more slowly
    slowed: frozenset[int] = frozenset()  # the ids of these variables
    in_training = False

    @property
    def learning_rate(self: Any) -> Any:
        return self._get_current_learning_rate()

    @learning_rate.setter
    def learning_rate(self: Any, value: Any) -> None:
        # The kind of learning rate is part of the graph, which would not follow.
        if self.in_training and (callable(value) or self.follows_schedule()):
            raise ValueError(
                "callbacks: one of them sets the learning rate to a schedule, or "
                "beside a schedule of Keras, which cannot be while training: set "
                "lr_schedule to the schedule, or to 'constant' and the rate to numbers."
            )
        keras.optimizers.Optimizer.learning_rate.fset(self, value)

    def build(self: Any, variables: list) -> None:
        super().build(variables)  # type: ignore[misc]
        if hasattr(self, "schedule_peak"):
            return
        self._n_own_variables = len(self.variables)
        names = ["schedule_peak", "schedule_start", "schedule_steps"]
        names += ["gradient_norm_sum", "gradient_norm_count"]
        # Files of older versions lack the variables of what they do not use.
        names += ["schedule_warmup"] * self.warms + ["decay_strength"] * self.decays
        names += ["backbone_rate", "backbone_start"] * self.slows
        for name in names:
            setattr(self, name, self.add_variable((), dtype="float32", name=name))

    def apply(self: Any, grads: list, trainable_variables: Any = None) -> None:
        # The norm before clipping shows whether the gradient explodes.
        self.gradient_norm_sum.assign_add(gradient_norm(grads))
        self.gradient_norm_count.assign_add(1.0)

        if isinstance(self._learning_rate, keras.Variable):
            self._learning_rate.assign(self._next_rate())
        if not self.slows:
            super().apply(grads, trainable_variables)  # type: ignore[misc]
            return
        variables = trainable_variables or self._trainable_variables
        slow = [v for v in variables if id(v) in self.slowed]
        # The share of an update and not that of a gradient, to which Adam is blind.
        share = keras.ops.where(
            keras.ops.cast(self.iterations, "float32") >= self.backbone_start,
            keras.ops.convert_to_tensor(self.backbone_rate),
            0.0,
        )
        before = [keras.ops.copy(keras.ops.convert_to_tensor(v)) for v in slow]
        super().apply(grads, trainable_variables)  # type: ignore[misc]
        for variable, old in zip(slow, before, strict=True):
            part = keras.ops.cast(share, variable.dtype)
            variable.assign(old + part * (variable - old))

    def _next_rate(self: Any) -> Any:
        ops = keras.ops
        done = ops.cast(self.iterations, "float32") - self.schedule_start
        falling, n_falling = done, self.schedule_steps
        if self.warms:
            falling = done - self.schedule_warmup
            n_falling = self.schedule_steps - self.schedule_warmup
        fraction = ops.minimum(falling / ops.maximum(n_falling, 1.0), 1.0)
        cosine = self.schedule_peak * 0.5 * (1.0 + ops.cos(math.pi * fraction))
        current = ops.cast(self._learning_rate, "float32")
        rate = ops.where(self.schedule_steps > 0, cosine, current)
        if not self.warms:
            return rate
        rising = (done + 1.0) / ops.maximum(self.schedule_warmup, 1.0)
        warm = done >= self.schedule_warmup
        return ops.where(warm, rate, self.schedule_peak * rising)

    def _apply_weight_decay(self: Any, variables: list) -> None:
        if not self.decays:
            super()._apply_weight_decay(variables)  # type: ignore[misc]
            return
        strength = self.decay_strength * keras.ops.cast(self.learning_rate, "float32")
        shrink([v for v in variables if takes_decay(v)], 1.0 - strength)

    def _clip_gradients(self: Any, grads: list) -> list:
        by_norm = self.clipnorm or self.global_clipnorm
        if self.clipvalue and self.clipvalue > 0 and not by_norm:
            return clip_by_value(grads, self.clipvalue)
        return super()._clip_gradients(grads)  # type: ignore[misc]

    def _backend_update_step(
        self: Any, grads: list, trainable_variables: list, learning_rate: Any
    ) -> None:
        if updates_at_once(self, grads):
            update(self, grads, trainable_variables, learning_rate)
        else:
            super()._backend_update_step(  # type: ignore[misc]
                grads, trainable_variables, learning_rate
            )

    def start_cosine(self: Any, peak: float, n_updates: int, n_warmup: int = 0) -> None:
        """Let the rate fall from `peak` to 0 along half a cosine in `n_updates`.

        In the first `n_warmup` of them, it rises to `peak` in equal steps.
        """
        self._start(peak, n_updates, n_warmup)

    def keep_constant(self: Any, learning_rate: float, n_warmup: int = 0) -> None:
        """Set a constant learning rate, to which `n_warmup` updates rise."""
        self._start(learning_rate, 0, n_warmup)

    def _start(self: Any, peak: float, n_updates: int, n_warmup: int) -> None:
        self.schedule_peak.assign(peak)
        self.schedule_start.assign(float(self.iterations))
        self.schedule_steps.assign(float(n_updates))
        if self.warms:
            self.schedule_warmup.assign(float(n_warmup))
        self._learning_rate.assign(peak)

    def start_backbone(self: Any, rate: float, n_waits: int) -> None:
        """Let the backbone learn at `rate` times the rate, after `n_waits` updates."""
        self.backbone_rate.assign(rate)
        self.backbone_start.assign(float(self.iterations) + n_waits)

    def follows_schedule(self: Any) -> bool:
        """Return whether the learning rate is a Keras schedule or a function."""
        return not isinstance(self._learning_rate, keras.Variable)

    def last_rate(self: Any) -> float:
        """Return the learning rate of the last batch."""
        if isinstance(
            self._learning_rate, keras.optimizers.schedules.LearningRateSchedule
        ):
            # Keras has already counted the last batch.
            step = keras.ops.maximum(self._iterations - 1, 0)
            return float(self._learning_rate(step))
        return float(self.learning_rate)

    def take_gradient_norm(self: Any) -> float:
        """Return the mean norm of the gradients since the last call."""
        total, count = float(self.gradient_norm_sum), float(self.gradient_norm_count)
        self.gradient_norm_sum.assign(0.0)
        self.gradient_norm_count.assign(0.0)
        return total / count if count else math.nan

    def save_own_variables(self: Any, store: Any) -> None:
        # A saved model holds the optimizer of Keras, without the variables added here.
        for i, variable in enumerate(self.variables[: self._n_own_variables]):
            store[str(i)] = variable.numpy()


def takes_decay(variable: Any) -> bool:
    """Return whether weight decay applies to a variable.

    It applies to kernels and to the embeddings of grey levels, and not to biases,
    normalizations and the embeddings of positions.
    """
    return len(variable.shape) >= 2 and variable.name not in _WITHOUT_DECAY


@functools.cache
def scheduled(
    optimizer_class: type,
    warms: bool = False,
    decays: bool = False,
    slows: bool = False,
) -> type:
    """Return a subclass of a Keras optimizer that carries a cosine schedule.

    Parameters
    ----------
    optimizer_class : type
        A subclass of `keras.optimizers.Optimizer`.
    warms : bool
        If True, the learning rate can rise before it falls.
    decays : bool
        If True, the optimizer has a weight decay of its own strength, in a variable.
    slows : bool
        If True, the variables in `slowed` wait, and then learn at a share of the rate.

    Returns
    -------
    type
        Class of the same name. It is saved under the name of the original.
    """
    base: Any = optimizer_class
    if keras.backend.backend() == "torch":
        # Keras chooses the class that updates all variables at once by the exact class.
        base = type(base.__new__(base))
    namespace = {
        "__module__": optimizer_class.__module__,
        "made_of": base,
        "warms": warms,
        "decays": decays,
        "slows": slows,
    }
    return type(optimizer_class.__name__, (_Scheduled, base), namespace)


def own_optimizer(model: keras.Model) -> Any:
    """Return the scheduled optimizer of a compiled model.

    With the policy "mixed_float16", Keras wraps the optimizer to scale the loss.

    Parameters
    ----------
    model : keras.Model
        Compiled with a `scheduled` optimizer.

    Returns
    -------
    keras.optimizers.Optimizer
        The optimizer with the schedule and the norm of the gradient.
    """
    return getattr(model.optimizer, "inner_optimizer", model.optimizer)


def optimizer_class(optimizer: Any) -> type:
    """Return the Keras class of an optimizer given as name, class or instance."""
    scaling = keras.optimizers.LossScaleOptimizer
    if isinstance(optimizer, scaling) or optimizer is scaling:
        raise ValueError(
            "optimizer is a LossScaleOptimizer, which Keras puts around an optimizer "
            "by itself: give the inner one, and dtype_policy='mixed_float16'."
        )
    if isinstance(optimizer, str):
        # `keras.optimizers.get` does not know all classes. Lamb is missing in 3.15.
        named = {name.lower(): kind for name, kind in vars(keras.optimizers).items()}
        kind = named.get(optimizer.lower())
        if isinstance(kind, type) and kind is not keras.optimizers.Optimizer:
            return kind
        try:
            return type(keras.optimizers.get(optimizer))
        except ValueError:
            raise ValueError(
                f"optimizer={optimizer!r} is not known to Keras: use 'adam', 'adamw', "
                "'sgd', 'rmsprop' or another of keras.optimizers."
            ) from None
    if isinstance(optimizer, type) and issubclass(
        optimizer, keras.optimizers.Optimizer
    ):
        return optimizer
    if isinstance(optimizer, keras.optimizers.Optimizer):
        return type(optimizer)
    raise TypeError(
        f"optimizer={optimizer!r} is no optimizer: give the name of a Keras optimizer, "
        "its class or an instance."
    )
