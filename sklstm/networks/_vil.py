"""The network "vil": mLSTM blocks that read patches in alternating directions."""

from typing import Any

from sklstm._keras import keras

from sklstm.networks._blocks import (
    add_dropout,
    add_l2_penalty,
    check_pooling,
    classifier_model,
    pool_steps,
)
from sklstm.networks._reading import read_input, takes
from sklstm.networks.layers import (
    DropPath,
    GridConvolution,
    MatrixLSTM,
    Patches,
    PositionEmbedding,
)
from sklstm.networks.layers._patches import patch_side

# By default, an image has about this many patches along each side. Time grows with the
# fourth power of it.
_PATCHES_PER_SIDE = 8


@takes("images")
def vil(
    input_shape: tuple[int, ...],
    n_classes: int,
    *,
    units: int = 64,
    bidirectional: bool = True,
    patch_size: int | None = None,
    n_blocks: int = 4,
    n_heads: int = 4,
    drop_path: float = 0.0,
    pooling: str = "mean",
    input_noise: float = 0.2,
    dropout: float = 0.3,
    l2: float = 0.0,
    augmentation: Any = None,
    ordinal: bool = False,
) -> keras.Model:
    """Build a Vision-LSTM: blocks of mLSTMs that read the patches of an image [1]_.

    The image is cut into patches. A linear function turns each into a token of `units`
    features, and a learned vector of its position is added. Blocks with residual
    connections then change the tokens. A block normalizes its input and projects it to
    two sequences of ``2 * units`` features. A 3 x 3 convolution over the grid of
    patches and a SiLU follow on the first one, and a `MatrixLSTM` reads the result in
    raster order. The SiLU of the second one multiplies the output, which a linear
    function brings back to `units` features. The first block reads from the top left,
    the second one from the bottom right, and so on.

    Parameters
    ----------
    input_shape : tuple
        Shape (height, width, channels) of an image.
    n_classes : int
        Number of classes.
    units : int
        Number of features of a token. ``2 * units`` must be a multiple of four and of
        `n_heads`.
    bidirectional : bool
        If True, every second block reads backwards. If False, none does.
    patch_size : int or None
        Side of the square patches, in pixels. If None, it is the smallest side that
        gives no more patches than about 8 x 8: 1 for images of 8 x 8, 4 for 28 x 28,
        8 for 64 x 64.
    n_blocks : int
        Number of blocks.
    n_heads : int
        Number of heads of each mLSTM.
    drop_path : float
        Probability that training leaves out the last block for a sample [2]_. It grows
        linearly with the number of the block.
    pooling : {"last", "mean", "max"}
        How to make one vector of all tokens. "last" joins the tokens that the two
        directions read last: the one at the bottom right and the one at the top left,
        as in the paper. If not `bidirectional`, it takes the former alone. "mean"
        learns faster from few images.
    input_noise : float
        See `lstm`.
    dropout : float
        Dropout rate before the head.
    l2 : float
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
        If `augmentation`, `patch_size` or `pooling` is invalid, if `n_blocks` or
        `n_heads` is less than 1, or if `units` does not suit `n_heads`.

    References
    ----------
    .. [1] B. Alkin, M. Beck, K. Pöppel, S. Hochreiter and J. Brandstetter,
       "Vision-LSTM: xLSTM as generic vision backbone", ICLR 2025.
    .. [2] G. Huang, Y. Sun, Z. Liu, D. Sedra and K. Q. Weinberger, "Deep networks with
       stochastic depth", ECCV 2016.

    Examples
    --------
    >>> from sklstm.networks import vil
    >>> vil((28, 28, 1), n_classes=10).output_shape
    (None, 10)
    """
    check_pooling(pooling, ("max", "mean", "last"), "network='vil'")
    if n_blocks < 1:
        raise ValueError(f"n_blocks={n_blocks} must be at least 1.")
    if n_heads < 1:
        raise ValueError(f"n_heads={n_heads} must be at least 1.")
    if 2 * units % 4 or 2 * units % n_heads:
        raise ValueError(
            f"units={units} gives a block {2 * units} features, which must be a "
            f"multiple of four and of n_heads={n_heads}: change units or "
            "network__n_heads."
        )
    height, width = input_shape[:2]
    side = patch_side(patch_size, height, width, _PATCHES_PER_SIDE)
    inputs, x = read_input(
        input_shape, augmentation=augmentation, input_noise=input_noise
    )
    x, regularizer = add_l2_penalty(x, l2)
    x = Patches(side, name="patches")(x)
    grid = tuple(x.shape[1:3])
    x = keras.layers.Reshape((grid[0] * grid[1], x.shape[-1]), name="tokens")(x)
    x = keras.layers.Dense(units, kernel_regularizer=regularizer, name="embedding")(x)
    x = PositionEmbedding(name="positions")(x)
    for i in range(n_blocks):
        y = _block(
            x,
            grid,
            n_heads=n_heads,
            reverse=bidirectional and i % 2 == 1,
            regularizer=regularizer,
            prefix=f"block_{i}_",
        )
        if drop_path > 0:
            share = (i + 1) / n_blocks
            y = DropPath(drop_path, share, name=f"block_{i}_drop_path")(y)
        x = keras.layers.Add(name=f"block_{i}_add")([x, y])
    x = keras.layers.LayerNormalization(name="norm")(x)
    if pooling == "last" and bidirectional:
        x = keras.layers.Concatenate(name="pooling")([x[:, -1], x[:, 0]])
    else:
        x = pool_steps(x, pooling, False, regularizer)
    x = add_dropout(x, dropout, "dropout")
    return classifier_model(inputs, x, n_classes, regularizer, "vil", ordinal)


def _block(
    x: Any,
    grid: tuple[int, int],
    *,
    n_heads: int,
    reverse: bool,
    regularizer: Any,
    prefix: str,
) -> Any:
    """Return what a block adds to its tokens (n, n_tokens, units)."""
    layers = keras.layers
    units = x.shape[-1]
    x = layers.LayerNormalization(name=f"{prefix}norm")(x)
    values, gate = (
        layers.Dense(
            2 * units,
            activation=activation,
            kernel_regularizer=regularizer,
            name=f"{prefix}{name}",
        )(x)
        for name, activation in (("up", None), ("gate", "silu"))
    )
    y = GridConvolution(grid, kernel_regularizer=regularizer, name=f"{prefix}conv")(
        values
    )
    y = layers.Activation("silu", name=f"{prefix}silu")(y)
    y = MatrixLSTM(
        n_heads, reverse, kernel_regularizer=regularizer, name=f"{prefix}mlstm"
    )(y, values)
    y = layers.Multiply(name=f"{prefix}gated")([y, gate])
    return layers.Dense(units, kernel_regularizer=regularizer, name=f"{prefix}down")(y)
