"""TIFF files: every layout is read as it is stored, or refused with the reason.

OpenCV reads many layouts wrongly without a word: planar samples of 16 bits, 16-bit gray
with alpha, unassociated alpha, inverted 16-bit gray, and compressions that it does not
know. So `tifffile` parses the header, and the pixels are put together here. OpenCV is
left with what the tests find right in it: LZW, and the fax and JPEG compressions.
"""

from __future__ import annotations

import io
import math
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from sklstm.preprocessing._picture import (
    Picture,
    UnreadableImageError,
    spread,
    turn,
)

_NONE, _LZW, _JPEG, _PACKBITS = 1, 5, 7, 32773
_FAX, _DEFLATE, _LOG = (2, 3, 4), (8, 32946), (34676, 34677)
_MIN_IS_WHITE, _MIN_IS_BLACK, _RGB, _PALETTE, _CMYK, _YCBCR = 0, 1, 2, 3, 5, 6
_LOG_LUV = (32844, 32845)
_UNSIGNED, _SIGNED, _FLOAT, _UNDEFINED = 1, 2, 3, 4
_ALPHA = (1, 2)
# As many pixels as OpenCV reads at most: a small file can claim any number.
_MOST_PIXELS = 2**30
_ORIENTATION = 274


def read_tiff(data: bytes) -> Picture:
    """Return the first image of a TIFF file; UnreadableImageError if it cannot be."""
    import tifffile

    try:
        with tifffile.TiffFile(io.BytesIO(data)) as file:
            layout = _layout(file.pages.first, file.byteorder, len(data))
    except UnreadableImageError:
        raise
    except Exception as error:  # whatever a damaged header leads to
        raise UnreadableImageError(
            f"its TIFF header cannot be read ({error})"
        ) from error
    if layout.needs_opencv:
        picture = _read_by_opencv(data, layout)
    else:
        picture = _picture(_samples(data, layout), layout)
    return Picture(turn(picture.values, layout.orientation), picture.largest)


@dataclass(frozen=True)
class _Layout:
    """What the header says, checked: the pixels can be read by it."""

    height: int
    width: int
    n_samples: int
    planar: bool
    bits: int
    format: int
    byteorder: Any  # "<" or ">"
    photometric: int
    compression: int
    predictor: int
    reversed_bits: bool
    # Of a strip or tile: its rows and columns.
    segment: tuple[int, int]
    tiled: bool
    offsets: tuple[int, ...]
    counts: tuple[int, ...]
    colormap: np.ndarray | None
    orientation: int
    orientation_at: int | None

    @property
    def needs_opencv(self) -> bool:
        coded = (*_FAX, _JPEG, *_LOG)
        return self.compression in coded or self.photometric == _YCBCR

    @property
    def dtype(self) -> np.dtype:
        """What the samples are, as they are stored (fewer than 8 bits: as unpacked)."""
        if self.format == _FLOAT:
            return np.dtype(f"f{self.bits // 8}")
        size = next(size for size in (1, 2, 4, 8) if self.bits <= 8 * size)
        return np.dtype(f"{'i' if self.format == _SIGNED else 'u'}{size}")


