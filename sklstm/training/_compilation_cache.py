"""A folder in which JAX keeps compiled functions from one process to the next."""

import os
import sys
from collections.abc import Callable
from typing import Any

_folder: str | None = None


def set_compilation_cache(folder: Any) -> None:
    """Keep the functions that JAX compiles in a folder.

    On JAX, the first fit of a network spends seconds on compilation. With a folder,
    only the first process that needs a function compiles it, and later processes read
    it. Only fits and predictions of sklstm use the folder: JAX's own setting
    `jax_compilation_cache_dir` does not change.

    Nothing deletes the files. They are valid for one version of JAX and one kind of
    processor; others compile anew beside them.

    Parameters
    ----------
    folder : str, path or None
        Folder to read and write, in which "~" stands for the home folder. It is made
        if it does not exist. With None, each process compiles for itself, as it does at
        the start.

    Raises
    ------
    ValueError
        If the backend of Keras is not JAX. Only JAX can store what it compiles.

    Examples
    --------
    >>> from sklstm.estimators import set_compilation_cache
    >>> set_compilation_cache(None)
    """
    global _folder
    if folder is None:
        _folder = None
        return
    # Here and not above: this loads Keras.
    from sklstm._keras import keras

    backend = keras.backend.backend()
    if backend != "jax":
        raise ValueError(
            f"folder={os.fspath(folder)!r} cannot be used, because only JAX stores "
            f"compiled functions and the backend of Keras is {backend}: set "
            "KERAS_BACKEND=jax before Keras is imported, or give None."
        )
    folder = os.path.abspath(os.path.expanduser(folder))
    os.makedirs(folder, exist_ok=True)
    _folder = folder


def use_folder() -> Callable[[], None] | None:
    """Let JAX read and write the folder, if there is one.

    Returns
    -------
    callable or None
        Function that restores the settings of JAX. None if there is no folder.
    """
    if _folder is None or "jax" not in sys.modules:
        return None
    # Here and not above: JAX is optional.
    import jax
    from jax.experimental.compilation_cache import compilation_cache

    settings = {
        "jax_compilation_cache_dir": _folder,
        "jax_enable_compilation_cache": True,
        "jax_persistent_cache_min_compile_time_secs": 0.0,
        "jax_persistent_cache_min_entry_size_bytes": -1,
    }
    before = {name: getattr(jax.config, name) for name in settings}

    def change(values: dict) -> None:
        for name, value in values.items():
            jax.config.update(name, value)
        compilation_cache.reset_cache()  # JAX opens a folder once and keeps it

    try:
        change(settings)
    except BaseException:
        change(before)
        raise
    return lambda: change(before)
