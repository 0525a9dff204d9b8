"""The file that `save` writes: a zip of several parts that ends in a checksum.

Nothing in the zip is compressed, so it cannot unpack to more than its own size. The
comment of the zip is the checksum of everything before it. A file is written either
whole or not at all.
"""

from __future__ import annotations

import hashlib
import io
import math
import os
import uuid
import zipfile
from contextlib import suppress
from typing import Any

import numpy as np
from numpy.lib import format as npy

PLAIN_KINDS = "biufcSUmM"  # the kinds of NumPy dtypes that a file may contain

_LABEL = b"sha256:"
_N_DIGITS = 64
# With a fixed date, equal parts make equal files. A zip can store no earlier date.
_DATE = (1980, 1, 1, 0, 0, 0)


class Refused(ValueError):
    """A file is refused. The message continues a sentence about the file."""


def pack(parts: dict[str, bytes], comment: bytes = b"") -> bytes:
    """Return a zip of the parts, without compression."""
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        for name, part in parts.items():
            info = zipfile.ZipInfo(name, _DATE)
            info.create_system = 3  # by default it depends on the machine
            archive.writestr(info, part)
        archive.comment = comment
    return stream.getvalue()


def unpack(data: bytes) -> dict[str, bytes]:
    """Return the parts of a zip that `pack` made, as a dict of names to bytes.

    Raises
    ------
    Refused
        If the zip is broken, if a part is compressed, if two parts have the same name,
        or if the parts together are larger than the zip.
    """
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            infos = archive.infolist()
            for info in infos:
                if info.compress_type != zipfile.ZIP_STORED:
                    raise Refused(
                        f"holds {info.filename!r} compressed, which sklstm.save never "
                        "does and which may unpack to any size."
                    )
            if len({info.filename for info in infos}) < len(infos):
                raise Refused("holds two parts of one name.")
            if sum(info.file_size for info in infos) > len(data):
                raise Refused("claims to hold more bytes than it has.")
            return {info.filename: archive.read(info) for info in infos}
    except (zipfile.BadZipFile, EOFError, NotImplementedError, RuntimeError) as error:
        raise Refused(f"is a broken zip: {error}.") from error


def seal(parts: dict[str, bytes]) -> bytes:
    """Return a zip of the parts that ends in the checksum of everything before it."""
    data = pack(parts, comment=_LABEL + b"0" * _N_DIGITS)[:-_N_DIGITS]
    return data + _checksum(data)


def unseal(data: bytes) -> dict[str, bytes]:
    """Return the parts of a zip that `seal` made.

    Raises
    ------
    Refused
        If the checksum is wrong, or as in `unpack`.
    """
    if not data.startswith(b"PK"):
        raise Refused(
            "is no file of sklstm.save. (sklstm.load_exported reads those of "
            "sklstm.export.)"
        )
    body, checksum = data[:-_N_DIGITS], data[-_N_DIGITS:]
    if not body.endswith(_LABEL) or checksum != _checksum(body):
        raise Refused(
            "is damaged, cut short or no file of sklstm.save: its checksum is wrong."
        )
    return unpack(data)


def _checksum(data: bytes) -> bytes:
    return hashlib.sha256(data).hexdigest().encode()


def pack_arrays(arrays: list[np.ndarray]) -> bytes:
    """Return an npz of plain arrays, which are named "0", "1" and so on."""
    parts = {}
    for place, array in enumerate(arrays):
        stream = io.BytesIO()
        if not array.flags.forc:
            # The copy keeps the order of the axes in memory, because matrix products of
            # another order differ in their last bits.
            array = array.copy(order="K")
        npy.write_array(stream, array, allow_pickle=False)
        parts[f"{place}.npy"] = stream.getvalue()
    return pack(parts)


def unpack_arrays(data: bytes) -> list[np.ndarray]:
    """Return the arrays of an npz that `pack_arrays` made."""
    parts = unpack(data)
    return [_read_array(parts[f"{place}.npy"]) for place in range(len(parts))]


def _read_array(data: bytes) -> np.ndarray:
    # np.load would allocate an array of any shape that a forged header claims.
    stream = io.BytesIO(data)
    version = npy.read_magic(stream)
    read_header: Any = (
        npy.read_array_header_1_0 if version == (1, 0) else npy.read_array_header_2_0
    )
    shape, in_columns, dtype = read_header(stream)
    if dtype.hasobject:
        raise Refused("holds an array of Python objects, which only a pickle can be.")
    if dtype.kind not in PLAIN_KINDS or not dtype.itemsize:
        raise Refused(f"holds an array of dtype {dtype}, which is not plain.")
    if math.prod(shape) * dtype.itemsize != len(data) - stream.tell():
        raise Refused(f"holds an array of another size than its shape, {shape}.")
    order: Any = "F" if in_columns else "C"
    array: np.ndarray = np.ndarray(shape, dtype, data, stream.tell(), order=order)
    return array.copy(order="K")  # the array in `data` is read-only


def check_target(target: Any) -> None:
    """Raise if a target cannot be written, before any work is done."""
    _check_file(target, "write", "writable", "wb")
    if hasattr(target, "write"):
        return
    path = os.fspath(target)
    if not path or os.path.isdir(path):
        what = "is a folder" if path else "is empty"
        raise IsADirectoryError(f"path={path!r} {what}: name the file to write.")
    folder = os.path.dirname(path)
    if folder and not os.path.isdir(folder):
        raise FileNotFoundError(
            f"path={path!r} cannot be written: there is no folder {folder!r}."
        )


def _check_file(file: Any, method: str, allows: str, mode: str) -> None:
    """Raise unless a file is a path, or open in binary mode for the method."""
    if isinstance(file, str | os.PathLike):
        return
    if isinstance(file, bytes):
        raise TypeError(
            "path is bytes: give the name of a file as str, or the content of one as "
            "io.BytesIO(content)."
        )
    if not hasattr(file, method):
        raise TypeError(
            f"path={file!r} must be the name of a file, str or path-like, or a file "
            f"open in binary mode, {mode!r}."
        )
    if isinstance(file, io.TextIOBase) or not getattr(file, allows, lambda: True)():
        raise ValueError(f"path={file!r} must be open in binary mode, {mode!r}.")


def write_file(data: bytes, target: Any) -> None:
    """Write to a binary file, or to a path, where a failure leaves no file."""
    check_target(target)
    if hasattr(target, "write"):
        target.write(data)
        return
    path = os.fspath(target)
    unfinished = f"{path}.{uuid.uuid4().hex}"
    try:
        with open(unfinished, "xb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(unfinished, path)
    finally:
        with suppress(FileNotFoundError):
            os.remove(unfinished)


def read_file(source: Any) -> tuple[bytes, str]:
    """Return the content of a path or binary file, and its name in messages."""
    _check_file(source, "read", "readable", "rb")
    if hasattr(source, "read"):
        return source.read(), "The file"
    path = os.fspath(source)
    if os.path.isdir(path):
        raise IsADirectoryError(f"path={path!r} is a folder and no file.")
    if not os.path.exists(path):
        raise FileNotFoundError(f"path={path!r} does not exist: there is no such file.")
    with open(path, "rb") as file:
        return file.read(), f"path={path!r}"
