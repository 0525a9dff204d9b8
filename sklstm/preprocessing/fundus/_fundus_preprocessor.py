from __future__ import annotations

import warnings
from contextlib import closing
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from sklearn.base import BaseEstimator, TransformerMixin

from sklstm._compat import CallbackSupportMixin, with_callbacks
from sklstm.images._validate import is_count
from sklstm.preprocessing._ahead import map_ahead
from sklstm.preprocessing._base import ArrayOutputMixin
from sklstm.preprocessing._checks import check_choice, check_sizes
from sklstm.preprocessing._on_disk import check_folder, empty_batch
from sklstm.preprocessing.fundus._photographs import (
    DEPTHS,
    listed_photographs,
    name_of,
    read_photograph,
)

if TYPE_CHECKING:
    from sklstm.preprocessing.fundus._view import View

_OUTPUTS = ("enhanced", "graham", "vesselness", "vessels", "stack")


class FundusPreprocessor(
    CallbackSupportMixin, ArrayOutputMixin, TransformerMixin, BaseEstimator
):
    """Transformer that prepares retinal photographs.

    It finds the round field of view, crops the photograph to it and scales it to one
    diameter. Then it evens the illumination and raises the contrast, or finds the
    vessels. It works on the green channel, in which vessels and lesions have the
    highest contrast. `fit` checks the parameters and learns nothing, so `transform`
    also works without it. The transformer is not a medical device.

    Parameters
    ----------
    output : {"enhanced", "graham", "vesselness", "vessels", "stack"}
        Kind of the result. The default is "enhanced".

        - "enhanced": noise is smoothed, the illumination is evened, and CLAHE [1]_
          raises the contrast; uint8.
        - "graham": four times the difference from a blurred copy, plus 128 [2]_; uint8.
        - "vesselness": likelihood that a pixel belongs to a vessel, from 0 to 1;
          float32.
        - "vessels": mask of the vessels; bool.
        - "stack": the channels "enhanced", "graham" and vesselness times 255; uint8.
    size : int, default=None
        Diameter of the field of view in pixels. If None, keep that of the photograph.
    color : {"green", "rgb"}, default="green"
        Channels of "enhanced" and "graham". "green" gives the green channel. "rgb"
        gives three channels, and "enhanced" then changes only the lightness.
    clip_limit : float, default=2.0
        Limit of the contrast in CLAHE. A higher limit raises contrast and noise.
    tile_grid_size : tuple of int, default=(8, 8)
        Number of tiles of CLAHE (across, down) on the square around the field of view.
        The tiles therefore scale with its diameter.
    denoise : bool, default=True
        If True, smooth by a bilateral filter [3]_ first, which keeps edges.
    crop : bool, default=True
        If True, crop to the square around the field of view. Parts of the square that
        the photograph lacks are black. An ellipse becomes the circle that it was before
        the photograph was squashed. If False, keep the frame. The result then fits on
        the photograph if `size` is None. With a size, the frame is resized so that the
        field of view becomes a circle of this diameter.
    on_disk : str, path or None, default=None
        Folder for sets that are larger than memory. The results are then in a temporary
        file without a name, which is deleted with them. If None, they are in memory.
    bit_depth : int, default=None
        Number of bits, from 8 to 16, that photographs in uint16 use. If None, it is
        found for each photograph. It is then the smallest of 8, 10, 12, 14 and 16 that
        holds all but one in 10,000 of the values. Set it if your photographs have 16
        bits and some of them use only a quarter of the range or less.

    See Also
    --------
    fov_mask : Find the field of view alone.
    ImageReader : Read image files without further changes.

    Notes
    -----
    Channels are red, green and blue. A grey image counts as a green channel. An alpha
    channel is dropped. Floats must lie between 0 and 1. Photographs in uint16 keep the
    upper 8 of the bits that they use (see `bit_depth`). Photographs of different depths
    then have one scale.

    The field of view is a circle, or an ellipse if the photograph was squashed. If
    neither fits, it is the outline of everything that is not border. If there is no
    border, it is the whole frame. A warning counts the photographs of these two kinds.
    Pixels outside the field of view, including the padding of ``crop=True``, are black,
    or 128 in "graham", and False in the mask. All widths are fractions of the diameters
    of the field.

    Each photograph is processed alone, several at a time in threads. A photograph of
    4,000 x 4,000 pixels needs about 300 MB at its own size.

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
        bit_depth: int | None = None,
    ) -> None:
        self.output = output
        self.size = size
        self.color = color
        self.clip_limit = clip_limit
        self.tile_grid_size = tile_grid_size
        self.denoise = denoise
        self.crop = crop
        self.on_disk = on_disk
        self.bit_depth = bit_depth

    @with_callbacks
    def fit(self, X: Any, y: Any = None) -> Self:
        """Check the parameters. The photographs are not read.

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
            Photographs (n, height, width, channels), grey photographs (n, height,
            width), a list of photographs that may differ in size, a list of paths, or
            one photograph (height, width, 3).

        Returns
        -------
        images : ndarray of shape (n, height, width) or (n, height, width, 3)
            Results in the order of X, see `output`. For one photograph, the first axis
            is missing.

        Raises
        ------
        ValueError
            If a photograph cannot be used, or the results differ in size.
        """
        return self._transform(X)[0]

    def transform_with_masks(self, X: Any) -> tuple[np.ndarray, np.ndarray]:
        """Prepare photographs, and return the masks of their fields of view.

        Parameters
        ----------
        X : array-like
            As in `transform`.

        Returns
        -------
        images : ndarray
            Results, as `transform` returns them.
        masks : ndarray of shape (n, height, width), bool
            True inside the field of view.
        """
        return self._transform(X)

    def _transform(self, X: Any) -> tuple[np.ndarray, np.ndarray]:
        self._check_parameters()
        photographs, is_one = listed_photographs(X)

        def work(item: tuple[int, Any]) -> tuple:
            i, photograph = item
            name = name_of(photograph, i)
            return self._prepare(
                read_photograph(photograph, name, self.bit_depth), name
            )

        images: Any = None
        inside: Any = None
        lost = []
        # Results are written into the batch at once, which avoids a second copy.
        with closing(map_ahead(work, list(enumerate(photographs)))) as results:
            for i, (image, mask, found) in enumerate(results):
                if images is None:
                    n = len(photographs)
                    images = empty_batch((n, *image.shape), image.dtype, self.on_disk)
                    inside = empty_batch((n, *mask.shape), bool, self.on_disk)
                if image.shape != images.shape[1:]:
                    self._refuse_sizes(
                        images.shape[1:3],
                        name_of(photographs[0], 0),
                        image.shape[:2],
                        name_of(photographs[i], i),
                    )
                images[i], inside[i] = image, mask
                if not found:
                    lost.append(i)
        if lost:
            warnings.warn(
                f"No field of view was found in {len(lost)} of {len(images)} "
                f"photographs (the first is {name_of(photographs[lost[0]], lost[0])}): "
                "their whole frames were taken, without the even border of those that "
                "have one.",
                UserWarning,
                stacklevel=3,
            )
        return (images[0], inside[0]) if is_one else (images, inside)

    def _refuse_sizes(
        self, first: tuple, first_name: str, other: tuple, other_name: str
    ) -> None:
        instead = "" if self.crop else " and crop=True"
        raise ValueError(
            f"The results have different sizes, {first} ({first_name}) and {other} "
            f"({other_name}): set size=, the diameter that every field of view is "
            f"brought to{instead}."
        )

    def _prepare(self, photograph: np.ndarray, name: str) -> tuple:
        """Return image, mask, and whether a field of view was found."""
        # Here and not above: this loads OpenCV.
        from sklstm.preprocessing.fundus._view import make_view

        if self.color == "rgb" and photograph.ndim == 2:
            raise ValueError(
                f"color='rgb' needs photographs in colour, but {name} is grey: set "
                "color='green'."
            )
        view = make_view(photograph, self.size, self.crop)
        return self._output(view), view.mask, view.is_found

    def _output(self, view: View) -> np.ndarray:
        # Here and not above: these load OpenCV.
        from sklstm.preprocessing.fundus._enhancement import enhanced, graham, smoothed
        from sklstm.preprocessing.fundus._segmentation import vesselness_of, vessels_of

        if self.output == "vesselness":
            return vesselness_of(view)
        if self.output == "vessels":
            return vessels_of(view)
        values = view.values("green" if self.output == "stack" else self.color)
        if self.denoise:
            values = smoothed(values)
        if self.output == "graham":
            return graham(values, view)
        image = enhanced(values, view, self.clip_limit, self.tile_grid_size)
        if self.output == "enhanced":
            return image
        likely = np.round(vesselness_of(view) * 255).astype(np.uint8)
        return np.stack([image, graham(values, view), likely], axis=-1)

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
        if self.bit_depth is not None and not (
            is_count(self.bit_depth) and DEPTHS[0] <= self.bit_depth <= DEPTHS[-1]
        ):
            raise ValueError(
                f"bit_depth must be None or a whole number from {DEPTHS[0]} to "
                f"{DEPTHS[-1]}; got {self.bit_depth!r}."
            )
        if self.color == "rgb" and self.output not in ("enhanced", "graham"):
            raise ValueError(
                f"color='rgb' is for output='enhanced' and 'graham'; {self.output!r} "
                "is made of the green channel."
            )

    def __setstate__(self, state: dict[str, Any]) -> None:
        # Preprocessors that were pickled by release 0.1 have no bit depth.
        super().__setstate__({"bit_depth": None, **state})

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
        Photograph. Its channels are red, green and blue.

    Returns
    -------
    ndarray of shape (height, width), bool
        True inside the field of view, which is a circle, or an ellipse if the
        photograph was squashed, without the parts that are cut off. If neither is
        found, a warning says so. The mask is then the outline of everything that is not
        border, or the whole frame if there is no border.

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
    # Here and not above: this loads OpenCV.
    from sklstm.preprocessing.fundus._field_of_view import find_field

    photograph = read_photograph(image, "image")
    field = find_field(photograph)
    if field.found != "ellipse":
        kind = "whole frame"
        if field.found == "outline":
            kind = "outline of what is not border"
        warnings.warn(
            f"No field of view was found: the mask is the {kind}.",
            UserWarning,
            stacklevel=2,
        )
    return field.mask(photograph.shape[:2])
