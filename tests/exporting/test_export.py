"""`sklstm.export`: what is in the files, what they give, and what is refused."""

import copy
import io
import os
import re
import subprocess
import sys
import textwrap
from pathlib import Path

from sklstm._keras import keras

import numpy as np
import pytest
from sklearn.exceptions import NotFittedError
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import MaxAbsScaler, MinMaxScaler, StandardScaler

from sklstm import (
    FundusPreprocessor,
    ImageReader,
    LSTMImageClassifier,
    PatchSequencer,
    RowSequencer,
    VolumeSequencer,
    export,
    load,
    load_exported,
    save,
)
from sklstm.exporting import _convert, _export, _onnx

LSTM_OF = {
    "onnx": {"LSTM": 1},
    "litert": {"UNIDIRECTIONAL_SEQUENCE_LSTM": 2},
    "saved_model": {"BlockLSTM": 2},
}


def tiny(**params):
    return LSTMImageClassifier(units=4, epochs=1, random_state=0, **params)


@pytest.fixture(scope="module")
def sequences():
    """Sequences of six steps, two classes."""
    X = np.random.default_rng(0).normal(size=(20, 6, 4)).astype("float32")
    return X, np.arange(20) % 2


def check(estimator, X, path, **params):
    """Export, and assert that the file gives what the estimator gives."""
    report = export(estimator, path, **params)
    predictor = load_exported(path)
    expected = estimator.predict_proba(X)
    np.testing.assert_allclose(predictor.predict_proba(X), expected, atol=1e-5)
    np.testing.assert_array_equal(predictor.predict(X), estimator.predict(X))
    assert report.largest_difference < 1e-5
    return report, predictor


@pytest.mark.parametrize(
    "name", ["mean.onnx", pytest.param("mean.tflite", marks=pytest.mark.slow)]
)
def test_an_ensemble_is_one_file(few_digits, tmp_path, at_home, name):
    images, names = few_digits
    ensemble = tiny(n_estimators=2, calibration="temperature").fit(images, names)
    assert abs(ensemble.temperature_ - 1) > 0.01
    format = "onnx" if name.endswith("onnx") else "litert"
    report, _ = check(ensemble, images[:40], tmp_path / name, format=format)
    ((operator, n_of_one),) = LSTM_OF[format].items()
    assert report.operators[operator] == 2 * n_of_one


@pytest.mark.backend
def test_in_a_process_of_its_own(pipeline, few_digits, tmp_path):
    images, names = few_digits
    path = tmp_path / "digits.onnx"
    before = dict(os.environ)
    report = export(pipeline, path, X=images, y=names)
    assert dict(os.environ) == before
    assert os.listdir(tmp_path) == ["digits.onnx"]
    assert report.operators["LSTM"] == 1
    assert report.largest_difference < 1e-5
    assert report.accuracy_lost == 0
    assert report.n_samples == len(images)
    assert report.size_after == path.stat().st_size
    assert 0 < report.latency_ms < 1000
    predictor = load_exported(path)
    assert (
        predictor.predict(images[:3]).tolist() == pipeline.predict(images[:3]).tolist()
    )


@pytest.mark.parametrize("format", ["onnx", "litert"])
def test_file(format, pipeline, few_digits, tmp_path, at_home):
    images, _ = few_digits
    path = tmp_path / "digits"
    report, predictor = check(pipeline, images, path, format=format)
    assert report.operators.items() >= LSTM_OF[format].items()
    assert predictor.format == format
    assert predictor.classes_.tolist() == ["one", "two", "zero"]
    assert os.listdir(tmp_path) == ["digits"]
    kilobytes = report.size_before / 1e3
    assert f"{kilobytes:.1f} kB of weights in Keras" in repr(report)


def test_saved_model(pipeline, few_digits, tmp_path, at_home):
    import tensorflow as tf

    images, _ = few_digits
    path = tmp_path / "digits"
    report = export(pipeline, path, format="saved_model", X=images)
    assert report.operators.items() >= LSTM_OF["saved_model"].items()
    loaded = tf.saved_model.load(str(path))
    found = loaded.serve(images.astype("float32"))["probabilities"]
    np.testing.assert_allclose(found, pipeline.predict_proba(images), atol=1e-6)
    assert report.size_after > report.size_before
    with pytest.raises(ValueError, match=r"SavedModel runs in TensorFlow"):
        load_exported(path)
    with pytest.raises(FileExistsError, match="a new name is needed"):
        export(pipeline, path, format="saved_model")


