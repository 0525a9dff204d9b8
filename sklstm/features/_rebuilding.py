"""Keras models that are built again from their description."""

import json
import random
import weakref
from typing import Any

from sklstm._keras import keras

import numpy as np

from sklstm.features._backbone import Backbone, traced

# Of the largest feature. The models compute the same in another order at most.
_TOLERANCE = 1e-3
# What each backbone gives for images of a shape.
_TEXTS: "weakref.WeakKeyDictionary[Backbone, dict[tuple[int, ...], str]]"
_TEXTS = weakref.WeakKeyDictionary()


def json_of(backbone: Backbone, shape: tuple[int, ...]) -> str:
    """Return a description in JSON, from which Keras can build a backbone again.

    Parameters
    ----------
    backbone : Backbone
        The backbone.
    shape : tuple of int
        Shape (height, width, channels) of the images. It replaces open sides.

    Raises
    ------
    ValueError
        If Keras cannot, or if the model would compute something else or in half
        precision.
    """
    texts = _TEXTS.setdefault(backbone, {})
    if shape not in texts:
        _refuse_half_precision(backbone.network)
        text, again = _built_again(backbone.network, shape)
        _compare(backbone.network, again, shape)
        texts[shape] = text
    return texts[shape]


def _refuse_half_precision(network: Any) -> None:
    for layer in network._flatten_layers():
        # The policy of a model or of an input says nothing about its layers.
        if isinstance(layer, keras.Model | keras.layers.InputLayer):
            continue
        if layer.compute_dtype != "float32":
            raise ValueError(
                f"The backbone does not compute in float32 (layer {layer.name!r}): "
                "make it under the dtype policy 'float32'."
            )


def _built_again(network: Any, shape: tuple[int, ...]) -> tuple[str, Any]:
    """Return the description of a model for images of a shape, and a model from it."""
    # Keras draws the seeds of layers from the global generator.
    before = random.getstate()
    try:
        description = without_registration(json.loads(network.to_json()))
        for layer in description["config"]["layers"]:
            if layer["class_name"] == "InputLayer":
                layer["config"]["batch_shape"] = [None, *shape]
        text = json.dumps(description)
        again = keras.models.model_from_json(text)
        set_weights(again, network.get_weights())
    except (NotImplementedError, TypeError, ValueError) as error:
        raise ValueError(
            "The backbone cannot be built again from its configuration: register its "
            "own layers by keras.saving.register_keras_serializable, and put no "
            f"functions into it ({str(error).splitlines()[0]})."
        ) from error
    finally:
        random.setstate(before)
    return text, again


def _compare(network: Any, again: Any, shape: tuple[int, ...]) -> None:
    """Raise an error if a model that is built again computes something else."""
    image = np.random.default_rng(0).uniform(0, 1, (1, *shape)).astype(np.float32)
    # Functions of their own, so that the backbone traces what it always traces.
    expected, found = (
        np.asarray(traced(model)(image), np.float32) for model in (network, again)
    )
    if np.abs(found - expected).max() > _TOLERANCE * max(1e-6, np.abs(expected).max()):
        raise ValueError(
            "The backbone computes something else after it is built again from its "
            "configuration: return all parameters of your own layers from their "
            "get_config."
        )


def set_weights(model: keras.Model, weights: list[np.ndarray]) -> None:
    """Give a model its weights, also those that a trace holds as numbers."""
    model.set_weights(weights)
    for layer in model._flatten_layers():
        # It computes with numbers that it makes from its weights.
        if isinstance(layer, keras.layers.Normalization):
            layer.finalize_state()


def without_registration(description: Any) -> Any:
    """Return a description in which the classes of Keras have their own names.

    scikeras registers the class of each model that is pickled in a package without a
    name, even a class of Keras. Another process does not know this registered name.
    """
    if isinstance(description, list | tuple):
        return type(description)(map(without_registration, description))
    if not isinstance(description, dict):
        return description
    plain = {k: without_registration(v) for k, v in description.items()}
    own = str(plain.get("module")).partition(".")[0] == "keras"
    if own and plain.get("registered_name") == f">{plain.get('class_name')}":
        plain["registered_name"] = plain["class_name"]
    return plain
