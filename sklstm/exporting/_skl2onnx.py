"""Converters of the sequencers for skl2onnx, which converts scikit-learn estimators."""

from __future__ import annotations

from typing import Any

import numpy as np

from sklstm.preprocessing import PatchSequencer, RowSequencer, VolumeSequencer

_OPSET = 13  # the version of Gather and Reshape that is used here


def register_skl2onnx() -> None:
    """Register the sequencers with skl2onnx.

    skl2onnx converts Pipelines of scikit-learn estimators to ONNX. After this call it
    also converts `RowSequencer`, `PatchSequencer` and `VolumeSequencer`, each to one
    gather operator. Use it for Pipelines that do not end in an `LSTMImageClassifier`;
    `export` does not need it.

    Raises
    ------
    ImportError
        If skl2onnx is not installed.

    Examples
    --------
    >>> import numpy as np
    >>> from skl2onnx import to_onnx
    >>> from sklstm import RowSequencer
    >>> from sklstm.exporting import register_skl2onnx
    >>> register_skl2onnx()
    >>> images = np.zeros((5, 8, 6), dtype=np.float32)
    >>> model = to_onnx(RowSequencer(axis="columns").fit(images), images[:1])
    >>> [node.op_type for node in model.graph.node]
    ['Reshape', 'Gather', 'Reshape']
    """
    try:
        # skl2onnx is optional.
        from skl2onnx import update_registered_converter
    except ImportError as error:
        raise ImportError(
            f"register_skl2onnx needs skl2onnx, which cannot be imported ({error}): "
            "pip install skl2onnx."
        ) from None
    for sequencer in (RowSequencer, PatchSequencer, VolumeSequencer):
        update_registered_converter(
            sequencer, f"Sklstm{sequencer.__name__}", _set_shape, _convert
        )


def _set_shape(operator: Any) -> None:
    step = operator.raw_operator
    _, n_channels = step._pixels_and_channels()
    shape = [None, step.n_steps_, step.n_pixels_per_step_ * n_channels]
    operator.outputs[0].type = type(operator.inputs[0].type)(shape)


def _convert(scope: Any, operator: Any, container: Any) -> None:
    step = operator.raw_operator
    n_pixels, n_channels = step._pixels_and_channels()
    steps = (-1, step.n_steps_, step.n_pixels_per_step_ * n_channels)
    pixels, map_, sequences = (
        _constant(scope, container, values)
        for values in ((-1, n_pixels, n_channels), step.index_map_.ravel(), steps)
    )
    flat, gathered = (scope.get_unique_variable_name(name) for name in ("flat", "read"))
    source, target = operator.inputs[0].full_name, operator.outputs[0].full_name
    for kind, inputs, output, options in (
        ("Reshape", [source, pixels], flat, {}),
        ("Gather", [flat, map_], gathered, {"axis": 1}),
        ("Reshape", [gathered, sequences], target, {}),
    ):
        name = scope.get_unique_operator_name(kind)
        container.add_node(
            kind, inputs, [output], name=name, op_version=_OPSET, **options
        )


def _constant(scope: Any, container: Any, values: Any) -> str:
    # onnx is optional and installed where skl2onnx is.
    from onnx import TensorProto

    values = np.asarray(values, np.int64)
    name = scope.get_unique_variable_name("map")
    container.add_initializer(name, TensorProto.INT64, list(values.shape), values)
    return name
