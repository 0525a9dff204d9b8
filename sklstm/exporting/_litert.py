"""Conversion to LiteRT (TensorFlow Lite), with TensorFlow's converter."""

from __future__ import annotations

import collections
import tempfile
import uuid
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from sklstm._keras import keras

import numpy as np
import tensorflow as tf
from tensorflow.lite.python import schema_py_generated as schema

from sklstm.exporting._graph import lstm_calls, make_function, save
from sklstm.exporting._plan import Conversion
from sklstm.predictor import METADATA_FILE

_OPERATORS = {
    number: name
    for name, number in vars(schema.BuiltinOperator).items()
    if isinstance(number, int)
}


def write(
    conversion: Conversion, model: keras.Model, path: Path
) -> tuple[dict[str, int], dict[str, int] | None]:
    """Write a LiteRT file that takes one sample at a time.

    Return its operators, and those that ``quantize="int8"`` left in float.
    """
    with tempfile.TemporaryDirectory() as folder, lstm_calls(_composite_lstm):
        # The conversion goes through a SavedModel. Converted directly, functions are
        # inlined, and the converter no longer recognizes them as LSTMs. The batch has
        # one sample: with an open batch the converter writes a file that does not run.
        save(make_function(conversion.plan, model, 1, open_steps=False), model, folder)
        converter = tf.lite.TFLiteConverter.from_saved_model(folder)
        if conversion.quantize is not None:
            converter.optimizations = [tf.lite.Optimize.DEFAULT]
        if conversion.calibration is not None:
            samples = conversion.calibration
            converter.representative_dataset = lambda: ([x[None]] for x in samples)
        content = converter.convert()
    parts = schema.ModelT.InitFromObj(schema.Model.GetRootAs(content, 0))
    if conversion.quantize is not None:
        _refuse_floats(parts)
    path.write_bytes(content)
    # TensorFlow Lite appends metadata to the model as a zip archive.
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr(METADATA_FILE, conversion.metadata)
    in_float = None
    if conversion.quantize is not None:
        left = (
            _is_lstm_in_float if conversion.calibration is None else _computes_in_float
        )
        in_float = _operators(parts, left)
    return _operators(parts), in_float


def _composite_lstm(
    x: Any, kernel: Any, recurrent: Any, bias: Any, every_step: bool
) -> Any:
    """Call a function that the converter replaces by one LSTM operator.

    The converter recognizes Keras' LSTM by the attribute, by the order of the inputs
    and by the number of outputs. The weights must be constants.
    """
    with tf.init_scope():
        values = [np.asarray(weight) for weight in (kernel, recurrent, bias)]
    weights = list(map(tf.constant, values))
    units = values[1].shape[0]
    # The lines of a grid are samples of the LSTM, even where a call has one image.
    n, n_steps = x.shape[:2]
    n = tf.shape(x)[0] if n is None else n

    def lstm(x, h, c, kernel, recurrent, bias):
        def step(t, h, c, hs):
            gates = tf.matmul(x[:, t], kernel) + tf.matmul(h, recurrent) + bias
            i, f, g, o = tf.split(gates, 4, axis=1)
            c = tf.sigmoid(f) * c + tf.sigmoid(i) * tf.tanh(g)
            h = tf.sigmoid(o) * tf.tanh(c)
            return t + 1, h, c, hs.write(t, h)

        hs = tf.TensorArray(tf.float32, n_steps)
        _, h, c, hs = tf.while_loop(lambda t, *_: t < n_steps, step, (0, h, c, hs))
        outputs = tf.transpose(hs.stack(), [1, 0, 2])
        outputs.set_shape((x.shape[0], n_steps, units))
        return h, outputs, h, c, tf.constant(0.0)

    composite = tf.function(
        lstm,
        experimental_attributes={
            "api_implements": f"lstm_{uuid.uuid4()}",
            "api_preferred_device": "CPU",
            "time_major": False,
            "go_backwards": False,
        },
    )
    zeros = tf.zeros((n, units))
    last, outputs, *_ = composite(x, zeros, zeros, *weights)
    return outputs if every_step else last


def _refuse_floats(model: Any) -> None:
    tensors = [tensor for graph in model.subgraphs for tensor in graph.tensors]
    if all(tensor.type != schema.TensorType.INT8 for tensor in tensors):
        raise RuntimeError(
            "LiteRT leaves arrays of fewer than 1,024 weights in float, with one of "
            "them a whole LSTM, and here that is all there is: export without "
            "quantize='int8', or give calibration."
        )


def _operators(
    model: Any, holds: Callable[[str, Any, Any], bool] = lambda name, graph, one: True
) -> dict[str, int]:
    """Count the operators for which `holds` returns True."""
    codes = [max(c.builtinCode, c.deprecatedBuiltinCode) for c in model.operatorCodes]
    counted: collections.Counter = collections.Counter()
    for graph in model.subgraphs:
        for operator in graph.operators:
            name = _OPERATORS[codes[operator.opcodeIndex]]
            counted[name] += holds(name, graph, operator)
    return {name: n for name, n in counted.items() if n}


def _is_lstm_in_float(name: str, graph: Any, operator: Any) -> bool:
    ends = [graph.tensors[i] for i in operator.inputs if i >= 0]
    return name == "UNIDIRECTIONAL_SEQUENCE_LSTM" and all(
        end.type != schema.TensorType.INT8 for end in ends
    )


def _computes_in_float(name: str, graph: Any, operator: Any) -> bool:
    ends = [graph.tensors[i] for i in (*operator.inputs, *operator.outputs) if i >= 0]
    return name not in ("QUANTIZE", "DEQUANTIZE") and any(
        end.type == schema.TensorType.FLOAT32 for end in ends
    )
