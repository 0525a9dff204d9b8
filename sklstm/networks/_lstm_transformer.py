"""The network "lstm_transformer": LSTMs, then transformer encoder blocks."""

from typing import Any

from sklstm._keras import keras

from sklstm.networks._blocks import (
    add_dropout,
    add_l2_penalty,
    check_pooling,
    classifier_model,
    embed_steps,
    lstm_stack,
    pool_steps,
)
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

    A block is ``x += attention(norm(x))``, then ``x += mlp(norm(x))``. The layer
    normalization comes first (Xiong et al., 2020). The MLP has one hidden layer with
    GELU, twice as wide as its input.

    Parameters
    ----------
    input_shape : tuple
        See `lstm`.
    n_classes, units, n_layers : int
        See `lstm`.
    bidirectional : bool
        See `lstm`.
    embedding : {None, "dense", "pixel"}
        See `lstm`.
    embedding_units : int or None
        See `lstm`.
    attention : {None, "multihead", "self", "multiscale", "additive"}
        Attention of the blocks. None and "multihead" have `n_heads` heads, "self" has
        one. "multiscale" is a `MultiScaleAttention`. "additive" keeps the attention of
        None and replaces the pooling by `AttentionPooling`.
    n_blocks : int
        Number of encoder blocks.
    n_heads : int
        Number of attention heads of each block.
    windows : tuple of int
        Window sizes of "multiscale", in steps.
    pooling : {"last", "mean", "max", "attention"}
        See `lstm`.
    input_noise : float
        See `lstm`.
    dropout : float
        Dropout rate after every LSTM layer and inside the blocks.
    l2 : float
        See `lstm`.
    batch_norm : bool
        See `lstm`.
    index_map : ndarray of int, shape (n_steps, n_pixels_per_step), or None
        See `lstm`.
    augmentation : None, str, dict or keras.layers.Layer
        See `lstm`.
    ordinal : bool
        See `lstm`.

    Returns
    -------
    keras.Model
        Network, not compiled. Its output has the shape (n, n_classes) and contains
        probabilities, float32.

    Raises
    ------
    ValueError
        If `augmentation` or `windows` is invalid, or if `n_heads` is less than 1.

    References
    ----------
    Xiong, R., Yang, Y., He, D., Zheng, K., Zheng, S., Xing, C., Zhang, H., Lan, Y.,
    Wang, L. and Liu, T.-Y. (2020). On layer normalization in the transformer
    architecture. ICML.

    Examples
    --------
    >>> from sklstm.networks import lstm_transformer
    >>> lstm_transformer((None, 28), n_classes=10, n_blocks=2).output_shape
    (None, 10)
    """
    check_pooling(
        pooling, ("last", "mean", "max", "attention"), "network='lstm_transformer'"
    )
    inputs, x = read_input(
        input_shape,
        index_map=index_map,
        augmentation=augmentation,
        input_noise=input_noise,
    )
    x, regularizer = add_l2_penalty(x, l2)
    x = embed_steps(x, embedding, embedding_units, units, regularizer)
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
            x = x + add_dropout(y, dropout, f"block_{i}_dropout_0")
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
        x = x + add_dropout(y, dropout, f"block_{i}_dropout_1")
    x = keras.layers.LayerNormalization(name="norm")(x)
    x = pool_steps(x, pooling, bidirectional, regularizer)
    return classifier_model(
        inputs, x, n_classes, regularizer, "lstm_transformer", ordinal
    )
