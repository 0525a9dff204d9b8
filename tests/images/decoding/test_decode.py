"""All formats except TIFF give the values that they store, turned upright."""

import io
import itertools
import struct
import zlib

import cv2
import numpy as np
import pytest
from PIL import Image, ImageOps

from sklstm.images.decoding._decode import _largest, decode, to_color
from sklstm.images.decoding._picture import UnreadableImageError

HEIGHT, WIDTH = 9, 13


def noise(largest, n=1, dtype=None):
    rng = np.random.default_rng(n)
    shape = (HEIGHT, WIDTH) if n == 1 else (HEIGHT, WIDTH, n)
    values = rng.integers(0, largest, shape, endpoint=True)
    values[0, 0], values[0, 1] = 0, largest
    return values.astype(dtype or ("u1" if largest < 256 else "u2"))


def smooth(n=3):
    rng = np.random.default_rng(n)
    return cv2.GaussianBlur(rng.integers(0, 256, (40, 48, n), np.uint8), (0, 0), 4)


def saved(image, kind, **params):
    stream = io.BytesIO()
    image.save(stream, kind, **params)
    return stream.getvalue()


def luma(rgb):
    return np.asarray(rgb, float) @ [0.299, 0.587, 0.114]


def assert_reads(data, expected, about="", largest=None):
    picture = decode(data, "rgb")
    expected = np.asarray(expected)
    rgb = expected if expected.ndim == 3 else np.dstack([expected] * 3)
    np.testing.assert_array_equal(picture.values, rgb, err_msg=str(about))
    assert picture.values.dtype == expected.dtype, about
    assert picture.largest == largest, about
    gray = decode(data, "gray").values
    assert gray.dtype == expected.dtype, about
    if expected.ndim == 2:
        np.testing.assert_array_equal(gray, expected, err_msg=str(about))
    else:
        tolerance = 0.51 if expected.dtype.kind == "u" else 1e-4
        assert np.abs(gray - luma(expected)).max() <= tolerance, about


# -- PNG -------------------------------------------------------------------------------


def chunk(name, data):
    checksum = zlib.crc32(name + data)
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", checksum)


def png(values, bits, kind, chunks=b""):
    height, width = values.shape[:2]
    if bits >= 8:
        rows = values.astype(">u2" if bits == 16 else "u1").reshape(height, -1)
        rows = rows.view("u1").reshape(height, -1)
    else:
        single = np.unpackbits(values[..., None], axis=-1)[..., 8 - bits :]
        rows = np.packbits(single.reshape(height, -1), axis=1)
    raw = b"".join(b"\0" + row.tobytes() for row in rows)
    header = struct.pack(">IIBBBBB", width, height, bits, kind, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunks
        + chunk(b"IDAT", zlib.compress(raw)) + chunk(b"IEND", b"")
    )  # fmt: skip


METADATA = {
    "none": b"",
    "gAMA": chunk(b"gAMA", struct.pack(">I", 45455)),
    "gAMA of 1": chunk(b"gAMA", struct.pack(">I", 100000)),
    "sRGB": chunk(b"sRGB", b"\0"),
    "cHRM": chunk(b"cHRM", struct.pack(">8I", *[31270, 32900, 64000, 33000, 30000,
                                                60000, 15000, 6000])),
    "cICP": chunk(b"cICP", bytes([9, 16, 0, 1])),
    "iCCP": chunk(b"iCCP", b"name\0\0" + zlib.compress(b"\0" * 200)),
    "all": chunk(b"gAMA", struct.pack(">I", 45455)) + chunk(b"sRGB", b"\0"),
}  # fmt: skip


@pytest.mark.parametrize("metadata", METADATA)
@pytest.mark.parametrize("bits", [8, 16])
def test_values_of_a_png_do_not_depend_on_metadata(bits, metadata):
    chunks = METADATA[metadata]
    for kind, n in {0: 1, 2: 3, 4: 2, 6: 4}.items():
        values = noise(2**bits - 1, n)
        expected = {1: values, 2: values[..., 0]}.get(n, values[..., :3])
        assert_reads(png(values, bits, kind, chunks), expected, (kind, metadata))


