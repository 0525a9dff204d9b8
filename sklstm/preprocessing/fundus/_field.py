"""What a field of view is: a form in a frame, and how it moves with the photograph."""

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
        (x, y) in pixels.
    radii : tuple of float
        Half the width and half the height, in pixels. They differ where a photograph
        was squashed, which makes an ellipse of the circle.
    top, bottom, left, right : int
        Rows and columns, the last ones excluded, that hold retina: the frame, or a
        straight cut inside it.
    found : {"ellipse", "outline", "nothing"}
        What the field is: an ellipse (a circle is one); the outline of what is not
        border; or the whole frame, because there is no border.
    outline : ndarray of shape (height, width), bool, default=None
        The pixels of an outline. None: all within the rows and columns.
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
        """Return the field as a mask of (height, width), bool.

        Parameters
        ----------
        shape : tuple of int
            (height, width) of the photograph.
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
    """Return the field that stands for no field: all of a frame (height, width)."""
    height, width = shape
    reach = max(height, width) / 2
    center = (width - 1) / 2, (height - 1) / 2
    return Field(center, (reach, reach), 0, height, 0, width, "nothing")


def cropped(photograph: np.ndarray, field: Field) -> tuple[np.ndarray, Field]:
    """Cut the box around the field of view, black where the frame ends.

    Returns
    -------
    photograph : ndarray
        A square, unless the field is an ellipse.
    field : Field
        In the coordinates of the cut.
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
    # The pixels of a circle reach half a pixel beyond the outermost centres.
    return int(np.ceil(2 * radius)) + (found == "ellipse")


def resized(
    photograph: np.ndarray, field: Field, shape: tuple[int, int]
) -> tuple[np.ndarray, Field]:
    """Bring a photograph and its field to another (height, width)."""
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
