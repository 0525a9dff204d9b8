"""The loss, the metrics and the update of one batch, in few operators of PyTorch.

Keras computes them through its own operators, which convert and check each argument. In
a small network this takes longer than the network. The classes here compute the loss,
the accuracy and the optimizer of most trainings, and the others through Keras. The
numbers are Keras' up to rounding.
"""

import math
from collections.abc import Callable
from typing import Any

from sklstm._keras import keras

import torch
from keras.src.backend.torch.optimizers import torch_adam, torch_adamw

from sklstm.training._optimizer import takes_decay
from sklstm.training._updates import clip_by_value, gradient_norm

_EPSILON = keras.config.epsilon


def direct_loss(model: keras.Model) -> Callable | None:
    """Return a function of targets, outputs and weights, None for most losses.

    It computes what `model.compute_loss` computes, if no layer adds a loss.
    """
    loss = model.loss
    name = "sparse_categorical_crossentropy"
    if loss != name and loss is not keras.losses.sparse_categorical_crossentropy:
        return None
    if len(model.outputs[0].shape) != 2:
        return None

    def compute(y: Any, outputs: Any, w: Any) -> Any:
        p = outputs / outputs.sum(-1, keepdim=True)
        p = p.clamp(_EPSILON(), 1 - _EPSILON())
        losses = torch.nn.functional.nll_loss(p.log(), y.long(), reduction="none")
        return (losses * w).mean()

    return compute


class Counts:
    """Adds batches to the metrics of a model, on the device.

    Parameters
    ----------
    model : keras.Model
        Compiled model.
    """

    def __init__(self, model: keras.Model) -> None:
        self._model = model
        model.reset_metrics()
        self._mean = model._loss_tracker
        self._n = 0
        self._accuracy: Any = None

    def add(self, loss: Any, y: Any, outputs: Any, w: Any) -> None:
        """Add a batch, whose tensors carry no gradients."""
        self._mean.total.value.add_(loss, alpha=len(y))
        metrics = self._model._compile_metrics
        if self._n == 0 and metrics is not None and metrics.built and y.ndim == 1:
            self._accuracy = _only_accuracy(metrics)
        self._n += len(y)
        if self._accuracy is not None:
            hits = (outputs.argmax(-1) == y).sum()
            self._accuracy.total.value.add_(hits)
        elif metrics is not None:
            metrics.update_state(y, outputs, w)

    def result(self) -> dict:
        """Return the metrics over all batches, as Keras does."""
        self._mean.count.assign(self._n)
        if self._accuracy is not None:
            self._accuracy.count.assign(self._n)
        return self._model.get_metrics_result()


def _only_accuracy(metrics: Any) -> Any:
    """Return the accuracy, if it is all that Keras counts over class numbers."""
    found = metrics.metrics
    if len(found) == 1 and type(found[0]) is keras.metrics.SparseCategoricalAccuracy:
        return found[0]
    return None


class KerasUpdates:
    """Applies gradients through the optimizer of Keras.

    Parameters
    ----------
    optimizer : keras.optimizers.Optimizer
        Optimizer that is built.
    variables : list of keras.Variable
        Variables to update.
    """

    def __init__(self, optimizer: Any, variables: list) -> None:
        self._optimizer, self._variables = optimizer, variables

    def scaled(self, loss: Any) -> Any:
        """Return the loss to compute the gradients of."""
        return self._optimizer.scale_loss(loss)

    def apply(self, gradients: list) -> None:
        """Update the variables."""
        self._optimizer.apply(gradients, self._variables)

    def end(self) -> None:
        """Write what is counted on the host."""


