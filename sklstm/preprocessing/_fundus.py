from __future__ import annotations

import os
import warnings
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Any, Self

import joblib
import numpy as np
from sklearn.base import BaseEstimator, TransformerMixin

from sklstm._compat import CallbackSupportMixin, with_callbacks
from sklstm.images import is_count
from sklstm.preprocessing._base import ArrayOutputMixin
from sklstm.preprocessing._checks import check_choice, check_sizes
from sklstm.preprocessing._image_reader import ImageReader, resize
from sklstm.preprocessing._on_disk import check_folder, empty_batch

_OUTPUTS = ("enhanced", "graham", "vesselness", "vessels", "stack")
_SMALLEST = 64
# Hysteresis on the vesselness and the least size of a part, in pixels of a field of
# view 540 wide: best F1 on the training half of DRIVE (benchmarks/drive.py).
_STRONG, _WEAK, _LEAST_PART = 0.7, 0.35, 20
_RIM = 3  # the edge of the field answers a little, like a vessel


class FundusPreprocessor(
    CallbackSupportMixin, ArrayOutputMixin, TransformerMixin, BaseEstimator
):
    """Prepares retinal photographs: field of view, illumination, contrast, vessels.

    Finds the round field of view, crops to it, brings it to one diameter, and works on
    the green channel, in which vessels and lesions stand out most. Nothing is learned:
    `fit` only checks the parameters and `transform` works without it. It is no medical
    device.

    Parameters
    ----------
    output : {"enhanced", "graham", "vesselness", "vessels", "stack"}
        "enhanced", the default: noise smoothed, illumination evened, contrast raised
        by CLAHE [1]_; uint8. "graham": four times the distance to a blurred copy,
        around 128 [2]_; uint8. "vesselness": how likely a pixel belongs to a vessel,
        float32 from 0 to 1. "vessels": the same as a decision, bool. "stack": three
        channels, enhanced, as "graham", and the vesselness times 255; uint8.
    size : int, default=None
        Diameter of the field of view in pixels. None keeps that of the photograph.
    color : {"green", "rgb"}, default="green"
        What "enhanced" and "graham" give: the green channel, or colours, whose
        lightness alone is evened and raised.
    clip_limit : float, default=2.0
        Of CLAHE; contrast grows with it, and noise too.
    tile_grid_size : tuple of int, default=(8, 8)
        Tiles of CLAHE, (across, down), on the square around the field of view: they
        scale with its diameter.
    denoise : bool, default=True
        Smooth by a bilateral filter [3]_ before all else, which keeps edges.
    crop : bool, default=True
        Crop to the square around the field of view; what it lacks, where the field is
        cut off, is black. False keeps the frame, so that with ``size=None`` a result
        can be laid on the photograph.
    on_disk : str, path or None, default=None
        Folder for a set larger than memory: the results then lie in a temporary file
        there, which has no name and is gone when they are. None holds them in memory.

    See Also
    --------
    fov_mask : The field of view alone.
    ImageReader : Reads files as they are.

    Notes
    -----
    Channels are red, green, blue, as everywhere in this package. A grey image is taken
    for a green channel. The alpha channel is dropped; 16-bit photographs are divided by
    257, floats must lie between 0 and 1.

    Every photograph is worked on by itself, several at a time in threads. One of 4,000
    by 4,000 pixels takes about 300 MB while it is worked on at its own size.

    References
    ----------
    .. [1] K. Zuiderveld, "Contrast limited adaptive histogram equalization", Graphics
       Gems IV, 1994.
    .. [2] B. Graham, "Kaggle diabetic retinopathy detection competition report", 2015.
    .. [3] C. Tomasi and R. Manduchi, "Bilateral filtering for gray and color images",
       ICCV 1998.

    Examples
    --------
    >>> import numpy as np
    >>> from sklstm import FundusPreprocessor
    >>> y, x = np.mgrid[:200, :240]
    >>> inside = (x - 120) ** 2 + (y - 100) ** 2 < 95**2
    >>> photograph = np.where(inside[..., None], [180, 90, 40], 0).astype(np.uint8)
    >>> FundusPreprocessor(size=128).fit_transform([photograph]).shape
    (1, 128, 128)
    """

    def __init__(
        self,
        output: str = "enhanced",
        size: int | None = None,
        color: str = "green",
        clip_limit: float = 2.0,
        tile_grid_size: tuple[int, int] = (8, 8),
        denoise: bool = True,
        crop: bool = True,
        on_disk: Any = None,
    ) -> None:
        self.output = output
        self.size = size
        self.color = color
        self.clip_limit = clip_limit
        self.tile_grid_size = tile_grid_size
        self.denoise = denoise
        self.crop = crop
        self.on_disk = on_disk

    @with_callbacks
    def fit(self, X: Any, y: Any = None) -> Self:
        """Check the parameters; the photographs are not looked at.

        Parameters
        ----------
        X : array-like
            As in `transform`.
        y : None
            Ignored.

        Returns
        -------
        self : object
            The preprocessor.
        """
        context = self._init_callback_context()
        context.call_on_fit_task_begin(estimator=self, X=X, y=y)
        self._check_parameters()
        context.call_on_fit_task_end(
            estimator=self, X=X, y=y, reconstruction_attributes={}
        )
        return self

    def transform(self, X: Any) -> np.ndarray:
        """Prepare photographs.

        Parameters
        ----------
        X : array-like
            Photographs (n, height, width, channels) or, grey, (n, height, width); a
            list of photographs, which may differ in size; a list of paths; or one
            photograph (height, width, 3).

        Returns
        -------
        images : ndarray of shape (n, height, width) or (n, height, width, 3)
            In the order of X; of one photograph, without the first axis. See `output`.

        Raises
        ------
        ValueError
            If a photograph cannot be used, or the results differ in size.
        """
        return self._transform(X)[0]

    def transform_with_masks(self, X: Any) -> tuple[np.ndarray, np.ndarray]:
        """Prepare photographs, and say where in the result the field of view is.

        Parameters
        ----------
        X : array-like
            As in `transform`.

        Returns
        -------
        images : ndarray
            As `transform` gives them.
        masks : ndarray of shape (n, height, width), bool
            True inside.
        """
        return self._transform(X)

    def _transform(self, X: Any) -> tuple[np.ndarray, np.ndarray]:
        self._check_parameters()
        photographs, is_one = _photographs(X)

        def work(item: tuple[int, Any]) -> tuple:
            i, photograph = item
            return self._prepare(_read(photograph, i), i)

        workers = min(joblib.cpu_count(), len(photographs))
        images: Any = None
        inside: Any = None
        lost = []
        with ThreadPoolExecutor(workers) as pool:
            # Straight into the batch: no second copy of it is ever held.
            results = pool.map(work, enumerate(photographs))
            for i, (image, mask, found) in enumerate(results):
                if images is None:
                    n = len(photographs)
                    images = empty_batch((n, *image.shape), image.dtype, self.on_disk)
                    inside = empty_batch((n, *mask.shape), bool, self.on_disk)
                self._check_alike(image, images[0])
                images[i], inside[i] = image, mask
                if not found:
                    lost.append(i)
        if lost:
            warnings.warn(
                f"No field of view was found in {len(lost)} of {len(images)} "
                f"photographs (the first is X[{lost[0]}]): their whole frames were "
                "taken.",
                UserWarning,
                stacklevel=3,
            )
        return (images[0], inside[0]) if is_one else (images, inside)

    def _check_alike(self, image: np.ndarray, first: np.ndarray) -> None:
        if image.shape != first.shape:
            instead = "" if self.crop else " and crop=True"
            raise ValueError(
                f"The results have different sizes, among them {first.shape[:2]} and "
                f"{image.shape[:2]}: set size=, the diameter that every field of view "
                f"is brought to{instead}."
            )

    def _prepare(self, photograph: np.ndarray, i: int) -> tuple:
        """Return image, mask, and whether there is a field of view."""
        from sklstm.preprocessing._field_of_view import cropped, find_field, resized

        if self.color == "rgb" and photograph.ndim == 2:
            raise ValueError(
                f"color='rgb' needs photographs in colour, but X[{i}] is grey: set "
                "color='green'."
            )
        field = find_field(photograph)
        if self.crop:
            photograph, field = cropped(photograph, field)
        if self.size is not None:
            photograph, field = resized(photograph, field, self.size, self.crop)
        mask = field.mask(photograph.shape[:2])
        view = _View(photograph, mask, 2 * field.radius)
        return self._output(view), mask, field.found

    def _output(self, view: _View) -> np.ndarray:
        if self.output == "enhanced":
            return self._enhanced(view)
        if self.output == "graham":
            return _graham(self._smoothed(view.values(self.color)), view)
        if self.output == "vesselness":
            return _vesselness(view)
        if self.output == "vessels":
            return _decide(_vesselness(view), view)
        view = replace(view, photograph=view.values("green"))
        return np.stack(
            [
                self._enhanced(view),
                _graham(self._smoothed(view.photograph), view),
                np.round(_vesselness(view) * 255).astype(np.uint8),
            ],
            axis=-1,
        )

    def _smoothed(self, values: np.ndarray) -> np.ndarray:
        import cv2

        # 12 grey levels are more than noise and less than a vessel or a lesion.
        return cv2.bilateralFilter(values, 5, 12, 1.5) if self.denoise else values

    def _enhanced(self, view: _View) -> np.ndarray:
        import cv2

        values = self._smoothed(view.values(self.color))
        if values.ndim == 2:
            return self._evened(values, view)
        lab = cv2.cvtColor(values, cv2.COLOR_RGB2LAB)
        lab[..., 0] = self._evened(lab[..., 0], view)
        rgb = cv2.cvtColor(lab, cv2.COLOR_LAB2RGB)
        rgb[~view.mask] = 0
        return rgb

    def _evened(self, values: np.ndarray, view: _View) -> np.ndarray:
        """Even the illumination and raise the contrast of one channel."""
        import cv2

        background = _background(values, view.mask, view.diameter / 12)
        # Outside the same level: a tile at the rim shall see no black.
        even = np.where(view.mask, values.astype(np.float32) - background + 128, 128)
        height, width = values.shape
        across, down = self.tile_grid_size
        tiles = (
            max(1, round(across * width / view.diameter)),
            max(1, round(down * height / view.diameter)),
        )
        clahe = cv2.createCLAHE(self.clip_limit, tiles)
        raised = clahe.apply(np.clip(even, 0, 255).astype(np.uint8))
        raised[~view.mask] = 0
        return raised

    def _check_parameters(self) -> None:
        check_choice("output", self.output, _OUTPUTS)
        check_choice("color", self.color, ["green", "rgb"])
        check_sizes("tile_grid_size", self.tile_grid_size, ("across", "down"))
        check_folder("on_disk", self.on_disk)
        if self.size is not None and not (is_count(self.size) and self.size >= 32):
            raise ValueError(
                f"size must be None or a whole number of at least 32 pixels; got "
                f"{self.size!r}."
            )
        number = isinstance(self.clip_limit, int | float)
        if not number or not self.clip_limit > 0:
            raise ValueError(
                f"clip_limit must be a number above 0; got {self.clip_limit!r}."
            )
        if self.color == "rgb" and self.output not in ("enhanced", "graham"):
            raise ValueError(
                f"color='rgb' is for output='enhanced' and 'graham'; {self.output!r} "
                "is made of the green channel."
            )

    def __sklearn_is_fitted__(self) -> bool:
        return True

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.two_d_array = False
        tags.input_tags.three_d_array = True
        tags.input_tags.string = True
        tags.requires_fit = False
        return tags


