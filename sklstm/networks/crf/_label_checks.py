"""Labels that layers and losses are given: refused where no score belongs to them.

Outside of a graph, values are known and an error can say what is wrong. Inside of one
only TensorFlow can raise. On the other backends, what is computed from a wrong label is
NaN: training then reports a loss of NaN, and does not learn from an invented score.
"""

from typing import Any

from sklstm._keras import keras

import numpy as np


def known_values(x: Any) -> np.ndarray | None:
    """Return the values of an array or tensor; None inside of a graph."""
    if isinstance(x, np.ndarray | list | tuple):
        return np.asarray(x)
    try:
        if keras.backend.backend() == "torch":
            return keras.ops.convert_to_numpy(x)
        # Keras copies, of which TensorFlow's tensors without values warn first.
        return np.asarray(x)
    # Every backend has an error of its own for a tensor that has no values yet.
    except Exception:
        return None


def known_shape(x: Any) -> tuple | None:
    """Return the shape of a tensor; None where not even its rank is known."""
    try:
        return tuple(x.shape)
    except ValueError:
        return None


def check_shape(name: str, x: Any, expected: tuple, layout: str) -> None:
    """Raise if the shape of a tensor is not the expected one, as far as it is known.

    Parameters
    ----------
    name : str
        What messages call the tensor.
    x : tensor
        The tensor.
    expected : tuple of int or None
        None for an axis of any length.
    layout : str
        What messages call the expected shape.
    """
    shape = known_shape(x)
    if shape is None:
        return
    agrees = len(shape) == len(expected) and all(
        a is None or b is None or a == b for a, b in zip(shape, expected, strict=True)
    )
    if not agrees:
        raise ValueError(f"{name} of shape {shape} must be {layout}.")


def one_or_nan(right: Any, dtype: Any, message: str | None = None) -> Any:
    """Return 1 where `right` is True and NaN elsewhere, to multiply a result by.

    Parameters
    ----------
    right : tensor of bool
        Whether a result has a meaning.
    dtype : data-type
        Of the result.
    message : str or None
        What a graph of TensorFlow raises instead of NaN. None for NaN there too.
    """
    ops = keras.ops
    if message is not None and keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        with tf.control_dependencies(
            [tf.debugging.Assert(tf.reduce_all(right), [message])]
        ):
            right = tf.identity(right)
    return ops.where(right, ops.cast(1.0, dtype), ops.cast(float("nan"), dtype))
