"""Vesselness of retinal photographs, from oriented filters and two linear models.

First, the logarithm of the green channel loses its background, and its contrast is
evened. Filters for dark bars of several widths and lengths then respond in twelve
directions (matched filters, Chaudhuri et al., 1989). A filter is the second derivative
of a Gaussian across the bar and a Gaussian along it. A linear model of the largest
response of each bar gives a first map.

A second linear model combines this map, its continuation along lines, the responses of
the bars, and all products of two of these. The weights come from two logistic
regressions on the training half of DRIVE (Staal et al., 2004):
``python benchmarks/drive.py --tune``.
"""

from __future__ import annotations

import functools

import cv2
import numpy as np
import scipy.fft

from sklstm.preprocessing.fundus._vessel_weights import FIRST, PRODUCTS, SECOND

# Width of the field of view in pixels that all sizes below refer to.
DIAMETER = 540
_ORIENTATIONS = 12
_MARGIN = 32
# Standard deviations (across, along) of the bars.
_FINE = ((1.0, 4.0), (1.5, 5.0), (1.5, 10.0))
_COARSE = ((2.0, 8.0), (2.5, 6.0), (2.5, 12.0), (3.5, 10.0), (5.0, 10.0))
# Least contrast in grey levels. Photographs have three times as much, and that of
# vessels is higher.
_LEAST_CONTRAST = 2
_LINES = ((1.0, 2.8), (1.0, 6.0))


