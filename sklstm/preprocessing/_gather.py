"""From images to sequences and back, by an index map."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np

from sklstm.images._index_map import aligned_unit
from sklstm.images._validate import batches

Gather = Callable[[np.ndarray, np.ndarray], None]


class GatherPlan(NamedTuple):
    """The fastest way to read a map."""

    unit: int
    """Length in pixels of the contiguous pieces of the map."""

    loops: tuple[list[int], list[int]] | None
    """Lengths and strides of nested loops that give the map, or None."""


def plan_gather(index_map: np.ndarray, n_pixels: int) -> GatherPlan:
    """Find the fastest way to read the pixels of a map.

    Parameters
    ----------
    index_map : ndarray of int, shape (n_steps, n_pixels_per_step)
        The map.
    n_pixels : int
        Number of pixels of an image.

    Returns
    -------
    GatherPlan
        The way to read it.
    """
    flat = index_map.ravel()
    unit = aligned_unit(flat, n_pixels)
    use_loops = unit == 1 or unit == flat.size
    return GatherPlan(unit, _nested_strides(flat) if use_loops else None)


def make_gather(index_map: np.ndarray, plan: GatherPlan) -> Gather:
    """Return a function that reads the pixels of a map.

    Parameters
    ----------
    index_map : ndarray of int, shape (n_steps, n_pixels_per_step)
        The map.
    plan : GatherPlan
        Plan of this map.

    Returns
    -------
    gather : callable
        Function ``gather(pixels, out)``. It reads C-contiguous pixels (n, n_pixels,
        n_channels) and fills `out` (n, n_steps * n_pixels_per_step, n_channels).
    """
    flat = index_map.ravel()
    if plan.loops is not None:
        return _strided_gather(int(flat[0]), *plan.loops)
    unit = plan.unit
    units = flat[::unit] // unit
    padding = np.flatnonzero(flat < 0) if unit == 1 else flat[:0]

    def gather(pixels: np.ndarray, out: np.ndarray) -> None:
        n, _, n_channels = pixels.shape
        # With mode="raise", NumPy would fill a copy of `out` first.
        np.take(
            pixels.reshape(n, -1, unit * n_channels),
            units,
            axis=1,
            out=out.reshape(n, -1, unit * n_channels),
            mode="clip",
        )
        if len(padding):
            out[:, padding] = 0

    return gather


def _nested_strides(flat: np.ndarray) -> tuple[list[int], list[int]] | None:
    """Return the lengths and strides of nested loops that give a map, or None.

    Patches at equal strides are four loops: patch row, patch column, row and column. A
    transposed image is two loops. The innermost loop is found first, and each loop is
    verified.
    """
    shape: list[int] = []
    strides: list[int] = []
    starts = flat
    while starts.size > 1:
        steps = np.diff(starts)
        changes = np.flatnonzero(steps != steps[0])
        length = int(changes[0]) + 1 if len(changes) else starts.size
        if starts.size % length or len(shape) == 8:
            return None
        shape.insert(0, length)
        strides.insert(0, int(steps[0]))
        if not np.array_equal(
            starts.reshape(-1, length),
            starts[::length, None] + int(steps[0]) * np.arange(length),
        ):
            return None
        starts = starts[::length]
    return (shape, strides) if flat.min() >= 0 else None


def _strided_gather(first: int, shape: list[int], strides: list[int]) -> Gather:
    def gather(pixels: np.ndarray, out: np.ndarray) -> None:
        n, _, n_channels = pixels.shape
        per_image, per_pixel, per_channel = pixels.strides
        view: np.ndarray = np.ndarray(
            (n, *shape, n_channels),
            pixels.dtype,
            pixels,
            first * per_pixel,
            (per_image, *(s * per_pixel for s in strides), per_channel),
        )
        out.reshape(view.shape)[...] = view

    return gather


def average_to_pixels(
    values: np.ndarray, index_map: np.ndarray, n_pixels: int
) -> np.ndarray:
    """Give values to the pixels that they belong to, and average them per pixel.

    Parameters
    ----------
    values : ndarray, shape (n, n_entries, n_channels)
        One entry for each element of the map, or one for each of its steps.
    index_map : ndarray of int, shape (n_steps, n_pixels_per_step)
        The map.
    n_pixels : int
        Number of pixels of an image.

    Returns
    -------
    images : ndarray, shape (n, n_pixels, n_channels)
        Means with the dtype of `values`. The mean of equal values is exact, and
        integers are rounded to the nearest. Pixels that no step reads are 0.
    """
    images = np.zeros((len(values), n_pixels, values.shape[2]), values.dtype)
    flat = index_map.ravel()
    entries = np.flatnonzero(flat >= 0)
    entries = entries[np.argsort(flat[entries], kind="stable")]
    counts = np.bincount(flat[entries], minlength=n_pixels)
    covered = np.flatnonzero(counts)
    first = np.cumsum(counts)[covered] - counts[covered]
    if values.shape[1] == len(index_map):  # read by step
        entries = entries // index_map.shape[1]
    counts = counts[covered]

    def rounds() -> Iterator[tuple[np.ndarray, np.ndarray]]:
        # Yield the k-th contribution to each pixel, or the first if there is none.
        for k in range(1, counts.max(initial=0)):
            yield entries[first + np.where(k < counts, k, 0)], k < counts

    one = entries[first]
    wide_integers = values.dtype.kind in "iu" and values.dtype.itemsize == 8
    mean = _mean_of_wide_integers if wide_integers else _mean
    for part in batches(len(values), n_pixels * values.shape[2] * 8):
        pixels = np.take(values[part], one, axis=1)
        if counts.max(initial=0) > 1:
            pixels = mean(values[part], pixels, rounds(), counts[:, None])
        images[part, covered] = pixels
    return images


def _mean(
    values: np.ndarray,
    pixels: np.ndarray,
    rounds: Iterator[tuple[np.ndarray, np.ndarray]],
    counts: np.ndarray,
) -> np.ndarray:
    """Return the first contribution plus the mean difference of the others from it.

    The result is exact if all contributions are equal. Smaller types are computed in
    float64, because their rounding would show.
    """
    anchor = pixels.astype(np.result_type(pixels.dtype, np.float64))
    distance = np.zeros_like(anchor)
    for entries, _ in rounds:
        distance += np.take(values, entries, axis=1) - anchor
    # Pixels without a difference are left alone, because -0.0 + 0.0 is 0.0.
    np.add(anchor, distance / counts, out=anchor, where=distance != 0)
    if pixels.dtype.kind != "f":
        anchor = np.rint(anchor)
    return anchor.astype(pixels.dtype)


def _mean_of_wide_integers(
    values: np.ndarray,
    pixels: np.ndarray,
    rounds: Iterator[tuple[np.ndarray, np.ndarray]],
    counts: np.ndarray,
) -> np.ndarray:
    """Add quotients and remainders, because float64 cannot hold 64-bit integers."""
    counts = counts.astype(pixels.dtype)
    quotients, remainders = np.divmod(pixels, counts)
    for entries, present in rounds:
        more = np.divmod(np.take(values, entries, axis=1), counts)
        quotients += np.where(present[:, None], more[0], 0)
        remainders += np.where(present[:, None], more[1], 0)
    return quotients + np.rint(remainders / counts).astype(pixels.dtype)
