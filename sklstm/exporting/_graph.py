"""The plan of an export as one TensorFlow function, with one operator per LSTM."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from sklstm._keras import keras

import tensorflow as tf

from sklstm.exporting._plan import ExportPlan, Gather, Scale
from sklstm.exporting._window_graph import pixel_outputs
from sklstm.networks import FusedLSTM, Scan
from sklstm.training._compiled import CompiledNetwork
from sklstm.training._mean_model import joined_model, mean_model


def build_model(plan: ExportPlan) -> keras.Model:
    """Build the network for the CPU, with Keras' own loop in its LSTM layers.

    The networks of an ensemble become one. For an ensemble of detectors, it has one
    output for each.
    """
    models = []
    for weights in plan.members:
        model = CompiledNetwork(plan.spec).model
        model.set_weights(weights)
        for layer in model._flatten_layers():
            if isinstance(layer, keras.layers.LSTM):
                layer.use_cudnn = False
            if isinstance(layer, FusedLSTM):
                layer.fused = False
        models.append(model)
    if len(models) == 1 and plan.temperature is None:
        return models[0]
    if plan.windows is not None:
        return joined_model(models)
    return mean_model(models, plan.temperature)


def count_lstms(model: keras.Model, joined: bool) -> int:
    """Count the LSTM layers that a runtime computes with one operator.

    With `joined`, count the two directions of a `keras.layers.Bidirectional` as one
    layer, as ONNX does.
    """
    layers = model._flatten_layers()
    backward = {
        id(layer.backward_layer)
        for layer in layers
        if joined and isinstance(layer, keras.layers.Bidirectional)
    }
    return sum(
        isinstance(layer, keras.layers.LSTM)
        and _is_standard(layer)
        and id(layer) not in backward
        for layer in layers
    )


def _is_standard(layer: keras.layers.LSTM) -> bool:
    return (
        layer.activation is keras.activations.tanh
        and layer.recurrent_activation is keras.activations.sigmoid
        and layer.use_bias
        and not (layer.return_state or layer.stateful or layer.unroll)
    )


def make_function(
    plan: ExportPlan, model: keras.Model, batch: int | None, open_steps: bool
) -> Any:
    """Make the function from raw samples to probabilities.

    For a detector, it also returns masks and scores of the images.

    Parameters
    ----------
    plan : ExportPlan
        The plan, with the steps before the network.
    model : keras.Model
        The network.
    batch : int or None
        Number of samples in a call; None for any number.
    open_steps : bool
        Whether the graph takes any number of steps if the network does.

    Returns
    -------
    tf.function
        The function from "X" to a dict of the outputs. TensorFlow traces it on first
        use.
    """
    shape = plan.input_shape if open_steps else plan.fixed_input_shape
    spec = tf.TensorSpec((batch, *shape), tf.float32, name="X")

    @tf.function(input_signature=[spec])
    def serve(X: Any) -> dict[str, Any]:
        x = X
        for step in plan.steps:
            x = _scale(x, step) if isinstance(step, Scale) else _gather(x, step)
        x = _as_network_takes_it(x, plan)
        found = model(x, training=False)
        if plan.windows is None:
            return {"probabilities": found}
        return pixel_outputs(
            found if isinstance(found, list) else [found], plan.windows
        )

    return serve


def _scale(x: Any, step: Scale) -> Any:
    x = (x - step.shift.astype("float32")) * step.factor.astype("float32")
    return x if step.limits is None else tf.clip_by_value(x, *step.limits)


def _gather(x: Any, step: Gather) -> Any:
    return Scan(step.index_map)(tf.reshape(x, (-1, *step.shape)))


def _as_network_takes_it(x: Any, plan: ExportPlan) -> Any:
    if None not in plan.input_shape:
        return tf.reshape(x, (-1, *plan.network_shape))
    if len(x.shape) > 3:  # each step contains all channels of its pixels
        x = tf.reshape(x, (-1, tf.shape(x)[1], plan.network_shape[-1]))
    return x


@contextmanager
def lstm_calls(scan: Callable[..., Any]) -> Iterator[None]:
    """Trace the LSTM layers that a runtime has an operator for to this operator.

    Parameters
    ----------
    scan : callable
        Function ``scan(x, kernel, recurrent_kernel, bias, every_step)`` of a tensor and
        three Keras variables that returns the output of the layer.

    Yields
    ------
    None
        Layers that are traced in the block call `scan`.
    """
    original = keras.layers.LSTM.call

    def call(self: Any, sequences: Any, initial_state=None, mask=None, training=False):
        if initial_state is not None or mask is not None or not _is_standard(self):
            return original(
                self, sequences, initial_state=initial_state, mask=mask, training=False
            )
        x = tf.reverse(sequences, [1]) if self.go_backwards else sequences
        cell = self.cell
        weights = cell.kernel, cell.recurrent_kernel, cell.bias
        return scan(x, *weights, self.return_sequences)

    keras.layers.LSTM.call = call
    try:
        yield
    finally:
        keras.layers.LSTM.call = original


def save(function: Any, model: keras.Model, folder: Any) -> None:
    """Write a SavedModel of the function with the weights of the network."""
    module = tf.Module()
    # The model itself would add functions of its own to the file.
    module.weights = [variable.value for variable in model.variables]
    module.serve = function
    concrete = function.get_concrete_function()
    tf.saved_model.save(module, str(folder), signatures={"serving_default": concrete})