def _layout(page: Any, byteorder: str, n_bytes: int) -> _Layout:
    tags = page.tags

    def tag(code: int, default: Any = None) -> Any:
        return tags.valueof(code, default)

    def one(code: int, default: int, what: str) -> int:
        """Return what must be the same for all samples."""
        value = tag(code, default)
        values = set(value) if isinstance(value, tuple) else {value}
        if len(values) != 1:
            raise UnreadableImageError(f"its samples differ in their {what}")
        return int(values.pop())

    height, width = int(tag(257, 0)), int(tag(256, 0))
    if height < 1 or width < 1 or int(tag(32997, 1)) > 1:
        raise UnreadableImageError("its TIFF header names no plane of pixels")
    if height * width > _MOST_PIXELS:
        raise UnreadableImageError(f"it has {height} x {width} pixels, more than 2**30")
    n_samples = int(tag(277, 1))
    compression = int(tag(259, _NONE))
    photometric = tag(262)
    if photometric is None:
        photometric = _RGB if n_samples >= 3 else _MIN_IS_BLACK
        if compression in _FAX:
            photometric = _MIN_IS_WHITE
    tiled = 322 in tags
    segment = (
        (int(tag(323)), int(tag(322)))
        if tiled
        else (min(int(tag(278, height)), height), width)
    )
    extra = tag(338, ())
    orientation = int(tag(_ORIENTATION, 1))
    colormap = tag(320)
    layout = _Layout(
        height=height,
        width=width,
        n_samples=n_samples,
        planar=int(tag(284, 1)) == 2 and n_samples > 1,
        bits=one(258, 1, "number of bits"),
        format=one(339, _UNSIGNED, "format"),
        byteorder=byteorder,
        photometric=int(photometric),
        compression=compression,
        predictor=int(tag(317, 1)),
        reversed_bits=int(tag(266, 1)) == 2,
        segment=segment,
        tiled=tiled,
        offsets=tuple(map(int, page.dataoffsets)),
        counts=tuple(map(int, page.databytecounts)),
        colormap=None if colormap is None else np.asarray(colormap),
        orientation=orientation if 1 <= orientation <= 8 else 1,
        orientation_at=tags[_ORIENTATION].valueoffset if _ORIENTATION in tags else None,
    )
    _check_samples(layout, extra if isinstance(extra, tuple) else (extra,))
    _check_coding(layout, int(tag(332, 1)))
    _check_segments(layout, n_bytes)
    return layout


def _check_samples(layout: _Layout, extra: tuple) -> None:
    """Refuse what is neither gray nor a colour, with alpha or without."""
    kinds = {_MIN_IS_WHITE: 1, _MIN_IS_BLACK: 1, _RGB: 3, _PALETTE: 1, _CMYK: 4}
    kinds |= {_YCBCR: 3, _LOG_LUV[0]: 1, _LOG_LUV[1]: 3}
    colours = kinds.get(layout.photometric)
    if colours is None:
        raise UnreadableImageError(
            f"its photometric interpretation, {layout.photometric}, is neither gray, "
            f"RGB, palette, CMYK nor YCbCr"
        )
    n_extra = layout.n_samples - colours
    alone = n_extra == 1 or all(int(kind) in _ALPHA for kind in extra)
    if n_extra < 0 or (n_extra > 0 and not alone):
        kind = {1: "gray", 3: "a colour", 4: "CMYK"}[colours]
        raise UnreadableImageError(
            f"it has {layout.n_samples} samples a pixel, but its header says that "
            f"{kind} is all it shows (photometric {layout.photometric})"
        )
    if layout.photometric == _PALETTE and (
        layout.colormap is None or layout.colormap.size != 3 * 2**layout.bits
    ):
        raise UnreadableImageError("its palette is missing or of the wrong length")


