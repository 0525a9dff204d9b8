"""The engine on PyTorch, which runs an epoch as a Python loop over the batches.

The data are on the device, the batches are gathered there, and the metrics stay there
until the epoch is over. `model.fit` copies each batch from the host, and reads all
metrics after each batch.
"""

from collections.abc import Iterable
from typing import Any

from sklstm._keras import keras

import numpy as np
import torch
from keras.src.backend.torch.core import get_device

from sklstm.training._metrics import to_floats
from sklstm.training._parts import fits_at_once, in_parts


class EagerEngine:
    """Runs a compiled model epoch by epoch, see `Engine`.

    Parameters
    ----------
    model : keras.Model
        Compiled model whose optimizer is built.
    joint_augmentation : JointAugmentation or None
        Changes samples and targets alike, in training.
    """

    def __init__(self, model: keras.Model, joint_augmentation: Any = None) -> None:
        self._model = model
        self._joint_augmentation = joint_augmentation

    def release(self) -> None:
        """Nothing is compiled, so there is nothing to free."""

    def load(self, x: np.ndarray, y: np.ndarray, w: np.ndarray) -> tuple:
        """Copy data to the device, once per fit, unless there is much."""
        if not fits_at_once(x):
            return x, y, w
        return tuple(map(_to_device, (x, y, w)))

    def train_epoch(self, data: tuple, order: np.ndarray, batch_size: int) -> dict:
        """Train on the samples in the given order; return the metrics."""
        model, optimizer = self._model, self._model.optimizer
        model.reset_metrics()
        variables = model.trainable_weights
        for x, y, w in _batches(data, order, batch_size):
            if self._joint_augmentation is not None:
                x, y = self._joint_augmentation(x, y)
            outputs = model(x, training=True)
            loss = model._compute_loss(x, y, outputs, w, training=True)
            for variable in variables:
                variable.value.grad = None
            if variables:
                optimizer.scale_loss(loss).backward()
                gradients = [variable.value.grad for variable in variables]
                with torch.no_grad():
                    optimizer.apply(gradients, variables)
            with torch.no_grad():
                self._count(loss.detach(), y, outputs.detach(), w)
        return to_floats(model.get_metrics_result())

    def evaluate(self, data: tuple, batch_size: int) -> dict:
        """Return loss and metrics on the data."""
        model = self._model
        model.reset_metrics()
        order = np.arange(len(data[0]))
        with torch.no_grad():
            for x, y, w in _batches(data, order, batch_size):
                outputs = model(x, training=False)
                loss = model._compute_loss(x, y, outputs, w, training=False)
                self._count(loss, y, outputs, w)
        return to_floats(model.get_metrics_result())

    def _count(self, loss: Any, y: Any, outputs: Any, w: Any) -> None:
        """Add a batch to the metrics."""
        model = self._model
        model._loss_tracker.update_state(loss, sample_weight=len(y))
        if model._compile_metrics is not None:
            model._compile_metrics.update_state(y, outputs, w)

    def predict(self, x: np.ndarray, batch_size: int) -> np.ndarray:
        """Return the network's output, (n, n_outputs)."""
        outputs = []
        with torch.no_grad():
            for i in range(0, len(x), batch_size):
                part = _to_device(x[i : i + batch_size]).to(torch.float32)
                outputs.append(self._model(part, training=False).cpu().numpy())
        return np.concatenate(outputs)


def _to_device(array: np.ndarray) -> Any:
    # A copy: the tensor must not follow changes of the caller's array.
    return torch.tensor(array, device=get_device())


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
