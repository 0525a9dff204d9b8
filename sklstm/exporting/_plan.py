"""What an exported file contains, as plain data.

`make_plan` reads it from a fitted estimator. The process that converts builds the graph
from it.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import MaxAbsScaler, MinMaxScaler, StandardScaler
from sklearn.utils.validation import check_is_fitted

from sklstm.estimators import LSTMDefectDetector, LSTMImageClassifier
from sklstm.preprocessing._base import BaseSequencer

if TYPE_CHECKING:
    from sklstm.training._spec import NetworkSpec


@dataclass
class Scale:
    """A scaler of the Pipeline: ``(x - shift) * factor``, clipped to `limits`."""

    shift: np.ndarray
    factor: np.ndarray
    limits: tuple[float, float] | None = None


@dataclass
class Gather:
    """A scan: an index map into the pixels of images.

    The images have the given shape, with the channels last.
    """

    index_map: np.ndarray
    shape: tuple[int, ...]


@dataclass
class WindowGrid:
    """What follows the network of a detector, from its windows to pixels.

    Parameters
    ----------
    grid : tuple of int
        Number of windows (down, across).
    sides : tuple of int or None
        Size (height, width) of a window, if the network has a decoder.
    rows : ndarray of shape (height, down), float32
        1 where a row of pixels belongs to a row of windows.
    columns : ndarray of shape (width, across), float32
        1 where a column of pixels belongs to a column of windows.
    threshold : float
        Probability from which a pixel or window is called defective.
    """

    grid: tuple[int, int]
    sides: tuple[int, int] | None
    rows: np.ndarray
    columns: np.ndarray
    threshold: float


@dataclass
class ExportPlan:
    """Everything that the graph contains, from raw pixels to probabilities.

    Parameters
    ----------
    input_shape : tuple
        Shape of one sample as the graph takes it. None stands for any number of steps.
    image_shape : tuple of int
        Shape of one sample as `fit` got it.
    steps : list of Scale or Gather
        Steps before the network.
    network_shape : tuple of int
        Shape of one sample as the network takes it.
    spec : NetworkSpec
        Specification of the network.
    members : list of list of ndarray
        Weights of each network of an ensemble, in the order of Keras. One list for a
        single network.
    classes : ndarray
        Class labels.
    center, spread : float
        Mean and standard deviation of the training data.
    exact : bool
        Whether the network computes in float32, as the exported graph does.
    temperature : float or None
        Temperature of the mean probabilities.
    values : tuple or None
        dtype, black and white of the images that a backbone reads; see
        `LSTMImageClassifier`. None if there is no backbone.
    windows : WindowGrid or None
        The windows of a detector. None for a classifier.
    """

    input_shape: tuple[int | None, ...]
    image_shape: tuple[int, ...]
    steps: list[Scale | Gather]
    network_shape: tuple[int, ...]
    spec: NetworkSpec
    members: list[list[np.ndarray]]
    classes: np.ndarray
    center: float = 0.0
    spread: float = 1.0
    exact: bool = True
    temperature: float | None = None
    values: tuple[str | None, float, float] | None = None
    windows: WindowGrid | None = None

    @property
    def fixed_input_shape(self) -> tuple[int, ...]:
        """`input_shape`, with the number of steps that the samples had in `fit`."""
        if None in self.input_shape:
            return self.image_shape
        return self.input_shape  # type: ignore[return-value]

    def samples(self, n: int) -> np.ndarray:
        """Draw normal samples with the mean and spread of the training data.

        For a backbone, draw values between black and white evenly.
        """
        rng = np.random.default_rng(0)
        shape = (n, *self.image_shape)
        if self.values is not None:
            dtype, low, high = self.values
            x = rng.uniform(low, high, shape)
            if dtype is not None:
                return x.astype(dtype)
        else:
            x = rng.normal(self.center, self.spread, shape)
        for step in reversed(self.steps):
            if isinstance(step, Scale):
                x = x / step.factor + step.shift
        return x.astype("float32")


@dataclass
class Conversion:
    """A plan, and the file to convert it to.

    Parameters
    ----------
    plan : ExportPlan
        Content of the graph.
    format : {"onnx", "litert", "saved_model"}
        Format of the file.
    quantize : {"int8"} or None
        Type of the weights in the file; None for float32.
    calibration : ndarray or None
        Samples from which the converter finds the ranges of values.
    metadata : str
        JSON that is stored in the file.
    samples : ndarray
        Samples on which the result is tried.
    """

    plan: ExportPlan
    format: str
    quantize: str | None
    calibration: np.ndarray | None
    metadata: str
    samples: np.ndarray


def make_plan(estimator: Any) -> ExportPlan:
    """Make the plan of an export from a fitted estimator or Pipeline.

    Parameters
    ----------
    estimator : LSTMImageClassifier, LSTMDefectDetector, Pipeline or search
        The fitted estimator. For a search, the plan is that of its best estimator.

    Returns
    -------
    ExportPlan
        The content of the graph.

    Raises
    ------
    TypeError
        If the estimator ends neither in an `LSTMImageClassifier` nor in an
        `LSTMDefectDetector`.
    ValueError
        If one of its steps cannot be part of the graph.
    """
    estimator = getattr(estimator, "best_estimator_", estimator)
    named = [("", estimator)]
    if isinstance(estimator, Pipeline):
        named = [
            (name, step)
            for name, step in estimator.steps
            if step is not None and not isinstance(step, str)  # "passthrough"
        ]
    *before, (_, classifier) = named
    if isinstance(classifier, LSTMDefectDetector):
        check_is_fitted(classifier)
        if before:
            raise ValueError(
                f"The step {before[-1][0]!r} before the detector cannot be exported: "
                "export pipeline[-1], and run the other steps on the images that you "
                "give to the exported file."
            )
        return _plan_of_detector(classifier)
    if not isinstance(classifier, LSTMImageClassifier):
        raise TypeError(
            "estimator must be a fitted LSTMImageClassifier or LSTMDefectDetector, or "
            "a Pipeline or search that ends in one; got a "
            f"{type(classifier).__name__}."
        )
    check_is_fitted(classifier)
    _refuse_others(estimator, before)
    steps = [_make_step(step) for _, step in before]
    first = named[0][1]
    if isinstance(first, BaseSequencer | LSTMImageClassifier):
        image_shape = first.image_shape_
        flat = first._fitted_flat
    else:  # a scaler takes only tables
        image_shape = (first.n_features_in_,)
        flat = True
    input_shape = (math.prod(image_shape),) if flat else image_shape
    networks = classifier._networks()
    spec = networks[0].spec
    network_shape = spec.input_shape
    if network_shape[0] is None:  # the network takes any number of steps
        network_shape = (classifier.image_shape_[0], *network_shape[1:])
        if first is classifier and not flat:
            input_shape = (None, *image_shape[1:])
    members, center, spread = _weights(networks)
    return ExportPlan(
        input_shape=tuple(input_shape),
        image_shape=tuple(image_shape),
        steps=steps,
        network_shape=tuple(network_shape),
        spec=make_bare(spec),
        members=members,
        classes=classifier.classes_,
        center=center,
        spread=spread,
        exact=spec.dtype_policy in (None, "float32"),
        temperature=getattr(classifier, "temperature_", None),
        values=getattr(classifier, "_backbone_values", None),
    )


def _plan_of_detector(detector: LSTMDefectDetector) -> ExportPlan:
    networks = detector._networks()
    spec = networks[0].spec
    members, center, spread = _weights(networks)
    shape = tuple(detector.image_shape_)
    rows, columns = _rows_and_columns(
        detector.sequencer_.index_map_, detector.grid_, shape
    )
    return ExportPlan(
        input_shape=shape,
        image_shape=shape,
        steps=[],
        network_shape=shape,
        spec=make_bare(spec),
        members=members,
        classes=np.array([False, True]),
        center=center,
        spread=spread,
        exact=spec.dtype_policy in (None, "float32"),
        windows=WindowGrid(
            grid=detector.grid_,
            sides=detector._sides() if detector._has_decoder() else None,
            rows=rows,
            columns=columns,
            threshold=float(detector.threshold_),
        ),
    )


def _rows_and_columns(
    index_map: np.ndarray, grid: tuple[int, int], shape: tuple[int, ...]
) -> tuple[np.ndarray, np.ndarray]:
    """Return the `rows` and `columns` of a `WindowGrid`.

    Raises
    ------
    ValueError
        If a window is no rectangle of pixels.
    """
    height, width = shape[:2]
    windows = index_map.reshape(*grid, -1)
    rows = np.zeros((height, grid[0]), np.float32)
    columns = np.zeros((width, grid[1]), np.float32)
    for i, window in enumerate(windows[:, 0]):
        rows[window[window >= 0] // width, i] = 1
    for i, window in enumerate(windows[0]):
        columns[window[window >= 0] % width, i] = 1
    for i, j in np.ndindex(*grid):
        across = np.flatnonzero(columns[:, j])
        meant = (np.flatnonzero(rows[:, i])[:, None] * width + across).ravel()
        window = windows[i, j]
        if not np.array_equal(np.sort(window[window >= 0]), meant):
            raise ValueError(
                "sequencer reads windows that are no rectangles of pixels, which "
                "cannot be exported: train with PatchSequencer."
            )
    return rows, columns


def _weights(networks: list) -> tuple[list[list[np.ndarray]], float, float]:
    """Return the weights of each network, and the mean and spread of its data."""
    members = []
    for network in networks:
        with network.in_use() as compiled:
            members.append(compiled.model.get_weights())
            center, spread = _training_data(compiled.model)
    return members, center, spread


def _refuse_others(estimator: Any, before: list[tuple[str, Any]]) -> None:
    """Raise if the graph cannot contain one of the steps."""
    bad = [
        i
        for i, (_, step) in enumerate(before)
        if not isinstance(step, BaseSequencer) and type(step) not in _SCALERS
    ]
    if not bad:
        return
    name, step = before[bad[-1]]
    place = [name for name, _ in estimator.steps].index(name) + 1
    raise ValueError(
        f"The step {name!r} ({type(step).__name__}) cannot be exported: a graph holds "
        "sequencers, StandardScaler, MinMaxScaler, MaxAbsScaler and the classifier. "
        f"Export pipeline[{place}:], and run what comes before it on the images that "
        "you give to the exported file."
    )


def _make_step(step: Any) -> Scale | Gather:
    if isinstance(step, BaseSequencer):
        check_is_fitted(step)
        n_axes = step._n_axes
        channels = step.image_shape_[n_axes:] or (1,)
        return Gather(step.index_map_, (*step.image_shape_[:n_axes], *channels))
    return _SCALERS[type(step)](step)


def _standard(step: StandardScaler) -> Scale:
    zeros = np.zeros(step.n_features_in_)
    shift = step.mean_ if step.with_mean else zeros
    return Scale(shift, 1 / step.scale_ if step.with_std else zeros + 1)


def _min_max(step: MinMaxScaler) -> Scale:
    low, high = map(float, step.feature_range)
    limits = (low, high) if step.clip else None
    return Scale(-step.min_ / step.scale_, step.scale_, limits)


def _max_abs(step: MaxAbsScaler) -> Scale:
    limits = (-1.0, 1.0) if getattr(step, "clip", False) else None
    return Scale(np.zeros(step.n_features_in_), 1 / step.scale_, limits)


# Only these types are exported, because a subclass may compute something else.
_SCALERS: dict[type, Callable[[Any], Scale]] = {
    StandardScaler: _standard,
    MinMaxScaler: _min_max,
    MaxAbsScaler: _max_abs,
}


def _training_data(model: Any) -> tuple[float, float]:
    """Return the mean and the standard deviation of the network's training data."""
    # This keeps Keras out of the transformers, which `register_skl2onnx` exports.
    from sklstm.networks import Standardize

    for layer in model.layers:
        if isinstance(layer, Standardize):
            return float(layer.mean), float(layer.scale)
    return 0.0, 1.0


def make_bare(spec: NetworkSpec) -> NetworkSpec:
    """Return the specification without everything that only training needs."""
    reading = {k: v for k, v in spec.reading_params.items() if k != "augmentation"}
    return replace(
        spec,
        reading_params=reading,
        input_dtype="float32",
        optimizer="sgd",
        optimizer_params={},
        compile_params={"loss": "sparse_categorical_crossentropy", "metrics": None},
        one_hot=False,
        joint_augmentation=None,
        dtype_policy="float32",
    )
