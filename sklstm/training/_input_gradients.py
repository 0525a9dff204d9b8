"""The gradient of the output of a network with respect to its input."""

from __future__ import annotations

from typing import Any

from sklstm._keras import keras

import numpy as np

from sklstm.networks import PixelEmbedding
from sklstm.training._settings import own_settings


def has_gradients(model: keras.Model) -> bool:
    """Return whether the output depends on the input smoothly.

    A `PixelEmbedding` looks its input up, so that its gradient is zero.
    """
    return not any(isinstance(layer, PixelEmbedding) for layer in _layers(model))


@own_settings()
def input_gradients(
    model: keras.Model, x: np.ndarray, weights: np.ndarray
) -> np.ndarray:
    """Return the gradient of a weighted sum of the outputs of each sample.

    Parameters
    ----------
    model : keras.Model
        Network. It predicts, and does not train.
    x : ndarray of shape (n, ...)
        Samples.
    weights : ndarray of shape (n, n_outputs)
        Weights of the outputs.

    Returns
    -------
    ndarray of shape (n, ...), float32
        Gradients.
    """
    x, weights = x.astype("float32"), weights.astype("float32")
    backend = keras.backend.backend()
    if backend == "tensorflow":
        return _by_tensorflow(model, x, weights)
    if backend == "torch":
        return _by_torch(model, x, weights)
    return _by_jax(model, x, weights)


def _by_tensorflow(model: keras.Model, x: Any, weights: np.ndarray) -> np.ndarray:
    # The other backends work without TensorFlow.
    import tensorflow as tf

    samples = tf.constant(x)
    with tf.GradientTape(watch_accessed_variables=False) as tape:
        tape.watch(samples)
        total = tf.reduce_sum(model(samples, training=False) * weights)
    found = tape.gradient(total, samples, unconnected_gradients="zero")
    return found.numpy()


def _by_torch(model: keras.Model, x: Any, weights: np.ndarray) -> np.ndarray:
    # PyTorch is optional.
    import torch

    samples = keras.ops.convert_to_tensor(x).detach().clone().requires_grad_(True)
    # cuDNN's LSTM has a gradient in training mode only, and a prediction is not.
    with torch.enable_grad(), torch.backends.cudnn.flags(enabled=not samples.is_cuda):
        outputs = model(samples, training=False)
        total = (outputs * keras.ops.convert_to_tensor(weights)).sum()
        found = torch.autograd.grad(total, samples, allow_unused=True)[0]
    return np.zeros_like(x) if found is None else found.cpu().numpy()


def _by_jax(model: keras.Model, x: Any, weights: np.ndarray) -> np.ndarray:
    # JAX is optional.
    import jax

    def total(samples: Any) -> Any:
        return (model(samples, training=False) * weights).sum()

    return np.asarray(jax.grad(total)(x))


def _layers(layer: Any) -> list:
    found = [layer]
    for inner in getattr(layer, "layers", []):
        found.extend(_layers(inner))
    return found
