"""The feature map of a pretrained model inside a network."""

from collections.abc import Iterator
from typing import Any

from sklstm._keras import keras

from sklstm.networks.layers import PrepareImages, PretrainedModel

# The name of the pretrained model among the layers of a network.
BACKBONE = "backbone"


def pretrained_map(x: Any, backbone: dict[str, Any]) -> Any:
    """Return the feature map of a pretrained model, (n, height, width, channels).

    The model computes as in a prediction, with the statistics that its normalizations
    have. The weights are those of a new model: `CompiledNetwork.start` copies the
    pretrained ones.

    Parameters
    ----------
    x : keras.KerasTensor
        Images, in the values that `backbone` was described for.
    backbone : dict
        What `sklstm.features` describes: "model", in JSON; "size", "matrix" and
        "shift" of `PrepareImages`; "n_trained", the number of layers that train;
        "constants", the weights of each `keras.layers.Normalization`, which a graph
        holds as numbers. "code", a digest of the user's own layers, tells graphs apart.
    """
    model = keras.models.model_from_json(backbone["model"])
    _set_trained(model, backbone["n_trained"])
    layers = model._flatten_layers()
    adapted = [one for one in layers if isinstance(one, keras.layers.Normalization)]
    for layer, weights in zip(adapted, backbone["constants"], strict=True):
        layer.set_weights(weights)
        layer.finalize_state()
    sizes = {name: backbone[name] for name in ("size", "matrix", "shift")}
    x = PrepareImages(**sizes, name="prepare")(x)
    return PretrainedModel(model, name=BACKBONE)(x)


def _set_trained(model: keras.Model, n_trained: int) -> None:
    """Let the variables of the last layers train, and those of no other layer.

    Normalizations of batches never train.
    """
    kept = (keras.layers.BatchNormalization, keras.layers.Normalization)
    model.trainable = True
    layers = {id(layer): layer for layer in _in_order(model)}
    own = [
        layer._trainable_variables
        for layer in layers.values()
        if not isinstance(layer, kept)
    ]
    own = [variables for variables in own if variables]
    last = own[max(0, len(own) - n_trained) :]
    trained = {id(one) for variables in last for one in variables}
    for variable in model.variables:
        variable.trainable = id(variable) in trained


def _in_order(layer: Any) -> Iterator[Any]:
    """Yield the layers inside a layer, in their order, and the layer itself."""
    parts = layer.layers if isinstance(layer, keras.Model) else layer._layers
    for part in parts:
        yield from _in_order(part)
    yield layer
