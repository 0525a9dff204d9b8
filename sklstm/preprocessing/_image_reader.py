from __future__ import annotations

import logging
import os
import threading
from contextlib import closing
from typing import Any, Self

import numpy as np
from sklearn.base import BaseEstimator, TransformerMixin

from sklstm._compat import CallbackSupportMixin, with_callbacks
from sklstm.images._resize import resize
from sklstm.images.decoding._picture import Picture, UnreadableImageError
from sklstm.preprocessing._ahead import map_ahead
from sklstm.preprocessing._base import ArrayOutputMixin
from sklstm.preprocessing._checks import check_choice, check_sizes, listed
from sklstm.preprocessing._on_disk import check_folder, empty_batch

# The two depths of files that scale="unit" tells apart.
_SCALED, _BEYOND = "integers, which are scaled to 1", "floats beyond 1"


class ImageReader(
    CallbackSupportMixin, ArrayOutputMixin, TransformerMixin, BaseEstimator
):
    """Transformer that reads image files, so that a Pipeline can start from paths.

    It reads JPEG, PNG, TIFF, BMP, GIF, WebP, AVIF, JPEG 2000, PNM and other files. If a
    file has several images, it reads the first. `fit` learns the depth of the files,
    and `transform` refuses files of another depth. `transform` also works without
    `fit`. It then compares the depths of the files of one call.

    Parameters
    ----------
    size : int or tuple of int, default=None
        Size of the images after resizing, (height, width) or one number for both. An
        axis that shrinks is averaged over areas, and an axis that grows is interpolated
        linearly. If None, images are not resized, and all must have one size.
    color : {"gray", "rgb"}, default="gray"
        Kind of the images. "gray" has one value for each pixel, and "rgb" has three.
        Files of the other kind are converted. Gray is the luma of Rec. 601, .299 red +
        .587 green + .114 blue. An alpha channel is dropped.
    on_disk : str, path or None, default=None
        Folder for sets that are larger than memory. The images are then in a temporary
        file without a name, which is deleted with them. If None, they are in memory.
    scale : {None, "unit"}, default=None
        Scale of the values. If None, they are the stored values in the dtype of the
        files. "unit" divides integers by the largest value that their file can hold. A
        picture then has the same values in a file of 8 bits and in a file of 16 bits.
        Floats are not divided. The result is float32.

    Attributes
    ----------
    depth_ : str
        Depth of the files seen in `fit`, such as "uint8". It is that of the first file
        that can be read. The attribute is missing if there is no such file.
    depth_file_ : str
        File in which `depth_` was found.

    See Also
    --------
    RowSequencer : Read images by rows.
    PatchSequencer : Read images by patches.

    Notes
    -----
    Values are returned as they are stored. Files of 8 bits give uint8, files of 10 to
    16 bits give uint16, and TIFF files of other types give their own dtype. Values of
    1, 2 and 4 bits are spread over 0 to 255. Files of different depths are not mixed,
    because their values have different ranges. Convert them, or set ``scale="unit"``.
    Images are turned upright, as a viewer shows them. The page :doc:`/reading_files`
    has the whole list.

    A file that is cut off, damaged or in a layout that cannot be read correctly raises
    an error with its name and the reason.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> import cv2
    >>> import numpy as np
    >>> from sklstm import ImageReader
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     for name in ("a.png", "b.png"):
    ...         image = np.zeros((60, 80, 3), dtype=np.uint8)
    ...         _ = cv2.imwrite(str(Path(folder) / name), image)
    ...     paths = sorted(Path(folder).glob("*.png"))
    ...     as_they_are = ImageReader().fit_transform(paths)
    ...     small = ImageReader(size=32, color="rgb").fit_transform(paths)
    >>> as_they_are.shape, small.shape, small.dtype
    ((2, 60, 80), (2, 32, 32, 3), dtype('uint8'))
    """

    def __init__(
        self,
        size: int | tuple[int, int] | None = None,
        color: str = "gray",
        on_disk: Any = None,
        scale: str | None = None,
    ) -> None:
        self.size = size
        self.color = color
        self.scale = scale
        self.on_disk = on_disk

    @with_callbacks
    def fit(self, X: Any, y: Any = None) -> Self:
        """Check the parameters and X, and learn the depth of the files.

        `fit` reads the first file that can be read.

        Parameters
        ----------
        X : array-like of str or path, shape (n,)
            Paths of image files.
        y : None
            Ignored.

        Returns
        -------
        self : object
            The reader.
        """
        context = self._init_callback_context()
        context.call_on_fit_task_begin(estimator=self, X=X, y=y)
        self._checked_size()
        paths = check_paths(X)
        for name in ("depth_", "depth_file_"):
            self.__dict__.pop(name, None)
        with quiet_opencv:
            for path in paths:
                picture = _try_to_read(path, self.color, None, self.scale)
                if isinstance(picture, Picture):
                    depth = _depth(picture, self.scale)
                    if depth is not None:
                        self.depth_, self.depth_file_ = depth, path
                    break
        context.call_on_fit_task_end(
            estimator=self, X=X, y=y, reconstruction_attributes={}
        )
        return self

    def transform(self, X: Any) -> np.ndarray:
        """Read the files.

        Parameters
        ----------
        X : array-like of str or path, shape (n,)
            Paths of image files.

        Returns
        -------
        images : ndarray, shape (n, height, width) or (n, height, width, 3)
            Images in the order of X. With ``color="rgb"``, the last axis is red, green
            and blue. The dtype is that of the files, or float32 with ``scale="unit"``;
            see the notes on the class.

        Raises
        ------
        FileNotFoundError
            If a file does not exist.
        ValueError
            If X does not hold paths, if a file cannot be read as an image, if the files
            differ in depth from each other or from those of `fit`, or if they differ in
            size and `size` is None.
        """
        size = self._checked_size()
        paths = check_paths(X)
        missing = [path for path in paths if not os.path.exists(path)]
        if missing:
            raise FileNotFoundError(
                f"X names {len(missing)} of {len(paths)} files that do not exist: "
                f"{listed(missing)}."
            )

        def read(path: str) -> Picture | UnreadableImageError:
            return _try_to_read(path, self.color, size, self.scale)

        # Threads are enough, because decoders hold no lock. Results come in order and
        # are written into the batch at once, which avoids a second copy.
        images: np.ndarray | None = None
        reference = ""
        depths = self._depths_of_fit()
        unreadable: dict[str, UnreadableImageError] = {}
        with quiet_opencv, closing(map_ahead(read, paths)) as pictures:
            for i, picture in enumerate(pictures):
                if isinstance(picture, UnreadableImageError):
                    unreadable[paths[i]] = picture
                    continue
                image = picture.values
                _check_depth(depths, _depth(picture, self.scale), paths[i])
                if images is None:
                    images = empty_batch(
                        (len(paths), *image.shape), image.dtype, self.on_disk
                    )
                    reference = paths[i]
                _check_size(images[0], reference, image, paths[i])
                images[i] = image
        if images is None or unreadable:
            bad = list(unreadable)
            raise ValueError(
                f"X names {len(bad)} of {len(paths)} files that cannot be read as "
                f"images, the first because {unreadable[bad[0]]}: {listed(bad)}."
            )
        return images

    def _depths_of_fit(self) -> dict[str, tuple[str, bool]]:
        """Return the file of each depth, and whether it was seen in `fit`."""
        depth = getattr(self, "depth_", None)
        # The scale may have changed after `fit`.
        if depth is None or (depth in (_SCALED, _BEYOND)) != (self.scale == "unit"):
            return {}
        return {depth: (self.depth_file_, True)}

    def _checked_size(self) -> tuple[int, ...] | None:
        check_choice("color", self.color, ["gray", "rgb"])
        check_choice("scale", self.scale, [None, "unit"])
        check_folder("on_disk", self.on_disk)
        if self.size is None:
            return None
        return check_sizes("size", self.size, ("height", "width"))

    def __setstate__(self, state: dict[str, Any]) -> None:
        # Readers that were pickled by release 0.1 have no scale.
        super().__setstate__({"scale": None, **state})

    def __sklearn_is_fitted__(self) -> bool:
        return True

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.one_d_array = True
        tags.input_tags.two_d_array = False
        tags.input_tags.string = True
        tags.requires_fit = False
        return tags


