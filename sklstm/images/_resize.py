"""Resizing of images of any dtype."""

from __future__ import annotations

import numpy as np
from scipy.sparse import csr_array

# OpenCV resizes no other integers, and it resizes float64 with 32-bit weights.
_OPENCV_RESIZES = ("uint8", "uint16", "int16", "float32")
# OpenCV averages the areas of at most four channels at a time.
_MOST_CHANNELS = 4


def resize(image: np.ndarray, size: tuple[int, ...]) -> np.ndarray:
    """Resize an image by averaging areas, or by linear interpolation if it grows.

    If one axis shrinks and the other grows, the axis that shrinks is resized first,
    because OpenCV averages areas only if neither axis grows.

    Parameters
    ----------
    image : ndarray of shape (height, width) or (height, width, channels)
        Image of any real dtype or bool. Dtypes that OpenCV cannot resize, or not at
        full precision, are resized in float64. Integers are rounded.
    size : tuple of int
        Height and width of the result.

    Returns
    -------
    ndarray of shape (*size) or (*size, channels)
        Resized image, of the same dtype as `image`.
    """
    if image.shape[2:] > (_MOST_CHANNELS,):
        starts = range(0, image.shape[2], _MOST_CHANNELS)
        parts = [image[..., start : start + _MOST_CHANNELS] for start in starts]
        return np.concatenate([resize(part, size) for part in parts], axis=2)
    dtype = image.dtype.newbyteorder("=")
    step = _resize_by_opencv if dtype.name in _OPENCV_RESIZES else _weigh
    height, width = image.shape[:2]
    smaller = min(height, size[0]), min(width, size[1])
    result = np.ascontiguousarray(image, dtype)
    if smaller != (height, width):
        result = step(result, smaller)
    if smaller != tuple(size):
        result = step(result, tuple(size))
    return like(result, dtype).reshape(*size, *image.shape[2:])


def _resize_by_opencv(image: np.ndarray, size: tuple[int, ...]) -> np.ndarray:
    """Shrink both axes by areas, or else enlarge both by linear interpolation."""
    # Here and not above: the transformers do not load OpenCV until they need it.
    import cv2

    shrinks = size[0] <= image.shape[0] and size[1] <= image.shape[1]
    how = cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
    return cv2.resize(image, size[::-1], interpolation=how)


def _weigh(image: np.ndarray, size: tuple[int, ...]) -> np.ndarray:
    """Resize an image as `_resize_by_opencv` does, but in float64."""
    height, width = image.shape[:2]
    lines = image.astype(np.float64).reshape(height, -1)
    rows = (_sparse_weights(height, size[0]) @ lines).reshape(size[0], width, -1)
    columns = rows.transpose(1, 0, 2).reshape(width, -1)
    result = (_sparse_weights(width, size[1]) @ columns).reshape(size[1], size[0], -1)
    return result.transpose(1, 0, 2).reshape(*size, *image.shape[2:])


def weights_of_pixels(n: int, n_new: int) -> np.ndarray:
    """Return what `resize` gives each of n pixels of an axis in each of n_new pixels.

    Returns
    -------
    ndarray of shape (n_new, n), float64
        Weights. Each row sums to one.
    """
    return np.asarray(_sparse_weights(n, n_new).todense())


def _sparse_weights(n: int, n_new: int) -> csr_array:
    """Return the weights of n pixels in each of n_new pixels, (n_new, n)."""
    if n_new <= n:
        # The old and the new pixels divide the same line, of length n * n_new.
        cuts = np.union1d(np.arange(n + 1) * n_new, np.arange(n_new + 1) * n)
        old, new = cuts[:-1] // n_new, cuts[:-1] // n
        return csr_array((np.diff(cuts) / n, (new, old)), shape=(n_new, n))
    centres = ((np.arange(n_new) + 0.5) * n / n_new - 0.5).clip(0, n - 1)
    before = centres.astype(int)
    after = (before + 1).clip(max=n - 1)
    share = centres - before
    new = np.arange(n_new)
    return csr_array(
        (np.r_[1 - share, share], (np.r_[new, new], np.r_[before, after])),
        shape=(n_new, n),
    )


def like(values: np.ndarray, dtype: np.dtype) -> np.ndarray:
    """Convert values to `dtype`. Integers are rounded and clipped to its range."""
    if values.dtype == dtype:
        return values
    if dtype.kind == "b":
        return values >= 0.5
    if dtype.kind == "f":
        return values.astype(dtype)
    limits = np.iinfo(dtype)
    # float64 cannot hold the largest 64-bit integers, so clip to the next smaller one.
    largest = float(limits.max)
    if largest > limits.max:
        largest = np.nextafter(largest, 0)
    return np.clip(np.rint(values), limits.min, largest).astype(dtype)
