from __future__ import annotations

import math
from typing import Any

import numpy as np

from sklstm.preprocessing._base import BaseSequencer
from sklstm.preprocessing._checks import check_choice, check_sizes, is_count
from sklstm.preprocessing._scans import scan_blocks, scan_slabs, stepped_starts

_AXES = ("depth", "height", "width")


class VolumeSequencer(BaseSequencer):
    """Reads volumes and videos by slices or cubes.

    X is (n, depth, height, width) or (n, depth, height, width, channels), for videos
    with time as the depth; or flat. Every step of the sequence is one slice, several
    neighbouring slices, or one cube. Where the stride does not reach the far side, one
    more step is aligned to it: every voxel is read and no padding is made up. Values
    and dtype are untouched.

    Parameters
    ----------
    axis : {"depth", "height", "width"} or None, default="depth"
        The axis along which the volume is cut into whole slices; None cuts along all
        three, into cubes.
    step_size : int or tuple of int, default=1
        Slices in a step; for cubes their side in voxels, or (depth, height, width).
    stride : int or tuple of int, default=None
        Slices, or voxels along each axis, from one step to the next; at most
        `step_size`. None means `step_size`: steps that do not overlap.
    order : {"forward", "backward", "snake"}, default="forward"
        "forward" goes from the first slice to the last, for cubes along the width
        first, then the height, then the depth; "backward" is the reverse. "snake", for
        cubes only, turns round at each end, so that every cube lies next to the one
        before it.
    volume_shape : tuple of int, default=None
        (depth, height, width) or (depth, height, width, channels) of one volume, for
        flat input. None takes flat input for volumes of (n_features, 1, 1).

    Attributes
    ----------
    index_map_ : ndarray of int64, shape (n_steps, n_pixels_per_step)
        For each step, the positions of its voxels in the flattened volume: slice by
        slice, cubes in the order depth, height, width.
    n_steps_ : int
        Steps of a sequence.
    n_pixels_per_step_ : int
        Voxels of a step. With the channels of each they make its features.
    image_shape_ : tuple of int
        (depth, height, width) or (depth, height, width, channels) of the volumes seen
        in fit.
    n_features_in_ : int
        Values of one volume, ``depth * height * width * channels``.
    feature_names_in_ : ndarray of str
        Names of the columns, if fit was given a table that has some.

    See Also
    --------
    RowSequencer : One row, column or window of rows of an image a step.
    PatchSequencer : One patch of an image a step.

    Examples
    --------
    >>> import numpy as np
    >>> from sklstm import VolumeSequencer
    >>> videos = np.zeros((5, 20, 32, 32), dtype=np.uint8)
    >>> VolumeSequencer().fit_transform(videos).shape
    (5, 20, 1024)

    Cubes of 8 by 8 by 8 voxels, the last along the depth aligned to the end:

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
