"""Detection of forked processes, in which TensorFlow and JAX may not work."""

import os
import sys
from typing import Any

# True if TensorFlow or JAX had started before this process was forked.
_forked_late = False


def forked_late() -> bool:
    """Return whether this process was forked after TensorFlow or JAX had started."""
    return _forked_late


def check_not_forked() -> None:
    """Raise if the next operation of Keras would wait for ever.

    TensorFlow and JAX compute in threads, and a forked process does not have the
    threads of its parent.

    Raises
    ------
    RuntimeError
        If TensorFlow or JAX had started before this process was forked.
    """
    if _forked_late:
        raise RuntimeError(
            "Keras was used before this process was forked, and in a forked process "
            "it would wait for ever: start processes by 'spawn' or 'forkserver' "
            "(multiprocessing.get_context('spawn')), or with joblib's default "
            "backend, 'loky'."
        )


def _after_fork() -> None:
    global _forked_late
    _forked_late = _forked_late or _tensorflow_runs() or jax_runs()


def _attribute(module: str, *names: str) -> Any:
    """Return an attribute of a loaded module, or None if there is none."""
    found: Any = sys.modules.get(module)
    for name in names:
        found = getattr(found, name, None)
    return found


def _tensorflow_runs() -> bool:
    # These are private names. The public functions would start TensorFlow.
    context = _attribute("tensorflow.python.eager.context", "_context")
    return getattr(context, "_context_handle", None) is not None


def jax_runs() -> bool:
    """Return whether JAX has started, without starting it."""
    return bool(_attribute("jax._src.xla_bridge", "_backends"))


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
