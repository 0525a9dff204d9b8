"""Augmentation: random changes of images, in training only."""

from numbers import Real
from typing import Any

from sklstm._keras import keras

import numpy as np

from sklstm.networks.layers._data_format import CHANNELS_LAST
from sklstm.networks.layers._random_colors import RandomBrightness, RandomColor
from sklstm.networks.layers._random_moves import RandomMoves

# "light" and "medium" are general. The others are for a kind of image, and the comments
# say what each assumes about it.
SHORT_FORMS: dict[str, dict[str, Any]] = {
    "light": {"rotation": 15, "translation": 0.1, "zoom": 0.1},
    "medium": {
        "rotation": 30,
        "translation": 0.15,
        "zoom": 0.2,
        "contrast": 0.2,
        "erasing": 0.1,
    },
    # Digits and letters. They have a direction of reading, so that a mirrored or an
    # upturned one is another or none.
    "characters": {
        "rotation": 15,
        "translation": 0.1,
        "zoom": 0.1,
        "shear": 10,
        "resampling": "once",
    },
    # Photographs of things and scenes. They have an up and a down, but their mirror
    # image is as likely. The class does not depend on small differences of colour, and
    # a part of the object is enough to know it.
    "photo": {
        "flip": "horizontal",
        "crop": 0.125,
        "fill": "reflect",
        "color": 0.1,
        "contrast": 0.2,
        "brightness": 0.2,
        "erasing": 0.25,
    },
    # Surfaces seen from above. They have no direction and go on beyond the border.
    # Nothing is interpolated, so that fine scratches stay sharp.
    "surface": {
        "flip": "both",
        "turn": "auto",
        "crop": 0.1,
        "fill": "reflect",
        "contrast": 0.2,
        "brightness": 0.2,
    },
    # Photographs through a round lens, such as a retina. They have no direction, and
    # the field of view is centred and surrounded by 0.
    "fundus": {
        "rotation": 180,
        "flip": "both",
        "zoom": 0.1,
        "fill": "constant",
        "resampling": "once",
        "contrast": 0.1,
        "brightness": 0.2,
    },
    # The same, but left and right differ: the optic disc stays on its side, so that a
    # left eye never looks like a right one.
    "fundus_sided": {
        "rotation": 20,
        "flip": "vertical",
        "zoom": 0.1,
        "fill": "constant",
        "resampling": "once",
        "contrast": 0.1,
        "brightness": 0.2,
    },
}
KNOWN = ", ".join(map(repr, SHORT_FORMS))

_FLIPS = {
    "horizontal": ("horizontal",),
    "vertical": ("vertical",),
    "both": ("horizontal", "vertical"),
}
# The largest value of each amount, and its unit in error messages.
_AMOUNTS = {
    "rotation": (180, "degrees"),
    "translation": (1, "a fraction of height and width"),
    "zoom": (0.99, "a fraction"),
    "shear": (45, "degrees"),
    "crop": (1, "a fraction of height and width"),
    "brightness": (np.inf, "standard deviations of the image's pixels"),
    "color": (1, "a fraction"),
    "contrast": (1, "a fraction"),
    "noise": (np.inf, "standard deviations of the image's pixels"),
    "erasing": (1, "a probability"),
}
# The amounts that move pixels.
MOVES = ("rotation", "zoom", "shear", "translation", "crop")
# What is not an amount, and the values it can have.
_CHOICES: dict[str, tuple] = {
    "flip": tuple(_FLIPS),
    "turn": (90, 180, "auto"),
    "fill": ("constant", "nearest", "reflect"),
    "resampling": ("each", "once"),
}
# Some layers of Keras clip images to a range. Images may have any range here.
_ANY_VALUE = (-3e38, 3e38)


