from __future__ import annotations

import os
import re
import threading
import zlib
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Self

import joblib
import numpy as np
from sklearn.base import BaseEstimator, TransformerMixin

from sklstm._compat import CallbackSupportMixin, with_callbacks
from sklstm.preprocessing._base import ArrayOutputMixin
from sklstm.preprocessing._checks import check_choice, check_sizes
from sklstm.preprocessing._on_disk import check_folder, empty_batch

_PNG = b"\x89PNG\r\n\x1a\n"
_JPEG = b"\xff\xd8"
# In compressed data 0xFF is followed by 0x00 or a restart marker, or it is a marker.
# Written as one literal byte first, it is searched for 20 times as fast as by \xff+.
_JPEG_MARKER = re.compile(rb"\xff[^\x00\xd0-\xd7\xff]", re.DOTALL)
_START_OF_SCAN, _END_OF_IMAGE = 0xDA, 0xD9


class ImageReader(
    CallbackSupportMixin, ArrayOutputMixin, TransformerMixin, BaseEstimator
):
    """Reads image files, so that a Pipeline can start from paths.

    Reads what OpenCV reads: JPEG, PNG, TIFF, BMP, WebP, PNM and others; of a file with
    several images the first. Nothing is learned: `fit` only checks the parameters and
    `transform` works without it.

    Parameters
    ----------
    size : int or tuple of int, default=None
        Size that every image is brought to, (height, width) or one number for both:
        by averaging areas along an axis that shrinks, linearly along one that grows.
        None keeps the images as they are; all must then have one size.
    color : {"gray", "rgb"}, default="gray"
        "gray" gives one value for each pixel, "rgb" three. Files of the other kind are
        converted; an alpha channel is dropped.
    on_disk : str, path or None, default=None
        Folder for a set larger than memory: the images then lie in a temporary file
        there, which has no name and is gone when they are. None holds them in memory.

    See Also
    --------
    RowSequencer : Reads images by rows.
    PatchSequencer : Reads images by patches.

    Notes
    -----
    The depth of the files is kept: 8-bit files give uint8, 16-bit files uint16, TIFF
    files of 32-bit floats float32. Files of different depth are not mixed, because
    their values have different ranges. JPEG files are turned as their EXIF orientation
    says.

    JPEG and PNG files that are cut off, and PNG files whose checksums do not match, are
    refused even where the decoder would fill in what is missing.

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
    ) -> None:
        self.size = size
        self.color = color
        self.on_disk = on_disk

    @with_callbacks
    def fit(self, X: Any, y: Any = None) -> Self:
        """Check the parameters and that X holds paths; no file is read.

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
        _check_paths(X)
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
            In the order of X, with red, green and blue last for ``color="rgb"``. uint8,
            or what else the files hold (see the notes on the class).

        Raises
        ------
        FileNotFoundError
            If a file does not exist.
        ValueError
            If X does not hold paths, a file cannot be read as an image or is cut off,
            or the files differ in depth or, with ``size=None``, in size.
        """
        size = self._checked_size()
        paths = _check_paths(X)
        missing = [path for path in paths if not os.path.exists(path)]
        if missing:
            raise FileNotFoundError(
                f"X names {len(missing)} of {len(paths)} files that do not exist: "
                f"{listed(missing)}."
            )

        def read(path: str) -> np.ndarray | None:
            return _read(path, self.color, size)

        # OpenCV holds no lock while it decodes, so threads are enough. Results come in
        # order and go straight into the batch: no second copy of it is ever held.
        images: np.ndarray | None = None
        reference = ""
        unreadable = []
        with (
            quiet_opencv,
            ThreadPoolExecutor(min(joblib.cpu_count(), len(paths))) as pool,
        ):
            for start in range(0, len(paths), _AHEAD):
                chunk = paths[start : start + _AHEAD]
                for i, image in enumerate(pool.map(read, chunk), start):
                    if image is None:
                        unreadable.append(paths[i])
                        continue
                    if images is None:
                        images = empty_batch(
                            (len(paths), *image.shape), image.dtype, self.on_disk
                        )
                        reference = paths[i]
                    _check_alike(images[0], reference, image, paths[i])
                    images[i] = image
        if images is None or unreadable:
            raise ValueError(
                f"X names {len(unreadable)} of {len(paths)} files that cannot be read "
                f"as images, because they are damaged, cut off or of another kind: "
                f"{listed(unreadable)}."
            )
        return images

    def _checked_size(self) -> tuple[int, ...] | None:
        check_choice("color", self.color, ["gray", "rgb"])
        check_folder("on_disk", self.on_disk)
        if self.size is None:
            return None
        return check_sizes("size", self.size, ("height", "width"))

    def __sklearn_is_fitted__(self) -> bool:
        return True

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.one_d_array = True
        tags.input_tags.two_d_array = False
        tags.input_tags.string = True
        tags.requires_fit = False
        return tags


# Images decoded ahead of the one that is being copied into the batch.
_AHEAD = 256


def _check_paths(X: Any) -> list[str]:
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


def _check_alike(
    batch: np.ndarray, reference: str, image: np.ndarray, path: str
) -> None:
    if image.dtype != batch.dtype:
        raise ValueError(
            f"X mixes depths, whose values differ in range: {reference} is "
            f"{batch.dtype} and {path} is {image.dtype}; convert them to one depth."
        )
    if image.shape != batch.shape:
        raise ValueError(
            f"X mixes sizes: {reference} is {batch.shape[:2]} and {path} is "
            f"{image.shape[:2]} (height, width); give size= to bring all to one."
        )


def listed(paths: list[str]) -> str:
    """Return the first five, and how many more there are."""
    more = f" and {len(paths) - 5} more" if len(paths) > 5 else ""
    return ", ".join(paths[:5]) + more


def _read(path: str, color: str, size: tuple[int, ...] | None) -> np.ndarray | None:
    """Return the image in the file; None where there is none that can be read."""
    try:
        # Not cv2.imread, which cannot open every name on every system.
        with open(path, "rb") as file:
            data = file.read()
    except OSError:
        return None
    if not is_whole(data):
        return None
    image = decode(data, color)
    return image if image is None or size is None else resize(image, size)


def decode(data: bytes, color: str) -> np.ndarray | None:
    """Return the image in the contents of a file; None where there is none."""
    import cv2

    # Some decoders convert no colours (of floating TIFF for one): read as it is then.
    kind = cv2.IMREAD_GRAYSCALE if color == "gray" else cv2.IMREAD_COLOR
    for flag in (kind, cv2.IMREAD_ANYCOLOR):
        try:
            image = cv2.imdecode(
                np.frombuffer(data, np.uint8), flag | cv2.IMREAD_ANYDEPTH
            )
        except cv2.error:
            continue
        if image is None:
            continue
        if color == "gray":
            gray = image.ndim == 2
            return image if gray else cv2.cvtColor(image, cv2.COLOR_BGR2GRAY)
        code = cv2.COLOR_GRAY2RGB if image.ndim == 2 else cv2.COLOR_BGR2RGB
        return cv2.cvtColor(image, code)
    return None


def resize(image: np.ndarray, size: tuple[int, ...]) -> np.ndarray:
    """Shrink what is too long by areas first, then enlarge what is too short."""
    import cv2

    height, width = image.shape[:2]
    smaller = min(height, size[0]), min(width, size[1])
    if smaller != (height, width):
        image = cv2.resize(image, smaller[::-1], interpolation=cv2.INTER_AREA)
    if smaller != size:
        image = cv2.resize(image, size[::-1], interpolation=cv2.INTER_LINEAR)
    return image


def is_whole(data: bytes) -> bool:
    """Whether the data may be an image, and a JPEG or PNG has its end.

    Decoders fill the missing part of these two with grey and say nothing, or complain
    on stderr.
    """
    if data.startswith(_JPEG):
        return _jpeg_is_whole(data)
    if data.startswith(_PNG):
        return _png_is_whole(data)
    return len(data) > 0


def _jpeg_is_whole(data: bytes) -> bool:
    """Follow the segments to the end marker; a preview inside one has its own."""
    position = len(_JPEG)
    while match := _JPEG_MARKER.search(data, position):
        marker, position = data[match.end() - 1], match.end()
        if marker == _END_OF_IMAGE:
            return True
        length = int.from_bytes(data[position : position + 2], "big")
        if length < 2:
            return False
        # After the header of a scan comes compressed data, which the search skips.
        position += length
    return False


def _png_is_whole(data: bytes) -> bool:
    """Follow the chunks, each with its checksum, to the one that ends the file."""
    position = len(_PNG)
    while position + 12 <= len(data):
        end = position + 8 + int.from_bytes(data[position : position + 4], "big")
        checksum = zlib.crc32(memoryview(data)[position + 4 : end])
        if checksum != int.from_bytes(data[end : end + 4], "big"):
            return False
        if data[position + 4 : position + 8] == b"IEND":
            return True
        position = end + 4
    return False


class _QuietOpenCV:
    """Keeps OpenCV from logging what is about to be raised as an error.

    The level is global, and readers may run at the same time: the first to come
    silences, the last to go puts the level back.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._n_inside = 0
        self._level = 0

    def __enter__(self) -> None:
        from cv2.utils import logging

        with self._lock:
            if self._n_inside == 0:
                self._level = logging.getLogLevel()
                logging.setLogLevel(logging.LOG_LEVEL_SILENT)
            self._n_inside += 1

    def __exit__(self, *exception: object) -> None:
        from cv2.utils import logging

        with self._lock:
            self._n_inside -= 1
            if self._n_inside == 0:
                logging.setLogLevel(self._level)


quiet_opencv = _QuietOpenCV()
