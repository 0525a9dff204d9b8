"""Local contrast: channels that hardly depend on the illumination."""

import math
from typing import Any

from sklstm._keras import keras

import numpy as np

# Added to the local standard deviation, in units of the training data's. It keeps
# uniform areas uniform, where the standard deviation is nearly zero.
FLOOR = 0.1


@keras.saving.register_keras_serializable("sklstm")
class LocalContrast(keras.layers.Layer):
    """Normalize pixels by the mean and standard deviation around them.

    The layer takes standardized images (n, height, width, channels). It returns (n,
    height, width, channels * (1 + len(parts))). The first channels compare every pixel
    with the whole image: the pixel minus the mean, divided by the standard deviation.
    The others compare it with square surroundings in the same way.

    The layer has no weights and treats each image on its own. A shadow or a brighter
    lamp therefore changes its output little.

    Parameters
    ----------
    parts : sequence of int
        Sizes of the surroundings, as parts of the shorter side of the image: 4 stands
        for a square with a fourth of that side.
    **kwargs
        Keyword arguments of `keras.layers.Layer`.

    Examples
    --------
    >>> import keras
    >>> from sklstm.networks import LocalContrast
    >>> tuple(LocalContrast((4, 16))(keras.ops.ones((1, 64, 64, 1))).shape)
    (1, 64, 64, 3)
    """

    def __init__(self, parts: Any = (4, 16), **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.parts = tuple(int(part) for part in parts)

    def build(self, input_shape: tuple) -> None:
        height, width = input_shape[1:3]
        sides = [max(2, round(min(height, width) / part)) for part in self.parts]
        self._means = []
        for side in sides:
            down, up = _mean_matrices(width, side)
            self._means.append((*_mean_matrices(height, side), up @ down))

    def call(self, inputs: Any) -> Any:
        ops = keras.ops
        x = ops.cast(inputs, "float32")
        mean = ops.mean(x, axis=(1, 2), keepdims=True)
        x = x - mean  # keeps the squares below small, and so precise
        square = ops.mean(x * x, axis=(1, 2), keepdims=True)
        found = [x / (ops.sqrt(square) + FLOOR)]
        for matrices in self._means:
            around = x - _local_mean(x, matrices)
            spread = ops.maximum(_local_mean(around * around, matrices), 0.0)
            found.append(around / (ops.sqrt(spread) + FLOOR))
        return ops.cast(ops.concatenate(found, axis=-1), self.compute_dtype)

    def compute_output_shape(self, input_shape: tuple) -> tuple:
        return (*input_shape[:-1], input_shape[-1] * (1 + len(self.parts)))

    def get_config(self) -> dict:
        return {**super().get_config(), "parts": self.parts}


def _mean_matrices(length: int, side: int) -> tuple[np.ndarray, np.ndarray]:
    """Return two matrices that approximate a moving mean along an axis.

    The first one, (m, length), averages over m windows of `side` pixels. Their centres
    are a fourth of `side` apart, and the borders cut them. The second one, (length, m),
    interpolates linearly between the centres. Two thin products are faster than a
    product with one (length, length) matrix.
    """
    m = math.ceil(length / max(1, side / 4)) + 1
    centres = np.linspace(0, length - 1, m)
    places = np.arange(length)
    down = (np.abs(places - centres[:, None]) <= side / 2).astype(np.float32)
    down /= down.sum(axis=1, keepdims=True)
    # On an axis of one pixel all centres are equal.
    step = max(centres[1] - centres[0], 1e-6)
    up = np.maximum(0, 1 - np.abs(places[:, None] - centres) / step)
    up /= up.sum(axis=1, keepdims=True)
    return down, up.astype(np.float32)


def _local_mean(x: Any, matrices: tuple) -> Any:
    """Return the local mean at all pixels of (n, height, width, channels)."""
    ops = keras.ops
    down, up, across = matrices
    _, height, width, channels = x.shape
    m = len(down)
    y = ops.matmul(down, ops.reshape(x, (-1, height, width * channels)))
    y = ops.reshape(y, (-1, width, channels))
    y = ops.matmul(across, y)
    y = ops.reshape(y, (-1, m, width * channels))
    return ops.reshape(ops.matmul(up, y), (-1, height, width, channels))
