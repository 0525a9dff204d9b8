"""Probabilities in float32 for networks that compute in half precision."""

from typing import Any

from sklstm._keras import keras


@keras.saving.register_keras_serializable("sklstm")
class Probabilities(keras.layers.Layer):
    """Cast probabilities from half precision to float32.

    In half precision, the probabilities of a sample do not sum to one exactly. The
    layer divides rows whose sum is within 0.05 of one by their sum. It does not change
    other rows: these are no probabilities, and a user must be able to see that.

    Parameters
    ----------
    **kwargs
        Keyword arguments of `keras.layers.Layer`. The dtype is always float32.

    Examples
    --------
    >>> import keras
    >>> from sklstm.networks import Probabilities
    >>> Probabilities()(keras.ops.array([[0.52, 0.52]], "float16")).numpy()
    array([[0.5, 0.5]], dtype=float32)
    """

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**{**kwargs, "dtype": "float32"})

    def call(self, inputs: Any) -> Any:
        ops = keras.ops
        x = ops.cast(inputs, "float32")
        total = ops.sum(x, axis=-1, keepdims=True)
        return x / ops.where(ops.abs(total - 1) < 0.05, total, ops.ones_like(total))

    def compute_output_shape(self, input_shape: tuple) -> tuple:
        return input_shape
