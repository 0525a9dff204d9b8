"""Labels that layers and losses are given: refused where no score belongs to them.

Outside of a graph, values are known and an error can say what is wrong. Inside of one
only TensorFlow can raise. On the other backends, what is computed from a wrong label is
NaN: training then reports a loss of NaN, and does not learn from an invented score.
"""

from typing import Any

from sklstm._keras import keras

import numpy as np

from sklstm.networks.crf import _chain


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


def is_real_step(potentials: Any) -> Any:
    """Return (n, n_steps), True where the mask of the layer was."""
    return potentials[..., 0, -1] > _chain.NEVER / 2


def check_potentials(potentials: Any) -> Any:
    potentials = keras.ops.convert_to_tensor(potentials)
    shape = known_shape(potentials)
    n_labels = shape[-1] if shape else None
    check_shape(
        "potentials",
        potentials,
        (None, None, n_labels, n_labels),
        "(n, n_steps, n_labels, n_labels), as LinearChainCRF gives them",
    )
    return potentials


def check_mask(mask: Any) -> Any:
    """Return (n,): whether no step of a chain counts after one that does not."""
    ops = keras.ops
    right = ops.all(ops.logical_or(mask[:, :-1], ops.logical_not(mask[:, 1:])), axis=1)
    known = known_values(right)
    if known is not None and not known.all():
        raise ValueError(
            f"mask leaves out steps of chain {known.argmin()} before others that "
            "count: chains are filled up at the right, for example by "
            "keras.utils.pad_sequences(..., padding='post')."
        )
    return right


def check_labels(labels: Any, potentials: Any) -> tuple[Any, Any]:
    """Return labels as int32, and (n,): 1, or NaN where a chain's are no labels."""
    ops = keras.ops
    potentials = check_potentials(potentials)
    n_labels = potentials.shape[-1]
    values = known_values(labels)
    if values is not None and values.dtype.kind not in "buif":
        raise ValueError(
            f"labels are {values.dtype}, but must be whole numbers from 0 to "
            f"{n_labels - 1}: number the classes."
        )
    # float32 holds all numbers of labels. Of larger ones no two need be told apart, but
    # as int32 they might become small.
    y = ops.cast(labels if values is None else values.astype("float32"), "float32")
    check_shape(
        "labels",
        y,
        potentials.shape[:2],
        f"(n, n_steps), a number for each step, here {tuple(potentials.shape[:2])}",
    )
    is_label = ops.logical_and(y >= 0, y < n_labels)
    is_label = ops.logical_and(is_label, ops.equal(y, ops.round(y)))
    fine = ops.logical_or(is_label, ops.logical_not(counted_steps(potentials)))
    wrong = known_values(ops.logical_not(fine))
    if values is not None and wrong is not None and wrong.any():
        found = ", ".join(map(str, np.unique(values[wrong])[:4].tolist()))
        raise ValueError(
            f"labels hold {found}, but the potentials are of {n_labels} labels: they "
            f"must be whole numbers from 0 to {n_labels - 1} at all steps that the "
            "mask does not leave out."
        )
    y = ops.where(is_label, y, 0.0)  # not every backend takes others, to ignore them
    right = one_or_nan(
        ops.all(fine, axis=1),
        potentials.dtype,
        f"labels must be whole numbers from 0 to {n_labels - 1} at all steps that the "
        "mask does not leave out.",
    )
    return ops.cast(y, "int32"), right


def counted_steps(potentials: Any) -> Any:
    """Return (n, n_steps): whether a step's label counts.

    As `is_real_step`, but that a chain without any step has not one either.
    """
    ops = keras.ops
    real = is_real_step(potentials)
    silent = ops.all(ops.equal(potentials[:, 0], 0.0), axis=(1, 2))
    alone = ops.logical_not(ops.any(real[:, 1:], axis=1))
    none = ops.logical_and(silent, alone)[:, None]
    first = ops.logical_and(real[:, :1], ops.logical_not(none))
    return ops.concatenate([first, real[:, 1:]], axis=1)
