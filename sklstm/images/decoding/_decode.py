"""Decoding of image files of any format to arrays of the stored values."""

from __future__ import annotations

import struct

import cv2
import numpy as np

from sklstm.images._resize import like
from sklstm.images._validate import all_finite
from sklstm.images.decoding._netpbm import is_netpbm, read_netpbm
from sklstm.images.decoding._orientation import avif_properties, find_orientation
from sklstm.images.decoding._picture import Picture, UnreadableImageError, turn
from sklstm.images.decoding._tiff import read_tiff
from sklstm.images.decoding._whole import is_whole

_TIFF = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
# Weights of red, green and blue in luma (ITU-R BT.601).
_LUMA = np.array([0.299, 0.587, 0.114])
# OpenCV's weights for uint16 are too coarse, and float32 holds all uint16 values.
_CONVERTED_BY_OPENCV = {"uint8": "u1", "uint16": "f4", "float32": "f4"}


def decode(data: bytes, color: str, scale: str | None = None) -> Picture:
    """Decode the first image in the contents of a file.

    Parameters
    ----------
    data : bytes
        Contents of the file.
    color : {"gray", "rgb"}
        Colours of the result. The shape of the values is (height, width) for "gray",
        and (height, width, 3) for "rgb".
    scale : {None, "unit"}, default=None
        If "unit", convert the values to float32. Integers are first divided by the
        largest value that the file can hold. This comes before the conversion to
        `color`.

    Returns
    -------
    Picture
        Upright image, as a viewer shows it.

    Raises
    ------
    UnreadableImageError
        If the file holds no image, or none that can be read correctly.
    """
    try:
        if data.startswith(_TIFF):
            picture = read_tiff(data)
        elif is_netpbm(data):
            picture = read_netpbm(data)
        elif not is_whole(data):
            raise UnreadableImageError("it is cut off or damaged")
        else:
            picture = _decode_by_opencv(data, color)
        if not all_finite(picture.values):
            bad = np.count_nonzero(~np.isfinite(picture.values))
            raise UnreadableImageError(f"{bad} of its values are NaN or infinite")
        if scale == "unit":
            picture = _to_unit(picture)
        return picture.with_values(to_color(picture.values, color))
    except UnreadableImageError:
        raise
    except Exception as error:  # One file must not stop the reading of others.
        raise UnreadableImageError(f"it cannot be decoded ({error})") from error


def _decode_by_opencv(data: bytes, color: str) -> Picture:
    if data[4:8] == b"ftyp" and b"clap" in dict(avif_properties(data)):
        raise UnreadableImageError("it is to be shown cropped (by a clap box)")
    data = _without_transparency(data)
    # For a PNG with a gAMA or sRGB chunk, libpng computes gray in linear light. So
    # OpenCV returns colours, and `to_color` converts them. A JPEG stores luma itself.
    flag = cv2.IMREAD_ANYCOLOR
    if color == "gray" and data.startswith(b"\xff\xd8"):
        flag = cv2.IMREAD_GRAYSCALE
    flag |= cv2.IMREAD_ANYDEPTH | cv2.IMREAD_IGNORE_ORIENTATION
    try:
        image = cv2.imdecode(np.frombuffer(data, np.uint8), flag)
    except cv2.error as error:
        raise UnreadableImageError("its decoder gives up") from error
    if image is None:
        raise UnreadableImageError(
            "it is damaged, cut off, or of a format other than JPEG, PNG, TIFF, BMP, "
            "GIF, WebP, AVIF, JPEG 2000 and PNM"
        )
    if image.ndim == 3:
        image = image[..., ::-1]
    image = _with_all_of_16_bits(image, data)
    return Picture(turn(image, find_orientation(data)), _largest(data, image.dtype))


def _largest(data: bytes, dtype: np.dtype) -> int | None:
    """Return the largest value of a file with fewer bits than its dtype, else None."""
    bits = None
    if data[4:8] == b"ftyp":
        properties = dict(avif_properties(data))
        if len(properties.get(b"pixi", b"")) > 5:
            bits = properties[b"pixi"][5]
    else:
        # A JPEG 2000 codestream may be bare or lie in a container.
        start = data.find(b"\xff\x4f\xff\x51", 0, 4096)
        is_jpeg_2000 = start == 0 or data[4:8] == b"jP  "
        if start >= 0 and is_jpeg_2000 and len(data) > start + 42:
            bits = (data[start + 42] & 0x7F) + 1
    if bits is None or dtype.kind != "u" or bits >= 8 * dtype.itemsize:
        return None
    return 2**bits - 1


def _without_transparency(data: bytes) -> bytes:
    """Return a GIF without transparency, or any other file unchanged.

    OpenCV refuses a GIF whose background colour is not in the palette. Such a
    background becomes the first colour of the palette.
    """
    if not data.startswith((b"GIF87a", b"GIF89a")) or len(data) < 13:
        return data
    packed = data[10]
    n_colours = 2 << (packed & 7) if packed & 0x80 else 0
    position = 13 + 3 * n_colours
    changed = bytearray(data)
    if data[11] >= n_colours:
        changed[11] = 0
    # Extensions precede the image. They consist of blocks of at most 255 bytes.
    while data[position : position + 1] == b"!":
        if data[position + 1 : position + 3] == b"\xf9\x04":
            changed[position + 3] &= 0xFE
        position += 2
        while position < len(data) and data[position]:
            position += data[position] + 1
        position += 1
    return bytes(changed)


def _with_all_of_16_bits(image: np.ndarray, data: bytes) -> np.ndarray:
    """Scale a 16-bit BMP so that white is 255. OpenCV makes it 248 or 252."""
    if not data.startswith(b"BM") or image.ndim != 3:
        return image
    (header,) = struct.unpack_from("<I", data, 14)
    if header < 40:
        return image
    bits, compression = struct.unpack_from("<HI", data, 28)
    if bits != 16:
        return image
    green_has_six = compression == 3 and data[54:66][4:8] == b"\xe0\x07\0\0"
    shifts = np.array([5, 6 if green_has_six else 5, 5], np.uint8)
    return image | (image >> shifts)


def _to_unit(picture: Picture) -> Picture:
    values = picture.values
    if values.dtype.kind == "f":
        return Picture(values.astype(np.float32))
    largest = picture.largest or np.iinfo(values.dtype).max
    # float32 holds all integers of 16 bits.
    exact = np.dtype("f4" if values.dtype.itemsize <= 2 else "f8")
    unit = values.astype(exact) / exact.type(largest)
    return Picture(unit.astype(np.float32), is_scaled=True)


def to_color(values: np.ndarray, color: str) -> np.ndarray:
    """Convert gray values to three equal channels, or colours to their luma."""
    if color == "rgb":
        if values.ndim == 2:
            return np.repeat(values[..., None], 3, axis=2)
        return np.ascontiguousarray(values)
    if values.ndim == 2:
        return np.ascontiguousarray(values)
    if values.dtype.name in _CONVERTED_BY_OPENCV:
        exact = np.ascontiguousarray(values, _CONVERTED_BY_OPENCV[values.dtype.name])
        return like(cv2.cvtColor(exact, cv2.COLOR_RGB2GRAY), values.dtype)
    return like(values.astype(np.float64) @ _LUMA, values.dtype)
