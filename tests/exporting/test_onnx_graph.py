"""Changes to an ONNX graph that keep its results."""

import numpy as np
import onnx
import onnxruntime
from onnx import helper, numpy_helper

from sklstm.exporting._onnx_graph import give_numbers_all_axes


def test_numbers_get_all_axes():
    shapes = {"x": ["n", 3, 1], "y": ["n", 3, 1]}
    ends = {
        name: helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, shape)
        for name, shape in shapes.items()
    }
    constants = {"half": np.float32(0.5), "row": np.float32([[1], [2], [3]])}
    nodes = [("x", "half", "a"), ("half", "a", "b"), ("b", "row", "c")]
    # Two numbers, whose sum has no axis: they stay as they are.
    nodes += [("half", "half", "one"), ("c", "one", "y")]
    graph = helper.make_graph(
        [helper.make_node("Sub", [left, right], [out]) for left, right, out in nodes],
        "graph",
        [ends["x"]],
        [ends["y"]],
        [numpy_helper.from_array(array, name) for name, array in constants.items()],
    )
    opset = [helper.make_opsetid("", 18)]
    proto = helper.make_model(graph, opset_imports=opset, ir_version=9)
    x = np.arange(6, dtype=np.float32).reshape(2, 3, 1)
    expected = results(proto, x)
    give_numbers_all_axes(proto)
    onnx.checker.check_model(proto, full_check=True)
    np.testing.assert_array_equal(results(proto, x), expected)
    assert expected.shape == x.shape
    dims = {one.name: tuple(one.dims) for one in proto.graph.initializer}
    inputs = [[dims.get(name) for name in node.input] for node in proto.graph.node]
    assert inputs == [
        [None, (1, 1, 1)],
        [(1, 1, 1), None],
        [None, (3, 1)],
        [(), ()],
        [None, None],
    ]


def results(proto, x):
    session = onnxruntime.InferenceSession(
        proto.SerializeToString(), providers=["CPUExecutionProvider"]
    )
    return session.run(None, {"x": x})[0]
