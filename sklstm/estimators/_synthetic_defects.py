"""Synthetic defects: more training images, with masks, for `LSTMDefectDetector`."""

from numbers import Real
from typing import Any

import cv2
import numpy as np

KINDS = ("paste", "noise")
# Number of pixels around a pasted mask in which the images are blended.
BORDER = 2
# Bounds of the changes of a pasted defect.
_LARGEST_TURN, _LARGEST_SCALE, _LARGEST_CONTRAST = 20.0, 1.25, 2.0
# Places that are tried for a defect. The one that is most like its old place wins.
_N_PLACES = 4
# Areas of noise, as parts of the image, and widths of thin shapes in pixels.
_AREAS, _WIDTHS = (0.001, 0.1), (1.0, 3.0)
# Number of pixels around noise that are its surroundings.
_REACH = 4
# Fillings that are tried for noise. A good one shifts the mean by so many standard
# deviations of the surroundings, or changes the contrast of so many pixels by so much.
_N_FILLINGS, _LEAST_SHIFT, _LEAST_PIXELS, _LEAST_RATIO = 4, 1.5, 64, 2.0


def check_synthetic_defects(value: Any) -> dict[str, float]:
    """Return the share of synthetic images of each kind that has any.

    Parameters
    ----------
    value : float, dict or None
        As `LSTMDefectDetector` takes it. A number is the share of both kinds together.

    Raises
    ------
    TypeError, ValueError
        If it is no number or dict, a kind is unknown, or a share is below 0.
    """
    wanted = (
        "give a share of the training images, such as 0.5, a dict such as "
        '{"paste": 0.5, "noise": 0.5}, or None.'
    )
    message = f"synthetic_defects={value!r} is no such share: {wanted}"
    if value is None:
        return {}
    if isinstance(value, dict):
        unknown = [kind for kind in value if kind not in KINDS]
        if unknown:
            raise ValueError(
                f"synthetic_defects={value!r} has the unknown kind {unknown[0]!r}: "
                f"{wanted}"
            )
        shares = dict(value)
    else:
        shares = dict.fromkeys(KINDS, value)
    for share in shares.values():
        if not isinstance(share, Real) or isinstance(share, bool | np.bool_):
            raise TypeError(message)
        if not 0 <= float(share) < np.inf:
            raise ValueError(message)
    parts = 1 if isinstance(value, dict) else len(KINDS)
    return {k: float(shares[k]) / parts for k in KINDS if shares.get(k)}


def add_synthetic_defects(
    x: np.ndarray, y: np.ndarray, synthetic_defects: Any, seed: Any
) -> tuple[np.ndarray, np.ndarray]:
    """Return training images and masks with synthetic ones at their end.

    Defects, and textures to make them of, come from these images alone. If they are
    the training part of a split, no pixel of the other part is used.

    Parameters
    ----------
    x : ndarray of shape (n, height, width, channels), uint8 or float32
        Training images. They do not change.
    y : ndarray of shape (n, height, width), uint8
        Masks, 0 to 255. They do not change.
    synthetic_defects : float, dict or None
        Shares of synthetic images, as in `check_synthetic_defects`.
    seed : int, numpy.random.SeedSequence or numpy.random.Generator
        Source of all randomness.

    Returns
    -------
    x, y : ndarray
        Images and masks, of the same dtypes. If the values of `x` are from 0 to 1, or
        from 0 to 255, those of synthetic images are as well. Otherwise, they are
        within the smallest and the largest value of `x`.
    """
    shares = check_synthetic_defects(synthetic_defects)
    rng = np.random.default_rng(seed)
    makers = {"paste": paste_defects, "noise": noise_defects}
    images, masks = [x], [y]
    for kind, share in shares.items():
        more = makers[kind](x, y, max(1, round(share * len(x))), rng)
        images.append(more[0])
        masks.append(more[1])
    if len(images) == 1:
        return x, y
    return np.concatenate(images), np.concatenate(masks)


