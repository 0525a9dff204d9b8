"""The parts of an estimator: what makes images, what scans them, what classifies."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from sklearn.pipeline import Pipeline

from sklstm import FeatureSequencer, RowSequencer
from sklstm.estimators._base import KerasEstimator
from sklstm.preprocessing._base import BaseSequencer


@dataclass
class Parts:
    """The steps of a Pipeline, divided at the images that are read as sequences.

    Parameters
    ----------
    before : list of transformer
        Steps that lead from X to the images.
    sequencer : BaseSequencer, FeatureSequencer or None
        Step that reads the images, if it is in front of the classifier.
    between : list of transformer
        Steps from the sequencer to the classifier.
    classifier : estimator or None
        Last step. None if it is the sequencer.
    """

    before: list[Any]
    sequencer: Any
    between: list[Any]
    classifier: Any

    def images(self, X: Any) -> Any:
        """Return the images that the sequencer, or else the classifier, is given."""
        return _through(self.before, X)

    def samples(self, images: Any) -> Any:
        """Return what the classifier is given for images, which are not kept."""
        steps = [] if self.sequencer is None else [_without_cache(self.sequencer)]
        return _through([*steps, *self.between], images)


def parts_of(estimator: Any) -> Parts:
    """Divide a sequencer, a classifier, or a Pipeline or search of them."""
    steps = _steps(estimator)
    kinds = (BaseSequencer, FeatureSequencer)
    places = [i for i, step in enumerate(steps) if isinstance(step, kinds)]
    if not places:
        return Parts(steps[:-1], None, [], steps[-1])
    place = places[0]
    rest = steps[place + 1 :]
    classifier = rest[-1] if rest else None
    return Parts(steps[:place], steps[place], rest[:-1], classifier)


def sequencer_inside(classifier: Any) -> BaseSequencer | None:
    """Return the scan of a classifier that is given images, or None if it has none.

    Networks that take sequences read the rows of an image.
    """
    fitted = isinstance(classifier, KerasEstimator) and classifier._is_fitted()
    # Parameters may have changed since `fit`.
    name = "sequencer_" if fitted else "sequencer"
    if getattr(classifier, name, None) is not None:
        return getattr(classifier, name)
    network = getattr(classifier, "network", None)
    if fitted:
        network = classifier._networks()[0].spec.network
    if network is None or network == "auto":
        return None
    # Here and not above: this loads Keras.
    from sklstm.networks import get_network

    return RowSequencer() if get_network(network).takes == "sequences" else None


def _steps(estimator: Any) -> list[Any]:
    """Return the steps of nested Pipelines and fitted searches, one after the other."""
    if hasattr(estimator, "best_estimator_"):
        return _steps(estimator.best_estimator_)
    if not isinstance(estimator, Pipeline):
        return [estimator]
    present = [s for _, s in estimator.steps if s is not None and s != "passthrough"]
    return [inner for step in present for inner in _steps(step)]


def _without_cache(sequencer: Any) -> Any:
    """Return a sequencer that keeps no features: changed images come only once."""
    if not isinstance(sequencer, FeatureSequencer):
        return sequencer
    twin = object.__new__(type(sequencer))
    twin.__dict__.update(vars(sequencer), cache=False)
    return twin


def _through(transformers: list[Any], X: Any) -> Any:
    for step in transformers:
        X = step.transform(X)
    return X


def as_picture(image: np.ndarray, n_axes: int = 2) -> np.ndarray:
    """Return an image or a volume as matplotlib draws it, with values from 0 to 1.

    Parameters
    ----------
    image : ndarray of shape (height, width[, channels]) or (depth, height, ...)
        The image. Three channels are red, green and blue. Of any other number, the mean
        is drawn.
    n_axes : int
        Number of axes without the channels.

    Returns
    -------
    ndarray of float
        Grey levels, or colours in the last axis. Values are spread from 0 to 1, except
        for uint8 in colour. A constant image is white.
    """
    picture = np.asarray(image, np.float64)
    if picture.ndim > n_axes and picture.shape[-1] != 3:
        picture = picture.mean(axis=-1)
    if picture.ndim > n_axes and np.asarray(image).dtype == np.uint8:
        return picture / 255
    low, high = picture.min(), picture.max()
    if low == high:
        return np.ones_like(picture)
    return (picture - low) / (high - low)
