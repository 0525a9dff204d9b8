"""What stands out from its surroundings: channels that do not depend on the light."""

import math
from typing import Any

from sklstm._keras import keras

import numpy as np

# Added to standard deviations, in those of the training data: what is even stays even.
FLOOR = 0.1


@keras.saving.register_keras_serializable("sklstm")
class LocalContrast(keras.layers.Layer):
    """Divide what differs from the mean by the standard deviation, near and far.

    Takes (n, height, width, channels), gives (n, height, width, channels *
    (1 + len(parts))): every pixel against its whole image, then against surroundings
    of a part of the image's shorter side. Nothing is learned, and nothing of other
    images enters, so that a shadow over the photograph, or a brighter lamp, changes
    little.

    Parameters
    ----------
    parts : sequence of int
        Surroundings: 4 is a square of a fourth of the shorter side.
    **kwargs
        Passed on to `keras.layers.Layer`.
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
        x = x - mean  # small numbers: squares below lose nothing
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
    """Return what takes means over windows of `side`, and what passes between them.

    Windows are a fourth of their side apart and cut at the borders; (m, length) makes
    their means, (length, m) passes linearly between their centres. Two thin products
    instead of a wide one.
    """
    m = math.ceil(length / max(1, side / 4)) + 1
    centres = np.linspace(0, length - 1, m)
    places = np.arange(length)
    down = (np.abs(places - centres[:, None]) <= side / 2).astype(np.float32)
    down /= down.sum(axis=1, keepdims=True)
    step = max(centres[1] - centres[0], 1e-6)  # a single pixel has all centres
    up = np.maximum(0, 1 - np.abs(places[:, None] - centres) / step)
    up /= up.sum(axis=1, keepdims=True)
    return down, up.astype(np.float32)


def _local_mean(x: Any, matrices: tuple) -> Any:
    """Return the means around all pixels of (n, height, width, channels)."""
    ops = keras.ops
    down, up, across = matrices
    _, height, width, channels = x.shape
    m = len(down)
    y = ops.matmul(down, ops.reshape(x, (-1, height, width * channels)))
    y = ops.reshape(y, (-1, width, channels))
    y = ops.matmul(across, y)
    y = ops.reshape(y, (-1, m, width * channels))
    return ops.reshape(ops.matmul(up, y), (-1, height, width, channels))
