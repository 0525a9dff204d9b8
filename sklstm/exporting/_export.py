"""Exporting a fitted estimator to a file that runs without Keras."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import cloudpickle
import numpy as np
from sklearn.utils.validation import column_or_1d

from sklstm._version import __version__
from sklstm.estimators._masks import check_masks, pixel_f1
from sklstm.exporting._plan import Conversion, ExportPlan, make_plan
from sklstm.exporting._process import run
from sklstm.exporting._report import ExportReport
from sklstm.images._ragged import check_images
from sklstm.predictor import DETECTOR, as_path

_NEEDS = {
    "onnx": {"onnx": "onnx", "tf2onnx": "tf2onnx", "onnxruntime": "onnxruntime"},
    "litert": {"ai_edge_litert": "ai-edge-litert"},
    "saved_model": {},
}
_NAMES = {"onnx": "ONNX", "litert": "LiteRT", "saved_model": "a SavedModel"}
_SUFFIXES = {".onnx": "onnx", ".tflite": "litert"}
# Number of random samples on which a file is tried if the user gives none.
_N_DRAWN = 32
_N_DRAWN_IMAGES = 8
# Rounding differences stay below these limits, and those of a broken file do not.
_LARGEST_DIFFERENCE = 1e-4
_LARGEST_DIFFERENCE_OF_HALVES = 5e-2
_MEAN_DIFFERENCE_OF_BYTES = 0.25
# The scores of a detector are logarithms. A pixel at the threshold may change sides.
_LARGEST_DIFFERENCE_OF_SCORES = 1e-2
_MOST_OTHER_PIXELS = 1e-3


def export(
    estimator: Any,
    path: Any,
    format: str = "onnx",
    *,
    quantize: str | None = None,
    calibration: Any = None,
    X: Any = None,
    y: Any = None,
) -> ExportReport:
    """Export a fitted classifier or detector to a file that runs without Keras.

    The exported model takes raw pixels in float32 and returns the probabilities of the
    classes. It contains the scaling, the scan and the network, and stores the class
    labels in its metadata. For an ensemble, it contains all networks, their mean and
    the temperature. The conversion and a test of its result run in a process of
    their own. The file is written only if its predictions agree with those of the
    estimator.

    The model of a detector takes images of one size, that of ``image_shape_``. It
    returns the probability and the mask of each pixel at ``threshold_``, and the scores
    of the images.

    Parameters
    ----------
    estimator : LSTMImageClassifier, LSTMDefectDetector, Pipeline or search
        The fitted estimator. A Pipeline may contain sequencers, StandardScaler,
        MinMaxScaler and MaxAbsScaler before the classifier. For a search, export its
        best estimator.
    path : str or os.PathLike
        Path of the file. Its folder must exist, and an older file is replaced. With
        ``format="saved_model"`` it is the path of a folder, which must not exist.
    format : {"onnx", "litert", "saved_model"}, default="onnx"
        Format of the file. "onnx" runs in onnxruntime on servers, in browsers and on
        phones, and takes batches of any size; it takes sequences of any length if the
        network does. "litert" (TensorFlow Lite) runs on phones and boards, one sample
        at a time. "saved_model" runs in TensorFlow Serving.
    quantize : {"int8"} or None, default=None
        If "int8", store the weights as bytes, which reduces the size to about a
        quarter. ``format="saved_model"`` does not support it.
    calibration : array-like of shape (n_samples, ...), default=None
        About a hundred samples that are typical of later input. With
        ``format="litert"`` and ``quantize="int8"``, the model then computes with
        integers wherever LiteRT can, for boards without floating-point arithmetic;
        ``report.in_float`` lists the other operators. If None, only the weights are
        bytes. Detectors do not support it.
    X : array-like of shape (n_samples, ...), default=None
        Samples on which the file is compared with the estimator. If None, use
        `calibration`, or else 32 random samples (8 for a detector) with the mean and
        the standard deviation of the training data. A network may treat random samples
        differently from images. For a detector, images of ``image_shape_``.
    y : array-like of shape (n_samples,), default=None
        Labels of `X`, for the loss of accuracy in the report. For a detector, masks of
        `X`, for the loss of F1.

    Returns
    -------
    ExportReport
        Sizes, operators, largest difference of a probability, accuracy lost and
        latency.

    Raises
    ------
    TypeError
        If `path` is not the name of a file, or if the estimator ends neither in an
        `LSTMImageClassifier` nor in an `LSTMDefectDetector`.
    FileNotFoundError
        If the folder of `path` does not exist.
    IsADirectoryError
        If `path` is a folder.
    FileExistsError
        If `path` exists and ``format="saved_model"``.
    ImportError
        If a package that the format needs is missing. ``pip install "sklstm[export]"``
        installs them.
    ValueError
        If a step of the Pipeline or the value of a parameter cannot be exported, or if
        an image of `X` does not have the size that a detector reads.
    RuntimeError
        If the conversion fails or crashes, or if the predictions differ from those of
        the estimator. No file is written in this case.

    See Also
    --------
    load_exported : Predict with the file, without Keras.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> from sklearn.datasets import load_digits
    >>> from sklearn.pipeline import make_pipeline
    >>> import sklstm
    >>> digits = load_digits(n_class=3)
    >>> pipeline = make_pipeline(
    ...     sklstm.RowSequencer(), sklstm.LSTMImageClassifier(units=4, epochs=1)
    ... ).fit(digits.images, digits.target)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     report = sklstm.export(pipeline, Path(folder, "digits.onnx"))
    >>> report.operators["LSTM"], report.largest_difference < 1e-5
    (1, True)
    """
    path = as_path(path, "export writes")
    _check_parameters(path, format, quantize, calibration, X, y)
    plan = make_plan(estimator)
    if plan.windows is not None and calibration is not None:
        raise ValueError(
            "calibration is not for LSTMDefectDetector, whose chains need floats: "
            "leave it out, and only the weights become bytes."
        )
    for module, package in _NEEDS[format].items():
        if find_spec(module) is None:
            raise ImportError(
                f"format={format!r} needs {package}, which is not installed: pip "
                "install 'sklstm[export]'."
            )
    if plan.windows is not None:
        X = plan.samples(_N_DRAWN_IMAGES) if X is None else _images(X, plan)
    elif X is None:
        X = plan.samples(_N_DRAWN) if calibration is None else calibration
    elif calibration is not None:
        estimator.predict_proba(calibration)  # raises for samples that it cannot take
    # Here and not above: this loads Keras.
    from sklstm.training._settings import full_float32

    with full_float32():  # the file is tried on a CPU, which shortens no factors
        wanted = {"probabilities": estimator.predict_proba(X)}
        if plan.windows is not None:
            wanted["masks"] = estimator.predict(X)
            wanted["scores"] = estimator.decision_function(X)
    n_samples = len(wanted["probabilities"])
    if y is not None:
        y = _as_truth(y, wanted["probabilities"], plan)
    if calibration is not None:
        calibration = _as_input(calibration, plan)
    conversion = Conversion(
        plan,
        format,
        quantize,
        calibration,
        metadata=_metadata(plan, format),
        samples=_as_input(X, plan),
    )
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        _send(conversion, folder)
        run("sklstm.exporting._convert", folder, f"The conversion to {_NAMES[format]}")
        facts = json.loads((folder / "facts").read_text())
        with np.load(folder / "outputs.npz") as file:
            found = {name: file[name] for name in wanted}
        differences = np.abs(found["probabilities"] - wanted["probabilities"])
        _refuse_broken(differences, plan, quantize)
        if plan.windows is not None and plan.exact and quantize is None:
            _refuse_other_masks(found, wanted)
        report = ExportReport(
            path=path,
            format=format,
            quantize=quantize,
            size_before=sum(w.nbytes for member in plan.members for w in member),
            size_after=_size(folder / "result"),
            operators=facts["operators"],
            in_float=facts["in_float"],
            largest_difference=float(differences.max()),
            n_samples=n_samples,
            accuracy_lost=_accuracy_lost(wanted, found, y, plan),
            latency_ms=facts["latency_ms"],
            metric="accuracy" if plan.windows is None else "F1",
        )
        _move(folder / "result", path)
    return report


def _check_parameters(
    path: Path, format: str, quantize: Any, calibration: Any, X: Any, y: Any
) -> None:
    if format not in _NEEDS:
        known = ", ".join(map(repr, _NEEDS))
        raise ValueError(f"format={format!r} must be one of {known}.")
    if quantize not in (None, "int8"):
        raise ValueError(f"quantize={quantize!r} must be None or 'int8'.")
    if quantize is not None and format == "saved_model":
        raise ValueError(
            "quantize='int8' is not for format='saved_model', which has no operators "
            "on bytes: use format='onnx' or 'litert'."
        )
    if calibration is not None and (format != "litert" or quantize is None):
        raise ValueError(
            "calibration is for format='litert' with quantize='int8': in all other "
            "files no more than the weights are bytes, and nothing is to be calibrated."
        )
    if y is not None and X is None:
        raise ValueError("y is given without X: give both, or neither.")
    if not path.parent.is_dir():
        raise FileNotFoundError(
            f"path={str(path)!r} is in a folder that does not exist: make it first."
        )
    meant = _SUFFIXES.get(path.suffix.lower(), format)
    if meant != format:
        raise ValueError(
            f"path={str(path)!r} has the suffix of format={meant!r}, but "
            f"format={format!r}: change one of them."
        )
    if format == "saved_model" and path.exists():
        raise FileExistsError(
            f"path={str(path)!r} exists: a SavedModel is a folder, for which a new "
            "name is needed."
        )
    if format != "saved_model" and path.is_dir():
        raise IsADirectoryError(
            f"path={str(path)!r} is a folder: name the file to write."
        )


def _images(X: Any, plan: ExportPlan) -> np.ndarray:
    """Return images as one array, if they have the size that the detector reads."""
    images = check_images(X)
    height, width = plan.image_shape[:2]
    for i, image in enumerate(images):
        if image.shape[:2] != (height, width):
            raise ValueError(
                f"X[{i}] is {image.shape[0]} x {image.shape[1]} pixels, but the file "
                f"takes {height} x {width} and cannot resize: give images of this size."
            )
    return np.stack(images)


def _as_truth(y: Any, probabilities: np.ndarray, plan: ExportPlan) -> Any:
    """Return labels, or the masks of a detector, one for each sample."""
    if plan.windows is not None:
        return check_masks(y, list(probabilities), "y")
    y = column_or_1d(y)
    if len(y) != len(probabilities):
        raise ValueError(
            f"y has {len(y)} labels, but X has {len(probabilities)} samples: give one "
            "for each."
        )
    return y


def _metadata(plan: ExportPlan, format: str) -> str:
    if plan.windows is not None:
        return json.dumps(
            {
                "sklstm": __version__,
                "kind": DETECTOR,
                "input_shape": plan.input_shape,
                "image_shape": plan.image_shape,
                "threshold": plan.windows.threshold,
            }
        )
    dtype = plan.classes.dtype
    if dtype.kind not in "biufUO":
        raise ValueError(
            f"The labels have dtype {dtype}, which cannot be kept in the file: train "
            "on numbers or strings."
        )
    input_shape = plan.input_shape
    if format == "litert":
        input_shape = plan.fixed_input_shape
    return json.dumps(
        {
            "sklstm": __version__,
            "classes": plan.classes.tolist(),
            "dtype": dtype.str,
            "input_shape": input_shape,
            "image_shape": plan.image_shape,
        }
    )


def _send(conversion: Conversion, folder: Path) -> None:
    try:
        # The other process cannot import a network function of the main script, so
        # cloudpickle sends its code.
        (folder / "conversion").write_bytes(cloudpickle.dumps(conversion))
    except Exception as error:
        network = conversion.plan.spec.network
        raise ValueError(
            f"network={network!r} and its parameters cannot be sent to the process "
            f"that converts: {error}"
        ) from error


def _as_input(X: Any, plan: ExportPlan) -> np.ndarray:
    """Return samples of the estimator in the shape that the graph takes."""
    x = np.asarray(X, np.float32)
    return x.reshape(len(x), *plan.fixed_input_shape)


def _refuse_broken(
    differences: np.ndarray, plan: ExportPlan, quantize: str | None
) -> None:
    limit = _LARGEST_DIFFERENCE if plan.exact else _LARGEST_DIFFERENCE_OF_HALVES
    difference = differences.max()
    if quantize is not None:
        # Quantization may change the class of a few samples that lie between two
        # classes, so only the mean over the samples is limited.
        limit = _MEAN_DIFFERENCE_OF_BYTES
        difference = differences.reshape(len(differences), -1).max(axis=1).mean()
    if not difference <= limit:  # this is true for NaN
        of_what = "up to" if quantize is None else "an average of"
        raise RuntimeError(
            "The converted model's probabilities differ from the estimator's by "
            f"{of_what} {difference:.2g}, more than the {limit:g} that rounding can "
            "explain. No file was written."
        )


def _refuse_other_masks(found: dict, wanted: dict) -> None:
    others = np.mean(found["masks"] != wanted["masks"])
    difference = np.abs(found["scores"] - wanted["scores"]).max()
    if not (
        others <= _MOST_OTHER_PIXELS and difference <= _LARGEST_DIFFERENCE_OF_SCORES
    ):
        raise RuntimeError(
            f"The converted model's masks differ from the estimator's in {others:.2%} "
            f"of the pixels and its scores by up to {difference:.2g}, more than "
            "rounding can explain. No file was written."
        )


def _accuracy_lost(wanted: dict, found: dict, y: Any, plan: ExportPlan) -> float | None:
    if y is None:
        return None
    if plan.windows is not None:
        before, after = (pixel_f1(y, list(one["masks"])) for one in (wanted, found))
    else:
        before, after = (
            float(np.mean(plan.classes[one["probabilities"].argmax(axis=1)] == y))
            for one in (wanted, found)
        )
    return before - after


def _size(path: Path) -> int:
    files = path.rglob("*") if path.is_dir() else [path]
    return sum(file.stat().st_size for file in files if file.is_file())


def _move(result: Path, path: Path) -> None:
    """Move a file or folder to its path, either whole or not at all."""
    beside = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        if result.is_dir():
            shutil.copytree(result, beside)
        else:
            shutil.copyfile(result, beside)
        os.replace(beside, path)
    finally:
        if beside.is_dir():
            shutil.rmtree(beside)
        else:
            beside.unlink(missing_ok=True)
