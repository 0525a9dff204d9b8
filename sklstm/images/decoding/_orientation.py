"""Reading of the orientation in which a viewer shows an image."""

from __future__ import annotations

import struct
from collections.abc import Iterator

_EXIF = b"Exif\0\0"
_ORIENTATION = 274
# EXIF orientation of an AVIF file, by its properties irot and then imir. irot counts
# quarter turns anticlockwise. imir is missing (None), or mirrors the order of the rows
# (0) or of the columns (1).
_TURNED = {
    0: {None: 1, 0: 4, 1: 2},
    1: {None: 8, 0: 5, 1: 7},
    2: {None: 3, 0: 2, 1: 4},
    3: {None: 6, 0: 7, 1: 5},
}


def find_orientation(data: bytes) -> int:
    """Return the EXIF orientation, or 1 (upright) if it is missing or invalid."""
    if data.startswith(b"\xff\xd8"):
        exif = _exif_of_jpeg(data)
    elif data.startswith(b"\x89PNG"):
        exif = _exif_of_png(data)
    elif data.startswith(b"RIFF"):
        exif = _exif_of_webp(data)
    elif data[4:8] == b"ftyp":
        return _orientation_of_avif(data)
    else:
        return 1
    return _orientation_of_exif(exif)


def _orientation_of_exif(exif: bytes) -> int:
    exif = exif.removeprefix(_EXIF)
    order = {b"II*\0": "<", b"MM\0*": ">"}.get(exif[:4])
    if order is None:
        return 1
    try:
        (at,) = struct.unpack_from(f"{order}I", exif, 4)
        (n,) = struct.unpack_from(f"{order}H", exif, at)
        for i in range(n):
            code, kind = struct.unpack_from(f"{order}HH", exif, at + 2 + 12 * i)
            if code == _ORIENTATION:
                size = {1: "B", 3: "H", 4: "I"}.get(kind, "H")
                place = at + 10 + 12 * i
                (value,) = struct.unpack_from(f"{order}{size}", exif, place)
                return value if 1 <= value <= 8 else 1
    except struct.error:
        pass
    return 1


def _exif_of_jpeg(data: bytes) -> bytes:
    position = 2
    while position + 4 <= len(data) and data[position] == 0xFF:
        marker = data[position + 1]
        if marker == 0xFF:  # This is a fill byte.
            position += 1
            continue
        if marker == 0xDA:  # Compressed data follows.
            break
        length = int.from_bytes(data[position + 2 : position + 4], "big")
        segment = data[position + 4 : position + 2 + length]
        if marker == 0xE1 and segment.startswith(_EXIF):
            return segment
        position += 2 + length
    return b""


def _exif_of_png(data: bytes) -> bytes:
    position = 8
    while position + 8 <= len(data):
        length = int.from_bytes(data[position : position + 4], "big")
        if data[position + 4 : position + 8] == b"eXIf":
            return data[position + 8 : position + 8 + length]
        position += 12 + length
    return b""


def _exif_of_webp(data: bytes) -> bytes:
    position = 12
    while position + 8 <= len(data):
        length = int.from_bytes(data[position + 4 : position + 8], "little")
        if data[position : position + 4] == b"EXIF":
            return data[position + 8 : position + 8 + length]
        position += 8 + length + length % 2
    return b""


def _boxes(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Yield the type and the contents of each box of an ISO base media file."""
    position = 0
    while position + 8 <= len(data):
        length, kind = struct.unpack_from(">I4s", data, position)
        start = position + 8
        if length == 1:
            length = int.from_bytes(data[start : start + 8], "big")
            start += 8
        elif length == 0:
            length = len(data) - position
        if length < start - position:
            return
        yield kind, data[start : position + length]
        position += length


def avif_properties(data: bytes) -> list[tuple[bytes, bytes]]:
    """Return the properties of the primary image of an AVIF file, in their order."""
    try:
        return _avif_properties(data)
    except (KeyError, IndexError, struct.error):
        return []


def _avif_properties(data: bytes) -> list[tuple[bytes, bytes]]:
    meta = dict(_boxes(dict(_boxes(data))[b"meta"][4:]))
    primary = meta[b"pitm"]
    primary_id = int.from_bytes(primary[4 : 6 if primary[0] == 0 else 8], "big")
    described = dict(_boxes(meta[b"iprp"]))
    properties = list(_boxes(described[b"ipco"]))
    links = described[b"ipma"]
    version, wide = links[0], links[3] & 1
    (n_items,) = struct.unpack_from(">I", links, 4)
    position = 8
    for _ in range(n_items):
        size = 2 if version == 0 else 4
        item_id = int.from_bytes(links[position : position + size], "big")
        n_links = links[position + size]
        position += size + 1
        numbers = []
        for _ in range(n_links):
            number = int.from_bytes(links[position : position + 1 + wide], "big")
            # The highest bit only says whether a reader must know the property.
            numbers.append(number & (0x7FFF if wide else 0x7F))
            position += 1 + wide
        if item_id == primary_id:
            return [properties[number - 1] for number in numbers if number > 0]
    return []


def _orientation_of_avif(data: bytes) -> int:
    """Return the orientation that irot and imir give. EXIF must be ignored in AVIF."""
    found = dict(avif_properties(data))
    quarters = found.get(b"irot", b"\0")[:1] or b"\0"
    mirror = found.get(b"imir")
    axis = None if not mirror else mirror[0] & 1
    return _TURNED[quarters[0] & 3][axis]
