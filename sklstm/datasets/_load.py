"""Sets of image files with their labels, classes and groups. No pixel is kept."""

from __future__ import annotations

import os
import re
import warnings
from typing import Any

import numpy as np
from sklearn.utils import Bunch

from sklstm.datasets._file_checks import check_files, describe_problems
from sklstm.datasets._folders import find_files, is_strange
from sklstm.datasets._tables import as_whole_numbers, read_table
from sklstm.preprocessing._checks import check_choice, listed

__all__ = ["load_image_folder", "load_image_table"]


def load_image_folder(
    path: str | os.PathLike[str],
    *,
    split: str | None = None,
    group_pattern: str | None = None,
    on_problem: str = "warn",
) -> Bunch:
    r"""Find the images of a folder that has a folder for each class.

    The result has paths and labels for a Pipeline that starts with `ImageReader` or
    `FundusPreprocessor`. Each file is read once to find files that cannot be used. No
    contents are kept.

    Parameters
    ----------
    path : str or path
        The folder. Each folder in it is a class of the same name and holds the images
        of that class, also in further folders.
    split : str, default=None
        Name of the folder in `path` that holds the folders of the classes, for sets
        with the folders "train", "val" and "test". "train" also finds "Training", and
        "val" also finds "validation". If None, `path` holds the folders of the classes.
        Folders with the names of splits are then an error.
    group_pattern : str, default=None
        Regular expression that finds the group, for example the patient, in the name of
        a file without its folder. The group is the match of the first parentheses, or
        the whole match if there are none. If None, there are no groups.
    on_problem : {"warn", "raise"}, default="warn"
        Treatment of files that cannot be used. "warn" leaves them out with one warning,
        and "raise" raises an error.

    Returns
    -------
    Bunch
        With these attributes:

        paths : ndarray of str objects, shape (n,)
            Sorted paths of the files that can be used.
        labels : ndarray of int or str, shape (n,)
            Class of each file. If the names of all folders are whole numbers without
            leading zeros, labels are int, so that grades have an order.
        classes : ndarray, shape (n_classes,)
            Sorted labels that occur.
        groups : ndarray of int or str, shape (n,), or None
            Group of each file, for example for `GroupKFold`. Whole numbers are int, as
            in `labels`.
        missing : list of str
            Links to files that do not exist.
        unreadable : list of str
            Files that `ImageReader` would refuse, because they are damaged, cut off or
            not images.
        duplicates : list of tuple
            Pairs (path left out, path kept) of files with the same contents, label and
            group. The first file stays.
        conflicts : list of list of tuple
            Lists of (path, label, group) of files with the same contents and different
            labels or groups. None of them stays, because it is unknown which is right.
            The group is None if there are no groups.
        outside : list of str
            Images next to the folders of the classes, which have no label, and masks.
            Masks are images in a folder such as "ground_truth", in "masks" next to
            "images", and "x_mask.png" next to "x.png".
        not_read : list of str
            Files whose suffix is not that of a readable image. The warning mentions
            those that may be images, such as ".dcm" and ".heic", but not text, tables
            and archives.

    Raises
    ------
    FileNotFoundError
        If the folder does not exist.
    NotADirectoryError
        If `path` is a file.
    ValueError
        If there are no classes, if a class has no images, if the folders are splits or
        masks, if `group_pattern` does not match a name, or if no file can be used. With
        ``on_problem="raise"``, also if one file cannot be used.

    See Also
    --------
    load_image_table : Take the labels from a table.
    ImageReader : Read the files.

    Notes
    -----
    The suffix of a file decides whether it is an image, in upper or lower case. Files
    and folders are skipped if their names begin with a dot, or are ``__MACOSX``,
    ``Thumbs.db`` or ``desktop.ini``. Links are followed, except links to a folder that
    contains them. Masks with other names next to the images count as images. Select
    images by ``[p.endswith(".jpg") for p in found.paths]`` then.

    Examples
    --------
    Both eyes of a patient are in the same fold:

    >>> import tempfile
    >>> from pathlib import Path
    >>> import cv2
    >>> import numpy as np
    >>> from sklearn.model_selection import GroupKFold
    >>> from sklstm import load_image_folder
    >>> rng = np.random.default_rng(0)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     for name in ("0/7_left", "0/8_left", "1/7_right", "1/8_right"):
    ...         file = Path(folder, name + ".png")
    ...         file.parent.mkdir(exist_ok=True)
    ...         image = rng.integers(0, 256, (8, 8), dtype=np.uint8)
    ...         _ = cv2.imwrite(str(file), image)
    ...     eyes = load_image_folder(folder, group_pattern=r"(\d+)_")
    >>> [Path(path).name for path in eyes.paths]
    ['7_left.png', '8_left.png', '7_right.png', '8_right.png']
    >>> eyes.labels, eyes.classes, eyes.groups
    (array([0, 0, 1, 1]), array([0, 1]), array([7, 8, 7, 8]))
    >>> splits = GroupKFold(2).split(eyes.paths, eyes.labels, eyes.groups)
    >>> [eyes.groups[test].tolist() for _, test in splits]
    [[8, 8], [7, 7]]
    """
    check_choice("on_problem", on_problem, ["warn", "raise"])
    path = os.fspath(path)
    _check_folder("path", path)
    if split is not None and not isinstance(split, str):
        raise ValueError(f"split must be None or the name of a folder; got {split!r}.")
    found = find_files(path, split)
    paths = [file for file, _ in found.images]
    return _usable(
        paths,
        as_whole_numbers([name for _, name in found.images]),
        None if group_pattern is None else _find_groups(paths, group_pattern),
        on_problem,
        outside=found.outside,
        not_read=found.not_read,
    )


