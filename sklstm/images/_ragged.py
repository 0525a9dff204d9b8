"""Checking of images that may differ in size, and resizing them to one size."""

from __future__ import annotations

import os
from typing import Any

import numpy as np
from scipy.sparse import issparse

from sklstm.images._resize import resize
from sklstm.images._validate import all_finite


def check_images(X: Any, name: str = "X") -> list[np.ndarray]:
    """Check images, which may differ in size, and return them as a list of arrays.

    Each array has the shape (height, width, channels).

    Raises
    ------
    TypeError, ValueError
        If X does not hold images, or the images differ in the number of channels.
    """
    if issparse(X):
        raise TypeError(f"{name} is sparse, but images must be dense: use X.toarray().")
    if hasattr(X, "columns") or isinstance(X, str | bytes | dict | os.PathLike):
        raise TypeError(
            f"{name} is a {type(X).__name__}: give images, an array (n, height, width"
            "[, channels]) or a list of arrays that may differ in size."
        )
    if isinstance(X, np.ndarray) and X.dtype.kind not in "OUS" and X.ndim not in (3, 4):
        raise ValueError(
            f"{name} must hold images, (n, height, width[, channels]) or a list of "
            f"them that may differ in size; got an array of shape {X.shape}."
        )
    try:
        images = [np.asarray(image) for image in X]
    except TypeError:
        raise TypeError(f"{name} must hold images; got {type(X).__name__}.") from None
    except ValueError:  # NumPy raises it for rows that differ in length.
        raise ValueError(
            f"{name} holds an image whose rows differ in length: give arrays (height, "
            "width[, channels])."
        ) from None
    if not images:
        raise ValueError(f"{name} holds no images.")
    out = []
    for i, image in enumerate(images):
        if is_path(image):
            raise ValueError(
                f"{name}[{i}] is the path {os.fsdecode(image.item())!r} and no image: "
                "read the files first, for example by ImageReader(size=..., "
                'color="rgb").fit_transform(paths).'
            )
        if image.ndim not in (2, 3) or image.dtype.kind not in "buif" or not image.size:
            raise ValueError(
                f"{name}[{i}] must be an image, (height, width) or (height, width, "
                f"channels), of numbers; it has shape {image.shape} and is "
                f"{image.dtype}."
            )
        if not all_finite(image):
            bad = np.size(image) - np.count_nonzero(np.isfinite(image))
            raise ValueError(
                f"{name}[{i}] has {bad} pixels that are NaN or infinite: replace them "
                "or leave the image out."
            )
        wide = image.dtype.kind == "f" and image.itemsize > 4
        if wide and max(image.max(), -image.min()) > np.finfo(np.float32).max:
            raise ValueError(
                f"{name}[{i}] has values beyond what float32 can hold (3.4e38): scale "
                "it first."
            )
        out.append(image if image.ndim == 3 else image[..., None])
    channels = {image.shape[2] for image in out}
    if len(channels) > 1:
        raise ValueError(
            f"{name} mixes images of {' and '.join(map(str, sorted(channels)))} "
            "channels: bring them to one number."
        )
    return out


def is_path(value: np.ndarray) -> bool:
    """Return whether an array holds a single path."""
    return value.ndim == 0 and isinstance(value.item(), str | bytes | os.PathLike)


def resize_images(images: list[np.ndarray], size: tuple[int, int]) -> np.ndarray:
    """Resize images to one size and return them as one array.

    The array has the shape (n, height, width, channels). It is uint8 if all images are
    uint8, and float32 otherwise.
    """
    as_bytes = all(image.dtype == np.uint8 for image in images)
    dtype = np.uint8 if as_bytes else np.float32
    out = np.empty((len(images), *size, images[0].shape[2]), dtype)
    for one, image in zip(out, images, strict=True):
        one[:] = resize(image.astype(dtype, copy=False), size)
    return out
