"""Reading of TIFF files, which refuses a layout that it cannot read exactly.

OpenCV reads many layouts wrongly and gives no warning: planar samples of 16 bits,
16-bit gray with alpha, unassociated alpha, inverted 16-bit gray, and compressions that
it does not know. So `tifffile` parses the header, and this module assembles the pixels.
OpenCV decodes only what the tests find correct: LZW, and the fax and JPEG compressions.
"""

from __future__ import annotations

import io
import math
import struct
import zlib
from collections.abc import Iterator

import cv2
import numpy as np
import tifffile

from sklstm.images.decoding._picture import (
    Picture,
    UnreadableImageError,
    spread,
    turn,
)
from sklstm.images.decoding._tiff_layout import (
    CMYK,
    DEFLATE,
    FLOAT,
    JPEG,
    LZW,
    MIN_IS_BLACK,
    MIN_IS_WHITE,
    PACKBITS,
    PALETTE,
    RGB,
    Layout,
    read_layout,
)
from sklstm.images.decoding._whole import is_whole


def read_tiff(data: bytes) -> Picture:
    """Return the first image of a TIFF file, or raise UnreadableImageError."""
    try:
        # The reader lives until the garbage collector finds it. Closing the stream
        # frees the data at once.
        with io.BytesIO(data) as stream, tifffile.TiffFile(stream) as file:
            layout = read_layout(file.pages.first, file.byteorder, len(data))
    except UnreadableImageError:
        raise
    except Exception as error:  # A damaged header can raise any error.
        raise UnreadableImageError(
            f"its TIFF header cannot be read ({error})"
        ) from error
    if layout.needs_opencv:
        picture = _read_by_opencv(data, layout)
    else:
        picture = _picture(_samples(data, layout), layout)
    return Picture(turn(picture.values, layout.orientation), picture.largest)


def _samples(data: bytes, layout: Layout) -> np.ndarray:
    """Return all samples, (height, width, n_samples), in the dtype of the layout."""
    shape = layout.height, layout.width, layout.n_samples
    samples = np.empty(shape, layout.dtype)
    n_inside = 1 if layout.planar else layout.n_samples
    segments = zip(layout.offsets, layout.counts, strict=False)
    for (row, column, plane), (offset, count) in zip(
        _positions(layout), segments, strict=False
    ):
        rows, columns = layout.segment
        if not layout.tiled:
            rows = min(rows, layout.height - row)
        n_row = math.ceil(columns * n_inside * layout.bits / 8)
        coded = data[offset : offset + count]
        if layout.reversed_bits:
            coded = coded.translate(_REVERSED)
        plain = _decompress(coded, layout.compression, rows, n_row)
        if len(plain) < rows * n_row:
            raise UnreadableImageError("one of its strips or tiles is too short")
        lines = np.frombuffer(plain, np.uint8, rows * n_row).reshape(rows, n_row)
        block = _unpack(lines, layout, (rows, columns, n_inside))
        target = samples[
            row : row + rows, column : column + columns, plane : plane + n_inside
        ]
        target[...] = block[: target.shape[0], : target.shape[1]]
    return samples


def _positions(layout: Layout) -> Iterator[tuple[int, int, int]]:
    """Yield the first row, column and sample of each strip or tile, in file order."""
    rows, columns = layout.segment
    for plane in range(layout.n_samples if layout.planar else 1):
        for row in range(0, layout.height, rows):
            for column in range(0, layout.width, columns):
                yield row, column, plane


_REVERSED = bytes(int(f"{i:08b}"[::-1], 2) for i in range(256))


def _decompress(coded: bytes, compression: int, rows: int, n_row: int) -> bytes:
    if compression in DEFLATE:
        try:
            # The size is limited, because a small strip can expand to any size.
            return zlib.decompressobj().decompress(coded, rows * n_row)
        except zlib.error as error:
            raise UnreadableImageError(
                f"its compressed data is damaged ({error})"
            ) from error
    if compression == PACKBITS:
        return _decompress_packbits(coded)
    if compression == LZW:
        return _decompress_lzw(coded, rows, n_row)
    return coded


def _decompress_packbits(coded: bytes) -> bytes:
    plain = bytearray()
    position = 0
    while position < len(coded):
        n = coded[position]
        if n < 128:
            plain += coded[position + 1 : position + n + 2]
            position += n + 2
        else:
            # The byte 128 means nothing and repeats no byte.
            plain += coded[position + 1 : position + 2] * ((257 - n) if n > 128 else 0)
            position += 2 if n > 128 else 1
    return bytes(plain)


