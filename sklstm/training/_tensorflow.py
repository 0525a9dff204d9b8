"""The engine on TensorFlow, which runs an epoch in one graph.

In a small fit, `model.fit` spends most of the time between the steps. Here, an epoch is
one call of one traced function. The function gathers the batches by a shuffled index
and calls Keras' `train_step` on each. Python runs again when the epoch is over.
"""

import functools
import gc
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

from sklstm._keras import keras

import numpy as np
import tensorflow as tf

# These modules are private. The public functions can turn determinism on, but not off,
# and they set the options of calls for the whole process.
from tensorflow.python.eager import context as eager_context
from tensorflow.python.framework import config
from tensorflow.python.framework.func_graph import dismantle_func_graph

from sklstm.networks import FusedLSTM
from sklstm.networks.layers._fused_lstm import known_batch_size
from sklstm.training._metrics import to_floats
from sklstm.training._parts import fits_at_once, in_parts

# The kernels compute this number of rows at a time. Batches are padded to a multiple.
_VECTOR = 8


@contextmanager
def deterministic_kernels() -> Iterator[None]:
    """Let only deterministic kernels run inside the block."""
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
        Compiled model whose optimizer is built.
    input_dtype : str
        dtype of the samples.
    target_shape : tuple
        Shape of one target. It is () for class numbers and (n_classes,) for one-hot
        rows.
    target_dtype : str
        dtype of the targets.
    joint_augmentation : JointAugmentation, Mixing or None
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
        # Metrics make their variables at first use. TensorFlow would repeat a trace in
        # which they do so.
        model.compute_metrics(
            None,
            tf.zeros((1, *target_shape), target_dtype),
            tf.zeros((1, *model.outputs[0].shape[1:])),
            tf.ones(1),
        )
        model.reset_metrics()

        # Sides that the network leaves open stay open.
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
                    batch = joint_augmentation(*batch)
                model.train_step(batch)

            _for_each_batch(step, order, size)
            return model.get_metrics_result()

        def evaluate(x: Any, y: Any, w: Any, order: Any, size: Any) -> dict:
            def step(indices: Any) -> None:
                model.test_step(_gather(indices, x, y, w))

            _for_each_batch(step, order, size)
            return model.get_metrics_result()

        def predict(x: Any) -> Any:
            return model(x, training=False)

        @tf.function(input_signature=[], autograph=False)
        def reset_metrics() -> None:
            model.reset_metrics()

        signature = [samples, targets, weights, order, size]
        self._reset_metrics = reset_metrics
        self._train_epoch = _PerChoice(train_epoch, signature, model)
        self._evaluate = _PerChoice(evaluate, signature, model)
        self._predict = _PerChoice(predict, [floats], model)
        self._input_shape = floats.shape

    def release(self) -> None:
        """Delete the traced functions.

        TensorFlow holds the bodies of their loops, and with them the functions, in
        reference cycles that Python cannot collect.
        """
        functions = [
            *self._train_epoch.traced.values(),
            *self._evaluate.traced.values(),
            *self._predict.traced.values(),
        ]
        for function in [*functions, self._reset_metrics]:
            for concrete in function._list_all_concrete_functions():
                _dismantle(concrete.graph)

    def load(self, x: np.ndarray, y: np.ndarray, w: np.ndarray) -> tuple:
        """Copy data to where the graph reads it, once per fit, unless there is much."""
        if not fits_at_once(x):
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
            parts = (
                (tuple(map(tf.constant, part)), np.arange(len(part[0]), dtype=np.int32))
                for part in in_parts(data, order, batch_size)
            )
        traced = function.for_batches_of(batch_size)
        with known_batch_size(batch_size):
            for part, rows in parts:
                logs = _call(traced, *part, tf.constant(rows, tf.int32), size)
        return to_floats(logs)

    def predict(self, x: np.ndarray, batch_size: int) -> np.ndarray:
        """Return the network's output, (n, n_outputs)."""
        if not self._input_shape.is_compatible_with(x.shape):
            raise ValueError(
                f"Samples of shape {x.shape} were given to a network that reads "
                f"{self._input_shape}."
            )
        # TensorFlow rounds the rows after the last whole vector differently. Without
        # padding, a prediction would depend on the position of its sample.
        whole = _VECTOR if batch_size >= _VECTOR else 1
        batch_size -= batch_size % whole
        outputs = []
        for i in range(0, len(x), batch_size):
            part = x[i : i + batch_size].astype("float32", copy=False)
            filling = np.repeat(part[-1:], -len(part) % whole, axis=0)
            filled = np.concatenate([part, filling]) if len(filling) else part
            concrete = self._predict.concrete_for(len(filled))
            found = _call_unchecked(concrete, tf.constant(filled)).numpy()
            outputs.append(found[: len(part)])
        return outputs[0] if len(outputs) == 1 else np.concatenate(outputs)


