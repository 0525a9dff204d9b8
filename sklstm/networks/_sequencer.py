"""The network "sequencer": blocks with LSTMs along rows and columns."""

from dataclasses import dataclass
from numbers import Integral
from typing import Any

from sklstm._keras import keras

from sklstm.networks._blocks import add_dropout, add_l2_penalty, classifier_model
from sklstm.networks._reading import read_input, takes
from sklstm.networks._scan_2d import bilstm_2d
from sklstm.networks.layers import DropPath, Patches
from sklstm.networks.layers._data_format import CHANNELS_LAST
from sklstm.networks.layers._patches import patch_side


@dataclass(frozen=True)
class _Preset:
    """Sizes of a network, stage by stage, and the side of its patches."""

    depths: tuple[int, ...]
    widths: tuple[int, ...]
    patch_size: int | None = None


_PUBLISHED_WIDTHS = (192, 384, 384, 384)
PRESETS = {
    "tiny": _Preset((2, 2), (64, 128)),
    "s": _Preset((4, 3, 8, 3), _PUBLISHED_WIDTHS, 7),
    "m": _Preset((4, 3, 14, 3), _PUBLISHED_WIDTHS, 7),
    "l": _Preset((8, 8, 16, 4), _PUBLISHED_WIDTHS, 7),
}
# The layer normalizations of the published networks add this to the variance.
_EPSILON = 1e-6
# The hidden layer of an MLP is so many times as wide as its input.
_MLP_RATIO = 3


@takes("images")
def sequencer(
    input_shape: tuple[int, ...],
    n_classes: int,
    *,
    preset: str = "tiny",
    depths: tuple[int, ...] | None = None,
    widths: tuple[int, ...] | None = None,
    patch_size: int | None = None,
    bidirectional: bool = True,
    drop_path: float = 0.0,
    input_noise: float = 0.2,
    dropout: float = 0.3,
    l2: float = 0.0,
    augmentation: Any = None,
    ordinal: bool = False,
) -> keras.Model:
    """Build a Sequencer2D, whose blocks have LSTMs in the place of attention.

    The image is cut into patches, and each patch becomes a vector. The vectors stay in
    their grid. A block is ``x += bilstm(norm(x))``, then ``x += mlp(norm(x))`` [1]_. In
    ``bilstm``, one LSTM reads the rows of the grid and another reads its columns, both
    in both directions, and a dense layer joins what they give for each position. Each
    LSTM has a quarter of the width of its stage as units. The MLP has one hidden layer
    with GELU, three times as wide as its input. Before the second stage, a convolution
    with stride 2 halves the grid. Before each later stage, a dense layer projects each
    position. The mean over all positions of the last grid, normalized before, goes to
    the head.

    Parameters
    ----------
    input_shape : tuple
        Shape (height, width, channels) of an image.
    n_classes : int
        Number of classes.
    preset : {"tiny", "s", "m", "l"}
        Size of the network. "tiny" is for images of about 28 to 64 pixels and has two
        stages. "s", "m" and "l" are the published networks for 224 pixels, with patches
        of 7 and four stages.
    depths : tuple of int or None
        Number of blocks of each stage. If None, the preset decides.
    widths : tuple of int or None
        Number of features of a position in each stage, a multiple of 4. If None, the
        preset decides.
    patch_size : int or None
        Side of the patches in pixels. If None, the preset decides. For "tiny", it is
        the smallest size that gives no more than about 16 x 16 patches.
    bidirectional : bool
        If True, read the rows and the columns in both directions.
    drop_path : float
        Probability that training leaves out a branch of the last block for a sample
        [2]_. It grows linearly with the number of the block.
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
        If `augmentation`, `preset`, `depths`, `widths` or `patch_size` is invalid.

    References
    ----------
    .. [1] Y. Tatsunami and M. Taki, "Sequencer: deep LSTM for image classification",
       NeurIPS 2022, arXiv 2205.01972.
    .. [2] G. Huang, Y. Sun, Z. Liu, D. Sedra and K. Q. Weinberger, "Deep networks with
       stochastic depth", ECCV 2016.

    Examples
    --------
    >>> from sklstm.networks import sequencer
    >>> model = sequencer((28, 28, 1), n_classes=10)
    >>> model.output_shape
    (None, 10)
    >>> model.get_layer("stage_1").output.shape  # half of the 14 x 14 patches
    (None, 7, 7, 128)
    """
    sizes, depths, widths = _check_sizes(preset, depths, widths)
    if patch_size is None:
        patch_size = sizes.patch_size
        if patch_size is not None and patch_size > min(input_shape[:2]):
            raise ValueError(
                f"preset={preset!r} reads patches of {patch_size} pixels, and the "
                f"images are {input_shape[0]} x {input_shape[1]}: set patch_size, or "
                "use preset='tiny'."
            )
    side = patch_side(patch_size, *input_shape[:2])
    inputs, x = read_input(
        input_shape, augmentation=augmentation, input_noise=input_noise
    )
    x, regularizer = add_l2_penalty(x, l2)
    x = Patches(side, name="patches")(x)
    n_blocks, block = sum(depths), 0
    for i, (depth, width) in enumerate(zip(depths, widths, strict=True)):
        x = _enter_stage(x, i, width, regularizer)
        for _ in range(depth):
            x = _block(
                x,
                bidirectional=bidirectional,
                drop_path=drop_path,
                share=(block + 1) / n_blocks,
                regularizer=regularizer,
                prefix=f"block_{block}_",
            )
            block += 1
    layers = keras.layers
    x = layers.LayerNormalization(epsilon=_EPSILON, name="norm")(x)
    x = layers.GlobalAveragePooling2D(name="pooling", **CHANNELS_LAST)(x)
    x = add_dropout(x, dropout, "dropout")
    return classifier_model(inputs, x, n_classes, regularizer, "sequencer", ordinal)


