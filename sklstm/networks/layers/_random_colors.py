"""Random changes of the brightness and the colours of images."""

from typing import Any

from sklstm._keras import keras


@keras.saving.register_keras_serializable("sklstm")
class RandomBrightness(keras.layers.Layer):
    """Make each image brighter or darker, in training only.

    Parameters
    ----------
    amount : float
        Largest number that is added to or subtracted from all pixels of an image, in
        standard deviations of its pixels.
    **kwargs
        Keyword arguments of `keras.layers.Layer`.

    Examples
    --------
    >>> import keras
    >>> from sklstm.networks import RandomBrightness
    >>> RandomBrightness(0.1)(keras.ops.ones((1, 1, 2, 1))).numpy().ravel()
    array([1., 1.], dtype=float32)
    """

    def __init__(self, amount: float, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.amount = amount
        self.seed_generator = keras.random.SeedGenerator()

    def call(self, images: Any, training: bool = False) -> Any:
        if not training:
            return images
        shift = _uniform(images, 1, self.amount, self.seed_generator)
        return images + shift * keras.ops.std(
            images, axis=_all_but_first(images), keepdims=True
        )

    def compute_output_shape(self, input_shape: tuple) -> tuple:
        return input_shape

    def get_config(self) -> dict:
        return {**super().get_config(), "amount": self.amount}


@keras.saving.register_keras_serializable("sklstm")
class RandomColor(keras.layers.Layer):
    """Change the colours of each photograph in RGB, in training only.

    The layer scales the difference of each pixel from its mean over red, green and
    blue: this is the saturation. Then it scales each of the three channels. The darkest
    value of the image stays, so values of any range can be scaled. Images that do not
    have three channels stay as they are.

    Parameters
    ----------
    amount : float
        Largest change of a scale, as a fraction.
    **kwargs
        Keyword arguments of `keras.layers.Layer`.

    Examples
    --------
    >>> import keras
    >>> from sklstm.networks import RandomColor
    >>> gray = keras.ops.ones((1, 1, 2, 1))
    >>> RandomColor(0.1)(gray, training=True).numpy().ravel()
    array([1., 1.], dtype=float32)
    """

    def __init__(self, amount: float, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.amount = amount
        self.seed_generator = keras.random.SeedGenerator()

    def call(self, images: Any, training: bool = False) -> Any:
        if not training or images.shape[-1] != 3:
            return images
        ops = keras.ops
        scales = 1 + _uniform(images, 4, self.amount, self.seed_generator)
        darkest = ops.min(images, axis=_all_but_first(images), keepdims=True)
        bright = images - darkest
        gray = ops.mean(bright, axis=-1, keepdims=True)
        bright = gray + (bright - gray) * scales[..., :1]
        return darkest + bright * scales[..., 1:]

    def compute_output_shape(self, input_shape: tuple) -> tuple:
        return input_shape

    def get_config(self) -> dict:
        return {**super().get_config(), "amount": self.amount}


def _all_but_first(images: Any) -> tuple[int, ...]:
    return tuple(range(1, len(images.shape)))


def _uniform(images: Any, channels: int, most: float, seed: Any) -> Any:
    """Return numbers from -most to most for the channels of each image."""
    ones = (1,) * (len(images.shape) - 2)
    shape = (keras.ops.shape(images)[0], *ones, channels)
    return keras.random.uniform(shape, -most, most, dtype="float32", seed=seed)
