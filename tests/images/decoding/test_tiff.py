"""TIFF files of all layouts are read as written, or refused with the reason."""

import io
import itertools
import struct
import tracemalloc
import zlib

import cv2
import numpy as np
import pytest
import tifffile
from joblib import cpu_count
from PIL import Image

from sklstm import ImageReader
from sklstm.images.decoding._decode import decode
from sklstm.images.decoding._picture import UnreadableImageError

DTYPES = ["u1", "u2", "u4", "u8", "i1", "i2", "i4", "i8", "f2", "f4", "f8"]
NONE, LZW, DEFLATE, PACKBITS = 1, 5, 8, 32773
MIN_IS_WHITE, MIN_IS_BLACK, RGB, PALETTE, CMYK = 0, 1, 2, 3, 5
HEIGHT, WIDTH = 7, 10


def tiff(
    samples,
    *,
    bits=None,
    kind=None,
    photometric=None,
    order="<",
    big=False,
    planar=False,
    tile=None,
    rows_per_strip=None,
    compression=NONE,
    predictor=1,
    extra=None,
    reversed_bits=False,
    **tags,
):
    """Write samples (height, width, n_samples) as a TIFF file.

    The function shares no code with the reader and with tifffile. `tags` have names
    such as `t274`.
    """
    height, width, n = samples.shape
    bits = bits or 8 * samples.dtype.itemsize
    kind = kind or {"u": 1, "i": 2, "f": 3, "c": 6}[samples.dtype.kind]
    if photometric is None:
        photometric = RGB if n >= 3 else MIN_IS_BLACK
    extra = (
        [2] * (n - {RGB: 3, CMYK: 4}.get(photometric, 1)) if extra is None else extra
    )
    planes = [samples[..., i : i + 1] for i in range(n)] if planar else [samples]
    rows, columns = tile or (rows_per_strip or height, width)
    segments = []
    for plane in planes:
        for top, left in itertools.product(
            range(0, height, rows), range(0, width, columns)
        ):
            part = plane[top : top + rows, left : left + columns]
            if tile:
                short = rows - part.shape[0], columns - part.shape[1]
                part = np.pad(part, [(0, short[0]), (0, short[1]), (0, 0)])
            data = compress(pack(part, bits, order, predictor), compression)
            if reversed_bits:
                data = bytes(int(f"{b:08b}"[::-1], 2) for b in data)
            segments.append(data)
    entries = {
        256: [width], 257: [height], 258: [bits] * n, 259: [compression],
        262: [photometric], 277: [n], 284: [2 if planar else 1], 317: [predictor],
        338: extra, 339: [kind] * n, 266: [2 if reversed_bits else 1],
    }  # fmt: skip
    lengths = [len(segment) for segment in segments]
    at = 16 + np.cumsum([0, *lengths[:-1]])
    if tile:
        entries |= {322: [columns], 323: [rows], 324: at.tolist(), 325: lengths}
    else:
        entries |= {273: at.tolist(), 278: [rows], 279: lengths}
    entries |= {int(name[1:]): np.ravel(tag).tolist() for name, tag in tags.items()}
    return directory(entries, b"".join(segments), order, big)


def directory(entries, pixels, order, big):
    shorts = {258, 259, 262, 266, 274, 277, 284, 317, 320, 332, 338, 339, 530}
    pointer, count = ("Q", "Q") if big else ("I", "H")
    room = 8 if big else 4
    entries = {code: values for code, values in sorted(entries.items()) if values}
    start = 16 + len(pixels)
    beyond = start + struct.calcsize(f"{order}{count}") + room
    beyond += len(entries) * (12 + 2 * (room - 4))
    listed, long = b"", b""
    for code, values in entries.items():
        letter = "H" if code in shorts else "I"
        data = struct.pack(f"{order}{len(values)}{letter}", *values)
        if len(data) > room:
            place = struct.pack(f"{order}{pointer}", beyond + len(long))
            long, data = long + data, place
        listed += struct.pack(f"{order}HH{pointer}", code, 3 if letter == "H" else 4,
                              len(values)) + data.ljust(room, b"\0")  # fmt: skip
    mark = b"II" if order == "<" else b"MM"
    if big:
        head = mark + struct.pack(f"{order}HHHQ", 43, 8, 0, start)
    else:
        head = mark + struct.pack(f"{order}HI", 42, start) + bytes(8)
    number = struct.pack(f"{order}{count}", len(entries))
    return head + pixels + number + listed + bytes(room) + long


