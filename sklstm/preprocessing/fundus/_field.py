"""The field of view as a shape in the frame, which follows cropping and resizing."""

from __future__ import annotations

from dataclasses import dataclass, replace

import cv2
import numpy as np

from sklstm.images._resize import resize


@dataclass(frozen=True)
class Field:
    """The field of view of a photograph.

    Parameters
    ----------
    center : tuple of float
        Centre (x, y) in pixels.
    radii : tuple of float
        Half the width and half the height in pixels. They differ if the photograph was
        squashed, which turns the circle into an ellipse.
    top, bottom, left, right : int
        Limits of the rows and columns that show retina. `bottom` and `right` are
        excluded. They are the limits of the frame, or of a straight cut inside it.
    found : {"ellipse", "outline", "nothing"}
        Kind of the field. "ellipse" includes circles. "outline" is the outline of
        everything that is not border. "nothing" is the whole frame, because there is no
        border.
    outline : ndarray of shape (height, width), bool, default=None
        Pixels of the outline. If None, the field is not limited by an outline.
    """

    center: tuple[float, float]
    radii: tuple[float, float]
    top: int
    bottom: int
    left: int
    right: int
    found: str = "ellipse"
    outline: np.ndarray | None = None

    def mask(self, shape: tuple[int, int]) -> np.ndarray:
        """Return the field as a mask.

        Parameters
        ----------
        shape : tuple of int
            Size (height, width) of the photograph.

        Returns
        -------
        ndarray of shape (height, width), bool
            True inside the field.
        """
        mask = np.zeros(shape, bool)
        inner = np.s_[
            max(self.top, 0) : max(self.bottom, 0),
            max(self.left, 0) : max(self.right, 0),
        ]
        if self.outline is not None:
            mask[inner] = self.outline[inner]
        elif self.found != "ellipse":
            mask[inner] = True
        else:
            (x0, y0), (rx, ry) = self.center, self.radii
            y = (np.arange(shape[0])[inner[0], None] - y0) / ry
            x = np.arange(shape[1])[inner[1]]
            reach = rx * np.sqrt(np.maximum(1 - y * y, 0))
            reach[np.abs(y) > 1] = -1
            mask[inner] = (x >= x0 - reach) & (x <= x0 + reach)
        return mask


def whole_frame(shape: tuple[int, int]) -> Field:
    """Return the field for a frame (height, width) in which none was found."""
    height, width = shape
    reach = max(height, width) / 2
    center = (width - 1) / 2, (height - 1) / 2
    return Field(center, (reach, reach), 0, height, 0, width, "nothing")


def cropped(photograph: np.ndarray, field: Field) -> tuple[np.ndarray, Field]:
    """Crop to the box around the field of view. Parts outside the frame are black.

    Returns
    -------
    photograph : ndarray
        Cropped photograph. It is square if both radii are equal.
    field : Field
        Field in the coordinates of the cropped photograph.
    """
    height, width = photograph.shape[:2]
    box = [_side(radius, field.found) for radius in field.radii]
    left, top = (
        round(middle - (side - 1) / 2)
        for middle, side in zip(field.center, box, strict=True)
    )
    right, bottom = left + box[0], top + box[1]
    pads = max(0, -top), max(0, bottom - height), max(0, -left), max(0, right - width)
    within = np.s_[max(0, top) : bottom, max(0, left) : right]

    def cut(values: np.ndarray) -> np.ndarray:
        return cv2.copyMakeBorder(
            values[within], *pads, cv2.BORDER_CONSTANT, value=(0, 0, 0)
        )

    outline = field.outline
    if outline is not None:
        outline = cut(outline.view(np.uint8)).view(bool)
    return cut(photograph), replace(
        field,
        center=(field.center[0] - left, field.center[1] - top),
        top=max(field.top, 0) - top,
        bottom=min(field.bottom, height) - top,
        left=max(field.left, 0) - left,
        right=min(field.right, width) - left,
        outline=outline,
    )


def _side(radius: float, found: str) -> int:
    # The outermost pixels of a circle extend half a pixel beyond their centres.
    return int(np.ceil(2 * radius)) + (found == "ellipse")


def resized(
    photograph: np.ndarray, field: Field, shape: tuple[int, int]
) -> tuple[np.ndarray, Field]:
    """Resize a photograph and its field to a shape (height, width)."""
    height, width = photograph.shape[:2]
    if (height, width) == shape:
        return photograph, field
    down, across = shape[0] / height, shape[1] / width
    outline = field.outline
    if outline is not None:
        outline = resize(outline.view(np.uint8) * np.uint8(255), shape) >= 128
    return resize(photograph, shape), replace(
        field,
        center=(
            (field.center[0] + 0.5) * across - 0.5,
            (field.center[1] + 0.5) * down - 0.5,
        ),
        radii=(field.radii[0] * across, field.radii[1] * down),
        top=round(field.top * down),
        bottom=round(field.bottom * down),
        left=round(field.left * across),
        right=round(field.right * across),
        outline=outline,
    )
