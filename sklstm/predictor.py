"""Prediction with an exported file.

This module imports only NumPy and one runtime. It works after ``pip install --no-deps
sklstm`` with NumPy and onnxruntime (or ai-edge-litert), without Keras and scikit-learn.
For this reason it is not part of sklstm.exporting, which imports scikit-learn.
"""

from __future__ import annotations

import json
import math
import os
import threading
import zipfile
from abc import ABC, abstractmethod
from concurrent.futures import ThreadPoolExecutor
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np

__all__ = ["ExportedDetector", "ExportedPredictor", "load_exported"]

# The names under which `sklstm.export` stores metadata in its files.
METADATA = "sklstm"
METADATA_FILE = "sklstm.json"
# The "kind" in the metadata of a detector. That of a classifier has none.
DETECTOR = "detector"
# A thread predicts for so many samples or values at a time. With more of them, the
# gates of the LSTM do not fit into the processor's cache.
_MOST_SAMPLES = 8
_MOST_VALUES = 2**18


def load_exported(
    path: Any, n_threads: int | None = None
) -> ExportedPredictor | ExportedDetector:
    """Load a classifier or a detector that `sklstm.export` has written.

    Neither this function nor the predictor imports Keras, TensorFlow or scikit-learn.

    Parameters
    ----------
    path : str or os.PathLike
        File of ``format="onnx"`` or ``format="litert"``.
    n_threads : int, default=None
        Number of threads that predict. If None, use one for each processor that is
        available to this process.

    Returns
    -------
    ExportedPredictor or ExportedDetector
        For a classifier, a predictor with ``predict``, ``predict_proba`` and
        ``classes_``. For a detector, one with ``predict``, ``predict_proba``,
        ``decision_function`` and ``threshold_``.

    Raises
    ------
    TypeError
        If `path` is not the name of a file. The runtimes read only named files.
    FileNotFoundError
        If the file does not exist.
    ImportError
        If the runtime of the format is not installed.
    ValueError
        If `n_threads` is not a positive integer, if `sklstm.export` did not write the
        file, or if `path` is a SavedModel, which only TensorFlow runs.

    See Also
    --------
    export : Write such a file.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> from sklearn.datasets import load_digits
    >>> import sklstm
    >>> X, y = load_digits(n_class=3, return_X_y=True)
    >>> classifier = sklstm.LSTMImageClassifier(units=4, epochs=1).fit(X, y)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = Path(folder, "digits.onnx")
    ...     report = sklstm.export(classifier, path)
    ...     predictor = sklstm.load_exported(path)
    >>> predictor.classes_
    array([0, 1, 2])
    >>> predictor.predict_proba(X[:5]).shape
    (5, 3)
    """
    path = as_path(path, "load_exported reads")
    if not path.exists():
        raise FileNotFoundError(f"There is no file {str(path)!r} to load.")
    if path.is_dir():
        raise ValueError(
            f"{str(path)!r} is a folder: what was exported as a SavedModel runs in "
            "TensorFlow, model = tf.saved_model.load(path), model.serve(X); "
            "load_exported reads files of format='onnx' and 'litert'."
        )
    if n_threads is None:
        n_threads = available_processors()
    elif isinstance(n_threads, bool) or not isinstance(n_threads, int) or n_threads < 1:
        raise ValueError(
            f"n_threads={n_threads!r} must be None or a whole number of at least 1."
        )
    with path.open("rb") as file:
        head = file.read(8)
    runs = _LiteRTFile if head[4:] == b"TFL3" else _ONNXFile
    file_ = runs(path, n_threads)
    if file_.metadata is None:
        raise ValueError(
            f"{str(path)!r} was not written by sklstm.export: it does not say what it "
            "predicts."
        )
    try:
        known = json.loads(file_.metadata)
        if known.get("kind") == DETECTOR:
            return ExportedDetector(file_, known)
        return ExportedPredictor(file_, known)
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise ValueError(
            f"{str(path)!r} does not say what sklstm.export would have written in "
            f"it ({type(error).__name__}: {error})."
        ) from None


def as_path(path: Any, who: str) -> Path:
    """Return a path, or raise for what is not one; `who` names the function."""
    if not isinstance(path, str | os.PathLike) or not os.fspath(path):
        raise TypeError(
            f"path={path!r} must be the name of a file, str or path-like: {who} named "
            "files only, because the runtimes do; the bytes of one can be read and "
            "written besides."
        )
    return Path(path)