def pack(part, bits, order, predictor):
    rows, columns, n = part.shape
    if bits == 8 * part.dtype.itemsize:
        dtype = part.dtype.newbyteorder(order)
        if predictor == 3:
            rows_of_bytes = part.astype(part.dtype.newbyteorder(">")).view("u1")
            by_weight = rows_of_bytes.reshape(rows, columns * n, -1).transpose(0, 2, 1)
            flat = by_weight.reshape(rows, -1, n)
            return np.diff(flat, axis=1, prepend=np.zeros_like(flat[:, :1])).tobytes()
        if predictor == 2:
            whole = part.view(f"u{part.dtype.itemsize}")
            part = np.diff(whole, axis=1, prepend=np.zeros_like(whole[:, :1]))
            dtype = part.dtype.newbyteorder(order)
        return part.astype(dtype).tobytes()
    if bits == 24:
        bytes_ = part.astype(f"{order}u4").view("u1").reshape(*part.shape, 4)
        return (bytes_[..., :3] if order == "<" else bytes_[..., 1:]).tobytes()
    weights = 1 << np.arange(bits)[::-1]
    single = (part.reshape(rows, -1, 1).astype(int) & weights) > 0
    return np.packbits(single.reshape(rows, -1), axis=1).tobytes()


def compress(data, compression):
    if compression == DEFLATE:
        return zlib.compress(data)
    if compression == PACKBITS:
        # A repeated byte and a byte without effect come before literal bytes.
        begin = bytes([257 - 3, data[0], 128]) if len(set(data[:3])) == 1 else b""
        rest = data[3:] if begin else data
        parts = [rest[i : i + 100] for i in range(0, len(rest), 100)]
        return begin + b"".join(bytes([len(p) - 1]) + p for p in parts)
    if compression == LZW:
        # Codes have nine bits, because the table is cleared before it needs ten.
        codes = [256]
        for i, byte in enumerate(data):
            codes += [byte] if i % 200 else [256, byte]
        codes.append(257)
        bits = np.array(codes)[:, None] >> np.arange(9)[::-1] & 1
        return np.packbits(bits.astype(np.uint8)).tobytes()
    return data


def noise(dtype, n, bits=None, shape=(HEIGHT, WIDTH)):
    rng = np.random.default_rng(n)
    dtype = np.dtype(dtype)
    if dtype.kind == "f":
        return (rng.normal(size=(*shape, n)) * 300).astype(dtype)
    limits = np.iinfo(dtype)
    high = limits.max if bits is None else 2**bits - 1
    values = rng.integers(limits.min, high, (*shape, n), dtype, endpoint=True)
    values[0, 0], values[0, 1] = limits.min if bits is None else 0, high
    return values


def luma(rgb):
    """Return the Rec. 601 luma and its tolerance for rounding."""
    gray = rgb.astype(float) @ [0.299, 0.587, 0.114]
    return gray, 1 if rgb.dtype.kind in "ui" else np.abs(rgb).max() * 1e-3


def assert_reads(data, expected, about=""):
    """Read the file in colour and in gray, and compare all pixels."""
    values = decode(data, "rgb").values
    assert values.dtype == expected.dtype, about
    rgb = expected if expected.ndim == 3 else np.dstack([expected] * 3)
    np.testing.assert_array_equal(values, rgb, err_msg=str(about))
    gray = decode(data, "gray").values
    assert gray.dtype == expected.dtype, about
    if expected.ndim == 2:
        np.testing.assert_array_equal(gray, expected, err_msg=str(about))
    elif expected.itemsize < 8:
        expected_gray, tolerance = luma(expected)
        assert np.abs(gray.astype(float) - expected_gray).max() <= tolerance, about


LAYOUTS = [
    {"order": order, "big": big, "planar": planar, **segments}
    for order in "<>"
    for big in (False, True)
    for planar in (False, True)
    for segments in (
        {},
        {"rows_per_strip": 3},
        {"tile": (16, 16)},
        {"tile": (4, 8)},
    )
]


@pytest.mark.parametrize("compression", [NONE, LZW, DEFLATE, PACKBITS])
@pytest.mark.parametrize("dtype", DTYPES)
def test_every_layout_of_every_dtype(dtype, compression):
    for n in (1, 2, 3, 4):
        samples = noise(dtype, n)
        expected = samples[..., :3] if n > 2 else samples[..., 0]
        # Most cases need only one byte order and one kind of header.
        few = LAYOUTS if n == 3 and compression != LZW else LAYOUTS[:8:2] + LAYOUTS[-3:]
        for layout in few:
            data = tiff(samples, compression=compression, **layout)
            assert_reads(data, expected, (dtype, compression, n, layout))