def check_augmentation(augmentation: Any) -> None:
    """Raise an error if `make_augmentation` would not accept this value.

    Parameters
    ----------
    augmentation : object
        Parameter `augmentation` of an estimator.

    Raises
    ------
    TypeError
        If the value has a wrong type.
    ValueError
        If a name or an amount is not valid, or if a layer mixes images.

    Examples
    --------
    >>> from sklstm.networks import check_augmentation
    >>> check_augmentation({"rotation": 15})
    """
    if isinstance(augmentation, keras.layers.Layer):
        for layer in (augmentation, *getattr(augmentation, "layers", ())):
            if type(layer).__name__ in ("MixUp", "CutMix"):
                raise ValueError(
                    f"augmentation={type(layer).__name__} mixes images of different "
                    "classes and would have to mix their labels too, which a layer on "
                    "images cannot: set mixup or cutmix of the classifier."
                )
        return
    if augmentation is None:
        return
    if isinstance(augmentation, str):
        if augmentation not in SHORT_FORMS:
            raise ValueError(
                f"augmentation={augmentation!r} is not known: use {KNOWN}, a dict "
                "such as {'rotation': 15}, or a Keras layer."
            )
        return
    if not isinstance(augmentation, dict):
        raise TypeError(
            f"augmentation={augmentation!r} must be {KNOWN}, a dict such as "
            "{'rotation': 15}, a Keras layer or None."
        )
    for name, value in augmentation.items():
        if name in _AMOUNTS:
            most, unit = _AMOUNTS[name]
            number = isinstance(value, Real) and not isinstance(value, bool)
            if not number or not 0 <= value <= most:
                raise ValueError(
                    f"augmentation[{name!r}]={value!r} must be {unit}, from 0 to "
                    f"{most}."
                )
        elif name not in _CHOICES:
            *names, last = (*_AMOUNTS, *_CHOICES)
            raise ValueError(
                f"augmentation has no {name!r}: it knows {', '.join(names)} and {last}."
            )
        elif value not in _CHOICES[name]:
            raise ValueError(
                f"augmentation[{name!r}]={value!r} must be one of "
                f"{', '.join(map(repr, _CHOICES[name]))}."
            )


def make_augmentation(augmentation: Any) -> "Augmentation | None":
    """Return the layer that augments images in training.

    Parameters
    ----------
    augmentation : None, str, dict or keras.layers.Layer
        Changes to make. A layer is copied. A str is a key of `SHORT_FORMS`, which has
        its dict. A dict can have these keys:

        - "rotation": largest angle in either direction, in degrees.
        - "translation": largest shift, as a fraction of height and width.
        - "zoom": largest change of the size, as a fraction.
        - "shear": largest slant of the vertical, in degrees.
        - "crop": largest shift by whole pixels, as a fraction of height and width. It
          copies pixels, while a translation interpolates.
        - "flip": "horizontal", "vertical" or "both".
        - "turn": 90 or 180, for turns by multiples of this angle in degrees, which
          copy pixels. 90 needs square images. "auto" is 90 for square images and 180
          for others.
        - "contrast": largest change of the distance of pixels to the mean of their
          image, as a fraction.
        - "brightness": largest shift of the values, in units of the standard deviation
          of the image.
        - "color": largest change of the saturation and of the scale of each channel, as
          a fraction. Only images of three channels change.
        - "noise": standard deviation of Gaussian noise, in units of the standard
          deviation of the image.
        - "erasing": probability that a rectangle is set to 0.
        - "fill": how to fill pixels from beyond the border, "nearest" (default),
          "reflect" or "constant" (0).
        - "resampling": "each" (default) or "once". With "once", or with shear, crop or
          turn, a single step moves the pixels: see `RandomMoves`. With "each",
          rotation, zoom and translation interpolate one after the other. This is slower
          and blurs more.

    Returns
    -------
    Augmentation or None
        The layer, or None if there is nothing to change.

    Raises
    ------
    TypeError, ValueError
        As in `check_augmentation`.
    ValueError
        If a layer cannot be copied from its configuration.
    """
    if augmentation is None:
        return None
    check_augmentation(augmentation)
    if isinstance(augmentation, keras.layers.Layer):
        try:
            layers = [type(augmentation).from_config(_config(augmentation))]
        except Exception as error:
            raise ValueError(
                f"augmentation={augmentation.name!r} cannot be copied, since its own "
                f"configuration does not bring it back: {error}"
            ) from error
    else:
        if isinstance(augmentation, str):
            augmentation = SHORT_FORMS[augmentation]
        layers = _from_dict(augmentation)
    return Augmentation(layers, name="augmentation") if layers else None


