"""Parts that the networks share: the penalty, the LSTM stack, pooling and the head."""

from typing import Any

from sklstm._keras import keras

from sklstm.networks.layers import (
    AttentionPooling,
    CumulativeLink,
    FusedLSTM,
    HyperDropout,
    PenaltyStrength,
    PixelEmbedding,
)


def penalize(x: Any, l2: float) -> tuple[Any, Any]:
    """Put the strength of the L2 penalty into the graph, where there is one.

    Returns `x` and the regularizer for all kernels, None without a penalty.
    """
    if l2 <= 0:
        return x, None
    penalty = PenaltyStrength(l2, name="l2")
    return penalty(x), penalty.regularizer()


def embed(
    x: Any, embedding: str | None, size: int | None, units: int, regularizer: Any
) -> Any:
    if embedding == "dense":
        return keras.layers.Dense(
            units if size is None else size,
            kernel_regularizer=regularizer,
            name="embedding",
        )(x)
    if embedding == "pixel":
        return PixelEmbedding(4 if size is None else size, name="embedding")(x)
    return x


def lstm_stack(
    x: Any,
    *,
    units: int,
    n_layers: int,
    bidirectional: bool,
    dropout: float,
    batch_norm: bool,
    regularizer: Any,
    last_step_only: bool = False,
    prefix: str = "",
) -> Any:
    """Stack LSTM layers on (n, n_steps, n_features).

    Gives (n, n_steps, directions * units), or (n, directions * units) with
    `last_step_only`: of each direction what it has read last.
    """
    for i in range(n_layers):
        layer: Any = FusedLSTM(
            units,
            halves=not bidirectional,
            return_sequences=not (last_step_only and i == n_layers - 1),
            kernel_regularizer=regularizer,
            recurrent_regularizer=regularizer,
            recurrent_initializer="orthogonal",
            name=f"{prefix}lstm_{i}",
        )
        if bidirectional:
            layer = both_ways(layer, regularizer, f"{prefix}bidirectional_{i}")
        x = layer(x)
        if batch_norm:
            x = keras.layers.BatchNormalization(
                momentum=0.9, name=f"{prefix}batch_norm_{i}"
            )(x)
        x = drop(x, dropout, f"{prefix}dropout_{i}")
    return x


def both_ways(layer: Any, regularizer: Any, name: str) -> Any:
    """Read in both directions with a recurrent layer and a copy of it."""
    layer = keras.layers.Bidirectional(layer, name=name)
    # It copies the layer by its configuration, where the strength of the penalty is a
    # number; here it is a weight that can change.
    for direction in (layer.forward_layer, layer.backward_layer):
        direction.cell.kernel_regularizer = regularizer
        direction.cell.recurrent_regularizer = regularizer
    return layer


def drop(x: Any, dropout: float, name: str) -> Any:
    return HyperDropout(dropout, name=name)(x) if dropout > 0 else x


def pool(
    x: Any, pooling: str, bidirectional: bool, regularizer: Any, name: str = "pooling"
) -> Any:
    """Make one vector of the steps: (n, n_steps, k) to (n, k)."""
    if pooling == "mean":
        return keras.layers.GlobalAveragePooling1D(name=name)(x)
    if pooling == "max":
        return keras.layers.GlobalMaxPooling1D(name=name)(x)
    if pooling == "attention":
        return AttentionPooling(kernel_regularizer=regularizer, name=name)(x)
    if not bidirectional:
        return x[:, -1]
    half = x.shape[-1] // 2  # the way back ends at the first step
    return keras.layers.Concatenate(name=name)([x[:, -1, :half], x[:, 0, half:]])


def classify(
    inputs: Any,
    x: Any,
    n_classes: int,
    regularizer: Any,
    name: str,
    ordinal: bool = False,
) -> keras.Model:
    """End a network: (n, k) to probabilities in float32, whatever the policy."""
    end: Any
    if ordinal:
        end = CumulativeLink(
            n_classes, kernel_regularizer=regularizer, name="probabilities"
        )
    else:
        end = keras.layers.Dense(
            n_classes,
            activation="softmax",
            kernel_regularizer=regularizer,
            dtype="float32",
            name="probabilities",
        )
    return keras.Model(inputs, end(x), name=name)


def n_head_weights(n_features: int, n_classes: int, ordinal: bool) -> int:
    """Count the weights that `classify` adds."""
    return n_features + n_classes - 1 if ordinal else (n_features + 1) * n_classes
