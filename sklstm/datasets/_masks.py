"""Sets of images with masks of their defects, in folders."""

from __future__ import annotations

import os
import re
import warnings
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from hashlib import sha256
from numbers import Real
from typing import Any

import joblib
import numpy as np
from scipy.ndimage import label
from sklearn.utils import Bunch

from sklstm.datasets._folders import (
    _IMAGES,
    _MASK_FILE,
    _SURE_MASKS,
    _folders,
    _is_hidden,
    _is_image,
    _kind_of_split,
    _masks,
    _splits,
    is_strange,
)
from sklstm.datasets._load import _check_folder, _find_groups
from sklstm.preprocessing._checks import check_choice, listed
from sklstm.preprocessing._image_reader import quiet_opencv

_GOOD = ("good", "free", "ok", "normal", "defect_free", "no_defect")
# What names add to the part that an image and its mask share: "21_training" and
# "21_manual1" in DRIVE, "000" and "000_mask" in MVTec AD.
_END = re.compile(
    r"(.+?)[ _.-](?:masks?|gt|ground[ _-]?truth|manual\d*|labels?|segmentation|"
    r"training|train|test|images?|img)(?:[ _-]?\d+)?",
    re.IGNORECASE,
)
_LOSSY = (".jpg", ".jpeg", ".jpe", ".jfif", ".jif")
# The faintest trace of a defect, as a part of white. What a lossy format or resampling
# leaves on black is fainter.
_FAINT = 0.1
# Regions of at most so many pixels are specks that a brush or resampling leaves.
_SPECK = 8


@dataclass
class _File:
    path: str
    split: str | None
    kind: str
    stem: str
    source: str | None  # folder of masks, None for an image or a mask beside it

    @property
    def short(self) -> str:
        match = _END.fullmatch(self.stem)
        return match[1] if match else self.stem


@dataclass
class _Found:
    images: list[_File] = field(default_factory=list)
    masks: list[_File] = field(default_factory=list)
    not_read: list[str] = field(default_factory=list)