def fov_mask(image: Any) -> np.ndarray:
    """Return the field of view of a fundus photograph.

    Parameters
    ----------
    image : array-like of shape (height, width) or (height, width, channels), or path
        The photograph; channels are red, green, blue.

    Returns
    -------
    ndarray of shape (height, width), bool
        True where the retina is seen. The whole frame, with a warning, if no circle
        is found.

    Examples
    --------
    >>> import numpy as np
    >>> from sklstm.preprocessing import fov_mask
    >>> y, x = np.mgrid[:200, :240]
    >>> inside = (x - 120) ** 2 + (y - 100) ** 2 < 80**2
    >>> mask = fov_mask(np.where(inside, 120, 3).astype(np.uint8))
    >>> bool((mask == inside).mean() > 0.99)
    True
    """
    from sklstm.preprocessing._field_of_view import find_field

    photograph = _read(image, None)
    field = find_field(photograph)
    if not field.found:
        warnings.warn(
            "No field of view was found: the mask is the whole frame.",
            UserWarning,
            stacklevel=2,
        )
    return field.mask(photograph.shape[:2])


@dataclass(frozen=True)
class _View:
    """A photograph as it is worked on, uint8, its mask and its diameter in pixels."""

    photograph: np.ndarray
    mask: np.ndarray
    diameter: float

    def values(self, color: str) -> np.ndarray:
        if self.photograph.ndim == 2 or color == "rgb":
            return self.photograph
        return np.ascontiguousarray(self.photograph[..., 1])


