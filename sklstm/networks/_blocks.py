"""Blocks that several networks share: L2 penalty, LSTM stack, pooling, head."""

from collections.abc import Callable
from typing import Any

from sklstm._keras import keras

from sklstm.networks.layers import (
    AttentionPooling,
    CumulativeLink,
    FusedBidirectional,
    FusedLSTM,
    HyperDropout,
    PenaltyStrength,
    PixelEmbedding,
)


def add_l2_penalty(x: Any, l2: float) -> tuple[Any, Any]:
    """Add the layer that holds the strength of the L2 penalty.

    Returns `x` and the regularizer for all kernels. Without a penalty, the regularizer
    is None and the graph does not change.
    """
    if l2 <= 0:
        return x, None
    penalty = PenaltyStrength(l2, name="l2")
    return penalty(x), penalty.regularizer()


def embed_steps(
    x: Any, embedding: str | None, size: int | None, units: int, regularizer: Any
) -> Any:
    """Embed every step of (n, n_steps, n_features), or return it as it is."""
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

    Each layer is followed by batch normalization, if `batch_norm`, and dropout. The
    names of all layers begin with `prefix`. The result is (n, n_steps, directions *
    units). With `last_step_only`, it is (n, directions * units): the output of each
    direction at the step it reads last.
    """
    for i in range(n_layers):
        layer = lstm_layer(
            units,
            bidirectional=bidirectional,
            return_sequences=not (last_step_only and i == n_layers - 1),
            regularizer=regularizer,
            prefix=prefix,
            suffix=f"_{i}",
        )
        x = layer(x)
        if batch_norm:
            x = keras.layers.BatchNormalization(
                momentum=0.9, name=f"{prefix}batch_norm_{i}"
            )(x)
        x = add_dropout(x, dropout, f"{prefix}dropout_{i}")
    return x


def lstm_layer(
    units: int,
    *,
    bidirectional: bool,
    return_sequences: bool,
    regularizer: Any,
    prefix: str = "",
    suffix: str = "",
) -> Any:
    """Make an LSTM layer that reads in one direction or in both.

    `prefix` and `suffix` are added to its name, which is "lstm" or "bidirectional".
    """
    layer = FusedLSTM(
        units,
        halves=not bidirectional,
        return_sequences=return_sequences,
        kernel_regularizer=regularizer,
        recurrent_regularizer=regularizer,
        recurrent_initializer="orthogonal",
        name=f"{prefix}lstm{suffix}",
    )
    if not bidirectional:
        return layer
    return make_bidirectional(layer, regularizer, f"{prefix}bidirectional{suffix}")


def make_bidirectional(layer: Any, regularizer: Any, name: str) -> Any:
    """Let a recurrent layer read in both directions."""
    layer = FusedBidirectional(layer, name=name)
    # Keras copies the layer from its configuration, which holds the strength of the
    # penalty as a number. The regularizer given here follows the weight.
    for direction in (layer.forward_layer, layer.backward_layer):
        direction.cell.kernel_regularizer = regularizer
        direction.cell.recurrent_regularizer = regularizer
    return layer


def add_dropout(x: Any, dropout: float, name: str) -> Any:
    """Add a dropout layer, unless the rate is 0."""
    return HyperDropout(dropout, name=name)(x) if dropout > 0 else x


def check_pooling(pooling: str, known: tuple[str, ...], where: str) -> None:
    """Raise an error if a pooling is none of those that a network has."""
    if pooling not in known:
        *others, last = map(repr, known)
        raise ValueError(
            f"pooling={pooling!r} is none of {', '.join(others)} and {last}, which "
            f"{where} has."
        )


def pool_steps(
    x: Any, pooling: str, bidirectional: bool, regularizer: Any, name: str = "pooling"
) -> Any:
    """Pool the steps of (n, n_steps, k) into one vector (n, k).

    `pooling` is "mean", "max", "attention" or "last": the output of each direction at
    the step it reads last.
    """
    if pooling == "mean":
        return keras.layers.GlobalAveragePooling1D(name=name)(x)
    if pooling == "max":
        return keras.layers.GlobalMaxPooling1D(name=name)(x)
    if pooling == "attention":
        return AttentionPooling(kernel_regularizer=regularizer, name=name)(x)
    if not bidirectional:
        return x[:, -1]
    half = x.shape[-1] // 2  # the backward direction reads the first step last
    return keras.layers.Concatenate(name=name)([x[:, -1, :half], x[:, 0, half:]])


def classifier_model(
    inputs: Any,
    x: Any,
    n_classes: int,
    regularizer: Any,
    name: str,
    ordinal: bool = False,
) -> keras.Model:
    """Add the head, from (n, k) to probabilities (n, n_classes), and make the model.

    The probabilities are float32 under every dtype policy.
    """
    head: Any
    if ordinal:
        head = CumulativeLink(
            n_classes, kernel_regularizer=regularizer, name="probabilities"
        )
    else:
        head = keras.layers.Dense(
            n_classes,
            activation="softmax",
            kernel_regularizer=regularizer,
            dtype="float32",
            name="probabilities",
        )
    return keras.Model(inputs, head(x), name=name)


def count_head_weights(n_features: int, n_classes: int, ordinal: bool) -> int:
    """Count the weights that `classifier_model` adds."""
    return n_features + n_classes - 1 if ordinal else (n_features + 1) * n_classes


def matching_width(n_weights: Callable[[int], int], target: int) -> int:
    """Return the width for which a control has nearly `target` weights.

    `n_weights` counts the weights of the control for a width. It grows with the width.
    """
    width = 1
    while n_weights(width + 1) <= target:
        width += 1
    return min((width, width + 1), key=lambda w: abs(n_weights(w) - target))
