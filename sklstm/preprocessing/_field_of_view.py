"""The round field of view of a fundus photograph: where the retina is in the frame."""

from __future__ import annotations

from dataclasses import dataclass, replace

import cv2
import numpy as np

from sklstm.preprocessing._image_reader import resize

# The search runs on an image of at most so many pixels a side: a circle is large.
_SIDE = 320
# A photograph shows at least so much of its frame, and a circle so much of its edge.
_LEAST_AREA = 0.15
_LEAST_ROUND = 0.6


@dataclass(frozen=True)
class Field:
    """The circle of a field of view, and where the frame cuts it.

    Parameters
    ----------
    center : tuple of float
        (x, y) in pixels.
    radius : float
        In pixels.
    top, bottom, left, right : int
        Rows and columns, the last ones excluded, that hold retina.
    found : bool
        False if no circle was found and this one holds the whole frame.
    """

    center: tuple[float, float]
    radius: float
    top: int
    bottom: int
    left: int
    right: int
    found: bool = True

    def mask(self, shape: tuple[int, int]) -> np.ndarray:
        """Return the field as a mask of (height, width), bool.

        Parameters
        ----------
        shape : tuple of int
            (height, width) of the photograph.
        """
        if not self.found:
            return np.ones(shape, bool)
        y = np.arange(shape[0], dtype=np.float32)[:, None] - np.float32(self.center[1])
        x = np.arange(shape[1], dtype=np.float32) - np.float32(self.center[0])
        inside = x * x + y * y <= self.radius**2
        inside[: self.top] = inside[self.bottom :] = False
        inside[:, : self.left] = inside[:, self.right :] = False
        return inside


def find_field(image: np.ndarray) -> Field:
    """Find the circle in which a fundus photograph shows the retina.

    The frame around it is dark or bright and even; the circle may be cut at any side
    and lie off the middle. What differs from the corners is the retina; a circle is
    fitted to its outline by least squares, without the stretches where it is cut.

    Parameters
    ----------
    image : ndarray of shape (height, width) or (height, width, channels), uint8
        The photograph.

    Returns
    -------
    Field
        With ``found=False`` if there is no such circle.
    """
    height, width = image.shape[:2]
    scale = min(1.0, _SIDE / max(height, width))
    small = image
    if scale < 1:
        size = max(1, round(width * scale)), max(1, round(height * scale))
        small = cv2.resize(image, size, interpolation=cv2.INTER_AREA)
    middle, reach = (width / 2, height / 2), max(height, width) / 2
    whole = Field(middle, reach, 0, height, 0, width, found=False)
    region = _retina(small)
    if region is None:
        return whole
    circle = _fit_circle(region)
    if circle is None:
        return whole
    x, y, radius = circle
    rows, columns = np.flatnonzero(region.any(1)), np.flatnonzero(region.any(0))
    # Pixel centres: the middle of the first of a row is at .5.
    factor = np.array([width / small.shape[1], height / small.shape[0]])
    x, y = (np.array([x, y]) + 0.5) * factor - 0.5
    radius *= float(factor.mean())
    top, bottom = rows[0] * factor[1], (rows[-1] + 1) * factor[1]
    left, right = columns[0] * factor[0], (columns[-1] + 1) * factor[0]
    # An edge that is the circle's own is not a cut.
    near = 0.02 * radius
    top = 0 if top < y - radius + near else top
    bottom = height if bottom > y + radius - near else bottom
    left = 0 if left < x - radius + near else left
    right = width if right > x + radius - near else right
    return Field(
        (float(x), float(y)),
        radius,
        round(top),
        round(bottom),
        round(left),
        round(right),
    )


def cropped(photograph: np.ndarray, field: Field) -> tuple[np.ndarray, Field]:
    """Cut the square around the field of view, black where the frame ends."""
    height, width = photograph.shape[:2]
    (x, y), radius = field.center, field.radius
    side = int(np.ceil(2 * radius)) + 1 if field.found else max(height, width)
    left, top = round(x - side / 2), round(y - side / 2)
    before, after = (
        (max(0, -top), max(0, -left)),
        (
            max(0, top + side - height),
            max(0, left + side - width),
        ),
    )
    padded = cv2.copyMakeBorder(
        photograph,
        before[0],
        after[0],
        before[1],
        after[1],
        cv2.BORDER_CONSTANT,
        value=(0, 0, 0),
    )
    top, left = top + before[0], left + before[1]
    cut = padded[top : top + side, left : left + side]
    moved = (before[0] - top, before[1] - left)
    return np.ascontiguousarray(cut), _moved(field, moved, cut.shape, (height, width))


