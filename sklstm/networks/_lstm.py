"""The LSTM over a sequence: ``network="lstm"``."""

from typing import Any

from sklstm._keras import keras

from sklstm.networks._fused_lstm import FusedLSTM
from sklstm.networks.layers import (
    AttentionPooling,
    HyperDropout,
    HyperNoise,
    PenaltyStrength,
    Standardize,
)


def lstm(
    input_shape: tuple[int | None, ...],
    n_classes: int,
    *,
    units: int = 128,
    n_layers: int = 1,
    bidirectional: bool = True,
    embedding: str | None = None,
    embedding_units: int | None = None,
    pooling: str = "last",
    input_noise: float = 0.0,
    dropout: float = 0.0,
    l2: float = 0.0,
    batch_norm: bool = False,
) -> keras.Model:
    """Build a stacked, optionally bidirectional LSTM classifier.

    The layers keep to what the fused GPU kernel allows: tanh and sigmoid, a bias, no
    unrolling, no recurrent dropout. The recurrent kernels start orthogonal, the
    forget gates' bias at one (Jozefowicz et al., 2015).

    Parameters
    ----------
    input_shape : tuple
        ``(n_steps or None, n_features)`` of one sequence.
    n_classes : int
        Number of outputs, a softmax.
    units : int
        Hidden units per direction and layer.
    n_layers : int
        Number of LSTM layers.
    bidirectional : bool
        Read the steps in both directions and join the two.
    embedding : {None, "dense"}
        "dense" projects every step to `embedding_units` features first.
    embedding_units : int or None
        Features after the projection; None for `units`.
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

    Returns
    -------
    keras.Model
        Not compiled. Output (n, n_classes), probabilities in float32.
    """
    inputs = keras.Input(input_shape, name="sequence")
    x: Any = Standardize(name="standardize")(inputs)
    if input_noise > 0:
        x = HyperNoise(input_noise, name="input_noise")(x)
    regularizer = None
    if l2 > 0:
        penalty = PenaltyStrength(l2, name="l2")
        x = penalty(x)
        regularizer = penalty.regularizer()
    if embedding == "dense":
        x = keras.layers.Dense(
            units if embedding_units is None else embedding_units,
            kernel_regularizer=regularizer,
            name="embedding",
        )(x)
    for i in range(n_layers):
        last = i == n_layers - 1
        layer: Any = FusedLSTM(
            units,
            halves=not bidirectional,
            return_sequences=not (last and pooling == "last"),
            kernel_regularizer=regularizer,
            recurrent_regularizer=regularizer,
            recurrent_initializer="orthogonal",
            name=f"lstm_{i}",
        )
        if bidirectional:
            layer = keras.layers.Bidirectional(layer, name=f"bidirectional_{i}")
            # It copies the layer by its configuration, where the strength of the
            # penalty is a number; here it is a weight that can change.
            for direction in (layer.forward_layer, layer.backward_layer):
                direction.cell.kernel_regularizer = regularizer
                direction.cell.recurrent_regularizer = regularizer
        x = layer(x)
        if batch_norm:
            x = keras.layers.BatchNormalization(momentum=0.9, name=f"batch_norm_{i}")(x)
        if dropout > 0:
            x = HyperDropout(dropout, name=f"dropout_{i}")(x)
    if pooling == "mean":
        x = keras.layers.GlobalAveragePooling1D(name="pooling")(x)
    elif pooling == "max":
        x = keras.layers.GlobalMaxPooling1D(name="pooling")(x)
    elif pooling == "attention":
        x = AttentionPooling(kernel_regularizer=regularizer, name="pooling")(x)
    outputs = keras.layers.Dense(
        n_classes,
        activation="softmax",
        kernel_regularizer=regularizer,
        dtype="float32",
        name="probabilities",
    )(x)
    return keras.Model(inputs, outputs, name="lstm")
