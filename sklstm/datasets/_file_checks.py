"""Checks for image files that are missing, unreadable or duplicates."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from hashlib import sha256
from typing import Any

import joblib
import numpy as np

from sklstm.images.decoding._picture import UnreadableImageError
from sklstm.images.decoding._whole import is_whole
from sklstm.preprocessing._image_reader import quiet_opencv

_MISSING, _UNREADABLE = "missing", "unreadable"


def check_files(
    paths: list[str], labels: list[Any], groups: list[Any]
) -> tuple[list[int], dict[str, list]]:
    """Return the positions of the files to keep, and the other files by problem."""
    same_contents: dict[str, list[int]] = {}
    # Hashing and decoding release Python's lock, so threads run in parallel.
    n_threads = max(1, min(joblib.cpu_count(), len(paths)))
    with quiet_opencv, ThreadPoolExecutor(n_threads) as pool:
        for i, contents in enumerate(pool.map(_contents, paths)):
            same_contents.setdefault(contents, []).append(i)
    problems: dict[str, list] = {
        "missing": [paths[i] for i in same_contents.pop(_MISSING, [])],
        "unreadable": [paths[i] for i in same_contents.pop(_UNREADABLE, [])],
        "duplicates": [],
        "conflicts": [],
    }
    kept = []
    for same in same_contents.values():
        if len({(labels[i], groups[i]) for i in same}) > 1:
            # It is unknown which label and group are right, so keep none.
            problems["conflicts"].append(
                [(paths[i], labels[i], groups[i]) for i in same]
            )
            continue
        first, *others = same
        kept.append(first)
        problems["duplicates"] += [(paths[i], paths[first]) for i in others]
    return kept, problems


def describe_problems(problems: dict[str, list]) -> str:
    """Return a text with the number of files and the first file of each problem."""
    said = []
    for reason, files in problems.items():
        if not files:
            continue
        n_files, first = len(files), files[0]
        if reason == "duplicates":
            first = "{}, the same as {}".format(*first)
        elif reason == "conflicts":
            n_files = sum(map(len, files))
            one, other = first[0], next(f for f in first if f[1:] != first[0][1:])
            first = f"{_with_label(*one)}, the same as {_with_label(*other)}"
        said.append(f"{n_files} {_WORDS[reason]} (first {first})")
    return ", ".join(said)


_WORDS = {
    "missing": "missing",
    "unreadable": "unreadable",
    "duplicates": "duplicate",
    "conflicts": "equal but of different label or group",
    "outside": "outside the class folders",
    "not_read": "of a kind that is not read",
    "unlabeled": "without a label",
}


def _with_label(path: str, label: Any, group: Any) -> str:
    return f"{path} of label {label}" + ("" if group is None else f" and group {group}")


def _contents(path: str) -> str:
    """Return a hash of the contents of a file, or the name of its problem."""
    if not os.path.exists(path):
        return _MISSING
    if not os.path.isfile(path):  # Reading a pipe or a device may block.
        return _UNREADABLE
    try:
        with open(path, "rb") as file:
            data = file.read()
    except OSError:
        return _UNREADABLE
    return sha256(data).hexdigest() if _is_readable(data) else _UNREADABLE


def _is_readable(data: bytes) -> bool:
    """Return whether data can be decoded. A JPEG is decoded at reduced size."""
    # Here and not above: importing the loaders does not load OpenCV.
    import cv2

    from sklstm.images.decoding._decode import decode

    if data.startswith(b"\xff\xd8"):
        if not is_whole(data):
            return False
        # Decoding at an eighth of the size takes a fraction of the time.
        kind = cv2.IMREAD_REDUCED_GRAYSCALE_8
        with suppress(cv2.error):
            return cv2.imdecode(np.frombuffer(data, np.uint8), kind) is not None
        return False
    try:
        decode(data, "gray")
    except UnreadableImageError:
        return False
    return True
