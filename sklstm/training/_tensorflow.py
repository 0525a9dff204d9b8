"""The engine on TensorFlow: epochs, evaluation and prediction inside one graph.

`model.fit` spends most of a small fit's time between the steps. Here an epoch is one
call of one traced function: batches are gathered by a shuffled index, each goes
through Keras' own `train_step`, and Python is asked again when the epoch is over.
"""

import functools
import gc
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

from sklstm._keras import keras

import numpy as np
import tensorflow as tf

# Private: what is public can turn determinism on and never off, and sets the options
# of a call for the whole process.
from tensorflow.python.eager import context as eager_context
from tensorflow.python.framework import config
from tensorflow.python.framework.func_graph import dismantle_func_graph

from sklstm.networks import FusedLSTM
from sklstm.networks.layers._fused_lstm import known_batch_size
from sklstm.training._data import AT_ONCE
from sklstm.training._metrics import to_floats

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
    joint_augmentation : JointAugmentation or None
        Changes samples and targets alike, in training.
    """

    def __init__(
        self,
        model: keras.Model,
        input_dtype: str,
        target_shape: tuple,
        target_dtype: str,
        joint_augmentation: Any = None,
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

        def train_epoch(x: Any, y: Any, w: Any, order: Any, size: Any) -> dict:
            def step(indices: Any) -> None:
                batch = _gather(indices, x, y, w)
                if joint_augmentation is not None:
                    batch = (*joint_augmentation(*batch[:2]), batch[2])
                model.train_step(batch)

            _for_each_batch(step, order, size)
            return model.get_metrics_result()

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

        signature = [samples, targets, weights, order, size]
        self._reset_metrics = reset_metrics
        self._train_epoch = _PerChoice(train_epoch, signature, model)
        self._evaluate = _PerChoice(evaluate, signature, model)
        self._predict = predict

    def release(self) -> None:
        """Let go of the traced functions, for good.

        TensorFlow holds the bodies of their loops in reference cycles that Python
        cannot collect, and with them the functions themselves.
        """
        functions = [
            *self._train_epoch.traced.values(),
            *self._evaluate.traced.values(),
        ]
        for function in [*functions, self._predict, self._reset_metrics]:
            for concrete in function._list_all_concrete_functions():
                _dismantle(concrete.graph)

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
        self, function: "_PerChoice", data: tuple, order: np.ndarray, batch_size: int
    ) -> dict:
        """Go through the samples in the given order; return the metrics."""
        _call(self._reset_metrics)
        size = tf.constant(batch_size, tf.int32)
        parts: Iterable[tuple] = [(data, order)]
        if not tf.is_tensor(data[0]):
            parts = _in_parts(data, order, batch_size)
        traced = function.for_batches_of(batch_size)
        with known_batch_size(batch_size):
            for part, rows in parts:
                logs = _call(traced, *part, tf.constant(rows, tf.int32), size)
        return to_floats(logs)

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


class _PerChoice:
    """A function of batches, traced for each way that LSTM layers choose to compute.

    Parameters
    ----------
    function : callable
        What is traced.
    signature : list of tf.TensorSpec
        Of its arguments.
    model : keras.Model
        The network that it calls.
    """

    def __init__(self, function: Any, signature: list, model: keras.Model) -> None:
        self._function = function
        self._signature = signature
        self._layers = [
            layer for layer in model._flatten_layers() if isinstance(layer, FusedLSTM)
        ]
        self.traced: dict[tuple, Any] = {}

    def for_batches_of(self, batch_size: int) -> Any:
        """Return the `tf.function` for batches of a size."""
        choice = tuple(layer.fuses(batch_size) for layer in self._layers)
        if choice not in self.traced:
            self.traced[choice] = tf.function(
                self._function, input_signature=self._signature, autograph=False
            )
        return self.traced[choice]


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
    concrete = function.get_concrete_function()
    with little_rewriting():
        return concrete(*args)


@contextmanager
def little_rewriting() -> Iterator[None]:
    """Let TensorFlow only prune the graphs of the functions called in the block.

    All its rewriting takes a quarter of the time of a first fit, and later calls of
    the networks here gain nothing by it. Without any, TensorFlow keeps three times as
    much memory of a function that is gone. A GPU needs all of it, to choose the layout
    of images.

    The option belongs to the calling thread and is put back. It is not public: where
    a version of TensorFlow lacks it, graphs are rewritten.
    """
    options = _options_to_prune()
    if options is None:
        yield
        return
    context = eager_context.context()
    before = context.function_call_options
    context.function_call_options = options
    try:
        yield
    finally:
        context.function_call_options = before


def _dismantle(graph: Any) -> None:
    inner = getattr(graph, "_functions", {})  # private, as the graphs in it
    for function in list(inner.values()):
        held = getattr(function, "graph", None)
        if held is not None and held is not graph:
            _dismantle(held)
            dismantle_func_graph(held)
    inner.clear()


def forget_kernels() -> None:
    """Let TensorFlow drop what it holds to run functions that are gone.

    Functions that live are prepared again at their next call.
    """
    gc.collect()
    eager_context.context().clear_kernel_cache()


@functools.cache
def _options_to_prune() -> Any:
    """Return TensorFlow's options for a call, or None where it is to rewrite all."""
    if tf.config.list_physical_devices("GPU"):
        return None
    try:
        own = eager_context.context().function_call_options
        config = tf.compat.v1.ConfigProto()
        config.ParseFromString(own.config_proto_serialized)
        config.graph_options.rewrite_options.optimizers.append("pruning")
        return eager_context.FunctionCallOptions(config_proto=config)
    except (AttributeError, TypeError, ValueError):
        return None


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