def check_paths(X: Any) -> list[str]:
    """Return the paths as a list of str."""
    array = np.asarray(X, dtype=object if isinstance(X, list | tuple) else None)
    if array.ndim >= 3 and array.dtype.kind in "buif":
        raise ValueError(
            f"ImageReader takes paths of files, but X already is an array of images of "
            f"shape {array.shape}; leave ImageReader out."
        )
    if array.ndim != 1:
        hint = "put one path into a list" if array.ndim == 0 else "pass one column"
        raise ValueError(
            f"X must be a list or one-dimensional array of paths; got an array of "
            f"shape {array.shape} ({hint})."
        )
    if len(array) == 0:
        raise ValueError(
            "Found array with 0 sample(s) (shape=(0,)) while a minimum of 1 is "
            "required by ImageReader: X must name at least one file."
        )
    for i, path in enumerate(array):
        if not isinstance(path, str | os.PathLike):
            raise ValueError(
                f"X must hold paths as str or pathlib.Path; X[{i}] is "
                f"{type(path).__name__}: {path!r:.60}."
            )
    return [os.fspath(path) for path in array]


def _depth(picture: Picture, scale: str | None) -> str | None:
    """Return the depth of a picture, or None if its values suit all depths."""
    values = picture.values
    if scale is None:
        limit = picture.largest
        return f"{values.dtype}{'' if limit is None else f' up to {limit}'}"
    if picture.is_scaled:
        return _SCALED
    return _BEYOND if (np.abs(values) > 1).any() else None