def _check_coding(layout: _Layout, ink_set: int) -> None:
    """Refuse samples, and codes, that nothing here reads."""
    bits, is_float = layout.bits, layout.format == _FLOAT
    plain = layout.format in (_UNSIGNED, _UNDEFINED)
    known = {
        _UNSIGNED: {*range(1, 17), 24, 32, 64},
        _UNDEFINED: {8, 16, 32, 64},
        _SIGNED: {8, 16, 32, 64},
        _FLOAT: {16, 32, 64},
    }
    if bits not in known.get(layout.format, ()):
        names = {_SIGNED: "signed ", _FLOAT: "floating ", 5: "complex ", 6: "complex "}
        raise UnreadableImageError(
            f"its values are {names.get(layout.format, '')}of {bits} bits, which have "
            f"no dtype in NumPy or are not real"
        )
    needs_plain = (_MIN_IS_WHITE, _PALETTE, _CMYK)
    if layout.photometric in needs_plain and not plain:
        raise UnreadableImageError(
            "its header says that values are inverted, indices or inks, but they are "
            "not unsigned"
        )
    if layout.photometric == _PALETTE and bits > 16:
        raise UnreadableImageError(f"its palette has indices of {bits} bits")
    if layout.photometric == _CMYK and (ink_set != 1 or bits not in (8, 16)):
        raise UnreadableImageError("its inks are not CMYK of 8 or 16 bits")
    coding = layout.compression
    if layout.needs_opencv:
        right = {
            # Of what OpenCV reads, only this was found right.
            **dict.fromkeys(_FAX, bits == 1 and layout.n_samples == 1),
            **dict.fromkeys(_LOG, layout.photometric in _LOG_LUV),
            _JPEG: bits == 8 and layout.photometric in (_MIN_IS_BLACK, _RGB, _YCBCR),
        }.get(coding, bits == 8 and coding in (_NONE, _LZW, *_DEFLATE, _PACKBITS))
        extra = layout.n_samples not in (1, 3)
        contiguous = not layout.planar or coding == _JPEG
        if not right or extra or not contiguous:
            raise UnreadableImageError(
                f"its compression, {coding}, is not read together with photometric "
                f"{layout.photometric}, {layout.n_samples} samples of {bits} bits; "
                f"{_INSTEAD}"
            )
        return
    if coding not in (_NONE, _LZW, *_DEFLATE, _PACKBITS):
        raise UnreadableImageError(
            f"its compression, {coding}, is not read; {_INSTEAD}"
        )
    predicts = coding in (_LZW, *_DEFLATE)
    whole = bits in (8, 16, 32, 64)
    allowed = {1} | ({2} if whole else set()) | ({3} if is_float else set())
    if layout.predictor not in (allowed if predicts else {1}):
        raise UnreadableImageError(
            f"its predictor, {layout.predictor}, does not go with its values or its "
            f"compression"
        )


_INSTEAD = "save it uncompressed, or with LZW or deflate"


def _check_segments(layout: _Layout, n_bytes: int) -> None:
    rows, columns = layout.segment
    if rows < 1 or columns < 1:
        raise UnreadableImageError("its strips or tiles are empty")
    n = math.ceil(layout.height / rows) * math.ceil(layout.width / columns)
    n *= layout.n_samples if layout.planar else 1
    ends = [o + c for o, c in zip(layout.offsets, layout.counts, strict=False)]
    if len(layout.offsets) < n or len(layout.counts) < n:
        raise UnreadableImageError(f"it has fewer than its {n} strips or tiles")
    if max(ends[:n]) > n_bytes or min(layout.counts[:n]) < 1:
        raise UnreadableImageError("it is cut off")


def _samples(data: bytes, layout: _Layout) -> np.ndarray:
    """Return all samples, (height, width, samples), of the dtype of the layout."""
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


def _positions(layout: _Layout) -> Iterator[tuple[int, int, int]]:
    """Yield the first row, column and sample of each strip or tile, in their order."""
    rows, columns = layout.segment
    for plane in range(layout.n_samples if layout.planar else 1):
        for row in range(0, layout.height, rows):
            for column in range(0, layout.width, columns):
                yield row, column, plane


_REVERSED = bytes(int(f"{i:08b}"[::-1], 2) for i in range(256))


def _decompress(coded: bytes, compression: int, rows: int, n_row: int) -> bytes:
    if compression in _DEFLATE:
        try:
            # No more than is needed: a small strip can swell to any size.
            return zlib.decompressobj().decompress(coded, rows * n_row)
        except zlib.error as error:
            raise UnreadableImageError(
                f"its compressed data is damaged ({error})"
            ) from error
    if compression == _PACKBITS:
        return _decompress_packbits(coded)
    if compression == _LZW:
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
            # 128 means nothing: it repeats no byte.
            plain += coded[position + 1 : position + 2] * ((257 - n) if n > 128 else 0)
            position += 2 if n > 128 else 1
    return bytes(plain)


