"""The memory that training takes: an estimate, what is free, and what errors say.

The module loads Keras only where an estimate needs it.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from sklstm.training._data import AT_ONCE

# Errors of TensorFlow, PyTorch and JAX. The classes are not imported, because a process
# loads one of these libraries only.
_NAMES = {"ResourceExhaustedError", "OutOfMemoryError"}
_TEXT = re.compile(r"RESOURCE_EXHAUSTED|out of memory|can't allocate memory", re.I)
# Classes that also stand for other errors, so that the text decides.
_UNCLEAR = {"XlaRuntimeError", "JaxRuntimeError", "RuntimeError", "InternalError"}


def is_out_of_memory(error: BaseException | None) -> bool:
    """Return whether an error, or one that it follows from, says that memory ran out.

    Parameters
    ----------
    error : BaseException or None
        Error of any backend of Keras, or of NumPy.
    """
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        names = {kind.__name__ for kind in type(error).__mro__}
        if isinstance(error, MemoryError) or names & _NAMES:
            return True
        if names & _UNCLEAR and _TEXT.search(str(error)):
            return True
        seen.add(id(error))
        error = error.__cause__ or error.__context__
    return False


@dataclass(frozen=True)
class MemoryEstimate:
    """Bytes that the training of a network takes, estimated from its graph.

    Parameters
    ----------
    weights : int
        Weights and other variables of the network.
    gradients : int
        One number for each weight that trains.
    optimizer : int
        Variables of the optimizer. Adam has two numbers for each weight.
    activations : int
        Outputs of the layers for one batch, and their gradients.
    data : int
        Samples that are copied to where the network is.
    """

    weights: int
    gradients: int
    optimizer: int
    activations: int
    data: int

    @property
    def total(self) -> int:
        """Sum of all parts."""
        parts = self.weights, self.gradients, self.optimizer
        return sum(parts) + self.activations + self.data


def estimate_memory(model: Any, x: Any, batch_size: int) -> MemoryEstimate:
    """Estimate the memory that training on samples takes.

    The activations of a batch are ``2 * batch_size * itemsize * n``, where ``n`` is the
    number of values that the layers give for a sample. An LSTM keeps five more values
    for each unit and step, its gates and its state. The factor 2 stands for the
    gradients.

    Parameters
    ----------
    model : keras.Model
        Compiled model whose optimizer is built.
    x : ndarray of shape (n, ...)
        Samples in the form that the network reads.
    batch_size : int
        Number of samples in a batch.

    Returns
    -------
    MemoryEstimate
        Bytes of each part.
    """
    n_values, itemsize = _values_per_sample(model, tuple(x.shape[1:]))
    return MemoryEstimate(
        weights=_bytes(model.variables),
        gradients=_bytes(model.trainable_variables),
        optimizer=_bytes(model.optimizer.variables),
        activations=2 * min(batch_size, len(x)) * itemsize * n_values,
        data=min(math.prod(x.shape) * np.dtype(x.dtype).itemsize, AT_ONCE),
    )


def _bytes(variables: list) -> int:
    return sum(
        math.prod(v.shape) * _itemsize(getattr(v, "dtype", "float32"))
        for v in variables
    )


def _itemsize(dtype: Any) -> int:
    return 2 if str(dtype) in ("float16", "bfloat16") else 4


def _values_per_sample(model: Any, shape: tuple) -> tuple[int, int]:
    """Return the number of values that all layers give for a sample, and their size."""
    # Here and not above: this loads Keras.
    from sklstm._keras import keras

    layers = [
        layer
        for layer in model.layers
        if not isinstance(layer, keras.layers.InputLayer)
    ]
    pairs = [
        (layer, output)
        for layer in layers
        for output in keras.tree.flatten(layer.output)
    ]
    outputs = [output for _, output in pairs]
    # One sample, so that the lines of an image count, which some layers take for
    # samples of their own.
    one = keras.KerasTensor((1, *shape), dtype=model.inputs[0].dtype)
    graph = keras.Function(model.inputs[0], outputs)
    sizes = [
        math.prod(1 if side is None else side for side in found.shape)
        for found in keras.tree.flatten(graph.compute_output_spec(one))
    ]
    total = sum(sizes)
    for (layer, _), size in zip(pairs, sizes, strict=True):
        total += _inside(layer, size, shape[0], keras)
    return total, _itemsize(getattr(model, "compute_dtype", "float32"))


def _inside(layer: Any, size: int, n_open: int, keras: Any) -> int:
    """Return the number of values for a sample that an LSTM keeps inside.

    The number of steps may be open in the graph. It is then that of the samples.
    """
    inner = getattr(layer, "forward_layer", layer)
    if not isinstance(inner, keras.layers.LSTM):
        return 0
    if inner.return_sequences:
        return 5 * size
    # The output is that of one step, and the layer keeps all.
    n_steps = layer.input.shape[1] or n_open
    return 6 * size * n_steps


def available_memory() -> int | None:
    """Return the bytes of memory that are free on the device that trains, if known."""
    # Here and not above: this loads Keras.
    from sklstm._keras import keras

    if keras.backend.backend() == "torch":
        # Here and not above: PyTorch is optional.
        import torch

        if torch.cuda.is_available():
            return int(torch.cuda.mem_get_info()[0])
    elif _sees_card(keras.backend.backend()):
        return None
    try:
        lines = Path("/proc/meminfo").read_text(encoding="utf-8")
    except OSError:
        return None
    found = re.search(r"MemAvailable:\s*(\d+) kB", lines)
    return int(found.group(1)) * 1024 if found else None


def _sees_card(backend: str) -> bool:
    # Here and not above: this loads Keras.
    from sklstm.training._devices import list_devices

    return any(not name.startswith("CPU") for name in list_devices())