def load_image_table(
    csv: Any,
    path_column: str,
    label_column: str,
    group_column: str | None = None,
    *,
    folder: str | os.PathLike[str] | None = None,
    suffix: str = "",
    group_pattern: str | None = None,
    on_problem: str = "warn",
) -> Bunch:
    r"""Find the images that a table names.

    The result has paths and labels for a Pipeline that starts with `ImageReader` or
    `FundusPreprocessor`. Each file is read once to find files that cannot be used. No
    contents are kept.

    Parameters
    ----------
    csv : str, path or DataFrame
        The table. It is a text file in UTF-8 whose first line names the columns,
        separated by commas, semicolons or tabs, or a table in memory, of pandas or
        another library.
    path_column : str
        Name of the column with the paths of the images.
    label_column : str
        Name of the column with their labels.
    group_column : str, default=None
        Name of the column with their groups, for example the patients.
    folder : str or path, default=None
        Folder of relative paths. If None, it is the folder of the file `csv`, or the
        current folder if the table is in memory.
    suffix : str, default=""
        Suffix to add to each path, for tables that contain "000c1434d8d7" instead of
        "000c1434d8d7.png".
    group_pattern : str, default=None
        Alternative to `group_column`: regular expression that finds the group in the
        name of a file without its folder. The group is the match of the first
        parentheses, or the whole match if there are none.
    on_problem : {"warn", "raise"}, default="warn"
        Treatment of files that cannot be used. "warn" leaves them out with one warning,
        and "raise" raises an error.

    Returns
    -------
    Bunch
        With these attributes:

        paths : ndarray of str objects, shape (n,)
            Paths of the files that can be used, in the order of the table.
        labels : ndarray of int, float or str, shape (n,)
            Label of each file. If all cells of the column are numbers without leading
            zeros, labels are numbers, so that grades have an order. Whole numbers are
            int, also if they are written as "2.0". In a table in memory, numbers stay
            numbers and text stays text.
        classes : ndarray, shape (n_classes,)
            Sorted labels that occur.
        groups : ndarray of int or str, shape (n,), or None
            Group of each file, for example for `GroupKFold`. Whole numbers are int, as
            in `labels`.
        missing : list of str
            Files that do not exist.
        unreadable : list of str
            Files that `ImageReader` would refuse, because they are damaged, cut off or
            not images.
        duplicates : list of tuple
            Pairs (path left out, path kept) of files with the same contents, label and
            group, and of files that are named twice. The first file stays.
        conflicts : list of list of tuple
            Lists of (path, label, group) of files with the same contents and different
            labels or groups. None of them stays, because it is unknown which is right.
            The group is None if there are no groups.
        unlabeled : list of str
            Files whose label is missing. In a CSV file, empty cells are missing, and so
            are the words that pandas treats as missing, such as "nan", "NA", "N/A",
            "null" and "None".

    Raises
    ------
    FileNotFoundError
        If the table or the folder does not exist.
    TypeError
        If `csv` is neither a path nor a table.
    ValueError
        If a column, a path or a group is missing, if the table cannot be read, if
        `group_pattern` does not match a name, or if no file can be used. With
        ``on_problem="raise"``, also if one file cannot be used.

    See Also
    --------
    load_image_folder : Take the labels from the folders.
    ImageReader : Read the files.

    Notes
    -----
    Spaces around a cell are ignored, unless a file has that name. Empty lines are
    skipped. Backslashes between folders count as slashes if no file has that name.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> import cv2
    >>> import numpy as np
    >>> from sklearn.model_selection import GroupKFold
    >>> from sklstm import load_image_table
    >>> rng = np.random.default_rng(0)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     table = Path(folder, "train.csv")
    ...     _ = table.write_text("image,level\n7_left,0\n7_right,2\n8_left,0\n")
    ...     for name in ("7_left", "7_right", "8_left"):
    ...         image = rng.integers(0, 256, (8, 8), dtype=np.uint8)
    ...         _ = cv2.imwrite(str(Path(folder, name + ".png")), image)
    ...     eyes = load_image_table(
    ...         table, "image", "level", suffix=".png", group_pattern=r"(\d+)_"
    ...     )
    >>> [Path(path).name for path in eyes.paths]
    ['7_left.png', '7_right.png', '8_left.png']
    >>> eyes.labels, eyes.classes, eyes.groups
    (array([0, 2, 0]), array([0, 2]), array([7, 7, 8]))
    >>> splits = GroupKFold(2).split(eyes.paths, eyes.labels, eyes.groups)
    >>> [eyes.groups[test].tolist() for _, test in splits]
    [[7, 7], [8]]
    """
    check_choice("on_problem", on_problem, ["warn", "raise"])
    if group_column is not None and group_pattern is not None:
        raise ValueError(
            "group_column and group_pattern both say what the groups are; give one."
        )
    table = read_table(csv, path_column, label_column, group_column)
    if folder is not None:
        _check_folder("folder", folder)
    elif isinstance(csv, str | os.PathLike):
        folder = os.path.dirname(os.fspath(csv))
    paths = [_find_file(folder or "", names, suffix) for names in table.names]
    groups = table.groups
    if group_pattern is not None:
        groups = _find_groups(paths, group_pattern)
    kept = [i for i, label in enumerate(table.labels) if label is not None]
    return _usable(
        [paths[i] for i in kept],
        [table.labels[i] for i in kept],
        None if groups is None else [groups[i] for i in kept],
        on_problem,
        unlabeled=[paths[i] for i, y in enumerate(table.labels) if y is None],
    )


