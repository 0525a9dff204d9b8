"""The engine on PyTorch, which runs an epoch as a Python loop over the batches.

The data are on the device, the batches are gathered there, and the metrics stay there
until the epoch is over. `model.fit` copies each batch from the host, and reads all
metrics after each batch.
"""

import functools
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

from sklstm._keras import keras

import numpy as np
import torch
from keras.src.backend.torch.core import get_device

from sklstm.training._metrics import to_floats
from sklstm.training._parts import fits_at_once, in_parts
from sklstm.training._torch_forward import Forward, arrange
from sklstm.training._torch_step import (
    AdamUpdates,
    Counts,
    KerasUpdates,
    direct_loss,
)


class EagerEngine:
    """Runs a compiled model epoch by epoch, see `Engine`.

    Parameters
    ----------
    model : keras.Model
        Compiled model whose optimizer is built.
    joint_augmentation : JointAugmentation, Mixing or None
        Changes samples and targets alike, in training.
    """

    def __init__(self, model: keras.Model, joint_augmentation: Any = None) -> None:
        self._model = model
        self._joint_augmentation = joint_augmentation
        self._forward = None
        if Forward.can_run(model):
            arrange(model)
            self._forward = Forward(model)

    def release(self) -> None:
        """Free the list of calls."""
        self._forward = None

    def load(self, x: np.ndarray, y: np.ndarray, w: np.ndarray) -> tuple:
        """Copy data to the device, once per fit, unless there is much."""
        if not fits_at_once(x):
            return x, y, w
        return tuple(map(_to_device, (x, y, w)))

    def train_epoch(self, data: tuple, order: np.ndarray, batch_size: int) -> dict:
        """Train on the samples in the given order; return the metrics."""
        model, optimizer = self._model, self._model.optimizer
        variables = model.trainable_weights
        values = [variable.value for variable in variables]
        compute_loss = self._loss_function(training=True)
        can_run = AdamUpdates.can_run(optimizer, variables)
        updates: Any = (AdamUpdates if can_run else KerasUpdates)(optimizer, variables)
        counts = Counts(model)
        with self._counted_seeds():
            for x, y, w in _batches(data, order, batch_size):
                if self._joint_augmentation is not None:
                    x, y, w = self._joint_augmentation(x, y, w)
                outputs = self._run(x, training=True)
                loss = compute_loss(x, y, outputs, w)
                if variables:
                    gradients = torch.autograd.grad(
                        updates.scaled(loss), values, allow_unused=True
                    )
                    if can_run and any(g is None for g in gradients):
                        updates.end()
                        can_run = False
                        updates = KerasUpdates(optimizer, variables)
                    with torch.no_grad():
                        updates.apply(list(gradients))
                with torch.no_grad():
                    counts.add(loss.detach(), y, outputs.detach(), w)
        updates.end()
        return to_floats(counts.result())

    def evaluate(self, data: tuple, batch_size: int) -> dict:
        """Return loss and metrics on the data."""
        compute_loss = self._loss_function(training=False)
        counts = Counts(self._model)
        order = np.arange(len(data[0]))
        with torch.no_grad():
            for x, y, w in _batches(data, order, batch_size):
                outputs = self._run(x, training=False)
                counts.add(compute_loss(x, y, outputs, w), y, outputs, w)
        return to_floats(counts.result())

    def _run(self, x: Any, training: bool) -> Any:
        """Return the output of the network."""
        if self._forward is not None:
            return self._forward(x, training)
        return self._model(x, training=training)

    def _loss_function(self, training: bool) -> Callable:
        """Return a function of samples, targets, outputs and weights."""
        model = self._model
        direct = None if self._forward is None else direct_loss(model)
        if direct is None:
            return functools.partial(model._compute_loss, training=training)
        penalized = [v for v in model.trainable_weights if v.regularizer is not None]

        def compute(x: Any, y: Any, outputs: Any, w: Any) -> Any:
            loss = direct(y, outputs, w)
            for variable in penalized:
                loss = loss + variable.regularizer(variable.value)
            return loss

        return compute

    @contextmanager
    def _counted_seeds(self) -> Iterator[None]:
        if self._forward is not None:
            self._forward.begin()
        try:
            yield
        finally:
            if self._forward is not None:
                self._forward.end()

    def predict(self, x: np.ndarray, batch_size: int) -> np.ndarray:
        """Return the network's output, (n, n_outputs)."""
        outputs = []
        with torch.no_grad():
            for i in range(0, len(x), batch_size):
                part = _to_device(x[i : i + batch_size]).to(torch.float32)
                outputs.append(self._run(part, training=False).cpu().numpy())
        return np.concatenate(outputs)


def _to_device(array: np.ndarray) -> Any:
    # A copy: the tensor must not follow changes of the caller's array.
    # PyTorch knows no negative strides.
    return torch.tensor(np.ascontiguousarray(array), device=get_device())


def _batches(data: tuple, order: np.ndarray, batch_size: int) -> Iterable[tuple]:
    """Yield samples in float32, targets and weights of each batch."""
    parts: Iterable[tuple] = [(data, order)]
    if not torch.is_tensor(data[0]):
        parts = (
            (tuple(map(_to_device, part)), np.arange(len(part[0])))
            for part in in_parts(data, order, batch_size)
        )
    for (x, y, w), rows in parts:
        rows = torch.from_numpy(rows.astype(np.int64)).to(x.device)
        for batch in rows.split(batch_size):
            yield x[batch].to(torch.float32), y[batch], w[batch]