@pytest.mark.parametrize("format", ["onnx", "litert", "litert, calibrated"])
def test_int8(format, pipeline, few_digits, tmp_path, at_home):
    images, names = few_digits
    calibration = images[:50] if "calibrated" in format else None
    report = export(
        pipeline,
        tmp_path / "digits",
        format=format.split(",")[0],
        quantize="int8",
        calibration=calibration,
        X=images,
        y=names,
    )
    assert report.accuracy_lost < 0.03
    assert 1e-6 < report.largest_difference < 0.2
    assert report.size_after < 0.6 * report.size_before
    if format == "onnx":
        assert report.operators["DynamicQuantizeLSTM"] == 1
        assert report.largest_difference < 0.01  # no sum has overflown
    if calibration is not None:
        assert report.operators["QUANTIZE"] == 1
        assert report.in_float == {}
        assert "in float: none" in repr(report)
    elif format == "litert":
        assert report.in_float == {}  # no LSTM
    else:
        assert report.in_float is None


def test_int8_that_would_be_float(sequences, tmp_path, at_home):
    classifier = tiny().fit(*sequences)
    with pytest.raises(RuntimeError, match="fewer than 1,024 weights in float"):
        export(classifier, tmp_path / "a", format="litert", quantize="int8")


def test_scaling_is_inside(few_digits, tmp_path, at_home):
    images, names = few_digits
    flat = images.reshape(len(images), -1)
    pipeline = make_pipeline(
        StandardScaler(),
        "passthrough",
        MinMaxScaler((-1, 2), clip=True),
        MaxAbsScaler(),
        RowSequencer(),
        tiny(),
    ).fit(flat[:100], names[:100])
    assert (np.abs(pipeline[:3].transform(flat)) == 2).any()  # some were cut
    check(pipeline, flat, tmp_path / "digits")
    without = make_pipeline(StandardScaler(with_mean=False), tiny()).fit(flat, names)
    check(without, flat, tmp_path / "digits")


def test_scan_and_augmentation_inside_the_classifier(few_digits, tmp_path, at_home):
    images, names = few_digits
    color = np.repeat(images[..., None], 3, axis=-1).astype(np.uint8)
    classifier = tiny(
        sequencer=PatchSequencer(4, 2), augmentation="light", l2=1e-4, batch_norm=True
    ).fit(color, names)
    report, predictor = check(classifier, color, tmp_path / "digits")
    assert report.operators["Gather"] == 1
    flat = color.reshape(len(color), -1)
    np.testing.assert_array_equal(predictor.predict(flat), classifier.predict(color))


def test_any_number_of_steps(sequences, tmp_path, at_home):
    X, y = sequences
    classifier = tiny().fit(X, y)
    _, predictor = check(classifier, X, tmp_path / "a.onnx")
    longer = np.concatenate([X, X], axis=1)
    expected = classifier.model_.predict(longer, verbose=0)
    np.testing.assert_allclose(predictor.predict_proba(longer), expected, atol=1e-5)
    _, fixed = check(classifier, X, tmp_path / "a.tflite", format="litert")
    with pytest.raises(ValueError, match=r"must hold samples of \(6, 4\)"):
        fixed.predict(longer)


def test_channels_read_by_rows(few_digits, tmp_path, at_home):
    images, names = few_digits
    color = np.stack([images, 16 - images], axis=-1)
    check(tiny().fit(color, names), color, tmp_path / "a.onnx")


def test_fitted_on_flat_images(few_digits, tmp_path, at_home):
    images, names = few_digits
    flat = images.reshape(len(images), -1)
    _, predictor = check(tiny().fit(flat, names), flat, tmp_path / "a.onnx")
    assert "samples of (64)" in repr(predictor)
    np.testing.assert_array_equal(predictor.predict(images), predictor.predict(flat))


