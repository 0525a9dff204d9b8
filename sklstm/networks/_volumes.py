"""Blocks of the networks that read volumes."""

import math
from typing import Any

from sklstm._keras import keras

from sklstm.networks.layers._data_format import CHANNELS_LAST

# The stem halves volumes until their longest side is at most this long.
_STEM_SIZE = 8


def stem_widths(shape: tuple[int, ...], filters: int) -> list[int]:
    """Return the number of filters of each convolution of the stem.

    `shape` is (depth, height, width) of a volume.
    """
    halvings = max(0, math.ceil(math.log2(max(shape) / _STEM_SIZE)))
    return [filters * min(2**i, 4) for i in range(halvings + 1)]


def conv_stem_3d(x: Any, filters: int, regularizer: Any) -> Any:
    """Halve (n, depth, height, width, k) until its longest side is at most 8.

    A convolution reads the volume, and one with stride 2 makes each halving. The first
    one has `filters` filters. Each halving doubles their number, up to four times.
    """
    for i, width in enumerate(stem_widths(x.shape[1:4], filters)):
        x = conv_block_3d(x, width, f"stem_{i}", regularizer, 2 if i > 0 else 1)
    return x


def conv_block_3d(
    x: Any, filters: int, name: str, regularizer: Any, strides: int = 1
) -> Any:
    """Add a 3 x 3 x 3 convolution, a batch normalization and a ReLU."""
    x = keras.layers.Conv3D(
        filters,
        3,
        strides=strides,
        padding="same",
        use_bias=False,
        kernel_regularizer=regularizer,
        name=name,
        **CHANNELS_LAST,
    )(x)
    x = keras.layers.BatchNormalization(momentum=0.9, name=f"{name}_norm")(x)
    return keras.layers.ReLU(name=f"{name}_relu")(x)


def pool_positions(x: Any) -> Any:
    """Return mean and maximum over the positions of (n, depth, height, width, k)."""
    layers = keras.layers
    return layers.Concatenate(name="pooling")([
        layers.GlobalAveragePooling3D(name="mean", **CHANNELS_LAST)(x),
        layers.GlobalMaxPooling3D(name="max", **CHANNELS_LAST)(x),
    ])  # fmt: skip
