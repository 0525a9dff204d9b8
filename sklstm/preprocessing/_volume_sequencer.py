from __future__ import annotations

import math
from typing import Any

import numpy as np

from sklstm.preprocessing._base import BaseSequencer
from sklstm.preprocessing._checks import check_choice, check_sizes, is_count
from sklstm.preprocessing._scans import scan_blocks, scan_slabs, stepped_starts

_AXES = ("depth", "height", "width")


class VolumeSequencer(BaseSequencer):
    """Transformer that reads volumes and videos by slices or cubes.

    X has the shape (n, depth, height, width) or (n, depth, height, width, channels), or
    is flat. The depth of a video is its time. Each step of the sequence is a slice,
    several neighbouring slices, or a cube. If the stride does not reach the far side,
    one more step is aligned to that side. Each voxel is therefore read, and nothing is
    padded. Values and dtype do not change.

    Parameters
    ----------
    axis : {"depth", "height", "width"} or None, default="depth"
        Axis along which the volume is cut into slices. If None, the volume is cut along
        all axes into cubes.
    step_size : int or tuple of int, default=1
        Number of slices in a step. For cubes, the side in voxels, or the sides (depth,
        height, width).
    stride : int or tuple of int, default=None
        Distance from one step to the next in slices, or in voxels along each axis. It
        is at most `step_size`. If None, it is `step_size`, and steps do not overlap.
    order : {"forward", "backward", "snake"}, default="forward"
        Order of the steps. "forward" starts with the first slice. Cubes are read along
        the width, then the height, then the depth. "backward" is the reverse. "snake"
        is for cubes only. It turns round at each end, so that each cube is next to the
        one before it.
    volume_shape : tuple of int, default=None
        Shape (depth, height, width) or (depth, height, width, channels) of one volume,
        for flat input. If None, flat input holds volumes of (n_features, 1, 1).

    Attributes
    ----------
    index_map_ : ndarray of int64, shape (n_steps, n_pixels_per_step)
        Indices of the voxels of each step in the flattened volume. Slices follow each
        other, and the voxels of a cube are in the order depth, height, width.
    n_steps_ : int
        Number of steps of a sequence.
    n_pixels_per_step_ : int
        Number of voxels of a step. Times the channels, it is the number of features.
    image_shape_ : tuple of int
        Shape (depth, height, width) or (depth, height, width, channels) of the volumes
        seen in `fit`.
    n_features_in_ : int
        Number of values of one volume, ``depth * height * width * channels``.
    feature_names_in_ : ndarray of str
        Names of the columns, if X was a table with column names.

    See Also
    --------
    RowSequencer : Read images by rows, columns or windows of rows.
    PatchSequencer : Read images by patches.

    Examples
    --------
    >>> import numpy as np
    >>> from sklstm import VolumeSequencer
    >>> videos = np.zeros((5, 20, 32, 32), dtype=np.uint8)
    >>> VolumeSequencer().fit_transform(videos).shape
    (5, 20, 1024)

    Read cubes of 8 x 8 x 8 voxels. The last cube along the depth is aligned to the end:

    >>> VolumeSequencer(axis=None, step_size=8, order="snake").fit_transform(
    ...     videos
    ... ).shape
    (5, 48, 512)
    """

    _shape_parameter = "volume_shape"
    _n_axes = 3

    def __init__(
        self,
        axis: str | None = "depth",
        step_size: int | tuple[int, int, int] = 1,
        stride: int | tuple[int, int, int] | None = None,
        order: str = "forward",
        volume_shape: Any = None,
    ) -> None:
        self.axis = axis
        self.step_size = step_size
        self.stride = stride
        self.order = order
        self.volume_shape = volume_shape

    def _scan(self, shape: tuple[int, ...], *, guessed: bool) -> np.ndarray:
        check_choice("axis", self.axis, [*_AXES, None])
        check_choice("order", self.order, ["forward", "backward", "snake"])
        axes = _AXES if self.axis is None else (self.axis,)
        size, stride = self._sizes(axes)
        lengths = [shape[_AXES.index(axis)] for axis in axes]
        for axis, length, window in zip(axes, lengths, size, strict=True):
            if window > length:
                raise ValueError(
                    f"step_size={self.step_size!r} is larger than the {axis} of the "
                    f"volumes, which are {shape}; it must fit into them."
                )
        starts = list(map(stepped_starts, lengths, size, stride))
        grid = np.arange(math.prod(shape), dtype=np.int64).reshape(shape)
        if self.axis is None:
            return scan_blocks(grid, starts, size, self.order)
        if self.order == "snake":
            raise ValueError(
                'order="snake" is for cubes (axis=None); along one axis the order must '
                'be "forward" or "backward".'
            )
        grid = np.moveaxis(grid, _AXES.index(self.axis), 0)
        return scan_slabs(grid, starts[0], size[0], self.order)

    def _sizes(self, axes: tuple[str, ...]) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """Return step size and stride along each of the axes."""
        sizes = []
        for name in ("step_size", "stride"):
            value = getattr(self, name)
            if value is None and name == "stride":
                value = self.step_size
            if len(axes) == 1 and not is_count(value):
                raise ValueError(
                    f"{name} must be a whole number of at least 1 along one axis; got "
                    f"{value!r}."
                )
            sizes.append(check_sizes(name, value, axes))
        size, stride = sizes
        if any(step > window for step, window in zip(stride, size, strict=True)):
            raise ValueError(
                f"stride={self.stride!r} is larger than step_size={self.step_size!r} "
                "and would leave voxels unread; it must be at most the step size."
            )
        return size, stride
