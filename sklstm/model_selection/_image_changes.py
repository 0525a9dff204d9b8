"""Changes of images that a camera, a scanner or a file makes, at a given severity."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from numbers import Real
from typing import Any

import numpy as np
from sklearn.base import BaseEstimator
from sklearn.utils import check_random_state

from sklstm.images._resize import like
from sklstm.images._validate import as_array, batches, is_flat, validate_images

FILLS = ("constant", "nearest", "reflect")
# OpenCV fills the border of at most four channels, and filters at most 512.
_MOST_MOVED = 4
_MOST_FILTERED = 512
# More levels than this let an integer hold a slight change.
_FEWEST_LEVELS = 16


def change_images(
    X: Any,
    change: str,
    severity: float,
    *,
    image_shape: Any = None,
    value_range: tuple[float, float] | None = None,
    fill: str = "nearest",
    random_state: Any = None,
) -> Any:
    """Change images as `robustness` does, to see what a severity looks like.

    Parameters
    ----------
    X : array-like of shape (n, height, width), (n, height, width, channels) or \
(n, n_features)
        Images of any real dtype, or flat images.
    change : {"rotation", "shift", "scale", "noise", "blur", "contrast", "jpeg"}
        Kind of change:

        - "rotation": turn by `severity` degrees, to the left or to the right.
        - "shift": move by `severity` times height and width, in a random direction.
        - "scale": enlarge by the factor 1 + `severity`, or shrink by it.
        - "noise": add Gaussian noise. Its standard deviation is `severity` times the
          standard deviation of all pixels of X.
        - "blur": convolve with a Gaussian. Its standard deviation is `severity` times
          the shorter side of the image.
        - "contrast": move each pixel towards the mean of its image by the fraction
          `severity`. At 1, only the mean is left.
        - "jpeg": compress at the quality 100 - `severity`, and decompress. Three
          channels are read as red, green and blue. Any other number of channels is
          compressed channel by channel.

    severity : float
        Strength of the change. At 0, the images stay exactly as they are.
    image_shape : tuple of int, default=None
        Shape of one image, (height, width) or (height, width, channels). Flat images
        need it unless they are square and gray. So do images with more than four
        channels, which could be volumes.
    value_range : (float, float), default=None
        Lowest and highest value that a pixel may have. "noise" is clipped to this
        range, and "jpeg" maps it to 0 to 255 and back. If None, 0 to 255 for uint8, and
        the lowest and the highest value of X for any other dtype.
    fill : {"nearest", "reflect", "constant"}, default="nearest"
        Pixels that "rotation", "shift" and "scale" bring in from beyond the border.
        "constant" is 0. These changes interpolate linearly.
    random_state : int, RandomState instance or None, default=None
        Seed of the directions and of the noise. Each image has its own.

    Returns
    -------
    array-like
        Changed images with the layout and the dtype of X. Whole numbers are rounded.

    Raises
    ------
    ValueError
        If a parameter is invalid, or if X holds no images.

    See Also
    --------
    robustness : Score a classifier on changed images.

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> from sklstm.model_selection import change_images
    >>> X = load_digits().data
    >>> turned = change_images(X, "rotation", 20, random_state=0)
    >>> turned.shape
    (1797, 64)
    """
    kind = CHANGES.get(change) if isinstance(change, str) else None
    if kind is None:
        raise ValueError(f"change={change!r} must be one of {', '.join(CHANGES)}.")
    checked = check_severity(kind, severity, "severity")
    images = ImageBatch(X, image_shape, value_range, fill)
    base = int(check_random_state(random_state).randint(2**31 - 1))
    return images.changed(np.arange(len(images)), change, checked, base)


class ImageBatch:
    """Images as a caller gave them, which can be changed and keep their layout.

    Parameters
    ----------
    X : array-like
        Images, flat or not, or a pandas table of flat images.
    image_shape, value_range, fill : Any
        As in `change_images`.

    Attributes
    ----------
    low, high : float
        Range of the pixel values.
    spread : float
        Standard deviation of all pixels.

    Raises
    ------
    ValueError
        If X holds no images, or if it is unclear which range its values have.
    """

    def __init__(
        self,
        X: Any,
        image_shape: Any = None,
        value_range: Any = None,
        fill: str = "nearest",
    ) -> None:
        if fill not in FILLS:
            raise ValueError(
                f"fill={fill!r} must be 'nearest', 'reflect' or 'constant'."
            )
        self._table = None
        if hasattr(X, "columns"):
            if not hasattr(X, "iloc"):
                raise TypeError(
                    f"X is a {type(X).__module__} table, which cannot be built anew "
                    "after a change: pass X.to_numpy()."
                )
            self._table = type(X), X.columns, X.index
        X = as_array(X)
        _check_shape_is_known(X, image_shape)
        images = validate_images(
            BaseEstimator(), X, reset=True, image_shape=image_shape
        )
        self._layout = images.shape[1:]
        if is_flat(X):
            self._layout = (math.prod(images.shape[1:]),)
        self._images = images.reshape(*images.shape[:3], -1)
        self.fill = fill
        self.low, self.high = _value_range(images, value_range)
        self.spread = _standard_deviation(images)

    def __len__(self) -> int:
        return len(self._images)

    def take(self, rows: np.ndarray) -> Any:
        """Return some images as they are, in the layout of the caller."""
        return self._as_given(self._images[rows], rows)

    def changed(
        self, rows: np.ndarray, change: str, severity: float, base: int, repeat: int = 0
    ) -> Any:
        """Return some images after a change, in the layout of the caller.

        An image is changed in the same direction, or with the same noise, at all
        severities and whatever the other rows are.

        Parameters
        ----------
        rows : ndarray of int, shape (n_rows,)
            Which images.
        change : str
            A name of `CHANGES`.
        severity : float
            Strength.
        base, repeat : int
            Seed, and number of the repetition with other directions and other noise.
        """
        if severity == 0:
            return self.take(rows)
        kind = CHANGES[change]
        seed = [base, 3, list(CHANGES).index(change), repeat]
        result = np.empty_like(self._images[rows])
        # An image draws from the seed and from its own place alone.
        drawn = np.random.default_rng(seed).uniform(size=len(self))
        for place, row in enumerate(rows):
            image = np.array(self._images[row], np.float64)
            new = kind.apply(self, image, severity, drawn[row], [*seed, int(row)])
            result[place] = like(new.reshape(image.shape), result.dtype)
        return self._as_given(result, rows)

    def _as_given(self, images: np.ndarray, rows: np.ndarray) -> Any:
        images = images.reshape(len(images), *self._layout)
        if self._table is None:
            return images
        kind, columns, index = self._table
        return kind(images, columns=columns, index=index[rows])


def _check_shape_is_known(X: Any, image_shape: Any) -> None:
    """Refuse what could be volumes or curves, which no change here suits."""
    if image_shape is not None:
        return
    shape: tuple[int, ...] = tuple(getattr(X, "shape", ()))
    if len(shape) == 2 and math.isqrt(shape[1]) ** 2 != shape[1]:
        raise ValueError(
            f"X is flat with {shape[1]} features, which make no square image: give "
            "image_shape=(height, width) or (height, width, channels)."
        )
    if len(shape) == 4 and shape[3] > 4:
        raise ValueError(
            f"X has the shape {shape} and could hold volumes, which are not changed "
            f"here; if it holds images of {shape[3]} channels, give "
            f"image_shape={shape[1:]}."
        )


def _value_range(images: np.ndarray, given: Any) -> tuple[float, float]:
    lowest, highest = float(images.min()), float(images.max())
    if given is not None:
        try:
            low, high = (float(value) for value in given)
        except (TypeError, ValueError):
            low = high = math.nan
        if not (low < high and math.isfinite(high - low)):
            raise ValueError(
                f"value_range={given!r} must be the lowest and the highest value of a "
                "pixel."
            )
        if lowest < low or highest > high:
            raise ValueError(
                f"X holds values from {lowest:g} to {highest:g}, which is beyond "
                f"value_range={given!r}: give the range that its pixels can have."
            )
    elif images.dtype == np.uint8:
        if highest - lowest < 64:
            raise ValueError(
                f"X is uint8 with values from {lowest:g} to {highest:g} only: give "
                f"value_range=(0, 255) if its images are that faint, or else the range "
                "that its pixels can have."
            )
        low, high = 0.0, 255.0
    else:
        low, high = lowest, highest
    if lowest == highest:
        raise ValueError(f"All pixels of X are {lowest:g}: there is nothing to change.")
    if images.dtype.kind != "f" and high - low < _FEWEST_LEVELS - 1:
        raise ValueError(
            f"X holds whole numbers or bool from {low:g} to {high:g}, so a slight "
            "change would be rounded away: give X.astype(float)."
        )
    return low, high


def _standard_deviation(images: np.ndarray) -> float:
    """Return the standard deviation of all pixels, in float64 without a large copy."""
    flat = images.reshape(len(images), -1)
    parts = [flat[part] for part in batches(len(flat), flat[0].nbytes)]
    mean = sum(part.sum(dtype=np.float64) for part in parts) / flat.size
    squares = sum(np.square(part.astype(np.float64) - mean).sum() for part in parts)
    return math.sqrt(squares / flat.size)


@dataclass(frozen=True)
class Change:
    """One kind of change.

    Parameters
    ----------
    apply : callable
        Function of a batch, an image (height, width, channels) in float64, a severity,
        a random number from 0 to 1, and a seed. It returns the changed image.
    severities : tuple of float
        Default severities.
    largest : float
        Largest severity that has a meaning.
    label : str
        Name with the unit, for an axis.
    unit : str
        What follows a severity in a sentence.
    is_random : bool
        Whether an image can be changed in more than one way.
    whole : bool
        Whether severities are whole numbers.
    """

    apply: Callable[..., np.ndarray]
    severities: tuple[float, ...]
    largest: float
    label: str
    unit: str
    is_random: bool = False
    whole: bool = False


def _rotate(
    batch: ImageBatch, image: np.ndarray, severity: float, drawn: float, seed: list
) -> np.ndarray:
    angle = math.radians(severity if drawn < 0.5 else -severity)
    cosine, sine = math.cos(angle), math.sin(angle)
    return _move(batch, image, ((cosine, sine), (-sine, cosine)))


def _shift(
    batch: ImageBatch, image: np.ndarray, severity: float, drawn: float, seed: list
) -> np.ndarray:
    direction = 2 * math.pi * drawn
    height, width = image.shape[:2]
    x = severity * width * math.cos(direction)
    y = severity * height * math.sin(direction)
    return _move(batch, image, ((1.0, 0.0), (0.0, 1.0)), (x, y))


def _scale(
    batch: ImageBatch, image: np.ndarray, severity: float, drawn: float, seed: list
) -> np.ndarray:
    factor = 1 + severity
    step = 1 / factor if drawn < 0.5 else factor
    return _move(batch, image, ((step, 0.0), (0.0, step)))


def _move(
    batch: ImageBatch,
    image: np.ndarray,
    matrix: tuple,
    shift: tuple[float, float] = (0.0, 0.0),
) -> np.ndarray:
    """Read each pixel (x, y) from `matrix` times its place after the shift is undone.

    The centre of the image stays where it is without a shift.
    """
    # OpenCV is heavy and only needed here.
    import cv2

    height, width = image.shape[:2]
    centre = np.array([(width - 1) / 2, (height - 1) / 2])
    linear = np.array(matrix)
    offset = centre - linear @ (centre + shift)
    border = {
        "constant": cv2.BORDER_CONSTANT,
        "nearest": cv2.BORDER_REPLICATE,
        "reflect": cv2.BORDER_REFLECT,
    }[batch.fill]
    places = np.column_stack([linear, offset])
    return _by_channels(
        lambda part: cv2.warpAffine(
            part,
            places,
            (width, height),
            flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
            borderMode=border,
        ),
        image,
        _MOST_MOVED,
    )


def _add_noise(
    batch: ImageBatch, image: np.ndarray, severity: float, drawn: float, seed: list
) -> np.ndarray:
    noise = np.random.default_rng(seed).standard_normal(image.shape)
    return np.clip(image + severity * batch.spread * noise, batch.low, batch.high)


def _blur(
    batch: ImageBatch, image: np.ndarray, severity: float, drawn: float, seed: list
) -> np.ndarray:
    # OpenCV is heavy and only needed here.
    import cv2

    sigma = severity * min(image.shape[:2])
    return _by_channels(
        lambda part: cv2.GaussianBlur(
            part, (0, 0), sigma, borderType=cv2.BORDER_REFLECT
        ),
        image,
        _MOST_FILTERED,
    )


def _lower_contrast(
    batch: ImageBatch, image: np.ndarray, severity: float, drawn: float, seed: list
) -> np.ndarray:
    return image + severity * (image.mean() - image)


def _compress(
    batch: ImageBatch, image: np.ndarray, severity: float, drawn: float, seed: list
) -> np.ndarray:
    unit = (batch.high - batch.low) / 255
    levels = like((image - batch.low) / unit, np.dtype(np.uint8))
    quality = 100 - round(severity)
    if image.shape[2] == 3:
        # OpenCV writes blue, green and red.
        decoded = _through_jpeg(levels[..., ::-1], quality)[..., ::-1]
    else:
        channels = [_through_jpeg(one, quality) for one in np.moveaxis(levels, 2, 0)]
        decoded = np.stack(channels, axis=2)
    return batch.low + decoded * unit


def _through_jpeg(levels: np.ndarray, quality: int) -> np.ndarray:
    # OpenCV is heavy and only needed here.
    import cv2

    settings = [cv2.IMWRITE_JPEG_QUALITY, quality]
    done, data = cv2.imencode(".jpg", np.ascontiguousarray(levels), settings)
    if not done:
        raise ValueError(f"OpenCV cannot write images of {levels.shape} as JPEG.")
    return cv2.imdecode(data, cv2.IMREAD_UNCHANGED)


def _by_channels(function: Callable, image: np.ndarray, most: int) -> np.ndarray:
    """Apply a function of OpenCV to at most so many channels at a time."""
    starts = range(0, image.shape[2], most)
    parts = [
        function(np.ascontiguousarray(image[..., start : start + most]))
        for start in starts
    ]
    # OpenCV drops a last axis of length one.
    parts = [part.reshape(*image.shape[:2], -1) for part in parts]
    return parts[0] if len(parts) == 1 else np.concatenate(parts, axis=2)


CHANGES = {
    "rotation": Change(
        _rotate,
        (0, 5, 10, 15, 20, 30, 45),
        180,
        "rotation (degrees)",
        " degrees",
        is_random=True,
    ),
    "shift": Change(
        _shift,
        (0, 0.05, 0.1, 0.15, 0.2, 0.25),
        1,
        "shift (fraction of the side)",
        " of the side",
        is_random=True,
    ),
    "scale": Change(
        _scale,
        (0, 0.1, 0.2, 0.3, 0.4, 0.5),
        math.inf,
        "scale (factor minus 1)",
        " (factor minus 1)",
        is_random=True,
    ),
    "noise": Change(
        _add_noise,
        (0, 0.1, 0.2, 0.3, 0.5, 0.7, 1),
        math.inf,
        "noise (SD of the pixels)",
        " standard deviations",
        is_random=True,
    ),
    "blur": Change(
        _blur,
        (0, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1),
        math.inf,
        "blur (fraction of the side)",
        " of the side",
    ),
    "contrast": Change(
        _lower_contrast,
        (0, 0.2, 0.4, 0.6, 0.8, 0.9),
        1,
        "contrast lost (fraction)",
        " of the contrast",
    ),
    "jpeg": Change(
        _compress,
        (0, 20, 40, 60, 80, 90, 95),
        99,
        "JPEG (100 minus quality)",
        " (100 minus the quality)",
        whole=True,
    ),
}


def check_severity(kind: Change, value: Any, name: str) -> float:
    """Return a severity as float, or raise ValueError."""
    whole = " whole" if kind.whole else ""
    upper = "" if math.isinf(kind.largest) else f" to {kind.largest:g}"
    valid = isinstance(value, Real) and not isinstance(value, bool)
    valid = valid and math.isfinite(value) and 0 <= value <= kind.largest
    if not valid or (kind.whole and value != round(value)):
        raise ValueError(
            f"{name}: {value!r} must be a{whole} number "
            f"{'from 0' if upper else 'of at least 0'}{upper}."
        )
    return float(value)


def check_changes(changes: Any) -> dict[str, np.ndarray]:
    """Return the severities of each change by its name.

    Parameters
    ----------
    changes : None, str, list of str, or dict of str to list of float
        As in `robustness`.

    Returns
    -------
    dict of str to ndarray of shape (n_severities,)
        Severities in increasing order, of which 0 is the first.

    Raises
    ------
    ValueError
        If a name is unknown, or if severities are missing or invalid.
    """
    if changes is None:
        changes = list(CHANGES)
    elif isinstance(changes, str):
        changes = [changes]
    if not isinstance(changes, Iterable) or not list(changes):
        raise ValueError(
            f"changes={changes!r} must be a name, a list of names, or a dict of names "
            "to severities."
        )
    found = {}
    for name in changes:
        if not isinstance(name, str) or name not in CHANGES:
            raise ValueError(
                f"changes: {name!r} is unknown; the names are {', '.join(CHANGES)}."
            )
        kind = CHANGES[name]
        given = changes[name] if isinstance(changes, Mapping) else kind.severities
        if given is None:
            given = kind.severities
        what = f"changes[{name!r}]"
        if isinstance(given, str) or not isinstance(given, Iterable):
            raise ValueError(f"{what}={given!r} must be a list of severities.")
        values = {check_severity(kind, value, what) for value in given}
        if values <= {0.0}:
            raise ValueError(f"{what}={given!r} must hold a severity above 0.")
        found[name] = np.array(sorted({0.0, *values}))
    return found