def load_mask_folder(
    path: str | os.PathLike[str],
    *,
    split: str | None = None,
    good: Iterable[str] = _GOOD,
    mask_folder: str | None = None,
    threshold: float = 0.5,
    invert: bool = False,
    group_pattern: str | None = None,
    on_problem: str = "warn",
) -> Bunch:
    r"""Find the images of a folder and the masks of their defects, by name.

    The result has paths of images, and masks for `LSTMDefectDetector`. An image and its
    mask are of one kind of defect and have one name. The mask may add an ending such as
    "_mask", and it is

    - in a folder of masks: ``ground_truth/crack/0_mask.png`` for ``test/crack/0.png``,
      as in MVTec AD [1]_, or ``manual1/1.tif`` for ``images/1.jpg``, as in HRF and
      DRIVE;
    - next to the image: ``crack/1_mask.png`` or, in a format without losses,
      ``crack/1.png``, for ``crack/1.jpg``.

    Parameters
    ----------
    path : str or path
        The folder. Folders in it are splits, such as "train" and "test", folders of
        images or masks, such as "images" and "ground_truth", and kinds of defects.
    split : str, default=None
        The split to return. "train" also finds "Training", and "val" also finds
        "validation". If None, return all.
    good : iterable of str, default=("good", "free", "ok", "normal", ...)
        Names of the kinds without defects, in lower case. Their images need no mask.
        The default also has "defect_free" and "no_defect".
    mask_folder : str, default=None
        Name of the folder of masks to use, if there are several, such as "1st_manual"
        next to "2nd_manual". If None, use all. A folder "mask" next to one such as
        "manual1" has fields of view and is not used.
    threshold : float, default=0.5
        A pixel is defective if its value is above this part of white, in [0, 1). White
        is the largest value of the file, 255 for 8 bits. If no mask has a value above
        1, white is 1.
    invert : bool, default=False
        If True, defects are black in the masks.
    group_pattern : str, default=None
        Regular expression that finds the group, for example the workpiece, in the name
        of an image, as in `load_image_folder`. If None, there are no groups.
    on_problem : {"warn", "raise"}, default="warn"
        Treatment of files that cannot be used. "warn" leaves them out with one warning,
        and "raise" raises an error.

    Returns
    -------
    Bunch
        With these attributes:

        paths : ndarray of str objects, shape (n,)
            Sorted paths of the images that can be used.
        masks : list of ndarray of bool, shape (height, width)
            Mask of each image, True for defective pixels. It has no True if there is no
            mask file.
        mask_paths : ndarray of str or None objects, shape (n,)
            Path of each mask, or None.
        kinds : ndarray of int, shape (n,)
            Kind of each image. 0 is good, and k is ``kind_names[k]``. If there are no
            folders of kinds, 1 is an image with a defect.
        kind_names : list of str
            Names of the kinds. The first is "good", whatever its folders are called.
        groups : ndarray of int or str, shape (n,), or None
            Group of each image.
        split : ndarray of str objects, shape (n,), or None
            "train", "val" or "test" for each image, and None for one in no split. None
            if there are no splits.
        without_mask : list of str
            Images that are not good and have no mask.
        without_image : list of str
            Masks without an image.
        ambiguous : list of tuple
            Pairs (paths of images, paths of masks) of files whose names belong
            together, where one mask and one image should be.
        unreadable : list of str
            Images and masks that cannot be decoded.
        sizes : list of tuple
            Pairs (path of the image, path of the mask) that differ in size.
        unclear : list of tuple
            Pairs (path of the image, path of the mask) with a region that is not black
            and has no pixel above `threshold`. Regions of up to 8 pixels do not count
            next to a defect.
        contradicted : list of tuple
            Pairs (path of the image, path of the mask) of good images whose mask has a
            defect.
        duplicates : list of tuple
            Pairs (path left out, path kept) of images with the same contents, kind,
            mask, split and group.
        conflicts : list of list of str
            Lists of images with the same contents that differ in one of these. None of
            them stays.
        empty : list of str
            Images that are kept although their kind is not good and their mask is
            empty.
        not_used : list of str
            Images in folders of masks that are not used.
        not_read : list of str
            Files whose suffix is not that of a readable image.

    Raises
    ------
    FileNotFoundError
        If the folder does not exist.
    NotADirectoryError
        If `path` is a file.
    ValueError
        If a parameter cannot be used, if `split` or `mask_folder` is not there, or if
        no image can be used. With ``on_problem="raise"``, also if one file cannot be
        used.

    Warns
    -----
    UserWarning
        If files are left out, if a mask of a defect is empty, or if more than half of
        the masks with a defect are mostly defective, because inverted masks look like
        this.

    See Also
    --------
    load_image_folder : Find images with a label each.
    LSTMDefectDetector : Learn from the masks.

    References
    ----------
    .. [1] P. Bergmann, K. Batzner, M. Fauser, D. Sattlegger and C. Steger, "The MVTec
       anomaly detection dataset: a comprehensive real-world dataset for unsupervised
       anomaly detection", International Journal of Computer Vision 129, 2021.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> import cv2
    >>> import numpy as np
    >>> from sklstm import load_mask_folder
    >>> rng = np.random.default_rng(0)
    >>> mask = np.zeros((8, 8), np.uint8)
    >>> mask[2:4, 2:4] = 255
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     for name in ("train/good/0", "test/crack/0", "ground_truth/crack/0_mask"):
    ...         file = Path(folder, name + ".png")
    ...         file.parent.mkdir(parents=True)
    ...         image = rng.integers(0, 256, (8, 8), dtype=np.uint8)
    ...         _ = cv2.imwrite(str(file), mask if "mask" in name else image)
    ...     found = load_mask_folder(folder)
    >>> [int(mask.sum()) for mask in found.masks]
    [4, 0]
    >>> found.kinds, found.kind_names, found.split.tolist()
    (array([1, 0]), ['good', 'crack'], ['test', 'train'])
    """
    check_choice("on_problem", on_problem, ["warn", "raise"])
    if not isinstance(threshold, Real) or not 0 <= threshold < 1:
        raise ValueError(f"threshold={threshold!r} must be at least 0 and below 1.")
    if isinstance(good, str):
        raise ValueError(f"good={good!r} must be a list of names, such as [{good!r}].")
    good = {name.lower() for name in good}
    path = os.fspath(path)
    _check_folder("path", path)
    found = _Found()
    _collect(path, found, None, [], None)
    masks, not_used = _choose_masks(path, found.masks, mask_folder)
    wanted = _check_split(path, found.images, split)
    pairs, problems = _pair(found.images, masks, good, wanted)
    if not pairs:
        _refuse(path, problems, found.not_read)
    groups = None
    if group_pattern is not None:
        groups = _find_groups([image.path for image, _ in pairs], group_pattern)
    read = _read_pairs(pairs, threshold, invert)
    kept = _check_pairs(pairs, read, groups, good, problems)
    problems["not_used"] = not_used
    problems["not_read"] = sorted(found.not_read)
    # Without folders of kinds, the mask says whether an image is good.
    is_flat = all(not image.kind for image, _ in pairs)
    names = sorted({image.kind for image, _ in pairs if not _is_good(image.kind, good)})
    names = ["good", *(["defect"] if is_flat else names)]
    kinds = []
    empty = []
    for i in kept:
        image = pairs[i][0]
        has_defect = bool(read[i].mask.any())
        if is_flat:
            kinds.append(int(has_defect))
            continue
        is_good = _is_good(image.kind, good)
        kinds.append(0 if is_good else names.index(image.kind))
        if not is_good and not has_defect:
            empty.append(image.path)
    problems["empty"] = empty
    _say(problems, len(kept), on_problem)
    _warn_if_inverted([read[i].mask for i in kept], invert)
    splits = [pairs[i][0].split for i in kept]
    return Bunch(
        paths=_objects([pairs[i][0].path for i in kept]),
        masks=[read[i].mask for i in kept],
        mask_paths=_objects(
            [mask and mask.path for mask in (pairs[i][1] for i in kept)]
        ),
        kinds=np.array(kinds),
        kind_names=names,
        groups=None if groups is None else np.array(groups)[kept],
        split=_objects(splits) if any(splits) else None,
        **problems,
    )


