"""Keras' batch normalization in one operator of TensorFlow."""

from typing import Any

from sklstm._keras import keras

# The other backends work without TensorFlow.
_BACKEND = keras.backend.backend()
if _BACKEND == "tensorflow":
    import tensorflow as tf


@keras.saving.register_keras_serializable("sklstm")
class FusedBatchNormalization(keras.layers.BatchNormalization):
    """`keras.layers.BatchNormalization` that trains faster on TensorFlow.

    The layer has the weights of `keras.layers.BatchNormalization` and gives the same
    results up to rounding. On TensorFlow, training on images in float32 computes the
    moments and the normalized images in one operator, and their gradients in another.
    Two cores need less than half of the time that Keras' code takes. In all other cases
    the layer runs Keras' code.

    Parameters
    ----------
    **kwargs
        Keyword arguments of `keras.layers.BatchNormalization`.

    Examples
    --------
    >>> import keras
    >>> from sklstm.networks import FusedBatchNormalization
    >>> layer = FusedBatchNormalization(momentum=0.9)
    >>> tuple(layer(keras.ops.ones((2, 8, 8, 3)), training=True).shape)
    (2, 8, 8, 3)
    """

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)

    def call(self, inputs: Any, training: bool | None = None, mask: Any = None) -> Any:
        if not (training and mask is None and self._can_fuse(inputs)):
            return super().call(inputs, training=training, mask=mask)
        ones = tf.ones(inputs.shape[-1:])
        outputs, mean, variance, *_ = tf.raw_ops.FusedBatchNormV3(
            x=inputs,
            scale=tf.convert_to_tensor(self.gamma) if self.scale else ones,
            offset=tf.convert_to_tensor(self.beta) if self.center else 0 * ones,
            mean=tf.constant([], tf.float32),
            variance=tf.constant([], tf.float32),
            epsilon=self.epsilon,
            exponential_avg_factor=1.0,
            is_training=True,
        )
        # The operator divides the sum of squares by n - 1, and Keras by n.
        size = tf.cast(tf.size(inputs), tf.float32)  # n * number of channels
        variance = variance * (1 - inputs.shape[-1] / size)
        for moving, found in (
            (self.moving_mean, mean),
            (self.moving_variance, variance),
        ):
            moving.assign(moving * self.momentum + found * (1 - self.momentum))
        return outputs

    def _can_fuse(self, inputs: Any) -> bool:
        return (
            _BACKEND == "tensorflow"
            and len(inputs.shape) == 4
            and self.axis in (-1, 3)
            and inputs.dtype == "float32"
            and self.compute_dtype == "float32"
            and self.trainable
            # Keras 3.12 has no `renorm`.
            and not (getattr(self, "renorm", False) or self.synchronized)
        )