def vesselness(green: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """Return how likely each pixel belongs to a vessel.

    Parameters
    ----------
    green : ndarray of shape (height, width), uint8
        Green channel with a field of view that is `DIAMETER` pixels wide.
    mask : ndarray of shape (height, width), bool
        Mask of the field of view.

    Returns
    -------
    ndarray of shape (height, width), float32
        Likelihoods from 0 to 1. They are 0 outside the mask.
    """
    bars = first_maps(green, mask)
    maps = second_maps(weigh(bars, FIRST), mask, bars)
    logit = weigh(maps, SECOND) + _weigh_products(maps, PRODUCTS)
    return np.where(mask, _sigmoid(logit), np.float32(0))


def first_maps(green: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """Return the evened channel and the responses of the bars (n, height, width)."""
    evened = _even(green, mask)
    half = cv2.resize(evened, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA)
    size = evened.shape[::-1]
    maps = [evened, *_answers(evened, "bar", _FINE)]
    for answer in _answers(half, "bar", tuple((a / 2, b / 2) for a, b in _COARSE)):
        maps.append(cv2.resize(answer, size, interpolation=cv2.INTER_LINEAR))
    inner = slice(_MARGIN, -_MARGIN)
    return np.stack([one[inner, inner] for one in maps])


def second_maps(logit: np.ndarray, mask: np.ndarray, bars: np.ndarray) -> np.ndarray:
    """Return the features of the second model (n, height, width).

    They are the first map, its continuation along lines, its blurred copy, and the
    features of the first model.
    """
    logit = np.clip(logit, -8, 8)
    logit = np.where(mask, logit, np.float32(-4))
    likely = np.where(mask, _sigmoid(logit), np.float32(0))
    padded = [
        cv2.copyMakeBorder(one, *(_MARGIN,) * 4, cv2.BORDER_CONSTANT, value=value)
        for one, value in ((likely, 0.0), (logit, -4.0))
    ]
    maps = [logit]
    inner = slice(_MARGIN, -_MARGIN)
    for one in padded:
        maps.extend(a[inner, inner] for a in _answers(one, "line", _LINES))
    maps.append(cv2.GaussianBlur(likely, (0, 0), 12))
    return np.stack([*maps, *bars])


def weigh(maps: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Return the weighted sum of maps. The last weight is a constant."""
    return np.tensordot(weights[:-1], maps, axes=1) + weights[-1]


def _weigh_products(maps: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Return the weighted sum of the products of two maps.

    It is a quadratic form, so that no product needs memory of its own.
    """
    n = len(maps)
    square = np.zeros((n, n), np.float32)
    square[np.triu_indices(n)] = weights
    return (np.tensordot(square, maps, axes=1) * maps).sum(axis=0)


def _even(green: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """Subtract the background, even the contrast, and add a margin."""
    values = _continued(green.astype(np.float32), mask)
    values = cv2.copyMakeBorder(values, *(_MARGIN,) * 4, cv2.BORDER_REFLECT)
    padded = cv2.copyMakeBorder(
        mask.view(np.uint8), *(_MARGIN,) * 4, cv2.BORDER_CONSTANT, value=0
    ).view(bool)
    # The logarithm is taken because a vessel absorbs a fraction of the light.
    slope = 1 / (values + 20)
    values = np.log(values + 20)
    values -= cv2.GaussianBlur(values, (0, 0), 20)
    variance = cv2.GaussianBlur(values * values, (0, 0), 30)
    # The mean variance is added so that mere noise does not look like vessels. In a
    # photograph without structure, the least contrast does so for the steps between
    # grey levels.
    least = (_LEAST_CONTRAST * slope[padded]) ** 2
    return values / np.sqrt(variance + max(variance[padded].mean(), least.mean()))


def _continued(values: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """Continue the values beyond the edge of the field.

    The filters would respond to the edge as to a vessel.
    """
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (9, 9))
    padded = cv2.copyMakeBorder(
        mask.view(np.uint8), 1, 1, 1, 1, cv2.BORDER_CONSTANT, value=0
    )
    inside = cv2.erode(padded, kernel)[1:-1, 1:-1]
    if not inside.any():
        return values
    _, labels = cv2.distanceTransformWithLabels(
        1 - inside, cv2.DIST_L2, 5, labelType=cv2.DIST_LABEL_PIXEL
    )
    place = np.zeros(labels.max() + 1, np.int64)
    known = np.flatnonzero(inside)
    place[labels.ravel()[known]] = known
    return values.ravel()[place[labels]]


def _answers(
    values: np.ndarray, kind: str, sizes: tuple[tuple[float, float], ...]
) -> list[np.ndarray]:
    """Return the largest response over the orientations for each size of bar."""
    height, width = values.shape
    shape = scipy.fft.next_fast_len(height, True), scipy.fft.next_fast_len(width, True)
    transformed = scipy.fft.rfft2(values, shape)
    answers = []
    for kernels in _kernels(shape, kind, sizes):
        best = np.full((height, width), -np.inf, np.float32)
        for i in range(_ORIENTATIONS):
            # Kernels beyond a right angle are mirror images of the others.
            mirrored = i > _ORIENTATIONS // 2
            kernel = kernels[_ORIENTATIONS - i if mirrored else i]
            product = transformed * (_mirrored(kernel) if mirrored else kernel)
            answer = scipy.fft.irfft2(product, shape)[:height, :width]
            np.maximum(best, answer, out=best)
        answers.append(best)
    return answers


# Each shape of photograph needs three entries, which take 35 MB for a field of
# `DIAMETER` pixels.
@functools.lru_cache(maxsize=6)
def _kernels(
    shape: tuple[int, int], kind: str, sizes: tuple[tuple[float, float], ...]
) -> list[np.ndarray]:
    """Return the transforms of the kernels of each size, up to a right angle."""
    return [
        np.stack(
            [
                _transformed(
                    _kernel(kind, across, along, np.pi * i / _ORIENTATIONS), shape
                )
                for i in range(_ORIENTATIONS // 2 + 1)
            ]
        )
        for across, along in sizes
    ]


def _mirrored(transform: np.ndarray) -> np.ndarray:
    """Return the transform of the mirror image of a kernel.

    The kernel must be equal to itself after half a turn. The order of the rows is
    reversed, except for the row of frequency 0, which comes first.
    """
    return np.concatenate([transform[:1], transform[:0:-1]])


def _kernel(kind: str, across: float, along: float, angle: float) -> np.ndarray:
    reach = int(np.ceil((3.0 if kind == "bar" else 2.5) * max(across, along)))
    y, x = np.mgrid[-reach : reach + 1, -reach : reach + 1].astype(np.float32)
    u = x * np.cos(angle) + y * np.sin(angle)
    v = y * np.cos(angle) - x * np.sin(angle)
    kernel = np.exp(-(u**2) / (2 * across**2) - v**2 / (2 * along**2))
    if kind == "bar":  # The response is positive on lines darker than their sides.
        kernel *= u**2 / across**2 - 1
        kernel -= kernel.mean()
    return (kernel / np.abs(kernel).sum()).astype(np.float32)


def _transformed(kernel: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    reach = kernel.shape[0] // 2
    placed = np.zeros(shape, np.float32)
    placed[: kernel.shape[0], : kernel.shape[1]] = kernel
    placed = np.roll(placed, (-reach, -reach), (0, 1))
    # A kernel equals itself after half a turn, so that its transform is real.
    return scipy.fft.rfft2(placed).real.astype(np.float32)


def _sigmoid(x: np.ndarray) -> np.ndarray:
    return (1 / (1 + np.exp(-np.clip(x, -30, 30)))).astype(np.float32)
