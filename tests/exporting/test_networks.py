"""Every network exports to ONNX and to LiteRT, and gives the same there."""

import json

from sklstm._keras import keras

import numpy as np
import pytest

from sklstm import PatchSequencer
from sklstm.exporting._convert import convert
from sklstm.exporting._measure import measure
from sklstm.exporting._plan import Conversion, ExportPlan, make_bare
from sklstm.networks import NETWORKS
from sklstm.training._compiled import CompiledNetwork
from sklstm.training._spec import NetworkSpec

N_CLASSES = 3
SEQUENCE, IMAGE, VOLUME = (8, 6), (8, 8, 1), (3, 4, 4, 1)
CASES = {
    "lstm": ("lstm", SEQUENCE, {}),
    "lstm-one-way": ("lstm", SEQUENCE, {"bidirectional": False, "pooling": "mean"}),
    "lstm-deep": ("lstm", SEQUENCE, {"n_layers": 2, "batch_norm": True, "l2": 0.1}),
    "lstm-dense": ("lstm", SEQUENCE, {"embedding": "dense", "pooling": "max"}),
    "lstm-pixel": ("lstm", SEQUENCE, {"embedding": "pixel"}),
    "lstm-additive": ("lstm", SEQUENCE, {"attention": "additive"}),
    "lstm-self": ("lstm", SEQUENCE, {"attention": "self"}),
    "lstm-multihead": ("lstm", SEQUENCE, {"attention": "multihead"}),
    "lstm-multiscale": ("lstm", SEQUENCE, {"attention": "multiscale"}),
    "lstm-scan": ("lstm", IMAGE, {}),
    "lstm-padded": ("lstm", IMAGE, {}),
    "lstm_transformer": ("lstm_transformer", SEQUENCE, {"dropout": 0.1}),
    "bilstm2d": ("bilstm2d", IMAGE, {"patch_size": 3}),
    "bilstm2d-positions": (
        "bilstm2d",
        IMAGE,
        {"scan": "positions", "patch_size": 2, "pooling": "last", "n_layers": 2},
    ),
    "renet": ("renet", IMAGE, {"patch_size": 2, "pooling": "attention"}),
    "renet-one-way": ("renet", IMAGE, {"patch_size": 3, "bidirectional": False}),
    "cnn_lstm": ("cnn_lstm", IMAGE, {"filters": 4}),
    "cnn_lstm-positions": ("cnn_lstm", IMAGE, {"filters": 4, "scan": "positions"}),
    "cnn_lstm-deep": (
        "cnn_lstm",
        IMAGE,
        {
            "filters": 4,
            "stem_kernels": "harmonic",
            "stem_blocks": "residual",
            "stem_size": 4,
            "drop_path": 0.1,
        },
    ),
    "cnn": ("cnn", IMAGE, {"filters": 4}),
    "sequencer": ("sequencer", IMAGE, {"widths": (16,), "depths": (1,)}),
    "vil": ("vil", IMAGE, {"patch_size": 3, "n_blocks": 2, "drop_path": 0.1}),
    "conv_lstm": ("conv_lstm", VOLUME, {"filters": 3}),
    "bilstm3d": ("bilstm3d", VOLUME, {"filters": 4, "bidirectional": False}),
    "cnn3d": ("cnn3d", VOLUME, {"filters": 4}),
}
# LiteRT takes longer: one of each kind of layer.
LITERT = ["lstm", "lstm-one-way", "lstm-pixel", "lstm-multihead", "lstm-multiscale"]
LITERT += ["lstm-scan", "bilstm2d", "bilstm2d-positions", "renet", "cnn_lstm"]
LITERT += ["cnn_lstm-deep", "conv_lstm", "sequencer", "vil", "bilstm3d", "cnn3d"]


# What differs little from a case that stays is slow.
SLOW = {("lstm-dense", "onnx"), ("lstm-additive", "onnx"), ("lstm-deep", "onnx")}
SLOW |= {("renet-one-way", "onnx"), ("cnn_lstm-positions", "onnx"), ("cnn", "onnx")}
SLOW |= {("cnn3d", "onnx"), ("lstm-one-way", "litert"), ("lstm-pixel", "litert")}
SLOW |= {("bilstm2d-positions", "litert"), ("lstm-multihead", "litert")}
SLOW |= {("cnn_lstm-deep", "litert"), ("bilstm3d", "litert"), ("renet", "litert")}
SLOW |= {("cnn3d", "litert"), ("vil", "litert"), ("sequencer", "litert")}
SLOW |= {("lstm-multiscale", "onnx"), ("bilstm2d-positions", "onnx")}
SLOW |= {("cnn_lstm-deep", "onnx"), ("conv_lstm", "onnx"), ("renet", "onnx")}
SLOW |= {("sequencer", "onnx"), ("lstm_transformer", "onnx"), ("bilstm2d", "onnx")}
SLOW |= {("lstm-multiscale", "litert"), ("lstm-self", "onnx"), ("lstm-pixel", "onnx")}
SLOW |= {("lstm-one-way", "onnx"), ("lstm-padded", "onnx")}


