"""`load_exported`: predictions without Keras, and what it says of bad input."""

import os
import subprocess
import sys
import zipfile

import numpy as np
import pytest

from sklstm import LSTMImageClassifier, load_exported
from sklstm.exporting import _convert, _export, export
from sklstm.predictor import ExportedDetector


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


class FakeFile:
    """Stands for the file of a detector of 6 x 4 pixels."""

    format, n_threads = "onnx", 2

    def __init__(self):
        self.seen = []

    def run(self, x):
        self.seen.append(x)
        maps = x[..., 0] / 255
        return {
            "probabilities": maps,
            "masks": maps > 0.5,
            "scores": maps.max(axis=(1, 2)),
        }


def fake_detector(channels=1):
    file, shape = FakeFile(), [6, 4, channels]
    known = {"input_shape": shape, "image_shape": shape, "threshold": 0.5}
    return file, ExportedDetector(file, known)


def test_a_detector_takes_what_its_fit_took():
    file, detector = fake_detector()
    images = np.random.default_rng(0).integers(0, 256, (21, 6, 4)).astype(np.uint8)
    for X in (images, images[..., None], list(images), images.tolist()):
        np.testing.assert_array_equal(detector.predict(X), images > 127)
        np.testing.assert_allclose(detector.predict_proba(X), images / 255, atol=1e-6)
        scores = detector.decision_function(X)
        np.testing.assert_allclose(scores, images.max(axis=(1, 2)) / 255, atol=1e-6)
    assert {x.shape[1:] for x in file.seen} == {(6, 4, 1)}
    assert {x.dtype for x in file.seen} == {np.dtype("float32")}
    assert max(len(x) for x in file.seen) < len(images)  # in parts
    assert detector.threshold_ == 0.5
    with pytest.raises(AttributeError):
        detector.threshold_ = 0.9  # the file would not follow
    assert repr(detector).startswith("<ExportedDetector: onnx, images of (6, 4, 1), ")


@pytest.mark.parametrize(
    ("X", "message"),
    [
        (np.zeros((6, 4)), r"X is one image of \(6, 4\): put it into a batch"),
        (np.zeros((2, 24)), r"got an array of shape \(2, 24\)"),
        (
            [np.zeros((6, 4)), np.zeros((12, 10))],
            r"X\[1\] is 12 x 10 pixels, but the file takes 6 x 4 and cannot resize: "
            r"resize the images first, cv2\.resize\(image, \(4, 6\)",
        ),
        (np.zeros((2, 4, 6)), r"X\[0\] is 4 x 6 pixels"),
        (np.zeros((2, 6, 4, 3)), r"X\[0\] has 3 channels, but .* images of 1"),
        ([np.zeros(24)], r"X\[0\] must be an image"),
        (np.zeros((0, 6, 4)), "X holds no images"),
        (5, "X must hold images"),
        (np.full((2, 6, 4), np.nan), "X contains NaN, infinity"),
        (np.full((2, 6, 4), 1e300), "beyond what float32 can hold"),
        (np.full((2, 6, 4), "a"), r"X\[0\] has dtype <U1, but pixels must be numbers"),
    ],
)
def test_bad_images_for_a_detector(X, message):
    with pytest.raises(ValueError, match=message):
        fake_detector()[1].predict(X)


def test_channels_of_a_detector():
    _, detector = fake_detector(channels=3)
    assert detector.predict(np.zeros((2, 6, 4, 3))).shape == (2, 6, 4)
    with pytest.raises(ValueError, match=r"X\[0\] has 1 channels, but .* of 3"):
        detector.predict(np.zeros((2, 6, 4)))
    with pytest.raises(ValueError, match=r"X is one image of \(6, 4, 3\)"):
        detector.predict(np.zeros((6, 4, 3)))