def paste_defects(
    x: np.ndarray, y: np.ndarray, n: int, seed: Any
) -> tuple[np.ndarray, np.ndarray]:
    """Return images into which defects of other images are pasted.

    A defect is a connected region of a mask. It is flipped at random, turned by up to
    20 degrees, and scaled by up to a fourth. Its mean and contrast follow the
    surroundings of its new place. Images without defects are used first.

    Parameters
    ----------
    x, y : ndarray
        As in `add_synthetic_defects`. At least one mask is not empty.
    n : int
        Number of images to make.
    seed : int, numpy.random.SeedSequence or numpy.random.Generator
        Source of all randomness.

    Returns
    -------
    images, masks : ndarray
        `n` images and masks. An image differs from the one that it was made of in its
        new defect and in `BORDER` pixels around that.

    References
    ----------
    .. [1] G. Ghiasi et al., "Simple copy-paste is a strong data augmentation method
       for instance segmentation", CVPR 2021.
    .. [2] C.-L. Li et al., "CutPaste: self-supervised learning for anomaly detection
       and localization", CVPR 2021.
    """
    rng = np.random.default_rng(seed)
    defective = np.flatnonzero(y.any(axis=(1, 2)))
    if not len(defective):
        raise ValueError("y has no defect to paste: at least one mask must not be 0.")
    low, high = _value_range(x)
    targets = _targets(y, n, rng)
    images, masks = x[targets], y[targets]
    for image, mask in zip(images, masks, strict=True):
        source = rng.choice(defective)
        labels = _labels(y[source])
        # Each region has the same chance, or many specks would outvote a stain.
        region = labels == rng.integers(1, labels.max() + 1)
        own, piece = _cut(x[source], y[source], region, rng)
        old = _surroundings(x[source], y[source], region)
        inside, new = _place(image, mask, own > 0, old.mean(axis=0), rng)
        target = image[inside].astype(np.float32)
        follows = _follow(piece, old, new)
        alpha = _feather(own > 0)[..., None]
        _write(image[inside], alpha * follows + (1 - alpha) * target, alpha, low, high)
        np.maximum(mask[inside], own, out=mask[inside])
    return images, masks


def noise_defects(
    x: np.ndarray, y: np.ndarray, n: int, seed: Any
) -> tuple[np.ndarray, np.ndarray]:
    """Return images with defects whose shapes are those of Perlin noise.

    Half of the shapes are spots, from a thousandth to a tenth of the image. The others
    are thin lines. A shape is filled with the texture of another image, or becomes
    brighter or darker, with more or less contrast. Images without defects are used
    first.

    Parameters
    ----------
    x, y : ndarray
        As in `add_synthetic_defects`.
    n : int
        Number of images to make.
    seed : int, numpy.random.SeedSequence or numpy.random.Generator
        Source of all randomness.

    Returns
    -------
    images, masks : ndarray
        `n` images and masks. An image differs from the one that it was made of only
        where its new defect is.

    References
    ----------
    .. [1] V. Zavrtanik, M. Kristan and D. Skocaj, "DRAEM: a discriminatively trained
       reconstruction embedding for surface anomaly detection", ICCV 2021.
    .. [2] K. Perlin, "Improving noise", SIGGRAPH 2002.
    """
    rng = np.random.default_rng(seed)
    low, high = _value_range(x)
    targets = _targets(y, n, rng)
    images, masks = x[targets], y[targets]
    if low == high:  # Nothing can change within these values.
        return images, masks
    for image, mask in zip(images, masks, strict=True):
        shape = np.round(255 * _draw_shape(mask.shape, rng)).astype(np.uint8)
        alpha = shape[..., None] / np.float32(255)
        before = image.astype(np.float32)
        best, most = before, -1.0
        around = (cv2.dilate(shape, _square(_REACH)) > 0) & (shape == 0)
        around = before[around if around.any() else shape > 0]
        level = around.mean(axis=0)
        spread = max(float(around.std(axis=0).mean()), 0.02 * (high - low))
        for k in range(_N_FILLINGS):
            by_texture = k < _N_FILLINGS - 1 and rng.random() < 0.5
            make = _fill_with_texture if by_texture else _fill_with_brightness
            filling = make(before, alpha, x, level, spread, rng)
            after = before + alpha * (np.clip(filling, low, high) - before)
            change = _visible_change(before, after, alpha, level, spread)
            if change > most:
                best, most = after, change
            if most >= 1:
                break
        _write(image, best, alpha, low, high)
        np.maximum(mask, shape, out=mask)
    return images, masks


