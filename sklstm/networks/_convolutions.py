"""Convolutional blocks of the networks that read images."""

import math
from typing import Any

from sklstm._keras import keras

from sklstm.networks.layers import (
    CosineTransform,
    FusedBatchNormalization,
    HarmonicConv2D,
)
from sklstm.networks.layers._data_format import CHANNELS_LAST


def check_pooling(pooling: str) -> None:
    """Raise an error if networks with convolutions do not offer this pooling."""
    if pooling not in ("max", "mean", "last"):
        raise ValueError(
            f"pooling={pooling!r} is none of 'max', 'mean' and 'last', which networks "
            "with convolutions have."
        )


def check_stem(stem_kernels: str) -> None:
    """Raise an error if the options of the stem do not exist."""
    if stem_kernels not in ("plain", "harmonic"):
        raise ValueError(
            f"stem_kernels={stem_kernels!r} is neither 'plain' nor 'harmonic'."
        )


def conv_stem(
    x: Any, filters: int, regularizer: Any, stem_kernels: str = "plain"
) -> Any:
    """Halve (n, height, width, k) until the shorter side is at most 8.

    There are at least two 3 x 3 convolutions before each halving and after the last
    one, and four or more in all. The first ones have `filters` filters. Each halving
    doubles their number, up to four times `filters`. If `stem_kernels` is "harmonic",
    the convolutions are those of `HarmonicConv2D`, and the first one reads normalized
    frequencies.
    """
    check_stem(stem_kernels)
    harmonic = stem_kernels == "harmonic"
    halvings = max(0, math.ceil(math.log2(min(x.shape[1:3]) / 8)))
    each = max(2, 4 // (halvings + 1))
    for i in range(halvings + 1):
        if i > 0:
            x = keras.layers.MaxPooling2D(2, name=f"halve_{i}", **CHANNELS_LAST)(x)
        for j in range(each):
            width = filters * min(2**i, 4)
            name = f"stem_{i}_{j}"
            size = 3
            if harmonic and i == j == 0:
                x, size = normalized_waves(x, name), 1
            x = conv_block(x, width, size, name, regularizer, harmonic=harmonic)
    return x


def normalized_waves(x: Any, name: str) -> Any:
    """Return the frequencies of each 3 x 3 patch, each normalized over the batch.

    Mean brightness is far larger than the other frequencies of an image. So the authors
    of harmonic networks normalize the frequencies before the first layer learns to
    combine them.
    """
    x = CosineTransform(3, name=f"{name}_waves")(x)
    return FusedBatchNormalization(
        momentum=0.9, center=False, scale=False, name=f"{name}_waves_norm"
    )(x)


def conv_block(
    x: Any,
    filters: int,
    size: int,
    name: str,
    regularizer: Any,
    relu: bool = True,
    strides: int = 1,
    harmonic: bool = False,
) -> Any:
    """Add a convolution, a batch normalization and, if `relu`, a ReLU."""
    x = convolution(x, filters, size, name, regularizer, strides, harmonic)
    x = FusedBatchNormalization(momentum=0.9, name=f"{name}_norm")(x)
    return keras.layers.ReLU(name=f"{name}_relu")(x) if relu else x


def convolution(
    x: Any,
    filters: int,
    size: int,
    name: str,
    regularizer: Any,
    strides: int = 1,
    harmonic: bool = False,
) -> Any:
    """Add a convolution without bias.

    If `harmonic`, it learns its kernels as `HarmonicConv2D`, unless they are 1 x 1.
    """
    if harmonic and size > 1:
        return HarmonicConv2D(
            filters, size, strides, kernel_regularizer=regularizer, name=name
        )(x)
    return keras.layers.Conv2D(
        filters,
        size,
        strides=strides,
        padding="same",
        use_bias=False,
        kernel_regularizer=regularizer,
        name=name,
        **CHANNELS_LAST,
    )(x)