def _usable(
    paths: list[str],
    labels: list[Any],
    groups: list[Any] | None,
    on_problem: str,
    **left_out: list[str],
) -> Bunch:
    """Check the files and return what a loader does; some may be left out already."""
    y = np.array(labels)
    g = None if groups is None else np.array(groups)
    kept, problems = check_files(
        paths, y.tolist(), [None] * len(paths) if g is None else g.tolist()
    )
    problems |= left_out
    classes = np.unique(y[kept])
    spoken_of = dict(problems)
    if "not_read" in left_out:
        spoken_of["not_read"] = [*filter(is_strange, left_out["not_read"])]
    if any(spoken_of.values()):
        n_files = len(paths) + sum(len(spoken_of[reason]) for reason in left_out)
        message = (
            f"{n_files - len(kept)} of {n_files} files must be left out: "
            f"{describe_problems(spoken_of)}{_suffix_hint(problems['missing'])}"
        )
        if not kept:
            raise ValueError(f"{message}; none is left.")
        lost = np.setdiff1d(y, classes).astype(str).tolist()
        if lost:
            message += f"; none is left of class {listed(lost)}"
        if on_problem == "raise":
            raise ValueError(f"{message}; on_problem='warn' leaves them out.")
        lists = ", ".join(reason for reason, files in spoken_of.items() if files)
        warnings.warn(
            f"{message}; what is returned lists all of them: {lists}.",
            UserWarning,
            stacklevel=3,  # the line that calls the loader
        )
    return Bunch(
        paths=np.array(paths, dtype=object)[kept],
        labels=y[kept],
        classes=classes,
        groups=None if g is None else g[kept],
        **problems,
    )


def _find_file(
    folder: str | os.PathLike[str], names: tuple[str, ...], suffix: str
) -> str:
    """Return the path of the first name that is there; of none, the last name's."""
    names = tuple(name + suffix for name in names)
    # What Windows wrote, read elsewhere.
    slashed = names[-1].replace("\\", "/")
    for name in (*names, slashed):
        path = os.path.join(folder, name)
        if os.path.exists(path):
            return path
    return os.path.join(folder, names[-1])


def _suffix_hint(missing: list[str]) -> str:
    """Return a hint if the first missing file exists with another suffix."""
    if not missing:
        return ""
    folder, name = os.path.split(missing[0])
    try:
        beside = sorted(os.listdir(folder or "."))
    except OSError:
        return ""
    for other in beside:
        stem, suffix = os.path.splitext(other)
        if stem == name and suffix:
            return f"; there is {os.path.join(folder, other)}, for suffix={suffix!r}"
    return ""


def _check_folder(name: str, folder: str | os.PathLike[str]) -> None:
    if not os.path.exists(folder):
        raise FileNotFoundError(f"{name} names a folder that does not exist: {folder}.")
    if not os.path.isdir(folder):
        raise NotADirectoryError(f"{name} must name a folder; {folder} is a file.")


def _find_groups(paths: list[str], pattern: str) -> list[Any]:
    try:
        compiled = re.compile(pattern)
    except re.error as error:
        raise ValueError(
            f"group_pattern must be a regular expression; {pattern!r} is none: {error}."
        ) from None
    matches = [compiled.search(os.path.basename(path)) for path in paths]
    wanted = 1 if compiled.groups else 0
    groups = [(match and match[wanted]) or "" for match in matches]
    without = [path for path, group in zip(paths, groups, strict=True) if not group]
    if without:
        raise ValueError(
            f"group_pattern must find a group in every name; {pattern!r} finds none in "
            f"{len(without)} of {len(paths)}: {listed(without)}."
        )
    return as_whole_numbers(groups)
