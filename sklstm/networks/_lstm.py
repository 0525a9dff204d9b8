"""LSTMs over a sequence, ``network="lstm"``, and what other networks share of it."""

from typing import Any

from sklstm._keras import keras

from sklstm.networks._reading import read_input, takes
from sklstm.networks.layers._attention import (
    AttentionPooling,
    MultiScaleAttention,
    SelfAttention,
)
from sklstm.networks.layers._fused_lstm import FusedLSTM
from sklstm.networks.layers._hyperparameters import (
    HyperDropout,
    PenaltyStrength,
    PixelEmbedding,
)
from sklstm.networks.layers._ordinal import CumulativeLink


@takes("sequences")
def lstm(
    input_shape: tuple[int | None, ...],
    n_classes: int,
    *,
    units: int = 128,
    n_layers: int = 1,
    bidirectional: bool = True,
    embedding: str | None = None,
    embedding_units: int | None = None,
    attention: str | None = None,
    n_heads: int = 4,
    windows: tuple[int, ...] = (4, 16, 64),
    pooling: str = "last",
    input_noise: float = 0.0,
    dropout: float = 0.0,
    l2: float = 0.0,
    batch_norm: bool = False,
    index_map: Any = None,
    augmentation: Any = None,
    ordinal: bool = False,
) -> keras.Model:
    """Build a stacked, optionally bidirectional LSTM classifier.

    The layers keep to what the fused GPU kernel allows: tanh and sigmoid, a bias, no
    unrolling, no recurrent dropout. The recurrent kernels start orthogonal, the
    forget gates' bias at one (Jozefowicz et al., 2015).

    Parameters
    ----------
    input_shape : tuple
        ``(n_steps or None, n_features)`` of one sequence; with `index_map`,
        ``(height, width, channels)`` of an image or ``(depth, height, width,
        channels)`` of a volume.
    n_classes : int
        Number of outputs.
    units : int
        Hidden units per direction and layer.
    n_layers : int
        Number of LSTM layers.
    bidirectional : bool
        Read the steps in both directions and join the two.
    embedding : {None, "dense", "pixel"}
        "dense" projects every step to `embedding_units` features first; "pixel" gives
        each of 256 grey levels a learned vector of `embedding_units`, joined per step.
    embedding_units : int or None
        None for `units` ("dense") or 4 ("pixel").
    attention : {None, "self", "multihead", "multiscale", "additive"}
        Attention over the steps, between the LSTM and the pooling. "additive" takes
        the pooling's place.
    n_heads : int
        Heads of "multihead".
    windows : tuple of int
        Window sizes of "multiscale", in steps.
    pooling : {"last", "mean", "max", "attention"}
        How the steps become one vector. "last" is the last step each direction reads.
    input_noise : float
        Standard deviation of the noise added in training to the standardized input.
    dropout : float
        Rate after every LSTM layer.
    l2 : float
        Strength of the penalty on every kernel.
    batch_norm : bool
        Batch normalization after every LSTM layer.
    index_map : ndarray of int, shape (n_steps, n_pixels_per_step), or None
        Scan by which images become sequences inside the network.
    augmentation : None, str, dict or keras.layers.Layer
        What training does to images before the scan.
    ordinal : bool
        End in a `CumulativeLink`, for ordered classes, and not in a softmax.

    Returns
    -------
    keras.Model
        Not compiled. Output (n, n_classes), probabilities in float32.
    """
    inputs, x = read_input(
        input_shape,
        index_map=index_map,
        augmentation=augmentation,
        input_noise=input_noise,
    )
    x, regularizer = penalize(x, l2)
    x = embed(x, embedding, embedding_units, units, regularizer)
    if attention == "additive":
        attention, pooling = None, "attention"
    last = pooling == "last" and attention is None
    x = lstm_stack(
        x,
        units=units,
        n_layers=n_layers,
        bidirectional=bidirectional,
        dropout=dropout,
        batch_norm=batch_norm,
        regularizer=regularizer,
        last_step_only=last,
    )
    if attention in ("self", "multihead"):
        x = SelfAttention(
            n_heads if attention == "multihead" else 1,
            kernel_regularizer=regularizer,
            name="attention",
        )(x)
    elif attention == "multiscale":
        x = MultiScaleAttention(
            windows, kernel_regularizer=regularizer, name="attention"
        )(x)
    if not last:
        x = pool(x, pooling, bidirectional, regularizer)
    return classify(inputs, x, n_classes, regularizer, "lstm", ordinal)


def penalize(x: Any, l2: float) -> tuple[Any, Any]:
    """Put the strength of the L2 penalty into the graph, where there is one.

    Returns `x` and the regularizer for all kernels, None without a penalty.
    """
    if l2 <= 0:
        return x, None
    penalty = PenaltyStrength(l2, name="l2")
    return penalty(x), penalty.regularizer()


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


def drop(x: Any, dropout: float, name: str) -> Any:
    return HyperDropout(dropout, name=name)(x) if dropout > 0 else x


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
