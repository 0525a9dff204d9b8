"""Random moves of the pixels of images, all in one step."""

from typing import Any

from sklstm._keras import keras

import numpy as np

# Columns of the random numbers that each image gets.
_ANGLE, _SIZE, _SLANT, _DOWN, _RIGHT, _ROWS, _COLUMNS, _LEFT, _UP, _QUARTERS = range(10)


@keras.saving.register_keras_serializable("sklstm")
class RandomMoves(keras.layers.Layer):
    """Turn, flip, shift, scale and shear each image at random, in one step.

    Each pixel of a result is read from one place of the image. Several moves therefore
    interpolate only once, linearly between the four pixels around the place. Flips,
    turns and crops alone copy pixels exactly.

    The layer moves images (n, height, width, channels) in training only. Every image
    gets moves of its own, and all channels move alike.

    Parameters
    ----------
    rotation : float
        Largest angle in either direction, in degrees.
    zoom : float
        Largest change of the size, as a fraction.
    shear : float
        Largest slant of the vertical, in degrees.
    translation : float
        Largest shift, as a fraction of height and width.
    crop : float
        Largest shift by whole pixels, as a fraction of height and width.
    flip : tuple of {"horizontal", "vertical"}
        Directions in which half of the images are mirrored.
    turn : {90, 180, "auto"} or None
        Turns by a random multiple of this angle, in degrees. "auto" is 90 for square
        images and 180 for others.
    fill : {"constant", "nearest", "reflect"}
        How to fill pixels from beyond the border. "constant" is 0.
    **kwargs
        Keyword arguments of `keras.layers.Layer`.

    Raises
    ------
    ValueError
        If `turn` is 90 and the images are not square.

    Examples
    --------
    >>> import keras
    >>> from sklstm.networks import RandomMoves
    >>> moves = RandomMoves(rotation=15, flip=("horizontal",))
    >>> tuple(moves(keras.ops.ones((2, 8, 8, 1)), training=True).shape)
    (2, 8, 8, 1)
    """

    def __init__(
        self,
        rotation: float = 0.0,
        zoom: float = 0.0,
        shear: float = 0.0,
        translation: float = 0.0,
        crop: float = 0.0,
        flip: tuple[str, ...] = (),
        turn: int | str | None = None,
        fill: str = "nearest",
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.rotation = rotation
        self.zoom = zoom
        self.shear = shear
        self.translation = translation
        self.crop = crop
        self.flip = tuple(flip)
        self.turn = turn
        self.fill = fill
        self.seed_generator = keras.random.SeedGenerator()

    def build(self, input_shape: tuple) -> None:
        height, width = input_shape[1:3]
        if self.turn == 90 and height != width:
            raise ValueError(
                f"augmentation['turn']=90 needs square images, and these have {height} "
                f"x {width} pixels: use 180 or 'auto'."
            )

    def call(self, images: Any, training: bool = False) -> Any:
        if not training:
            return images
        ops = keras.ops
        n = ops.shape(images)[0]
        height, width, channels = images.shape[1:]
        y, x = self._sources(n, height, width)
        if self.fill == "constant":
            covered = _coverage(y, height) * _coverage(x, width)
        elif self.fill == "reflect":
            y, x = _reflected(y, height), _reflected(x, width)
        y, x = ops.clip(y, 0, height - 1), ops.clip(x, 0, width - 1)

        flat = ops.reshape(images, (-1, channels))
        first = ops.reshape(ops.arange(n) * (height * width), (-1, 1, 1))

        def pixels(rows: Any, columns: Any) -> Any:
            places = ops.cast(rows * width + columns, "int32")
            return ops.take(flat, ops.cast(first, "int32") + places, axis=0)

        if self.rotation or self.zoom or self.shear or self.translation:
            top, left = ops.floor(y), ops.floor(x)
            bottom = ops.minimum(top + 1, height - 1)
            right = ops.minimum(left + 1, width - 1)
            down, across = (y - top)[..., None], (x - left)[..., None]
            above = _between(pixels(top, left), pixels(top, right), across)
            below = _between(pixels(bottom, left), pixels(bottom, right), across)
            moved = _between(above, below, down)
        else:
            moved = pixels(y, x)
        if self.fill == "constant":
            moved = moved * covered[..., None]
        return moved

    def _sources(self, n: Any, height: int, width: int) -> tuple[Any, Any]:
        """Return the row and the column from which each pixel is read."""
        ops = keras.ops
        random = keras.random.uniform(
            (n, 10, 1, 1), dtype="float32", seed=self.seed_generator
        )

        def up_to(most: float, column: int) -> Any:
            return most * (2 * random[:, column] - 1)

        def pixels_up_to(most: int, column: int) -> Any:
            return ops.floor((2 * most + 1) * random[:, column]) - most

        down = right = 0.0
        if self.translation:
            down = up_to(self.translation * height, _DOWN)
            right = up_to(self.translation * width, _RIGHT)
        if self.crop:
            down = down + pixels_up_to(round(self.crop * height), _ROWS)
            right = right + pixels_up_to(round(self.crop * width), _COLUMNS)

        # A 2 x 2 matrix, by rows. It turns (down, right) from the centre of a result
        # into (down, right) from the centre of the image.
        matrix: tuple = (1.0, 0.0, 0.0, 1.0)
        if self.rotation:
            angle = up_to(np.pi / 180 * self.rotation, _ANGLE)
            cosine, sine = ops.cos(angle), ops.sin(angle)
            matrix = _product((cosine, sine, -sine, cosine), matrix)
        if self.zoom:
            size = 1 + up_to(self.zoom, _SIZE)
            matrix = _product((size, 0.0, 0.0, size), matrix)
        if self.shear:
            slant = ops.tan(up_to(np.pi / 180 * self.shear, _SLANT))
            matrix = _product((1.0, 0.0, slant, 1.0), matrix)
        if self.turn:
            quarters = ops.floor(4 * random[:, _QUARTERS])
            if self.turn == 180 or height != width:
                quarters = 2 * ops.floor(quarters / 2)
            # These are exactly 0, 1 or -1, unlike the results of `cos` and `sin`.
            cosine = ops.abs(quarters - 2) - 1
            sine = 1 - ops.abs(quarters - 1)
            matrix = _product((cosine, sine, -sine, cosine), matrix)
        for direction, column in (("horizontal", _LEFT), ("vertical", _UP)):
            if direction in self.flip:
                side = 1 - 2 * ops.floor(2 * random[:, column])
                mirror = (1.0, side) if direction == "horizontal" else (side, 1.0)
                matrix = _product((mirror[0], 0.0, 0.0, mirror[1]), matrix)

        center_y, center_x = (height - 1) / 2, (width - 1) / 2
        y = ops.reshape(ops.arange(height, dtype="float32"), (1, -1, 1)) - center_y
        x = ops.reshape(ops.arange(width, dtype="float32"), (1, 1, -1)) - center_x
        y, x = y - down, x - right
        return (
            matrix[0] * y + matrix[1] * x + center_y,
            matrix[2] * y + matrix[3] * x + center_x,
        )

    def compute_output_shape(self, input_shape: tuple) -> tuple:
        return input_shape

    def get_config(self) -> dict:
        own = {
            "rotation": self.rotation,
            "zoom": self.zoom,
            "shear": self.shear,
            "translation": self.translation,
            "crop": self.crop,
            "flip": self.flip,
            "turn": self.turn,
            "fill": self.fill,
        }
        return {**super().get_config(), **own}


def _product(a: tuple, b: tuple) -> tuple:
    """Multiply two 2 x 2 matrices whose entries are numbers or one per image.

    A matrix product of a GPU could round to 10 bits.
    """
    return (
        a[0] * b[0] + a[1] * b[2],
        a[0] * b[1] + a[1] * b[3],
        a[2] * b[0] + a[3] * b[2],
        a[2] * b[1] + a[3] * b[3],
    )


def _between(start: Any, end: Any, share: Any) -> Any:
    return start * (1 - share) + end * share


def _coverage(place: Any, size: int) -> Any:
    """Return how much of a pixel at `place` lies on a line of `size` pixels."""
    inside = keras.ops.minimum(place + 1, size - place)
    return keras.ops.clip(inside, 0, 1)


def _reflected(place: Any, size: int) -> Any:
    """Mirror places beyond the border, so that d c b a | a b c d | d c b a is read."""
    edge = keras.ops.mod(place + 0.5, 2 * size)
    return keras.ops.minimum(edge, 2 * size - edge) - 0.5