@pytest.mark.parametrize("compression", [LZW, DEFLATE])
@pytest.mark.parametrize("dtype", DTYPES)
def test_predictors(dtype, compression):
    for n, planar, order, segments in itertools.product(
        (1, 3, 4), (False, True), "<>", ({}, {"tile": (16, 16)})
    ):
        samples = noise(dtype, n)
        expected = samples[..., :3] if n > 2 else samples[..., 0]
        for predictor in (2, 3) if dtype[0] == "f" else (2,):
            data = tiff(samples, compression=compression, predictor=predictor,
                        planar=planar, order=order, **segments)  # fmt: skip
            assert_reads(data, expected, (dtype, n, planar, order, predictor))


@pytest.mark.parametrize("bits", [1, 2, 3, 4, 6, 7, 9, 10, 12, 14, 15, 24])
@pytest.mark.parametrize("compression", [NONE, LZW, DEFLATE, PACKBITS])
def test_packed_bits(bits, compression):
    dtype = "u1" if bits < 8 else "u2" if bits < 16 else "u4"
    for n, planar, order, tile in itertools.product(
        (1, 3), (False, True), "<>", (None, (16, 16))
    ):
        samples = noise(dtype, n, bits)
        data = tiff(samples, bits=bits, compression=compression, planar=planar,
                    order=order, tile=tile)  # fmt: skip
        expected = samples if n == 3 else samples[..., 0]
        if bits < 8:
            expected = np.round(expected * (255 / (2**bits - 1))).astype(np.uint8)
        assert_reads(data, expected, (bits, n, planar, order, tile))
        assert decode(data, "gray").largest == (None if bits < 8 else 2**bits - 1)


@pytest.mark.parametrize("bits", [1, 2, 4, 8, 12, 16, 32])
def test_min_is_white_is_turned_round(bits):
    dtype = "u1" if bits <= 8 else "u2" if bits <= 16 else "u4"
    samples = noise(dtype, 1, bits)
    data = tiff(samples, bits=bits, photometric=MIN_IS_WHITE)
    expected = np.array(2**bits - 1, dtype) - samples[..., 0]
    if bits < 8:
        expected = np.round(expected * (255 / (2**bits - 1))).astype(np.uint8)
    assert_reads(data, expected)


@pytest.mark.parametrize("bits", [1, 2, 4, 8, 16])
@pytest.mark.parametrize("factor", [1, 256, 257])
def test_palette(bits, factor):
    rng = np.random.default_rng(0)
    palette = rng.integers(0, 256, (3, 2**bits))
    palette[0, 0] = 255  # If all colours are dark, 16 bits look like 8.
    samples = noise("u1" if bits <= 8 else "u2", 1, bits)
    for n_extra in (0, 1):
        all_samples = np.dstack([samples] * (1 + n_extra))
        data = tiff(all_samples, bits=bits, photometric=PALETTE, t320=palette * factor)
        assert_reads(data, palette.T[samples[..., 0]].astype(np.uint8))


@pytest.mark.parametrize("dtype", ["u1", "u2"])
@pytest.mark.parametrize("planar", [False, True])
def test_cmyk(dtype, planar):
    inks = noise(dtype, 4)
    full = float(np.iinfo(dtype).max)
    c, m, y, k = np.moveaxis(inks / full, -1, 0)
    rgb = np.dstack([(1 - c) * (1 - k), (1 - m) * (1 - k), (1 - y) * (1 - k)])
    data = tiff(inks, photometric=CMYK, planar=planar)
    assert_reads(data, np.round(rgb * full).astype(dtype))


@pytest.mark.parametrize("kind", [0, 1, 2])
@pytest.mark.parametrize("dtype", ["u1", "u2", "f4"])
def test_alpha_is_dropped_and_not_multiplied_in(kind, dtype):
    for n, photometric in ((2, MIN_IS_BLACK), (4, RGB)):
        if n == 2 and kind == 0:
            continue  # A second channel of gray must be declared as alpha.
        samples = noise(dtype, n)
        samples[..., -1] = 0
        expected = samples[..., :3] if n == 4 else samples[..., 0]
        for planar in (False, True):
            data = tiff(samples, photometric=photometric, extra=[kind], planar=planar)
            assert_reads(data, expected, (n, planar))