def _objects(values: list[Any]) -> np.ndarray:
    return np.array(values, dtype=object)


def _is_good(kind: str, good: set[str]) -> bool:
    return any(part.lower() in good for part in kind.split("/"))


# --- files --------------------------------------------------------------------------


def _collect(
    folder: str, found: _Found, split: str | None, kind: list[str], source: str | None
) -> None:
    """Add the files below a folder, which belongs to a split, a kind and masks."""
    inner = _folders(folder)
    of_masks = _masks(inner) if source is None else []
    others = [name for name in inner if name not in of_masks]
    splits = _splits(
        [name for name in others if not _IMAGES.fullmatch(name)]
        if split is None
        else []
    )
    # Where the masks of one person are, a folder "mask" has fields of view.
    sure = [name for name in of_masks if _SURE_MASKS.fullmatch(name)]
    for name in inner:
        where = os.path.join(folder, name)
        if name in of_masks:
            is_view = bool(sure) and name not in sure
            _collect(where, found, split, kind, f"{name}/" if is_view else name)
        elif name in splits:
            _collect(where, found, _kind_of_split(name), kind, source)
        elif _IMAGES.fullmatch(name):
            _collect(where, found, split, kind, source)
        else:
            _collect(where, found, split, [*kind, name], source)
    names = [name for name in sorted(os.listdir(folder)) if not _is_hidden(name)]
    names = [name for name in names if not os.path.isdir(os.path.join(folder, name))]
    images = [name for name in names if _is_image(name)]
    found.not_read += [
        os.path.join(folder, name) for name in names if not _is_image(name)
    ]
    beside = set() if source is not None else _masks_beside(images)
    for name in images:
        stem = os.path.splitext(name)[0]
        file = _File(os.path.join(folder, name), split, "/".join(kind), stem, source)
        is_mask = source is not None or name in beside
        (found.masks if is_mask else found.images).append(file)


