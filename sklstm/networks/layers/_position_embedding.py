"""Learned vectors for the positions of the steps."""

from typing import Any

from sklstm._keras import keras


@keras.saving.register_keras_serializable("sklstm")
class PositionEmbedding(keras.layers.Layer):
    """Add a learned vector of its position to every step.

    The layer takes and returns (n, n_steps, n_features). The number of steps must be
    fixed, because each has a vector of its own (Dosovitskiy et al., 2021).
    `PositionEncoding` also reads sequences of any length.

    Parameters
    ----------
    **kwargs
        Keyword arguments of `keras.layers.Layer`.

    References
    ----------
    Dosovitskiy, A., Beyer, L., Kolesnikov, A., Weissenborn, D., Zhai, X., Unterthiner,
    T., Dehghani, M., Minderer, M., Heigold, G., Gelly, S., Uszkoreit, J. and Houlsby,
    N. (2021). An image is worth 16x16 words: transformers for image recognition at
    scale. ICLR.

    Examples
    --------
    >>> import keras
    >>> from sklstm.networks import PositionEmbedding
    >>> tuple(PositionEmbedding()(keras.ops.ones((2, 49, 16))).shape)
    (2, 49, 16)
    """

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)

    def build(self, input_shape: tuple) -> None:
        self.positions = self.add_weight(
            shape=tuple(input_shape[1:]),
            initializer=keras.initializers.RandomNormal(stddev=0.02),
            name="positions",
        )

    def call(self, inputs: Any) -> Any:
        return inputs + keras.ops.cast(self.positions, self.compute_dtype)

    def compute_output_shape(self, input_shape: tuple) -> tuple:
        return input_shape
