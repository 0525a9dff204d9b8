"""A label for every window of an image, on a grid: ``network="window_lstm"``."""

from typing import Any

from sklstm._keras import keras

from sklstm.networks._blocks import add_l2_penalty, lstm_stack
from sklstm.networks._convolutions import conv_block
from sklstm.networks._reading import read_input, takes
from sklstm.networks.crf._layer import LinearChainCRF
from sklstm.networks.layers import SelfAttention
from sklstm.networks.layers._data_format import CHANNELS_LAST
from sklstm.networks.windows._lines import GridToLines, LinesToGrid, line_axes

# The stem halves an image twice before windows are cut.
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
    input_noise: float = 0.0,
    dropout: float = 0.2,
    l2: float = 0.0,
    batch_norm: bool = False,
    augmentation: Any = None,
) -> keras.Model:
    """Build LSTMs along the rows and along the columns of a grid of windows.

    Every row of windows is a sequence, and every column is one. What the two directions
    say of a window is joined to what it is itself, and becomes one score: how much more
    likely it is defective than not. With `crf`, a linear-chain CRF along the rows and
    another along the columns go on from that score.

    Parameters
    ----------
    input_shape : tuple
        ``(height, width, channels)``.
    grid : tuple of int
        Windows (down, across).
    index_map : ndarray of int, shape (n_steps, n_pixels_per_step)
        The windows, row by row of the grid.
    stem : tuple of tuple of int, or None
        ((height, width), (stride down, stride across)) of the windows, all multiples
        of 4: their features then come from a stem of convolutions, `filters` wide at
        half the size and twice that at a quarter. None for their pixels.
    units, n_layers, bidirectional, batch_norm
        Of the LSTMs of either axis.
    attention : {"multihead", "self", None}
        Attention between the windows of a line, after its LSTM.
    n_heads : int
        Heads of "multihead".
    filters : int
        See `stem`.
    contrast : tuple of int or None
        Surroundings that pixels are compared with, see `LocalContrast`. None for the
        pixels as they are.
    crf : bool
        End in chains.
    input_noise, dropout, l2, augmentation
        As in `lstm`; noise is added after `contrast`.

    Returns
    -------
    keras.Model
        Not compiled. Output (n, down, across, 1), the score; with `crf`, and the four
        log-potentials of a chain along the rows, and those of one along the columns,
        where these are longer than one window; see `split_outputs`.
    """
    inputs, x = read_input(
        input_shape,
        index_map=index_map if stem is None else None,
        augmentation=augmentation,
        input_noise=input_noise,
        contrast=contrast,
    )
    x, regularizer = add_l2_penalty(x, l2)
    if stem is None:
        x = keras.layers.Reshape((*grid, -1), name="windows")(x)
        x = conv_block(x, 2 * units, 1, "embedding", regularizer)
    else:
        x = _window_stem(x, stem, filters, regularizer)
    found = [x]
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
        found.append(LinesToGrid(axis, grid, name=f"{axis}_grid")(y))
    x = keras.layers.Concatenate(name="join")(found) if len(found) > 1 else x
    x = conv_block(x, 2 * units, 1, "fuse", regularizer)
    score = keras.layers.Dense(
        1, kernel_regularizer=regularizer, dtype="float32", name="score"
    )(x)
    outputs = [score]
    for axis in line_axes(grid) if crf else ():
        single = {"dtype": "float32"}  # chains sum up hundreds of steps
        lines = GridToLines(axis, name=f"{axis}_scores", **single)(score)
        # Beside "no defect", whose score is 0.
        pairs = keras.layers.Concatenate(name=f"{axis}_labels", **single)(
            [lines * 0, lines]
        )
        chain = LinearChainCRF(name=f"{axis}_crf", **single)(pairs)
        chain = keras.layers.Reshape((-1, 4), name=f"{axis}_flat", **single)(chain)
        outputs.append(
            LinesToGrid(axis, grid, name=f"{axis}_potentials", **single)(chain)
        )
    out = keras.layers.Concatenate(dtype="float32", name="outputs")(outputs)
    return keras.Model(inputs, out, name="window_lstm")


def _window_stem(x: Any, windows: tuple, filters: int, regularizer: Any) -> Any:
    for i, (width, strides) in enumerate(
        ((filters, 2), (2 * filters, 2), (2 * filters, 1))
    ):
        x = conv_block(x, width, 3, f"stem_{i}", regularizer, strides=strides)
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
    x = keras.layers.BatchNormalization(momentum=0.9, name="windows_norm")(x)
    x = keras.layers.ReLU(name="windows_relu")(x)
    return conv_block(x, 4 * filters, 3, "context", regularizer)
