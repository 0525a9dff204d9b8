"""Return probabilities in single precision whatever the network computes in."""

from typing import Any

from sklstm._keras import keras


@keras.saving.register_keras_serializable("sklstm")
class Probabilities(keras.layers.Layer):
    """Cast probabilities that were computed in half precision to float32.

    Rows that sum to one up to the rounding of half precision are divided by their sum.
    All others stay what they are: they are no probabilities, and shall be seen so.

    Parameters
    ----------
    **kwargs
        Passed on to `keras.layers.Layer`.
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