def _masks_beside(names: list[str]) -> set[str]:
    """Return the names of the masks among the files of a folder of images."""
    stems: dict[str, list[str]] = {}
    for name in names:
        stems.setdefault(os.path.splitext(name)[0], []).append(name)
    masks = set()
    for stem, same in stems.items():
        match = _MASK_FILE.fullmatch(stem)
        if match and match[1] in stems:
            masks.update(same)
            continue
        lossy = [name for name in same if name.lower().endswith(_LOSSY)]
        if lossy:
            masks.update(name for name in same if name not in lossy)
    return masks


def _choose_masks(
    path: str, masks: list[_File], mask_folder: str | None
) -> tuple[list[_File], list[str]]:
    sources = sorted({mask.source.rstrip("/") for mask in masks if mask.source})
    if mask_folder is None:
        used = [m for m in masks if m.source is None or not m.source.endswith("/")]
    elif mask_folder in sources:
        used = [m for m in masks if m.source and m.source.rstrip("/") == mask_folder]
    else:
        raise ValueError(
            f"mask_folder must name a folder of masks in {path}, which holds "
            f"{listed(sources) or 'none'}; got {mask_folder!r}."
        )
    chosen = {mask.path for mask in used}
    return used, [mask.path for mask in masks if mask.path not in chosen]


def _check_split(path: str, images: list[_File], split: str | None) -> str | None:
    if split is None:
        return None
    if not isinstance(split, str):
        raise ValueError(f"split must be None or the name of a split; got {split!r}.")
    there = sorted({image.split for image in images if image.split})
    wanted = _kind_of_split(split)
    if wanted not in there:
        raise ValueError(
            f"split must name a split in {path}, which holds {listed(there) or 'none'};"
            f" got {split!r}."
        )
    return wanted


# --- pairs --------------------------------------------------------------------------


def _pair(
    images: list[_File], masks: list[_File], good: set[str], split: str | None
) -> tuple[list[tuple[_File, _File | None]], dict[str, list]]:
    """Return pairs of images and masks, or None for a mask, and what is left out."""
    owners: dict[int, list[_File]] = {}  # masks of each image, by its position
    of_mask: list[list[int]] = []
    exact: dict[tuple[str, str], list[int]] = {}
    short: dict[tuple[str, str], list[int]] = {}
    for i, image in enumerate(images):
        exact.setdefault((image.kind, image.stem), []).append(i)
        short.setdefault((image.kind, image.short), []).append(i)
    without_image = []
    for mask in masks:
        folder = None if mask.source else os.path.dirname(mask.path)
        places: list[int] = []
        for names, stem in (
            (exact, mask.stem),
            (exact, mask.short),
            (short, mask.short),
        ):
            places = [
                i
                for i in names.get((mask.kind, stem), [])
                if mask.split in (None, images[i].split)
                and folder in (None, os.path.dirname(images[i].path))
            ]
            if places:
                break
        of_mask.append(places)
        if not places and (split is None or mask.split in (None, split)):
            without_image.append(mask.path)
        for i in places:
            owners.setdefault(i, []).append(mask)
    unclear: set[int] = set()
    ambiguous = []
    for places in of_mask:
        if len(places) > 1 and not unclear.issuperset(places):
            unclear.update(places)
            theirs = sorted({mask.path for i in places for mask in owners[i]})
            ambiguous.append(([images[i].path for i in places], theirs))
    pairs: list[tuple[_File, _File | None]] = []
    without_mask = []
    for i, image in enumerate(images):
        own = owners.get(i, [])
        if i in unclear or (split is not None and image.split != split):
            continue
        if len(own) > 1:
            ambiguous.append(([image.path], [mask.path for mask in own]))
        elif own:
            pairs.append((image, own[0]))
        elif _is_good(image.kind, good):
            pairs.append((image, None))
        else:
            without_mask.append(image.path)
    if split is not None:
        here = {image.path for image in images if image.split == split}
        ambiguous = [one for one in ambiguous if not here.isdisjoint(one[0])]
    pairs.sort(key=lambda pair: pair[0].path)
    return pairs, {
        "without_mask": without_mask,
        "without_image": without_image,
        "ambiguous": ambiguous,
        "unreadable": [],
        "sizes": [],
        "unclear": [],
        "contradicted": [],
        "duplicates": [],
        "conflicts": [],
    }


