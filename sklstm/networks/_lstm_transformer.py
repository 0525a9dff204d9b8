"""LSTMs, then transformer encoder blocks: ``network="lstm_transformer"``."""

from typing import Any

from sklstm._keras import keras

from sklstm.networks._blocks import classify, drop, embed, lstm_stack, penalize, pool
from sklstm.networks._reading import read_input, takes
from sklstm.networks.layers import MultiScaleAttention, PositionEncoding


@takes("sequences")
def lstm_transformer(
    input_shape: tuple[int | None, ...],
    n_classes: int,
    *,
    units: int = 64,
    n_layers: int = 1,
    bidirectional: bool = True,
    embedding: str | None = None,
    embedding_units: int | None = None,
    attention: str | None = None,
    n_blocks: int = 1,
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
    """Build LSTM layers followed by transformer encoder blocks.

    A block is ``x += attention(norm(x))``, ``x += mlp(norm(x))`` with normalization
    first (Xiong et al., 2020), GELU, and an MLP of twice the width.

    Parameters
    ----------
    input_shape, n_classes, units, n_layers, bidirectional, embedding, embedding_units
        As in `lstm`.
    attention : {None, "multihead", "self", "multiscale", "additive"}
        That of the blocks: "multihead", which None is too, "self" for one head, or
        "multiscale". "additive" leaves it and takes the pooling's place.
    n_blocks : int
        Encoder blocks.
    n_heads : int
        Heads of each block's attention.
    windows : tuple of int
        Window sizes of "multiscale", in steps.
    pooling, input_noise, dropout, l2, batch_norm, index_map, augmentation, ordinal
        As in `lstm`; `dropout` also within the blocks.

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
    x = lstm_stack(
        x,
        units=units,
        n_layers=n_layers,
        bidirectional=bidirectional,
        dropout=dropout,
        batch_norm=batch_norm,
        regularizer=regularizer,
    )
    width = x.shape[-1]
    x = PositionEncoding(name="positions")(x)
    if attention == "additive":
        attention, pooling = None, "attention"
    heads = 1 if attention == "self" else n_heads
    if heads < 1:
        raise ValueError(f"n_heads={heads} must be at least 1.")
    for i in range(n_blocks):
        if attention == "multiscale":
            x = MultiScaleAttention(
                windows, kernel_regularizer=regularizer, name=f"block_{i}_attention"
            )(x)
        else:
            y = keras.layers.LayerNormalization(name=f"block_{i}_norm_0")(x)
            y = keras.layers.MultiHeadAttention(
                heads,
                max(1, width // heads),
                kernel_regularizer=regularizer,
                name=f"block_{i}_attention",
            )(y, y)
            x = x + drop(y, dropout, f"block_{i}_dropout_0")
        y = keras.layers.LayerNormalization(name=f"block_{i}_norm_1")(x)
        for name, size, activation in (
            ("in", 2 * width, "gelu"),
            ("out", width, None),
        ):
            y = keras.layers.Dense(
                size,
                activation=activation,
                kernel_regularizer=regularizer,
                name=f"block_{i}_mlp_{name}",
            )(y)
        x = x + drop(y, dropout, f"block_{i}_dropout_1")
    x = keras.layers.LayerNormalization(name="norm")(x)
    x = pool(x, pooling, bidirectional, regularizer)
    return classify(inputs, x, n_classes, regularizer, "lstm_transformer", ordinal)
