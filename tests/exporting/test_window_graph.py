"""Exporting LSTMDefectDetector: the graph from windows to pixels, and the files."""

import types

import numpy as np
import pytest
from sklearn.exceptions import NotFittedError
from sklearn.pipeline import make_pipeline

from sklstm import (
    ImageReader,
    LSTMDefectDetector,
    PatchSequencer,
    RowSequencer,
    export,
    load_exported,
)
from sklstm.estimators import _fitting
from sklstm.estimators._window_outputs import MeanWindowOutputs, WindowOutputs
from sklstm.exporting import _export
from sklstm.exporting._plan import WindowGrid, _rows_and_columns
from sklstm.exporting._window_graph import pixel_outputs

# What a graph contains if it goes step by step.
LOOPS = {"Loop", "Scan", "If", "WHILE", "While", "StatelessWhile"}


def windows_of(sequencer, shape, decoder, threshold):
    """Return the windows of a detector, and the sequencer that makes them."""
    sequencer = sequencer.fit(np.zeros((1, *shape)))
    tops, lefts = np.divmod(sequencer.index_map_[:, 0], shape[1])
    grid = len(np.unique(tops)), len(np.unique(lefts))
    sides = tuple(n // k for n, k in zip(shape, grid, strict=True)) if decoder else None
    rows, columns = _rows_and_columns(sequencer.index_map_, grid, shape)
    return WindowGrid(grid, sides, rows, columns, threshold), sequencer


QUARTERS = PatchSequencer(4, 4)


@pytest.mark.parametrize(
    ("sequencer", "shape", "decoder", "chains", "n_members"),
    [
        (QUARTERS, (20, 28), True, True, 1),
        (QUARTERS, (20, 28), True, True, 3),
        (QUARTERS, (20, 28), True, False, 1),
        (QUARTERS, (20, 20), False, True, 1),  # rows as long as columns
        (QUARTERS, (20, 20), False, False, 3),
        (PatchSequencer(6, 2), (14, 22), False, True, 3),
        (PatchSequencer(5, 4), (16, 12), False, True, 1),  # the last windows overlap
        (PatchSequencer(8, 8), (8, 40), True, True, 1),  # one row of windows
        (PatchSequencer(8, 8), (8, 8), False, True, 1),
        (RowSequencer(), (33, 5), False, True, 1),
    ],
)
def test_the_graph_gives_what_numpy_gives(sequencer, shape, decoder, chains, n_members):
    windows, sequencer = windows_of(sequencer, shape, decoder, 0.6)
    n_axes = max(1, sum(n > 1 for n in windows.grid))
    n_channels = 1 + 4 * n_axes * chains
    n_channels += np.prod(windows.sides) if decoder else 0
    rng = np.random.default_rng(0)
    # Scores from 0 to very sure. All rows of the potentials of a first step are equal.
    outputs = rng.normal(0, 1, (n_members, 8, *windows.grid, n_channels))
    outputs *= np.array([1, 3, 10, 40] * 2)[:, None, None, None]
    outputs = outputs.astype("float32")
    if chains and windows.grid[1] > 1:
        outputs[..., :, 0, 3:5] = outputs[..., :, 0, 1:3]
    if chains and windows.grid[0] > 1:
        last = 1 + 4 * n_axes
        outputs[..., 0, :, last - 2 : last] = outputs[..., 0, :, last - 4 : last - 2]

    found = pixel_outputs(list(outputs), windows)
    found = {name: one.numpy() for name, one in found.items()}
    members = [WindowOutputs(one, windows.grid, windows.sides) for one in outputs]
    expected = members[0] if n_members == 1 else MeanWindowOutputs(members)
    detector = LSTMDefectDetector()
    detector.sequencer_, detector.decoder_ = sequencer, decoder
    probabilities = detector._pixel_probabilities(expected)
    if decoder:
        masks = probabilities >= windows.threshold
    else:
        masks = detector._decided(expected.margins(windows.threshold)) > 0
    assert 0 < masks.mean() < 1
    np.testing.assert_allclose(found["probabilities"], probabilities, atol=1e-5)
    np.testing.assert_array_equal(found["masks"], masks)
    odds = np.sort(expected.log_odds().reshape(8, -1), axis=1)[:, -2:].mean(axis=1)
    np.testing.assert_allclose(found["scores"], odds, rtol=1e-4, atol=1e-4)


def test_windows_that_are_no_rectangles():
    index_map = np.array([[0, 1, 5], [2, 3, 6]])
    with pytest.raises(ValueError, match="windows that are no rectangles of pixels"):
        _rows_and_columns(index_map, (1, 2), (2, 4, 1))


def fitted(shape=(16, 16), channels=(), **params):
    """Return a detector with random weights and balanced masks, and images."""
    rng = np.random.default_rng(0)
    X = rng.normal(100, 20, (6, *shape, *channels))
    Y = np.zeros((6, *shape), bool)
    Y[::2, 4:9, 4:9] = True
    detector = LSTMDefectDetector(size=shape, units=4, random_state=0, **params)
    with pytest.MonkeyPatch.context() as patch:
        done = types.SimpleNamespace(n_epochs=1, best_epoch=1)
        patch.setattr(_fitting, "train_network", lambda *args, **kwargs: done)
        detector.fit(X, Y)
    for network in detector._networks():
        with network.in_use() as compiled:
            model = compiled.model
            weights = [
                np.abs(value + rng.normal(0, 0.3, value.shape))
                if "variance" in variable.path
                else value + rng.normal(0, 0.3, value.shape) * (value.ndim < 3)
                for value, variable in zip(
                    model.get_weights(), model.weights, strict=True
                )
            ]
            model.set_weights(weights)
    detector.threshold_ = float(np.median(detector.predict_proba(X)))
    return detector, X, Y


def check(detector, X, path, **params):
    """Export, and assert that the file gives what the detector gives."""
    report = export(detector, path, X=X, **params)
    exported = load_exported(path)
    probabilities, masks = detector.predict_proba(X), detector.predict(X)
    assert 0.1 < masks.mean() < 0.9
    found = exported.predict_proba(X)
    np.testing.assert_allclose(found, probabilities, atol=1e-5)
    np.testing.assert_array_equal(exported.predict(X), masks)
    np.testing.assert_allclose(
        exported.decision_function(X), detector.decision_function(X), atol=1e-3
    )
    assert report.largest_difference == np.abs(found - probabilities).max()
    assert not LOOPS & set(report.operators)
    assert exported.threshold_ == detector.threshold_
    assert exported.image_shape_ == detector.image_shape_
    return report, exported


def test_a_detector_in_onnx(tmp_path, at_home):
    detector, X, Y = fitted()
    assert detector.decoder_
    report, _ = check(detector, X, tmp_path / "a.onnx", y=Y)
    assert report.operators["LSTM"] == 2  # rows and columns
    assert report.accuracy_lost == 0
    assert "F1 lost: 0.00 points" in repr(report)


def test_a_detector_without_a_decoder_in_litert(tmp_path, at_home):
    # 6 x 6 windows overlap, and the network reads their pixels.
    detector, X, _ = fitted(
        stem=False, contrast=None, attention=None, sequencer=PatchSequencer(6, 5)
    )
    assert not detector.decoder_
    report, _ = check(detector, X, tmp_path / "a.tflite", format="litert")
    assert report.operators["UNIDIRECTIONAL_SEQUENCE_LSTM"] == 4


CASES = {
    "no chains": ("onnx", {"crf": False, "decoder": False}),
    "ensemble": ("onnx", {"n_estimators": 2}),
    "overlap": ("onnx", {"sequencer": PatchSequencer(8, 4)}),
    "color": ("litert", {"channels": (3,), "shape": (16, 24)}),
    "rows": ("litert", {"stem": False, "sequencer": RowSequencer(), "n_estimators": 2}),
}


@pytest.mark.slow
@pytest.mark.parametrize("case", CASES)
def test_other_detectors(case, tmp_path, at_home):
    format, params = CASES[case]
    detector, X, _ = fitted(**params)
    check(detector, X, tmp_path / "file", format=format)


@pytest.mark.slow
def test_a_detector_as_a_saved_model(tmp_path, at_home):
    import tensorflow as tf

    detector, X, _ = fitted()
    path = tmp_path / "folder"
    export(detector, path, format="saved_model", X=X)
    loaded = tf.saved_model.load(str(path))
    outputs = loaded.serve(X[..., None].astype("float32"))
    np.testing.assert_array_equal(outputs["masks"], detector.predict(X))


@pytest.mark.slow
@pytest.mark.parametrize("format", ["onnx", "litert"])
def test_a_detector_in_bytes(format, tmp_path, at_home):
    detector, X, _ = fitted()
    path = tmp_path / "file"
    report = export(detector, path, format=format, quantize="int8", X=X)
    assert 0 < report.largest_difference < 0.05
    assert report.size_after < 0.6 * report.size_before


@pytest.fixture(scope="module")
def smallest():
    return fitted(shape=(8, 8), stem=False, crf=False, attention=None, contrast=None)


def test_what_is_refused(smallest, tmp_path):
    path = tmp_path / "a.onnx"
    with pytest.raises(NotFittedError):
        export(LSTMDefectDetector(), path)
    detector, X, Y = smallest
    pipeline = make_pipeline(ImageReader(size=8), detector)
    with pytest.raises(ValueError, match=r"step 'imagereader' .* pipeline\[-1\]"):
        export(pipeline, path)
    other = [X[0], np.zeros((12, 9))]
    with pytest.raises(ValueError, match=r"X\[1\] is 12 x 9 .* takes 8 x 8 and cannot"):
        export(detector, path, X=other)
    with pytest.raises(ValueError, match="y has 5 masks"):
        export(detector, path, X=X, y=Y[:5])
    with pytest.raises(ValueError, match="calibration is not for LSTMDefectDetector"):
        export(detector, tmp_path / "a", "litert", quantize="int8", calibration=X)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("name", "change", "message"),
    [
        ("probabilities", lambda a: a + 0.001, "probabilities differ .* up to 0.001"),
        ("masks", lambda a: ~a, r"masks differ from the estimator's in 100\.00%"),
        ("scores", lambda a: a + 1, "scores by up to 1, more than rounding"),
    ],
)
def test_a_broken_file_is_not_written(
    smallest, name, change, message, tmp_path, monkeypatch
):
    detector, X, _ = smallest

    def run(module, folder, what):
        outputs = {
            "probabilities": detector.predict_proba(X),
            "masks": detector.predict(X),
            "scores": detector.decision_function(X),
        }
        outputs[name] = change(outputs[name])
        np.savez(folder / "outputs.npz", **outputs)
        facts = '{"operators": {}, "in_float": null, "latency_ms": 1}'
        (folder / "facts").write_text(facts)
        (folder / "result").write_bytes(b"file")

    monkeypatch.setattr(_export, "run", run)
    with pytest.raises(RuntimeError, match=message):
        export(detector, tmp_path / "a.onnx", X=X)
    assert list(tmp_path.iterdir()) == []
