"""`save` and `load`: an estimator or Pipeline in one file, without pickle."""

from __future__ import annotations

import json
import os
import re
import warnings
from collections.abc import Mapping
from importlib.metadata import version
from typing import Any, BinaryIO

from sklearn.base import BaseEstimator

from sklstm._version import __version__
from sklstm.persistence._archive import (
    Refused,
    check_target,
    pack_arrays,
    read_file,
    seal,
    unpack_arrays,
    unseal,
    write_file,
)
from sklstm.persistence._lazy_keras import keras_objects
from sklstm.persistence._reader import Reader
from sklstm.persistence._writer import Writer

# This number grows when earlier versions cannot read a new file. `load` reads all files
# with this number or a smaller one.
_FORMAT = 1
_VERSION = re.compile(r"[\w.+-]{1,40}")
_NETWORK = re.compile(r"networks/\d+\.keras")


def save(estimator: BaseEstimator, path: str | os.PathLike[str] | BinaryIO) -> None:
    """Save an estimator or a Pipeline to one file.

    The file is a zip of JSON, NumPy arrays and Keras networks, without pickle. It
    contains everything that prediction and further training need. The file is written
    either whole or not at all, and it replaces an older one.

    Parameters
    ----------
    estimator : estimator
        The estimator, fitted or not: an estimator of this package, a Pipeline, or a
        scikit-learn estimator that consists of plain values and arrays.
    path : str, path-like or binary file
        Path of the file, or a file that is open for writing in binary mode.

    Raises
    ------
    TypeError
        If a file cannot hold a parameter or an attribute, or if `path` is neither a
        path nor a file.
    ValueError
        If `path` is a file that is not open for writing in binary mode.
    FileNotFoundError
        If the folder of `path` does not exist.
    IsADirectoryError
        If `path` is a folder.

    See Also
    --------
    load : Load the estimator again.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> import sklstm
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = Path(folder) / "rows.sklstm"
    ...     sklstm.save(sklstm.RowSequencer(sequence_length=4), path)
    ...     sklstm.load(path)
    RowSequencer(sequence_length=4)
    """
    if not isinstance(estimator, BaseEstimator):
        raise TypeError(
            f"estimator is a {type(estimator).__name__}: give an estimator or a "
            "Pipeline."
        )
    check_target(path)
    writer = Writer()
    structure = writer.write(estimator)
    with_network = bool(writer.networks) or writer.holds_models
    meta = {"format": _FORMAT, "versions": _versions(with_network)}
    parts = {
        "meta.json": _to_json(meta),
        "structure.json": _to_json(structure),
        "arrays.npz": pack_arrays(writer.arrays),
        **writer.networks,
    }
    write_file(seal(parts), path)


def load(
    path: str | os.PathLike[str] | BinaryIO,
    trusted: Mapping[str, Any] | None = None,
) -> Any:
    """Load an estimator that `save` has saved.

    This function runs no code from the file, whoever made it. It looks up estimators,
    layers and other objects by name in lists of harmless ones. Everything else in the
    file is plain data.

    Parameters
    ----------
    path : str, path-like or binary file
        Path of the file, or a file that is open for reading in binary mode.
    trusted : mapping of str to object, default=None
        Your own functions and classes that the estimator uses, by their names in the
        file: ``{"module.name": object}``. The error message for a missing object
        contains its name. Without the function that was passed as ``network=``, the
        estimator predicts, but it cannot be trained further.

    Returns
    -------
    estimator
        The loaded estimator. With the same versions on the same kind of machine, its
        predictions equal those of the saved estimator exactly.

    Raises
    ------
    ValueError
        If the file is damaged, was not written by `save`, has a newer format, or names
        an object that is neither harmless nor in `trusted`. If `path` is a file that is
        not open for reading in binary mode.
    TypeError
        If `path` is neither a path nor a file, or if `trusted` is not a mapping.
    FileNotFoundError
        If the file does not exist.
    IsADirectoryError
        If `path` is a folder.

    Warns
    -----
    UserWarning
        If the file was written with another version of this package, of scikit-learn
        or of Keras.

    See Also
    --------
    save : Save an estimator.

    Examples
    --------
    >>> import io
    >>> import sklstm
    >>> from sklearn.pipeline import make_pipeline
    >>> from sklearn.preprocessing import StandardScaler
    >>> scaler = StandardScaler().fit([[1.0, 2.0], [3.0, 6.0]])
    >>> file = io.BytesIO()
    >>> sklstm.save(make_pipeline(scaler), file)
    >>> sklstm.load(io.BytesIO(file.getvalue())).transform([[2.0, 2.0]])
    array([[ 0., -1.]])
    """
    if not isinstance(trusted, Mapping | None):
        raise TypeError(
            f"trusted={trusted!r} must be a dict of names to your own functions and "
            "classes."
        )
    data, name = read_file(path)
    written: dict[str, str] = {}
    try:
        parts = unseal(data)
        meta = json.loads(parts.pop("meta.json"))
        found, versions = meta["format"], meta["versions"]
        if not all(_VERSION.fullmatch(one) for one in [*versions, *versions.values()]):
            raise Refused("holds versions that are none.")
        if found > _FORMAT:
            raise Refused(
                f"has format {found}, of sklstm {versions['sklstm']}, and this sklstm "
                f"{__version__} reads formats up to {_FORMAT}: update sklstm."
            )
        written = versions
        structure = json.loads(parts.pop("structure.json"))
        arrays = unpack_arrays(parts.pop("arrays.npz"))
        for part in parts:
            if not _NETWORK.fullmatch(part):
                raise Refused(f"holds {part!r}, which is no part of such a file.")
        estimator = Reader(arrays, parts, dict(trusted or {})).read(structure)
        if not isinstance(estimator, BaseEstimator):
            raise Refused("holds no estimator.")
    except Refused as error:
        by = _other_version(written)
        raise ValueError(f"{name} is not loaded: it {error}{by}") from None
    except Exception as error:
        # A forged file may cause any error.
        raise ValueError(
            f"{name} is not loaded: its content is not what sklstm.save writes "
            f"({type(error).__name__}: {error}).{_other_version(written)}"
        ) from error
    _warn_of_versions(written, name)
    return estimator


def _to_json(value: Any) -> bytes:
    return json.dumps(value, allow_nan=False).encode()


def _versions(with_network: bool) -> dict[str, str]:
    """Return the versions of the packages that affect predictions."""
    versions = {"sklstm": __version__}
    for package in ("scikit-learn", "numpy", "keras"):
        if package != "keras" or with_network:
            versions[package] = version(package)
    if with_network:
        versions["backend"] = keras_objects().keras.backend.backend()
    return versions


def _other_version(written: dict[str, str]) -> str:
    """Return a sentence about the version that wrote the file, if it is another."""
    found = written.get("sklstm", __version__)
    if found == __version__:
        return ""
    return f" It was written by sklstm {found} and is read by {__version__}."


def _warn_of_versions(written: dict[str, str], name: str) -> None:
    changed = []
    for package in ("sklstm", "scikit-learn", "keras"):
        if package in written:
            here = __version__ if package == "sklstm" else version(package)
            if here != written[package]:
                changed.append(f"{package} {written[package]} and is read by {here}")
    if changed:
        warnings.warn(
            f"{name} was written by {', '.join(changed)}: see that it predicts what it "
            "did.",
            stacklevel=3,
        )