@pytest.mark.parametrize("reader", ["own", "opencv"])
def test_orientation(reader):
    picture = noise("u1", 3, shape=(16, 24))
    if reader == "opencv":
        picture = cv2.GaussianBlur(picture, (0, 0), 4)
    for orientation in range(1, 9):
        if reader == "own":
            data = tiff(picture, t274=[orientation])
        else:
            stream = io.BytesIO()
            tags = {274: orientation}
            image = Image.fromarray(picture)
            image.save(stream, "TIFF", compression="jpeg", quality=100, tiffinfo=tags)
            data = stream.getvalue()
        # Pillow turns TIFF files upright.
        upright = np.array(Image.open(io.BytesIO(data)).convert("RGB"))
        expected_shape = (24, 16, 3) if orientation > 4 else (16, 24, 3)
        assert upright.shape == expected_shape
        np.testing.assert_array_equal(decode(data, "rgb").values, upright)


def test_reversed_bits():
    for bits, compression in itertools.product((1, 8), (NONE, LZW, DEFLATE)):
        samples = noise("u1", 1, bits)
        expected = samples[..., 0] * (255 if bits == 1 else 1)
        data = tiff(samples, bits=bits, compression=compression, reversed_bits=True)
        assert_reads(data, expected.astype(np.uint8), (bits, compression))


def test_files_of_pillow_and_opencv():
    picture = cv2.GaussianBlur(noise("u1", 3, shape=(40, 50)), (0, 0), 3)
    bilevel = picture[..., 0] > 127
    for compression in (None, "tiff_lzw", "tiff_adobe_deflate", "packbits", "jpeg"):
        for mode in ("L", "RGB", "YCbCr", "CMYK", "P", "RGBA", "LA"):
            image = Image.fromarray(picture).convert(mode)
            stream = io.BytesIO()
            try:
                image.save(stream, "TIFF", compression=compression)
            except (OSError, KeyError):
                continue
            opened = Image.open(stream)
            if compression == "jpeg" and mode in ("CMYK", "P", "RGBA", "LA"):
                continue
            rgb = np.array(
                (opened if mode != "LA" else opened.convert("L")).convert("RGB")
            )
            read = decode(stream.getvalue(), "rgb").values
            # The libraries round YCbCr and CMYK differently.
            off = np.abs(read.astype(int) - rgb).max()
            assert off <= (3 if mode in ("YCbCr", "CMYK") else 0), (compression, mode)
    for compression in (None, "group3", "group4", "tiff_ccitt", "packbits", "tiff_lzw"):
        stream = io.BytesIO()
        Image.fromarray(bilevel).save(stream, "TIFF", compression=compression)
        assert_reads(stream.getvalue(), (bilevel * 255).astype(np.uint8), compression)
    for dtype in ("u1", "u2", "f4"):
        image = noise(dtype, 3)
        for code in (1, 5, 8, 32773):
            params = [cv2.IMWRITE_TIFF_COMPRESSION, code]
            _, data = cv2.imencode(".tif", image[..., ::-1], params)
            assert_reads(data.tobytes(), image, (dtype, code))


REFUSED = {
    "number of bits": {"t258": [8, 8, 5]},
    "5 samples a pixel": {"n": 5},
    "3 samples a pixel": {"photometric": MIN_IS_BLACK, "extra": [0, 0]},
    "6 samples a pixel": {"n": 6, "extra": [2, 2, 0]},
    "2 samples a pixel": {"n": 2, "photometric": RGB, "extra": []},
    "declares only gray": {"n": 2, "photometric": MIN_IS_BLACK, "extra": []},
    # tifffile writes images of two channels in this way.
    "2 samples a pixel, but": {"n": 2, "photometric": MIN_IS_BLACK, "extra": [0]},
    "values are complex numbers": {"dtype": "c8"},
    "signed of 12 bits": {"dtype": "i2", "bits": 12},
    "photometric interpretation, 8": {"photometric": 8},
    "photometric interpretation, 32803": {"photometric": 32803, "n": 1, "extra": []},
    "compression, 34712": {"t259": [34712]},
    "compression, 50000": {"t259": [50000]},
    "compression, 6": {"t259": [6]},
    "compression, 7": {"dtype": "u2", "t259": [7]},
    "predictor, 7": {"compression": DEFLATE, "t317": [7]},
    "predictor, 3": {"compression": DEFLATE, "t317": [3]},
    "predictor, 2": {"predictor": 2},
    "inverted, indices or inks": {
        "n": 1, "dtype": "i2", "photometric": MIN_IS_WHITE
    },
    "palette is missing": {"n": 1, "photometric": PALETTE},
    "more than 2": {"t256": [100000], "t257": [100000]},
    "no plane of pixels": {"t32997": [4]},
    "fewer than its": {"t257": [900], "t278": [5]},
    "is too short": {"t257": [90], "t278": [90]},
    "tiles is too short": {"t273": [10**6]},
    "it is cut off": {"photometric": 6, "t279": [10**6]},
}  # fmt: skip


