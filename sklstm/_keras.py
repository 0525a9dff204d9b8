"""Keras, imported without TensorFlow's start-up messages.

All modules of this package import Keras from here. If the user has set
TF_CPP_MIN_LOG_LEVEL, TensorFlow logs at this level.
"""

import os
import re
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from typing import TYPE_CHECKING, Any

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


if TYPE_CHECKING:
    import keras
else:
    keras = import_quietly("keras")

__all__ = ["import_quietly", "keras"]
