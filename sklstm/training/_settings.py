"""The global settings of Keras and its backend that networks here fix or follow."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from sklstm._keras import keras

from sklstm.training._compilation_cache import use_folder

POLICIES = ("float32", "mixed_float16", "mixed_bfloat16", "float16", "bfloat16")

_LOCK = threading.Lock()
_inside = 0
_before: tuple[str, str] = ("", "")
_leave_folder: Callable[[], None] | None = None


@contextmanager
def own_settings() -> Iterator[None]:
    """Let Keras compute in float32 and with channels last inside the block.

    JAX uses the folder of `set_compilation_cache` inside the block, if there is one.
    Layers and operators read the settings when they are made and when they are traced.
    The settings belong to the whole process. If several threads are inside the block,
    the last one to leave restores what the first one found.
    """
    global _inside, _before, _leave_folder
    config = keras.config
    with _LOCK:
        if _inside == 0:
            _leave_folder = use_folder()
            _before = (config.floatx(), config.image_data_format())
            config.set_floatx("float32")
            config.set_image_data_format("channels_last")
        _inside += 1
    try:
        yield
    finally:
        with _LOCK:
            _inside -= 1
            if _inside == 0:
                config.set_floatx(_before[0])
                config.set_image_data_format(_before[1])
                if _leave_folder is not None:
                    _leave_folder()


@contextmanager
def full_float32() -> Iterator[None]:
    """Let a GPU multiply float32 numbers with all their bits inside the block.

    By default, a GPU may shorten the factors to TensorFloat-32, with 10 bits after the
    point instead of 23. Results then differ from those of a CPU in the third or fourth
    digit. The setting belongs to the whole process and is restored, on JAX to the
    thread. On JAX, functions are compiled again for it.
    """
    backend = keras.backend.backend()
    if backend == "tensorflow":
        # Here and not above: other backends do not load TensorFlow.
        from tensorflow.config import experimental

        before = experimental.tensor_float_32_execution_enabled()
        experimental.enable_tensor_float_32_execution(False)
        try:
            yield
        finally:
            experimental.enable_tensor_float_32_execution(before)
    elif backend == "jax":
        # Here and not above: JAX is optional.
        import jax

        with jax.default_matmul_precision("highest"):
            yield
    elif backend == "torch":
        # Here and not above: PyTorch is optional.
        import torch

        cudnn = torch.backends.cudnn
        places: tuple = (torch.backends.cuda.matmul, cudnn)
        name: str = "allow_tf32"
        value: Any = False
        if hasattr(cudnn, "rnn"):  # since PyTorch 2.9, each operator has a setting
            places = (torch.backends.cuda.matmul, cudnn.conv, cudnn.rnn)
            name, value = "fp32_precision", "ieee"
        before = [getattr(place, name) for place in places]
        for place in places:
            setattr(place, name, value)
        try:
            yield
        finally:
            for place, old in zip(places, before, strict=True):
                setattr(place, name, old)
    else:
        yield


@contextmanager
def deterministic_ops() -> Iterator[None]:
    """Let only deterministic kernels run inside the block."""
    backend = keras.backend.backend()
    if backend == "tensorflow":
        # Here and not above: this loads TensorFlow.
        from sklstm.training._tensorflow import deterministic_kernels

        with deterministic_kernels():
            yield
    elif backend == "torch":
        # Here and not above: PyTorch is optional.
        import torch

        before = torch.are_deterministic_algorithms_enabled()
        torch.use_deterministic_algorithms(True)
        try:
            yield
        finally:
            torch.use_deterministic_algorithms(before)
    else:  # kernels of XLA are deterministic on CPUs; GPU flags must be set at start
        yield


def policy_name(dtype_policy: str | None, network: Any) -> str:
    """Return the name of the dtype policy that a network is built with.

    Parameters
    ----------
    dtype_policy : str or None
        Parameter of the estimator. None stands for the global policy of Keras.
    network : str or callable
        Parameter of the estimator.

    Returns
    -------
    str
        One of `POLICIES`.

    Raises
    ------
    ValueError
        If the network cannot be made with this policy.
    """
    name = dtype_policy or keras.config.dtype_policy().name
    if name == "float64":  # `set_floatx` sets it; results are float32 in any case
        return "float32"
    # Orthogonal initialization needs a QR decomposition, which TensorFlow does not have
    # in bfloat16.
    recurrent = isinstance(network, str) and network not in ("cnn", "cnn3d")
    if name not in POLICIES or (name == "bfloat16" and recurrent):
        raise ValueError(
            f"Keras' dtype policy is {name!r}, in which network={network!r} cannot be "
            "made: set dtype_policy to 'float32', 'mixed_float16' or 'mixed_bfloat16'."
        )
    return name


def refuse_scopes() -> None:
    """Raise inside a scope of TensorFlow in which a network cannot be trained."""
    if keras.backend.backend() != "tensorflow":
        return
    # Here and not above: other backends do not load TensorFlow.
    import tensorflow as tf

    if tf.distribute.has_strategy():
        name = type(tf.distribute.get_strategy()).__name__
        raise RuntimeError(
            f"fit was called within the scope of tf.distribute.{name}, but a network "
            "here trains on one device: call fit outside of the scope."
        )
    if not tf.executing_eagerly():
        raise RuntimeError(
            "fit was called while TensorFlow builds a graph (tf.Graph, tf.function or "
            "disable_eager_execution), but it has to run at once: call fit outside."
        )
