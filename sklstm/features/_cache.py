"""Caches of arrays by a key that is made from all that decides their values.

One cache is in the memory of the process, and the other in a folder. Both hold arrays
of a known shape and dtype. Loads no Keras.
"""

from __future__ import annotations

import hashlib
import os
import secrets
import stat
import threading
import time
import warnings
from contextlib import suppress
from numbers import Real
from pathlib import Path
from typing import Any

import numpy as np

# Each file is a head, the values, and a checksum of both and of the key.
_MAGIC = b"sklstm features 1\n"
_CHECKSUM_BYTES = 16
# A process that is killed leaves the file that it was writing. No write takes an hour.
_ABANDONED_AFTER_SECONDS = 3600
_TEMPORARY = ".writing-"
# The folders in which this process has looked for such files.
_CLEANED: set[str] = set()


class MemoryCache:
    """Arrays in the memory of this process, up to a number of bytes.

    Parameters
    ----------
    max_bytes : int
        Bytes that all arrays may need together.
    """

    def __init__(self, max_bytes: int) -> None:
        self.max_bytes = max_bytes
        self.n_bytes = 0
        self._arrays: dict[str, dict[bytes, np.ndarray]] = {}
        self._sizes: dict[str, int] = {}
        self._warned = False
        self._dropped: set[str] = set()
        self._lock = threading.Lock()

    def get(self, source: str, key: bytes) -> np.ndarray | None:
        """Return the read-only array, or None if there is none.

        Parameters
        ----------
        source : str
            What computed the array, such as a model and its parameters.
        key : bytes
            What it was computed from.
        """
        with self._lock:
            if source in self._dropped:
                self._dropped.discard(source)
                self._warn()
            if source not in self._arrays:
                return None
            # The source that was read last is dropped last.
            own = self._arrays[source] = self._arrays.pop(source)
            return own.get(key)

    def put(
        self, source: str, key: bytes, array: np.ndarray, quietly: bool = False
    ) -> None:
        """Keep a copy of the array if there is room. If not, warn once.

        Arrays of other sources are dropped for it, first those of the source that was
        not read for the longest time. If such a source is read again, warn as well.
        Arrays of the same source stay: a cross-validation reads all images in each
        fold, and would find nothing if the newest image replaced the oldest one.

        Parameters
        ----------
        source, key : str and bytes
            As in `get`.
        array : ndarray
            The array.
        quietly : bool
            If True, do not warn.
        """
        with self._lock:
            own = self._arrays.pop(source, {})
            self._arrays[source] = own
            if key in own:
                return
            if self._sizes.get(source, 0) + array.nbytes > self.max_bytes:
                if not quietly:
                    self._warn()
                return
            while self.n_bytes + array.nbytes > self.max_bytes:
                oldest = next(iter(self._arrays))
                self._drop(oldest)
                if not quietly:
                    self._dropped.add(oldest)
            kept = array.copy()
            kept.flags.writeable = False
            own[key] = kept
            self._sizes[source] = self._sizes.get(source, 0) + kept.nbytes
            self.n_bytes += kept.nbytes

    def clear(self) -> None:
        """Drop all arrays."""
        with self._lock:
            self._arrays.clear()
            self._sizes.clear()
            self._dropped.clear()
            self.n_bytes = 0
            self._warned = False

    def resize(self, max_bytes: int) -> None:
        """Change the number of bytes. Arrays beyond it are dropped."""
        with self._lock:
            self.max_bytes = max_bytes
            self._warned = False
            while self.n_bytes > max_bytes:
                self._drop(next(iter(self._arrays)))

    def _drop(self, source: str) -> None:
        del self._arrays[source]
        self.n_bytes -= self._sizes.pop(source, 0)

    def _warn(self) -> None:
        if self._warned:
            return
        self._warned = True
        warnings.warn(
            f"The cache of features is full at {self.max_bytes / 1e6:.0f} MB, and some "
            "features are computed again in each fold: set cache= to a folder, pooling "
            "or dtype='float16', or call sklstm.features.set_feature_cache_size.",
            UserWarning,
            stacklevel=2,
        )


MEMORY = MemoryCache(2**30)


