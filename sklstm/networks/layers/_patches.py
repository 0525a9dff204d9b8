"""The layer that cuts images into patches that do not overlap, and their size."""

import math
from numbers import Integral
from typing import Any

from sklstm._keras import keras

# A scan in two dimensions reads about this many patches along each side of an image.
_PATCHES_PER_SIDE = 16


def default_patch_size(
    height: int, width: int, per_side: int = _PATCHES_PER_SIDE
) -> int:
    """Return the side of the patches that networks cut from images by default.

    It is the smallest whole number for which an image has no more patches than about
    `per_side` along each side. With 16, this is 1 for images of up to 16 x 16 pixels, 2
    for 28 x 28 or 32 x 32, 4 for 64 x 64 and 14 for 224 x 224. For other images, the
    square root of their area counts.

    Parameters
    ----------
    height, width : int
        Size of the images, in pixels.
    per_side : int
        Number of patches along each side.

    Returns
    -------
    int
        Side of a patch in pixels, at most the shorter side of the image.
    """
    size = math.ceil(math.sqrt(height * width) / per_side)
    return min(size, height, width)


def patch_side(
    patch_size: int | None,
    height: int,
    width: int,
    per_side: int = _PATCHES_PER_SIDE,
) -> int:
    """Return `patch_size`, or the default for images of this size if it is None.

    Raises
    ------
    ValueError
        If `patch_size` is no whole number of at least 1, or if a patch is larger than
        the images.
    """
    if patch_size is None:
        return default_patch_size(height, width, per_side)
    if not isinstance(patch_size, Integral) or patch_size < 1:
        raise ValueError(
            f"patch_size={patch_size!r} must be a whole number of at least 1, or None."
        )
    if patch_size > min(height, width):
        raise ValueError(
            f"patch_size={patch_size} is larger than the images, which are "
            f"{height} x {width}: it must be at most {min(height, width)}."
        )
    return int(patch_size)


@keras.saving.register_keras_serializable("sklstm")
class Patches(keras.layers.Layer):
    """Cut images into patches that do not overlap.

    The layer takes images (n, height, width, channels) and returns a grid of patches
    (n, down, across, k). The k values of a patch are its pixels row by row, each with
    its channels. If the size of the patches does not divide the image, zeros fill the
    last patches at the bottom and at the right.

    Parameters
    ----------
    size : int or tuple of int
        Side of the patches in pixels, or their (height, width).
    **kwargs
        Keyword arguments of `keras.layers.Layer`.

    Raises
    ------
    ValueError
        If a size is less than 1.

    See Also
    --------
    sklstm.PatchSequencer : Patches as a sequence, which may overlap.

    Examples
    --------
    >>> import keras
    >>> from sklstm.networks import Patches
    >>> tuple(Patches(4)(keras.ops.ones((2, 28, 30, 3))).shape)
    (2, 7, 8, 48)
    """

    def __init__(self, size: int | tuple[int, int], **kwargs: Any) -> None:
        super().__init__(**kwargs)
        height, width = size if isinstance(size, tuple | list) else (size, size)
        if height < 1 or width < 1:
            raise ValueError(f"size={size!r} must be at least 1.")
        self.size = (int(height), int(width))

    def call(self, images: Any) -> Any:
        ops = keras.ops
        height, width, channels = images.shape[1:]
        _, down, across, k = self.compute_output_shape(images.shape)
        filled = (down * self.size[0] - height, across * self.size[1] - width)
        x = images
        if any(filled):
            x = ops.pad(x, ((0, 0), (0, filled[0]), (0, filled[1]), (0, 0)))
        if self.size == (1, 1):
            return x
        # With the rows of patches folded into the batch, four dimensions suffice.
        x = ops.reshape(x, (-1, self.size[0], across, self.size[1] * channels))
        x = ops.transpose(x, (0, 2, 1, 3))
        return ops.reshape(x, (-1, down, across, k))

    def compute_output_shape(self, input_shape: tuple) -> tuple:
        n, height, width, channels = input_shape
        down, across = -(-height // self.size[0]), -(-width // self.size[1])
        return (n, down, across, self.size[0] * self.size[1] * channels)

    def get_config(self) -> dict:
        return {**super().get_config(), "size": self.size}
