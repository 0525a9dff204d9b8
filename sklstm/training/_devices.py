"""The devices of Keras' backend, and graphics cards that it does not see."""

import os
import platform
import shutil
import sys
import threading
import warnings
from pathlib import Path

from sklstm._keras import keras

from sklstm.training._fork import jax_runs

# Each of them says how much of a card's memory JAX takes, so the user has decided.
_JAX_MEMORY = (
    "XLA_PYTHON_CLIENT_PREALLOCATE",
    "XLA_PYTHON_CLIENT_MEM_FRACTION",
    "XLA_CLIENT_MEM_FRACTION",
    "XLA_PYTHON_CLIENT_ALLOCATOR",
)
_NAMES = {"tensorflow": "TensorFlow", "jax": "JAX", "torch": "PyTorch"}

_LOCK = threading.Lock()
_memory_is_shared = False
_looked_for_cards = False


def share_memory() -> None:
    """Let the backend take the memory of a card as it needs it.

    TensorFlow would take the whole card at its first operation, and JAX three quarters
    of it. A second process could then not use the card. PyTorch needs no setting.
    Nothing changes if the backend runs already or if the user has set how much memory
    it takes.
    """
    global _memory_is_shared
    with _LOCK:
        if _memory_is_shared:
            return
        backend = keras.backend.backend()
        if backend == "tensorflow":
            _let_tensorflow_grow()
        elif backend == "jax":
            _let_jax_grow()
        _memory_is_shared = True


def _let_tensorflow_grow() -> None:
    # Here and not above: other backends do not load TensorFlow.
    import tensorflow as tf

    if "TF_FORCE_GPU_ALLOW_GROWTH" in os.environ:
        return
    cards = tf.config.list_physical_devices("GPU")
    get_growth = tf.config.experimental.get_memory_growth  # None if it was never set
    # The setting must be the same on all cards.
    if any(
        get_growth(card) is not None or tf.config.get_logical_device_configuration(card)
        for card in cards
    ):
        return
    try:
        for card in cards:
            tf.config.experimental.set_memory_growth(card, True)
    except RuntimeError:  # TensorFlow runs already, with memory as it is
        pass


def _let_jax_grow() -> None:
    # Here and not above: JAX is optional.
    import jax

    if jax_runs() or any(name in os.environ for name in _JAX_MEMORY):
        return
    # JAX reads the variable once, when it starts.
    os.environ[_JAX_MEMORY[0]] = "false"
    try:
        jax.devices()
    finally:
        del os.environ[_JAX_MEMORY[0]]


def list_devices() -> list[str]:
    """Return the name of each device that the backend sees."""
    backend = keras.backend.backend()
    if backend == "tensorflow":
        # Here and not above: other backends do not load TensorFlow.
        import tensorflow as tf

        return [
            device.name.removeprefix("/physical_device:")
            for device in tf.config.list_physical_devices()
        ]
    if backend == "jax":
        # Here and not above: JAX is optional.
        import jax

        return [f"{device.platform.upper()}:{device.id}" for device in jax.devices()]
    if backend == "torch":
        # Here and not above: PyTorch is optional.
        import torch

        devices = ["CPU:0"]
        if torch.backends.mps.is_available():
            devices.append("MPS:0")
        cards = range(torch.cuda.device_count())
        return devices + [f"GPU:{number}" for number in cards]
    return []


def lstm_on_device() -> str:
    """Return in words what computes the LSTM layers of a network."""
    backend = keras.backend.backend()
    if backend == "tensorflow":
        # Here and not above: other backends do not load TensorFlow.
        import tensorflow as tf

        if tf.config.list_physical_devices("GPU"):
            return "cuDNN"
        return "TensorFlow's operator or Keras' loop (cuDNN needs a GPU)"
    if backend == "jax":
        # Here and not above: JAX is optional.
        import jax

        if jax.default_backend() == "gpu":
            return "cuDNN"
        return "Keras' loop, compiled (cuDNN needs a GPU)"
    if backend == "torch":
        # Here and not above: PyTorch is optional.
        import torch
        from keras.src.backend.torch.core import get_device

        on_card = get_device().startswith("cuda")
        if on_card and torch.backends.cudnn.is_available():
            return "cuDNN"
        return "PyTorch's operator (cuDNN needs a GPU)"
    return "Keras' loop"


