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

__all__ = ["ExportedPredictor", "load_exported"]

# The names under which `sklstm.export` stores metadata in its files.
METADATA = "sklstm"
METADATA_FILE = "sklstm.json"
# A thread predicts for so many samples or values at a time. With more of them, the
# gates of the LSTM do not fit into the processor's cache.
_MOST_SAMPLES = 8
_MOST_VALUES = 2**18


def load_exported(path: Any, n_threads: int | None = None) -> ExportedPredictor:
    """Load a classifier that `sklstm.export` has written.

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
    ExportedPredictor
        The predictor, with ``predict``, ``predict_proba`` and ``classes_``.

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
            "TensorFlow, tf.saved_model.load(path).serve(X); load_exported reads files "
            "of format='onnx' and 'litert'."
        )
    if n_threads is None:
        n_threads = available_processors()
    elif isinstance(n_threads, bool) or not isinstance(n_threads, int) or n_threads < 1:
        raise ValueError(
            f"n_threads={n_threads!r} must be None or a whole number of at least 1."
        )
    with path.open("rb") as file:
        head = file.read(8)
    if head[4:] == b"TFL3":
        return _LiteRTPredictor(path, n_threads)
    return _ONNXPredictor(path, n_threads)


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


class ExportedPredictor(ABC):
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

    format: str

    def __init__(self, path: Path, metadata: str | None, n_threads: int) -> None:
        if metadata is None:
            raise ValueError(
                f"{str(path)!r} was not written by sklstm.export: it does not say what "
                "its classes are."
            )
        try:
            known = json.loads(metadata)
            self.classes_ = np.array(known["classes"], dtype=known["dtype"])
            self._input_shape = tuple(known["input_shape"])
            self._image_shape = tuple(known["image_shape"])
        except (KeyError, TypeError, ValueError) as error:
            raise ValueError(
                f"{str(path)!r} does not say what sklstm.export would have written in "
                f"it ({type(error).__name__}: {error})."
            ) from None
        self._n_threads = n_threads

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
        x = self._check(X)
        size = _MOST_VALUES // math.prod(x.shape[1:])
        size = max(1, min(_MOST_SAMPLES, size))
        parts = [x[i : i + size] for i in range(0, len(x), size)]
        if len(parts) == 1 or self._n_threads == 1:
            return np.concatenate([self._run(part) for part in parts])
        with ThreadPoolExecutor(self._n_threads) as pool:
            return np.concatenate(list(pool.map(self._run, parts)))

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

    @abstractmethod
    def _run(self, x: np.ndarray) -> np.ndarray:
        """Return the probabilities of checked samples. Threads call this method."""

    def _check(self, X: Any) -> np.ndarray:
        """Return the samples as float32, in the shape that the file takes."""
        x = np.asarray(X)
        if x.dtype.kind not in "buif":
            raise ValueError(
                f"X has dtype {x.dtype}, but pixels must be numbers or bool; convert "
                "it with X.astype(...)."
            )
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

    def __repr__(self) -> str:
        labels = self.classes_.tolist()
        shown = ", ".join(map(repr, labels[:5])) + (", ..." if len(labels) > 5 else "")
        return (
            f"<ExportedPredictor: {self.format}, samples of "
            f"{_describe(self._input_shape)}, {len(labels)} classes {shown}>"
        )


class _ONNXPredictor(ExportedPredictor):
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
        super().__init__(path, metadata.get(METADATA), n_threads)
        self._input = self._session.get_inputs()[0].name

    def _run(self, x: np.ndarray) -> np.ndarray:
        return self._session.run(None, {self._input: x})[0]


class _LiteRTPredictor(ExportedPredictor):
    format = "litert"

    def __init__(self, path: Path, n_threads: int) -> None:
        runtime = _runtime("ai_edge_litert.interpreter", "ai-edge-litert", path)
        # An interpreter cannot serve two threads, so it uses the threads itself.
        super().__init__(path, _litert_metadata(path), 1)
        self._interpreter = runtime.Interpreter(str(path), num_threads=n_threads)
        self._interpreter.allocate_tensors()
        self._lock = threading.Lock()
        self._input = self._interpreter.get_input_details()[0]["index"]
        self._output = self._interpreter.get_output_details()[0]["index"]

    def _run(self, x: np.ndarray) -> np.ndarray:
        outputs = []
        for sample in x:
            # The LSTM operator keeps its state between calls. Without a reset it would
            # continue from the last step of the sample before.
            with self._lock:
                self._interpreter.reset_all_variables()
                self._interpreter.set_tensor(self._input, sample[None])
                self._interpreter.invoke()
                outputs.append(self._interpreter.get_tensor(self._output)[0])
        return np.stack(outputs)


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


def _agree(found: tuple, wanted: tuple) -> bool:
    return all(b is None or a == b for a, b in zip(found, wanted, strict=True))


def _describe(shape: tuple) -> str:
    return "(" + ", ".join("any" if n is None else str(n) for n in shape) + ")"