def _check_sizes(
    preset: str, depths: tuple[int, ...] | None, widths: tuple[int, ...] | None
) -> tuple[_Preset, tuple[int, ...], tuple[int, ...]]:
    """Return the preset, and depths and widths that fit together."""
    if preset not in PRESETS:
        raise ValueError(f"preset={preset!r} is none of 'tiny', 's', 'm' and 'l'.")
    sizes = PRESETS[preset]
    for name, values, factor in (("depths", depths, 1), ("widths", widths, 4)):
        if values is None:
            continue
        if (
            not isinstance(values, tuple | list)
            or len(values) == 0
            or not all(isinstance(v, Integral) for v in values)
            or min(values) < 1
            or any(v % factor for v in values)
        ):
            kind = "multiples of 4" if factor == 4 else "whole numbers"
            raise ValueError(
                f"{name}={values!r} must be a tuple of {kind} of at least {factor}, "
                "one for each stage, or None."
            )
    depths = sizes.depths if depths is None else tuple(depths)
    widths = sizes.widths if widths is None else tuple(widths)
    if len(depths) != len(widths):
        raise ValueError(
            f"depths={depths} has {len(depths)} stages and widths={widths} has "
            f"{len(widths)}: give both with one number for each stage."
        )
    return sizes, depths, widths


def _enter_stage(x: Any, stage: int, width: int, regularizer: Any) -> Any:
    """Project each position to the width of a stage. The second one halves the grid."""
    name = f"stage_{stage}"
    if stage == 1:
        x = Patches(2, name=f"{name}_patches")(x)
    return keras.layers.Dense(width, kernel_regularizer=regularizer, name=name)(x)


def _block(
    x: Any,
    *,
    bidirectional: bool,
    drop_path: float,
    share: float,
    regularizer: Any,
    prefix: str,
) -> Any:
    """Add LSTMs along rows and columns, and an MLP, to (n, down, across, k)."""
    layers = keras.layers
    width = x.shape[-1]

    def dense(size: int, name: str, activation: str | None = None) -> Any:
        return layers.Dense(
            size,
            activation=activation,
            kernel_regularizer=regularizer,
            name=f"{prefix}{name}",
        )

    def add(x: Any, y: Any, name: str) -> Any:
        if drop_path > 0:
            y = DropPath(drop_path, share, name=f"{prefix}{name}_drop_path")(y)
        return layers.Add(name=f"{prefix}{name}_add")([x, y])

    y = layers.LayerNormalization(epsilon=_EPSILON, name=f"{prefix}norm_0")(x)
    y = bilstm_2d(
        y,
        units=width // 4,
        bidirectional=bidirectional,
        regularizer=regularizer,
        prefix=prefix,
    )
    x = add(x, dense(width, "project")(y), "bilstm")
    y = layers.LayerNormalization(epsilon=_EPSILON, name=f"{prefix}norm_1")(x)
    y = dense(_MLP_RATIO * width, "mlp_in", "gelu")(y)
    return add(x, dense(width, "mlp_out")(y), "mlp")
