"""Photographs or paths that `FundusPreprocessor` takes, converted to uint8."""

from __future__ import annotations

import os
from typing import Any

import numpy as np

from sklstm.preprocessing._image_reader import ImageReader, check_paths

# The shortest side in pixels.
SMALLEST = 64
# Cameras record these numbers of bits. Files of 16 bits store the values unchanged.
DEPTHS = (8, 10, 12, 14, 16)
# One pixel in so many may exceed the depth: a hot pixel, or one of a caption.
_STRAY = 10_000


def listed_photographs(X: Any) -> tuple[list, bool]:
    """Return a list of photographs or paths, and whether X is a single one."""
    if isinstance(X, str | os.PathLike):
        return [X], True
    if isinstance(X, list | tuple):
        items = list(X)
    else:
        array = np.asarray(X)
        if array.dtype.kind in "biufc":
            if array.ndim == 2 or (array.ndim == 3 and array.shape[2] in (1, 3, 4)):
                return [array], True
            if array.ndim not in (1, 3, 4):
                raise ValueError(
                    f"X must hold photographs, (n, height, width[, channels]), or "
                    f"paths; got an array of shape {array.shape}."
                )
        elif array.ndim != 1:
            return list(check_paths(X)), False
        items = list(array)
    if not items:
        raise ValueError("X holds no photographs.")
    named = [i for i, item in enumerate(items) if not _holds_pixels(item)]
    if len(named) == len(items):
        return list(check_paths(items)), False
    for i in named:
        if not isinstance(items[i], str | os.PathLike):
            raise ValueError(
                f"X must hold photographs, or paths as str or pathlib.Path; X[{i}] is "
                f"{type(items[i]).__name__}: {items[i]!r:.60}."
            )
    return items, False


def _holds_pixels(item: Any) -> bool:
    if isinstance(item, np.generic):
        return False
    return isinstance(item, list | tuple) or any(
        hasattr(item, name) for name in ("__array__", "__array_interface__")
    )


def name_of(photograph: Any, i: int) -> str:
    """Return the name of a photograph in messages: its place in X, and its path."""
    if isinstance(photograph, str | os.PathLike):
        return f"X[{i}], {os.fspath(photograph)}"
    return f"X[{i}]"


def read_photograph(
    photograph: Any, name: str, bit_depth: int | None = None
) -> np.ndarray:
    """Read a photograph and convert it to uint8.

    Photographs in uint16 keep the upper 8 of the bits that they use.

    Parameters
    ----------
    photograph : array-like or path
        Photograph in uint8, uint16, or floats from 0 to 1.
    name : str
        Name of the photograph in messages.
    bit_depth : int or None, default=None
        Number of bits that a photograph in uint16 uses. If None, it is the smallest of
        `DEPTHS` that holds its values, except for one in 10,000.

    Returns
    -------
    ndarray of shape (height, width) or (height, width, 3), uint8
        The photograph. An alpha channel is dropped.

    Raises
    ------
    ValueError
        If the shape, dtype or values are not those of a photograph.
    """
    if isinstance(photograph, str | os.PathLike):
        image = ImageReader(color="rgb").transform([photograph])[0]
    else:
        image = np.asarray(photograph)
    if image.ndim == 3 and image.shape[2] == 1:
        image = image[..., 0]
    if image.ndim not in (2, 3) or (image.ndim == 3 and image.shape[2] not in (3, 4)):
        raise ValueError(
            f"{name} has the shape {image.shape}: a photograph is (height, width), "
            "(height, width, 3) or, with alpha, (height, width, 4)."
        )
    if min(image.shape[:2]) < SMALLEST:
        raise ValueError(
            f"{name} is {image.shape[0]} x {image.shape[1]} pixels, too few to show a "
            f"retina: at least {SMALLEST} a side."
        )
    image = image[..., :3] if image.ndim == 3 else image
    # The checks below compare dtypes, so that the byte order must be native.
    image = np.ascontiguousarray(image, image.dtype.newbyteorder("="))
    if image.dtype == np.uint8:
        return image
    if image.dtype == np.uint16:
        return _from_uint16(image, name, bit_depth)
    if image.dtype.kind == "f" and image.min() >= 0 and image.max() <= 1:
        return np.round(image * np.float32(255)).astype(np.uint8)
    values = ""
    if image.dtype.kind in "biuf":
        values = f" from {image.min()} to {image.max()}"
    raise ValueError(
        f"{name} is {image.dtype}{values}: photographs are uint8, uint16, or floats "
        "from 0 to 1."
    )


def _from_uint16(image: np.ndarray, name: str, bit_depth: int | None) -> np.ndarray:
    if bit_depth is None:
        bit_depth = _depth(image)
    elif image.max() > 2**bit_depth - 1:
        raise ValueError(
            f"{name} holds values up to {image.max()}, but bit_depth={bit_depth} means "
            f"at most {2**bit_depth - 1}: give the depth of the camera, or None."
        )
    held = np.minimum(image, np.uint16(2**bit_depth - 1))
    return (held >> (bit_depth - 8)).astype(np.uint8)


def _depth(image: np.ndarray) -> int:
    """Return the number of bits that a photograph in uint16 uses."""
    for depth in DEPTHS[:-1]:
        if np.count_nonzero(image >= 2**depth) <= image.size // _STRAY:
            # Values of 8 bits that were spread over 16 are multiples of 257, even in a
            # dark photograph.
            spread = image.any() and not (image % 257).any()
            return DEPTHS[-1] if spread else depth
    return DEPTHS[-1]
