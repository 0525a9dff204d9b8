"""Scale the input by the mean and standard deviation of the training data."""

from typing import Any

from sklstm._keras import keras


@keras.saving.register_keras_serializable("sklstm")
class Standardize(keras.layers.Layer):
    """Subtract one mean from all pixels and divide by one standard deviation.

    The mean and the scale are weights that training does not change; `set` sets them.
    All pixels share them. With a mean and a scale for each pixel, a border that is
    black in every training image would have a scale of zero.

    Parameters
    ----------
    **kwargs
        Keyword arguments of `keras.layers.Layer`.

    Examples
    --------
    >>> import keras
    >>> from sklstm.networks import Standardize
    >>> layer = Standardize()
    >>> layer.build((None, 2))
    >>> layer.set(mean=100.0, scale=50.0)
    >>> layer(keras.ops.array([[0, 255]], "uint8")).numpy()
    array([[-2. ,  3.1]], dtype=float32)
    """

    def __init__(self, **kwargs: Any) -> None:
        # Without autocast, because a mixed policy would round pixels to half precision
        # before they are scaled.
        super().__init__(**{"autocast": False, **kwargs})

    def build(self, input_shape: tuple) -> None:
        # Without autocast, because a mixed policy would round the mean of a loaded
        # model, 3,500 for example, to half precision.
        own: dict[str, Any] = {"shape": (), "trainable": False, "autocast": False}
        self.mean = self.add_weight(initializer="zeros", name="mean", **own)
        self.scale = self.add_weight(initializer="ones", name="scale", **own)

    def set(self, mean: float, scale: float) -> None:
        """Set the mean and the scale, in the units of the input.

        Parameters
        ----------
        mean : float
            Number to subtract from the input.
        scale : float
            Number to divide the difference by, above zero.
        """
        self.mean.assign(mean)
        self.scale.assign(scale)

    def call(self, inputs: Any) -> Any:
        x = (keras.ops.cast(inputs, self.variable_dtype) - self.mean) / self.scale
        return keras.ops.cast(x, self.compute_dtype)

    def compute_output_shape(self, input_shape: tuple) -> tuple:
        return input_shape
