"""The layer that reads an image as a sequence."""

import base64
import math
import zlib
from typing import Any

from sklstm._keras import keras

import numpy as np

from sklstm.images._index_map import aligned_unit

# Largest index map that is unpacked from a file: 256 MiB, or a million patches of 64
# pixels.
LARGEST_MAP = 2**26


@keras.saving.register_keras_serializable("sklstm")
class Scan(keras.layers.Layer):
    """Read images as sequences, inside the network.

    The layer takes images (n, height, width, channels) or volumes (n, depth, height,
    width, channels). It returns sequences (n, n_steps, n_pixels_per_step * channels).
    The values and the dtype are exactly those that `transform` of the sequencer
    returns, even if Keras uses a mixed policy.

    Parameters
    ----------
    index_map : ndarray of int, shape (n_steps, n_pixels_per_step)
        Positions of the pixels of every step in the flattened image, for example the
        `index_map_` of a fitted sequencer. -1 stands for padding, which is 0 in the
        sequence. A dict from `get_config` is accepted, too.
    **kwargs
        Keyword arguments of `keras.layers.Layer`.

    Raises
    ------
    ValueError
        If a dict from `get_config` does not match its shape or is too large.

    See Also
    --------
    sklstm.PatchSequencer : The same scan as a transformer before the network.

    Examples
    --------
    >>> import keras
    >>> from sklstm import PatchSequencer
    >>> from sklstm.networks import Scan
    >>> index_map = PatchSequencer(4, 4).get_index_map((8, 8))
    >>> tuple(Scan(index_map)(keras.ops.ones((1, 8, 8, 3))).shape)
    (1, 4, 48)
    """

    def __init__(self, index_map: Any, **kwargs: Any) -> None:
        # Without autocast, because a mixed policy would round pixels to half precision
        # before they are standardized.
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
    """Compress an index map for the configuration of a layer."""
    # The positions of a scan are regular, so their differences compress to about a
    # thousandth of their size.
    differences = np.diff(index_map.ravel(), prepend=0).astype("<i4")
    packed = base64.b64encode(zlib.compress(differences.tobytes(), 9)).decode()
    return {"shape": list(index_map.shape), "differences": packed}


def unpack_map(packed: dict) -> np.ndarray:
    """Return the index map that `pack_map` compressed.

    Raises
    ------
    ValueError
        If the data do not match the shape, or the map is larger than `LARGEST_MAP`.
    """
    shape = tuple(packed["shape"])
    if not all(isinstance(n, int) and n >= 0 for n in shape) or (
        math.prod(shape) > LARGEST_MAP
    ):
        raise ValueError(
            f"The index map of a Scan layer has shape {shape}: more than {LARGEST_MAP} "
            "values are not unpacked."
        )
    size = 4 * math.prod(shape)
    # A forged file may hold more data than its shape says, so the size is limited.
    unpacking = zlib.decompressobj()
    raw = unpacking.decompress(base64.b64decode(packed["differences"]), size + 1)
    if len(raw) != size:
        raise ValueError(f"The index map of a Scan layer does not have shape {shape}.")
    return np.cumsum(np.frombuffer(raw, "<i4"), dtype=np.int32).reshape(shape)