def perlin_noise(
    shape: tuple[int, int], cells: tuple[int, int], seed: Any
) -> np.ndarray:
    """Return smooth noise around 0, by gradients on a grid.

    Parameters
    ----------
    shape : tuple of int
        Shape (height, width) of the noise.
    cells : tuple of int
        Number of cells (down, across) of the grid. More cells are finer noise.
    seed : int, numpy.random.SeedSequence or numpy.random.Generator
        Source of the gradients.

    Returns
    -------
    ndarray of shape (height, width), float64
        The noise, within -1 and 1. It is 0 at the corners of the cells.
    """
    angles = np.random.default_rng(seed).uniform(
        0, 2 * np.pi, (cells[0] + 1, cells[1] + 1)
    )
    slopes = np.stack([np.sin(angles), np.cos(angles)])
    along = [np.arange(k) * (c / k) for k, c in zip(shape, cells, strict=True)]
    corner = [
        np.minimum(a.astype(int), c - 1) for a, c in zip(along, cells, strict=True)
    ]
    rest = [a - c for a, c in zip(along, corner, strict=True)]
    down, across = rest[0][:, None], rest[1][None, :]

    def at(i: int, j: int) -> np.ndarray:
        slope = slopes[:, corner[0][:, None] + i, corner[1][None, :] + j]
        return slope[0] * (down - i) + slope[1] * (across - j)

    fade = [t**3 * (t * (6 * t - 15) + 10) for t in (down, across)]
    top = at(0, 0) + fade[1] * (at(0, 1) - at(0, 0))
    bottom = at(1, 0) + fade[1] * (at(1, 1) - at(1, 0))
    return top + fade[0] * (bottom - top)


def _value_range(x: np.ndarray) -> tuple[float, float]:
    """Return the least and the largest value that synthetic images may have."""
    low, high = float(x.min()), float(x.max())
    for white in (1.0, 255.0):
        if low >= 0 and high <= white:
            return 0.0, white
    return low, high


