"""LSTMs over a sequence, ``network="lstm"``, and what other networks share of it."""

from typing import Any

from sklstm._keras import keras

from sklstm.networks._blocks import classify, embed, lstm_stack, penalize, pool
from sklstm.networks._reading import read_input, takes
from sklstm.networks.layers import (
    MultiScaleAttention,
    SelfAttention,
)


@takes("sequences")
def lstm(
    input_shape: tuple[int | None, ...],
    n_classes: int,
    *,
    units: int = 64,
    n_layers: int = 1,
    bidirectional: bool = True,
    embedding: str | None = None,
    embedding_units: int | None = None,
    attention: str | None = None,
    n_heads: int = 4,
    windows: tuple[int, ...] = (4, 16, 64),
    pooling: str = "last",
    input_noise: float = 0.5,
    dropout: float = 0.3,
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
