"""network="auto": from the training images to a network and its training.

The choice depends on the number, the size and the kind of the training images. It
never looks at the classes, so that cross-validation judges it with all else.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
from sklearn.base import BaseEstimator

from sklstm.images import validate_images
from sklstm.images._validate import as_array

# What "auto" chooses if it is not set, and the values that count as not set.
CHOSEN = {
    "augmentation": None,
    "stem_kernels": None,
    "weight_decay": None,
    "epochs": "auto",
    "n_estimators": None,
}
# Members of an ensemble, by the number of values in all training images.
_FIVE_MEMBERS_UP_TO = 5_000_000
_THREE_MEMBERS_UP_TO = 20_000_000
# Photographs in colour need more updates than `epochs="auto"` gives (benchmarks/
# recipes.py: 150 epochs in place of 60).
_UPDATES_OF_PHOTOS = 3000
# Images with a shorter side are not changed: a pixel is too large a step.
_SMALLEST_SIDE = 8
_MOST_IMAGES_TO_LOOK_AT = 300

KINDS = {
    "characters": "figures on an even background",
    "fundus": "round photographs with a dark border",
    "photo": "photographs in colour",
    "surface": "surfaces that look the same everywhere",
    "light": "grey images or images with other channels",
}


@dataclass
class AutoChoice:
    """What "auto" chose, and why.

    Parameters
    ----------
    recipe : dict
        Names and values of the parameters, without those that the user set.
    reasons : list of str
        Sentences for the user.
    """

    recipe: dict[str, Any]
    reasons: list[str]


def is_auto(estimator: Any) -> bool:
    """Return whether `fit` chooses the network of an estimator."""
    network = getattr(estimator, "network", None)
    return isinstance(network, str) and network == "auto"


@contextmanager
def recipe_in_place(estimator: Any, X: Any, continues: bool) -> Iterator[None]:
    """Give an estimator the parameters that "auto" chooses, until the block ends.

    Parameters
    ----------
    estimator : LSTMImageClassifier
        Its attributes `network_` and `recipe_` are set if the block succeeds, and
        deleted if it succeeds with another `network`.
    X : array-like
        Training samples, as `fit` takes them.
    continues : bool
        If True, use the recipe of the last fit, but for what was set since.
    """
    if not is_auto(estimator):
        yield
        for name in ("network_", "recipe_"):
            estimator.__dict__.pop(name, None)
        return
    if continues and hasattr(estimator, "recipe_"):
        set_since = _kept(estimator)
        last = estimator.recipe_
        choice = AutoChoice({n: last[n] for n in last if n not in set_since}, [])
    else:
        choice = choose(estimator, X)
    if estimator.verbose:
        for reason in choice.reasons:
            print(f"auto: {reason}")
    before = {name: getattr(estimator, name) for name in choice.recipe}
    vars(estimator).update(choice.recipe)
    try:
        yield
    finally:
        vars(estimator).update(before)
    estimator.network_ = choice.recipe["network"]
    estimator.recipe_ = choice.recipe


def choose(estimator: Any, X: Any) -> AutoChoice:
    """Return the parameters that "auto" chooses for training samples.

    Parameters
    ----------
    estimator : LSTMImageClassifier
        Each of its parameters in `CHOSEN` that is set is kept.
    X : array-like
        Training samples, as `fit` takes them.

    Raises
    ------
    TypeError, ValueError
        If X holds no images or volumes.
    """
    images, volumes = _images_of(estimator, X)
    n_axes = 3 if volumes else 2
    shape = images.shape[1 : 1 + n_axes]
    size = " x ".join(map(str, shape))
    n_channels = images.shape[-1] if images.ndim > 1 + n_axes else 1
    what = "voxels" if volumes else "pixels"
    channels = "one channel" if n_channels == 1 else f"{n_channels} channels"
    seen = f"X has {len(images)} samples of {size} {what} with {channels}"

    found: dict[str, Any] = {}
    why: dict[str, str] = {}
    if estimator.sequencer is not None:
        network = "lstm"
        reasons = [f"{seen}. A sequencer reads them, so the network is 'lstm'."]
    elif volumes:
        network = "bilstm3d"
        reasons = [f"{seen}. 'bilstm3d' reads volumes."]
    else:
        network = "cnn_lstm"
        reasons = [f"{seen}. 'cnn_lstm' reads images."]
    if volumes:
        reasons.append("Volumes are not augmented.")
    elif min(shape) < _SMALLEST_SIDE:
        reasons.append(
            f"Images with a side below {_SMALLEST_SIDE} pixels are not augmented."
        )
    else:
        kind = found["augmentation"] = kind_of(images)
        why["augmentation"] = (
            f"They look like {KINDS[kind]}, so the augmentation is {kind!r}."
        )
    round_photographs = found.get("augmentation") == "fundus"
    if network == "cnn_lstm" and estimator.backbone is None and not round_photographs:
        # On retinas, neither gained anything (benchmarks/recipes.py).
        found["stem_kernels"] = "harmonic"
        why["stem_kernels"] = "Cosine waves make its kernels."
        found["weight_decay"] = 0.3
        why["weight_decay"] = "The weights decay by 0.3."
    if found.get("augmentation") == "photo" and estimator.backbone is None:
        n = found["epochs"] = _epochs_of_photos(estimator, len(images))
        why["epochs"] = f"Photographs need many updates, so there are {n} epochs."
    found["n_estimators"] = 1
    why["n_estimators"] = "One network is trained, because a backbone is slow."
    if estimator.backbone is None:
        n = found["n_estimators"] = _n_members(images.size)
        networks = "1 network is" if n == 1 else f"{n} networks are"
        why["n_estimators"] = f"X has {images.size:,} values, so {networks} trained."
    kept = _kept(estimator)
    reasons += [reason for name, reason in why.items() if name not in kept]
    if kept:
        reasons.append(f"What you set is kept: {', '.join(kept)}.")
    recipe = {name: value for name, value in found.items() if name not in kept}
    return AutoChoice({"network": network, **recipe}, reasons)


def _kept(estimator: Any) -> list[str]:
    """Return the names of what the user set."""
    return [name for name, unset in CHOSEN.items() if getattr(estimator, name) != unset]


def _images_of(estimator: Any, X: Any) -> tuple[np.ndarray, bool]:
    """Return the images or volumes in X, and whether they are volumes."""
    shape = None
    if estimator.sequencer is not None:
        name = getattr(estimator.sequencer, "_shape_parameter", "image_shape")
        shape = getattr(estimator.sequencer, name, None)
        volumes = getattr(estimator.sequencer, "_n_axes", 2) == 3
    else:
        volumes = _are_volumes(as_array(X).shape)
    # A stranger takes the attributes that validation sets, under the same name.
    stranger = type(type(estimator).__name__, (BaseEstimator,), {})()
    return (
        validate_images(stranger, X, reset=True, image_shape=shape, volumes=volumes),
        volumes,
    )


def _are_volumes(shape: tuple[int, ...]) -> bool:
    """Return whether an array holds volumes. The last axis of images is 4 at most."""
    return len(shape) == 5 or (len(shape) == 4 and shape[-1] > 4)


def _epochs_of_photos(estimator: Any, n_images: int) -> int:
    per_update = estimator.batch_size * estimator.gradient_accumulation_steps
    updates = max(1, math.ceil(n_images / per_update))
    return max(60, min(400, math.ceil(_UPDATES_OF_PHOTOS / updates)))


def _n_members(n_values: int) -> int:
    if n_values <= _FIVE_MEMBERS_UP_TO:
        return 5
    return 3 if n_values <= _THREE_MEMBERS_UP_TO else 1


def kind_of(images: np.ndarray) -> str:
    """Return the name of the augmentation for the kind of some images.

    The rules, in this order, on at most 300 images, whose values are scaled to 0..1:

    - "fundus": three channels in colour, all corners dark in nine tenths of the images,
      and hardly a dark pixel in the circle between them;
    - "characters": the border has one value, and so have two fifths of all pixels;
    - "photo": three channels in colour;
    - "surface": one channel, and a mean over the images that is even: no place of the
      image is brighter than the others;
    - "light": all others.

    Parameters
    ----------
    images : ndarray of shape (n, height, width) or (n, height, width, channels)
        Images of any real dtype.

    Returns
    -------
    {"characters", "fundus", "photo", "surface", "light"}
    """
    few = min(len(images), _MOST_IMAGES_TO_LOOK_AT)
    x = images[np.linspace(0, len(images) - 1, few).astype(int)].astype(np.float64)
    if x.ndim == 3:
        x = x[..., None]
    low, high = np.percentile(x, [0.5, 99.5])
    if high <= low:  # a few bright pixels, or none
        low, high = x.min(), max(x.max(), x.min() + 1e-9)
    x = np.clip((x - low) / (high - low), 0, 1)
    colour = x.shape[-1] == 3 and bool(np.ptp(x, axis=-1).mean() > _COLOUR)
    grey = x.mean(axis=-1)
    if colour and _is_round(grey):
        return "fundus"
    if _is_even_around(grey):
        return "characters"
    if colour:
        return "photo"
    if x.shape[-1] == 1 and _is_alike_everywhere(grey):
        return "surface"
    return "light"


# Mean difference between the largest and the smallest channel of a colour image.
_COLOUR = 0.02
_DARK = 0.1
# Two pixels whose values differ by less are equal.
_EQUAL = 0.05


def _is_round(x: np.ndarray) -> bool:
    """Return whether images show a bright disc on a dark ground."""
    _, height, width = x.shape
    side = max(1, min(height, width) // 12)
    corners = np.stack(
        [
            x[:, rows, columns]
            for rows in (slice(side), slice(-side, None))
            for columns in (slice(side), slice(-side, None))
        ]
    )  # (4, n, side, side)
    dark = corners.mean(axis=(2, 3)).max(axis=0) < _DARK
    rows, columns = np.mgrid[:height, :width]
    radius = 0.4 * min(height, width)
    inside = np.hypot(rows - (height - 1) / 2, columns - (width - 1) / 2) < radius
    filled = (x[:, inside] > _DARK).mean(axis=1) > 0.9
    return bool((dark & filled).mean() > 0.8)


def _is_even_around(x: np.ndarray) -> bool:
    """Return whether images show a figure on a background of one value."""
    border = np.concatenate([x[:, 0], x[:, -1], x[:, :, 0], x[:, :, -1]], axis=1)
    value = np.median(border, axis=1)
    around = np.abs(border - value[:, None]) < _EQUAL
    all_over = np.abs(x - value[:, None, None]) < _EQUAL
    return bool(
        np.median(around.mean(axis=1)) > 0.7
        and np.median(all_over.mean(axis=(1, 2))) > 0.4
    )


def _is_alike_everywhere(x: np.ndarray) -> bool:
    """Return whether the mean image is flat, but for what chance explains."""
    if len(x) < 2:
        return False
    x = x - x.mean(axis=(1, 2), keepdims=True)
    spread = x.std(axis=(1, 2)).mean()
    by_chance = x.var(axis=0, ddof=1).mean() / len(x)
    structure = max(0.0, x.mean(axis=0).var() - by_chance)
    return bool(structure < (0.15 * spread) ** 2)
