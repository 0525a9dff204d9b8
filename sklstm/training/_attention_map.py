"""How much a trained network looks at each step of its sequences."""

from typing import Any

from sklstm._keras import keras

import numpy as np

from sklstm.networks import AttentionPooling, MultiScaleAttention, SelfAttention
from sklstm.training._spec import NetworkSpec

_HEADS = keras.layers.MultiHeadAttention


def has_attention(model: keras.Model, spec: NetworkSpec) -> bool:
    """Tell whether the network weighs its steps, in a way that can be followed."""
    return bool(_attention_layers(_network_itself(model)[1], spec))


def step_weights(
    model: keras.Model, x: np.ndarray, batch_size: int, spec: NetworkSpec
) -> np.ndarray:
    """Return how much each step counts in what the softmax is given.

    Attention between the steps says at which steps each step looks, the pooling how
    much each looking step counts: the product of the two. Maxima over the steps count
    as their mean.

    Parameters
    ----------
    model : keras.Model
        Network with an attention layer, with attention as its pooling, or both.
    x : ndarray
        Samples as the network takes them.
    batch_size : int
        Samples at a time.
    spec : NetworkSpec
        What the network was made of.

    Returns
    -------
    ndarray of shape (n, n_steps), float32
        Rows sum to one.
    """
    before, network = _network_itself(model)
    layers = _attention_layers(network, spec)
    read = keras.Model(network.inputs[0], [_read_by(layer) for layer in layers])
    last = spec.network_params.get("pooling", "last") == "last"
    bidirectional = spec.network_params.get("bidirectional", True)
    maps = []
    for i in range(0, len(x), batch_size):
        part: Any = x[i : i + batch_size].astype("float32", copy=False)
        if before is not None:
            part = before(part, training=False)
        steps = keras.tree.flatten(read(part, training=False))
        if isinstance(layers[-1], AttentionPooling):
            weights = layers[-1].step_weights(steps[-1])[..., 0]
        else:
            weights = _uniform_or_ends(steps[-1], last, bidirectional)
        for layer, inputs in zip(reversed(layers), reversed(steps), strict=True):
            if not isinstance(layer, AttentionPooling):
                weights = _looked_at(layer, inputs, weights)
        maps.append(keras.ops.convert_to_numpy(keras.ops.cast(weights, "float32")))
    weights = np.concatenate(maps)
    # In half precision a row's sum is off by a thousandth.
    return weights / weights.sum(axis=1, keepdims=True)


def _network_itself(model: keras.Model) -> tuple[keras.Model | None, keras.Model]:
    """Take a user's own network from behind augmentation and scan, where they are."""
    *before, network = model.layers
    if not before or not isinstance(network, keras.Model):
        return None, model
    return keras.Model(model.inputs[0], before[-1].output), network


def _attention_layers(model: keras.Model, spec: NetworkSpec) -> list:
    """Return the layers that weigh the steps, in the order of reading."""
    kinds = (AttentionPooling, SelfAttention, MultiScaleAttention)
    if not callable(spec.network):
        return [layer for layer in model.layers if isinstance(layer, (*kinds, _HEADS))]
    # How a network of the user's own reads the steps is known only of this pooling.
    found = [layer for layer in model.layers if isinstance(layer, kinds)]
    return found if found and isinstance(found[-1], AttentionPooling) else []


def _read_by(layer: Any) -> Any:
    return keras.tree.flatten(layer.input)[0]


def _looked_at(layer: Any, steps: Any, queries: Any) -> Any:
    """Return (n, n_steps): how much each step is looked at by `queries`, the same."""
    if not isinstance(layer, _HEADS):
        return layer.step_weights(steps, queries)
    _, weights = layer(steps, steps, return_attention_scores=True)
    return keras.ops.einsum("nq,nhqk->nk", queries, weights) / weights.shape[1]


def _uniform_or_ends(steps: Any, last: bool, bidirectional: bool) -> Any:
    n, n_steps = steps.shape[:2]
    row = np.full(n_steps, 0.0 if last else 1 / n_steps, "float32")
    if last:
        row[-1] += 0.5 if bidirectional else 1.0
        row[0] += 0.5 if bidirectional else 0.0
    return keras.ops.convert_to_tensor(np.tile(row, (n, 1)), dtype=steps.dtype)