def _decompress_lzw(coded: bytes, rows: int, n_row: int) -> bytes:
    """Decompress a strip by OpenCV, as if the strip were a gray image of 16 bits.

    For 16 bits, OpenCV checks that the strip is complete and keeps the values.
    """
    n = rows * n_row
    plain = _gray_by_opencv(coded, n // 2, 16) if n > 1 else b""
    if n % 2:
        # The last byte comes from an image of 8 bits, which OpenCV does not check.
        plain += _gray_by_opencv(coded, n, 8)[-1:]
    return plain


def _gray_by_opencv(coded: bytes, n: int, bits: int) -> bytes:
    """Decode LZW to n values, in rows that are short enough for OpenCV."""
    width = next(w for w in range(min(n, 2**19), 0, -1) if n % w == 0)
    entries = [
        (256, 4, width), (257, 4, n // width), (258, 3, bits), (259, 3, LZW),
        (262, 3, MIN_IS_BLACK), (273, 4, 8), (277, 3, 1), (278, 4, n // width),
        (279, 4, len(coded)),
    ]  # fmt: skip
    start = 8 + len(coded) + len(coded) % 2
    directory = struct.pack("<H", len(entries)) + b"".join(
        struct.pack("<HHII", code, kind, 1, value) for code, kind, value in entries
    )
    file = b"II*\0" + struct.pack("<I", start) + coded + b"\0" * (len(coded) % 2)
    buffer = np.frombuffer(file + directory + b"\0" * 4, np.uint8)
    image = cv2.imdecode(buffer, cv2.IMREAD_ANYDEPTH)
    if image is None:
        raise UnreadableImageError("its compressed data is damaged")
    return image.astype(f"<u{bits // 8}", copy=False).tobytes()


def _unpack(lines: np.ndarray, layout: Layout, shape: tuple) -> np.ndarray:
    """Return the samples of one strip or tile, given its lines of bytes."""
    bits, dtype = layout.bits, layout.dtype
    if layout.predictor == 3:
        return _undo_float_predictor(lines, dtype, shape)
    if bits == 8 * dtype.itemsize:
        stored = lines.view(dtype.newbyteorder(layout.byteorder)).reshape(shape)
        if layout.predictor == 2:
            as_integers = np.dtype(f"u{dtype.itemsize}")
            stored = stored.astype(dtype).view(as_integers)
            return np.cumsum(stored, axis=1, dtype=as_integers).view(dtype)
        return stored
    if bits == 24:
        # NumPy has no dtype of three bytes.
        parts = lines.reshape(*shape, 3).astype(np.uint32)
        first, second, third = np.moveaxis(parts, -1, 0)
        if layout.byteorder == "<":
            first, third = third, first
        return (first << 16) | (second << 8) | third
    return _unpack_bits(lines, shape[1] * shape[2], bits).reshape(shape).astype(dtype)


def _unpack_bits(lines: np.ndarray, n: int, bits: int) -> np.ndarray:
    """Return n samples of at most 16 bits from each line of bytes."""
    start = np.arange(n) * bits
    first, after = start >> 3, 24 - bits - (start & 7)
    samples = np.empty((len(lines), n), np.uint16)
    # Intermediate arrays take four bytes a sample, so unpack a few lines at a time.
    step = max(1, 2**20 // n)
    for row in range(0, len(lines), step):
        # A sample spans at most three bytes. Padding replaces those behind the end.
        part = np.pad(lines[row : row + step], [(0, 0), (0, 2)]).astype(np.uint32)
        three = (part[:, :-2] << 16) | (part[:, 1:-1] << 8) | part[:, 2:]
        samples[row : row + step] = three[:, first] >> after & (2**bits - 1)
    return samples


def _undo_float_predictor(
    lines: np.ndarray, dtype: np.dtype, shape: tuple
) -> np.ndarray:
    """Undo the floating-point predictor of TIFF.

    The predictor groups the bytes of each row by significance and stores differences of
    neighbouring bytes.
    """
    rows, columns, n_samples = shape
    bytes_ = lines.reshape(rows, -1, n_samples).cumsum(axis=1, dtype=np.uint8)
    by_weight = bytes_.reshape(rows, dtype.itemsize, columns * n_samples)
    stored = np.ascontiguousarray(by_weight.transpose(0, 2, 1))
    return stored.view(dtype.newbyteorder(">")).reshape(shape)


def _picture(samples: np.ndarray, layout: Layout) -> Picture:
    """Convert samples to gray, or to red, green and blue."""
    largest = 2**layout.bits - 1
    if layout.photometric == PALETTE:
        assert layout.colormap is not None
        colours = layout.colormap.reshape(3, -1).T
        # Colormaps should have 16 bits. Some programs scale their 8 bits by 256 or 257,
        # and others do not scale them.
        colours = colours if colours.max() < 256 else colours >> 8
        return Picture(colours.astype(np.uint8)[samples[..., 0]])
    if layout.photometric == CMYK:
        inks = samples[..., :4].astype(np.float64)
        rgb = (largest - inks[..., :3]) * (largest - inks[..., 3:]) / largest
        return Picture(np.round(rgb).astype(samples.dtype))
    if layout.photometric == RGB:
        values = samples[..., :3]
    else:
        values = samples[..., 0]
        if layout.photometric == MIN_IS_WHITE:
            values = values.dtype.type(largest) - values
    if layout.bits < 8:
        return Picture(spread(values, largest))
    is_whole = layout.format == FLOAT or layout.bits == 8 * layout.dtype.itemsize
    return Picture(values, None if is_whole else largest)


def _read_by_opencv(data: bytes, layout: Layout) -> Picture:
    """Read the file by OpenCV, marked as upright so that OpenCV does not turn it."""
    if layout.compression == JPEG:
        segments = zip(layout.offsets, layout.counts, strict=False)
        # OpenCV fills a missing part with grey and reports no error.
        if not all(is_whole(data[start : start + n]) for start, n in segments):
            raise UnreadableImageError("one of its strips or tiles is cut off")
    if layout.orientation_at is not None:
        upright = struct.pack(f"{layout.byteorder}H", 1)
        at = layout.orientation_at
        data = data[:at] + upright + data[at + 2 :]
    image = cv2.imdecode(
        np.frombuffer(data, np.uint8), cv2.IMREAD_ANYCOLOR | cv2.IMREAD_ANYDEPTH
    )
    if image is None:
        raise UnreadableImageError("its compressed data is damaged")
    return Picture(image if image.ndim == 2 else image[..., ::-1])
