"""Scale the input by the mean and standard deviation of the training data."""

from typing import Any

from sklstm._keras import keras


@keras.saving.register_keras_serializable("sklstm")
class Standardize(keras.layers.Layer):
    """Cast to float and subtract one mean, divide by one standard deviation.

    The two numbers are weights that training does not move; `set` fills them. One
    pair serves all pixels: a border that is black in every training image would have
    no spread of its own to divide by.

    Parameters
    ----------
    **kwargs
        Passed on to `keras.layers.Layer`.
    """

    def __init__(self, **kwargs: Any) -> None:
        # Under a mixed policy: half precision would round pixels before they are small.
        super().__init__(**{"autocast": False, **kwargs})

    def build(self, input_shape: tuple) -> None:
        # Keras rounds weights to half precision, too, unless told not to: a loaded
        # model would read a mean of 3,500 as another.
        own: dict[str, Any] = {"shape": (), "trainable": False, "autocast": False}
        self.mean = self.add_weight(initializer="zeros", name="mean", **own)
        self.scale = self.add_weight(initializer="ones", name="scale", **own)

    def set(self, mean: float, scale: float) -> None:
        """Set the two numbers, in the input's units.

        Parameters
        ----------
        mean : float
            Subtracted from the input.
        scale : float
            What the rest is divided by, above zero.
        """
        self.mean.assign(mean)
        self.scale.assign(scale)

    def call(self, inputs: Any) -> Any:
        x = (keras.ops.cast(inputs, self.variable_dtype) - self.mean) / self.scale
        return keras.ops.cast(x, self.compute_dtype)

    def compute_output_shape(self, input_shape: tuple) -> tuple:
        return input_shape
