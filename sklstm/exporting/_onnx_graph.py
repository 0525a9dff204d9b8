"""Changes to an ONNX graph that keep its results, exactly or nearly."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
import onnx
from onnx import numpy_helper

ONE = np.array(1, np.float32)
# Storing smaller weights as bytes saves nothing.
_FEWEST_WEIGHTS = 1024
# Operators that are computed element by element with both inputs.
_ELEMENTWISE = ("Add", "Div", "Max", "Min", "Mul", "Pow", "Sub")
# Operators whose output is zero if their inputs are.
_KEEPS_ZEROS = ("Cast", "Concat", "Expand", "Identity", "Squeeze", "Unsqueeze")


def all_graphs(graph: onnx.GraphProto) -> Iterator[onnx.GraphProto]:
    """Yield a graph and the bodies of its loops."""
    yield graph
    for node in graph.node:
        for attribute in node.attribute:
            if attribute.type == onnx.AttributeProto.GRAPH:
                yield from all_graphs(attribute.g)


def all_nodes(graph: onnx.GraphProto) -> Iterator[onnx.NodeProto]:
    """Yield the nodes of a graph and of the bodies of its loops."""
    for one in all_graphs(graph):
        yield from one.node


def simplify(graph: onnx.GraphProto) -> None:
    """Remove inputs of LSTMs that equal their defaults, and nodes without a use."""
    constants = {tensor.name: tensor for tensor in graph.initializer}
    makers = {output: node for node in graph.node for output in node.output}

    def is_zero(name: str) -> bool:
        if name in constants:
            return not numpy_helper.to_array(constants[name]).any()
        node = makers.get(name)
        if node is None or node.op_type not in _KEEPS_ZEROS:
            return False
        # Except for Concat, the second input is a shape.
        inputs = node.input if node.op_type == "Concat" else node.input[:1]
        return all(map(is_zero, inputs))

    for node in list(graph.node):
        if node.op_type == "LSTM":
            for i in (5, 6):  # initial_h, initial_c
                if i < len(node.input) and is_zero(node.input[i]):
                    node.input[i] = ""
            _halve_bias(graph, node, constants)
        elif (
            node.op_type == "Shape"
            and not node.attribute  # the shape of all axes
            and node.input[0] in constants
        ):
            # Otherwise the file would contain the weights only for their shape.
            dims = np.array(constants[node.input[0]].dims, np.int64)
            graph.initializer.append(numpy_helper.from_array(dims, node.output[0]))
            graph.node.remove(node)
    _drop_unused(graph)


def _halve_bias(
    graph: onnx.GraphProto,
    node: onnx.NodeProto,
    constants: dict[str, onnx.TensorProto],
) -> None:
    """Store no zeros for the second bias of an LSTM, because Keras has only one."""
    tensor = constants.get(node.input[3])
    if tensor is None:
        return
    bias = numpy_helper.to_array(tensor)
    half = bias.shape[1] // 2
    if bias[:, half:].any():
        return
    # Layers may share one constant if their biases are equal, so each gets its own.
    name = f"{node.output[0]}_bias"
    pads = np.array([0, 0, 0, half], np.int64)
    graph.initializer.append(numpy_helper.from_array(bias[:, :half], f"{name}_half"))
    graph.initializer.append(numpy_helper.from_array(pads, f"{name}_pads"))
    graph.node.insert(
        0, onnx.helper.make_node("Pad", [f"{name}_half", f"{name}_pads"], [name])
    )
    node.input[3] = name


def _drop_unused(graph: onnx.GraphProto) -> None:
    needed = {output.name for output in graph.output}
    kept: list[onnx.NodeProto] = []
    for node in reversed(graph.node):  # from the outputs back
        if needed.isdisjoint(node.output):
            continue
        kept.append(node)
        needed.update(node.input)
        for attribute in node.attribute:
            if attribute.type == onnx.AttributeProto.GRAPH:
                needed.update(output.name for output in attribute.g.output)
                for inner in all_nodes(attribute.g):
                    needed.update(inner.input)
    _replace(graph.node, reversed(kept))
    _replace(graph.initializer, [t for t in graph.initializer if t.name in needed])


def give_numbers_all_axes(proto: onnx.ModelProto) -> None:
    """Give constants of one number as many axes as the array that they are added to.

    onnxruntime takes fifty times as long to add a number to an array (n, height, width,
    1), if the number has fewer axes.
    """
    graph = proto.graph
    constants = {tensor.name: tensor for tensor in graph.initializer}
    inferred = onnx.shape_inference.infer_shapes(proto).graph
    ranks = {
        value.name: len(value.type.tensor_type.shape.dim)
        for value in (*inferred.value_info, *inferred.input, *inferred.output)
        if value.type.tensor_type.HasField("shape")
    }
    made = set()
    for node in graph.node:
        if node.op_type not in _ELEMENTWISE or len(node.input) != 2:
            continue
        for i, name in enumerate(node.input):
            tensor, rank = constants.get(name), ranks.get(node.input[1 - i], 0)
            if tensor is None or np.prod(tensor.dims) != 1 or len(tensor.dims) >= rank:
                continue
            node.input[i] = full = f"{name}_of_{rank}"
            if full not in made:
                number = numpy_helper.to_array(tensor).reshape((1,) * rank)
                graph.initializer.append(numpy_helper.from_array(number, full))
                made.add(full)
    _drop_unused(graph)


def hold_weights_as_bytes(graph: onnx.GraphProto) -> None:
    """Store large weights as int8 with scales, and convert them to floats before use.

    Each output of a product or convolution has its own scale.
    """
    users = {
        name: (node, i)
        for node in all_nodes(graph)
        for i, name in enumerate(node.input)
        if name
    }
    for one in all_graphs(graph):
        kept, nodes = [], []
        for tensor in one.initializer:
            weights = numpy_helper.to_array(tensor)
            large = weights.ndim > 1 and weights.size >= _FEWEST_WEIGHTS
            if tensor.data_type != onnx.TensorProto.FLOAT or not large:
                kept.append(tensor)
                continue
            axis = _output_axis(weights, *users[tensor.name])
            others = tuple(i for i in range(weights.ndim) if i != axis)
            scale = np.abs(weights).max(axis=others, keepdims=True) / 127
            scale[scale == 0] = 1
            names = [f"{tensor.name}_{part}" for part in ("bytes", "scale")]
            values = np.rint(weights / scale).astype(np.int8)
            for name, array in zip(names, (values, scale.reshape(-1)), strict=True):
                kept.append(numpy_helper.from_array(array, name))
            nodes.append(
                onnx.helper.make_node(
                    "DequantizeLinear", names, [tensor.name], axis=axis
                )
            )
        _replace(one.initializer, kept)
        _replace(one.node, [*nodes, *one.node])


def _output_axis(weights: np.ndarray, node: onnx.NodeProto, place: int) -> int:
    transposed = any(a.name == "transB" and a.i for a in node.attribute)
    return 0 if node.op_type in ("Conv", "Gather") or transposed else weights.ndim - 1


def name(graph: onnx.GraphProto, input_shape: tuple) -> None:
    """Name the input "X" and the open axes, and shorten all names of TensorFlow.

    The names of TensorFlow take as much space as the weights of a small network.
    """
    names = {"": "", graph.input[0].name: "X"}
    names.update({output.name: output.name for output in graph.output})
    for one in all_graphs(graph):
        del one.value_info[:]
        one.doc_string = ""
        for tensor in (*one.initializer, *one.input, *one.output):
            tensor.name = names.setdefault(tensor.name, f"t{len(names)}")
        for node in one.node:
            node.name, node.doc_string = "", ""
            for ends in (node.input, node.output):
                _replace(ends, [names.setdefault(e, f"t{len(names)}") for e in ends])
    graph.name = "sklstm"
    axes = graph.input[0].type.tensor_type.shape.dim
    axes[0].dim_param = "batch"
    for output in graph.output:
        output.type.tensor_type.shape.dim[0].dim_param = "batch"
    if None in input_shape:
        axes[1].dim_param = "steps"


def _replace(field: Any, values: Iterable) -> None:
    values = list(values)
    del field[:]
    field.extend(values)
