"""Reading of columns from a CSV file or a table in memory."""

from __future__ import annotations

import csv
import io
import os
import re
from collections.abc import Sequence
from contextlib import suppress
from typing import Any, NamedTuple

import numpy as np

from sklstm.preprocessing._checks import listed

# pandas reads these words in a CSV file as missing values.
_MISSING_WORDS = frozenset(
    ["", "#N/A", "#N/A N/A", "#NA", "-1.#IND", "-1.#QNAN", "-NaN", "-nan", "1.#IND",
     "1.#QNAN", "<NA>", "N/A", "NA", "NULL", "NaN", "None", "n/a", "nan", "null"]
)  # fmt: skip
# No leading zeros are allowed, so that no two texts become the same number. Every match
# fits into int64.
_WHOLE_NUMBER = re.compile(r"0|-?[1-9][0-9]{0,17}")
# pandas writes whole numbers with a point if some values of the column are missing.
_WHOLE_WITH_POINT = re.compile(r"-?(?:0|[1-9][0-9]{0,14})(?:[.]0+)?")
_DECIMAL = re.compile(r"-?(?:0|[1-9][0-9]{0,14})(?:[.][0-9]{1,15})?")
_SEPARATOR_LINE = re.compile(r"\s*sep=(.)[ \t]*\r?\n", re.IGNORECASE)


class Table(NamedTuple):
    """The columns of a table that describe images.

    Parameters
    ----------
    names : list of tuple of str
        Possible file names of each image: as written and, if it differs, without the
        spaces around it.
    labels : list
        Label of each image, or None if it is missing.
    groups : list or None
        Group of each image. None if the table was read without groups.
    """

    names: list[tuple[str, ...]]
    labels: list[Any]
    groups: list[Any] | None


def read_table(table: Any, path: str, label: str, group: str | None) -> Table:
    """Return the columns of a table that describe images.

    Labels and groups become numbers if all values of their column are numbers. A table
    that lacks a column, or has it twice, raises ValueError.
    """
    wanted = [path, label] + ([] if group is None else [group])
    if hasattr(table, "columns") and hasattr(table, "__getitem__"):
        return _from_memory(table, wanted)
    if not isinstance(table, str | os.PathLike):
        raise TypeError(
            f"csv must be the path of a CSV file or a table with named columns, such "
            f"as a pandas DataFrame; got {type(table).__name__}."
        )
    return _from_file(os.fspath(table), wanted)


def as_whole_numbers(written: list[str]) -> list[Any]:
    """Convert texts to int if all of them are whole numbers."""
    if all(_WHOLE_NUMBER.fullmatch(text) for text in written):
        return [int(text) for text in written]
    return written


def _as_numbers(
    written: Sequence[str | None], decimals: bool, comma: bool
) -> list[Any]:
    """Convert texts to numbers if all that are not missing (None) are numbers."""
    texts = [text for text in written if text is not None]
    whole = as_whole_numbers(texts)
    if whole is not texts:
        number: Any = int
    else:
        if comma:
            texts = [text.replace(",", ".") for text in texts]
        if all(_WHOLE_WITH_POINT.fullmatch(text) for text in texts):
            number = _int_of_float
        elif decimals and all(_DECIMAL.fullmatch(text) for text in texts):
            number = float
        else:
            return [*written]
    numbers = iter(texts)
    return [None if text is None else number(next(numbers)) for text in written]


def _int_of_float(text: str) -> int:
    return int(text.partition(".")[0])


# -- tables in memory ------------------------------------------------------------------


def _from_memory(table: Any, wanted: list[str]) -> Table:
    _check_columns("csv", list(table.columns), wanted)
    names, labels, *groups = ([*table[name]] for name in wanted)
    if not names:
        raise ValueError("csv must have rows, and this table has none.")
    for cells, name in zip((names, *groups), (wanted[0], *wanted[2:]), strict=True):
        empty = [i for i, cell in enumerate(cells) if _is_missing(cell)]
        if empty:
            raise ValueError(
                f"csv must have a value in every row of column {name!r}, but has none "
                f"in row {listed([str(i) for i in empty])} (counted from 0); fill them "
                f"or leave these rows out."
            )
    strange = [name for name in names if not isinstance(name, str | os.PathLike)]
    if strange:
        raise ValueError(
            f"csv must have paths in column {wanted[0]!r}, str or pathlib.Path; got "
            f"{type(strange[0]).__name__}: {strange[0]!r:.60}."
        )
    paths = [os.fspath(name) for name in names]
    labels = [None if _is_missing(label) else label for label in labels]
    return Table(
        [(name,) if name == name.strip() else (name, name.strip()) for name in paths],
        _of_one_kind(labels, wanted[1]),
        _of_one_kind(groups[0], wanted[2]) if groups else None,
    )


def _is_missing(value: Any) -> bool:
    if value is None or type(value).__name__ in ("NAType", "NaTType"):
        return True
    return isinstance(value, float | np.floating) and bool(np.isnan(value))


def _of_one_kind(values: list[Any], name: str) -> list[Any]:
    """Return Python values, with whole numbers as int even if some are missing."""
    there = [value for value in values if value is not None]
    n_texts = sum(isinstance(value, str) for value in there)
    is_number = [isinstance(v, bool | int | float | np.generic) for v in there]
    if n_texts not in (0, len(there)) or not (n_texts or all(is_number)):
        raise ValueError(
            f"csv must have numbers or text in column {name!r}, not both and nothing "
            f"else; convert it by .astype(str)."
        )
    if n_texts:
        return [None if value is None else str(value) for value in values]
    plain = [v.item() if isinstance(v, np.generic) else v for v in there]
    if all(isinstance(v, float) and v.is_integer() for v in plain):
        plain = [int(v) for v in plain]
    numbers = iter(plain)
    return [None if value is None else next(numbers) for value in values]


