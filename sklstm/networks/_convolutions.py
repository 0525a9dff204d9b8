"""Convolutional blocks of the networks that read images."""

import math
from typing import Any

from sklstm._keras import keras

from sklstm.networks.layers import FusedBatchNormalization
from sklstm.networks.layers._data_format import CHANNELS_LAST


def check_pooling(pooling: str) -> None:
    """Raise an error if networks with convolutions do not offer this pooling."""
    if pooling not in ("max", "mean", "last"):
        raise ValueError(
            f"pooling={pooling!r} is none of 'max', 'mean' and 'last', which networks "
            "with convolutions have."
        )


def conv_stem(x: Any, filters: int, regularizer: Any) -> Any:
    """Halve (n, height, width, k) until the shorter side is at most 8.

    There are at least two 3 x 3 convolutions before each halving and after the last
    one, and four or more in all. The first ones have `filters` filters. Each halving
    doubles their number, up to four times `filters`.
    """
    halvings = max(0, math.ceil(math.log2(min(x.shape[1:3]) / 8)))
    each = max(2, 4 // (halvings + 1))
    for i in range(halvings + 1):
        if i > 0:
            x = keras.layers.MaxPooling2D(2, name=f"halve_{i}", **CHANNELS_LAST)(x)
        for j in range(each):
            width = filters * min(2**i, 4)
            x = conv_block(x, width, 3, f"stem_{i}_{j}", regularizer)
    return x


def conv_block(
    x: Any,
    filters: int,
    size: int,
    name: str,
    regularizer: Any,
    relu: bool = True,
    strides: int = 1,
) -> Any:
    """Add a convolution, a batch normalization and, if `relu`, a ReLU."""
    x = keras.layers.Conv2D(
        filters,
        size,
        strides=strides,
        padding="same",
        use_bias=False,
        kernel_regularizer=regularizer,
        name=name,
        **CHANNELS_LAST,
    )(x)
    x = FusedBatchNormalization(momentum=0.9, name=f"{name}_norm")(x)
    return keras.layers.ReLU(name=f"{name}_relu")(x) if relu else x
