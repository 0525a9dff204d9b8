"""A folder in which JAX keeps compiled functions from one process to the next."""

import os
import re
import sys
import tempfile
from collections.abc import Callable
from typing import Any

# What JAX needs beside the folder. By default, it stores only what took a second to
# compile. Each setting has an environment variable of the same name in capitals.
_STORE_ALL = {
    "jax_enable_compilation_cache": True,
    "jax_persistent_cache_min_compile_time_secs": 0.0,
    "jax_persistent_cache_min_entry_size_bytes": -1,
}

_folder: str | None = None
# The variables of JAX that `set_compilation_cache` has set, as they were before.
_variables_before: dict[str, str | None] = {}


def set_compilation_cache(folder: Any) -> None:
    """Keep the functions that JAX compiles in a folder.

    On JAX, the first fit of a network spends seconds on compilation. With a folder,
    only the first process that needs a function compiles it, and later processes read
    it. In this process, only fits and predictions of sklstm use the folder: JAX's own
    setting `jax_compilation_cache_dir` does not change.

    Processes that start after the call use the folder as well, for example the workers
    of ``n_jobs=2``. For them, the call sets JAX_COMPILATION_CACHE_DIR and three further
    environment variables of JAX. They store all that they compile with JAX.

    Nothing deletes the files. They are valid for one version of JAX and one kind of
    processor; others compile anew beside them.

    Parameters
    ----------
    folder : str, path or None
        Local folder to read and write, in which "~" stands for the home folder. It is
        made if it does not exist. With None, each process compiles for itself, as it
        does at the start, and the environment variables are what they were.

    Raises
    ------
    TypeError
        If `folder` is not a str, a path or None.
    ValueError
        If `folder` is empty, a URL or a file. If the backend of Keras is not JAX,
        because only JAX can store what it compiles.
    OSError
        If the folder cannot be made or written. After any error, an earlier folder
        stays in use.

    Examples
    --------
    >>> from sklstm.estimators import set_compilation_cache
    >>> set_compilation_cache(None)
    """
    global _folder
    if folder is None:
        _folder = None
        _restore_variables()
        return
    name = _checked(folder)
    # Here and not above: this loads Keras.
    from sklstm._keras import keras

    backend = keras.backend.backend()
    if backend != "jax":
        raise ValueError(
            f"folder={name!r} cannot be used, because only JAX stores "
            f"compiled functions and the backend of Keras is {backend}: set "
            "KERAS_BACKEND=jax before Keras is imported, or give None."
        )
    made = _make(name)
    _restore_variables()
    _folder = made
    for setting, value in {"jax_compilation_cache_dir": made, **_STORE_ALL}.items():
        variable = setting.upper()
        _variables_before[variable] = os.environ.get(variable)
        os.environ[variable] = str(value)


def _checked(folder: Any) -> str:
    """Return the name of a folder, or raise if it cannot be one."""
    name = os.fspath(folder) if isinstance(folder, os.PathLike) else folder
    if not isinstance(name, str):
        raise TypeError(
            f"folder={folder!r} must be a str, a path or None, not of type "
            f"{type(folder).__name__}."
        )
    if not name.strip():
        raise ValueError(
            f"folder={name!r} names no folder: give its path, or None for no folder."
        )
    # A pathlib.Path keeps one slash of two. A drive of Windows has one letter.
    if re.match(r"[A-Za-z][A-Za-z0-9+.-]+:/", name):
        raise ValueError(f"folder={name!r} is a URL: give the path of a local folder.")
    return name


def _make(name: str) -> str:
    """Make a folder that can be written and return its absolute path, or raise."""
    path = os.path.abspath(os.path.expanduser(name))
    if os.path.isfile(path):
        raise ValueError(f"folder={name!r} is a file: give the path of a folder.")
    try:
        os.makedirs(path, exist_ok=True)
        with tempfile.TemporaryFile(dir=path):
            pass
    except (OSError, ValueError) as error:  # a ValueError for a null character
        reason = getattr(error, "strerror", None) or error
        raise OSError(
            f"folder={name!r} cannot be made or written ({reason}): give a folder in "
            "which you may create files."
        ) from error
    return path


def _restore_variables() -> None:
    """Give the environment variables of JAX the values that the user left."""
    for variable, value in _variables_before.items():
        if value is None:
            os.environ.pop(variable, None)
        else:
            os.environ[variable] = value
    _variables_before.clear()


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

    settings = {"jax_compilation_cache_dir": _folder, **_STORE_ALL}
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
