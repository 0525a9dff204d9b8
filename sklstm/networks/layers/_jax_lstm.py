"""cuDNN's LSTM on JAX, with what Keras' way to it lacks.

Keras 3.15 returns the steps of a layer that reads backwards in the wrong order. JAX
compiles cuDNN's LSTM in float32 only, and there is no error when a layer is traced.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

from sklstm._keras import keras

import jax
from keras.src import backend
from keras.src.backend.common.variables import AutocastScope

_STACKED: ContextVar[bool] = ContextVar("sklstm_stacked", default=False)


def on_gpu() -> bool:
    """Return whether JAX computes on a GPU."""
    return jax.default_backend() == "gpu"


@contextmanager
def for_vmap() -> Iterator[None]:
    """Let layers that are traced inside the block leave cuDNN out.

    `jax.vmap` has no rule for cuDNN's LSTM. In a loop, it says so after the layer was
    traced.
    """
    token = _STACKED.set(True)
    try:
        yield
    finally:
        _STACKED.reset(token)


def may_use_cudnn() -> bool:
    """Return whether a layer that is traced now may use cuDNN."""
    return on_gpu() and not _STACKED.get()


def inner_loop(
    layer: keras.layers.LSTM, sequences: Any, initial_state: Any
) -> tuple | None:
    """Run all steps of a layer in cuDNN.

    Parameters
    ----------
    layer : keras.layers.LSTM
        Layer, whose dropout is not applied.
    sequences : Array of shape (n, n_steps, n_features)
        Input.
    initial_state : list of Array
        Hidden state and cell state, (n, units).

    Returns
    -------
    tuple or None
        The output at the step that is read last, (n, units); all outputs in the order
        in which the steps are read, (n, n_steps, units), or the last one, (n, 1,
        units); and the two states after the last step. None if cuDNN does not have
        such a layer, or inside `for_vmap`.
    """
    if not may_use_cudnn():
        return None
    cell = layer.cell
    with single_precision(layer.compute_dtype) as cast:
        x, states = cast((sequences, list(initial_state)))
        try:
            found = backend.lstm(
                keras.ops.flip(x, 1) if layer.go_backwards else x,
                *states,
                None,
                kernel=cell.kernel,
                recurrent_kernel=cell.recurrent_kernel,
                bias=cell.bias,
                activation=cell.activation,
                recurrent_activation=cell.recurrent_activation,
                return_sequences=layer.return_sequences,
                go_backwards=False,
                unroll=layer.unroll,
            )
        except NotImplementedError:
            return None
    return _cast(found, layer.compute_dtype)


@contextmanager
def single_precision(dtype: str) -> Iterator[Callable]:
    """Let Keras read weights in float32 inside the block, if half precision is asked.

    Parameters
    ----------
    dtype : str
        dtype in which a layer computes.

    Yields
    ------
    callable
        Function that casts arrays to the dtype of the block.
    """
    if dtype not in ("float16", "bfloat16") or not may_use_cudnn():
        yield lambda arrays: arrays
        return
    with AutocastScope(None):
        yield lambda arrays: _cast(arrays, "float32")


def _cast(arrays: Any, dtype: str) -> Any:
    return jax.tree.map(lambda array: keras.ops.cast(array, dtype), arrays)
