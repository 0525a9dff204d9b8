"""`load_exported`: predictions without Keras, and what it says of bad input."""

import os
import subprocess
import sys
import zipfile

import numpy as np
import pytest

from sklstm import LSTMImageClassifier, load_exported
from sklstm.exporting import _convert, _export, export


@pytest.fixture(scope="module")
def exported(digits, tmp_path_factory):
    """An estimator and its files."""
    images, y = digits
    classifier = LSTMImageClassifier(units=8, epochs=1, random_state=0)
    classifier.fit(images[:100], y[:100])
    folder = tmp_path_factory.mktemp("exported")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_export, "run", lambda module, at, what: _convert.main(str(at)))
        for format in ("onnx", "litert"):
            export(classifier, folder / format, format=format)
    return classifier, folder


@pytest.fixture(params=["onnx", "litert"])
def predictor(request, exported):
    return load_exported(exported[1] / request.param)


def test_predictions(predictor, exported, digits):
    images, _ = digits
    classifier, _ = exported
    probabilities = predictor.predict_proba(images)  # more than one part of them
    np.testing.assert_allclose(
        probabilities, classifier.predict_proba(images), atol=1e-5
    )
    np.testing.assert_allclose(probabilities.sum(axis=1), 1, atol=1e-5)
    assert probabilities.dtype == np.float32
    np.testing.assert_array_equal(predictor.predict(images), classifier.predict(images))
    np.testing.assert_array_equal(predictor.classes_, classifier.classes_)


def test_what_is_taken(predictor, digits):
    images, _ = digits
    expected = predictor.predict_proba(images[:3])
    for X in (
        images[:3].tolist(),
        images[:3].astype(np.uint8),
        images[:3].reshape(3, 64),
        np.asfortranarray(images[:3]),
    ):
        np.testing.assert_array_equal(predictor.predict_proba(X), expected)


def test_one_thread_gives_the_same(exported, digits):
    images, _ = digits
    _, folder = exported
    one, many = (load_exported(folder / "onnx", n_threads=n) for n in (1, 3))
    np.testing.assert_allclose(
        one.predict_proba(images), many.predict_proba(images), atol=1e-6
    )
    with pytest.raises(ValueError, match="n_threads=0 must be None or"):
        load_exported(folder / "onnx", n_threads=0)


@pytest.mark.parametrize(
    ("X", "message"),
    [
        (np.zeros((8, 8)), r"X is one sample of \(8, 8\): put it into a batch"),
        (np.zeros((3, 7, 9)), r"flat ones of 64 features; got .* \(3, 7, 9\)"),
        (np.zeros((3, 63)), r"flat ones of 64 features; got .* \(3, 63\)"),
        (np.zeros((0, 8, 8)), "give at least one sample"),
        (np.full((3, 8, 8), np.nan), "X contains NaN, infinity"),
        (np.full((3, 8, 8), 1e300), "beyond what float32 can hold"),
        (np.full((3, 8, 8), "a"), "pixels must be numbers or bool"),
    ],
)
def test_bad_input(X, message, predictor):
    with pytest.raises(ValueError, match=message):
        predictor.predict(X)


def test_repr(predictor):
    assert repr(predictor).startswith(f"<ExportedPredictor: {predictor.format}, ")
    assert "10 classes 0, 1, 2, 3, 4, ...>" in repr(predictor)


def test_files_of_others(tmp_path, exported):
    with pytest.raises(FileNotFoundError, match="There is no file"):
        load_exported(tmp_path / "a.onnx")
    (tmp_path / "a.onnx").write_bytes(b"something else")
    with pytest.raises(ValueError, match="is no ONNX file"):
        load_exported(tmp_path / "a.onnx")
    _, folder = exported
    content = (folder / "litert").read_bytes()
    (tmp_path / "bare").write_bytes(content[: content.rindex(b"PK\3\4")])
    with pytest.raises(ValueError, match=r"was not written by sklstm\.export"):
        load_exported(tmp_path / "bare")
    (tmp_path / "other").write_bytes((tmp_path / "bare").read_bytes())
    with zipfile.ZipFile(tmp_path / "other", "a") as archive:
        archive.writestr("labels.txt", "a")
    with pytest.raises(ValueError, match=r"was not written by sklstm\.export"):
        load_exported(tmp_path / "other")


ALONE = """
import sys
for name in "cloudpickle cv2 joblib keras optuna scipy sklearn tensorflow".split():
    sys.modules[name] = None  # an import of it fails
import numpy as np
import sklstm
predictor = sklstm.load_exported(sys.argv[1])
shape = predictor.predict_proba(np.zeros((3, 8, 8), np.uint8)).shape
if sys.platform == "linux":
    # Not ru_maxrss, which goes on from that of the process that started this one.
    status = dict(line.split(":", 1) for line in open("/proc/self/status"))
    peak = int(status["VmHWM"].split()[0])
    assert peak < 200_000, f"{peak} kB"
print(shape)
"""


@pytest.mark.parametrize("format", ["onnx", "litert"])
def test_alone(format, exported):
    _, folder = exported
    done = subprocess.run(
        [sys.executable, "-c", ALONE, str(folder / format)],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
        capture_output=True,
        text=True,
    )
    assert done.stdout == "(3, 10)\n", done.stderr


def test_the_runtime_is_missing(exported, monkeypatch):
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(ImportError, match=r"needs onnxruntime .* pip install onnxrunt"):
        load_exported(exported[1] / "onnx")
