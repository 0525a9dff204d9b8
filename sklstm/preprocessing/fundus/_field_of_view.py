"""Detection of the field of view, the part of a fundus photograph that shows retina.

The field is round, and the border around it is even. In a photograph that was squashed,
the field is an ellipse. Bars with captions may surround the photograph, and a bar or
the frame may cut the field at any side.

The detection has four steps:

1. It removes the bars.
2. On a small copy, it takes the pixels that differ from the border in the corners as
   the region of the retina.
3. It fits a circle and an ellipse to the outline of the region, and takes the better.
4. Along the rays of this conic, it finds the edge on the photograph itself, and fits
   the conic again. It finds the cuts on the photograph, too.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import NamedTuple

import cv2
import numpy as np

from sklstm.preprocessing.fundus._conics import Conic, draw_conic, fit_conic
from sklstm.preprocessing.fundus._field import Field, whole_frame

# Largest side of the small copy in pixels.
_SMALL = 320
# Largest difference of the levels of one border, and largest median difference of the
# pixels of a bar from its level.
_EVEN, _NOISE = 10, 3
# Smallest width of a field and smallest area of a region, as fractions of the frame.
_LEAST_WIDTH, _LEAST_AREA = 0.15, 0.01
# Smallest fraction of the rays that meet the edge on the conic, and smallest number of
# rays.
_LEAST_SUPPORT, _LEAST_RAYS = 0.5, 24
# Number of rays around a conic, and of points on each.
_N_RAYS, _N_STEPS = 360, 49
# Smallest fraction of a conic that the region covers.
_LEAST_COVERED = 0.6
_SIDES = ("top", "bottom", "left", "right")


class _Region(NamedTuple):
    """The part of the small copy that is not border."""

    filled: np.ndarray  # (height, width), uint8: the region without holes
    outline: np.ndarray  # (n, 2): its outline (x, y)
    difference: np.ndarray  # (height, width), uint8: difference from the border
    level: np.ndarray  # (channels,), uint8: level of the border
    noise: float  # difference within the border itself
    contrast: float  # difference of the brightest retina


def find_field(image: np.ndarray) -> Field:
    """Find the field of view of a photograph.

    Parameters
    ----------
    image : ndarray of shape (height, width) or (height, width, channels), uint8
        The photograph.

    Returns
    -------
    Field
        An ellipse. If none fits, it is the outline of everything that is not border,
        and if there is no border, the whole frame.
    """
    image = image[..., None] if image.ndim == 2 else image
    height, width = image.shape[:2]
    small = _shrunk(image)
    top, bottom, left, right = _without_bars(image, small)
    if (bottom - top, right - left) == (height, width):
        return _within(image, small)
    inner = image[top:bottom, left:right]
    field = _within(inner, _shrunk(inner))
    outline = field.outline
    if outline is not None:
        outline = np.zeros((height, width), bool)
        outline[top:bottom, left:right] = field.outline
    return replace(
        field,
        center=(field.center[0] + left, field.center[1] + top),
        top=field.top + top,
        bottom=field.bottom + top,
        left=field.left + left,
        right=field.right + left,
        # Everything between the bars is not border.
        found="outline" if field.found == "nothing" else field.found,
        outline=outline,
    )


def _within(image: np.ndarray, small: np.ndarray) -> Field:
    """Find the field in a frame without bars. `small` is its small copy."""
    small = cv2.GaussianBlur(small, (0, 0), 1.0).reshape(small.shape)
    regions = []
    for level in _border_levels(small):
        region = _region(small, level)
        if region is None:
            continue
        regions.append(region)
        coarse = _coarse(region)
        if coarse is None:
            continue
        cuts = _coarse_cuts(coarse, region.filled)
        if _covered(coarse, cuts, region.filled) < _LEAST_COVERED:
            continue
        by = image.shape[1] / small.shape[1], image.shape[0] / small.shape[0]
        limits = [cut * by[i < 2] for i, cut in enumerate(cuts)]
        conic = _refined(coarse.scaled(*by), image, limits, region)
        if conic is not None:
            return _with_cuts(conic, image, cuts, small.shape)
    return next(
        (_outlined(region, image.shape) for region in regions if _is_distinct(region)),
        whole_frame(image.shape[:2]),
    )


def _shrunk(image: np.ndarray) -> np.ndarray:
    """Return a small copy (height, width, channels)."""
    height, width = image.shape[:2]
    scale = _SMALL / max(height, width)
    if scale >= 1:
        return image
    size = max(1, round(width * scale)), max(1, round(height * scale))
    shrunk = cv2.resize(image, size, interpolation=cv2.INTER_AREA)
    return shrunk.reshape(*shrunk.shape[:2], -1)


def _turned(image: np.ndarray, side: str) -> np.ndarray:
    """Return a view of an image, turned so that `side` is at the top."""
    turned = image if side in ("top", "bottom") else image.swapaxes(0, 1)
    return turned if side in ("top", "left") else turned[::-1]


def _difference(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Return the absolute difference (height, width) of two images.

    It is the difference in the channel in which they differ most, because colours of
    the same brightness may differ in one channel only.
    """
    channels = cv2.split(cv2.absdiff(a, b))
    difference = channels[0]
    for channel in channels[1:]:
        difference = cv2.max(difference, channel)
    return difference