def clear_feature_cache() -> None:
    """Drop all features that `FeatureSequencer` keeps in memory.

    Files in the folders of ``cache=`` stay.
    """
    MEMORY.clear()


def set_feature_cache_size(n_bytes: float) -> None:
    """Set how much memory the features of all `FeatureSequencer` may need.

    Parameters
    ----------
    n_bytes : float
        Number of bytes, at first 2 ** 30. Features beyond it are dropped. With 0,
        nothing is kept.

    Raises
    ------
    ValueError
        If it is no number of bytes.
    """
    if isinstance(n_bytes, bool) or not isinstance(n_bytes, Real) or not n_bytes >= 0:
        raise ValueError(
            f"n_bytes must be a number of bytes, at least 0; got {n_bytes!r}."
        )
    MEMORY.resize(int(n_bytes))


class FolderCache:
    """Arrays in files of a folder, which several processes may share.

    A file that is cut off, damaged, or holds anything but an array of the expected
    shape and dtype counts as missing. Files are complete when they get their name.

    Parameters
    ----------
    folder : str or path
        Existing folder.
    source : str
        What computes the arrays, a name of letters and digits.
    shape : tuple of int
        Shape of each array.
    dtype : dtype
        dtype of each array.
    """

    def __init__(
        self, folder: Any, source: str, shape: tuple[int, ...], dtype: Any
    ) -> None:
        self.folder = Path(folder) / source
        self.shape = shape
        self.dtype = np.dtype(dtype).newbyteorder("<")
        self._n_bytes = int(np.prod(shape)) * self.dtype.itemsize
        self._head = _MAGIC + f"{source} {self.dtype.str} {shape}\n".encode()
        self.folder.mkdir(exist_ok=True)
        if str(self.folder) not in _CLEANED:
            _CLEANED.add(str(self.folder))
            self._remove_abandoned()

    def get(self, key: bytes) -> np.ndarray | None:
        """Return the array, or None if there is no file that holds it."""
        n_bytes = len(self._head) + self._n_bytes + _CHECKSUM_BYTES
        try:
            content = _read_file(self._path(key), n_bytes)
        except OSError:
            return None
        if content is None or not content.startswith(self._head):
            return None
        body, checksum = content[:-_CHECKSUM_BYTES], content[-_CHECKSUM_BYTES:]
        if _checksum(key, body) != checksum:
            return None
        values = np.frombuffer(body, self.dtype, offset=len(self._head))
        if not np.isfinite(values).all():
            return None
        return values.reshape(self.shape).astype(self.dtype.newbyteorder("="))

    def put(self, key: bytes, array: np.ndarray) -> None:
        """Write the array to a file."""
        body = self._head + np.ascontiguousarray(array, self.dtype).tobytes()
        name = self.folder / f"{_TEMPORARY}{os.getpid()}-{secrets.token_hex(8)}"
        # Others may read it, if the user's mask lets them. The files of tempfile are
        # for one user alone.
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0)
        handle = os.open(name, flags, 0o666)
        try:
            with open(handle, "wb") as file:
                file.write(body + _checksum(key, body))
            os.replace(name, self._path(key))
        except BaseException:
            with suppress(OSError):
                os.remove(name)
            raise

    def _path(self, key: bytes) -> Path:
        return self.folder / key.hex()

    def _remove_abandoned(self) -> None:
        before = time.time() - _ABANDONED_AFTER_SECONDS
        for path in self.folder.glob(f"{_TEMPORARY}*"):
            # Another process may remove it at the same time.
            with suppress(OSError):
                if path.stat().st_mtime < before:
                    path.unlink()


def _checksum(key: bytes, body: bytes) -> bytes:
    return hashlib.blake2b(body, digest_size=_CHECKSUM_BYTES, key=key).digest()


def _read_file(path: Path, n_bytes: int) -> bytes | None:
    """Return the content of a regular file of `n_bytes`, or None."""
    # To open a pipe would wait for a writer. Windows has neither of the two flags.
    flags = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
    handle = os.open(path, flags)
    found = os.fstat(handle)
    if not stat.S_ISREG(found.st_mode) or found.st_size != n_bytes:
        os.close(handle)
        return None
    with open(handle, "rb") as file:
        content = file.read(n_bytes + 1)
    return content if len(content) == n_bytes else None
