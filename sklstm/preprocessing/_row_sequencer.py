from __future__ import annotations

from typing import Any

import numpy as np

from sklstm.preprocessing._base import BaseSequencer
from sklstm.preprocessing._checks import check_choice, is_count
from sklstm.preprocessing._scans import even_starts, scan_slabs


class RowSequencer(BaseSequencer):
    """Reads images by rows or columns.

    Every step of the sequence is one row of pixels, or, with `sequence_length`, a
    window of whole rows. Values and dtype are untouched.

    Parameters
    ----------
    sequence_length : int, default=None
        Number of steps T. None makes one step of every row. Otherwise each step is a
        window of ``ceil(height / T)`` rows, and the T windows are spread evenly from
        the first row to the last: any T serves any image, every row is read, and
        nothing is interpolated. Windows overlap unless T divides the height. With T
        above the height, windows are one row and some rows are read more than once.
    axis : {"rows", "columns"}, default="rows"
        Whether a step is a row or a column; for "columns" read "column" for "row" and
        "width" for "height" above.
    order : {"forward", "backward", "snake"}, default="forward"
        "backward" takes the steps from the last to the first; "snake" takes them from
        the first and reads the rows of every other step, from the second on, right to
        left (columns: upwards).
    image_shape : tuple of int, default=None
        (height, width) or (height, width, channels) of one image, for flat input. None
        takes flat input for square images where n_features is a perfect square, and
        for n_features steps of one pixel otherwise.

    Attributes
    ----------
    index_map_ : ndarray of int64, shape (n_steps, n_pixels_per_step)
        For each step, the positions of its pixels in the flattened image.
    n_steps_ : int
        Steps of a sequence.
    n_pixels_per_step_ : int
        Pixels of a step. With the channels of each they make its features.
    image_shape_ : tuple of int
        (height, width) or (height, width, channels) of the images seen in fit.
    n_features_in_ : int
        Values of one image, ``height * width * channels``.
    feature_names_in_ : ndarray of str
        Names of the columns, if fit was given a table that has some.

    See Also
    --------
    PatchSequencer : One patch a step.
    VolumeSequencer : One slice or cube of a volume a step.

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