def available_processors() -> int:
    """Return the number of processors that are available to this process."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


class _Exported(ABC):
    """What predictors of all kinds of files have in common."""

    def __init__(self, file: _RuntimeFile, known: dict[str, Any]) -> None:
        self.format = file.format
        self._file = file
        self._input_shape = tuple(known["input_shape"])
        self._image_shape = tuple(known["image_shape"])

    def outputs(self, X: Any) -> dict[str, np.ndarray]:
        """Return all outputs of the file by their names.

        Parameters
        ----------
        X : array-like of shape (n_samples, ...)
            Samples, as in `predict_proba`.

        Returns
        -------
        dict of str to ndarray
            Arrays whose first axis is that of the samples. A file of a classifier has
            the output "probabilities", and that of a detector "probabilities", "masks"
            and "scores".

        Raises
        ------
        ValueError
            If `X` has another shape or dtype, or contains NaN or infinity.
        """
        x = self._check(X)
        size = _MOST_VALUES // math.prod(x.shape[1:])
        size = max(1, min(_MOST_SAMPLES, size))
        parts = [x[i : i + size] for i in range(0, len(x), size)]
        if len(parts) == 1 or self._file.n_threads == 1:
            found = [self._file.run(part) for part in parts]
        else:
            with ThreadPoolExecutor(self._file.n_threads) as pool:
                found = list(pool.map(self._file.run, parts))
        return {name: np.concatenate([one[name] for one in found]) for name in found[0]}

    @abstractmethod
    def _check(self, X: Any) -> np.ndarray:
        """Return the samples as float32, in the shape that the file takes."""


class ExportedPredictor(_Exported):
    """Classifier that predicts with an exported file.

    Use `load_exported` to create it.

    Attributes
    ----------
    classes_ : ndarray of shape (n_classes,)
        Sorted class labels, with the dtype that they had in `fit`.
    format : {"onnx", "litert"}
        Format of the file.

    See Also
    --------
    load_exported : Load an exported file. Its example shows the methods.
    """

    def __init__(self, file: _RuntimeFile, known: dict[str, Any]) -> None:
        super().__init__(file, known)
        self.classes_ = np.array(known["classes"], dtype=known["dtype"])

    def predict_proba(self, X: Any) -> np.ndarray:
        """Predict the probability of each class.

        Parameters
        ----------
        X : array-like of shape (n_samples, ...)
            Images or sequences, as the exported estimator takes them, or flat samples
            of shape (n_samples, n_features). The values are real numbers or bool.

        Returns
        -------
        ndarray of shape (n_samples, n_classes), float32
            Probabilities, in the order of `classes_`. Each row sums to one.

        Raises
        ------
        ValueError
            If `X` has another shape or dtype, or contains NaN or infinity.
        """
        return self.outputs(X)["probabilities"]

    def predict(self, X: Any) -> np.ndarray:
        """Predict the most probable class.

        Parameters
        ----------
        X : array-like of shape (n_samples, ...)
            Samples, as in `predict_proba`.

        Returns
        -------
        ndarray of shape (n_samples,)
            Class labels.

        Raises
        ------
        ValueError
            If `X` has another shape or dtype, or contains NaN or infinity.
        """
        return self.classes_[self.predict_proba(X).argmax(axis=1)]

    def _check(self, X: Any) -> np.ndarray:
        """Return the samples as float32, in the shape that the file takes."""
        x = np.asarray(X)
        _check_dtype(x)
        shape = self._input_shape
        n_features = math.prod(self._image_shape)
        if x.shape == self._image_shape and x.shape[1:] != (n_features,):
            raise ValueError(
                f"X is one sample of {x.shape}: put it into a batch, X[None]."
            )
        if x.ndim != len(shape) + 1 or not _agree(x.shape[1:], shape):
            if x.shape[1:] not in ((n_features,), self._image_shape):
                raise ValueError(
                    f"X must hold samples of {_describe(shape)}, or flat ones of "
                    f"{n_features} features; got an array of shape {x.shape}."
                )
            fixed = self._image_shape if None in shape else shape
            x = x.reshape(len(x), *fixed)
        return _as_float32(x)

    def __repr__(self) -> str:
        labels = self.classes_.tolist()
        shown = ", ".join(map(repr, labels[:5])) + (", ..." if len(labels) > 5 else "")
        return (
            f"<ExportedPredictor: {self.format}, samples of "
            f"{_describe(self._input_shape)}, {len(labels)} classes {shown}>"
        )


class ExportedDetector(_Exported):
    """Detector of defects that predicts with an exported file.

    Use `load_exported` to create it. The file takes images of one size, and its masks
    and maps have this size.

    Attributes
    ----------
    threshold_ : float
        Probability from which a pixel, or a window if there is no decoder, is called
        defective. It is fixed in the file.
    image_shape_ : tuple of int
        Shape (height, width, channels) of an image.
    format : {"onnx", "litert"}
        Format of the file.

    See Also
    --------
    load_exported : Load an exported file.
    LSTMDefectDetector : The detector, whose methods have the same names.
    """

    def __init__(self, file: _RuntimeFile, known: dict[str, Any]) -> None:
        super().__init__(file, known)
        self._threshold = float(known["threshold"])

    @property
    def threshold_(self) -> float:
        """Probability from which a pixel or window is called defective."""
        return self._threshold

    @property
    def image_shape_(self) -> tuple[int, ...]:
        """Shape (height, width, channels) of an image."""
        return self._image_shape

    def predict_proba(self, X: Any) -> np.ndarray:
        """Return the probability of a defect for each pixel.

        Parameters
        ----------
        X : array-like of shape (n, height, width[, channels])
            Images of the size that the file takes. The values are real numbers or bool.

        Returns
        -------
        ndarray of shape (n, height, width), float32
            Probabilities.

        Raises
        ------
        ValueError
            If `X` has another shape or dtype, or contains NaN or infinity.
        """
        return self.outputs(X)["probabilities"]

    def predict(self, X: Any) -> np.ndarray:
        """Return masks of the defects.

        Parameters
        ----------
        X : array-like of shape (n, height, width[, channels])
            Images, as in `predict_proba`.

        Returns
        -------
        ndarray of shape (n, height, width), bool
            The masks at `threshold_`.

        Raises
        ------
        ValueError
            If `X` has another shape or dtype, or contains NaN or infinity.
        """
        return self.outputs(X)["masks"]

    def decision_function(self, X: Any) -> np.ndarray:
        """Return a score for each image. The higher it is, the likelier a defect.

        Parameters
        ----------
        X : array-like of shape (n, height, width[, channels])
            Images, as in `predict_proba`.

        Returns
        -------
        ndarray of shape (n,), float32
            Mean of the log-odds of the two windows that are most likely defective.

        Raises
        ------
        ValueError
            If `X` has another shape or dtype, or contains NaN or infinity.
        """
        return self.outputs(X)["scores"]

    def _check(self, X: Any) -> np.ndarray:
        height, width, channels = self._image_shape
        if isinstance(X, np.ndarray) and X.dtype != object:
            if X.shape in (self._image_shape, self._image_shape[:2]):
                raise ValueError(
                    f"X is one image of {X.shape}: put it into a batch, X[None]."
                )
            if X.ndim not in (3, 4):
                raise ValueError(
                    "X must hold images, (n, height, width[, channels]); got an array "
                    f"of shape {X.shape}."
                )
        try:
            images = list(map(np.asarray, X))
        except (TypeError, ValueError):
            raise ValueError(
                "X must hold images, (n, height, width[, channels]), or a list of "
                f"them; got a {type(X).__name__}."
            ) from None
        if not images:
            raise ValueError("X holds no images: give at least one.")
        for i, image in enumerate(images):
            _check_dtype(image, f"X[{i}]")
            if image.ndim not in (2, 3):
                raise ValueError(
                    f"X[{i}] must be an image, (height, width[, channels]); it has the "
                    f"shape {image.shape}."
                )
            if image.shape[:2] != (height, width):
                shrinks = image.shape[0] >= height and image.shape[1] >= width
                how = "AREA" if shrinks else "LINEAR"
                raise ValueError(
                    f"X[{i}] is {image.shape[0]} x {image.shape[1]} pixels, but the "
                    f"file takes {height} x {width} and cannot resize: resize the "
                    f"images first, cv2.resize(image, ({width}, {height}), "
                    f"interpolation=cv2.INTER_{how})."
                )
            if math.prod(image.shape[2:]) != channels:
                raise ValueError(
                    f"X[{i}] has {math.prod(image.shape[2:])} channels, but the file "
                    f"takes images of {channels}."
                )
        x = (
            X
            if isinstance(X, np.ndarray) and X.dtype != object
            else np.stack([image.reshape(self._image_shape) for image in images])
        )
        return _as_float32(x.reshape(-1, *self._image_shape))

    def __repr__(self) -> str:
        return (
            f"<ExportedDetector: {self.format}, images of "
            f"{_describe(self._image_shape)}, threshold {self._threshold:.3g}>"
        )


class _RuntimeFile(ABC):
    """A file in its runtime.

    Attributes
    ----------
    format : str
        Format of the file.
    metadata : str or None
        JSON that `sklstm.export` stored in the file.
    n_threads : int
        Number of threads that may call `run` at the same time.
    """

    format: str
    metadata: str | None
    n_threads: int

    @abstractmethod
    def run(self, x: np.ndarray) -> dict[str, np.ndarray]:
        """Return the outputs for checked samples by their names."""


class _ONNXFile(_RuntimeFile):
    format = "onnx"

    def __init__(self, path: Path, n_threads: int) -> None:
        runtime = _runtime("onnxruntime", "onnxruntime", path)
        options = runtime.SessionOptions()
        # Threads that share one step of an LSTM wait for each other longer than they
        # compute. Here each thread predicts for samples of its own instead.
        options.intra_op_num_threads = 1
        options.inter_op_num_threads = 1
        options.log_severity_level = 3
        # With this option, weights stored as bytes are converted to floats once and not
        # at every call.
        options.add_session_config_entry("session.disable_quant_qdq", "1")
        try:
            self._session = runtime.InferenceSession(
                str(path), options, providers=["CPUExecutionProvider"]
            )
        except Exception as error:
            hint = ""
            if zipfile.is_zipfile(path):
                hint = " sklstm.load reads files of sklstm.save."
            raise ValueError(
                f"{str(path)!r} is no ONNX file, or not a whole one: {error}{hint}"
            ) from None
        metadata = self._session.get_modelmeta().custom_metadata_map
        self.metadata = metadata.get(METADATA)
        self.n_threads = n_threads
        self._input = self._session.get_inputs()[0].name
        self._outputs = [output.name for output in self._session.get_outputs()]

    def run(self, x: np.ndarray) -> dict[str, np.ndarray]:
        found = self._session.run(self._outputs, {self._input: x})
        return dict(zip(self._outputs, found, strict=True))


class _LiteRTFile(_RuntimeFile):
    format = "litert"

    def __init__(self, path: Path, n_threads: int) -> None:
        runtime = _runtime("ai_edge_litert.interpreter", "ai-edge-litert", path)
        self.metadata = _litert_metadata(path)
        # An interpreter cannot serve two threads, so it uses the threads itself.
        self.n_threads = 1
        self._interpreter = runtime.Interpreter(str(path), num_threads=n_threads)
        self._interpreter.allocate_tensors()
        self._lock = threading.Lock()
        self._input = self._interpreter.get_input_details()[0]["index"]
        details = self._interpreter.get_signature_runner().get_output_details()
        self._outputs = {name: details[name]["index"] for name in details}

    def run(self, x: np.ndarray) -> dict[str, np.ndarray]:
        found: dict[str, list] = {name: [] for name in self._outputs}
        for sample in x:
            # The LSTM operator keeps its state between calls. Without a reset it would
            # continue from the last step of the sample before.
            with self._lock:
                self._interpreter.reset_all_variables()
                self._interpreter.set_tensor(self._input, sample[None])
                self._interpreter.invoke()
                for name, index in self._outputs.items():
                    found[name].append(self._interpreter.get_tensor(index)[0])
        return {name: np.stack(arrays) for name, arrays in found.items()}


def _litert_metadata(path: Path) -> str | None:
    # TensorFlow Lite appends metadata to the model as a zip archive.
    if not zipfile.is_zipfile(path):
        return None
    with zipfile.ZipFile(path) as archive:
        if METADATA_FILE not in archive.namelist():
            return None
        return archive.read(METADATA_FILE).decode()


def _runtime(module: str, package: str, path: Path) -> Any:
    try:
        return import_module(module)
    except ImportError as error:
        raise ImportError(
            f"{str(path)!r} needs {package} to run, which cannot be imported "
            f"({error}): pip install {package}."
        ) from None


def _check_dtype(x: np.ndarray, name: str = "X") -> None:
    if x.dtype.kind not in "buif":
        raise ValueError(
            f"{name} has dtype {x.dtype}, but pixels must be numbers or bool; convert "
            f"it with {name}.astype(...)."
        )


def _as_float32(x: np.ndarray) -> np.ndarray:
    """Return samples as float32, or raise if there are none or they are not finite."""
    if len(x) == 0 or x.size == 0:
        raise ValueError(
            f"X of shape {x.shape} holds no values: give at least one sample."
        )
    with np.errstate(over="ignore"):
        x = np.ascontiguousarray(x, np.float32)
    if not np.isfinite(x).all():
        raise ValueError(
            "X contains NaN, infinity or values beyond what float32 can hold: "
            "replace them or leave these samples out."
        )
    return x


def _agree(found: tuple, wanted: tuple) -> bool:
    return all(b is None or a == b for a, b in zip(found, wanted, strict=True))


def _describe(shape: tuple) -> str:
    return "(" + ", ".join("any" if n is None else str(n) for n in shape) + ")"
