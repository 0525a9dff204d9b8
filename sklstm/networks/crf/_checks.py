"""Checks of labels, potentials and masks, inside and outside of graphs.

Outside of a graph the values are known, and an error can name the wrong one. Inside of
a graph only TensorFlow can raise an error. On the other backends the result of a wrong
label is NaN: training then reports a loss of NaN and does not learn from an invented
score.
"""

from typing import Any

from sklstm._keras import keras

import numpy as np

from sklstm.networks.crf import _chain

# The other backends work without TensorFlow.
if keras.backend.backend() == "tensorflow":
    import tensorflow as tf


def known_values(x: Any) -> np.ndarray | None:
    """Return the values of an array or tensor, or None inside of a graph."""
    if isinstance(x, np.ndarray | list | tuple):
        return np.asarray(x)
    try:
        if keras.backend.backend() == "torch":
            return keras.ops.convert_to_numpy(x)
        # Not keras.ops.convert_to_numpy: it asks for a copy, and a TensorFlow tensor
        # without values warns about that before it fails.
        return np.asarray(x)
    # Each backend raises another type of error for a tensor that has no values yet.
    except Exception:
        return None


def known_shape(x: Any) -> tuple | None:
    """Return the shape of a tensor, or None if its rank is unknown."""
    try:
        return tuple(x.shape)
    except ValueError:
        return None


def check_shape(name: str, x: Any, expected: tuple, layout: str) -> None:
    """Raise an error if the known part of a tensor's shape is not as expected.

    Parameters
    ----------
    name : str
        Name of the tensor in the error message.
    x : tensor
        The tensor.
    expected : tuple of int or None
        Expected shape; None stands for an axis of any length.
    layout : str
        Expected shape in the words of the error message.

    Raises
    ------
    ValueError
        If the rank or the length of an axis differs.
    """
    shape = known_shape(x)
    if shape is None:
        return
    agrees = len(shape) == len(expected) and all(
        a is None or b is None or a == b for a, b in zip(shape, expected, strict=True)
    )
    if not agrees:
        raise ValueError(f"{name} of shape {shape} must be {layout}.")


def one_or_nan(valid: Any, dtype: Any, message: str | None = None) -> Any:
    """Return a factor that turns invalid results into NaN.

    Parameters
    ----------
    valid : tensor of bool
        Whether each result is valid.
    dtype : data-type
        Dtype of the factor.
    message : str or None
        Message of the error that a TensorFlow graph raises if a result is invalid. If
        None, a TensorFlow graph gives NaN as the other backends do.

    Returns
    -------
    tensor
        1 where `valid` is True, NaN elsewhere.
    """
    ops = keras.ops
    if message is not None and keras.backend.backend() == "tensorflow":
        with tf.control_dependencies(
            [tf.debugging.Assert(tf.reduce_all(valid), [message])]
        ):
            valid = tf.identity(valid)
    return ops.where(valid, ops.cast(1.0, dtype), ops.cast(float("nan"), dtype))


def unmasked_steps(potentials: Any) -> Any:
    """Return (n, n_steps): False at the steps that the layer's mask left out.

    The first step is True in every chain: the potentials of a masked first step are
    zeros, which a real step may have, too.
    """
    return potentials[..., 0, -1] > _chain.IMPOSSIBLE / 2


def check_potentials(potentials: Any) -> Any:
    """Return potentials as a tensor, after a check of their shape."""
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
    """Check that chains are padded at the end only.

    Parameters
    ----------
    mask : tensor of bool, shape (n, n_steps)
        True at the steps that count.

    Returns
    -------
    tensor of bool, shape (n,)
        Whether the mask of each chain is valid.

    Raises
    ------
    ValueError
        If the values are known and a step is left out before one that counts.
    """
    ops = keras.ops
    valid = ops.all(ops.logical_or(mask[:, :-1], ops.logical_not(mask[:, 1:])), axis=1)
    known = known_values(valid)
    if known is not None and not known.all():
        raise ValueError(
            f"mask leaves out steps of chain {known.argmin()} before others that "
            "count: chains are filled up at the right, for example by "
            "keras.utils.pad_sequences(..., padding='post')."
        )
    return valid


def check_labels(labels: Any, potentials: Any) -> tuple[Any, Any]:
    """Check that labels are whole numbers from 0 to ``n_labels - 1``.

    Labels at masked steps may have any value.

    Parameters
    ----------
    labels : array-like or tensor of shape (n, n_steps)
        The labels.
    potentials : tensor of shape (n, n_steps, n_labels, n_labels)
        Log-potentials.

    Returns
    -------
    labels : tensor of int32, shape (n, n_steps)
        The labels, with 0 in place of invalid ones.
    factor : tensor of shape (n,)
        1, or NaN for a chain with invalid labels.

    Raises
    ------
    ValueError
        If the shape is wrong, or if the values are known and one is invalid.
    """
    ops = keras.ops
    potentials = check_potentials(potentials)
    n_labels = potentials.shape[-1]
    values = known_values(labels)
    if values is not None and values.dtype.kind not in "buif":
        raise ValueError(
            f"labels are {values.dtype}, but must be whole numbers from 0 to "
            f"{n_labels - 1}: number the classes."
        )
    # float32 represents every valid label exactly. A direct cast to int32 could turn a
    # number that is far too large into a valid label.
    y = ops.cast(labels if values is None else values.astype("float32"), "float32")
    check_shape(
        "labels",
        y,
        potentials.shape[:2],
        f"(n, n_steps), a number for each step, here {tuple(potentials.shape[:2])}",
    )
    is_label = ops.logical_and(y >= 0, y < n_labels)
    is_label = ops.logical_and(is_label, ops.equal(y, ops.round(y)))
    valid = ops.logical_or(is_label, ops.logical_not(_labelled_steps(potentials)))
    wrong = known_values(ops.logical_not(valid))
    if values is not None and wrong is not None and wrong.any():
        found = ", ".join(map(str, np.unique(values[wrong])[:4].tolist()))
        raise ValueError(
            f"labels hold {found}, but the potentials are of {n_labels} labels: they "
            f"must be whole numbers from 0 to {n_labels - 1} at all steps that the "
            "mask does not leave out."
        )
    y = ops.where(is_label, y, 0.0)  # some backends fail on labels out of range
    factor = one_or_nan(
        ops.all(valid, axis=1),
        potentials.dtype,
        f"labels must be whole numbers from 0 to {n_labels - 1} at all steps that the "
        "mask does not leave out.",
    )
    return ops.cast(y, "int32"), factor


def _labelled_steps(potentials: Any) -> Any:
    """Return (n, n_steps): whether the label of a step counts.

    This is `unmasked_steps`, except for a chain that is masked from its first step on:
    it has no step at all.
    """
    ops = keras.ops
    unmasked = unmasked_steps(potentials)
    all_zero = ops.all(ops.equal(potentials[:, 0], 0.0), axis=(1, 2))
    rest_masked = ops.logical_not(ops.any(unmasked[:, 1:], axis=1))
    empty = ops.logical_and(all_zero, rest_masked)[:, None]
    first = ops.logical_and(unmasked[:, :1], ops.logical_not(empty))
    return ops.concatenate([first, unmasked[:, 1:]], axis=1)
