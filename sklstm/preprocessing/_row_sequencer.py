from __future__ import annotations

from typing import Any

import numpy as np

from sklstm.preprocessing._base import BaseSequencer
from sklstm.preprocessing._checks import check_choice, is_count
from sklstm.preprocessing._scans import even_starts, scan_slabs


class RowSequencer(BaseSequencer):
    """Transformer that reads images by rows or columns.

    Each step of the sequence is a row of pixels or, with `sequence_length`, a window of
    whole rows. Values and dtype do not change.

    Parameters
    ----------
    sequence_length : int, default=None
        Number of steps T. If None, each row is a step. Otherwise, each step is a window
        of ``ceil(height / T)`` rows. The T windows are spread evenly from the first row
        to the last, so that each row is read and nothing is interpolated. Windows
        overlap unless T divides the height. If T is larger than the height, windows are
        single rows, and some rows are read more than once.
    axis : {"rows", "columns"}, default="rows"
        Direction of the steps. With "columns", steps are columns, and the width takes
        the place of the height above.
    order : {"forward", "backward", "snake"}, default="forward"
        Order of the steps. "backward" starts with the last step. "snake" starts with
        the first step, and reads every second step from right to left, or upwards for
        columns.
    image_shape : tuple of int, default=None
        Shape (height, width) or (height, width, channels) of one image, for flat input.
        If None, flat input holds square images if n_features is a perfect square, and
        n_features steps of one pixel otherwise.

    Attributes
    ----------
    index_map_ : ndarray of int64, shape (n_steps, n_pixels_per_step)
        Indices of the pixels of each step in the flattened image.
    n_steps_ : int
        Number of steps of a sequence.
    n_pixels_per_step_ : int
        Number of pixels of a step. Times the channels, it is the number of features.
    image_shape_ : tuple of int
        Shape (height, width) or (height, width, channels) of the images seen in `fit`.
    n_features_in_ : int
        Number of values of one image, ``height * width * channels``.
    feature_names_in_ : ndarray of str
        Names of the columns, if X was a table with column names.

    See Also
    --------
    PatchSequencer : Read images by patches.
    VolumeSequencer : Read volumes by slices or cubes.

    Examples
    --------
    >>> import numpy as np
    >>> from sklstm import RowSequencer
    >>> images = np.zeros((100, 28, 28), dtype=np.uint8)
    >>> RowSequencer().fit_transform(images).shape
    (100, 28, 28)

    Sixteen steps, each a window of two rows:

    >>> sequencer = RowSequencer(sequence_length=16)
    >>> sequencer.fit_transform(images).shape
    (100, 16, 56)
    >>> sequencer.index_map_[:, 0] // 28
    array([ 0,  2,  3,  5,  7,  9, 10, 12, 14, 16, 17, 19, 21, 23, 24, 26])
    """

    def __init__(
        self,
        sequence_length: int | None = None,
        axis: str = "rows",
        order: str = "forward",
        image_shape: Any = None,
    ) -> None:
        self.sequence_length = sequence_length
        self.axis = axis
        self.order = order
        self.image_shape = image_shape

    def _scan(self, shape: tuple[int, ...], *, guessed: bool) -> np.ndarray:
        if self.sequence_length is not None and not is_count(self.sequence_length):
            raise ValueError(
                "sequence_length must be None or a whole number of at least 1; got "
                f"{self.sequence_length!r}."
            )
        check_choice("axis", self.axis, ["rows", "columns"])
        check_choice("order", self.order, ["forward", "backward", "snake"])
        grid = np.arange(shape[0] * shape[1], dtype=np.int64).reshape(shape)
        if self.axis == "columns":
            grid = grid.T
        starts, window = even_starts(len(grid), self.sequence_length or len(grid))
        return scan_slabs(grid, starts, window, self.order)
