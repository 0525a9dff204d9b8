"""A photograph that is cropped and scaled to its field of view."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from sklstm.preprocessing.fundus._field import cropped, resized
from sklstm.preprocessing.fundus._field_of_view import find_field


@dataclass(frozen=True)
class View:
    """A photograph, its field of view, and the diameters of the field.

    Parameters
    ----------
    photograph : ndarray of shape (height, width) or (height, width, 3), uint8
        The pixels.
    mask : ndarray of shape (height, width), bool
        True inside the field of view.
    diameters : tuple of float
        Diameters of the field in pixels (across, down). They differ if the photograph
        is squashed. All widths that are parts of a diameter then differ in the same
        way.
    is_found : bool
        False if no field of view was found, so that the whole frame was taken.
    """

    photograph: np.ndarray
    mask: np.ndarray
    diameters: tuple[float, float]
    is_found: bool

    def values(self, color: str) -> np.ndarray:
        """Return all channels for "rgb", or the green one."""
        if self.photograph.ndim == 2 or color == "rgb":
            return self.photograph
        return np.ascontiguousarray(self.photograph[..., 1])


def make_view(photograph: np.ndarray, size: int | None, crop: bool) -> View:
    """Find the field of view, crop to it and bring it to one diameter.

    Parameters
    ----------
    photograph : ndarray of shape (height, width) or (height, width, 3), uint8
        The photograph.
    size : int or None
        Diameter in pixels. If None, keep that of the photograph.
    crop : bool
        If True, crop to the square around the field of view. An ellipse becomes the
        circle that it was before the photograph was squashed.

    Returns
    -------
    View
        The cropped and scaled photograph.
    """
    field = find_field(photograph)
    if crop:
        photograph, field = cropped(photograph, field)
        side = size or max(photograph.shape[:2])
        photograph, field = resized(photograph, field, (side, side))
    elif size is not None:
        height, width = (
            max(1, round(n * size / (2 * radius)))
            for n, radius in zip(photograph.shape[:2], field.radii[::-1], strict=True)
        )
        photograph, field = resized(photograph, field, (height, width))
    mask = field.mask(photograph.shape[:2])
    diameters = (2 * field.radii[0], 2 * field.radii[1])
    return View(photograph, mask, diameters, field.found == "ellipse")