def _moved(field: Field, by: tuple, shape: tuple, frame: tuple) -> Field:
    """Return the field in the coordinates of a cut; it ends where the frame ends."""
    down, right = by

    def within(value: int, most: int) -> int:
        return min(max(value, 0), most)

    return replace(
        field,
        center=(field.center[0] + right, field.center[1] + down),
        top=within(max(field.top, 0) + down, shape[0]),
        bottom=within(min(field.bottom, frame[0]) + down, shape[0]),
        left=within(max(field.left, 0) + right, shape[1]),
        right=within(min(field.right, frame[1]) + right, shape[1]),
    )


def resized(
    photograph: np.ndarray, field: Field, diameter: int, cropped: bool
) -> tuple[np.ndarray, Field]:
    """Bring the field of view to a diameter."""
    height, width = photograph.shape[:2]
    if cropped:
        new_height = new_width = diameter
    else:
        factor = diameter / (2 * field.radius)
        new_height, new_width = round(height * factor), round(width * factor)
    down, across = new_height / height, new_width / width
    return resize(photograph, (new_height, new_width)), replace(
        field,
        center=(
            (field.center[0] + 0.5) * across - 0.5,
            (field.center[1] + 0.5) * down - 0.5,
        ),
        radius=field.radius * (down + across) / 2,
        top=round(field.top * down),
        bottom=round(field.bottom * down),
        left=round(field.left * across),
        right=round(field.right * across),
    )


def _retina(image: np.ndarray) -> np.ndarray | None:
    """Return what differs from the corners, holes filled; None if nothing round can."""
    gray = image if image.ndim == 2 else image.max(axis=2)
    gray = cv2.GaussianBlur(gray.astype(np.float32), (0, 0), 1.0)
    height, width = gray.shape
    k = max(2, min(height, width) // 24)
    corners = [gray[:k, :k], gray[:k, -k:], gray[-k:, :k], gray[-k:, -k:]]
    levels = np.array([np.median(corner) for corner in corners])
    level = float(np.median(levels))
    if np.abs(levels - level).max() > 40:
        return None  # no even frame around anything
    difference = np.abs(gray - level)
    threshold = max(6.0, 0.12 * float(np.percentile(difference, 95)))
    region = (difference > threshold).astype(np.uint8)
    region = cv2.morphologyEx(region, cv2.MORPH_OPEN, np.ones((5, 5), np.uint8))
    n, labels, stats, _ = cv2.connectedComponentsWithStats(region)
    if n < 2:
        return None
    largest = 1 + int(stats[1:, cv2.CC_STAT_AREA].argmax())
    contours, _ = cv2.findContours(
        (labels == largest).astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE
    )
    filled = np.zeros(gray.shape, np.uint8)
    hull = cv2.convexHull(max(contours, key=len))
    cv2.drawContours(filled, [hull], -1, 1, cv2.FILLED)
    part = filled.mean()
    return filled.astype(bool) if _LEAST_AREA <= part <= 0.98 else None


def _fit_circle(region: np.ndarray) -> tuple[float, float, float] | None:
    """Fit a circle to the outline of a region, cuts left out."""
    contours, _ = cv2.findContours(
        region.astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE
    )
    points = contours[0][:, 0].astype(np.float64)
    height, width = region.shape
    x, y = points.T
    inner = (x > 1) & (y > 1) & (x < width - 2) & (y < height - 2)
    # Straight stretches along rows and columns are cuts by a bar.
    for values, extent in ((y, height), (x, width)):
        counts = np.bincount(values.astype(int), minlength=extent)
        for edge in (int(values.min()), int(values.max())):
            if counts[edge] > 0.3 * extent:
                inner &= np.abs(values - edge) > 1
    points = points[inner]
    if len(points) < 30:
        return None
    kept = np.ones(len(points), bool)
    for _ in range(5):
        a = np.c_[2 * points[kept], np.ones(kept.sum())]
        b = (points[kept] ** 2).sum(axis=1)
        (cx, cy, c), *_ = np.linalg.lstsq(a, b, rcond=None)
        radius = float(np.sqrt(max(c + cx * cx + cy * cy, 0.0)))
        away = np.abs(np.hypot(points[:, 0] - cx, points[:, 1] - cy) - radius)
        kept = away < max(1.5, 0.015 * radius)
        if kept.sum() < 30:
            return None
    if kept.mean() < _LEAST_ROUND or radius < 0.25 * min(height, width):
        return None
    return float(cx), float(cy), radius
