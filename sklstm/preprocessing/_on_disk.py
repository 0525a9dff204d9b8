"""Batches of images that lie in a file and not in memory."""

from __future__ import annotations

import math
import mmap
import os
import tempfile
from typing import Any

import numpy as np


def check_folder(name: str, folder: Any) -> None:
    """Raise ValueError unless `folder` is None or a folder that exists."""
    if folder is None:
        return
    if not isinstance(folder, str | os.PathLike) or not os.path.isdir(folder):
        raise ValueError(
            f"{name} must be None or a folder that exists; got {folder!r}."
        )


def empty_batch(shape: tuple[int, ...], dtype: Any, on_disk: Any) -> np.ndarray:
    """Return an array to be filled, in memory or in a file without a name.

    Parameters
    ----------
    shape : tuple of int
        Of the array.
    dtype : data-type
        Of the array.
    on_disk : str, path or None
        The folder of the file, which is gone with the last array that uses it. None
        for memory.

    Returns
    -------
    ndarray
        Its values are not set. What lies in a file does not count as memory of this
        process: the system takes pages back when it needs them.
    """
    if on_disk is None:
        return np.empty(shape, dtype)
    n_bytes = math.prod(shape) * np.dtype(dtype).itemsize
    with tempfile.TemporaryFile(dir=on_disk) as file:
        # A full disk is an error now and not a crash at the first page without room.
        if hasattr(os, "posix_fallocate"):
            os.posix_fallocate(file.fileno(), 0, n_bytes)
        else:
            file.truncate(n_bytes)
        # Not numpy.memmap, which joblib takes for a file that others can open by name.
        held = mmap.mmap(file.fileno(), n_bytes)
    return np.frombuffer(held, dtype).reshape(shape)