@pytest.mark.parametrize(
    "labels",
    [
        np.array([False, True]),
        pytest.param(np.array([-1, 5], np.int16), marks=pytest.mark.slow, id="int16"),
        pytest.param(np.array([1.0, 2.0]), marks=pytest.mark.slow, id="float64"),
        np.array(["no", "yes"], object),
    ],
    ids=lambda labels: labels.dtype.name,
)
def test_labels(labels, sequences, tmp_path, at_home):
    X, y = sequences
    classifier = tiny().fit(X, labels[y])
    _, predictor = check(classifier, X, tmp_path / "a.onnx")
    assert predictor.classes_.dtype == labels.dtype
    assert predictor.classes_.tolist() == labels.tolist()


def test_best_estimator_of_a_search(sequences, tmp_path, at_home):
    X, y = sequences
    search = GridSearchCV(tiny(), {"units": [4]}, cv=2).fit(X, y)
    check(search, X, tmp_path / "a.onnx")


SCRIPT = """
import keras, numpy as np
from sklstm import LSTMImageClassifier, export, load_exported

def network(input_shape, n_classes, units):
    inputs = keras.Input(input_shape)
    x = keras.layers.LSTM(units, return_sequences=True)(inputs)
    x = keras.layers.GRU(units, activation="relu")(keras.ops.maximum(x, 0))
    return keras.Model(inputs, keras.layers.Dense(n_classes, "softmax")(x))

X = np.random.default_rng(0).normal(size=(20, 6, 4)).astype("float32")
classifier = LSTMImageClassifier(network, units=3, epochs=1).fit(X, np.arange(20) % 2)
report = export(classifier, "own.onnx")
assert report.operators["LSTM"] == 1, report
assert (load_exported("own.onnx").predict(X) == classifier.predict(X)).all()
print("done")
"""


@pytest.mark.slow
def test_a_network_of_the_users_script(tmp_path):
    (tmp_path / "script.py").write_text(textwrap.dedent(SCRIPT))
    done = subprocess.run(
        [sys.executable, "script.py"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
        capture_output=True,
        text=True,
    )
    assert done.stdout == "done\n", done.stderr
    assert sorted(os.listdir(tmp_path)) == ["own.onnx", "script.py"]


@pytest.mark.parametrize(
    ("step", "place"),
    [(ImageReader(), "ImageReader"), (FundusPreprocessor(), "FundusPreprocessor")],
    ids=["reader", "fundus"],
)
def test_a_step_that_cannot_be_exported(step, place, pipeline, tmp_path):
    longer = Pipeline([("first", step), *pipeline.steps])
    message = rf"'first' \({place}\) cannot be exported.* pipeline\[1:\]"
    with pytest.raises(ValueError, match=message):
        export(longer, tmp_path / "a.onnx")
    assert not os.listdir(tmp_path)


def test_other_estimators(tmp_path, sequences):
    X, y = sequences
    with pytest.raises(TypeError, match="got a LogisticRegression"):
        export(LogisticRegression().fit(X[:, 0], y), tmp_path / "a.onnx")
    with pytest.raises(NotFittedError):
        export(tiny(), tmp_path / "a.onnx")


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"format": "tflite"}, "format='tflite' must be one of 'onnx', 'litert'"),
        ({"quantize": "int4"}, "quantize='int4' must be None or 'int8'"),
        ({"format": "saved_model", "quantize": "int8"}, "not for format='saved_model'"),
        (
            {"quantize": "int8", "calibration": [0]},
            "calibration is for format='litert'",
        ),
        (
            {"format": "litert", "calibration": [0]},
            "calibration is for format='litert'",
        ),
        ({"y": [0]}, "y is given without X"),
    ],
)
def test_parameters(params, message, pipeline, tmp_path):
    with pytest.raises(ValueError, match=message):
        export(pipeline, tmp_path / "a", **params)


def test_y_of_another_length(pipeline, few_digits, tmp_path):
    images, names = few_digits
    with pytest.raises(ValueError, match="y has 3 labels, but X has 200 samples"):
        export(pipeline, tmp_path / "a.onnx", X=images, y=names[:3])


def test_calibration_of_another_shape(pipeline, tmp_path):
    how = {"format": "litert", "quantize": "int8", "calibration": np.zeros((3, 5, 5))}
    with pytest.raises(ValueError, match=r"was fitted on images of \(8, 8\)"):
        export(pipeline, tmp_path / "a", **how)
    how["calibration"] = np.zeros((3, 8, 8))
    how["calibration"][2, 0, 0] = np.nan
    with pytest.raises(ValueError, match="contains NaN"):
        export(pipeline, tmp_path / "a", **how)


