"""What the features of a backbone depend on, checked."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from sklstm.images._validate import is_count
from sklstm.preprocessing._checks import check_choice, check_sizes
from sklstm.preprocessing._on_disk import check_folder

_RANGES = {"uint8": (0.0, 255.0), "bool": (0.0, 1.0)}


@dataclass(frozen=True)
class Settings:
    """What the features depend on, as it was in `fit`."""

    backbone: Any
    layer: str | None
    input_shape: tuple[int, ...]
    map_shape: tuple[int, ...]
    order: str
    pooling: str | None
    batch_size: int
    preprocessing: Any
    value_range: tuple[float, float]
    fitted_dtype: str | None
    dtype: str

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the features of an image."""
        return self.map_shape if self.pooling is None else self.map_shape[2:]


def settings_of(transformer: Any, images: np.ndarray) -> Settings:
    """Check the parameters of a `FeatureSequencer` against images.

    Parameters
    ----------
    transformer : FeatureSequencer
        It is only read.
    images : ndarray of shape (n, height, width) or (n, height, width, channels)
        Checked images.

    Raises
    ------
    TypeError
        If `backbone` is no Keras model.
    ValueError
        If a parameter is invalid, or does not suit the images or the backbone.
    """
    # Here and not above: this loads Keras.
    from sklstm.features import _backbone

    check_choice("order", transformer.order, ["raster", "snake", "hilbert"])
    check_choice("pooling", transformer.pooling, [None, "mean", "max"])
    check_choice("dtype", transformer.dtype, ["float32", "float16"])
    if transformer.cache is not False:
        check_folder("cache", transformer.cache)
    if not is_count(transformer.batch_size):
        raise ValueError(
            f"batch_size must be a whole number of at least 1; got "
            f"{transformer.batch_size!r}."
        )
    if transformer.preprocessing not in ("auto", None) and not callable(
        transformer.preprocessing
    ):
        raise ValueError(
            "preprocessing must be 'auto', a function or None; got "
            f"{transformer.preprocessing!r}."
        )
    _backbone.check_backbone(transformer.backbone)
    *fixed, channels = transformer.backbone.inputs[0].shape[1:]
    n_channels = images.shape[3] if images.ndim == 4 else 1
    if channels not in (None, n_channels) and (channels, n_channels) != (3, 1):
        raise ValueError(
            f"X holds images of {n_channels} channels, but the backbone "
            f"{transformer.backbone.name!r} takes {channels}."
        )
    size = images.shape[1:3]
    if transformer.size is not None:
        size = check_sizes("size", transformer.size, ("height", "width"))
    elif None not in fixed:
        size = tuple(fixed)
    if any(f not in (None, s) for f, s in zip(fixed, size, strict=True)):
        raise ValueError(
            f"size={transformer.size!r} does not suit the backbone "
            f"{transformer.backbone.name!r}, which takes images of {tuple(fixed)}."
        )
    backbone = _backbone.backbone_of(transformer.backbone, transformer.layer)
    shape = (*size, channels or n_channels)
    try:
        found = backbone.map_shape(shape)
    except ValueError as error:
        raise ValueError(
            f"Images of {size[0]} x {size[1]} do not suit the backbone "
            f"{transformer.backbone.name!r}: give another size=, or an earlier layer= "
            f"({str(error).splitlines()[0]})."
        ) from None
    return Settings(
        backbone=transformer.backbone,
        layer=transformer.layer,
        input_shape=shape,
        map_shape=found,
        order=transformer.order,
        pooling=transformer.pooling,
        batch_size=int(transformer.batch_size),
        preprocessing=_backbone.choose_preprocessing(
            transformer.backbone, transformer.preprocessing
        ),
        value_range=_checked_range(transformer.value_range, images.dtype),
        fitted_dtype=images.dtype.name if transformer.value_range is None else None,
        dtype=transformer.dtype,
    )


def _checked_range(given: Any, dtype: np.dtype) -> tuple[float, float]:
    if given is None:
        if dtype.name not in _RANGES:
            raise ValueError(
                f"X is {dtype}, whose black and white are not known: give "
                "value_range=, such as (0, 1)."
            )
        return _RANGES[dtype.name]
    try:
        low, high = map(float, given)
    except (TypeError, ValueError):
        low = high = math.nan
    if not (math.isfinite(low) and math.isfinite(high) and low < high):
        raise ValueError(
            "value_range must be two numbers, (black, white), the first below the "
            f"second; got {given!r}."
        )
    return low, high
