"""Conversion to a SavedModel, which TensorFlow loads without Keras."""

from __future__ import annotations

import collections
from pathlib import Path
from typing import Any

from sklstm._keras import keras

import tensorflow as tf

from sklstm.exporting._graph import lstm_calls, make_function, save
from sklstm.exporting._plan import Conversion
from sklstm.networks.layers._block_lstm import with_own_gradient
from sklstm.predictor import METADATA_FILE

# Operators that compute nothing are not counted.
_QUIET = {"Const", "Identity", "NoOp", "Placeholder", "ReadVariableOp"}


def write(
    conversion: Conversion, model: keras.Model, path: Path
) -> tuple[dict[str, int], None]:
    """Write the folder and return its operators."""
    function = make_function(conversion.plan, model, None, open_steps=True)
    with lstm_calls(_block_lstm):
        save(function, model, path)
    # TensorFlow leaves this folder to other programs.
    extra = Path(path, "assets.extra")
    extra.mkdir()
    (extra / METADATA_FILE).write_text(conversion.metadata)
    graph = function.get_concrete_function().graph.as_graph_def()
    nodes = [*graph.node, *(n for f in graph.library.function for n in f.node_def)]
    counted = collections.Counter(node.op for node in nodes)
    return {name: n for name, n in counted.items() if name not in _QUIET}, None


def _block_lstm(
    x: Any, kernel: Any, recurrent: Any, bias: Any, every_step: bool
) -> Any:
    kernel, recurrent, bias = map(tf.convert_to_tensor, (kernel, recurrent, bias))
    return with_own_gradient(x, kernel, recurrent, bias, every_step)