def test_paths(pipeline, tmp_path):
    with pytest.raises(FileNotFoundError, match="folder that does not exist"):
        export(pipeline, tmp_path / "missing" / "a.onnx")
    with pytest.raises(IsADirectoryError, match="name the file to write"):
        export(pipeline, tmp_path)
    with pytest.raises(ValueError, match="the suffix of format='litert', but format"):
        export(pipeline, tmp_path / "a.tflite")
    for no_name in (io.BytesIO(), None, 3, b"a.onnx", ""):
        with pytest.raises(TypeError, match="must be the name of a file"):
            export(pipeline, no_name)
        with pytest.raises(TypeError, match="must be the name of a file"):
            load_exported(no_name)


def test_a_package_is_missing(pipeline, tmp_path, monkeypatch):
    monkeypatch.setattr(_export, "find_spec", lambda name: None)
    with pytest.raises(ImportError, match=r"needs onnx, .* 'sklstm\[export\]'"):
        export(pipeline, tmp_path / "a.onnx")


def test_an_older_file_stays_when_the_conversion_fails(pipeline, tmp_path, monkeypatch):
    folders = []

    def run(module, folder, what):
        folders.append(folder)
        raise RuntimeError("crashed")

    monkeypatch.setattr(_export, "run", run)
    path = tmp_path / "a.onnx"
    path.write_bytes(b"older")
    with pytest.raises(RuntimeError, match="crashed"):
        export(pipeline, path)
    assert path.read_bytes() == b"older"
    assert os.listdir(tmp_path) == ["a.onnx"]
    assert not folders[0].exists()


def test_a_broken_file_is_not_written(pipeline, tmp_path, at_home, monkeypatch):
    monkeypatch.setattr(
        _convert,
        "measure",
        lambda path, samples: ({"probabilities": np.full((len(samples), 3), 1 / 3)}, 1),
    )
    with pytest.raises(RuntimeError, match=r"differ .* No file was written"):
        export(pipeline, tmp_path / "a.onnx")
    monkeypatch.setattr(
        _convert,
        "measure",
        lambda path, samples: (
            {"probabilities": np.full((len(samples), 3), np.nan)},
            1,
        ),
    )
    with pytest.raises(RuntimeError, match=r"average of nan, .* No file was writ"):
        export(pipeline, tmp_path / "a.onnx", quantize="int8")
    assert not os.listdir(tmp_path)


def test_it_is_compared_with_predictions_in_full_float32(
    pipeline, few_digits, tmp_path, at_home, monkeypatch
):
    # On a GPU, TensorFloat-32 would differ from the file by more than rounding.
    import tensorflow as tf

    seen = []
    own = type(pipeline).predict_proba

    def spy(self, X):
        seen.append(tf.config.experimental.tensor_float_32_execution_enabled())
        return own(self, X)

    monkeypatch.setattr(type(pipeline), "predict_proba", spy)
    export(pipeline, tmp_path / "m.onnx", X=few_digits[0][:4])
    assert seen == [False]
    assert tf.config.experimental.tensor_float_32_execution_enabled()


def test_a_loop_in_the_place_of_an_lstm(pipeline, tmp_path, at_home, monkeypatch):
    monkeypatch.setattr(_onnx, "write", lambda job, model, path: ({"Loop": 2}, None))
    with pytest.raises(RuntimeError, match="1 LSTM layers became 0 LSTM"):
        export(pipeline, tmp_path / "a.onnx")


@pytest.mark.slow
def test_calibration_that_leaves_floats(few_digits, tmp_path, at_home):
    images, names = few_digits
    classifier = LSTMImageClassifier(
        units=16, attention="self", epochs=2, random_state=0
    ).fit(images, names)
    report = export(
        classifier,
        tmp_path / "a",
        format="litert",
        quantize="int8",
        calibration=images[:50],
    )
    assert report.in_float == {"NEG": 1}  # of the normalization, twice its mean
    assert "in float: 1 NEG" in repr(report)


