"""Versions, devices and engine, to be pasted into a report of a problem."""

import os
import platform
import sys
from collections.abc import Callable, Sequence
from importlib.metadata import PackageNotFoundError, version

from sklstm._version import __version__

# Packages under the names of their distributions. Some have several.
_DEPENDENCIES: dict[str, Sequence[str]] = {
    "scikit-learn": (),
    "numpy": (),
    "scipy": (),
    "opencv": (
        "opencv-python-headless",
        "opencv-python",
        "opencv-contrib-python-headless",
        "opencv-contrib-python",
    ),
    "optuna": (),
    "joblib": (),
    "scikeras": (),
    "keras": (),
    "tensorflow": ("tensorflow", "tensorflow-cpu", "tf-nightly"),
    "jax": (),
    "jaxlib": (),
    "jax-cuda-plugin": ("jax-cuda13-plugin", "jax-cuda12-plugin"),
    "torch": (),
    "nvidia-cudnn": ("nvidia-cudnn-cu13", "nvidia-cudnn-cu12"),
    "onnxruntime": (),
    "matplotlib": (),
}

# What `make_engine` chooses for each backend.
_ENGINES = {
    "tensorflow": "GraphEngine, one graph per epoch",
    "jax": "ScanEngine, one compiled loop per epoch",
    "torch": "EagerEngine, an eager loop over the batches",
}


def show_versions() -> None:
    """Print versions, devices, and how networks will be trained.

    Add the output to a report of a problem. Only Keras and its backend are imported. A
    line says so if its value cannot be found, and why.

    Examples
    --------
    >>> import sklstm
    >>> sklstm.show_versions()  # doctest: +SKIP
    """
    _print("System", _system())
    _print("Python dependencies", _versions())
    _print("Keras", _keras())


def _print(title: str, rows: dict[str, object]) -> None:
    print(f"\n{title}:")
    for name, value in rows.items():
        print(f"{name:>20}: {value}")


def _system() -> dict[str, object]:
    return {
        "python": sys.version.replace("\n", " "),
        "executable": sys.executable,
        "machine": platform.platform(),
        "cores": os.cpu_count(),
    }


def _versions() -> dict[str, object]:
    """Return the version of each package, or None if it is not installed."""
    found: dict[str, object] = {"sklstm": __version__}
    for name, distributions in _DEPENDENCIES.items():
        found[name] = None
        for distribution in distributions or (name,):
            try:
                found[name] = version(distribution)
                break
            except PackageNotFoundError:
                continue
            except Exception as error:  # for example, damaged metadata
                found[name] = _problem(error)
    return found


def _problem(error: Exception) -> str:
    return f"none ({error!r})"


def _keras() -> dict[str, object]:
    visible = {"CUDA_VISIBLE_DEVICES": os.environ.get("CUDA_VISIBLE_DEVICES")}
    try:
        # Here and not above: this loads Keras.
        from sklstm._keras import keras

        from sklstm.training import _devices
    # A Keras that cannot be imported is what a user wants to report.
    except Exception as error:
        return {"backend": _problem(error), **visible}
    backend = keras.backend.backend()

    def cards() -> str:
        found = ", ".join(_devices.find_cards()) or "none"
        if found != "none" and _devices.cards_are_hidden():
            found += " (hidden by a setting)"
        return found

    # JAX raises an AssertionError if it lacks the platform that JAX_PLATFORMS names.
    try:
        _devices.share_memory()
        devices = ", ".join(_devices.list_devices())
        lstm = _devices.lstm_on_device()
    except Exception as error:
        devices, lstm = _problem(error), "none"
    return {
        "backend": backend,
        "devices": devices,
        "NVIDIA cards": _attempt(cards),
        **visible,
        "dtype policy": _attempt(lambda: keras.config.dtype_policy().name),
        "engine": _ENGINES.get(backend, "none"),
        "LSTM layers": lstm,
    }


def _attempt(find: Callable[[], object]) -> object:
    try:
        return find()
    except Exception as error:
        return _problem(error)