class AdamUpdates:
    """Applies gradients by Adam, all variables together.

    The number of updates and the learning rate are counted on the host until `end`.

    Parameters
    ----------
    optimizer : keras.optimizers.Optimizer
        Optimizer for which `can_run` is True.
    variables : list of keras.Variable
        Variables to update.
    """

    def __init__(self, optimizer: Any, variables: list) -> None:
        self._optimizer = optimizer
        index = [optimizer._get_variable_index(v) for v in variables]
        self._values = [v.value for v in variables]
        self._moments = [optimizer._momentums[i].value for i in index]
        self._squares = [optimizer._velocities[i].value for i in index]
        self._decaying = []
        self._decay = optimizer.weight_decay
        decays = optimizer._use_weight_decay
        if optimizer.decays:
            self._decay, decays = float(optimizer.decay_strength), takes_decay
        if self._decay is not None:
            self._decaying = [v.value for v in variables if decays(v)]
        self._done = int(optimizer.iterations)
        self._n = 0
        self._rate = float(optimizer._learning_rate)
        self._schedule = [
            float(number)
            for number in (
                optimizer.schedule_peak,
                optimizer.schedule_start,
                optimizer.schedule_steps,
            )
        ]
        self._n_warmup = float(optimizer.schedule_warmup) if optimizer.warms else 0.0
        self._betas = torch.tensor([float(optimizer.beta_1), float(optimizer.beta_2)])

    @staticmethod
    def can_run(optimizer: Any, variables: list) -> bool:
        """Return whether the optimizer is Adam or AdamW without extras."""
        kinds = (torch_adam.Adam, torch_adamw.AdamW)
        return (
            getattr(optimizer, "made_of", None) in kinds
            and not optimizer.slows
            and isinstance(optimizer._learning_rate, keras.Variable)
            and not optimizer.amsgrad
            and not optimizer.gradient_accumulation_steps
            and not optimizer.use_ema
            and not (optimizer.clipnorm or optimizer.global_clipnorm)
            and optimizer.loss_scale_factor is None
            and len(variables) > 0
            and all(
                v.constraint is None
                and not v.overwrite_with_gradient
                and v.value.dtype == torch.float32
                for v in variables
            )
        )

    def scaled(self, loss: Any) -> Any:
        """Return the loss to compute the gradients of."""
        return loss

    def apply(self, gradients: list) -> None:
        """Update the variables.

        The gradients stay as they are: PyTorch may return one tensor for two variables.
        """
        optimizer = self._optimizer
        # The norm before clipping shows whether the gradient explodes.
        optimizer.gradient_norm_sum.value.add_(gradient_norm(gradients))
        if optimizer.clipvalue:
            gradients = clip_by_value(gradients, optimizer.clipvalue)
        rate = self._next_rate()
        if self._decaying:
            torch._foreach_mul_(self._decaying, 1 - self._decay * rate)
        self._n += 1
        # Keras' correction of the moments, in Keras' precision. The first updates would
        # differ by 1e-5 in double precision.
        step = torch.tensor(float(self._done + self._n))
        first, second = 1 - torch.pow(self._betas, step)
        rate *= float(torch.sqrt(second) / first)
        moments, squares = self._moments, self._squares
        torch._foreach_mul_(moments, optimizer.beta_1)
        torch._foreach_add_(moments, gradients, alpha=1 - optimizer.beta_1)
        torch._foreach_mul_(squares, optimizer.beta_2)
        squared = torch._foreach_mul(gradients, gradients)
        torch._foreach_add_(squares, squared, alpha=1 - optimizer.beta_2)
        scales = torch._foreach_sqrt(squares)
        torch._foreach_add_(scales, optimizer.epsilon)
        steps = torch._foreach_mul(moments, rate)
        torch._foreach_div_(steps, scales)
        torch._foreach_sub_(self._values, steps)

    def _next_rate(self) -> float:
        peak, start, n_steps = self._schedule
        done = self._done + self._n - start
        if done < self._n_warmup:
            self._rate = peak * (done + 1) / self._n_warmup
        elif n_steps > 0:
            falling, n_falling = done - self._n_warmup, n_steps - self._n_warmup
            fraction = min(falling / max(n_falling, 1.0), 1.0)
            self._rate = peak * 0.5 * (1 + math.cos(math.pi * fraction))
        return self._rate

    def end(self) -> None:
        """Write what is counted on the host to the variables of the optimizer."""
        optimizer = self._optimizer
        optimizer.iterations.assign_add(self._n)
        optimizer.gradient_norm_count.assign_add(float(self._n))
        if self._n > 0 and (self._schedule[2] > 0 or self._n_warmup > 0):
            optimizer._learning_rate.assign(self._rate)
