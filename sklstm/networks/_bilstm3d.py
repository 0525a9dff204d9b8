"""The network "bilstm3d": LSTMs along the depth, rows and columns of volumes."""

from collections.abc import Callable
from numbers import Integral
from typing import Any

from sklstm._keras import keras

from sklstm.networks._blocks import add_dropout, add_l2_penalty, classifier_model
from sklstm.networks._reading import read_input, takes
from sklstm.networks._scan_2d import sweep
from sklstm.networks.layers._data_format import CHANNELS_LAST

# Features of a position, before and after each block.
WIDTH = 64
# By default, a volume has about this many cubes along each side.
_CUBES_PER_SIDE = 8
_AXES = ("depth", "rows", "columns")


@takes("volumes")
def bilstm3d(
    input_shape: tuple[int, ...],
    n_classes: int,
    *,
    units: int = 64,
    n_layers: int = 1,
    bidirectional: bool = True,
    patch_size: int | None = None,
    input_noise: float = 0.2,
    dropout: float = 0.3,
    l2: float = 0.0,
    augmentation: Any = None,
    ordinal: bool = False,
) -> keras.Model:
    """Build LSTMs that read a volume along its depth, its rows and its columns.

    The volume is cut into cubes, and each cube becomes a vector of 64 features. The
    vectors stay in their grid. A block is ``x += project(lstms(norm(x)))``: one LSTM
    reads all lines along the depth, one reads all rows and one all columns, and a dense
    layer joins what they give for each position. A block joins a position with the
    three lines that cross there. The mean and the maximum over all positions, after a
    layer normalization, go to the head.

    Parameters
    ----------
    input_shape : tuple
        Shape (depth, height, width, channels) of a volume.
    n_classes : int
        Number of classes.
    units : int
        Number of hidden units of each LSTM in each direction.
    n_layers : int
        Number of blocks.
    bidirectional : bool
        If True, read all lines in both directions.
    patch_size : int or None
        Side of the cubes in voxels. A cube is no longer than the volume along any axis.
        If None, it is the smallest size that gives no more than about 8 x 8 x 8 cubes.
    input_noise : float
        See `lstm`.
    dropout : float
        Dropout rate after each block and before the head.
    l2 : float
        See `lstm`.
    augmentation : None, str, dict or keras.layers.Layer
        See `lstm`. All slices of a volume are changed alike.
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
        If `augmentation` or `patch_size` is invalid.

    See Also
    --------
    cnn3d : Convolutions with as many weights, as a control.

    Examples
    --------
    >>> from sklstm.networks import bilstm3d
    >>> bilstm3d((28, 28, 28, 1), n_classes=2).output_shape
    (None, 2)
    """
    inputs, x = read_input(
        input_shape, augmentation=augmentation, input_noise=input_noise
    )
    x, regularizer = add_l2_penalty(x, l2)
    layers = keras.layers
    size = cube_shape(patch_size, input_shape[:3])
    x = layers.Conv3D(
        WIDTH,
        size,
        strides=size,
        padding="same",
        kernel_regularizer=regularizer,
        name="cubes",
        **CHANNELS_LAST,
    )(x)
    for i in range(n_layers):
        y = layers.LayerNormalization(name=f"block_{i}_norm")(x)
        y = layers.Concatenate(name=f"block_{i}_join")([
            _sweep_axis(
                y,
                axis,
                units=units,
                bidirectional=bidirectional,
                regularizer=regularizer,
                prefix=f"block_{i}_{axis}_",
            )
            for axis in _AXES
        ])  # fmt: skip
        y = layers.Dense(
            WIDTH, kernel_regularizer=regularizer, name=f"block_{i}_project"
        )(y)
        y = add_dropout(y, dropout, f"block_{i}_dropout")
        x = layers.Add(name=f"block_{i}_add")([x, y])
    x = layers.LayerNormalization(name="norm")(x)
    x = pool_positions(x)
    x = add_dropout(x, dropout, "dropout")
    return classifier_model(inputs, x, n_classes, regularizer, "bilstm3d", ordinal)


def cube_shape(patch_size: int | None, shape: tuple[int, ...]) -> tuple[int, int, int]:
    """Return the shape (depth, height, width) of the cubes of a volume.

    Raises
    ------
    ValueError
        If `patch_size` is no whole number of at least 1, or if it is larger than all
        sides of the volume.
    """
    if patch_size is None:
        patch_size = -(-max(shape) // _CUBES_PER_SIDE)
    if not isinstance(patch_size, Integral) or patch_size < 1:
        raise ValueError(
            f"patch_size={patch_size!r} must be a whole number of at least 1, or None."
        )
    if patch_size > max(shape):
        raise ValueError(
            f"patch_size={patch_size} is larger than the volumes, which are "
            f"{' x '.join(map(str, shape))}: it must be at most {max(shape)}."
        )
    depth, height, width = (min(int(patch_size), side) for side in shape)
    return depth, height, width


def pool_positions(x: Any) -> Any:
    """Return mean and maximum over the positions of (n, depth, height, width, k)."""
    layers = keras.layers
    return layers.Concatenate(name="pooling")([
        layers.GlobalAveragePooling3D(name="mean", **CHANNELS_LAST)(x),
        layers.GlobalMaxPooling3D(name="max", **CHANNELS_LAST)(x),
    ])  # fmt: skip


def count_weights(
    size: tuple[int, int, int],
    n_channels: int,
    units: int,
    n_layers: int,
    directions: int,
    n_head: Callable[[int], int],
) -> int:
    """Count the weights of `bilstm3d`.

    `n_head` counts the weights of the head after so many features.
    """
    depth, height, width = size
    cubes = (depth * height * width * n_channels + 1) * WIDTH
    lstms = 3 * directions * 4 * units * (WIDTH + units + 1)
    project = (3 * directions * units + 1) * WIDTH
    block = 2 * WIDTH + lstms + project
    return cubes + n_layers * block + 2 * WIDTH + n_head(2 * WIDTH)


def _sweep_axis(
    x: Any, axis: str, *, units: int, bidirectional: bool, regularizer: Any, prefix: str
) -> Any:
    """Read (n, depth, height, width, k) with one LSTM along the lines of an axis."""
    layers = keras.layers
    # The lines of the axis become the rows of one tall grid.
    order = {"depth": (2, 3, 1, 4), "rows": (1, 2, 3, 4), "columns": (1, 3, 2, 4)}[axis]
    back = tuple(order.index(i) + 1 for i in range(1, 5))
    if axis != "rows":
        x = layers.Permute(order, name=f"{prefix}turn")(x)
    first, second, n_steps, k = x.shape[1:]
    y = layers.Reshape((first * second, n_steps, k), name=f"{prefix}flat")(x)
    y = sweep(
        y,
        "rows",
        units=units,
        bidirectional=bidirectional,
        regularizer=regularizer,
        prefix=prefix,
    )
    y = layers.Reshape((first, second, n_steps, -1), name=f"{prefix}volume")(y)
    return y if axis == "rows" else layers.Permute(back, name=f"{prefix}back")(y)
