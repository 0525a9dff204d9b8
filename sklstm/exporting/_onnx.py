"""Conversion to ONNX with tf2onnx, and quantization with onnxruntime."""

from __future__ import annotations

import collections
import tempfile
from pathlib import Path
from typing import Any

from sklstm._keras import keras

import onnx
import tf2onnx

from sklstm.exporting import _onnx_graph
from sklstm.exporting._graph import make_function
from sklstm.exporting._plan import Conversion
from sklstm.predictor import METADATA

_OPSET = 18


def write(
    conversion: Conversion, model: keras.Model, path: Path
) -> tuple[dict[str, int], None]:
    """Write an ONNX file and return its operators."""
    function = make_function(conversion.plan, model, None, open_steps=True)
    proto, _ = tf2onnx.convert.from_function(
        function,
        function.input_signature,
        opset=_OPSET,
        custom_op_handlers={"Erfc": (_erfc, [])},
    )
    _onnx_graph.simplify(proto.graph)
    _onnx_graph.give_numbers_all_axes(proto)
    onnx.checker.check_model(proto, full_check=True)
    if conversion.quantize is not None:
        proto = _quantized(proto)
    _onnx_graph.name(proto.graph, conversion.plan.input_shape)
    proto.producer_name, proto.doc_string = "sklstm", ""
    entry = proto.metadata_props.add()
    entry.key, entry.value = METADATA, conversion.metadata
    onnx.save(proto, path)
    nodes = _onnx_graph.all_nodes(proto.graph)
    return dict(collections.Counter(node.op_type for node in nodes)), None


def _erfc(ctx: Any, node: Any, name: str, args: Any) -> None:
    """Convert 1 - erf(x), which Keras' GELU uses and tf2onnx does not know."""
    dtype, shape = ctx.get_dtype(node.output[0]), ctx.get_shape(node.output[0])
    inputs, outputs = list(node.input), list(node.output)
    ctx.remove_node(name)
    erf = ctx.make_node("Erf", inputs, shapes=[shape], dtypes=[dtype])
    one = ctx.make_const(f"{name}_one", _onnx_graph.ONE)
    ctx.make_node(
        "Sub",
        [one.output[0], erf.output[0]],
        outputs=outputs,
        shapes=[shape],
        dtypes=[dtype],
    )


def _quantized(proto: onnx.ModelProto) -> onnx.ModelProto:
    """Return the model with weights of one byte each."""
    # Only a quantized export needs this package.
    from onnxruntime.quantization import QuantType, quantize_dynamic

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "quantized.onnx")
        # Only LSTMs are quantized, because convolutions are ten times slower with
        # integers. The range is reduced to seven bits: with eight, sums of two products
        # overflow on processors without VNNI, and the error is twenty times larger.
        quantize_dynamic(
            proto,
            path,
            op_types_to_quantize=["LSTM"],
            weight_type=QuantType.QInt8,
            reduce_range=True,
        )
        proto = onnx.load(path)
    _onnx_graph.hold_weights_as_bytes(proto.graph)
    return proto
