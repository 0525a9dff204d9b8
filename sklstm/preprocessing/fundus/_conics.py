"""Fits of circles and upright ellipses to points that include many outliers."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

_N_DRAWS = 200
# A photograph that was squashed from 16 : 9 to a square has an aspect of 1.78.
_MOST_ASPECT = 2.2


class Conic(NamedTuple):
    """Ellipse in pixels, whose axes are parallel to rows and columns."""

    x: float
    y: float
    rx: float
    ry: float

    def points(self, angles: np.ndarray, at: np.ndarray | float = 1.0) -> np.ndarray:
        """Return points (x, y) at the given angles, `at` radii from the centre."""
        x = self.x + self.rx * at * np.cos(angles)
        y = self.y + self.ry * at * np.sin(angles)
        return np.stack([x, y], axis=-1)

    def distances(self, points: np.ndarray) -> np.ndarray:
        """Return approximate distances of points (n, 2) from the ellipse, in pixels."""
        u, v = (points[:, 0] - self.x) / self.rx, (points[:, 1] - self.y) / self.ry
        return np.abs(np.hypot(u, v) - 1) * np.sqrt(self.rx * self.ry)

    def scaled(self, across: float, down: float) -> Conic:
        """Return the ellipse in an image that is resized by these factors.

        The centre of the first pixel has the coordinates (0, 0) in both images.
        """
        return Conic(
            (self.x + 0.5) * across - 0.5,
            (self.y + 0.5) * down - 0.5,
            self.rx * across,
            self.ry * down,
        )


def draw_conic(points: np.ndarray, tolerance: float, circle: bool) -> Conic | None:
    """Find the conic that most of the points lie on.

    RANSAC finds it, and least squares refine it.

    Parameters
    ----------
    points : ndarray of shape (n, 2)
        Points (x, y).
    tolerance : float
        Largest distance in pixels of a point that lies on the conic.
    circle : bool
        If True, find a circle.

    Returns
    -------
    Conic or None
        None if too few points lie on one conic.
    """
    n_needed = 3 if circle else 4
    if len(points) < 2 * n_needed:
        return None
    middle, extent = points.mean(axis=0), max(np.ptp(points, axis=0).max(), 1.0)
    near = (points - middle) / extent
    rows = np.random.default_rng(0).integers(len(points), size=(_N_DRAWS, n_needed))
    left, right = _equations(near, circle)
    a, b = left[rows], right[rows]
    a = a[usable := np.abs(np.linalg.det(a)) > 1e-5]
    if len(a) == 0:
        return None
    x, y, rx, ry = _solved(np.linalg.solve(a, b[usable][..., None])[..., 0], circle)
    few = near[:: max(1, len(near) // 150)]
    u = (few[:, 0] - x[:, None]) / rx[:, None]
    v = (few[:, 1] - y[:, None]) / ry[:, None]
    away = np.abs(np.hypot(u, v) - 1) * np.sqrt(rx * ry)[:, None]
    with np.errstate(invalid="ignore"):
        votes = (away < tolerance / extent).sum(axis=1)
    best = votes.argmax()
    if votes[best] < n_needed:
        return None
    first = Conic(
        float(x[best] * extent + middle[0]),
        float(y[best] * extent + middle[1]),
        float(rx[best] * extent),
        float(ry[best] * extent),
    )
    return fit_conic(points, first, tolerance, circle)


def fit_conic(
    points: np.ndarray, start: Conic, tolerance: float, circle: bool
) -> Conic | None:
    """Fit a conic by least squares to the points near it, or return None."""
    conic = start
    # The squares of pixel coordinates are large. Least squares need values near 1.
    middle, extent = points.mean(axis=0), max(np.ptp(points, axis=0).max(), 1.0)
    left, right = _equations((points - middle) / extent, circle)
    for _ in range(3):
        kept = conic.distances(points) < tolerance
        if kept.sum() < 6:
            return None
        a, b = left[kept], right[kept]
        try:
            solution = np.linalg.solve(a.T @ a, a.T @ b)
        except np.linalg.LinAlgError:
            return None
        x, y, rx, ry = (float(value[0]) for value in _solved(solution[None], circle))
        if not np.isfinite(rx * ry):
            return None
        conic = Conic(
            x * extent + middle[0], y * extent + middle[1], rx * extent, ry * extent
        )
    return conic


def _equations(points: np.ndarray, circle: bool) -> tuple[np.ndarray, np.ndarray]:
    """Return both sides of the linear equations x^2 + b y^2 + c x + d y + e = 0."""
    x, y = points.T
    one = np.ones_like(x)
    if circle:
        return np.stack([x, y, one], axis=-1), -(x * x + y * y)
    return np.stack([x, y, one, y * y], axis=-1), -x * x


def _solved(solutions: np.ndarray, circle: bool) -> tuple[np.ndarray, ...]:
    """Return centres and radii. Radii are NaN if there is no such ellipse."""
    c, d, e = solutions.T[:3]
    b = np.ones_like(c) if circle else solutions.T[3]
    with np.errstate(invalid="ignore", divide="ignore"):
        x, y = -c / 2, -d / (2 * b)
        rx = np.sqrt(x * x + b * y * y - e)
        ry = rx / np.sqrt(b)
        aspect = np.maximum(rx / ry, ry / rx)
        bad = ~(aspect <= _MOST_ASPECT) | ~(rx > 0)
    rx, ry = np.where(bad, np.nan, rx), np.where(bad, np.nan, ry)
    return x, y, rx, ry
