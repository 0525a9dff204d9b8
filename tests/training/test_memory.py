import os
import subprocess
import sys

import numpy as np
import pytest

from sklstm.training._memory import (
    available_memory,
    estimate_memory,
    is_out_of_memory,
)


class ResourceExhaustedError(Exception):
    """Named as that of TensorFlow."""


class OutOfMemoryError(RuntimeError):
    """Named as that of PyTorch."""


class XlaRuntimeError(RuntimeError):
    """Named as that of JAX."""


def chained():
    try:
        try:
            raise MemoryError
        except MemoryError as error:
            raise ValueError("a callback failed") from error
    except ValueError as error:
        return error


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (MemoryError(), True),
        (ResourceExhaustedError("OOM when allocating"), True),
        (OutOfMemoryError("CUDA out of memory. Tried to allocate"), True),
        (XlaRuntimeError("RESOURCE_EXHAUSTED: Out of memory allocating 4"), True),
        (
            RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory"),
            True,
        ),
        (chained(), True),
        (XlaRuntimeError("INVALID_ARGUMENT: shapes"), False),
        (RuntimeError("shapes cannot be multiplied"), False),
        (ValueError("out of memory"), False),
        (None, False),
    ],
)
def test_one_function_decides(error, expected):
    assert is_out_of_memory(error) is expected


@pytest.mark.backend
def test_errors_of_the_backends():
    from sklstm._keras import keras

    backend = keras.backend.backend()
    if backend == "tensorflow":
        import tensorflow as tf

        error = tf.errors.ResourceExhaustedError(None, None, "OOM")
    elif backend == "torch":
        import torch

        error = torch.OutOfMemoryError("CUDA out of memory")
    else:
        import jax

        error = jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED: out of memory")
    assert is_out_of_memory(error)


def test_an_estimate_by_hand():
    from sklstm._keras import keras

    inputs = keras.Input((None, 3))
    outputs = keras.layers.LSTM(4)(inputs)
    outputs = keras.layers.Dense(2)(outputs)
    model = keras.Model(inputs, outputs)
    model.compile("sgd", "mse")
    model.optimizer.build(model.trainable_variables)
    found = estimate_memory(model, np.zeros((10, 5, 3), np.uint8), 8)
    n_weights = 4 * 4 * (3 + 4 + 1) + 4 * 2 + 2
    assert found.gradients == 4 * n_weights
    # The metrics of the model have variables too.
    assert 0 <= found.weights - found.gradients < 20
    # Five steps of six times four values, the last of these again, and two.
    assert found.activations == 2 * 8 * 4 * (5 * 6 * 4 + 4 + 2)
    assert found.data == 150
    assert found.total == sum(
        (found.weights, found.gradients, found.optimizer, found.activations, 150)
    )
    half = estimate_memory(model, np.zeros((10, 5, 3), np.uint8), 4)
    assert 2 * half.activations == found.activations


def test_free_memory_is_a_number_of_bytes():
    free = available_memory()
    assert free is None or 2**20 < free < 2**50


_MEASURE = """
import numpy as np
from sklstm import LSTMImageClassifier
from sklstm.training._memory import estimate_memory
def peak():
    with open("/proc/self/status") as file:
        return int(next(l for l in file if l.startswith("VmHWM")).split()[1]) * 1024
X = np.random.default_rng(0).normal(size=(256, 200, 64)).astype("float32")
y = np.arange(256) % 2
LSTMImageClassifier(epochs=1, batch_size=8).fit(X[:16], y[:16])
before = peak()
fitted = LSTMImageClassifier(epochs=1, batch_size=256).fit(X, y)
real = peak() - before
model = fitted._fitted_network.compiled.model
print(real / estimate_memory(model, X, 256).total)
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="the peak is read from /proc")
def test_the_estimate_is_within_a_factor_of_three():
    done = subprocess.run(
        [sys.executable, "-c", _MEASURE],
        capture_output=True, text=True, check=True, env={**os.environ},
    )  # fmt: skip
    assert 1 / 3 < float(done.stdout.split()[-1]) < 3
