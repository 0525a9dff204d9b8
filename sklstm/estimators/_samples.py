"""Samples as the network reads them: sequences, images or volumes."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from sklearn.base import clone

from sklstm.images import validate_images
from sklstm.images._validate import batches
from sklstm.preprocessing._base import BaseSequencer
from sklstm.training._data import take_rows


@dataclass
class MaskedImages:
    """Checked images to train a detector on.

    Parameters
    ----------
    x : ndarray of shape (n, height, width, channels)
        Images of the size that the network reads.
    y : ndarray of shape (n, ...), uint8
        Masks, or labels of windows.
    by_window : bool
        Whether `y` has labels of windows.
    groups : ndarray of shape (n,) or None
        Groups of the images.
    """

    x: Any
    y: np.ndarray
    by_window: bool
    groups: np.ndarray | None

    def __len__(self) -> int:
        return len(self.y)

    @property
    def codes(self) -> np.ndarray:
        """1 for images with defects, and 0 for the others."""
        return np.any(self.y.reshape(len(self.y), -1), axis=1).astype(np.int32)

    def take(self, rows: np.ndarray) -> "MaskedImages":
        """Return some of the images, which may repeat."""
        groups = None if self.groups is None else self.groups[rows]
        return MaskedImages(
            take_rows(self.x, rows), self.y[rows], self.by_window, groups
        )


@dataclass
class LabelledSamples:
    """Checked samples to train a classifier on.

    Parameters
    ----------
    x : ndarray of shape (n, ...)
        Samples in the form that the network reads.
    codes : ndarray of int, shape (n,)
        Class numbers.
    weights : ndarray of shape (n,), float64
        Weights of the samples, without those of the classes.
    groups : ndarray of shape (n,) or None
        Groups of the samples.
    """

    x: Any
    codes: np.ndarray
    weights: np.ndarray
    groups: np.ndarray | None

    def __len__(self) -> int:
        return len(self.codes)

    def take(self, rows: np.ndarray) -> "LabelledSamples":
        """Return some of the samples, which may repeat."""
        groups = None if self.groups is None else self.groups[rows]
        parts = self.codes[rows], self.weights[rows], groups
        return LabelledSamples(take_rows(self.x, rows), *parts)


def check_samples(estimator: Any, X: Any, *, reset: bool) -> np.ndarray:
    """Return training samples in the form that the network reads, uint8 or float32.

    They are sequences (n, n_steps, n_features), or images or volumes with channels
    last if the network or a sequencer inside it reads these.

    Raises
    ------
    TypeError, ValueError
        If X is not such a batch, or if its depth differs from that of the first fit.
    """
    kind = _kind_of_sample(estimator)
    shape = None
    if estimator.sequencer is not None:
        shape = getattr(estimator.sequencer, estimator.sequencer._shape_parameter)
    return _as_samples(estimator, X, kind, shape, reset=reset)


def check_new_samples(estimator: Any, X: Any) -> np.ndarray:
    """Return samples for prediction in the form that the fitted network reads.

    The state after `fit` decides how X is read, because parameters may have changed
    since.
    """
    # Here and not above: this loads Keras.
    from sklstm.networks import get_network

    if hasattr(estimator, "sequencer_"):
        kind = _read_by(estimator.sequencer_)
    else:
        kind = get_network(estimator._networks()[0].spec.network).takes
    return _as_samples(estimator, X, kind, None, reset=False)


def _as_samples(
    estimator: Any, X: Any, kind: str, shape: Any, *, reset: bool
) -> np.ndarray:
    volumes = kind == "volumes"
    images = validate_images(
        estimator, X, reset=reset, image_shape=shape, volumes=volumes
    )
    _check_depth(estimator, images, reset=reset)
    if kind == "sequences":  # a step holds all channels of a row
        images = images.reshape(*images.shape[:2], -1)
    elif images.ndim == (4 if volumes else 3):
        images = images[..., None]
    if not reset:
        _check_backbone_values(estimator, images)
    if images.dtype == np.uint8:
        return images
    with np.errstate(over="ignore"):
        x = images.astype(np.float32, copy=False)
    if x.dtype != images.dtype and not np.isfinite(x).all():
        raise ValueError(
            "X has values beyond what float32 can hold (3.4e38): scale it first."
        )
    return x


def _check_depth(estimator: Any, images: np.ndarray, *, reset: bool) -> None:
    """Refuse integers whose values show that their scale is not that of `fit`.

    255 is white in uint8 and almost black in uint16. Values that both integer types
    can hold do not show the scale, and are accepted. Floats are accepted as well.
    """
    if images.dtype.kind not in "bui":
        if reset:
            estimator._fitted_depth = None
        return
    name = images.dtype.name
    fitted: Any = getattr(estimator, "_fitted_depth", None)
    if not reset and (fitted is None or fitted[0] == name):
        return
    parts = [images[part] for part in batches(len(images), images[0].nbytes)]
    low = min(int(part.min()) for part in parts)
    high = max(int(part.max()) for part in parts)
    if reset:
        estimator._fitted_depth = (name, low, high)
        return
    fitted_name, fitted_low, fitted_high = fitted
    if not _can_hold(fitted_name, low, high):
        remedy = f"scale X to the values of {fitted_name}"
    elif not _can_hold(name, fitted_low, fitted_high):
        remedy = (
            f"scale X to these values, or convert it to {fitted_name} if it has them"
        )
    else:
        return
    raise ValueError(
        f"X is {name} with values from {low} to {high}, but {type(estimator).__name__} "
        f"was fitted on {fitted_name} with values from {fitted_low} to {fitted_high}; "
        f"{remedy}."
    )


def _can_hold(dtype: str, low: int, high: int) -> bool:
    limits = (0, 1) if dtype == "bool" else (np.iinfo(dtype).min, np.iinfo(dtype).max)
    return bool(limits[0] <= low and high <= limits[1])


def _kind_of_sample(estimator: Any) -> str:
    """Return the kind of samples in X: "sequences", "images" or "volumes"."""
    # Here and not above: this loads Keras.
    from sklstm.networks import check_augmentation, get_network

    network = get_network(estimator.network)
    takes = network.takes
    name = getattr(estimator.network, "__name__", estimator.network)
    if network.gives != "classes":
        raise ValueError(
            f"network={name!r} gives a label for every window and no class: use "
            "LSTMDefectDetector."
        )
    check_augmentation(estimator.augmentation)
    if estimator.sequencer is not None:
        if not isinstance(estimator.sequencer, BaseSequencer):
            raise TypeError(
                f"sequencer={estimator.sequencer!r} is no sequencer: give "
                "RowSequencer(), PatchSequencer(), VolumeSequencer() or None."
            )
        if takes != "sequences":
            raise ValueError(
                f"network={name!r} takes {takes} as they are: leave sequencer out."
            )
        return _read_by(estimator.sequencer)
    if takes == "sequences" and estimator.augmentation is not None:
        raise ValueError(
            "augmentation changes images, but without a sequencer "
            f"network={name!r} takes X for sequences: give "
            "sequencer=RowSequencer() (or another) and images, not sequences, as X."
        )
    return takes


def _read_by(sequencer: BaseSequencer) -> str:
    return "volumes" if sequencer._n_axes == 3 else "images"


def describe_backbone(estimator: Any, x: np.ndarray) -> tuple[dict, Any]:
    """Return the description of the backbone, and the model with its weights."""
    # Here and not above: this loads Keras.
    from sklstm.features._inside import backbone_inside

    return backbone_inside(estimator.backbone, x, estimator.backbone_layers)


def fit_backbone(estimator: Any, x: np.ndarray) -> None:
    """Check the backbone and the values of the images that it reads, if there is one.

    Raises
    ------
    TypeError, ValueError
        If the network takes no backbone, or if it does not suit the images.
    """
    estimator.__dict__.pop("_backbone_values", None)
    if estimator.backbone is None:
        return
    # Here and not above: this loads Keras.
    from sklstm.features._inside import settings_inside

    if estimator.network not in ("cnn_lstm", "cnn"):
        name = getattr(estimator.network, "__name__", estimator.network)
        raise ValueError(
            f"backbone has no effect on network={name!r}: 'cnn_lstm' and 'cnn' take "
            "one."
        )
    if estimator.input_noise is not None:
        raise ValueError(
            f"input_noise={estimator.input_noise} has no effect on a network with a "
            "backbone, which gets the images as they are: leave it out."
        )
    how = settings_inside(estimator.backbone, x)
    estimator._backbone_values = (how.fitted_dtype, *how.value_range)
    _check_backbone_values(estimator, x)


def _check_backbone_values(estimator: Any, images: np.ndarray) -> None:
    """Refuse images whose black and white are not those of the backbone."""
    if not hasattr(estimator, "_backbone_values"):
        return
    dtype, low, high = estimator._backbone_values
    if dtype is not None and images.dtype.name != dtype:
        raise ValueError(
            f"X is {images.dtype}, but the backbone was fitted on {dtype}: convert X, "
            "or fit with backbone=FeatureSequencer(model, value_range=...)."
        )
    if dtype is not None or not len(images):
        return
    least, most = images.min(), images.max()
    if least < low or most > high:
        raise ValueError(
            f"X has values from {least} to {most}, outside value_range={(low, high)} "
            "of the backbone; give the values that are black and white."
        )


def fit_sequencer(estimator: Any, x: np.ndarray) -> None:
    """Fit `sequencer_`, the scan inside the network, if there is one."""
    if estimator.sequencer is None:
        estimator.__dict__.pop("sequencer_", None)
        return
    sequencer = clone(estimator.sequencer)
    one = x[:1].reshape(1, *estimator.image_shape_)
    estimator.sequencer_ = sequencer.fit(one)