@pytest.mark.parametrize("bits", [1, 2, 4, 8])
def test_gray_and_palettes_of_few_bits(bits):
    values = noise(2**bits - 1)
    gray = values * np.uint8(255 // (2**bits - 1))
    assert_reads(png(values, bits, 0), gray)
    key = chunk(b"tRNS", struct.pack(">H", int(values[0, 1])))
    assert_reads(png(values, bits, 0, key), gray, "transparent")
    palette = np.random.default_rng(0).integers(0, 256, (2**bits, 3), np.uint8)
    colours = chunk(b"PLTE", palette.tobytes())
    assert_reads(png(values, bits, 3, colours), palette[values])
    transparent = colours + chunk(b"tRNS", bytes(range(2**bits)))
    assert_reads(png(values, bits, 3, transparent), palette[values], "transparent")


def test_a_transparent_colour_of_a_png_stays():
    values = noise(65535, 3)
    key = chunk(b"tRNS", struct.pack(">HHH", *map(int, values[0, 0])))
    assert_reads(png(values, 16, 2, key), values)


# -- PNM, PAM and PFM ------------------------------------------------------------------


@pytest.mark.parametrize("largest", [1, 7, 15, 100, 255, 256, 1023, 4095, 65535])
def test_pnm_and_pam_keep_their_values(largest):
    full = largest in (255, 65535)
    kept = None if full else largest
    stored = ">u2" if largest > 255 else "u1"
    for n, (text, binary, name) in {
        1: ("P2", "P5", "GRAYSCALE"), 3: ("P3", "P6", "RGB"),
        2: (None, None, "GRAYSCALE_ALPHA"), 4: (None, None, "RGB_ALPHA"),
    }.items():  # fmt: skip
        values = noise(largest, n)
        expected = {1: values, 2: values[..., 0]}.get(n, values[..., :3])
        raw = values.astype(stored).tobytes()
        pam = (
            f"P7\n# a comment\nWIDTH {WIDTH}\nHEIGHT {HEIGHT}\nDEPTH {n}\n"
            f"MAXVAL {largest}\nTUPLTYPE {name}\nENDHDR\n"
        )
        assert_reads(pam.encode() + raw, expected, ("pam", n), kept)
        if text is None:
            continue
        header = f"\n# a comment\n{WIDTH} # and\n{HEIGHT}\n{largest}\n"
        assert_reads(f"{binary}{header}".encode() + raw, expected, binary, kept)
        numbers = " ".join(map(str, values.ravel().tolist()))
        # OpenCV needs a line end, but the format does not.
        for end in ("", "\n", "\n# end\n"):
            assert_reads(f"{text}{header}{numbers}{end}".encode(), expected, text, kept)


def test_bitmaps_are_black_and_white():
    bits = noise(1)
    expected = (1 - bits) * np.uint8(255)
    packed = np.packbits(bits, axis=1).tobytes()
    size = f"{WIDTH} {HEIGHT}\n".encode()
    assert_reads(b"P4\n" + size + packed, expected)
    text = "".join(map(str, bits.ravel().tolist()))
    for digits in (text, " ".join(text), "# a comment\n" + text):
        assert_reads(b"P1\n" + size + digits.encode(), expected)
    header = f"P7\nWIDTH {WIDTH}\nHEIGHT {HEIGHT}\nDEPTH 1\nMAXVAL 1\n"
    pam = f"{header}TUPLTYPE BLACKANDWHITE\nENDHDR\n".encode() + bits.tobytes()
    assert_reads(pam, bits * np.uint8(255))


@pytest.mark.parametrize("scale", ["-1.0", "1.0", "-2.5", "3"])
def test_pfm_keeps_its_values(scale):
    values = np.random.default_rng(0).normal(size=(HEIGHT, WIDTH, 3)).astype("f4")
    order = "<" if scale[0] == "-" else ">"
    for kind, expected in (("PF", values), ("Pf", values[..., 0])):
        header = f"{kind}\n{WIDTH} {HEIGHT}\n{scale}\n".encode()
        assert_reads(header + expected[::-1].astype(f"{order}f4").tobytes(), expected)


@pytest.mark.parametrize(
    "data",
    [
        b"P5\n2 2\n255\nabc", b"P5\n2 2\n0\nabcd", b"P5\n2 2\n70000\n" + bytes(8),
        b"P5\n0 2\n255\n", b"P5\n2 2", b"P2\n2 2\n9\n1 2 3", b"P2\n2 2\n9\n1 2 3 x",
        b"P2\n2 2\n9\n1 2 3 10", b"P2\n2 2\n9\n1 2 3 -1", b"P5\n2 2\n9\n\1\2\3\x0a",
        b"P1\n2 2\n012", b"P1\n2 2\n0121", b"P4\n9 2\nabc",
        b"P5\n9999999 99999999\n9\n",
        b"P7\nWIDTH 1\nHEIGHT 1\nDEPTH 5\nMAXVAL 9\nENDHDR\n12345", b"P7\nWIDTH 1\n",
        b"P7\nWIDTH x\nHEIGHT 1\nDEPTH 1\nMAXVAL 9\nENDHDR\n1", b"Pf\n2 2\n-1\nabc",
        b"Pf\n1 1\n-1e1e1\nabcd", b"P9\n1 1\n9\n1",
    ],
)  # fmt: skip
def test_what_is_no_pnm_is_refused(data):
    with pytest.raises(UnreadableImageError):
        decode(data, "gray")


# -- other kinds -----------------------------------------------------------------------


def test_a_transparent_colour_of_a_gif_stays():
    image = Image.fromarray(noise(255, 3)).quantize(16)
    for transparent in (None, int(np.array(image)[0, 0])):
        params = {} if transparent is None else {"transparency": transparent}
        for comment in (b"", b"x" * 300):
            data = saved(image, "GIF", comment=comment, **params)
            expected = np.array(image.convert("RGB"))
            assert_reads(data, expected, (transparent, comment))
            # The background is not a colour of the palette.
            data = data[:11] + b"\xff" + data[12:]
            assert_reads(data, expected, (transparent, comment))


def bmp(values, masks):
    """Write pixels of 16 or 32 bits. Without masks, 16 bits hold 5 of each colour."""
    bits = 8 * values.itemsize
    rows = b"".join(
        row.tobytes().ljust((row.nbytes + 3) // 4 * 4, b"\0") for row in values[::-1]
    )
    fields = struct.pack("<III", *masks) if masks else b""
    start = 54 + len(fields)
    head = struct.pack("<IHHI", start + len(rows), 0, 0, start)
    info = struct.pack("<IiiHHIIiiII", 40, WIDTH, HEIGHT, 1, bits, 3 if masks else 0,
                       len(rows), 0, 0, 0, 0)  # fmt: skip
    return b"BM" + head + info + fields + rows


@pytest.mark.parametrize(("masks", "widths"), [(None, (5, 5, 5)),
                         ((0x7C00, 0x3E0, 0x1F), (5, 5, 5)),
                         ((0xF800, 0x7E0, 0x1F), (5, 6, 5))])  # fmt: skip
def test_white_of_a_bmp_of_16_bits_is_255(masks, widths):
    values = noise(2 ** sum(widths) - 1, dtype="<u2")
    values[0, 1] = 2 ** sum(widths) - 1
    shifts = (widths[1] + widths[2], widths[2], 0)
    rgb = [
        (values >> shift & 2**width - 1) * 255 / (2**width - 1)
        for shift, width in zip(shifts, widths, strict=True)
    ]
    read = decode(bmp(values, masks), "rgb").values
    assert read[0, 1].tolist() == [255, 255, 255]
    assert read[0, 0].tolist() == [0, 0, 0]
    assert np.abs(read - np.dstack(rgb)).max() <= 1


def test_alpha_is_dropped_and_not_multiplied_in():
    rgba = noise(255, 4)
    rgba[..., 3] = np.arange(WIDTH) * 20
    image = Image.fromarray(rgba)
    assert_reads(saved(image, "WEBP", lossless=True, exact=True), rgba[..., :3])
    assert_reads(saved(image, "BMP"), rgba[..., :3])
    assert_reads(saved(image, "JPEG2000", irreversible=False), rgba[..., :3])
    # The format is lossy, so colours of transparent pixels change by a few levels.
    rgba = np.dstack([smooth(), np.zeros((40, 48), np.uint8)])
    data = saved(Image.fromarray(rgba), "AVIF", quality=100, subsampling="4:4:4")
    assert np.abs(decode(data, "rgb").values - rgba[..., :3].astype(int)).max() <= 3


@pytest.mark.parametrize("depth", [8, 10, 12])
def test_depths_of_avif_are_kept(depth):
    image = (smooth() * 2 ** (depth - 8) // 1).astype("u1" if depth == 8 else "u2")
    image = smooth().astype(image.dtype) << (depth - 8)
    params = [cv2.IMWRITE_AVIF_QUALITY, 100, cv2.IMWRITE_AVIF_DEPTH, depth]
    _, data = cv2.imencode(".avif", image[..., ::-1], params)
    picture = decode(data.tobytes(), "rgb")
    np.testing.assert_array_equal(picture.values, image)
    assert picture.largest == (None if depth == 8 else 2**depth - 1)


def test_depths_of_jpeg_2000():
    for values in (noise(255), noise(255, 3), noise(65535)):
        data = saved(Image.fromarray(values), "JPEG2000", irreversible=False)
        assert_reads(data, values)
    # The header declares the number of bits, in a file and in a bare codestream.
    data = bytearray(saved(Image.fromarray(noise(4095)), "JPEG2000"))
    start = data.find(b"\xff\x4f\xff\x51")
    assert data[start + 42] == 15
    data[start + 42] = 11
    for part in (data, data[start:]):
        assert _largest(bytes(part), np.dtype("u2")) == 4095


def test_jpegs_of_all_kinds():
    rgb = smooth()
    for image, params in (
        (Image.fromarray(rgb), {}),
        (Image.fromarray(rgb), {"progressive": True}),
        (Image.fromarray(rgb), {"keep_rgb": True}),
        (Image.fromarray(rgb[..., 0]), {}),
        (Image.fromarray(rgb).convert("CMYK"), {}),
        (Image.fromarray(np.dstack([rgb, rgb[..., 0] // 2]), "CMYK"), {}),
    ):
        data = saved(image, "JPEG", quality=95, **params)
        # The libraries round differently.
        expected = np.array(Image.open(io.BytesIO(data)).convert("RGB")).astype(int)
        assert np.abs(decode(data, "rgb").values - expected).max() <= 1
        assert np.abs(decode(data, "gray").values - luma(expected)).max() <= 3


@pytest.mark.parametrize("byte_order", ["II", "MM"])
@pytest.mark.parametrize(
    ("kind", "prefix"),
    # A JPEG file always has the prefix.
    [("JPEG", b"Exif\0\0")]
    + [(kind, p) for kind in ("PNG", "WEBP", "AVIF") for p in (b"", b"Exif\0\0")],
)
def test_images_are_turned_upright(kind, prefix, byte_order):
    stored = smooth()
    params = {"lossless": True} if kind == "WEBP" else {}
    if kind in ("JPEG", "AVIF"):
        params = {"quality": 100, "subsampling": "4:4:4"}
    for orientation in range(1, 9):
        image = Image.fromarray(stored)
        order = "<" if byte_order == "II" else ">"
        exif = byte_order.encode() + struct.pack(
            f"{order}HIHHHIHHI", 42, 8, 1, 274, 3, 1, orientation, 0, 0
        )
        data = saved(image, kind, exif=prefix + exif, **params)
        image.getexif()[274] = orientation
        expected = np.array(ImageOps.exif_transpose(image)).astype(int)
        values = decode(data, "rgb").values
        assert values.shape == expected.shape
        assert np.abs(values - expected).max() <= 4, orientation


def test_avif_that_is_to_be_cropped_is_refused():
    data = saved(Image.fromarray(smooth()), "AVIF")
    with pytest.raises(UnreadableImageError, match="cropped"):
        decode(data.replace(b"colr", b"clap"), "gray")


def test_nonsense_in_exif_is_upright():
    for exif in (b"", b"nonsense", b"II*\0\xff\xff\xff\xff", b"MM\0*\0\0\0\x08\0\x09"):
        data = saved(Image.fromarray(smooth()), "PNG", exif=exif)
        assert decode(data, "gray").values.shape == (40, 48)


def test_damaged_files_are_refused_or_read():
    rng = np.random.default_rng(0)
    image = Image.fromarray(smooth())
    for kind in ("JPEG", "PNG", "WEBP", "AVIF", "GIF", "BMP", "JPEG2000", "PPM"):
        data = saved(image, kind)
        for _ in range(30):
            changed = bytearray(data)
            for place in rng.integers(0, min(len(data), 200), 3):
                changed[place] = rng.integers(0, 256)
            # No other error may be raised.
            try:
                assert decode(bytes(changed), "gray").values.ndim == 2
            except UnreadableImageError:
                continue


# -- colours of every dtype ------------------------------------------------------------

DTYPES = ["u1", "u2", "u4", "u8", "i1", "i2", "i4", "i8", "f2", "f4", "f8"]


def extremes(dtype):
    dtype = np.dtype(dtype)
    if dtype.kind == "f":
        return dtype.type(-1000.5), dtype.type(1000.5)
    return np.iinfo(dtype).min, np.iinfo(dtype).max


@pytest.mark.parametrize("dtype", DTYPES)
def test_gray_is_the_luma_in_every_dtype(dtype):
    low, high = extremes(dtype)
    for value in (low, high):
        image = np.full((3, 4, 3), value, dtype)
        gray = to_color(image, "gray")
        assert gray.dtype == dtype
        # Gray is equal to equal channels, and no value wraps around.
        tolerance = abs(float(high)) * 2e-3 if dtype[0] == "f" else 0
        if dtype[1] == "8" and dtype[0] in "iu":
            tolerance = 2**12
        assert np.abs(gray.astype(float) - float(value)).max() <= tolerance
    mixed = np.empty((2, 2, 3), dtype)
    mixed[...] = low, high, low
    expected = 0.587 * float(high) + 0.413 * float(low)
    tolerance = max(0.51, abs(float(high)) * 1e-3 if dtype[0] == "f" else 0)
    if dtype[1] == "8":
        tolerance = max(tolerance, 2**12)
    assert np.abs(to_color(mixed, "gray").astype(float) - expected).max() <= tolerance


# -- one scale -------------------------------------------------------------------------


def test_unit_scale_is_the_same_for_8_and_16_bits():
    for n, kind in ((1, 0), (3, 2)):
        values = noise(255, n)
        small = decode(png(values, 8, kind), "gray", "unit")
        large = decode(png(values * np.uint16(257), 16, kind), "gray", "unit")
        assert small.values.dtype == large.values.dtype == np.float32
        np.testing.assert_array_equal(small.values, large.values)
        assert small.values.max() <= 1
    np.testing.assert_array_equal(
        decode(png(noise(255), 8, 0), "gray", "unit").values,
        noise(255).astype("f4") / np.float32(255),
    )


def test_unit_scale_divides_by_the_largest_value_of_the_file():
    values = noise(1023)
    data = f"P5 {WIDTH} {HEIGHT} 1023\n".encode() + values.astype(">u2").tobytes()
    unit = decode(data, "gray", "unit").values
    np.testing.assert_allclose(unit, values / 1023, rtol=1e-6)


def test_floats_stay_as_they_are_on_the_unit_scale():
    values = np.linspace(-3, 300, HEIGHT * WIDTH, dtype="<f4").reshape(HEIGHT, WIDTH)
    data = f"Pf\n{WIDTH} {HEIGHT}\n-1\n".encode() + values[::-1].tobytes()
    np.testing.assert_array_equal(decode(data, "gray", "unit").values, values)


def test_all_turns_of_the_container_of_avif():
    data = saved(Image.fromarray(smooth()), "AVIF", quality=100, subsampling="4:4:4")
    upright = decode(data, "rgb").values.astype(int)
    exif = Image.Exif()
    exif[274] = 5
    turned = saved(
        Image.fromarray(smooth()), "AVIF", exif=exif, quality=100, subsampling="4:4:4"
    )
    irot, imir = turned.index(b"irot") + 4, turned.index(b"imir") + 4
    for quarters, axis in itertools.product(range(4), range(2)):
        changed = bytearray(turned)
        changed[irot], changed[imir] = quarters, axis
        # The image is turned counterclockwise and then mirrored.
        expected = np.flip(np.rot90(upright, quarters), axis)
        values = decode(bytes(changed), "rgb").values
        assert values.shape == expected.shape
        assert np.abs(values - expected).max() <= 4, (quarters, axis)
