"""Keras, imported without TensorFlow's start-up messages.

All modules of this package import Keras from here. If the user has set
TF_CPP_MIN_LOG_LEVEL, TensorFlow logs at this level. If Keras cannot be imported because
of KERAS_BACKEND, the error says so.
"""

import os
import re
import sys
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

# The backends that have an engine, and what installs each.
_INSTALL = {"tensorflow": "sklstm", "jax": "sklstm[jax]", "torch": "sklstm[torch]"}
_VARIABLE = "KERAS_BACKEND"
_LEVEL = "TF_CPP_MIN_LOG_LEVEL"
_CHATTER = re.compile(
    r"WARNING: All log messages before absl::InitializeLog"
    r"|[IWE]\d{4} \d\d:\d\d"
    r"|\d{4}-\d\d-\d\d .*: [IWE] "
    r"|To enable the following instructions"
)


@contextmanager
def _quiet_tensorflow() -> Iterator[None]:
    """Suppress the log lines of TensorFlow's C++ code, and nothing else on stderr."""
    # The variable alone is not enough, because TensorFlow 2.21 logs before it reads it.
    os.environ[_LEVEL] = "3"
    sys.stderr.flush()
    stderr = os.dup(2)
    with tempfile.TemporaryFile() as held:
        os.dup2(held.fileno(), 2)
        try:
            yield
        finally:
            os.environ.pop(_LEVEL, None)
            sys.stderr.flush()
            os.dup2(stderr, 2)
            os.close(stderr)
            held.seek(0)
            for line in held.read().decode(errors="replace").splitlines(True):
                if not _CHATTER.match(line):
                    sys.stderr.write(line)


def import_quietly(name: str) -> Any:
    """Import a module that may load TensorFlow, without TensorFlow's messages.

    Parameters
    ----------
    name : str
        Name of the module.

    Returns
    -------
    module
        The imported module.
    """
    if _LEVEL in os.environ or "tensorflow" in sys.modules or sys.stderr is None:
        return import_module(name)
    with _quiet_tensorflow():
        module = import_module(name)
        if "tensorflow" in sys.modules:
            # TensorFlow also logs when it looks for a GPU, so it looks for one now.
            sys.modules["tensorflow"].config.list_physical_devices()
        return module


def _error_of_backend() -> Exception | None:
    """Return why Keras cannot be imported, or None if KERAS_BACKEND is no reason."""
    name = os.environ.get(_VARIABLE)
    if not name:
        return None
    if name not in _INSTALL:
        return ValueError(
            f"{_VARIABLE}={name!r} is no backend of sklstm: set it to 'tensorflow', "
            "'jax' or 'torch' (PyTorch) before Keras is imported."
        )
    if find_spec(name) is None:
        return ModuleNotFoundError(
            f"{_VARIABLE}={name!r} needs the package {name}, which is not installed: "
            f'run pip install "{_INSTALL[name]}", or choose another backend.',
            name=name,
        )
    return None


def _import_keras() -> Any:
    try:
        return import_quietly("keras")
    except Exception:
        # Keras reads the variable itself, and keras.json may name a backend as well. So
        # the variable is looked at only after an error.
        error = _error_of_backend()
        if error is None:
            raise
    raise error


_warned_of_variable = False


def warn_of_late_variable(stacklevel: int = 2) -> None:
    """Warn, once in a process, if KERAS_BACKEND names a backend that does not run.

    Keras reads the variable once. It does not notice a later change, but processes that
    start afterwards do. `keras.config.set_backend` changes the variable as well.

    Parameters
    ----------
    stacklevel : int
        As in `warnings.warn`, counted from this function.
    """
    global _warned_of_variable
    named, runs = os.environ.get(_VARIABLE), keras.backend.backend()
    if _warned_of_variable or not named or named == runs:
        return
    _warned_of_variable = True
    warnings.warn(
        f"{_VARIABLE} is {named!r}, but Keras was imported before it was set and runs "
        f"on {runs!r}: restart Python and set the variable first, or set it back. "
        f"Worker processes that start now read it and run on {named!r}.",
        UserWarning,
        stacklevel=stacklevel,
    )


if TYPE_CHECKING:
    import keras
else:
    keras = _import_keras()

__all__ = ["import_quietly", "keras", "warn_of_late_variable"]
