"""The engine on TensorFlow: epochs, evaluation and prediction inside one graph.

`model.fit` spends most of a small fit's time between the steps. Here an epoch is one
call of one traced function: batches are gathered by a shuffled index, each goes
through Keras' own `train_step`, and Python is asked again when the epoch is over.
"""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

from sklstm._keras import keras

import numpy as np
import tensorflow as tf

# Private: what is public can turn determinism on and never off.
from tensorflow.python.framework import config

from sklstm.estimators._samples import AT_ONCE

# Samples that are filled up to: the kernels take so many rows at a time.
_VECTOR = 8


@contextmanager
def deterministic_kernels() -> Iterator[None]:
    """Let only deterministic kernels run within the block."""
    before = config.is_op_determinism_enabled()
    config.enable_op_determinism()
    try:
        yield
    finally:
        if not before:
            config.disable_op_determinism()


class GraphEngine:
    """Runs a compiled model epoch by epoch.

    Parameters
    ----------
    model : keras.Model
        Built and compiled, its optimizer built.
    input_dtype : str
        dtype of the samples that will be given.
    target_shape : tuple
        Shape of one target: () for class numbers, (n_classes,) for one-hot rows.
    target_dtype : str
        dtype of the targets.
    turning : Turning or None
        Changes samples and targets alike, in training.
    """

    def __init__(
        self,
        model: keras.Model,
        input_dtype: str,
        target_shape: tuple,
        target_dtype: str,
        turning: Any = None,
    ) -> None:
        # Metrics make their variables at first use: a trace in which they did so would
        # be thrown away and made again.
        model.compute_metrics(
            None,
            tf.zeros((1, *target_shape), target_dtype),
            tf.zeros((1, *model.outputs[0].shape[1:])),
            tf.ones(1),
        )
        model.reset_metrics()

        # The sample's shape is left open where the network leaves it open.
        samples = tf.TensorSpec(model.inputs[0].shape, input_dtype)
        floats = tf.TensorSpec(model.inputs[0].shape, "float32")
        targets = tf.TensorSpec((None, *target_shape), target_dtype)
        weights = tf.TensorSpec((None,), "float32")
        order = tf.TensorSpec((None,), "int32")
        size = tf.TensorSpec((), "int32")

        @tf.function(
            input_signature=[samples, targets, weights, order, size], autograph=False
        )
        def train_epoch(x: Any, y: Any, w: Any, order: Any, size: Any) -> dict:
            def step(indices: Any) -> None:
                batch = _gather(indices, x, y, w)
                if turning is not None:
                    batch = (*turning(*batch[:2]), batch[2])
                model.train_step(batch)

            _for_each_batch(step, order, size)
            return model.get_metrics_result()

        @tf.function(
            input_signature=[samples, targets, weights, order, size], autograph=False
        )
        def evaluate(x: Any, y: Any, w: Any, order: Any, size: Any) -> dict:
            def step(indices: Any) -> None:
                model.test_step(_gather(indices, x, y, w))

            _for_each_batch(step, order, size)
            return model.get_metrics_result()

        @tf.function(input_signature=[floats], autograph=False)
        def predict(x: Any) -> Any:
            return model(x, training=False)

        @tf.function(input_signature=[], autograph=False)
        def reset_metrics() -> None:
            model.reset_metrics()

        self._reset_metrics = reset_metrics
        self._train_epoch = train_epoch
        self._evaluate = evaluate
        self._predict = predict

    def load(self, x: np.ndarray, y: np.ndarray, w: np.ndarray) -> tuple:
        """Copy data to where the graph reads it, once per fit, unless there is much."""
        if x.nbytes > AT_ONCE:
            return x, y, w
        return tf.constant(x), tf.constant(y), tf.constant(w)

    def train_epoch(self, data: tuple, order: np.ndarray, batch_size: int) -> dict:
        """Train on every sample once, in the given order; return the metrics."""
        return self._run(self._train_epoch, data, order, batch_size)

    def evaluate(self, data: tuple, batch_size: int) -> dict:
        """Return loss and metrics on the data."""
        order = np.arange(len(data[0]), dtype=np.int32)
        return self._run(self._evaluate, data, order, batch_size)

    def _run(
        self, function: Any, data: tuple, order: np.ndarray, batch_size: int
    ) -> dict:
        """Go through the samples in the given order; return the metrics."""
        _call(self._reset_metrics)
        size = tf.constant(batch_size, tf.int32)
        parts: Iterable[tuple] = [(data, order)]
        if not tf.is_tensor(data[0]):
            parts = _in_parts(data, order, batch_size)
        for part, rows in parts:
            logs = _call(function, *part, tf.constant(rows, tf.int32), size)
        return {name: float(value) for name, value in logs.items()}

    def predict(self, x: np.ndarray, batch_size: int) -> np.ndarray:
        """Return the network's output, (n, n_outputs)."""
        # TensorFlow rounds the rows that are left over from whole vectors differently:
        # what is predicted of a sample would depend on where it stands.
        whole = _VECTOR if batch_size >= _VECTOR else 1
        batch_size -= batch_size % whole
        outputs = []
        for i in range(0, len(x), batch_size):
            part = x[i : i + batch_size].astype("float32", copy=False)
            filling = np.repeat(part[-1:], -len(part) % whole, axis=0)
            filled = np.concatenate([part, filling]) if len(filling) else part
            found = _call(self._predict, tf.constant(filled)).numpy()
            outputs.append(found[: len(part)])
        return outputs[0] if len(outputs) == 1 else np.concatenate(outputs)


def _in_parts(data: tuple, order: np.ndarray, batch_size: int) -> Iterator[tuple]:
    """Yield the same batches, some of them at a time, copied when it is their turn."""
    item_bytes = data[0].nbytes // len(data[0])
    n_batches = max(1, AT_ONCE // 4 // (item_bytes * batch_size))
    for i in range(0, len(order), n_batches * batch_size):
        rows = order[i : i + n_batches * batch_size]
        yield (
            tuple(tf.constant(array[rows]) for array in data),
            np.arange(len(rows), dtype=np.int32),
        )


def _call(function: Any, *args: Any) -> Any:
    # The concrete function: a second network is not a second trace of the first, but
    # TensorFlow would take it for one and warn of retracing after the fifth.
    return function.get_concrete_function()(*args)


def _gather(indices: Any, x: Any, y: Any, w: Any) -> tuple:
    # Bytes stay bytes until they are in a batch: a quarter of the memory.
    samples = tf.cast(tf.gather(x, indices), tf.float32)
    return samples, tf.gather(y, indices), tf.gather(w, indices)


def _for_each_batch(step: Any, order: Any, size: Any) -> None:
    n = tf.shape(order)[0]

    def body(start: Any) -> Any:
        step(order[start : start + size])
        return start + size

    # One batch after another: they share the weights.
    tf.while_loop(
        lambda start: start < n, body, [tf.constant(0)], parallel_iterations=1
    )