# --- bars ---------------------------------------------------------------------------


def _without_bars(image: np.ndarray, small: np.ndarray) -> tuple[int, int, int, int]:
    """Return the limits (top, bottom, left, right) of the frame without bars."""
    # Thickness of the bars on the small copy.
    thick = dict.fromkeys(_SIDES, 0)
    # A bar at the left may end at a bar at the top, so the search is repeated.
    for _ in range(3):
        before = dict(thick)
        for side in _SIDES:
            thick[side] += _bar(_turned(_inner(small, thick), side))
        if thick == before:
            break
    found = {}
    for side, rows in thick.items():
        turned = _turned(image, side)
        scale = len(turned) / len(_turned(small, side))
        others = {name: round(n * scale) for name, n in thick.items() if name != side}
        found[side] = 0
        if rows:
            strip = _turned(_inner(image, others | {side: 0}), side)
            step = _step(strip, rows * scale, 2 * scale + 2)
            found[side] = round(rows * scale) if step is None else step
    height, width = image.shape[:2]
    return found["top"], height - found["bottom"], found["left"], width - found["right"]


def _inner(image: np.ndarray, thick: dict[str, int]) -> np.ndarray:
    height, width = image.shape[:2]
    return image[
        thick["top"] : height - thick["bottom"], thick["left"] : width - thick["right"]
    ]


