"""Convolutional blocks of the networks that read images."""

import math
from typing import Any

from sklstm._keras import keras

from sklstm.networks.layers import (
    CosineTransform,
    DropPath,
    FusedBatchNormalization,
    HarmonicConv2D,
    StemDropout,
)
from sklstm.networks.layers._data_format import CHANNELS_LAST


def check_stem(
    stem_kernels: str,
    stem_blocks: str,
    stem_depth: int | None,
    stem_size: int,
    stem_dropout: float,
    drop_path: float,
) -> None:
    """Raise an error if the options of the stem do not exist or have no effect."""
    if stem_kernels not in ("plain", "harmonic"):
        raise ValueError(
            f"stem_kernels={stem_kernels!r} is neither 'plain' nor 'harmonic'."
        )
    if stem_blocks not in ("plain", "residual"):
        raise ValueError(
            f"stem_blocks={stem_blocks!r} is neither 'plain' nor 'residual'."
        )
    if stem_depth is not None and stem_depth < 1:
        raise ValueError(f"stem_depth={stem_depth} must be at least 1, or None.")
    if stem_size < 1:
        raise ValueError(f"stem_size={stem_size} must be at least 1.")
    for name, value in (("stem_dropout", stem_dropout), ("drop_path", drop_path)):
        if value > 0 and stem_blocks == "plain":
            raise ValueError(
                f"{name}={value} has no effect on stem_blocks='plain', which has no "
                "residual branches: set stem_blocks='residual', or leave it out."
            )


def conv_stem(
    x: Any,
    *,
    regularizer: Any,
    filters: int = 32,
    stem_kernels: str = "plain",
    stem_blocks: str = "plain",
    stem_depth: int | None = None,
    stem_size: int = 8,
    stem_dropout: float = 0.0,
    drop_path: float = 0.0,
) -> Any:
    """Halve (n, height, width, k) until the shorter side is at most `stem_size`.

    There are `stem_depth` blocks before each halving and after the last one: 3 x 3
    convolutions or residual blocks of two. If `stem_depth` is None, there are at least
    two convolutions each, and four or more in all. The first ones have `filters`
    filters. Each halving doubles their number, up to four times `filters`. The other
    parameters are those of `cnn_lstm`.
    """
    check_stem(
        stem_kernels, stem_blocks, stem_depth, stem_size, stem_dropout, drop_path
    )
    halvings = max(0, math.ceil(math.log2(min(x.shape[1:3]) / stem_size)))
    convolutions = max(2, 4 // (halvings + 1))
    widths = [filters * min(2**i, 4) for i in range(halvings + 1)]
    harmonic = stem_kernels == "harmonic"
    if stem_blocks == "residual":
        depth = stem_depth or convolutions // 2
        return _residual_stem(
            x, widths, depth, regularizer, harmonic, stem_dropout, drop_path
        )
    for i, width in enumerate(widths):
        if i > 0:
            x = keras.layers.MaxPooling2D(2, name=f"halve_{i}", **CHANNELS_LAST)(x)
        for j in range(stem_depth or convolutions):
            name = f"stem_{i}_{j}"
            size = 3
            if harmonic and i == j == 0:
                x, size = normalized_waves(x, name), 1
            x = conv_block(x, width, size, name, regularizer, harmonic=harmonic)
    return x


def _residual_stem(
    x: Any,
    widths: list[int],
    depth: int,
    regularizer: Any,
    harmonic: bool,
    dropout: float,
    drop_path: float,
) -> Any:
    """Add a convolution, and `depth` residual blocks of each width.

    The probability to leave out a branch grows linearly to `drop_path` in the last
    block (Huang et al., 2016).
    """
    size = 3
    if harmonic:
        x, size = normalized_waves(x, "stem"), 1
    x = convolution(x, widths[0], size, "stem", regularizer)
    for i, width in enumerate(widths):
        for j in range(depth):
            x = _residual_block(
                x,
                width,
                f"stem_{i}_{j}",
                regularizer,
                strides=2 if i > 0 and j == 0 else 1,
                harmonic=harmonic,
                dropout=dropout,
                drop_path=drop_path,
                share=(i * depth + j + 1) / (len(widths) * depth),
            )
    return normalize_and_rectify(x, "stem")


def _residual_block(
    x: Any,
    filters: int,
    name: str,
    regularizer: Any,
    *,
    strides: int,
    harmonic: bool,
    dropout: float,
    drop_path: float,
    share: float,
) -> Any:
    """Add a residual block that normalizes before each convolution.

    He et al. (2016) describe the block, and Zagoruyko and Komodakis (2016) the dropout
    between its convolutions.
    """
    y = normalize_and_rectify(x, f"{name}_in")
    shortcut = x
    if strides > 1 or x.shape[-1] != filters:
        shortcut = convolution(y, filters, 1, f"{name}_shortcut", regularizer, strides)
    y = convolution(y, filters, 3, f"{name}_first", regularizer, strides, harmonic)
    y = normalize_and_rectify(y, f"{name}_middle")
    if dropout > 0:
        y = StemDropout(dropout, name=f"{name}_dropout")(y)
    y = convolution(y, filters, 3, f"{name}_second", regularizer, 1, harmonic)
    if drop_path > 0:
        y = DropPath(drop_path, share, name=f"{name}_drop_path")(y)
    return keras.layers.Add(name=f"{name}_add")([shortcut, y])


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
    if relu:
        return normalize_and_rectify(x, name)
    return FusedBatchNormalization(momentum=0.9, name=f"{name}_norm")(x)


def normalize_and_rectify(x: Any, name: str) -> Any:
    """Add a batch normalization and a ReLU."""
    x = FusedBatchNormalization(momentum=0.9, name=f"{name}_norm")(x)
    return keras.layers.ReLU(name=f"{name}_relu")(x)


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
