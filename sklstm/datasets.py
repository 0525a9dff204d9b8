"""Sets of image files: their paths, labels, classes and groups; no pixel is kept."""

from __future__ import annotations

import os
import re
import warnings

import numpy as np
from sklearn.utils import Bunch

from sklstm._file_checks import check_files, describe_problems
from sklstm._tables import read_columns
from sklstm.preprocessing._checks import check_choice
from sklstm.preprocessing._image_reader import listed

__all__ = ["load_image_folder", "load_image_table"]

# Of the kinds of files that OpenCV may have been built to read.
_SUFFIXES = tuple(
    ".avif .bmp .dib .exr .gif .hdr .jp2 .jpe .jpeg .jpg .pam .pbm .pfm .pgm .pic .png "
    ".pnm .ppm .pxm .ras .sr .tif .tiff .webp".split()
)
# Without leading zeros: no two texts become one number. It fits into int64.
_WHOLE_NUMBER = re.compile(r"0|-?[1-9][0-9]{0,17}")


def load_image_folder(
    path: str | os.PathLike[str],
    *,
    group_pattern: str | None = None,
    on_problem: str = "warn",
) -> Bunch:
    r"""Find the images of a folder that has a folder for each class.

    Gives paths and labels for a Pipeline that starts with `ImageReader` or
    `FundusPreprocessor`. Every file is read once, to find those that cannot be used; no
    contents are kept.

    Parameters
    ----------
    path : str or path
        The folder. Each folder in it is a class, named as it is, and holds the images
        of that class, in folders of its own too.
    group_pattern : str, default=None
        Regular expression that finds the group, for example the patient, in the name of
        a file, without its folder: what its first parentheses match or, without any,
        all that it matches. None for no groups.
    on_problem : {"warn", "raise"}, default="warn"
        Whether files that cannot be used are left out with one warning, or are an
        error.

    Returns
    -------
    Bunch
        With these attributes:

        paths : ndarray of str objects, shape (n,)
            The files that can be used, sorted.
        labels : ndarray of int or str, shape (n,)
            The class of each. Whole numbers if all folders are named by such, without
            leading zeros: grades can then be read as an order.
        classes : ndarray, shape (n_classes,)
            The labels that are there, sorted.
        groups : ndarray of int or str, shape (n,), or None
            The group of each, for `GroupKFold` and the like. Whole numbers as labels.
        missing : list of str
            Links that lead nowhere.
        unreadable : list of str
            Files that `ImageReader` would refuse: damaged, cut off, no images.
        duplicates : list of tuple
            (path left out, path kept) of files with the same contents, label and group;
            the first stays.
        conflicts : list of list of tuple
            (path, label, group) of the files with the same contents but different label
            or group, a list for each such contents; none of them stays, since nothing
            says which is right. The group is None if there are none.
        outside : list of str
            Images beside the folders of the classes, which have no label.

    Raises
    ------
    FileNotFoundError
        If the folder does not exist.
    NotADirectoryError
        If `path` is a file.
    ValueError
        If there are no classes or one has no images, `group_pattern` does not match a
        name, or no file can be used; with ``on_problem="raise"`` if any cannot.

    See Also
    --------
    load_image_table : Takes the labels from a table.
    ImageReader : Reads the files.

    Notes
    -----
    A file is taken for an image by its suffix, that of a kind OpenCV reads, in capital
    letters or small. Others are not looked at, nor are files and folders whose names
    begin with a dot, or ``__MACOSX``. Links are followed. Masks that lie beside the
    images are images too: pick by ``[p.endswith(".jpg") for p in found.paths]``.

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
    names = [name for name in sorted(os.listdir(path)) if not _is_hidden(name)]
    classes = [name for name in names if os.path.isdir(os.path.join(path, name))]
    if not classes:
        raise ValueError(f"path must hold a folder for each class; {path} holds none.")
    images = {name: _find_images(os.path.join(path, name)) for name in classes}
    empty = [name for name in classes if not images[name]]
    if empty:
        raise ValueError(
            f"path must hold a folder of images for each class, but {path} has folders "
            f"without an image: {listed(empty)}; move them elsewhere."
        )
    found = sorted((file, name) for name in classes for file in images[name])
    paths = [file for file, _ in found]
    outside = [
        os.path.join(path, name)
        for name in names
        if name not in images and _is_image(name)
    ]
    return _usable(
        paths,
        [name for _, name in found],
        None if group_pattern is None else _find_groups(paths, group_pattern),
        on_problem,
        outside=outside,
    )


def load_image_table(
    csv: str | os.PathLike[str],
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

    Gives paths and labels for a Pipeline that starts with `ImageReader` or
    `FundusPreprocessor`. Every file is read once, to find those that cannot be used; no
    contents are kept.

    Parameters
    ----------
    csv : str or path
        The table: a text file in UTF-8 whose first line names the columns, between
        commas, semicolons or tabs.
    path_column : str
        Name of the column with the paths of the images.
    label_column : str
        Name of the column with their labels.
    group_column : str, default=None
        Name of the column with their groups, for example the patients.
    folder : str or path, default=None
        Where the paths start that do not start at a root. None for the folder of the
        table.
    suffix : str, default=""
        Added to every path, for tables that name "000c1434d8d7" for the file
        "000c1434d8d7.png".
    group_pattern : str, default=None
        Instead of `group_column`: regular expression that finds the group in the name
        of a file, without its folder: what its first parentheses match or, without any,
        all that it matches.
    on_problem : {"warn", "raise"}, default="warn"
        Whether files that cannot be used are left out with one warning, or are an
        error.

    Returns
    -------
    Bunch
        With these attributes:

        paths : ndarray of str objects, shape (n,)
            The files that can be used, in the order of the table.
        labels : ndarray of int or str, shape (n,)
            The label of each. Whole numbers if all cells of the column are such,
            without leading zeros: grades can then be read as an order.
        classes : ndarray, shape (n_classes,)
            The labels that are there, sorted.
        groups : ndarray of int or str, shape (n,), or None
            The group of each, for `GroupKFold` and the like. Whole numbers as labels.
        missing : list of str
            Files that do not exist.
        unreadable : list of str
            Files that `ImageReader` would refuse: damaged, cut off, no images.
        duplicates : list of tuple
            (path left out, path kept) of files with the same contents, label and group,
            and of files named twice; the first stays.
        conflicts : list of list of tuple
            (path, label, group) of the files with the same contents but different label
            or group, a list for each such contents; none of them stays, since nothing
            says which is right. The group is None if there are none.

    Raises
    ------
    FileNotFoundError
        If the table or the folder does not exist.
    ValueError
        If a column is missing or has empty cells, the table cannot be read,
        `group_pattern` does not match a name, or no file can be used; with
        ``on_problem="raise"`` if any cannot.

    See Also
    --------
    load_image_folder : Takes the labels from the folders.
    ImageReader : Reads the files.

    Notes
    -----
    Spaces around a cell are no part of it, and empty lines are passed over.

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
    csv = os.fspath(csv)
    if folder is None:
        folder = os.path.dirname(csv)
    else:
        _check_folder("folder", folder)
    columns = [path_column, label_column]
    if group_column is not None:
        columns.append(group_column)
    names, labels, *groups = read_columns(csv, columns)
    paths = [os.path.join(folder, name + suffix) for name in names]
    if group_pattern is not None:
        groups = [_find_groups(paths, group_pattern)]
    return _usable(paths, labels, groups[0] if groups else None, on_problem)


def _usable(
    paths: list[str],
    labels: list[str],
    groups: list[str] | None,
    on_problem: str,
    **left_out: list[str],
) -> Bunch:
    """Check the files and return what a loader does; some may be left out already."""
    y = _as_array(labels)
    g = None if groups is None else _as_array(groups)
    kept, problems = check_files(
        paths, y.tolist(), [None] * len(paths) if g is None else g.tolist()
    )
    problems |= left_out
    classes = np.unique(y[kept])
    if any(problems.values()):
        n_files = len(paths) + sum(map(len, left_out.values()))
        message = (
            f"{n_files - len(kept)} of {n_files} files must be left out: "
            f"{describe_problems(problems)}"
        )
        if not kept:
            raise ValueError(f"{message}; none is left.")
        lost = np.setdiff1d(y, classes).astype(str).tolist()
        if lost:
            message += f"; none is left of class {listed(lost)}"
        if on_problem == "raise":
            raise ValueError(f"{message}; on_problem='warn' leaves them out.")
        lists = ", ".join(reason for reason, files in problems.items() if files)
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


def _as_array(written: list[str]) -> np.ndarray:
    if all(_WHOLE_NUMBER.fullmatch(text) for text in written):
        return np.array([int(text) for text in written])
    return np.array(written)


def _check_folder(name: str, folder: str | os.PathLike[str]) -> None:
    if not os.path.exists(folder):
        raise FileNotFoundError(f"{name} names a folder that does not exist: {folder}.")
    if not os.path.isdir(folder):
        raise NotADirectoryError(f"{name} must name a folder; {folder} is a file.")


def _find_images(folder: str) -> list[str]:
    def fail(error: OSError) -> None:
        raise error

    found = []
    # Without onerror, a folder that may not be opened would count as empty.
    for where, folders, files in os.walk(folder, onerror=fail, followlinks=True):
        folders[:] = [name for name in folders if not _is_hidden(name)]
        found += [os.path.join(where, name) for name in files if _is_image(name)]
    return found


def _is_hidden(name: str) -> bool:
    return name.startswith(".") or name == "__MACOSX"


def _is_image(name: str) -> bool:
    return not _is_hidden(name) and name.lower().endswith(_SUFFIXES)


def _find_groups(paths: list[str], pattern: str) -> list[str]:
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
    return groups