def _targets(y: np.ndarray, n: int, rng: np.random.Generator) -> np.ndarray:
    """Return the rows of the images to change, those without defects first."""
    defective = y.any(axis=(1, 2))
    kinds = np.flatnonzero(~defective), np.flatnonzero(defective)
    rounds = range(-(-n // len(y)))
    return np.concatenate([rng.permutation(k) for _ in rounds for k in kinds])[:n]


def _labels(mask: np.ndarray) -> np.ndarray:
    return cv2.connectedComponents((mask > 0).astype(np.uint8), connectivity=8)[1]


def _write(
    image: np.ndarray, values: np.ndarray, alpha: np.ndarray, low: float, high: float
) -> None:
    """Set the pixels where `alpha` is above 0, in the dtype of the image."""
    values = np.clip(values, low, high)
    if image.dtype.kind == "u":
        values = np.round(values)
    chosen = alpha[..., 0] > 0
    image[chosen] = values[chosen].astype(image.dtype)


# --- paste --------------------------------------------------------------------------


def _cut(
    image: np.ndarray, mask: np.ndarray, region: np.ndarray, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Return a defect with its surroundings, flipped, turned and scaled.

    Returns
    -------
    own : ndarray of shape (h, w), uint8
        Mask of the defect.
    piece : ndarray of shape (h, w, channels), float32
        Pixels of the defect and around it.
    """
    height, width = region.shape
    rows, columns = np.flatnonzero(region.any(1)), np.flatnonzero(region.any(0))
    box = np.array([[rows[0], rows[-1] + 1], [columns[0], columns[-1] + 1]])
    scale = _LARGEST_SCALE ** rng.uniform(-1, 1)
    angle = rng.uniform(-_LARGEST_TURN, _LARGEST_TURN)
    flips = rng.choice([-1.0, 1.0], 2)
    turn = np.deg2rad(angle)
    matrix = scale * np.array(
        [[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]]
    )
    matrix = matrix * flips[None, :]  # in x and y
    margin = _margin(region.shape)
    sides = (box[:, 1] - box[:, 0])[::-1]  # in x and y
    needed = np.ceil(np.abs(matrix) @ sides).astype(int) + 2 * margin
    # A piece is no larger than the image. What is beyond is cut off.
    size = np.minimum(needed, [width, height])
    center = (box.sum(axis=1)[::-1] - 1) / 2
    moved = np.column_stack([matrix, (size - 1) / 2 - matrix @ center])
    target = (int(size[0]), int(size[1]))

    def warp(values: np.ndarray, how: int, border: int) -> np.ndarray:
        return cv2.warpAffine(values, moved, target, flags=how, borderMode=border)

    own = warp(np.where(region, mask, 0), cv2.INTER_LINEAR, cv2.BORDER_CONSTANT)
    channels = [
        warp(image[..., c].astype(np.float32), cv2.INTER_LINEAR, cv2.BORDER_REFLECT_101)
        for c in range(image.shape[2])
    ]
    if not own.any():  # A faint speck may fall between the pixels.
        seen = warp(region.astype(np.uint8), cv2.INTER_NEAREST, cv2.BORDER_CONSTANT)
        own = np.where(seen > 0, mask[region].max(), 0).astype(np.uint8)
        if not own.any():
            own[size[1] // 2, size[0] // 2] = mask[region].max()
    return own, np.stack(channels, axis=-1)


def _margin(shape: tuple[int, ...]) -> int:
    return max(BORDER + 1, min(shape) // 16)


def _square(reach: int) -> np.ndarray:
    return np.ones((2 * reach + 1, 2 * reach + 1), np.uint8)


def _surroundings(
    image: np.ndarray, mask: np.ndarray, region: np.ndarray
) -> np.ndarray:
    """Return the pixels around a region that are not defective, (n, channels).

    If there are none, they are those of the whole image.
    """
    near = cv2.dilate(region.astype(np.uint8), _square(_margin(mask.shape))) > 0
    good = near & (mask == 0)
    found = image[good] if good.any() else image.reshape(-1, image.shape[-1])
    return found.astype(np.float32)


def _place(
    image: np.ndarray,
    mask: np.ndarray,
    support: np.ndarray,
    old: np.ndarray,
    rng: np.random.Generator,
) -> tuple[tuple[slice, slice], np.ndarray]:
    """Choose a place for a defect, as like its old surroundings as any that is tried.

    Parameters
    ----------
    image, mask : ndarray
        Image to put it into.
    support : ndarray of shape (h, w), bool
        Where the mask of the defect is not 0.
    old : ndarray of shape (channels,)
        Mean of its old surroundings.
    rng : numpy.random.Generator
        Source of the places.

    Returns
    -------
    inside : tuple of slice
        Rows and columns of the place.
    new : ndarray of shape (n, channels)
        Pixels there and around the defect that are not defective.
    """
    found = []
    for _ in range(_N_PLACES):
        corner = [
            int(rng.integers(whole - own + 1))
            for whole, own in zip(mask.shape, support.shape, strict=True)
        ]
        inside = (
            slice(corner[0], corner[0] + support.shape[0]),
            slice(corner[1], corner[1] + support.shape[1]),
        )
        region = np.zeros(mask.shape, bool)
        region[inside] = support
        new = _surroundings(image, mask, region)
        found.append((float(np.abs(new.mean(axis=0) - old).sum()), inside, new))
    _, inside, new = min(found, key=lambda one: one[0])
    return inside, new


def _follow(piece: np.ndarray, old: np.ndarray, new: np.ndarray) -> np.ndarray:
    """Give a piece the mean and the contrast of its new surroundings."""
    # One ratio for all channels keeps the colour of the defect.
    before, after = old.std(axis=0).mean(), new.std(axis=0).mean()
    ratio = 1.0
    if before > 0 and after > 0:
        bounds = 1 / _LARGEST_CONTRAST, _LARGEST_CONTRAST
        ratio = float(np.clip(after / before, *bounds))
    return (piece - old.mean(axis=0)) * ratio + new.mean(axis=0)


def _feather(support: np.ndarray) -> np.ndarray:
    """Return the weight of a piece: 1 in its mask, and less in the border around it."""
    outside = (~support).astype(np.uint8)
    distance = cv2.distanceTransform(outside, cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
    return np.clip(1 - distance / (BORDER + 1), 0, 1)


# --- noise --------------------------------------------------------------------------


def _draw_shape(shape: tuple[int, ...], rng: np.random.Generator) -> np.ndarray:
    """Return the soft mask of one defect, from 0 to 1, and never empty."""
    height, width = shape
    n_pixels = height * width
    center = rng.uniform(0, 1, 2) * (height - 1, width - 1)
    away = np.hypot(
        np.arange(height)[:, None] - center[0], np.arange(width)[None, :] - center[1]
    )
    cells = [
        min(2 ** int(rng.integers(1, 5)), max(1, side // 4)) for side in (height, width)
    ]
    noise = perlin_noise((height, width), (cells[0], cells[1]), rng)
    if rng.random() < 0.5:
        area = np.exp(rng.uniform(*np.log(_AREAS))) * n_pixels
        radius = np.sqrt(max(area, 1) / np.pi)
        field = noise / max(noise.std(), 1e-9) - 1.5 * away / radius
        level = np.partition(field, -max(1, int(area)), axis=None)[-max(1, int(area))]
        soft = np.clip((field - level) / _steepness(field) + 0.5, 0, 1)
    else:
        # Lines where the noise is zero. The quotient is about the distance to them.
        half = rng.uniform(*_WIDTHS) / 2
        noise = noise - noise[int(center[0]), int(center[1])]
        distance = np.abs(noise) / _steepness(noise)
        reach = rng.uniform(0.1, 0.4) * min(shape)
        soft = np.clip(half + 0.5 - distance, 0, 1) * (away <= max(reach, 1))
    labels = cv2.connectedComponents((soft > 0).astype(np.uint8), connectivity=8)[1]
    middle = labels[round(center[0]), round(center[1])]
    if middle == 0:
        middle = np.bincount(labels[labels > 0]).argmax() if labels.any() else 0
    soft = np.where((labels == middle) & (labels > 0), soft, 0.0)
    largest = max(1, int(_AREAS[1] * n_pixels))
    if np.count_nonzero(soft) > largest:  # Keep what is nearest to the center.
        away = np.where(soft > 0, away, np.inf)
        soft = soft * (away <= np.partition(away, largest - 1, axis=None)[largest - 1])
    if soft.max() < 0.5:
        soft[round(center[0]), round(center[1])] = 1.0
    return soft


def _steepness(field: np.ndarray) -> np.ndarray:
    """Return the change of a field from one pixel to the next."""
    down = np.gradient(field, axis=0) if len(field) > 1 else np.zeros_like(field)
    across = np.gradient(field, axis=1) if field.shape[1] > 1 else np.zeros_like(field)
    return np.maximum(np.hypot(down, across), 1e-6)


def _visible_change(
    before: np.ndarray,
    after: np.ndarray,
    alpha: np.ndarray,
    level: np.ndarray,
    spread: float,
) -> float:
    """Return how well a defect can be seen. From 1, it stands out.

    Pixels of one grain differ from those of another, but nobody sees this. So the mean
    counts, against what was there and against the surroundings, and the contrast if
    the defect is large enough.
    """
    old, new = ((alpha * v).sum(axis=(0, 1)) / alpha.sum() for v in (before, after))
    shift = min(np.abs(new - old).mean(), np.abs(new - level).mean())
    change = float(shift) / (_LEAST_SHIFT * spread)
    inside = alpha[..., 0] > 0.5
    if np.count_nonzero(inside) >= _LEAST_PIXELS:
        deviations = [values[inside].std(axis=0).mean() for values in (before, after)]
        small, large = np.maximum(sorted(deviations), 0.1 * spread)
        change = max(change, float(np.log(large / small) / np.log(_LEAST_RATIO)))
    return change


def _fill_with_texture(
    image: np.ndarray,
    alpha: np.ndarray,
    x: np.ndarray,
    level: np.ndarray,
    spread: float,
    rng: np.random.Generator,
) -> np.ndarray:
    """Return a blend of an image and another one, float32."""
    other = x[rng.integers(len(x))].astype(np.float32)
    # Images of aligned parts are alike at the same place.
    shift = [int(rng.integers(side)) for side in other.shape[:2]]
    other = np.roll(other, shift, axis=(0, 1))
    if rng.random() < 0.5:
        other = other[::-1]
    strength = np.float32(rng.uniform(0.4, 1.0))
    return strength * other + (1 - strength) * image


def _fill_with_brightness(
    image: np.ndarray,
    alpha: np.ndarray,
    x: np.ndarray,
    level: np.ndarray,
    spread: float,
    rng: np.random.Generator,
) -> np.ndarray:
    """Return an image with other brightness and contrast, float32."""
    mean = (alpha * image).sum(axis=(0, 1)) / alpha.sum()
    contrast = np.exp(rng.uniform(-0.7, 0.7))
    step = rng.choice([-1.0, 1.0]) * rng.uniform(2.0, 6.0) * spread
    return ((image - mean) * contrast + level + step).astype(np.float32)
