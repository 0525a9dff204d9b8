"""The features of images, from the caches or from the backbone."""

from __future__ import annotations

import hashlib
import os
import warnings
from typing import Any

import numpy as np

from sklstm.features._cache import MEMORY, FolderCache
from sklstm.features._settings import Settings
from sklstm.images._resize import resize

_KEY_BYTES = 16


def features(images: np.ndarray, how: Settings, cache: Any) -> np.ndarray:
    """Return the features of images from the caches, and compute what is missing."""
    # Here and not above: this loads Keras.
    from sklstm.features._backbone import backbone_of

    _check_values(images, how)
    backbone = backbone_of(how.backbone, how.layer)
    source = _source(how, backbone.digest())
    store = _Store(source, how, cache)
    found = np.empty((len(images), *how.shape), how.dtype)
    missing: dict[bytes, list[int]] = {}
    for row, image in enumerate(images):
        key = _key(_to_hash(image, how))
        array = None if key in missing else store.get(key)
        if array is None:
            missing.setdefault(key, []).append(row)
        else:
            found[row] = array
    todo = list(missing.items())
    if store.folder is not None:
        # Processes that start together begin at different places.
        first = os.getpid() % max(len(todo), 1)
        todo = todo[first:] + todo[:first]
    with backbone.lock:
        while todo:
            # Another thread or process may have computed some meanwhile.
            batch: list[tuple[bytes, list[int]]] = []
            while todo and len(batch) < how.batch_size:
                key, rows = todo.pop()
                array = store.get(key)
                if array is None:
                    batch.append((key, rows))
                else:
                    found[rows] = array
            if batch:
                prepared = _prepare(images[[rows[0] for _, rows in batch]], how)
                arrays = _compute(prepared, how, backbone)
                for (key, rows), one, array in zip(
                    batch, prepared, arrays, strict=True
                ):
                    found[rows] = array
                    # A function that is random gives another image this time.
                    own = callable(how.preprocessing)
                    store.put(_key(one) if own else key, array)
    return found


class _Store:
    """The caches that a transformer uses.

    Parameters
    ----------
    source : str
        What computes the features.
    how : Settings
        Shape and dtype of the features.
    cache : {None, False}, str or path
        Parameter of `FeatureSequencer`.
    """

    def __init__(self, source: str, how: Settings, cache: Any) -> None:
        self.source = source
        self.is_used = cache is not False
        self.folder = None
        self._warned = False
        if cache not in (None, False):
            try:
                self.folder = FolderCache(cache, source, how.shape, how.dtype)
            except OSError as error:
                self._warn(error, cache)

    def get(self, key: bytes) -> np.ndarray | None:
        """Return the features, or None if they are in no cache."""
        if not self.is_used:
            return None
        array = MEMORY.get(self.source, key)
        if array is None and self.folder is not None:
            array = self.folder.get(key)
            if array is not None:
                MEMORY.put(self.source, key, array, quietly=True)
        return array

    def put(self, key: bytes, array: np.ndarray) -> None:
        """Keep the features, or warn. A search must not end because a disk is full."""
        if not self.is_used:
            return
        MEMORY.put(self.source, key, array, quietly=self.folder is not None)
        if self.folder is not None:
            try:
                self.folder.put(key, array)
            except OSError as error:
                self._warn(error, self.folder.folder.parent)

    def _warn(self, error: OSError, folder: Any) -> None:
        if not self._warned:
            warnings.warn(
                f"Some features cannot be written to cache={str(folder)!r} "
                f"({error.strerror}): they are computed, and not kept for other "
                "processes.",
                UserWarning,
                stacklevel=2,
            )
        self._warned = True


def _check_values(images: np.ndarray, how: Settings) -> None:
    if how.fitted_dtype is not None:
        if images.dtype.name != how.fitted_dtype:
            raise ValueError(
                f"X is {images.dtype}, but FeatureSequencer was fitted on "
                f"{how.fitted_dtype}: convert X, or give value_range=."
            )
        return
    low, high = how.value_range
    least, most = images.min(), images.max()
    if least < low or most > high:
        raise ValueError(
            f"X has values from {least} to {most}, outside value_range="
            f"{how.value_range}; give the values that are black and white."
        )


def _to_hash(image: np.ndarray, how: Settings) -> np.ndarray:
    """Return what the key of an image is made from."""
    # What a function of the user does cannot be part of a key, so the key is made from
    # its result.
    return _prepare(image[None], how)[0] if callable(how.preprocessing) else image


def _prepare(images: np.ndarray, how: Settings) -> np.ndarray:
    """Return images as the backbone takes them, float32."""
    # Here and not above: this loads Keras.
    from sklstm.features._backbone import preprocess

    low, high = how.value_range
    height, width, channels = how.input_shape
    batch = np.empty((len(images), height, width, channels), np.float32)
    for target, image in zip(batch, images, strict=True):
        scaled = (image.astype(np.float64) - low) * (255 / (high - low))
        small = resize(scaled.astype(np.float32), (height, width))
        target[...] = small if small.ndim == 3 else small[:, :, None]
    return preprocess(batch, how.preprocessing)


def _compute(batch: np.ndarray, how: Settings, backbone: Any) -> np.ndarray:
    """Return the features of at most `batch_size` prepared images."""
    n = len(batch)
    # All batches have one size: the last bits of a sum may depend on it.
    full = np.zeros((how.batch_size, *batch.shape[1:]), np.float32)
    full[:n] = batch
    maps = backbone.compute(full)[:n]
    if how.pooling is not None:
        maps = (maps.mean if how.pooling == "mean" else maps.max)(axis=(1, 2))
    if not np.isfinite(maps).all():
        raise ValueError(
            f"The backbone {how.backbone.name!r} gives features that are NaN or "
            "infinite: look at its weights and at preprocessing."
        )
    largest = np.finfo(how.dtype).max
    if np.abs(maps).max() > largest:
        raise ValueError(
            f"A feature is {np.abs(maps).max():.3g}, more than dtype={how.dtype!r} can "
            "hold: set dtype='float32'."
        )
    return maps.astype(how.dtype)


def _source(how: Settings, digest: str) -> str:
    """Return a name for all that the features depend on except the image."""
    parts = (
        digest,
        how.input_shape,
        how.map_shape,
        how.pooling,
        how.batch_size,
        how.dtype,
        # With a function, the key is made after both.
        "own" if callable(how.preprocessing) else (how.preprocessing, how.value_range),
    )
    return hashlib.blake2b(repr(parts).encode(), digest_size=_KEY_BYTES).hexdigest()


def _key(image: np.ndarray) -> bytes:
    digest = hashlib.blake2b(
        f"{image.dtype.str} {image.shape}".encode(), digest_size=_KEY_BYTES
    )
    digest.update(np.ascontiguousarray(image).reshape(-1).view(np.uint8).data)
    return digest.digest()