def sees_accelerator() -> bool:
    """Return whether the backend sees any device besides the CPU."""
    return any(not device.startswith("CPU") for device in list_devices())


def find_cards(root: Path = Path("/")) -> list[str]:
    """Return a file for each NVIDIA card of the machine, found without the backend.

    Parameters
    ----------
    root : Path
        Root of the file system.

    Returns
    -------
    list of str
        Device files that this process may use. On Windows, the path of ``nvidia-smi``
        if it is installed.
    """
    if sys.platform == "win32":
        tool = shutil.which("nvidia-smi")
        return [] if tool is None else [tool]
    files = sorted((root / "dev").glob("nvidia[0-9]*"))
    # The Windows Subsystem for Linux has one file for all cards of all makers. Only the
    # driver of NVIDIA brings this library.
    if (root / "usr/lib/wsl/lib/libcuda.so.1").exists():
        files.append(root / "dev/dxg")
    # In a container or a job that was given no card, the files may exist, but the
    # process may not open them.
    return [str(file) for file in files if os.access(file, os.R_OK | os.W_OK)]


def cards_are_hidden() -> bool:
    """Return whether the user has hidden the cards from the backend on purpose."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is not None:
        # CUDA ignores the first entry that names no card, and all that follow.
        first = visible.partition(",")[0].strip()
        if not (first.isdecimal() or first.startswith(("GPU-", "MIG-"))):
            return True
    backend = keras.backend.backend()
    if backend == "jax":
        # Here and not above: JAX is optional.
        import jax

        # The first is that of JAX_PLATFORMS, unless the user's code has changed it.
        chosen = jax.config.jax_platforms or os.environ.get("JAX_PLATFORM_NAME")
        if not chosen:
            return False
        return not {"cuda", "gpu"} & set(chosen.split(","))
    if backend == "torch":
        return os.environ.get("KERAS_TORCH_DEVICE", "cuda").startswith("cpu")
    return False


def warn_of_idle_card(stacklevel: int = 2) -> None:
    """Warn, once in a process, of a card that the backend does not see.

    Parameters
    ----------
    stacklevel : int
        As in `warnings.warn`, counted from this function.
    """
    global _looked_for_cards
    if _looked_for_cards:
        return
    _looked_for_cards = True
    if not find_cards() or cards_are_hidden() or sees_accelerator():
        return
    backend = keras.backend.backend()
    warnings.warn(
        f"This machine has a GPU, but {_NAMES[backend]} does not see it and computes "
        f"on the CPU: {_advice(backend)}. To use the CPU on purpose, set "
        "CUDA_VISIBLE_DEVICES=-1.",
        UserWarning,
        stacklevel=stacklevel,
    )


def _advice(backend: str) -> str:
    """Return what makes the backend see a card."""
    if backend == "torch":
        return (
            "install a CUDA build of PyTorch (https://pytorch.org/get-started/locally)"
            ", or update the driver if you have one"
        )
    if sys.platform == "win32":
        return (
            "install sklstm in WSL2, because there are no CUDA wheels of "
            f"{_NAMES[backend]} for Windows"
        )
    if backend == "tensorflow" and platform.machine() != "x86_64":
        return (
            "use JAX or PyTorch, because there are no CUDA wheels of TensorFlow for "
            "this processor"
        )
    extra = "gpu" if backend == "tensorflow" else "gpu-jax"
    return (
        f'install the CUDA libraries with pip install "sklstm[{extra}]", or update '
        "the driver if you have them"
    )