def test_all_networks_are_there():
    assert {name for name, _, _ in CASES.values()} == set(NETWORKS)


@pytest.mark.parametrize(
    ("case", "format"),
    [
        pytest.param(case, format, marks=[pytest.mark.slow] * ((case, format) in SLOW))
        for cases, format in ((CASES, "onnx"), (LITERT, "litert"))
        for case in cases
    ],
)
def test_network(case, format, tmp_path):
    name, shape, params = CASES[case]
    params = {"input_noise": 0.1, **params}
    if name not in ("sequencer", "conv_lstm"):
        params["units"] = 4
    expected, found, _ = converted(case, name, shape, params, format, tmp_path)
    np.testing.assert_allclose(found, expected, atol=1e-5)
    # Training, which goes on in the process that tests, finds Keras as it was.
    assert keras.layers.LSTM.call.__qualname__ == "LSTM.call"


INT8 = {
    "cnn_lstm": (IMAGE, {"units": 16, "filters": 16}),
    "cnn": (IMAGE, {"units": 16, "filters": 16}),
    "lstm_transformer": ((8, 16), {"units": 16}),
    "renet": (IMAGE, {"units": 16, "patch_size": 2}),
}
WAYS = [(name, how) for name in INT8 if name != "renet" for how in ("onnx", "litert")]
WAYS += [("renet", "litert, calibrated")]
# Calibrated attention loses more than a test on noise can bound.
WAYS += [("cnn_lstm", "litert, calibrated"), ("cnn", "litert, calibrated")]


QUICK = [("cnn_lstm", "litert, calibrated"), ("cnn", "onnx"), ("cnn", "litert")]


@pytest.mark.parametrize(
    ("name", "how"),
    [
        pytest.param(*way, marks=() if way in QUICK else pytest.mark.slow)
        for way in WAYS
    ],
)
def test_network_in_bytes(name, how, tmp_path):
    shape, params = INT8[name]
    format, _, calibrated = how.partition(", ")
    expected, found, in_float = converted(
        name, name, shape, params, format, tmp_path, "int8", bool(calibrated)
    )
    difference = np.abs(found - expected).max()
    assert 0 < difference < (0.1 if calibrated else 0.03)
    if format == "onnx":
        assert in_float is None
    else:  # small LSTMs stay in float, unless calibrated
        left = set() if calibrated else {"UNIDIRECTIONAL_SEQUENCE_LSTM"}
        assert set(in_float) <= left


def converted(
    case, name, shape, params, format, tmp_path, quantize=None, calibrated=False
):
    """Return probabilities of a network, those of its file, and what is in float."""
    reading = {}
    if case in ("lstm-scan", "lstm-padded"):
        index_map = PatchSequencer(4, 2).get_index_map(shape[:2])
        if case == "lstm-padded":
            index_map[::2, -3:] = -1
        reading["index_map"] = index_map
    open_shape = (None, *shape[1:]) if len(shape) == 2 else shape
    spec = NetworkSpec(
        network=name,
        input_shape=open_shape,
        n_outputs=N_CLASSES,
        input_dtype="float32",
        network_params=params,
        reading_params=reading,
        compile_params={"loss": "sparse_categorical_crossentropy", "metrics": None},
    )
    compiled = CompiledNetwork(spec)
    compiled.start(np.random.SeedSequence(0))
    x = np.random.default_rng(0).normal(size=(5, *shape)).astype("float32")
    plan = ExportPlan(
        input_shape=open_shape,
        image_shape=shape,
        steps=[],
        network_shape=shape,
        spec=make_bare(spec),
        members=[compiled.model.get_weights()],
        classes=np.arange(N_CLASSES),
    )
    metadata = {
        "classes": [0, 1, 2],
        "dtype": "<i8",
        "input_shape": open_shape if format == "onnx" else shape,
        "image_shape": shape,
    }
    calibration = x if calibrated else None
    conversion = Conversion(
        plan, format, quantize, calibration, json.dumps(metadata), samples=x
    )
    _, in_float = convert(conversion, tmp_path / "file")
    outputs, _ = measure(tmp_path / "file", x)
    expected = keras.ops.convert_to_numpy(compiled.model(x, training=False))
    return expected, outputs["probabilities"], in_float
