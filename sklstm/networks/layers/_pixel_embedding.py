"""Learned vectors for grey levels."""

from typing import Any

from sklstm._keras import keras


@keras.saving.register_keras_serializable("sklstm")
class PixelEmbedding(keras.layers.Layer):
    """Replace each pixel by a learned vector of its grey level.

    The layer takes (n, n_steps, n_features). It returns (n, n_steps, n_features *
    units): the vectors of all pixels of a step, joined.

    There are 256 grey levels, evenly spaced from `low` to `high`. Both are weights that
    training does not change; `set` sets them. A pixel takes the nearest level, so with
    a range from 0 to 255 each byte has its own level.

    `sklstm.networks.initialize.initialize` starts neighbouring levels with similar
    vectors. Random vectors would have to learn from the data, which may be few images,
    that level 17 is next to level 18.

    Parameters
    ----------
    units : int
        Length of the vector of a level.
    **kwargs
        Keyword arguments of `keras.layers.Layer`.

    Examples
    --------
    >>> import keras
    >>> from sklstm.networks import PixelEmbedding
    >>> layer = PixelEmbedding(units=4)
    >>> layer.build((None, 28, 28))
    >>> layer.set(low=0, high=255)
    >>> tuple(layer(keras.ops.ones((1, 28, 28))).shape)
    (1, 28, 112)
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
        """Set the range of the grey levels, in the units of the input.

        Parameters
        ----------
        low, high : float
            Values of the lowest and the highest level. If `high` is not above `low`, it
            becomes ``low + 1``.
        """
        self.low.assign(low)
        self.high.assign(high if high > low else low + 1.0)

    def call(self, inputs: Any) -> Any:
        ops = keras.ops
        x = ops.cast(inputs, "float32")
        position = (x - ops.cast(self.low, "float32")) / ops.cast(
            self.high - self.low, "float32"
        )
        position = ops.clip(position, 0, 1) * (self.n_levels - 1)
        level = ops.cast(ops.round(position), "int32")
        # The product makes the gradient dense. A lookup in the variable itself would
        # have a sparse gradient.
        vectors = ops.take(self.levels * 1.0, level, axis=0)
        shape = ops.shape(inputs)
        x = ops.reshape(vectors, (shape[0], shape[1], inputs.shape[-1] * self.units))
        return ops.cast(x, self.compute_dtype)

    def compute_output_shape(self, input_shape: tuple) -> tuple:
        return (*input_shape[:-1], input_shape[-1] * self.units)

    def get_config(self) -> dict:
        return {**super().get_config(), "units": self.units}
