"""Reading of PBM, PGM, PPM, PAM and PFM files, without any change of their values.

OpenCV scales text files to 255 but not binary files, swaps red and blue in PAM files,
and multiplies PFM files by the scale in their header.
"""

from __future__ import annotations

import re
import sys

import numpy as np

from sklstm.images.decoding._picture import Picture, UnreadableImageError

_COMMENT = re.compile(rb"#[^\r\n]*")
# A header has three numbers (two for PBM). Spaces and comments separate them, and one
# space follows them.
_GAP = rb"(?:\s|#[^\r\n]*[\r\n])"
_SIZE = rb"P[1-7Ff]" + _GAP + rb"+(\d+)" + _GAP + rb"+(\d+)"
_BITMAP = re.compile(_SIZE + rb"\s")
_MAP = re.compile(_SIZE + _GAP + rb"+(\d+)\s")
_FLOATS = re.compile(_SIZE + rb"\s+([-+]?[\d.eE+-]+)[ \t\r]*\n?")
_PAM_END = b"ENDHDR\n"


def is_netpbm(data: bytes) -> bool:
    """Return whether data starts like a PBM, PGM, PPM, PAM or PFM file."""
    return data[:1] == b"P" and data[1:2] in b"1234567Ff" and data[2:3].isspace()


def read_netpbm(data: bytes) -> Picture:
    """Return the image in a file, or raise UnreadableImageError."""
    kind = data[1:2]
    if kind == b"7":
        return _read_pam(data)
    if kind in b"Ff":
        return _read_pfm(data)
    if kind in b"14":
        return _read_bitmap(data)
    header = _match(_MAP, data)
    width, height, largest = map(int, header.groups())
    n_channels = 3 if kind in b"36" else 1
    shape = height, width, n_channels
    if kind in b"23":
        values = _text_numbers(data[header.end() :], shape, largest)
    else:
        values = _binary_numbers(data, header.end(), shape, largest)
    return _picture(values, largest)


def _match(pattern: re.Pattern[bytes], data: bytes) -> re.Match[bytes]:
    header = pattern.match(data)
    if header is None:
        raise UnreadableImageError("its header is damaged")
    return header


def _picture(values: np.ndarray, largest: int) -> Picture:
    if values.max(initial=0) > largest:
        raise UnreadableImageError(f"it holds values above {largest}, its largest")
    n_channels = values.shape[2]
    # With two or four channels, the last channel is alpha.
    values = values[..., 0] if n_channels < 3 else values[..., :3]
    full = np.iinfo(values.dtype).max
    return Picture(values, None if largest == full else largest)


def _dtype(largest: int) -> np.dtype:
    if not 1 <= largest <= 65535:
        raise UnreadableImageError(f"its largest value is {largest}, not 1 to 65535")
    return np.dtype(">u2" if largest > 255 else "u1")


def _binary_numbers(
    data: bytes, start: int, shape: tuple[int, ...], largest: int
) -> np.ndarray:
    dtype = _dtype(largest)
    n = _count(shape)
    if len(data) - start < n * dtype.itemsize:
        raise UnreadableImageError("it is cut off")
    values = np.frombuffer(data, dtype, n, start).reshape(shape)
    return values.astype(dtype.newbyteorder("="))


def _text_numbers(text: bytes, shape: tuple[int, ...], largest: int) -> np.ndarray:
    dtype = _dtype(largest).newbyteorder("=")
    words = _COMMENT.sub(b"", text).split()
    n = _count(shape)
    # If the file ends right after its last number, that number may have lost digits.
    if len(words) < n:
        raise UnreadableImageError("it is cut off")
    try:
        numbers = np.array(words[:n]).astype(np.int64)
    except ValueError:
        raise UnreadableImageError("it holds text that is no number") from None
    if numbers.min() < 0 or numbers.max() > largest:
        raise UnreadableImageError(f"it holds values outside 0 to {largest}")
    return numbers.astype(dtype).reshape(shape)


def _count(shape: tuple[int, ...]) -> int:
    n = int(np.prod(shape, dtype=object))
    if n < 1:
        raise UnreadableImageError("it has no pixels")
    return n


def _read_bitmap(data: bytes) -> Picture:
    """Read a PBM file: its 1 is black and becomes 0, its 0 is white and becomes 255."""
    header = _match(_BITMAP, data)
    width, height = map(int, header.groups())
    n = _count((height, width))
    rest = data[header.end() :]
    if data[1:2] == b"1":
        digits = b"".join(_COMMENT.sub(b"", rest).split())[:n]
        if digits.strip(b"01"):
            raise UnreadableImageError("it holds text that is no bit")
        bits = np.frombuffer(digits, np.uint8) - ord("0")
    else:
        n_row = (width + 7) // 8
        lines = np.frombuffer(rest, np.uint8, min(len(rest), height * n_row))
        lines = lines[: len(lines) // n_row * n_row].reshape(-1, n_row)
        bits = np.unpackbits(lines, axis=1)[:, :width].reshape(-1)
    if len(bits) < n:
        raise UnreadableImageError("it is cut off")
    return Picture((1 - bits.reshape(height, width)) * np.uint8(255))


def _read_pam(data: bytes) -> Picture:
    end = data.find(_PAM_END)
    lines = [line.split() for line in data[3 : max(end, 0)].splitlines()]
    header = {line[0]: line[-1] for line in lines if len(line) > 1}
    try:
        height, width, n_channels, largest = (
            int(header[name]) for name in (b"HEIGHT", b"WIDTH", b"DEPTH", b"MAXVAL")
        )
    except (KeyError, ValueError):
        raise UnreadableImageError("its header is damaged") from None
    if not 1 <= n_channels <= 4:
        raise UnreadableImageError(
            f"it has {n_channels} channels, neither gray nor a colour"
        )
    shape = height, width, n_channels
    values = _binary_numbers(data, end + len(_PAM_END), shape, largest)
    picture = _picture(values, largest)
    if header.get(b"TUPLTYPE", b"").startswith(b"BLACKANDWHITE"):
        return Picture(picture.values * np.uint8(255))
    return picture


def _read_pfm(data: bytes) -> Picture:
    header = _match(_FLOATS, data)
    width, height = int(header[1]), int(header[2])
    shape = (height, width) if data[1:2] == b"f" else (height, width, 3)
    try:
        scale = float(header[3])
    except ValueError:
        raise UnreadableImageError("its header is damaged") from None
    dtype = np.dtype("<f4" if scale < 0 else ">f4")
    n = _count(shape)
    if len(data) - header.end() < 4 * n:
        raise UnreadableImageError("it is cut off")
    values = np.frombuffer(data, dtype, n, header.end()).reshape(shape)
    native = "<" if sys.byteorder == "little" else ">"
    # PFM files store the bottom row first.
    return Picture(values[::-1].astype(f"{native}f4"))
