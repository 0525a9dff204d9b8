"""Recognition of class, split and mask folders in a set of images."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from dataclasses import dataclass, field

from sklstm.preprocessing._checks import listed

# Suffixes of the files that can be read if OpenCV was built with all its codecs.
_SUFFIXES = tuple(
    ".avif .avifs .bmp .btf .dib .exr .gif .hdr .j2c .j2k .jfif .jif .jp2 .jpe .jpeg "
    ".jpf .jpg .mpo .pam .pbm .pfm .pgm .pic .png .pnm .ppm .pxm .ras .sr .tf8 .tif "
    ".tiff .webp".split()
)
# Suffixes of other files that often accompany images.
_SIDE_SUFFIXES = frozenset(
    ".csv .tsv .txt .md .rst .json .jsonl .xml .yaml .yml .toml .ini .cfg .log .html "
    ".htm .pdf .doc .docx .xls .xlsx .ods .py .ipynb .m .sh .bat .lock .sha256 .md5 "
    ".db .pkl .pickle .joblib .names .zip .tar .gz .bz2 .xz .7z .rar .npy .npz .h5 "
    ".hdf5 .parquet .feather .pt .pth .keras .onnx .sklstm .tmp .bak".split()
)
_WITHOUT_MEANING = ("__macosx", "thumbs.db", "desktop.ini", "@eadir")
_KIND_OF_SPLIT = re.compile(
    r"(\w+[ _-])?(train|val|test|dev)(?:ing|id|idation)?"
    r"(?:[ _-]?(?:set|data|images?|imgs?))?",
    re.IGNORECASE,
)
_IMAGES = re.compile(
    r"(?:\w+[ _-])?(?:images?|imgs?|photos?|originals?)", re.IGNORECASE
)
# Folders with these names always hold masks.
_SURE_MASKS = re.compile(
    r"ground[ _-]?truths?|(?:\d(?:st|nd|rd)?[ _-]?)?manual\d?|annotations?",
    re.IGNORECASE,
)
# Folders with these names hold masks only if a folder beside them holds images, because
# "mask" may also be a class.
_MASKS = re.compile(r"(?:\w+[ _-])?(?:masks?|labels?|gt|segmentations?)", re.IGNORECASE)
_MASK_FILE = re.compile(r"(.+)[ _-](?:mask|gt)(?:[ _-]?\d+)?", re.IGNORECASE)


@dataclass
class FoundFiles:
    """The files in a folder that holds one folder for each class."""

    images: list[tuple[str, str]] = field(default_factory=list)  # path, class
    outside: list[str] = field(default_factory=list)
    not_read: list[str] = field(default_factory=list)


def is_strange(path: str) -> bool:
    """Return whether a file of an unknown kind may be an image."""
    suffix = os.path.splitext(path)[1].lower()
    if path.lower().endswith(".nii.gz"):
        return True
    return suffix not in ("", *_SIDE_SUFFIXES)


def find_files(path: str, split: str | None) -> FoundFiles:
    """Return the files in the class folders, or raise ValueError for other layouts."""
    folders = _folders(path)
    if split is not None:
        path = os.path.join(path, _find_split(path, folders, split))
        folders = _folders(path)
    _check_layout(path, folders, may_be_splits=split is None)
    if not folders:
        raise ValueError(f"path must hold a folder for each class; {path} holds none.")
    found = FoundFiles()
    masks = []
    for name in _masks(folders):
        images, of_masks, not_read = _walk(os.path.join(path, name), path)
        # Without an image, the folder counts as an empty class, which is an error.
        if images or of_masks:
            masks.append(name)
            found.outside += images + of_masks
            found.not_read += not_read
    empty = []
    for name in folders:
        if name in masks:
            continue
        images, of_masks, not_read = _walk(os.path.join(path, name), path)
        found.images += [(file, name) for file in images]
        found.outside += of_masks
        found.not_read += not_read
        if not images:
            empty.append(name)
    if empty:
        raise ValueError(_say_empty(path, empty, found.not_read))
    beside = [
        os.path.join(path, name)
        for name in sorted(os.listdir(path))
        if name not in folders and not _is_hidden(name)
    ]
    beside = [file for file in beside if not os.path.isdir(file)]
    found.outside += [file for file in beside if _is_image(file)]
    found.not_read += [file for file in beside if not _is_image(file)]
    found.images.sort()
    return found


def _folders(path: str) -> list[str]:
    return [
        name
        for name in sorted(os.listdir(path))
        if not _is_hidden(name)
        and os.path.isdir(os.path.join(path, name))
        and not _leads_back(os.path.join(path, name), path)
    ]


def _kind_of_split(name: str) -> str | None:
    match = _KIND_OF_SPLIT.fullmatch(name)
    if match is None:
        return None
    return {"dev": "val"}.get(match[2].lower(), match[2].lower())


def _splits(folders: Iterable[str]) -> list[str]:
    """Return the names of the split folders, or none if the folders are classes."""
    matches = {name: _KIND_OF_SPLIT.fullmatch(name) for name in folders}
    splits = [name for name, match in matches.items() if match]
    # A class may be called "train", beside "bus" and "car", or "blood_test".
    several = len({_kind_of_split(name) for name in splits}) > 1
    all_plain = all(match and match[1] is None for match in matches.values())
    # Messages name the first split as an example, which should be for training.
    splits.sort(key=lambda name: _kind_of_split(name) != "train")
    return splits if several or all_plain else []


def _find_split(path: str, folders: list[str], split: str) -> str:
    if split in folders:
        return split
    kind = _kind_of_split(split)
    same = [name for name in folders if kind and _kind_of_split(name) == kind]
    if len(same) == 1:
        return same[0]
    raise ValueError(
        f"split must name a folder in {path}, which holds {listed(folders) or 'none'}; "
        f"got {split!r}."
    )


def _check_layout(path: str, folders: list[str], *, may_be_splits: bool) -> None:
    """Raise ValueError if the folders are splits, or images and masks."""
    splits = _splits(folders) if may_be_splits else []
    if splits:
        raise ValueError(
            f"path must hold a folder for each class, but the folders of {path} are "
            f"the splits {', '.join(splits)}; set split={splits[0]!r} to take the "
            f"classes in one of them."
        )
    masks = _masks(folders)
    if masks and all(name in masks or _IMAGES.fullmatch(name) for name in folders):
        raise ValueError(
            f"path must hold a folder for each class, but {path} holds images and "
            f"masks ({listed(folders)}); name the images and their labels in a table "
            f"for load_image_table."
        )
    if len(folders) == 1 and may_be_splits:
        inner = os.path.join(path, folders[0])
        splits = _splits(_folders(inner))
        if len(splits) > 1:
            raise ValueError(
                f"path must hold a folder for each class, but {path} holds only "
                f"{folders[0]}, whose folders are the splits {', '.join(splits)}; pass "
                f"path={inner!r} and split={splits[0]!r}."
            )


def _masks(folders: list[str]) -> list[str]:
    """Return the names of the folders that hold masks of the images beside them."""
    masks = [name for name in folders if _SURE_MASKS.fullmatch(name)]
    if any(_IMAGES.fullmatch(name) for name in folders):
        masks += [name for name in folders if _MASKS.fullmatch(name)]
    return masks


def _walk(folder: str, root: str) -> tuple[list[str], list[str], list[str]]:
    """Return the images, the masks and the other files below a folder."""

    def fail(error: OSError) -> None:
        raise error

    images: list[str] = []
    masks: list[str] = []
    others: list[str] = []
    # Without onerror, a folder that cannot be opened would count as empty.
    for where, folders, files in os.walk(folder, onerror=fail, followlinks=True):
        inner = [
            name
            for name in folders
            if not _is_hidden(name) and not _leads_back(os.path.join(where, name), root)
        ]
        of_masks = _masks(inner)
        for name in of_masks:
            inside = _walk(os.path.join(where, name), root)
            masks += inside[0] + inside[1]
            others += inside[2]
        folders[:] = [name for name in inner if name not in of_masks]
        seen = [name for name in files if not _is_hidden(name)]
        named = [name for name in seen if _is_image(name)]
        stems = {os.path.splitext(name)[0] for name in named}
        for name in seen:
            file = os.path.join(where, name)
            match = _MASK_FILE.fullmatch(os.path.splitext(name)[0])
            if not _is_image(name):
                others.append(file)
            elif match and match[1] in stems:
                masks.append(file)
            else:
                images.append(file)
    return images, masks, others


def _leads_back(folder: str, root: str) -> bool:
    """Return whether a folder links to one of its parents, within or above `root`."""
    real = os.path.realpath(folder)
    above = os.path.dirname(folder)
    while True:
        if _is_within(os.path.realpath(above), real):
            return True
        if len(above) <= len(root):
            return False
        above = os.path.dirname(above)


def _is_within(path: str, folder: str) -> bool:
    return path == folder or path.startswith(folder.rstrip(os.sep) + os.sep)


def _say_empty(path: str, empty: list[str], not_read: list[str]) -> str:
    message = (
        f"path must hold a folder of images for each class, but {path} has folders "
        f"without an image: {listed(empty)}; move them elsewhere"
    )
    inside = [
        file
        for file in filter(is_strange, not_read)
        if any(_is_within(file, os.path.join(path, name)) for name in empty)
    ]
    if inside:
        message += f", or convert their files, such as {inside[0]}, to PNG or TIFF"
    return f"{message}."


def _is_hidden(name: str) -> bool:
    return name.startswith(".") or name.lower() in _WITHOUT_MEANING


def _is_image(name: str) -> bool:
    return name.lower().endswith(_SUFFIXES)