def _photographs(X: Any) -> tuple[list, bool]:
    """Return the photographs one by one, and whether X is a single one."""
    if isinstance(X, str | os.PathLike):
        return [X], True
    if isinstance(X, list | tuple):
        items = list(X)
    else:
        X = np.asarray(X)
        if X.ndim == 2 or (X.ndim == 3 and X.shape[2] in (3, 4)):
            return [X], True
        if X.ndim not in (1, 3, 4):
            raise ValueError(
                f"X must hold photographs, (n, height, width[, channels]), or paths; "
                f"got an array of shape {X.shape}."
            )
        items = list(X)
    if not items:
        raise ValueError("X holds no photographs.")
    return items, False


def _read(photograph: Any, i: int | None) -> np.ndarray:
    """Return a photograph as uint8, (height, width) or (height, width, 3)."""
    name = "image" if i is None else f"X[{i}]"
    if isinstance(photograph, str | os.PathLike):
        image = ImageReader(color="rgb").transform([photograph])[0]
    else:
        image = np.asarray(photograph)
    if image.ndim == 3 and image.shape[2] == 1:
        image = image[..., 0]
    if image.ndim not in (2, 3) or (image.ndim == 3 and image.shape[2] not in (3, 4)):
        raise ValueError(
            f"{name} has the shape {image.shape}: a photograph is (height, width), "
            "(height, width, 3) or, with alpha, (height, width, 4)."
        )
    if min(image.shape[:2]) < _SMALLEST:
        raise ValueError(
            f"{name} is {image.shape[0]} x {image.shape[1]} pixels, too few to show a "
            f"retina: at least {_SMALLEST} a side."
        )
    image = image[..., :3] if image.ndim == 3 else image
    if image.dtype == np.uint8:
        return np.ascontiguousarray(image)
    if image.dtype == np.uint16:
        return (image // 257).astype(np.uint8)
    if image.dtype.kind == "f" and image.min() >= 0 and image.max() <= 1:
        return np.round(image * 255).astype(np.uint8)
    raise ValueError(
        f"{name} is {image.dtype} from {image.min()} to {image.max()}: photographs are "
        "uint8, uint16, or floats from 0 to 1."
    )


def _background(values: np.ndarray, mask: np.ndarray, sigma: float) -> np.ndarray:
    """Return the mean around each pixel, of what the mask holds."""
    import cv2

    # It is smooth: an eighth of the size is enough, and 64 times faster.
    step = max(1, round(sigma / 5))
    height, width = values.shape
    size = max(1, width // step), max(1, height // step)
    weights = mask.astype(np.float32)
    parts = [values.astype(np.float32) * weights, weights]
    small = [cv2.resize(part, size, interpolation=cv2.INTER_AREA) for part in parts]
    total, weight = (cv2.GaussianBlur(part, (0, 0), sigma / step) for part in small)
    mean = total / np.maximum(weight, 1e-3)
    return cv2.resize(mean, (width, height), interpolation=cv2.INTER_LINEAR)


def _graham(values: np.ndarray, view: _View) -> np.ndarray:
    sigma = view.diameter / 60
    channels = values[..., None] if values.ndim == 2 else values
    out = np.empty(channels.shape, np.uint8)
    for i in range(channels.shape[2]):
        channel = np.ascontiguousarray(channels[..., i])
        difference = channel - _background(channel, view.mask, sigma)
        out[..., i] = np.clip(np.round(4 * difference + 128), 0, 255)
    out[~view.mask] = 128
    return out[..., 0] if values.ndim == 2 else out


def _vesselness(view: _View) -> np.ndarray:
    """Filter at the diameter that the filters are made for, and scale the map back."""
    import cv2

    from sklstm.preprocessing._vessels import DIAMETER, vesselness

    green = view.values("green")
    height, width = green.shape
    factor = DIAMETER / view.diameter
    if abs(factor - 1) < 0.05:
        return vesselness(green, view.mask)
    size = max(1, round(width * factor)), max(1, round(height * factor))
    scaled = resize(green, size[::-1])
    mask = cv2.resize(view.mask.view(np.uint8), size, interpolation=cv2.INTER_NEAREST)
    found = vesselness(scaled, mask.view(bool))
    back = cv2.resize(found, (width, height), interpolation=cv2.INTER_LINEAR)
    return np.where(view.mask, back, np.float32(0))


def _decide(likely: np.ndarray, view: _View) -> np.ndarray:
    """Keep what is weak where it hangs together with what is strong, and not small."""
    import cv2

    scale = view.diameter / 540
    rim = 2 * max(1, round(_RIM * scale)) + 1
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (rim, rim))
    padded = cv2.copyMakeBorder(
        view.mask.view(np.uint8), rim, rim, rim, rim, cv2.BORDER_CONSTANT, value=0
    )
    inner = cv2.erode(padded, kernel)[rim:-rim, rim:-rim]
    n, labels, stats, _ = cv2.connectedComponentsWithStats(
        (likely >= _WEAK).astype(np.uint8) & inner, connectivity=8
    )
    strong = np.zeros(n, bool)
    strong[np.unique(labels[likely >= _STRONG])] = True
    least = _LEAST_PART * scale**2
    kept = strong & (stats[:, cv2.CC_STAT_AREA] >= least)
    kept[0] = False
    return kept[labels]