def _bar(rows: np.ndarray) -> int:
    """Return the number of rows at the top that form a bar.

    A bar is even, and ends in one row over nearly the whole width.
    """
    if len(rows) < 16:
        return 0
    half = np.ascontiguousarray(rows[: len(rows) // 2, ::2])
    near, beyond = half[:-3], half[3:]
    ends = np.count_nonzero(_difference(near, beyond) > _EVEN, axis=1)
    ends = ends >= 0.85 * near.shape[1]
    for row in np.flatnonzero(ends)[::-1]:
        level = np.median(near[row], axis=0).astype(np.uint8)
        bar = near[: row + 1]
        away = _difference(bar, np.full_like(bar, level))
        # A bar may contain text, but not in its last row.
        if (away[-1] <= _EVEN).mean() >= 0.85 and np.median(away) <= _NOISE:
            return int(row) + 1
    return 0


def _step(rows: np.ndarray, around: float, reach: float) -> int | None:
    """Return the first row after the step in brightness near a row, or None."""
    start = max(0, round(around - reach))
    strip = rows[start : round(around + reach) + 1]
    if strip.shape[0] < 3 or strip.shape[1] == 0:
        return None
    profile = strip.mean(axis=1, dtype=np.float64)
    away = (profile - profile[0]) @ (profile[-1] - profile[0])
    if away[-1] < 1:
        return None
    first = int((away >= away[-1] / 2).argmax())
    # A shadow changes gradually, over many rows.
    near = max(2, len(away) // 6)
    rise = away[min(first + near, len(away) - 1)] - away[max(first - near, 0)]
    return start + first if rise > 0.6 * away[-1] else None


# --- the region of the retina -------------------------------------------------------


def _border_levels(small: np.ndarray) -> Iterator[np.ndarray]:
    """Yield possible levels of the border, which are the levels of similar corners.

    If the frame of a round field shows any border, it shows border in a corner.
    """
    k = max(2, min(small.shape[:2]) // 40)
    corners = [small[:k, :k], small[:k, -k:], small[-k:, :k], small[-k:, -k:]]
    levels = np.array([np.median(c, axis=(0, 1)) for c in corners])
    alike = np.abs(levels[:, None] - levels).max(axis=2) <= _EVEN
    given: list[np.ndarray] = []
    order = sorted(range(4), key=lambda i: (-alike[i].sum(), levels[i].sum()))
    for i in order:
        level = np.median(levels[alike[i]], axis=0)
        if all(np.abs(level - other).max() > _EVEN for other in given):
            given.append(level)
            yield np.round(level).astype(np.uint8)


def _region(small: np.ndarray, level: np.ndarray) -> _Region | None:
    """Return the largest region that differs from a level of the border, or None."""
    difference = _difference(small, np.full_like(small, level))
    shares = np.cumsum(np.bincount(difference.ravel(), minlength=256)) / difference.size
    contrast = float(np.searchsorted(shares, 0.99))
    threshold = _threshold(contrast)
    over = (difference > threshold).view(np.uint8)
    opened = cv2.morphologyEx(over, cv2.MORPH_OPEN, np.ones((5, 5), np.uint8))
    _, labels, stats, _ = cv2.connectedComponentsWithStats(opened)
    areas = stats[1:, cv2.CC_STAT_AREA]
    if len(areas) == 0 or areas.max() < _LEAST_AREA * difference.size:
        return None
    part = (labels == 1 + int(areas.argmax())).view(np.uint8)
    contours, _ = cv2.findContours(part, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    contour = max(contours, key=len)
    filled = np.zeros_like(part)
    cv2.drawContours(filled, [contour], -1, 1, cv2.FILLED)
    outside = difference[labels == 0]
    if filled.mean() > 0.99 or len(outside) == 0:
        return None
    noise = float(np.percentile(outside[:: max(1, len(outside) // 5000)], 75))
    # If the level is that of a dark part of the retina, and not of a border, the
    # pixels outside the region differ by nearly the threshold.
    if noise > 0.5 * threshold:
        return None
    outline = contour[:, 0].astype(np.float64)
    return _Region(filled, outline, difference, level, noise, contrast)


def _threshold(contrast: float) -> float:
    """Return the least difference between retina and border."""
    return max(6.0, 0.12 * contrast)


def _off_the_frame(region: _Region) -> np.ndarray:
    """Return a mask of the points of the outline that are not at the frame."""
    height, width = region.filled.shape
    x, y = region.outline.T
    return (x > 1) & (y > 1) & (x < width - 2) & (y < height - 2)


def _coarse(region: _Region) -> Conic | None:
    """Fit a circle or an ellipse to the outline of a region, or return None."""
    height, width = region.filled.shape
    inner = _off_the_frame(region)
    x, y = region.outline.T
    extent = np.ptp(x) + 1, np.ptp(y) + 1
    for values, along, across in ((y, *extent), (x, *extent[::-1])):
        depth = max(1.0, 0.01 * across)
        # Within this depth, a cut has more points than the outline of an ellipse.
        least = max(1.6 * along * 2 * np.sqrt(depth / across), 0.2 * along)
        for edge in (values.min(), values.max()):
            straight = np.abs(values - edge) <= depth
            if straight.sum() > least:
                inner &= np.abs(values - edge) > depth + 1
    points = region.outline[inner]
    if len(points) < 20:
        return None
    tolerance = max(1.5, 0.004 * max(height, width))
    best, most = None, 0.0
    for circle in (True, False):
        conic = draw_conic(points, tolerance, circle)
        if conic is None:
            continue
        near = float((conic.distances(points) < tolerance).mean())
        # An ellipse has one parameter more, so it always fits a few points more.
        if near > most + 0.05:
            best, most = conic, near
        if most > 0.8:
            break
    if best is None or most < 0.3:
        return None
    smaller, larger = sorted((best.rx, best.ry))
    side = max(height, width)
    if 2 * smaller < _LEAST_WIDTH * side or larger > 1.5 * side:
        return None
    return best


def _coarse_cuts(conic: Conic, filled: np.ndarray) -> list[float]:
    """Return the number of rows without retina at each side, or 0 without a cut."""
    return [
        _first_row(_turned(filled, side), _turned_conic(conic, filled.shape, side))
        for side in _SIDES
    ]


def _covered(conic: Conic, cuts: list[float], filled: np.ndarray) -> float:
    """Return the fraction of an ellipse that the region covers.

    Dark parts of the retina are not covered.
    """
    (height, width), rows = filled.shape, [round(cut) for cut in cuts]
    bottom, right = height - rows[1], width - rows[3]
    field = Field(conic[:2], conic[2:], rows[0], bottom, rows[2], right)
    mask = field.mask(filled.shape)
    return float(filled[mask].mean()) if mask.any() else 0.0


def _turned_conic(conic: Conic, shape: tuple[int, ...], side: str) -> Conic:
    """Return an ellipse in the coordinates of the image that `_turned` returns."""
    x, y, rx, ry = conic
    height = shape[0]
    if side in ("left", "right"):
        x, y, rx, ry, height = y, x, ry, rx, shape[1]
    return Conic(x, y if side in ("top", "left") else height - 1 - y, rx, ry)


def _first_row(filled: np.ndarray, conic: Conic) -> float:
    """Return the row of a straight cut at the top of an ellipse, or 0."""
    height, width = filled.shape
    first = max(0, int(np.ceil(conic.y - conic.ry)))
    rows = np.arange(first, min(height, int(conic.y + conic.ry)))
    if len(rows) == 0:
        return 0
    depths = (rows - conic.y) / conic.ry
    reach = 0.8 * conic.rx * np.sqrt(np.maximum(1 - depths**2, 0))
    low = np.clip(np.round(conic.x - reach).astype(int), 0, width - 1)
    high = np.clip(np.round(conic.x + reach).astype(int) + 1, low + 1, width)
    # Most fields have no cut here, and one row is enough to see that.
    least = int(np.ceil(max(2.5, 0.025 * conic.ry)))
    i = min(least - 1, len(rows) - 1)
    if filled[rows[i], low[i] : high[i]].mean() >= 0.5:
        return 0
    between = np.pad(filled[rows[0] : rows[-1] + 1], ((0, 0), (1, 0)))
    sums = np.cumsum(between, axis=1, dtype=np.uint16)
    at = np.arange(len(rows))
    held = (sums[at, high] - sums[at, low]) / (high - low) >= 0.5
    depth = int(held.argmax())
    if not held.any() or depth < least:
        return 0
    # A cut is straight, unlike a dark rim that fades into the border.
    starts = filled[first:, low[depth] : high[depth]].argmax(axis=0)
    return first + depth if (np.abs(starts - depth) <= 2).mean() >= 0.7 else 0


# --- the edge -----------------------------------------------------------------------


def _refined(
    conic: Conic, image: np.ndarray, limits: list[float], region: _Region
) -> Conic | None:
    """Fit a conic to the edge that its rays meet. Return None if too few meet it."""
    height, width = image.shape[:2]
    radius = np.sqrt(conic.rx * conic.ry)
    band = min(0.3, max(0.06, 8 / radius))
    angles = np.arange(_N_RAYS) * (2 * np.pi / _N_RAYS)
    ends = conic.points(angles)
    margin = 1.5
    seen = (
        (ends[:, 1] > limits[0] + margin)
        & (ends[:, 1] < height - 1 - limits[1] - margin)
        & (ends[:, 0] > limits[2] + margin)
        & (ends[:, 0] < width - 1 - limits[3] - margin)
    )
    if seen.sum() < _LEAST_RAYS:
        return None
    angles = angles[seen]
    at = np.linspace(1 + band, 1 - band, _N_STEPS)  # from the outside
    places = conic.points(angles[:, None], at).astype(np.float32)
    values = cv2.remap(
        image, places, None, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE
    ).reshape(*places.shape[:2], -1)
    away = _difference(values, np.full_like(values, region.level))
    away = cv2.blur(away.astype(np.float32), (3, 3))
    quarter = _N_STEPS // 4
    outer = np.median(away[:, :quarter], axis=1)
    inner = np.median(away[:, -quarter:], axis=1)
    step = inner - outer
    crossed = away >= (outer + step / 2)[:, None]
    first = np.clip(crossed.argmax(axis=1), 1, _N_STEPS - 1)
    rays = np.arange(len(angles))
    reach = _N_STEPS // 6
    rise = (
        away[rays, np.minimum(first + reach, _N_STEPS - 1)]
        - away[rays, np.maximum(first - reach, 0)]
    )
    sharp = (step > max(5.0, 0.04 * region.contrast, region.noise)) & (rise > step / 2)
    if sharp.sum() < _LEAST_RAYS:
        return None
    before, after = away[rays, first - 1], away[rays, first]
    part = (outer + step / 2 - before) / np.maximum(after - before, 1e-3)
    crossing = at[first - 1] + np.clip(part, 0, 1) * (at[first] - at[first - 1])
    points = conic.points(angles[sharp], crossing[sharp])
    best, most = None, 0.0
    for circle in (True, False):
        start = conic
        if circle:
            if max(conic.rx / conic.ry, conic.ry / conic.rx) > 1.08:
                continue
            start = conic._replace(rx=radius, ry=radius)
        form = fit_conic(points, start, max(2.0, 0.03 * radius), circle)
        form = form and fit_conic(points, form, max(1.0, 0.008 * radius), circle)
        if form is None:
            continue
        near = (form.distances(points) < max(1.0, 0.006 * radius)).sum() / seen.sum()
        if near > most + 0.1:
            best, most = form, near
    return best if most >= _LEAST_SUPPORT else None


def _with_cuts(
    conic: Conic, image: np.ndarray, cuts: list[float], small: tuple[int, ...]
) -> Field:
    """Return the field of an ellipse, and find its cuts on the photograph."""
    height, width = image.shape[:2]
    rows = []
    for side, cut in zip(_SIDES, cuts, strict=True):
        turned = _turned(image, side)
        form = _turned_conic(conic, image.shape, side)
        scale = len(turned) / (small[0] if side in ("top", "bottom") else small[1])
        rows.append(_cut(turned, form, cut * scale, 2 * scale + 3))
    return Field(
        (float(conic.x), float(conic.y)),
        (float(conic.rx), float(conic.ry)),
        rows[0],
        height - rows[1],
        rows[2],
        width - rows[3],
    )


def _cut(image: np.ndarray, conic: Conic, coarse: float, reach: float) -> int:
    """Return the number of rows above a cut at the top of an image, or 0."""
    width = image.shape[1]
    vertex = conic.y - conic.ry
    if coarse == 0:
        if vertex < 0:
            return 0
        # There may be a shallow cut. Over a tenth of the radius, the ellipse itself is
        # almost straight.
        half = 0.1 * conic.rx
        depth = 0.02 * conic.ry
        coarse, reach = vertex + depth, depth + 4
    else:
        depth = min(1.0, max(0.0, (conic.y - coarse) / conic.ry))
        half = 0.8 * conic.rx * np.sqrt(1 - depth * depth)
    left = min(max(0, round(conic.x - half)), width)
    right = max(min(width, round(conic.x + half) + 1), left)
    row = _step(image[:, left:right], coarse, reach)
    return row if row and row - vertex > 0.006 * conic.ry + 2.5 else 0


# --- other shapes -------------------------------------------------------------------


def _is_distinct(region: _Region) -> bool:
    """Return whether a region is compact, with a sharp edge to an even border."""
    hull = cv2.convexHull(region.outline.astype(np.int32))
    if region.filled.sum() < 0.9 * cv2.contourArea(hull):
        return False
    around = np.ones((9, 9), np.uint8)
    low = cv2.erode(region.difference, around)
    high = cv2.dilate(region.difference, around)
    x, y = region.outline[_off_the_frame(region)].astype(int).T
    threshold = _threshold(region.contrast)
    sharp = (high[y, x] > 2 * threshold) & (low[y, x] < 0.5 * threshold)
    return len(sharp) > 0 and bool(sharp.mean() > 0.7)


def _outlined(region: _Region, shape: tuple[int, ...]) -> Field:
    """Return the outline of a region as a field."""
    height, width = shape[:2]
    # The threshold is low and the copy is blurred, so the outline lies about a pixel
    # outside the edge.
    inner = cv2.erode(region.filled * np.uint8(255), np.ones((3, 3), np.uint8))
    outline = cv2.resize(inner, (width, height), interpolation=cv2.INTER_LINEAR) >= 128
    rows, columns = np.flatnonzero(outline.any(1)), np.flatnonzero(outline.any(0))
    top, bottom, left, right = rows[0], rows[-1] + 1, columns[0], columns[-1] + 1
    reach = max(bottom - top, right - left) / 2
    center = (left + right - 1) / 2, (top + bottom - 1) / 2
    return Field(
        center,
        (reach, reach),
        int(top),
        int(bottom),
        int(left),
        int(right),
        "outline",
        outline,
    )