def _config(augmentation: keras.layers.Layer) -> dict[str, Any]:
    """Return the configuration of a layer, changed to images with channels last.

    A layer that was made while Keras was set to "channels_first" expects the channels
    there. If a chain also holds layers without a data format, nothing is changed: these
    may have moved the channels themselves.
    """
    config = augmentation.get_config()
    chain = getattr(augmentation, "layers", None) or [augmentation]
    all_have_formats = all(hasattr(layer, "data_format") for layer in chain)
    return _with_channels_last(config) if all_have_formats else config


def _with_channels_last(config: Any) -> Any:
    if isinstance(config, list | tuple):
        return type(config)(_with_channels_last(one) for one in config)
    if not isinstance(config, dict):
        return config
    inner = {name: _with_channels_last(value) for name, value in config.items()}
    return {**inner, **(CHANNELS_LAST if "data_format" in inner else {})}


def _from_dict(amounts: dict[str, Any]) -> list[keras.layers.Layer]:
    kinds = keras.layers
    kind: dict[str, Any] = {"dtype": "float32", **CHANNELS_LAST}
    border: dict[str, Any] = {
        **kind,
        "fill_mode": amounts.get("fill", "nearest"),
        "fill_value": 0.0,
    }
    amount = {
        name: float(value)
        for name, value in amounts.items()
        if name in _AMOUNTS and value > 0
    }
    flips = _FLIPS.get(amounts.get("flip", ""), ())
    layers: list[keras.layers.Layer] = []
    if _moves_once(amounts):
        moves = {name: amount[name] for name in MOVES if name in amount}
        turn, fill = amounts.get("turn"), border["fill_mode"]
        if moves or flips or turn:
            layers.append(
                RandomMoves(**moves, flip=flips, turn=turn, fill=fill, dtype="float32")
            )
    else:
        # A single layer for both directions would make one random choice for both.
        for direction in flips:
            layers.append(kinds.RandomFlip(direction, **kind))
        if "rotation" in amount:
            layers.append(kinds.RandomRotation(amount["rotation"] / 360, **border))
        if "zoom" in amount:
            zoom = amount["zoom"]
            layers.append(kinds.RandomZoom((-zoom, zoom), **border))
        if "translation" in amount:
            shift = amount["translation"]
            layers.append(kinds.RandomTranslation(shift, shift, **border))
    if "color" in amount:
        layers.append(RandomColor(amount["color"], dtype="float32"))
    if "contrast" in amount:
        # A single number would only increase the contrast.
        factors = (amount["contrast"],) * 2
        layers.append(kinds.RandomContrast(factors, value_range=_ANY_VALUE, **kind))
    if "brightness" in amount:
        layers.append(RandomBrightness(amount["brightness"], dtype="float32"))
    if "erasing" in amount:
        # A single number would be an upper bound of the probability.
        probability = (amount["erasing"],) * 2
        layers.append(
            kinds.RandomErasing(
                probability, fill_value=0.0, value_range=_ANY_VALUE, **kind
            )
        )
    if "noise" in amount:
        layers.append(RandomNoise(amount["noise"], dtype="float32"))
    return layers


def _moves_once(amounts: dict[str, Any]) -> bool:
    """Return whether a single layer moves the pixels."""
    only_there = any(amounts.get(name) for name in ("shear", "crop", "turn"))
    return amounts.get("resampling") == "once" or only_there