@dataclass
class _Read:
    """What was read of an image and its mask."""

    digest: str | None = None  # None if the image cannot be read
    shape: tuple[int, ...] = ()
    values: np.ndarray | None = None
    mask: Any = None
    white: float = 255
    is_lossy: bool = False
    bad: list[str] = field(default_factory=list)


def _read_pairs(
    pairs: list[tuple[_File, _File | None]], threshold: float, invert: bool
) -> list[_Read]:
    n_threads = max(1, min(joblib.cpu_count(), len(pairs)))
    with quiet_opencv, ThreadPoolExecutor(n_threads) as pool:
        read = list(pool.map(_read_pair, pairs))
    values = [one.values for one in read if one.values is not None]
    # A set of masks of 0 and 1 has no other values. A file alone does not tell: black
    # that went through a JPEG may have the value 1.
    is_binary = bool(values) and max(float(v.max(initial=0)) for v in values) <= 1
    for one in read:
        if one.values is None:
            continue
        white = 1.0 if is_binary else one.white
        part = one.values / np.float32(white)
        part = 1 - part if invert else part
        one.mask = part > threshold
        if _loses_region(part, one.mask, threshold, one.is_lossy):
            one.values = None  # marks an unclear mask
    return read


def _loses_region(
    part: np.ndarray, mask: np.ndarray, threshold: float, is_lossy: bool
) -> bool:
    """Return whether a region is not black, but has no pixel above the threshold.

    Specks do not count, unless a file without losses has nothing else.
    """
    gray = part[~mask]
    largest = gray.max(initial=0)
    if not mask.any() and not is_lossy:
        return bool(largest > 0)
    if largest <= _FAINT:
        return False
    regions, n_regions = label((part > _FAINT) | mask, structure=np.ones((3, 3)))
    sizes = np.bincount(regions.ravel(), minlength=n_regions + 1)
    sizes[0] = 0
    sizes[regions[mask]] = 0
    return bool((sizes > _SPECK).any())


def _read_pair(pair: tuple[_File, _File | None]) -> _Read:
    # Importing the loaders does not load OpenCV.
    from sklstm.images.decoding._decode import decode
    from sklstm.images.decoding._picture import UnreadableImageError

    read = _Read()
    for file in pair:
        if file is None:
            read.mask = np.zeros(read.shape, bool)
            continue
        try:
            if not os.path.isfile(file.path):  # Reading a pipe may block.
                raise UnreadableImageError("it is no file")
            with open(file.path, "rb") as opened:
                data = opened.read()
            picture = decode(data, "gray")
        except (OSError, UnreadableImageError):
            read.bad.append(file.path)
            continue
        if file is pair[0]:
            read.digest = sha256(data).hexdigest()
            read.shape = picture.values.shape
            continue
        read.values = picture.values
        read.is_lossy = data.startswith(b"\xff\xd8")
        if picture.values.dtype == bool or picture.values.dtype.kind == "f":
            read.white = 1
        else:
            read.white = picture.largest or np.iinfo(picture.values.dtype).max
    return read


