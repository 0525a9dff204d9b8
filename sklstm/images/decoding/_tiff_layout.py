"""Parsing of TIFF headers to layouts that can be read."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from sklstm.images.decoding._picture import UnreadableImageError

NONE, LZW, JPEG, PACKBITS = 1, 5, 7, 32773
FAX, DEFLATE, LOG = (2, 3, 4), (8, 32946), (34676, 34677)
MIN_IS_WHITE, MIN_IS_BLACK, RGB, PALETTE, CMYK, YCBCR = 0, 1, 2, 3, 5, 6
LOG_LUV = (32844, 32845)
UNSIGNED, SIGNED, FLOAT, UNDEFINED = 1, 2, 3, 4
_ALPHA = (1, 2)
# OpenCV has the same limit. The header of a small file can claim any size.
_MOST_PIXELS = 2**30
_ORIENTATION = 274


@dataclass(frozen=True)
class Layout:
    """The layout of the pixels in a TIFF file, checked to be one that can be read."""

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
    # Number of rows and columns of a strip or tile.
    segment: tuple[int, int]
    tiled: bool
    offsets: tuple[int, ...]
    counts: tuple[int, ...]
    colormap: np.ndarray | None
    orientation: int
    orientation_at: int | None

    @property
    def needs_opencv(self) -> bool:
        coded = (*FAX, JPEG, *LOG)
        return self.compression in coded or self.photometric == YCBCR

    @property
    def dtype(self) -> np.dtype:
        """Return the smallest dtype that holds a sample."""
        if self.format == FLOAT:
            return np.dtype(f"f{self.bits // 8}")
        size = next(size for size in (1, 2, 4, 8) if self.bits <= 8 * size)
        return np.dtype(f"{'i' if self.format == SIGNED else 'u'}{size}")


def read_layout(page: Any, byteorder: str, n_bytes: int) -> Layout:
    """Return the layout of a page that `tifffile` has read from a file of `n_bytes`."""
    tags = page.tags

    def tag(code: int, default: Any = None) -> Any:
        return tags.valueof(code, default)

    def one(code: int, default: int, what: str) -> int:
        """Return the value of a tag that must be the same for all samples."""
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
    compression = int(tag(259, NONE))
    photometric = tag(262)
    if photometric is None:
        photometric = RGB if n_samples >= 3 else MIN_IS_BLACK
        if compression in FAX:
            photometric = MIN_IS_WHITE
    tiled = 322 in tags
    segment = (
        (int(tag(323)), int(tag(322)))
        if tiled
        else (min(int(tag(278, height)), height), width)
    )
    extra = tag(338, ())
    orientation = int(tag(_ORIENTATION, 1))
    colormap = tag(320)
    layout = Layout(
        height=height,
        width=width,
        n_samples=n_samples,
        planar=int(tag(284, 1)) == 2 and n_samples > 1,
        bits=one(258, 1, "number of bits"),
        format=one(339, UNSIGNED, "format"),
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


def _check_samples(layout: Layout, extra: tuple) -> None:
    """Raise an error unless the samples are gray or a colour, and perhaps alpha."""
    kinds = {MIN_IS_WHITE: 1, MIN_IS_BLACK: 1, RGB: 3, PALETTE: 1, CMYK: 4}
    kinds |= {YCBCR: 3, LOG_LUV[0]: 1, LOG_LUV[1]: 3}
    colours = kinds.get(layout.photometric)
    if colours is None:
        raise UnreadableImageError(
            f"its photometric interpretation, {layout.photometric}, is neither gray, "
            f"RGB, palette, CMYK nor YCbCr"
        )
    n_extra = layout.n_samples - colours
    declared = len(extra) == n_extra and all(int(kind) in _ALPHA for kind in extra)
    # One sample after the colours is alpha even if no tag declares it. One sample after
    # gray may be a second channel.
    alpha = declared or (n_extra == 1 and colours > 1)
    if n_extra < 0 or (n_extra > 0 and not alpha):
        kind = {1: "gray", 3: "a colour", 4: "CMYK"}[colours]
        raise UnreadableImageError(
            f"it has {layout.n_samples} samples a pixel, but its header declares only "
            f"{kind} (photometric {layout.photometric}); gray, RGB and CMYK, each with "
            "or without a declared alpha, can be read"
        )
    if layout.photometric == PALETTE and (
        layout.colormap is None or layout.colormap.size != 3 * 2**layout.bits
    ):
        raise UnreadableImageError("its palette is missing or of the wrong length")


def _check_coding(layout: Layout, ink_set: int) -> None:
    """Raise an error for dtypes, compressions and predictors that are not supported."""
    bits, is_float = layout.bits, layout.format == FLOAT
    plain = layout.format in (UNSIGNED, UNDEFINED)
    known = {
        UNSIGNED: {*range(1, 17), 24, 32, 64},
        UNDEFINED: {8, 16, 32, 64},
        SIGNED: {8, 16, 32, 64},
        FLOAT: {16, 32, 64},
    }
    if bits not in known.get(layout.format, ()):
        if layout.format in (5, 6):
            raise UnreadableImageError("its values are complex numbers, not real ones")
        names = {SIGNED: "signed ", FLOAT: "floating "}
        raise UnreadableImageError(
            f"its values are {names.get(layout.format, '')}of {bits} bits, for which "
            "NumPy has no dtype"
        )
    needs_plain = (MIN_IS_WHITE, PALETTE, CMYK)
    if layout.photometric in needs_plain and not plain:
        raise UnreadableImageError(
            "its header says that values are inverted, indices or inks, but they are "
            "not unsigned"
        )
    if layout.photometric == PALETTE and bits > 16:
        raise UnreadableImageError(f"its palette has indices of {bits} bits")
    if layout.photometric == CMYK and (ink_set != 1 or bits not in (8, 16)):
        raise UnreadableImageError("its inks are not CMYK of 8 or 16 bits")
    coding = layout.compression
    if layout.needs_opencv:
        right = {
            # OpenCV reads only these combinations correctly.
            **dict.fromkeys(FAX, bits == 1 and layout.n_samples == 1),
            **dict.fromkeys(LOG, layout.photometric in LOG_LUV),
            JPEG: bits == 8 and layout.photometric in (MIN_IS_BLACK, RGB, YCBCR),
        }.get(coding, bits == 8 and coding in (NONE, LZW, *DEFLATE, PACKBITS))
        extra = layout.n_samples not in (1, 3)
        contiguous = not layout.planar or coding == JPEG
        if not right or extra or not contiguous:
            raise UnreadableImageError(
                f"its compression, {coding}, is not read together with photometric "
                f"{layout.photometric}, {layout.n_samples} samples of {bits} bits; "
                f"{_INSTEAD}"
            )
        return
    if coding not in (NONE, LZW, *DEFLATE, PACKBITS):
        raise UnreadableImageError(
            f"its compression, {coding}, is not read; {_INSTEAD}"
        )
    predicts = coding in (LZW, *DEFLATE)
    whole = bits in (8, 16, 32, 64)
    allowed = {1} | ({2} if whole else set()) | ({3} if is_float else set())
    if layout.predictor not in (allowed if predicts else {1}):
        raise UnreadableImageError(
            f"its predictor, {layout.predictor}, does not go with its values or its "
            f"compression"
        )


_INSTEAD = "save it uncompressed, or with LZW or deflate"


def _check_segments(layout: Layout, n_bytes: int) -> None:
    rows, columns = layout.segment
    if rows < 1 or columns < 1:
        raise UnreadableImageError("its strips or tiles are empty")
    n = math.ceil(layout.height / rows) * math.ceil(layout.width / columns)
    n *= layout.n_samples if layout.planar else 1
    if len(layout.offsets) < n or len(layout.counts) < n:
        raise UnreadableImageError(f"it has fewer than its {n} strips or tiles")
    # Some programs count more bytes than the file has. Decoding finds out whether the
    # bytes that it needs exist, but OpenCV does not report it.
    ends = [o + c for o, c in zip(layout.offsets[:n], layout.counts[:n], strict=True)]
    if layout.needs_opencv and max(ends) > n_bytes:
        raise UnreadableImageError("it is cut off")
