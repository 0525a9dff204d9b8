"""The layer that reads an image as a sequence."""

import base64
import math
import zlib
from typing import Any

from sklstm._keras import keras

import numpy as np

from sklstm._index_map import aligned_unit

# Values of an index map that a file may bring, 256 MiB: a million patches of 64 pixels.
LARGEST_MAP = 2**26


@keras.saving.register_keras_serializable("sklstm")
class Scan(keras.layers.Layer):
    """Read images as sequences, by an index map.

    Takes (n, height, width, channels) or (n, depth, height, width, channels), gives
    (n, n_steps, n_pixels_per_step * channels): to the bit what `transform` of the
    sequencer gives that made the map, and of the dtype of the images, also under a
    mixed policy.

    Parameters
    ----------
    index_map : ndarray of int, shape (n_steps, n_pixels_per_step)
        Positions in the flattened image, -1 for padding, which reads as 0. Or what
        `get_config` makes of it.
    **kwargs
        Passed on to `keras.layers.Layer`.
    """

    def __init__(self, index_map: Any, **kwargs: Any) -> None:
        # Under a mixed policy: half precision would round pixels before they are small.
        super().__init__(**{"autocast": False, **kwargs})
        if isinstance(index_map, dict):
            index_map = unpack_map(index_map)
        self.index_map = np.asarray(index_map, np.int32)

    def build(self, input_shape: tuple) -> None:
        n_pixels = math.prod(input_shape[1:-1])
        self._unit = aligned_unit(self.index_map, n_pixels)
        flat = self.index_map.ravel()
        padded = bool((flat < 0).any())
        if padded:
            self._unit = 1
        self._units = np.maximum(flat[:: self._unit] // self._unit, 0).astype(np.int32)
        self._kept = (flat >= 0).astype("float32")[:, None] if padded else None
        self._whole = np.array_equal(flat, np.arange(n_pixels))

    def call(self, images: Any) -> Any:
        ops = keras.ops
        n_steps, per_step = self.index_map.shape
        n_channels = images.shape[-1]
        x = images
        if not self._whole:
            n_pixels = math.prod(images.shape[1:-1])
            x = ops.reshape(x, (-1, n_pixels // self._unit, self._unit * n_channels))
            x = ops.take(x, self._units, axis=1)
            if self._kept is not None:
                x = x * ops.cast(self._kept, x.dtype)
        return ops.reshape(x, (-1, n_steps, per_step * n_channels))

    def compute_output_shape(self, input_shape: tuple) -> tuple:
        n_steps, per_step = self.index_map.shape
        return (input_shape[0], n_steps, per_step * input_shape[-1])

    def compute_output_spec(self, images: Any) -> Any:
        return keras.KerasTensor(self.compute_output_shape(images.shape), images.dtype)

    def get_config(self) -> dict:
        return {**super().get_config(), "index_map": pack_map(self.index_map)}


def pack_map(index_map: np.ndarray) -> dict:
    # A scan is regular: its differences shrink to about a thousandth.
    differences = np.diff(index_map.ravel(), prepend=0).astype("<i4")
    packed = base64.b64encode(zlib.compress(differences.tobytes(), 9)).decode()
    return {"shape": list(index_map.shape), "differences": packed}


def unpack_map(packed: dict) -> np.ndarray:
    shape = tuple(packed["shape"])
    if not all(isinstance(n, int) and n >= 0 for n in shape) or (
        math.prod(shape) > LARGEST_MAP
    ):
        raise ValueError(
            f"The index map of a Scan layer has shape {shape}: more than {LARGEST_MAP} "
            "values are not unpacked."
        )
    size = 4 * math.prod(shape)
    # Never more than the shape says: a file may lie about what unpacks from it.
    unpacking = zlib.decompressobj()
    raw = unpacking.decompress(base64.b64decode(packed["differences"]), size + 1)
    if len(raw) != size:
        raise ValueError(f"The index map of a Scan layer does not have shape {shape}.")
    return np.cumsum(np.frombuffer(raw, "<i4"), dtype=np.int32).reshape(shape)
