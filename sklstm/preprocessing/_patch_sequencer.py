from __future__ import annotations

import math
from typing import Any

import numpy as np

from sklstm.preprocessing._base import BaseSequencer
from sklstm.preprocessing._checks import check_choice, check_sizes
from sklstm.preprocessing._scans import scan_blocks, stepped_starts

_AXES = ("height", "width")


class PatchSequencer(BaseSequencer):
    """Transformer that reads images by patches, which may overlap.

    Each step of the sequence is a patch, which is read row by row. If the stride does
    not reach the far border, one more patch is aligned to the border. Each pixel is
    therefore read, and nothing is padded. Values and dtype do not change.

    Parameters
    ----------
    patch_size : int or tuple of int, default=16
        Side of a patch in pixels, or its (height, width).
    stride : int or tuple of int, default=None
        Distance in pixels from one patch to the next, or distances (down, across). It
        is at most the patch size. If None, it is half the patch size.
    order : {"raster", "snake", "hilbert"}, default="raster"
        Order of the patches. "raster" reads each row of patches from the left. "snake"
        turns round at the end of each row. "hilbert" follows a Hilbert curve [1]_,
        which keeps neighbours in the image close in the sequence. With "snake" and
        "hilbert", each patch is next to the one before it.
    image_shape : tuple of int, default=None
        Shape (height, width) or (height, width, channels) of one image, for flat input.
        If None, flat input holds square images if n_features is a perfect square, and
        images of (n_features, 1) otherwise. Input of fewer than 16 features is then one
        patch if `patch_size` is 16.

    Attributes
    ----------
    index_map_ : ndarray of int64, shape (n_steps, n_pixels_per_step)
        Indices of the pixels of each step in the flattened image.
    n_steps_ : int
        Number of steps of a sequence, which is the number of patches.
    n_pixels_per_step_ : int
        Number of pixels of a patch. Times the channels, it is the number of features.
    image_shape_ : tuple of int
        Shape (height, width) or (height, width, channels) of the images seen in `fit`.
    n_features_in_ : int
        Number of values of one image, ``height * width * channels``.
    feature_names_in_ : ndarray of str
        Names of the columns, if X was a table with column names.

    See Also
    --------
    RowSequencer : Read images by rows, columns or windows of rows.
    VolumeSequencer : Read volumes by slices or cubes.

    Notes
    -----
    Overlapping patches need more memory than the images. With half the patch size as
    stride, they need four times as much.

    The Hilbert curve is generalized to grids of any height and width. Where pieces of
    the grid have to be joined, it is cut at an even number of patches.

    References
    ----------
    .. [1] D. Hilbert, "Über die stetige Abbildung einer Linie auf ein Flächenstück",
       Mathematische Annalen 38, 459-460, 1891.

    Examples
    --------
    >>> import numpy as np
    >>> from sklstm import PatchSequencer
    >>> images = np.zeros((10, 64, 64, 3), dtype=np.uint8)
    >>> sequencer = PatchSequencer(patch_size=16, stride=8, order="hilbert")
    >>> sequences = sequencer.fit_transform(images)
    >>> sequences.shape
    (10, 49, 768)
    >>> np.array_equal(sequencer.inverse_transform(sequences), images)
    True
    """

    def __init__(
        self,
        patch_size: int | tuple[int, int] = 16,
        stride: int | tuple[int, int] | None = None,
        order: str = "raster",
        image_shape: Any = None,
    ) -> None:
        self.patch_size = patch_size
        self.stride = stride
        self.order = order
        self.image_shape = image_shape

    def _scan(self, shape: tuple[int, ...], *, guessed: bool) -> np.ndarray:
        patch = check_sizes("patch_size", self.patch_size, _AXES)
        if self.stride is None:
            stride = tuple(max(1, side // 2) for side in patch)
        else:
            stride = check_sizes("stride", self.stride, _AXES)
        check_choice("order", self.order, ["raster", "snake", "hilbert"])
        if any(s > p for s, p in zip(stride, patch, strict=True)):
            raise ValueError(
                f"stride={self.stride!r} is larger than patch_size={self.patch_size!r} "
                "and would leave pixels unread; it must be at most the patch size."
            )
        # scikit-learn's checks fit the default parameters to rows of a few values.
        if guessed and patch == (16, 16) and math.prod(shape) < 16:
            patch = stride = shape
        if any(p > s for p, s in zip(patch, shape, strict=True)):
            raise ValueError(
                f"patch_size={self.patch_size!r} is larger than the images, which are "
                f"{shape}; it must fit into them."
            )
        grid = np.arange(shape[0] * shape[1], dtype=np.int64).reshape(shape)
        starts = list(map(stepped_starts, shape, patch, stride))
        return scan_blocks(grid, starts, patch, self.order)