def test_lstms_that_litert_leaves_in_float(few_digits, tmp_path, at_home):
    images, names = few_digits
    classifier = LSTMImageClassifier(
        units=16, embedding="pixel", network__embedding_units=16, epochs=1
    ).fit(images, names)  # 256 vectors of 16 become bytes
    how = {"format": "litert", "quantize": "int8"}
    report = export(classifier, tmp_path / "a", **how)
    assert report.in_float == {"UNIDIRECTIONAL_SEQUENCE_LSTM": 2}


def test_compared_on_the_calibration_where_there_is_no_x(
    pipeline, few_digits, tmp_path, at_home
):
    images, _ = few_digits
    how = {"format": "litert", "quantize": "int8", "calibration": images[:50]}
    report = export(pipeline, tmp_path / "a", **how)
    assert report.n_samples == 50
    assert report.largest_difference < 0.2


def test_int8_that_leaves_an_lstm_in_float(pipeline, tmp_path, at_home, monkeypatch):
    monkeypatch.setattr(_onnx, "write", lambda job, model, path: ({"LSTM": 1}, None))
    with pytest.raises(RuntimeError, match="1 LSTM layers became 0 DynamicQuantizeL"):
        export(pipeline, tmp_path / "a.onnx", quantize="int8")


@pytest.mark.parametrize(
    "format", ["onnx", pytest.param("litert", marks=pytest.mark.slow)]
)
def test_ordered_classes(format, few_digits, tmp_path, at_home):
    images, names = few_digits
    classifier = tiny(ordinal=True).fit(images, np.asarray(names) == "two")
    check(classifier, images, tmp_path / "a", format=format)


def test_volumes(few_digits, tmp_path, at_home):
    images, names = few_digits
    volumes = np.stack([images, 16 - images, images[:, ::-1]], axis=1)
    pipeline = make_pipeline(VolumeSequencer(), tiny()).fit(volumes, names)
    check(pipeline, volumes, tmp_path / "a.onnx")


def test_a_network_that_came_with_a_file(sequences, tmp_path, at_home):
    def network(input_shape, n_classes):
        inputs = keras.Input(input_shape)
        x = keras.layers.LSTM(3)(inputs)
        return keras.Model(inputs, keras.layers.Dense(n_classes, "softmax")(x))

    X, y = sequences
    classifier = LSTMImageClassifier(network, epochs=1, random_state=0).fit(X, y)
    save(classifier, tmp_path / "a.sklstm")
    again = load(tmp_path / "a.sklstm")
    check(again, X, tmp_path / "a.onnx")


@pytest.mark.slow
def test_no_weights_are_there_twice(sequences, tmp_path, at_home):
    # The products of attention also ask weights for their shape.
    classifier = LSTMImageClassifier("lstm_transformer", units=32, epochs=1)
    report = export(classifier.fit(*sequences), tmp_path / "a.onnx")
    assert report.size_after < 1.1 * report.size_before


def test_half_precision(sequences, tmp_path, at_home):
    X, y = sequences
    classifier = tiny(dtype_policy="mixed_bfloat16").fit(X, y)
    report = export(classifier, tmp_path / "a.onnx", X=X)
    assert report.largest_difference < 0.05


def test_the_estimator_stays_as_it_was(sequences, tmp_path, at_home):
    X, y = sequences
    classifier = tiny().fit(X, y)
    before = copy.copy(vars(classifier))
    export(classifier, tmp_path / "a.onnx")
    assert vars(classifier) == before
    assert not classifier._fitted_network.compiled.exposed


def test_the_page(tmp_path, at_home, monkeypatch, capsys):
    page = Path(__file__).parents[2] / "docs" / "exporting.rst"
    text = page.read_text(encoding="utf-8")
    blocks = re.findall(r"code-block:: python\n\n((?: {3}.*\n|\n)+)", text)
    assert len(blocks) == 2
    code = textwrap.dedent(blocks[0] + blocks[1])
    assert len([line for line in blocks[0].splitlines() if line.strip()]) <= 10
    code = code.replace("LSTMImageClassifier()", "LSTMImageClassifier(epochs=2)")
    monkeypatch.chdir(tmp_path)
    namespace = {}
    exec(compile(code, str(page), "exec"), namespace)
    assert capsys.readouterr().out.startswith("Exported to digits.onnx (onnx, float32)")
    assert namespace["report"].accuracy_lost < 0.05