def _check_pairs(
    pairs: list[tuple[_File, _File | None]],
    read: list[_Read],
    groups: list[Any] | None,
    good: set[str],
    problems: dict[str, list],
) -> list[int]:
    """Return the positions of the pairs to keep, and add the others to problems."""
    same_contents: dict[str, list[int]] = {}
    for i, ((image, mask), one) in enumerate(zip(pairs, read, strict=True)):
        if one.bad:
            problems["unreadable"] += one.bad
            continue
        if mask is not None:
            both = (image.path, mask.path)
            if one.mask.shape != one.shape:
                problems["sizes"].append(both)
                continue
            if one.values is None:
                problems["unclear"].append(both)
                continue
            if _is_good(image.kind, good) and one.mask.any():
                problems["contradicted"].append(both)
                continue
            one.values = None
        same_contents.setdefault(str(one.digest), []).append(i)
    kept = []
    for same in same_contents.values():
        first, *others = same
        if others:
            states = {
                (
                    pairs[i][0].kind,
                    pairs[i][0].split,
                    None if groups is None else groups[i],
                    read[i].mask.tobytes(),
                )
                for i in same
            }
            if len(states) > 1:
                # It is unknown which is right, so keep none.
                problems["conflicts"].append([pairs[i][0].path for i in same])
                continue
            problems["duplicates"] += [
                (pairs[i][0].path, pairs[first][0].path) for i in others
            ]
        kept.append(first)
    return sorted(kept)


# --- messages -----------------------------------------------------------------------

_WORDS = {
    "without_mask": "images without a mask",
    "without_image": "masks without an image",
    "ambiguous": "names with several masks or images",
    "unreadable": "unreadable",
    "sizes": "pairs whose image and mask differ in size",
    "unclear": "masks with a region below the threshold",
    "contradicted": "good images whose mask has a defect",
    "duplicates": "duplicates",
    "conflicts": "images that are equal but differ in mask, kind, split or group",
}


def _describe(problems: dict[str, list]) -> tuple[str, list[str]]:
    said = []
    reasons = [name for name in _WORDS if problems[name]]
    for reason in reasons:
        entries = problems[reason]
        first = entries[0]
        if reason == "ambiguous":
            first = f"{listed(first[0])} with {listed(first[1])}"
        elif not isinstance(first, str):
            first = " and ".join(first[:2])
        said.append(f"{len(entries)} {_WORDS[reason]} (first {first})")
    strange = [file for file in problems["not_read"] if is_strange(file)]
    if strange:
        said.append(f"{len(strange)} of a kind that is not read (first {strange[0]})")
        reasons.append("not_read")
    text = ", ".join(said)
    if problems["ambiguous"]:
        text += "; mask_folder chooses between folders of masks"
    if problems["without_mask"]:
        text += "; good names the folders of images that need no mask"
    if problems["unclear"]:
        text += "; threshold=0 takes every value above black as a defect"
    return text, reasons


def _say(problems: dict[str, list], n_kept: int, on_problem: str) -> None:
    text, reasons = _describe(problems)
    if text:
        message = f"Files must be left out: {text}"
        if not n_kept:
            raise ValueError(f"{message}; no image is left.")
        if on_problem == "raise":
            raise ValueError(f"{message}; on_problem='warn' leaves them out.")
        warnings.warn(
            f"{message}; what is returned lists all of them: {', '.join(reasons)}.",
            UserWarning,
            stacklevel=3,  # the line that calls the loader
        )
    empty = problems["empty"]
    if empty:
        warnings.warn(
            f"{len(empty)} images are in folders of defects, but their masks are empty "
            f"(first {empty[0]}): they are kept as images without a defect, and the "
            "list empty has all of them.",
            UserWarning,
            stacklevel=3,
        )


def _refuse(path: str, problems: dict[str, list], not_read: list[str]) -> None:
    text, _ = _describe({**problems, "not_read": not_read})
    if text:
        raise ValueError(f"Files must be left out: {text}; no image is left.")
    raise ValueError(f"path must hold images and their masks; {path} holds no image.")


def _warn_if_inverted(masks: list[np.ndarray], invert: bool) -> None:
    shares = [float(mask.mean()) for mask in masks]
    shares = [share for share in shares if share]
    most = sum(share > 0.5 for share in shares)
    if most > len(shares) / 2:
        warnings.warn(
            f"{most} of the {len(shares)} masks with a defect call most of their pixels"
            f" defective: if defects are {'white' if invert else 'black'} in the files,"
            f" set invert={not invert}; if most of each image really is defective, "
            "ignore this warning.",
            UserWarning,
            stacklevel=3,
        )
