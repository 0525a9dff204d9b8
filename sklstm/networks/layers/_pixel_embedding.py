"""Learned vectors for grey levels."""

from typing import Any

from sklstm._keras import keras


@keras.saving.register_keras_serializable("sklstm")
class PixelEmbedding(keras.layers.Layer):
    """Give each of 256 grey levels a vector of its own, learned.

    Takes (n, n_steps, n_features), gives (n, n_steps, n_features * units): the vectors
    of a step's pixels side by side. The levels divide the range from `low` to `high`,
    two weights that `set` fills, evenly; what lies beyond belongs to the nearest. Of
    bytes that reach from 0 to 255 each is a level.

    Neighbouring levels start with neighbouring vectors (the level itself, then its
    slow waves; see `initialize`): started at random, a network would have to learn
    from few images that 17 is next to 18.

    Parameters
    ----------
    units : int
        Length of a level's vector.
    **kwargs
        Passed on to `keras.layers.Layer`.
    """

    n_levels = 256

    def __init__(self, units: int = 4, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.units = units

    def build(self, input_shape: tuple) -> None:
        own: dict[str, Any] = {"shape": (), "trainable": False, "autocast": False}
        self.low = self.add_weight(initializer="zeros", name="low", **own)
        self.high = self.add_weight(initializer="ones", name="high", **own)
        self.levels = self.add_weight(
            shape=(self.n_levels, self.units),
            initializer="glorot_uniform",
            name="levels",
        )

    def set(self, low: float, high: float) -> None:
        """Set the range that the levels divide, in the input's units.

        Parameters
        ----------
        low, high : float
            The lowest and the highest level.
        """
        self.low.assign(low)
        self.high.assign(high if high > low else low + 1.0)

    def call(self, inputs: Any) -> Any:
        ops = keras.ops
        x = ops.cast(inputs, "float32")
        place = (x - ops.cast(self.low, "float32")) / ops.cast(
            self.high - self.low, "float32"
        )
        place = ops.clip(place, 0, 1) * (self.n_levels - 1)
        level = ops.cast(ops.round(place), "int32")
        # Times one: the gradient of a product is dense, that of a bare lookup is not.
        vectors = ops.take(self.levels * 1.0, level, axis=0)
        shape = ops.shape(inputs)
        x = ops.reshape(vectors, (shape[0], shape[1], inputs.shape[-1] * self.units))
        return ops.cast(x, self.compute_dtype)

    def compute_output_shape(self, input_shape: tuple) -> tuple:
        return (*input_shape[:-1], input_shape[-1] * self.units)

    def get_config(self) -> dict:
        return {**super().get_config(), "units": self.units}
