"""The description of a pretrained model that becomes a part of a network."""

from typing import Any

from sklstm._keras import keras

import numpy as np

from sklstm.features._backbone import backbone_of, code_of, preprocess
from sklstm.features._feature_sequencer import FeatureSequencer
from sklstm.features._rebuilding import json_of
from sklstm.features._settings import Settings, settings_of


def backbone_inside(
    given: Any, images: np.ndarray, n_trained: int
) -> tuple[dict[str, Any], keras.Model]:
    """Describe a backbone for the inside of a network.

    The network computes the features that `FeatureSequencer` computes, up to rounding.

    Parameters
    ----------
    given : keras.Model or FeatureSequencer
        The backbone, or the backbone with its layer, size and preprocessing.
    images : ndarray of shape (n, height, width, channels), uint8 or float32
        Images to train on.
    n_trained : int
        Number of layers that train, counted from the feature map. Normalizations of
        batches and layers without weights do not count, and do not train.

    Returns
    -------
    description : dict
        What `sklstm.networks.cnn_lstm` takes as `backbone`. It holds plain values.
    pretrained : keras.Model
        The model that has the pretrained weights.

    Raises
    ------
    TypeError
        If `given` is neither a model nor a `FeatureSequencer`.
    ValueError
        If the backbone does not suit the images, or cannot be a part of a network.
    """
    how = settings_inside(given, images)
    backbone = backbone_of(how.backbone, how.layer)
    network = backbone.network
    matrix, shift = _as_linear(how, images.shape[3])
    description = {
        "model": json_of(backbone, how.input_shape),
        # A class of the user may have the name of one that computed something else.
        "code": code_of(network),
        "size": how.input_shape[:2],
        "matrix": matrix.tolist(),
        "shift": shift.tolist(),
        "n_trained": n_trained,
        "constants": [
            layer.get_weights()
            for layer in network._flatten_layers()
            if isinstance(layer, keras.layers.Normalization)
        ],
    }
    return description, network


def settings_inside(given: Any, images: np.ndarray) -> Settings:
    """Check a backbone for the inside of a network.

    Raises
    ------
    TypeError
        If `given` is neither a model nor a `FeatureSequencer`.
    ValueError
        If the backbone does not suit the images, or cannot be a part of a network.
    """
    sequencer = given
    if not isinstance(given, FeatureSequencer):
        if isinstance(given, keras.Model) and images.dtype != np.uint8:
            raise ValueError(
                "X must be uint8 for a backbone, whose black and white are 0 and 255: "
                "convert it, or give backbone=FeatureSequencer(model, value_range=(0, "
                "1)) with the values that are black and white in X."
            )
        sequencer = FeatureSequencer(given)
    defaults = FeatureSequencer(None).get_params()
    for name in ("order", "pooling"):
        if getattr(sequencer, name) != defaults[name]:
            raise ValueError(
                f"backbone: {name}={getattr(sequencer, name)!r} has no effect inside a "
                "network, which reads a feature map: leave it out."
            )
    how = settings_of(sequencer, images)
    if callable(how.preprocessing):
        raise ValueError(
            "backbone: preprocessing is a function, which cannot be a part of a "
            "network: put it into the backbone as layers, and give preprocessing=None."
        )
    return how


def _as_linear(how: Settings, n_channels: int) -> tuple[np.ndarray, np.ndarray]:
    """Return how the channels of an image become those that the backbone takes.

    All named ways of preprocessing are linear. So their results for a black image, and
    for images that are white in one channel, determine them.
    """
    low, high = how.value_range
    pixels = np.zeros((n_channels + 1, 1, 1, how.input_shape[2]), np.float32)
    for channel in range(n_channels):
        # A grey image is repeated.
        target = slice(None) if n_channels == 1 else channel
        pixels[channel + 1, ..., target] = 255
    black, *white = preprocess(pixels, how.preprocessing).astype(np.float64)
    matrix = np.stack([(one - black).ravel() for one in white]) / (high - low)
    return matrix, black.ravel() - low * matrix.sum(axis=0)
