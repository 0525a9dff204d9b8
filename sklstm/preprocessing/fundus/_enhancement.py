"""Retinal photographs with even illumination and raised contrast."""

from __future__ import annotations

import cv2
import numpy as np

from sklstm.preprocessing.fundus._view import View


def smoothed(values: np.ndarray) -> np.ndarray:
    """Take noise away, but keep edges.

    A difference of 12 grey levels is more than noise, and less than that of a vessel
    or a lesion.
    """
    return cv2.bilateralFilter(values, 5, 12, 1.5)


def enhanced(
    values: np.ndarray, view: View, clip_limit: float, tile_grid_size: tuple[int, int]
) -> np.ndarray:
    """Return a photograph with even illumination and raised contrast.

    Parameters
    ----------
    values : ndarray of shape (height, width) or (height, width, 3), uint8
        Grey levels, or red, green and blue.
    view : View
        The photograph that the values are taken from.
    clip_limit : float
        Limit of the contrast, as OpenCV's CLAHE has it.
    tile_grid_size : tuple of int
        Tiles (across, down) of the field of view.

    Returns
    -------
    ndarray of the shape of `values`, uint8
        0 outside the field of view. Of a colour photograph, only the lightness changes.
    """
    if values.ndim == 2:
        return _evened(values, view, clip_limit, tile_grid_size)
    lab = cv2.cvtColor(values, cv2.COLOR_RGB2LAB)
    lab[..., 0] = _evened(lab[..., 0], view, clip_limit, tile_grid_size)
    rgb = cv2.cvtColor(lab, cv2.COLOR_LAB2RGB)
    rgb[~view.mask] = 0
    return rgb


def graham(values: np.ndarray, view: View) -> np.ndarray:
    """Return the difference from the local mean, times 4, around grey level 128.

    Parameters
    ----------
    values : ndarray of shape (height, width) or (height, width, 3), uint8
        Grey levels, or red, green and blue.
    view : View
        The photograph that the values are taken from.

    Returns
    -------
    ndarray of the shape of `values`, uint8
        128 outside the field of view.
    """
    channels = values[..., None] if values.ndim == 2 else values
    out = np.empty(channels.shape, np.uint8)
    for i in range(channels.shape[2]):
        channel = np.ascontiguousarray(channels[..., i])
        difference = channel - _background(channel, view, 1 / 60)
        out[..., i] = np.clip(np.round(4 * difference + 128), 0, 255)
    out[~view.mask] = 128
    return out[..., 0] if values.ndim == 2 else out


def _evened(
    values: np.ndarray, view: View, clip_limit: float, tile_grid_size: tuple[int, int]
) -> np.ndarray:
    background = _background(values, view, 1 / 12)
    # The same level is set outside, so that no tile at the rim contains black.
    even = np.where(view.mask, values.astype(np.float32) - background + 128, 128)
    height, width = values.shape
    across, down = tile_grid_size
    tiles = (
        max(1, round(across * width / view.diameters[0])),
        max(1, round(down * height / view.diameters[1])),
    )
    clahe = cv2.createCLAHE(clip_limit, tiles)
    raised = clahe.apply(np.clip(even, 0, 255).astype(np.uint8))
    raised[~view.mask] = 0
    return raised


def _background(values: np.ndarray, view: View, part: float) -> np.ndarray:
    """Return the local mean inside the mask, over a part of the diameters."""
    sigmas = [part * diameter for diameter in view.diameters]
    # The mean is smooth, so that a small image suffices, which is much faster.
    steps = [max(1, round(sigma / 5)) for sigma in sigmas]
    height, width = values.shape
    size = max(1, width // steps[0]), max(1, height // steps[1])
    weights = view.mask.astype(np.float32)
    parts = [values.astype(np.float32) * weights, weights]
    small = [cv2.resize(part, size, interpolation=cv2.INTER_AREA) for part in parts]
    total, weight = (
        cv2.GaussianBlur(one, (0, 0), sigmas[0] / steps[0], sigmaY=sigmas[1] / steps[1])
        for one in small
    )
    mean = total / np.maximum(weight, 1e-3)
    return cv2.resize(mean, (width, height), interpolation=cv2.INTER_LINEAR)