@pytest.mark.parametrize("reason", REFUSED)
def test_what_cannot_be_read_rightly_is_refused_with_the_reason(reason, tmp_path):
    settings = dict(REFUSED[reason])
    n, dtype = settings.pop("n", 3), settings.pop("dtype", "u1")
    samples = noise("f4", n).astype(dtype) if dtype == "c8" else noise(dtype, n)
    if n == 5:
        settings["extra"] = [0, 0]
    path = tmp_path / "a.tif"
    path.write_bytes(tiff(samples, **settings))
    for color in ("gray", "rgb"):
        with pytest.raises(ValueError, match=f"the first because .*{reason}.*a.tif"):
            ImageReader(color=color).transform([path])


@pytest.mark.parametrize("compression", [NONE, LZW, DEFLATE, PACKBITS, "jpeg"])
def test_damaged_files_are_refused_or_read(compression, capfd):
    if compression == "jpeg":
        stream = io.BytesIO()
        image = Image.fromarray(noise("u1", 3, shape=(16, 16)))
        image.save(stream, "TIFF", compression="jpeg")
        data = stream.getvalue()
    else:
        data = tiff(noise("u2", 3), compression=compression, rows_per_strip=3)
    expected = decode(data, "rgb").values.shape
    rng = np.random.default_rng(0)
    for _ in range(200):
        changed = bytearray(data)
        for place in rng.integers(0, len(data), 3):
            changed[place] = rng.integers(0, 256)
        if rng.random() < 0.3:
            del changed[rng.integers(8, len(data)) :]
        # No other error may be raised.
        try:
            values = decode(bytes(changed), "rgb").values
        except UnreadableImageError:
            continue
        assert values.ndim == 3 == len(expected)
    capfd.readouterr()


@pytest.mark.parametrize("compression", [LZW, DEFLATE, PACKBITS])
def test_compressed_data_that_ends_early_is_refused(compression):
    full = tiff(noise("u2", 1), compression=compression)
    short = tiff(noise("u2", 1)[:-1], compression=compression, t257=[HEIGHT],
                 t278=[HEIGHT])  # fmt: skip
    assert decode(full, "gray").values.shape == (HEIGHT, WIDTH)
    with pytest.raises(UnreadableImageError, match=r"damaged|too short"):
        decode(short, "gray")


@pytest.mark.parametrize("compression", [NONE, LZW, DEFLATE, PACKBITS])
def test_careless_headers(compression):
    samples = noise("u2", 3)
    # Strips declare the largest number of rows, and more bytes than they have.
    for tags in ({"t278": [2**32 - 1]}, {"t279": [10**6]}, {"t258": [16]}, {"t339": []},
                 {"t338": [], "t284": []}, {"t262": []}):  # fmt: skip
        assert_reads(tiff(samples, compression=compression, **tags), samples, tags)


def test_contents_of_unreadable_files_are_not_kept(tmp_path):
    paths = [tmp_path / f"{i}.tif" for i in range(60)]
    data = tiff(np.zeros((1000, 300, 1), np.uint8), t259=[50000])
    for path in paths:
        path.write_bytes(data)
    tracemalloc.start()
    try:
        with pytest.raises(ValueError, match="names 60 of 60 files"):
            ImageReader().transform(paths)
        n_held = tracemalloc.get_traced_memory()[1] / len(data)
        assert n_held < 2 * cpu_count() + 4
    finally:
        tracemalloc.stop()


def test_jpeg_strip_that_is_cut_off_is_refused():
    stream = io.BytesIO()
    image = Image.fromarray(noise("u1", 3, shape=(16, 16)))
    image.save(stream, "TIFF", compression="jpeg")
    data = stream.getvalue()
    with tifffile.TiffFile(io.BytesIO(data)) as file:
        tag = file.pages.first.tags[279]
        assert tag.count == 1
        at, length = tag.valueoffset, tag.value[0]
    shorter = struct.pack("<I", length // 2)
    with pytest.raises(UnreadableImageError, match="strips or tiles is cut off"):
        decode(data[:at] + shorter + data[at + 4 :], "rgb")


def test_large_strips_of_lzw():
    # Rows are longer than OpenCV reads at once, and the number of bytes is odd.
    for shape in ((1, 2**20 + 3), (3, 2**18 + 1)):
        samples = np.zeros((*shape, 1), np.uint8)
        samples[0, ::7] = 9
        data = tiff(samples, compression=LZW)
        np.testing.assert_array_equal(decode(data, "gray").values, samples[..., 0])