def _check_depth(
    depths: dict[str, tuple[str, bool]], depth: str | None, path: str
) -> None:
    """Compare the depth with those before, and remember the first file of it."""
    if depth is None or depth in depths:
        return
    for other, (file, in_fit) in depths.items():
        begin = "X mixes depths, whose values differ in range"
        if in_fit:
            begin, file = "X differs in depth from the files of fit", f"in fit, {file}"
        instead = (
            ", or set scale='unit' to bring integers to one scale"
            if depth not in (_SCALED, _BEYOND)
            else ""
        )
        raise ValueError(
            f"{begin}: {file} is {other} and {path} is {depth}; convert them to one "
            f"depth{instead}."
        )
    depths[depth] = (path, False)


def _check_size(
    batch: np.ndarray, reference: str, image: np.ndarray, path: str
) -> None:
    if image.shape != batch.shape:
        raise ValueError(
            f"X mixes sizes: {reference} is {batch.shape[:2]} and {path} is "
            f"{image.shape[:2]} (height, width); give size= to bring all to one."
        )


def _try_to_read(
    path: str, color: str, size: tuple[int, ...] | None, scale: str | None
) -> Picture | UnreadableImageError:
    """Return the image in the file, or the error if it cannot be read."""
    try:
        return _read(path, color, size, scale)
    except UnreadableImageError as error:
        # A new error is made, because the frames of the caught one keep the contents
        # of the file in memory.
        return UnreadableImageError(str(error))


def _read(
    path: str,
    color: str,
    size: tuple[int, ...] | None = None,
    scale: str | None = None,
) -> Picture:
    """Return the image in the file, or raise UnreadableImageError."""
    # Here and not above: this loads OpenCV and tifffile.
    from sklstm.images.decoding._decode import decode

    # Reading a pipe or a device would wait.
    if os.path.exists(path) and not os.path.isfile(path):
        raise UnreadableImageError("it is no file")
    try:
        # cv2.imread cannot open all file names on all systems.
        with open(path, "rb") as file:
            data = file.read()
    except OSError as error:
        raise UnreadableImageError(f"it cannot be opened ({error.strerror})") from None
    picture = decode(data, color, scale)
    return (
        picture if size is None else picture.with_values(resize(picture.values, size))
    )


class _QuietOpenCV:
    """Context in which OpenCV and tifffile do not log what is raised as an error.

    The levels are global, and readers may run at the same time. The first reader to
    enter lowers the levels, and the last one to leave restores them.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._n_inside = 0
        self._levels = (0, 0)
        self._opencv: Any = None

    def __enter__(self) -> None:
        # Here and not above: this loads OpenCV.
        from cv2.utils import logging as opencv

        with self._lock:
            if self._n_inside == 0:
                tifffile = logging.getLogger("tifffile")
                self._opencv = opencv
                self._levels = opencv.getLogLevel(), tifffile.level
                opencv.setLogLevel(opencv.LOG_LEVEL_SILENT)
                tifffile.setLevel(logging.CRITICAL + 1)
            self._n_inside += 1

    def __exit__(self, *exception: object) -> None:
        with self._lock:
            self._n_inside -= 1
            if self._n_inside == 0:
                self._opencv.setLogLevel(self._levels[0])
                logging.getLogger("tifffile").setLevel(self._levels[1])


quiet_opencv = _QuietOpenCV()
