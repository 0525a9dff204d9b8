"""The network "window_lstm": a score for every window of an image."""

from typing import Any

from sklstm._keras import keras

from sklstm.networks._blocks import add_l2_penalty, lstm_stack
from sklstm.networks._convolutions import conv_block
from sklstm.networks._reading import read_input, takes
from sklstm.networks.crf._layer import LinearChainCRF
from sklstm.networks.layers import (
    FusedBatchNormalization,
    GridToLines,
    LinesToGrid,
    SelfAttention,
)
from sklstm.networks.layers._data_format import CHANNELS_LAST
from sklstm.networks.windows._lines import line_axes

# The stem halves an image twice before it cuts the windows.
STEM_STRIDE = 4


@takes("images")
def window_lstm(
    input_shape: tuple[int, ...],
    grid: tuple[int, int],
    *,
    index_map: Any,
    stem: tuple[tuple[int, int], tuple[int, int]] | None = None,
    units: int = 16,
    n_layers: int = 1,
    bidirectional: bool = True,
    attention: str | None = "multihead",
    n_heads: int = 4,
    filters: int = 16,
    contrast: tuple[int, ...] | None = (4, 16),
    crf: bool = True,
    decoder: bool = False,
    input_noise: float = 0.0,
    dropout: float = 0.2,
    l2: float = 0.0,
    batch_norm: bool = False,
    augmentation: Any = None,
) -> keras.Model:
    """Build LSTMs along the rows and along the columns of a grid of windows.

    Every row and every column of windows is a sequence. For each window, the network
    concatenates the outputs of both LSTM stacks with the features of the window itself,
    and computes a score from them: the log-odds of a defect. With `crf`, one
    linear-chain CRF along the rows and one along the columns continue from this score.

    Parameters
    ----------
    input_shape : tuple
        Shape (height, width, channels) of an image.
    grid : tuple of int
        Number of windows (down, across).
    index_map : ndarray of int, shape (n_steps, n_pixels_per_step)
        Pixels of the windows, row by row of the grid. Only used without `stem`.
    stem : tuple of tuple of int, or None
        Size (height, width) and stride (down, across) of the windows, all multiples of
        4. A convolutional stem then computes their features. If None, the features are
        computed from the pixels of each window alone.
    units : int
        Number of hidden units per direction, layer and stack.
    n_layers : int
        Number of LSTM layers of each stack.
    bidirectional : bool
        If True, read the rows and the columns in both directions.
    attention : {"multihead", "self", None}
        Attention between the windows of a line, after its LSTMs: a `SelfAttention` with
        `n_heads` heads or with one.
    n_heads : int
        Number of heads of "multihead".
    filters : int
        Number of filters of the stem at half the size of the image. At a quarter of the
        size it has twice as many.
    contrast : tuple of int or None
        Sizes of the surroundings of a `LocalContrast` layer. If None, the network reads
        the standardized pixels.
    crf : bool
        If True, add the CRFs.
    decoder : bool
        If True, add the log-odds of each pixel of a window. Convolutions compute them
        from the features of the windows, of the stem, and of the image at half of its
        size. The decoder needs a `stem` and windows that fill the image without
        overlap.
    input_noise : float
        Standard deviation of the Gaussian noise that training adds to the standardized
        input, after `contrast`.
    dropout, l2 : float
        See `lstm`.
    batch_norm : bool
        See `lstm`.
    augmentation : None, str, dict or keras.layers.Layer
        See `lstm`.

    Returns
    -------
    keras.Model
        Network, not compiled. Its output has the shape (n, down, across, n_channels),
        float32. The first channel is the score. With `crf`, the four log-potentials
        along the rows follow, and those along the columns; an axis with one window has
        none. With `decoder`, the log-odds of the pixels of a window come last, row by
        row. `split_outputs` and `split_pixels` split the output.

    Raises
    ------
    ValueError
        If `augmentation` is invalid, if `n_heads` does not divide the units of all
        directions, or if `decoder` is True and the windows do not fill the image
        without overlap.

    Examples
    --------
    >>> from sklstm import PatchSequencer
    >>> from sklstm.networks import window_lstm
    >>> index_map = PatchSequencer(8, 8).get_index_map((32, 32))
    >>> window_lstm((32, 32, 1), (4, 4), index_map=index_map).output_shape
    (None, 4, 4, 9)
    """
    inputs, x = read_input(
        input_shape,
        index_map=index_map if stem is None else None,
        augmentation=augmentation,
        input_noise=input_noise,
        contrast=contrast,
    )
    x, regularizer = add_l2_penalty(x, l2)
    if decoder and not fills(stem, grid, input_shape):
        raise ValueError(
            "decoder=True needs a stem and windows that fill the image without "
            f"overlap; got stem={stem}, grid={grid} and input_shape={input_shape}."
        )
    skips: list[Any] = []
    if stem is None:
        x = keras.layers.Reshape((*grid, -1), name="windows")(x)
        x = conv_block(x, 2 * units, 1, "embedding", regularizer)
    else:
        x, skips = _window_stem(x, stem, filters, regularizer)
    features = [x]
    for axis in line_axes(grid):
        lines = GridToLines(axis, name=f"{axis}_lines")(x)
        y = lstm_stack(
            lines,
            units=units,
            n_layers=n_layers,
            bidirectional=bidirectional,
            dropout=dropout,
            batch_norm=batch_norm,
            regularizer=regularizer,
            prefix=f"{axis}_",
        )
        if attention is not None:
            y = SelfAttention(
                n_heads if attention == "multihead" else 1,
                kernel_regularizer=regularizer,
                name=f"{axis}_attention",
            )(y)
        features.append(LinesToGrid(axis, grid, name=f"{axis}_grid")(y))
    x = keras.layers.Concatenate(name="join")(features) if len(features) > 1 else x
    x = conv_block(x, 2 * units, 1, "fuse", regularizer)
    score = keras.layers.Dense(
        1, kernel_regularizer=regularizer, dtype="float32", name="score"
    )(x)
    outputs = [score]
    for axis in line_axes(grid) if crf else ():
        # Half precision is not enough for sums over hundreds of steps.
        single = {"dtype": "float32"}
        lines = GridToLines(axis, name=f"{axis}_scores", **single)(score)
        # The label "no defect" has the score 0.
        pairs = keras.layers.Concatenate(name=f"{axis}_labels", **single)(
            [lines * 0, lines]
        )
        chain = LinearChainCRF(name=f"{axis}_crf", **single)(pairs)
        chain = keras.layers.Reshape((-1, 4), name=f"{axis}_flat", **single)(chain)
        outputs.append(
            LinesToGrid(axis, grid, name=f"{axis}_potentials", **single)(chain)
        )
    if decoder:
        assert stem is not None
        outputs.append(_decode(x, skips, grid, stem[0], filters, regularizer))
    out = keras.layers.Concatenate(dtype="float32", name="outputs")(outputs)
    return keras.Model(inputs, out, name="window_lstm")


