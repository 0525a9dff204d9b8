"""Batches of images in a file instead of memory."""

from __future__ import annotations

import math
import mmap
import os
import tempfile
from typing import Any

import numpy as np


def check_folder(name: str, folder: Any) -> None:
    """Raise ValueError unless `folder` is None or an existing folder."""
    if folder is None:
        return
    if not isinstance(folder, str | os.PathLike) or not os.path.isdir(folder):
        raise ValueError(
            f"{name} must be None or a folder that exists; got {folder!r}."
        )


def empty_batch(shape: tuple[int, ...], dtype: Any, on_disk: Any) -> np.ndarray:
    """Return an empty array in memory or in a file without a name.

    Parameters
    ----------
    shape : tuple of int
        Shape of the array.
    dtype : data-type
        dtype of the array.
    on_disk : str, path or None
        Folder of the file. The file is deleted with the last array that uses it. If
        None, the array is in memory.

    Returns
    -------
    ndarray
        Array whose values are not set. An array in a file does not count as memory of
        this process, because the system can take its pages back.
    """
    if on_disk is None:
        return np.empty(shape, dtype)
    n_bytes = math.prod(shape) * np.dtype(dtype).itemsize
    with tempfile.TemporaryFile(dir=on_disk) as file:
        # If the disk is full, this raises an error. Otherwise, the process would crash
        # when it writes to a page without room.
        if hasattr(os, "posix_fallocate"):
            os.posix_fallocate(file.fileno(), 0, n_bytes)
        else:
            file.truncate(n_bytes)
        # joblib expects that other processes can open a numpy.memmap by its name.
        held = mmap.mmap(file.fileno(), n_bytes)
    return np.frombuffer(held, dtype).reshape(shape)
