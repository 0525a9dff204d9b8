"""The attention of a trained network to each step of its sequences."""

from typing import Any

from sklstm._keras import keras

import numpy as np

from sklstm.networks import (
    AttentionPooling,
    MultiScaleAttention,
    SelfAttention,
)
from sklstm.networks._scan_2d import GRID_LAYER
from sklstm.training._spec import NetworkSpec

_HEADS = keras.layers.MultiHeadAttention


def has_attention(model: keras.Model, spec: NetworkSpec) -> bool:
    """Return whether the network has attention that `step_weights` can follow."""
    return bool(_attention_layers(_network_itself(model)[1], spec))


def step_weights(
    model: keras.Model, x: np.ndarray, batch_size: int, spec: NetworkSpec
) -> np.ndarray:
    """Return the weight of each step in the vector that the output layer receives.

    Attention gives the weights with which each step attends to all steps. The pooling
    gives the weight of each attending step. The result is the product of both. "max"
    pooling counts as a mean.

    Parameters
    ----------
    model : keras.Model
        Network with an attention layer, with attention as pooling, or with both.
    x : ndarray
        Samples in the form that the network reads.
    batch_size : int
        Number of samples at a time.
    spec : NetworkSpec
        Specification of the network.

    Returns
    -------
    ndarray of shape (n, n_steps), float32
        Weights. Each row sums to one.
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
    # In half precision, the sum of a row may differ from one by a thousandth.
    return weights / weights.sum(axis=1, keepdims=True)


def steps_of_pixels(model: keras.Model, spec: NetworkSpec) -> np.ndarray | None:
    """Return the step at each pixel if the steps are the positions of a grid.

    Parameters
    ----------
    model : keras.Model
        Network.
    spec : NetworkSpec
        Its specification.

    Returns
    -------
    ndarray of int, shape (height, width), or None
        Number of the patch that a pixel is in, row by row. If the grid is a feature map
        in place of patches, it is enlarged to the image. None if there is no grid.
    """
    layers = {layer.name: layer for layer in model.layers}
    if callable(spec.network) or GRID_LAYER not in layers:
        return None
    grid = layers[GRID_LAYER].input.shape[1:3]
    if "patches" in layers:
        sides = layers["patches"].size
        down, across = (
            np.arange(pixels) // side
            for pixels, side in zip(model.input_shape[1:3], sides, strict=True)
        )
    else:
        down, across = (
            np.arange(pixels) * positions // pixels
            for pixels, positions in zip(model.input_shape[1:3], grid, strict=True)
        )
    return down[:, None] * grid[1] + across


def _network_itself(model: keras.Model) -> tuple[keras.Model | None, keras.Model]:
    """Separate a user's own network from the augmentation and scan before it."""
    *before, network = model.layers
    if not before or not isinstance(network, keras.Model):
        return None, model
    return keras.Model(model.inputs[0], before[-1].output), network


def _attention_layers(model: keras.Model, spec: NetworkSpec) -> list:
    """Return the layers with attention over the steps, from first to last."""
    kinds = (AttentionPooling, SelfAttention, MultiScaleAttention)
    if not callable(spec.network):
        return [layer for layer in model.layers if isinstance(layer, (*kinds, _HEADS))]
    # In a user's own network, only this pooling can be followed.
    found = [layer for layer in model.layers if isinstance(layer, kinds)]
    return found if found and isinstance(found[-1], AttentionPooling) else []


def _read_by(layer: Any) -> Any:
    return keras.tree.flatten(layer.input)[0]


def _looked_at(layer: Any, steps: Any, queries: Any) -> Any:
    """Return the attention to each step, (n, n_steps), from weighted `queries`."""
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