class _PerChoice:
    """A function of batches, traced once for each choice of LSTM kernels.

    Parameters
    ----------
    function : callable
        Function to trace.
    signature : list of tf.TensorSpec
        Signature of its arguments.
    model : keras.Model
        Network that the function calls.
    """

    def __init__(self, function: Any, signature: list, model: keras.Model) -> None:
        self._function = function
        self._signature = signature
        self._layers = [
            layer
            for layer in model._flatten_layers()
            if isinstance(layer, FusedLSTM) and layer.chooses_by_batch_size()
        ]
        self.traced: dict[tuple, Any] = {}
        self._concrete: dict[tuple, Any] = {}

    def for_batches_of(self, batch_size: int) -> Any:
        """Return the `tf.function` for batches of a size."""
        return self._function_for(self._choice(batch_size))

    def concrete_for(self, batch_size: int) -> Any:
        """Return the concrete function for batches of a size."""
        choice = self._choice(batch_size)
        if choice not in self._concrete:
            with known_batch_size(batch_size):
                concrete = self._function_for(choice).get_concrete_function()
            self._concrete[choice] = concrete
        return self._concrete[choice]

    def _choice(self, batch_size: int) -> tuple:
        return tuple(layer.fuses(batch_size) for layer in self._layers)

    def _function_for(self, choice: tuple) -> Any:
        if choice not in self.traced:
            function = tf.function(
                self._function, input_signature=self._signature, autograph=False
            )
            # Another thread may have been first.
            self.traced.setdefault(choice, function)
        return self.traced[choice]


def _call(function: Any, *args: Any) -> Any:
    # TensorFlow would take the functions of several networks for traces of one
    # function, and warn of retracing after the fifth. Concrete functions avoid that.
    concrete = function.get_concrete_function()
    with little_rewriting():
        return concrete(*args)


def _call_unchecked(concrete: Any, x: Any) -> Any:
    """Call a concrete function of one tensor without TensorFlow's check of it.

    The check takes a tenth of the time of a single sample. The method is private. If a
    version of TensorFlow lacks it, TensorFlow checks.
    """
    call = getattr(concrete, "_call_flat", None)
    with little_rewriting():
        return concrete(x) if call is None else call([x], concrete.captured_inputs)


@contextmanager
def little_rewriting() -> Iterator[None]:
    """Let TensorFlow only prune the graphs of functions called inside the block.

    Full rewriting takes a quarter of the time of a first fit, and later calls of these
    networks do not gain from it. Without any rewriting, TensorFlow keeps three times as
    much memory of a deleted function. On a GPU, full rewriting stays on, because it
    chooses the layout of images.

    The option belongs to the calling thread and is restored. It is private. If a
    version of TensorFlow lacks it, graphs are fully rewritten.
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
    inner = getattr(graph, "_functions", {})  # private, and so are the graphs in it
    for function in list(inner.values()):
        held = getattr(function, "graph", None)
        if held is not None and held is not graph:
            _dismantle(held)
            dismantle_func_graph(held)
    inner.clear()


def forget_kernels() -> None:
    """Let TensorFlow delete the kernels of functions that are deleted.

    The next call of another function prepares its kernels again.
    """
    gc.collect()
    eager_context.context().clear_kernel_cache()


@functools.cache
def _options_to_prune() -> Any:
    """Return the options of a call that only prunes, or None for full rewriting."""
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
    # Samples of uint8 are cast in the batch, which saves three quarters of the memory.
    samples = tf.cast(tf.gather(x, indices), tf.float32)
    return samples, tf.gather(y, indices), tf.gather(w, indices)


def _for_each_batch(step: Any, order: Any, size: Any) -> None:
    n = tf.shape(order)[0]

    def body(start: Any) -> Any:
        step(order[start : start + size])
        return start + size

    # Batches run one after another, because they share the weights.
    tf.while_loop(
        lambda start: start < n, body, [tf.constant(0)], parallel_iterations=1
    )
