"""How much each pixel of an image contributes to a prediction."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
from scipy.ndimage import gaussian_filter
from sklearn.base import is_classifier
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils.validation import check_is_fitted

from sklstm import FeatureSequencer, PatchSequencer, VolumeSequencer
from sklstm.estimators import LSTMImageClassifier
from sklstm.estimators._calibration import SMALLEST_PROBABILITY, with_temperature
from sklstm.estimators._samples import check_new_samples
from sklstm.images import validate_images
from sklstm.images._validate import as_array, is_count
from sklstm.inspection._parts import Parts, parts_of, sequencer_inside
from sklstm.preprocessing._base import BaseSequencer
from sklstm.preprocessing._gather import average_to_pixels

_METHODS = ("occlusion", "gradients", "attention")
# Integrated gradients that miss the score by more are not to be trusted.
_TOLERANCE = 0.05


def attribute(
    estimator: Any,
    X: Any,
    *,
    method: str = "occlusion",
    target: Any = None,
    baseline: Any = "mean",
    occlude: Any = None,
    n_steps: int = 32,
    batch_size: int = 128,
) -> np.ndarray:
    """Compute how much each pixel contributes to the prediction of a classifier.

    The score is the probability of one class. Both "occlusion" and "gradients" compare
    an image with a baseline that shows nothing. Attributions are those of the images
    that the sequencer is given. Without a sequencer, they are those that the classifier
    is given.

    Parameters
    ----------
    estimator : classifier
        Fitted classifier, or a Pipeline or search that ends in one. "occlusion" takes
        any with ``predict_proba``, the others take an `LSTMImageClassifier`.
        Attributions of an ensemble are those of its mean probability.
    X : array-like
        Samples, as ``predict_proba`` takes them.
    method : {"occlusion", "gradients", "attention"}, default="occlusion"
        What is computed:

        - "occlusion": by how much the score falls if the pixels of a step are replaced
          by those of the baseline [1]_. A pixel that several steps read gets their
          mean;
        - "gradients": integrated gradients [2]_, the gradient of the score, averaged
          along the straight line from the baseline to the image, times the difference
          of the two. The attributions of an image sum to the difference of the scores.
          With channels, those of a pixel are added;
        - "attention": the weight of each step, see
          :meth:`~sklstm.LSTMImageClassifier.attention_map`. It is the same for all
          classes, and has no sign.
    target : label or array-like of shape (n,), default=None
        Class whose probability is the score, for all images or for each. If None, the
        predicted class of each image. "attention" takes None only.
    baseline : {"mean", "blur"}, float or array-like, default="mean"
        What shows nothing: the mean colour of each image, a blurred copy of it
        (standard deviation of one eighth of its shorter side), a value for all pixels,
        or an array of the shape of one image or of all. It is rounded if the images
        hold integers. "attention" ignores it.
    occlude : int, tuple of int, sequencer or None, default=None
        What "occlusion" replaces at a time. A number or (height, width) is the size of
        patches that overlap by half, and a sequencer gives its steps. If None, it is
        the steps of the sequencer before or inside the classifier, or the rows if the
        network reads rows. For other networks, it is patches of one eighth of the
        shorter side. Volumes are cut into cubes in place of patches.
    n_steps : int, default=32
        Number of points on the line of "gradients", those of Gauss-Legendre quadrature.
    batch_size : int, default=128
        Number of changed images that are predicted at a time.

    Returns
    -------
    ndarray of shape (n, height, width) or (n, depth, height, width), float64
        Attributions. Above zero, a pixel speaks for the class.

    Raises
    ------
    TypeError
        If the method does not suit the classifier.
    ValueError
        If a parameter is wrong, or if X does not hold images.

    Warns
    -----
    ConvergenceWarning
        If the sum of integrated gradients differs from the difference of the scores by
        more than 0.05. More `n_steps` help, unless the network computes with whole
        numbers inside.

    See Also
    --------
    AttributionDisplay : Plot of attributions on the images.
    faithfulness : Test of attributions.

    Notes
    -----
    Occlusion predicts each image as many times as it has steps, and gradients
    `n_steps` times with a backward pass.

    References
    ----------
    .. [1] M. D. Zeiler and R. Fergus, "Visualizing and understanding convolutional
       networks", ECCV 2014.
    .. [2] M. Sundararajan, A. Taly and Q. Yan, "Axiomatic attribution for deep
       networks", ICML 2017.

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> from sklearn.naive_bayes import GaussianNB
    >>> from sklstm.inspection import attribute
    >>> X, y = load_digits(n_class=3, return_X_y=True)
    >>> classifier = GaussianNB(var_smoothing=0.1).fit(X, y)
    >>> attribute(classifier, X[:5], baseline=0, occlude=2).shape
    (5, 8, 8)
    """
    if method not in _METHODS:
        raise ValueError(
            f"method={method!r} must be 'occlusion', 'gradients' or 'attention'."
        )
    for name, value in (("n_steps", n_steps), ("batch_size", batch_size)):
        if not is_count(value):
            raise ValueError(f"{name}={value!r} must be a whole number, 1 or more.")
    scored = ScoredImages(estimator, X, batch_size)
    if method == "attention":
        if target is not None:
            raise ValueError(
                "target has no effect on method='attention', whose weights are the "
                "same for all classes: leave it out, or use another method."
            )
        return _attention(scored)
    scored.set_target(target)
    base = scored.baseline(baseline)
    if method == "gradients":
        return _integrated_gradients(scored, base, n_steps)
    return _occlusion(scored, base, _regions(scored, occlude))


class ScoredImages:
    """The images that a classifier reads, and the score of changed ones.

    Parameters
    ----------
    estimator : classifier
        Fitted classifier, Pipeline or search.
    X : array-like
        Samples, as it takes them.
    batch_size : int
        Number of images that are predicted at a time.
    """

    def __init__(self, estimator: Any, X: Any, batch_size: int) -> None:
        self.parts: Parts = parts_of(estimator)
        self.batch_size = batch_size
        last = self.parts.classifier
        if last is None:
            last = self.parts.sequencer
        if not (hasattr(last, "predict_proba") and is_classifier(last)):
            raise TypeError(
                f"A {type(last).__name__} is no classifier with predict_proba, and "
                "attributions need the probabilities of classes."
            )
        check_is_fitted(last)
        X = self.parts.images(X)
        self._flat = False
        reader = self.parts.sequencer
        if reader is None:
            reader = self.parts.classifier
        if hasattr(reader, "image_shape_"):
            volumes = getattr(reader, "_n_axes", 2) == 3
            if reader is self.parts.classifier:
                volumes = self._classifier_reads_volumes()
            self.images = validate_images(reader, X, reset=False, volumes=volumes)
            self.n_axes = 3 if volumes else 2
        else:
            self.images = self._as_images(X)
            self.n_axes = 2
        self.shape = self.images.shape[1 : 1 + self.n_axes]
        self.target: np.ndarray = np.arange(0)

    def _classifier_reads_volumes(self) -> bool:
        inside = sequencer_inside(self.parts.classifier)
        if inside is not None:
            return inside._n_axes == 3
        # Here and not above: this loads Keras.
        from sklstm.networks import get_network

        network = self.parts.classifier._networks()[0].spec.network
        return get_network(network).takes == "volumes"

    def _as_images(self, X: Any) -> np.ndarray:
        """Return what another classifier is given, as images."""
        images = np.asarray(as_array(X))
        self._flat = images.ndim == 2
        if self._flat:
            side = math.isqrt(images.shape[1])
            if side * side != images.shape[1]:
                raise ValueError(
                    f"X has {images.shape[1]} features, which make no square image: "
                    "give images to a Pipeline that makes features of them."
                )
            images = images.reshape(len(images), side, side)
        if images.ndim not in (3, 4):
            raise ValueError(
                "X must hold images (n, height, width) or (n, height, width, "
                f"channels), or flat square ones; got an array of shape {images.shape}."
            )
        return images

    def probabilities(self, images: np.ndarray) -> np.ndarray:
        """Return the probabilities of all classes, (n, n_classes), float64."""
        if self._flat:
            images = images.reshape(len(images), -1)
        samples = self.parts.samples(images)
        return np.asarray(self.parts.classifier.predict_proba(samples), np.float64)

    def set_target(self, target: Any) -> None:
        """Choose the class of each image whose probability is the score."""
        n = len(self.images)
        if target is None:
            parts = range(0, n, self.batch_size)
            found = [
                self.probabilities(self.images[i : i + self.batch_size]) for i in parts
            ]
            self.target = np.concatenate(found).argmax(axis=1)
            return
        classes = self.parts.classifier.classes_
        labels = np.asarray(target)
        if labels.ndim == 0:
            labels = np.full(n, target)
        if labels.shape != (n,):
            raise ValueError(
                f"target must be one label or {n}, one for each image; got an array of "
                f"shape {labels.shape}."
            )
        matches = labels[:, None] == classes
        if not matches.any(axis=1).all():
            unknown = np.unique(labels[~matches.any(axis=1)]).tolist()
            raise ValueError(
                f"target={unknown} must be among the classes, {classes.tolist()}."
            )
        self.target = matches.argmax(axis=1)

    def scores(self, images: np.ndarray, rows: np.ndarray) -> np.ndarray:
        """Return the scores of changed copies of the images with these numbers."""
        found = self.probabilities(images)
        return found[np.arange(len(rows)), self.target[rows]]

    def baseline(self, baseline: Any) -> np.ndarray:
        """Return the baseline of each image, in its dtype."""
        images, axes = self.images, tuple(range(1, 1 + self.n_axes))
        if isinstance(baseline, str):
            if baseline not in ("mean", "blur"):
                raise ValueError(
                    f"baseline={baseline!r} must be 'mean', 'blur', a number or an "
                    "array."
                )
            found = images.astype(np.float64)
            if baseline == "mean":
                found = found.mean(axis=axes, keepdims=True)
            else:
                spread = min(self.shape) / 8
                found = gaussian_filter(found, spread, axes=axes, mode="nearest")
        else:
            found = np.asarray(baseline)
            if found.dtype.kind not in "buif" or not np.isfinite(found).all():
                raise ValueError(
                    f"baseline={baseline!r} must hold finite numbers, or be 'mean' or "
                    "'blur'."
                )
            found = found.astype(np.float64)
        try:
            found = np.broadcast_to(found, images.shape)
        except ValueError:
            raise ValueError(
                f"baseline has shape {found.shape}, but the images have "
                f"{images.shape[1:]}: give a number or an array of this shape."
            ) from None
        if images.dtype.kind in "bui":
            limits = (0, 1)
            if images.dtype.kind != "b":
                limits = np.iinfo(images.dtype).min, np.iinfo(images.dtype).max
            found = np.clip(np.rint(found), *limits)
        return found.astype(images.dtype)


def _regions(scored: ScoredImages, occlude: Any) -> np.ndarray:
    """Return the index map of what is replaced at a time."""
    sequencer = occlude
    volumes = scored.n_axes == 3
    if occlude is None:
        parts = scored.parts
        sequencer = parts.sequencer
        if sequencer is None:
            sequencer = sequencer_inside(parts.classifier)
        elif isinstance(sequencer, BaseSequencer):
            # Its fitted map needs no parameters, which may have changed since.
            return sequencer.index_map_
        if hasattr(sequencer, "index_map_"):
            return sequencer.index_map_
        if sequencer is None or isinstance(sequencer, FeatureSequencer):
            occlude = math.ceil(min(scored.shape) / 8)
    if not isinstance(sequencer, BaseSequencer):
        sequencer = _blocks(occlude, scored.n_axes)
    if sequencer._n_axes != scored.n_axes:
        raise ValueError(
            f"occlude={occlude!r} reads {'images' if volumes else 'volumes'}, but X "
            f"holds {'volumes' if volumes else 'images'}."
        )
    return sequencer.get_index_map(scored.shape)


def _blocks(size: Any, n_axes: int) -> BaseSequencer:
    sizes = (size,) * n_axes if is_count(size) else size
    if not isinstance(sizes, tuple) or not (
        len(sizes) == n_axes and all(map(is_count, sizes))
    ):
        raise ValueError(
            f"occlude={size!r} must be a number of pixels, a tuple of {n_axes}, a "
            "sequencer or None."
        )
    stride = tuple(max(1, side // 2) for side in sizes)
    if n_axes == 3:
        return VolumeSequencer(axis=None, step_size=sizes, stride=stride)
    return PatchSequencer(sizes, stride)


def _occlusion(
    scored: ScoredImages, base: np.ndarray, regions: np.ndarray
) -> np.ndarray:
    images = scored.images
    n, n_pixels = len(images), math.prod(scored.shape)
    before = images.reshape(n, n_pixels, -1)
    after = base.reshape(before.shape)
    # The images themselves are one more change: none.
    none = np.full((1, regions.shape[1]), -1)
    changes = np.concatenate([none, regions])
    scores = np.empty((n, len(changes)))
    for start in range(0, scores.size, scored.batch_size):
        places = np.arange(start, min(start + scored.batch_size, scores.size))
        rows, numbers = np.divmod(places, len(changes))
        batch = before[rows]
        copy, place = np.nonzero(changes[numbers] >= 0)
        pixels = changes[numbers[copy], place]
        batch[copy, pixels] = after[rows[copy], pixels]
        shaped = batch.reshape(len(rows), *images.shape[1:])
        scores.flat[places] = scored.scores(shaped, rows)
    falls = scores[:, :1] - scores[:, 1:]
    pixels = average_to_pixels(falls[..., None], regions, n_pixels)
    return pixels.reshape(n, *scored.shape)


def _attention(scored: ScoredImages) -> np.ndarray:
    classifier, reader = scored.parts.classifier, scored.parts.sequencer
    _check_own(classifier, "attention")
    if reader is not None:
        weights = classifier.attention_map(scored.parts.samples(scored.images))
        return reader.steps_to_image(weights).astype(np.float64)
    inside = sequencer_inside(classifier)
    if inside is None or hasattr(classifier, "sequencer_"):
        found = classifier.attention_map(scored.images, per="pixel")
        return found.astype(np.float64)
    rows = classifier.attention_map(scored.images)
    wide = np.broadcast_to(rows[..., None], (len(rows), *scored.shape))
    return wide.astype(np.float64)


def _integrated_gradients(
    scored: ScoredImages, base: np.ndarray, n_steps: int
) -> np.ndarray:
    parts = scored.parts
    _check_own(parts.classifier, "gradients")
    if parts.between or isinstance(parts.sequencer, FeatureSequencer):
        step = parts.between[0] if parts.between else parts.sequencer
        raise TypeError(
            f"method='gradients' cannot follow the pixels through a "
            f"{type(step).__name__} in front of the classifier: use 'occlusion'."
        )
    ends = [
        check_new_samples(parts.classifier, parts.samples(images)).astype(np.float32)
        for images in (base, scored.images)
    ]
    slope = _mean_gradient(scored, ends[0], ends[1], n_steps)
    found = (ends[1] - ends[0]).astype(np.float64) * slope
    n, n_pixels = len(found), math.prod(scored.shape)
    if parts.sequencer is not None:
        # A pixel that several steps read gets the sum of what each contributes.
        index_map = parts.sequencer.index_map_.ravel()
        by_entry = found.reshape(n, len(index_map), -1).sum(axis=2)
        entries = np.flatnonzero(index_map >= 0)
        sums = np.zeros((n_pixels, n))
        np.add.at(sums, index_map[entries], by_entry[:, entries].T)
        pixels = sums.T
    else:
        pixels = found.reshape(n, n_pixels, -1).sum(axis=2)
    _warn_if_incomplete(scored, base, pixels.sum(axis=1))
    return pixels.reshape(n, *scored.shape)


def _mean_gradient(
    scored: ScoredImages, start: np.ndarray, end: np.ndarray, n_steps: int
) -> np.ndarray:
    """Return the mean gradient of the score on the lines between samples."""
    nodes, weights = np.polynomial.legendre.leggauss(n_steps)
    nodes, weights = (nodes + 1) / 2, weights / 2
    gradient = _gradient_of_score(scored.parts.classifier)
    total = np.zeros(start.shape)
    for first in range(0, len(start) * n_steps, scored.batch_size):
        last = min(first + scored.batch_size, len(start) * n_steps)
        rows, points = np.divmod(np.arange(first, last), n_steps)
        along = nodes[points].reshape(-1, *(1,) * (start.ndim - 1))
        x = start[rows] + along.astype(np.float32) * (end[rows] - start[rows])
        found = gradient(x, scored.target[rows])
        share = weights[points].reshape(along.shape)
        np.add.at(total, rows, share * found)
    return total


def _gradient_of_score(classifier: Any) -> Callable[..., np.ndarray]:
    """Return a function of samples and class numbers."""
    # Here and not above: this loads Keras.
    from sklstm.training._input_gradients import has_gradients, input_gradients

    networks = classifier._networks()
    temperature = getattr(classifier, "temperature_", None)
    with networks[0].in_use() as compiled:
        if not has_gradients(compiled.model):
            raise TypeError(
                "method='gradients' cannot follow the pixels through "
                "embedding='pixel', which looks grey levels up: use 'occlusion'."
            )

    def gradient(x: np.ndarray, target: np.ndarray) -> np.ndarray:
        weights = np.eye(len(classifier.classes_))[target]
        if temperature is not None:
            # The chain rule for softmax(log(mean) / temperature).
            outputs = [network.predict(x) for network in networks]
            mean = np.asarray(np.mean(outputs, axis=0, dtype=np.float64))
            score = with_temperature(mean, temperature).astype(np.float64)
            own = score[np.arange(len(x)), target][:, None]
            known = np.maximum(mean, SMALLEST_PROBABILITY)
            weights = own * (weights - score) / (temperature * known)
            weights[mean < SMALLEST_PROBABILITY] = 0
        total = np.zeros(x.shape)
        for network in networks:
            with network.in_use() as compiled:
                total += input_gradients(compiled.model, x, weights)
        return total / len(networks)

    return gradient


def _warn_if_incomplete(
    scored: ScoredImages, base: np.ndarray, sums: np.ndarray
) -> None:
    """Warn if attributions do not sum to the difference of the scores."""
    gaps = []
    for first in range(0, len(sums), scored.batch_size):
        rows = np.arange(first, min(first + scored.batch_size, len(sums)))
        difference = scored.scores(scored.images[rows], rows)
        difference = difference - scored.scores(base[rows], rows)
        gaps.append(np.abs(sums[rows] - difference))
    far = np.concatenate(gaps)
    if far.max(initial=0) > _TOLERANCE:
        warnings.warn(
            f"The integrated gradients of {(far > _TOLERANCE).sum()} of {len(far)} "
            "images do not sum to the difference of the scores, which they miss by up "
            f"to {far.max():.2f}: raise n_steps.",
            ConvergenceWarning,
            stacklevel=4,
        )


def _check_own(classifier: Any, method: str) -> None:
    if not isinstance(classifier, LSTMImageClassifier):
        raise TypeError(
            f"method={method!r} needs an LSTMImageClassifier, and this is a "
            f"{type(classifier).__name__}: use 'occlusion'."
        )