# -- CSV files -------------------------------------------------------------------------


def _from_file(file: str, wanted: list[str]) -> Table:
    try:
        # utf-8-sig skips the byte order mark that spreadsheets may write.
        with open(file, encoding="utf-8-sig", newline="") as stream:
            text = stream.read()
    except UnicodeDecodeError:
        raise ValueError(
            f"csv must be a text file in UTF-8, and {file} is not; save it as that."
        ) from None
    separator = _SEPARATOR_LINE.match(text)
    first_line = 1
    if separator:
        text, first_line = text[separator.end() :], 2
    delimiter = separator[1] if separator else _find_delimiter(text, wanted)
    rows = _read_rows(file, text, delimiter, first_line)
    header = rows.pop(0).cells if rows else []
    _check_columns(file, header, wanted)
    if not rows:
        raise ValueError(f"csv must have rows, and {file} has its header only.")
    longer = [row.line for row in rows if any(row.cells[len(header) :])]
    if longer:
        raise ValueError(
            f"csv must have no more cells in a row than columns, but {file} has in "
            f"{_lines(longer)}; put cells that hold the delimiter into quotes."
        )
    columns = {name: [row.cell(header.index(name)) for row in rows] for name in wanted}
    path, label, *groups = wanted
    _check_filled(file, path, rows, [not cell for cell in columns[path]])
    for name in groups:
        _check_filled(file, name, rows, [c in _MISSING_WORDS for c in columns[name]])
    labels = [None if cell in _MISSING_WORDS else cell for cell in columns[label]]
    # If commas separate the cells, a comma inside a number separates thousands.
    comma = delimiter != ","
    return Table(
        [row.names(header.index(path)) for row in rows],
        _as_numbers(labels, decimals=True, comma=comma),
        # Groups with decimals stay text, because patients 1.1 and 1.10 differ.
        _as_numbers(columns[groups[0]], decimals=False, comma=False)
        if groups
        else None,
    )


class _Row(NamedTuple):
    line: int
    cells: list[str]
    as_written: list[str]

    def cell(self, position: int) -> str:
        return self.cells[position] if position < len(self.cells) else ""

    def names(self, position: int) -> tuple[str, ...]:
        stripped, written = self.cell(position), self.as_written[position]
        return (stripped,) if stripped == written else (written, stripped)


def _check_columns(table: str, header: list[Any], wanted: list[str]) -> None:
    for name in wanted:
        if header.count(name) != 1:
            subject = "it" if table == "csv" else table
            raise ValueError(
                f"csv must have one column {name!r}, and {subject} has "
                f"{header.count(name)}; its columns are "
                f"{', '.join(map(repr, header)) or 'none'}."
            )


def _find_delimiter(text: str, names: list[str]) -> str:
    """Return the delimiter that finds the most of `names` in the header.

    Of several such delimiters, it is the one that gives the most columns.
    """
    first_line = text.lstrip("\r\n").splitlines()[:1]

    def columns(delimiter: str) -> tuple[int, int]:
        header = [
            cell.strip()
            for cell in next(csv.reader(first_line, delimiter=delimiter), [])
        ]
        return sum(name in header for name in names), len(header)

    return max(",;\t", key=columns)


def _read_rows(file: str, text: str, delimiter: str, first_line: int) -> list[_Row]:
    """Return the rows that are not empty."""
    rows = []
    with_spaces = _with_spaces(text, delimiter)
    reader = csv.reader(
        io.StringIO(text, newline=""),
        delimiter=delimiter,
        skipinitialspace=True,
        strict=True,  # An open quote would otherwise swallow all later rows.
    )
    try:
        for row in reader:
            cells = [cell.strip() for cell in row]
            if any(cells):
                line = reader.line_num + first_line - 1
                written = with_spaces.get(reader.line_num, [])
                if [cell.strip() for cell in written] != cells:
                    written = row
                rows.append(_Row(line, cells, written))
    except csv.Error as error:
        raise ValueError(
            f"csv must be a table, but {file} cannot be read at line "
            f"{reader.line_num + first_line - 1}: {error}."
        ) from None
    return rows


def _with_spaces(text: str, delimiter: str) -> dict[int, list[str]]:
    """Return the rows by line number, with the leading spaces of their cells.

    If a quote follows such spaces, a row is split wrongly. The caller therefore
    compares it with the row that was read without spaces.
    """
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter)
    rows = {}
    with suppress(csv.Error):
        for row in reader:
            rows[reader.line_num] = row
    return rows


def _check_filled(file: str, name: str, rows: list[_Row], empty: list[bool]) -> None:
    lines = [row.line for row, is_empty in zip(rows, empty, strict=True) if is_empty]
    if lines:
        raise ValueError(
            f"csv must have a cell in every row of column {name!r}, but {file} has "
            f"none in {_lines(lines)}; fill them or leave these rows out."
        )


def _lines(numbers: list[int]) -> str:
    return f"line{'s' * (len(numbers) > 1)} {listed([str(n) for n in numbers])}"