def _decompress_lzw(coded: bytes, rows: int, n_row: int) -> bytes:
    """Let OpenCV decompress a strip, as if it held one gray image of 16 bits.

    OpenCV checks whether such a strip is whole, and takes its values as they are.
    """
    n = rows * n_row
    plain = _gray_by_opencv(coded, n // 2, 16) if n > 1 else b""
    if n % 2:
        # The last byte comes from an image of 8 bits, for which nothing is checked.
        plain += _gray_by_opencv(coded, n, 8)[-1:]
    return plain


def _gray_by_opencv(coded: bytes, n: int, bits: int) -> bytes:
    """Decode LZW to n values, in rows that are short enough for OpenCV."""
    import cv2

    width = next(w for w in range(min(n, 2**19), 0, -1) if n % w == 0)
    entries = [
        (256, 4, width), (257, 4, n // width), (258, 3, bits), (259, 3, _LZW),
        (262, 3, _MIN_IS_BLACK), (273, 4, 8), (277, 3, 1), (278, 4, n // width),
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


def _unpack(lines: np.ndarray, layout: _Layout, shape: tuple) -> np.ndarray:
    """Return the samples of the lines of bytes of one strip or tile."""
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
        # The only size of whole bytes without a dtype of its own.
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
    # A few lines at a time: what is worked out on the way takes four bytes a sample.
    step = max(1, 2**20 // n)
    for row in range(0, len(lines), step):
        # A sample lies in three bytes at most, of which the last ones may be missing.
        part = np.pad(lines[row : row + step], [(0, 0), (0, 2)]).astype(np.uint32)
        three = (part[:, :-2] << 16) | (part[:, 1:-1] << 8) | part[:, 2:]
        samples[row : row + step] = three[:, first] >> after & (2**bits - 1)
    return samples


def _undo_float_predictor(
    lines: np.ndarray, dtype: np.dtype, shape: tuple
) -> np.ndarray:
    """Undo differences of bytes, after bytes of equal weight were put side by side."""
    rows, columns, n_samples = shape
    bytes_ = lines.reshape(rows, -1, n_samples).cumsum(axis=1, dtype=np.uint8)
    by_weight = bytes_.reshape(rows, dtype.itemsize, columns * n_samples)
    stored = np.ascontiguousarray(by_weight.transpose(0, 2, 1))
    return stored.view(dtype.newbyteorder(">")).reshape(shape)


def _picture(samples: np.ndarray, layout: _Layout) -> Picture:
    """Return gray or red, green and blue."""
    largest = 2**layout.bits - 1
    if layout.photometric == _PALETTE:
        assert layout.colormap is not None
        colours = layout.colormap.reshape(3, -1).T
        # Programs bring 8 bits to 16 by a factor of 256 or 257, or not at all.
        colours = colours if colours.max() < 256 else colours >> 8
        return Picture(colours.astype(np.uint8)[samples[..., 0]])
    if layout.photometric == _CMYK:
        inks = samples[..., :4].astype(np.float64)
        rgb = (largest - inks[..., :3]) * (largest - inks[..., 3:]) / largest
        return Picture(np.round(rgb).astype(samples.dtype))
    if layout.photometric == _RGB:
        values = samples[..., :3]
    else:
        values = samples[..., 0]
        if layout.photometric == _MIN_IS_WHITE:
            values = values.dtype.type(largest) - values
    if layout.bits < 8:
        return Picture(spread(values, largest))
    is_whole = layout.format == _FLOAT or layout.bits == 8 * layout.dtype.itemsize
    return Picture(values, None if is_whole else largest)


def _read_by_opencv(data: bytes, layout: _Layout) -> Picture:
    """Let OpenCV read the file, with its orientation set to upright."""
    import cv2

    if layout.compression == _JPEG:
        from sklstm.preprocessing._whole import is_whole

        segments = zip(layout.offsets, layout.counts, strict=False)
        # OpenCV fills what is missing with grey.
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