@keras.saving.register_keras_serializable("sklstm")
class Augmentation(keras.layers.Layer):
    """Apply random changes to images or volumes, in training only.

    The layer takes and returns images (n, height, width, channels) or volumes (n,
    depth, height, width, channels), as float32. Every image gets changes of its own.
    All channels of an image and all slices of a volume get the same ones.

    The seeds of the layers are variables, which `initialize.reseed` sets. Without
    ``training=True`` the layer changes nothing; some of Keras' own layers would. The
    pixels stay in float32 under a mixed policy, because they can be large before they
    are standardized.

    Parameters
    ----------
    changes : list of keras.layers.Layer
        Layers to apply to (n, height, width, channels), in this order. They must have
        no weights and must keep the shape.
    **kwargs
        Keyword arguments of `keras.layers.Layer`.

    Raises
    ------
    ValueError
        If a layer has weights or changes the shape of the images.

    Examples
    --------
    >>> import keras
    >>> from sklstm.networks import Augmentation
    >>> flip = Augmentation([keras.layers.RandomFlip("horizontal", seed=0)])
    >>> tuple(flip(keras.ops.ones((2, 8, 8, 1)), training=True).shape)
    (2, 8, 8, 1)
    """

    def __init__(self, changes: list, **kwargs: Any) -> None:
        super().__init__(**{"autocast": False, **kwargs})
        self.changes = [
            change
            if isinstance(change, keras.layers.Layer)
            else keras.saving.deserialize_keras_object(change)
            for change in changes
        ]

    def build(self, input_shape: tuple) -> None:
        shape = _slices_as_channels(input_shape)
        for change in self.changes:
            if type(change).build is not keras.layers.Layer.build:
                change.build(shape)
            made = change.compute_output_spec(keras.KerasTensor(shape)).shape
            weights = [w.name for w in change.weights if "seed" not in w.name]
            if weights:
                raise ValueError(
                    f"augmentation={change.name!r} has weights ({', '.join(weights)}), "
                    "which nothing would set: give a layer without."
                )
            if made[1:] != shape[1:]:
                raise ValueError(
                    f"augmentation={change.name!r} makes images of shape {made[1:]} of "
                    f"those of shape {shape[1:]}: it must keep the shape."
                )

    def call(self, images: Any, training: bool = False) -> Any:
        ops = keras.ops
        x = ops.cast(images, "float32")
        if not training:  # some layers of Keras do not look at `training`
            return x
        shape = tuple(x.shape[1:])
        volumes = len(shape) == 4
        if volumes:
            depth, height, width, channels = shape
            slices_last = (-1, height, width, depth, channels)
            x = ops.transpose(x, (0, 2, 3, 1, 4))
            x = ops.reshape(x, _slices_as_channels((-1, *shape)))
        for change in self.changes:
            if volumes and isinstance(change, RandomColor):
                # This layer looks at the channels of a slice.
                x = change(ops.reshape(x, slices_last))
                x = ops.reshape(x, _slices_as_channels((-1, *shape)))
            else:
                x = change(x)
        if volumes:
            x = ops.reshape(x, slices_last)
            x = ops.transpose(x, (0, 3, 1, 2, 4))
        return ops.cast(x, "float32")

    def compute_output_shape(self, input_shape: tuple) -> tuple:
        return input_shape

    def compute_output_spec(self, images: Any, training: bool = False) -> Any:
        return keras.KerasTensor(images.shape, dtype="float32")

    def get_config(self) -> dict:
        changes = [keras.saving.serialize_keras_object(one) for one in self.changes]
        return {**super().get_config(), "changes": changes}


def _slices_as_channels(shape: tuple) -> tuple:
    if len(shape) == 4:
        return tuple(shape)
    n, depth, height, width, channels = shape
    return (n, height, width, depth * channels)


@keras.saving.register_keras_serializable("sklstm")
class RandomNoise(keras.layers.Layer):
    """Gaussian noise in proportion to the standard deviation of each image.

    Parameters
    ----------
    stddev : float
        Standard deviation of the noise added in training, in units of the standard
        deviation of the image.
    **kwargs
        Keyword arguments of `keras.layers.Layer`.

    Examples
    --------
    >>> import keras
    >>> from sklstm.networks import RandomNoise
    >>> RandomNoise(0.1)(keras.ops.ones((1, 1, 2, 1))).numpy().ravel()
    array([1., 1.], dtype=float32)
    """

    def __init__(self, stddev: float, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.stddev = stddev
        self.seed_generator = keras.random.SeedGenerator()

    def call(self, images: Any, training: bool = False) -> Any:
        if not training:
            return images
        axes = tuple(range(1, len(images.shape)))
        noise = keras.random.normal(
            keras.ops.shape(images), dtype="float32", seed=self.seed_generator
        )
        # The squares of pixels can overflow in half precision.
        x = keras.ops.cast(images, "float32")
        spread = keras.ops.std(x, axis=axes, keepdims=True) * self.stddev
        return keras.ops.cast(x + spread * noise, images.dtype)

    def compute_output_shape(self, input_shape: tuple) -> tuple:
        return input_shape

    def get_config(self) -> dict:
        return {**super().get_config(), "stddev": self.stddev}