def fills(stem: tuple | None, grid: tuple[int, int], shape: tuple[int, ...]) -> bool:
    """Return whether the windows of a stem fill the image without overlap."""
    if stem is None:
        return False
    sides, strides = stem
    whole = tuple(n * side for n, side in zip(grid, sides, strict=True))
    return tuple(sides) == tuple(strides) and whole == tuple(shape[:2])


def _window_stem(
    x: Any, windows: tuple, filters: int, regularizer: Any
) -> tuple[Any, list[Any]]:
    """Compute the features of windows.

    Returns the features (n, down, across, 4 * filters), and those of the stem at half
    and at a quarter of the size of the image.
    """
    made = []
    for i, (width, strides) in enumerate(
        ((filters, 2), (2 * filters, 2), (2 * filters, 1))
    ):
        x = conv_block(x, width, 3, f"stem_{i}", regularizer, strides=strides)
        made.append(x)
    size, stride = (tuple(s // STEM_STRIDE for s in pair) for pair in windows)
    x = keras.layers.Conv2D(
        4 * filters,
        size,
        strides=stride,
        use_bias=False,
        kernel_regularizer=regularizer,
        name="windows",
        **CHANNELS_LAST,
    )(x)
    x = FusedBatchNormalization(momentum=0.9, name="windows_norm")(x)
    x = keras.layers.ReLU(name="windows_relu")(x)
    return conv_block(x, 4 * filters, 3, "context", regularizer), [made[0], made[2]]


def _decode(
    x: Any,
    skips: list[Any],
    grid: tuple[int, int],
    sides: tuple[int, int],
    filters: int,
    regularizer: Any,
) -> Any:
    """Return the log-odds (n, down, across, n_pixels) of the pixels of windows.

    At a quarter and at half of the size of the image, the features of the windows meet
    those of the stem, as in a U-Net (Ronneberger et al., 2015). Each position of the
    last map holds the log-odds of four pixels (Shi et al., 2016).
    """
    layers = keras.layers
    half, quarter = skips
    factors = tuple(side // STEM_STRIDE for side in sides)
    for i, (factor, skip, width) in enumerate(
        ((factors, quarter, 2 * filters), ((2, 2), half, filters))
    ):
        x = layers.UpSampling2D(factor, name=f"decoder_{i}_up", **CHANNELS_LAST)(x)
        x = layers.Concatenate(name=f"decoder_{i}_join")([x, skip])
        x = conv_block(x, width, 3, f"decoder_{i}", regularizer)
    single = {"dtype": "float32"}
    x = layers.Conv2D(
        4, 1, kernel_regularizer=regularizer, name="pixels", **CHANNELS_LAST, **single
    )(x)
    # From places at half of the size, each with 2 x 2 pixels, to windows of pixels.
    (down, across), (height, width) = grid, sides
    parts = (down, height // 2, across, width // 2, 2, 2)
    x = layers.Reshape(parts, name="pixels_split", **single)(x)
    x = layers.Permute((1, 3, 2, 5, 4, 6), name="pixels_order", **single)(x)
    return layers.Reshape((*grid, height * width), name="pixels_join", **single)(x)
