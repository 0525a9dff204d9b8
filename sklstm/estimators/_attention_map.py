"""How much a trained network looks at each step of its sequences."""

from typing import Any

from sklstm._keras import keras

import numpy as np

from sklstm.networks import AttentionPooling, MultiScaleAttention, SelfAttention

_HEADS = keras.layers.MultiHeadAttention


def has_attention(model: keras.Model) -> bool:
    """Tell whether the network weighs its steps."""
    return bool(_attention_layers(model))


def step_weights(
    model: keras.Model, x: np.ndarray, batch_size: int, last: bool, bidirectional: bool
) -> np.ndarray:
    """Return how much each step counts in what the softmax is given.

    Attention between the steps says at which steps each step looks, the pooling how
    much each looking step counts: the product of the two.

    Parameters
    ----------
    model : keras.Model
        Network with an attention layer, with attention as its pooling, or both.
    x : ndarray
        Samples as the network takes them.
    batch_size : int
        Samples at a time.
    last, bidirectional : bool
        The pooling reads the last step, and of the way back the first.

    Returns
    -------
    ndarray of shape (n, n_steps), float32
        Rows sum to one.
    """
    layers = _attention_layers(model)
    read = keras.Model(model.inputs[0], [_read_by(layer) for layer in layers])
    maps = []
    for i in range(0, len(x), batch_size):
        part = x[i : i + batch_size].astype("float32", copy=False)
        steps = _as_list(read(part, training=False))
        if isinstance(layers[-1], AttentionPooling):
            weights = layers[-1].step_weights(steps[-1])[..., 0]
        else:
            weights = _uniform_or_ends(steps[-1], last, bidirectional)
        for layer, inputs in zip(reversed(layers), reversed(steps), strict=True):
            if not isinstance(layer, AttentionPooling):
                weights = _looked_at(layer, inputs, weights)
        maps.append(keras.ops.convert_to_numpy(keras.ops.cast(weights, "float32")))
    return np.concatenate(maps)


def _attention_layers(model: keras.Model) -> list:
    """Return the layers that weigh the steps, in the order of reading."""
    kinds = (AttentionPooling, SelfAttention, MultiScaleAttention)
    return [
        layer
        for layer in model.layers
        if isinstance(layer, kinds)
        # A user's own may look from one sequence at another: nothing to say of it.
        or (isinstance(layer, _HEADS) and layer.name.endswith("_attention"))
    ]


def _read_by(layer: Any) -> Any:
    return keras.tree.flatten(layer.input)[0]


def _looked_at(layer: Any, steps: Any, queries: Any) -> Any:
    """Return (n, n_steps): how much each step is looked at by `queries`, the same."""
    if not isinstance(layer, _HEADS):
        return layer.step_weights(steps, queries)
    _, weights = layer(steps, steps, return_attention_scores=True)
    return keras.ops.einsum("nq,nhqk->nk", queries, weights) / weights.shape[1]


def _as_list(outputs: Any) -> list:
    return list(outputs) if isinstance(outputs, list | tuple) else [outputs]


def _uniform_or_ends(steps: Any, last: bool, bidirectional: bool) -> Any:
    n, n_steps = steps.shape[:2]
    row = np.full(n_steps, 0.0 if last else 1 / n_steps, "float32")
    if last:
        row[-1] += 0.5 if bidirectional else 1.0
        row[0] += 0.5 if bidirectional else 0.0
    return keras.ops.convert_to_tensor(np.tile(row, (n, 1)), dtype=steps.dtype)
