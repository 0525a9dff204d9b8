"""Vessels of retinal photographs: their likelihood and their mask."""

from __future__ import annotations

import cv2
import numpy as np

from sklstm.images._resize import resize
from sklstm.preprocessing.fundus._vessels import DIAMETER, vesselness
from sklstm.preprocessing.fundus._view import View

# Thresholds of the hysteresis, and the smallest area of a part in a field of view that
# is 540 pixels wide. They have the highest F1 on the training half of DRIVE
# (benchmarks/drive.py).
_STRONG, _WEAK, _LEAST_PART = 0.7, 0.35, 20
# Width of the rim in pixels. It is left out, because the edge of the field looks a
# little like a vessel.
_RIM = 3


def vesselness_of(view: View) -> np.ndarray:
    """Return how likely each pixel belongs to a vessel.

    The filters are made for one diameter. The photograph is scaled to it, and the
    result is scaled back.

    Parameters
    ----------
    view : View
        The photograph.

    Returns
    -------
    ndarray of shape (height, width), float32
        From 0 to 1. 0 outside the field of view.
    """
    green = view.values("green")
    height, width = green.shape
    across, down = (DIAMETER / diameter for diameter in view.diameters)
    if max(abs(across - 1), abs(down - 1)) < 0.05:
        return vesselness(green, view.mask)
    size = max(1, round(width * across)), max(1, round(height * down))
    scaled = resize(green, size[::-1])
    mask = cv2.resize(view.mask.view(np.uint8), size, interpolation=cv2.INTER_NEAREST)
    found = vesselness(scaled, mask.view(bool))
    back = cv2.resize(found, (width, height), interpolation=cv2.INTER_LINEAR)
    return np.where(view.mask, back, np.float32(0))


def vessels_of(view: View) -> np.ndarray:
    """Return the mask of the vessels.

    Hysteresis keeps a part if some of its pixels are very likely, and if it is not
    small.

    Parameters
    ----------
    view : View
        The photograph.

    Returns
    -------
    ndarray of shape (height, width), bool
        True in vessels.
    """
    likely = vesselness_of(view)
    across, down = (diameter / 540 for diameter in view.diameters)
    rims = [2 * max(1, round(_RIM * scale)) + 1 for scale in (across, down)]
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, rims)
    inner = cv2.erode(
        view.mask.view(np.uint8), kernel, borderType=cv2.BORDER_CONSTANT, borderValue=0
    )
    n, labels, stats, _ = cv2.connectedComponentsWithStats(
        (likely >= _WEAK).astype(np.uint8) & inner, connectivity=8
    )
    strong = np.zeros(n, bool)
    strong[np.unique(labels[likely >= _STRONG])] = True
    least = _LEAST_PART * across * down
    kept = strong & (stats[:, cv2.CC_STAT_AREA] >= least)
    kept[0] = False
    return kept[labels]
