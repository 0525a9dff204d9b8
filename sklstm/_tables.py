"""Columns of a CSV file, as text."""

from __future__ import annotations

import csv
import io

from sklstm.preprocessing._image_reader import listed


def read_columns(file: str, names: list[str]) -> list[list[str]]:
    """Return the cells of the columns named; ValueError if there is not one in each."""
    try:
        # With or without the mark that spreadsheets put at the start of UTF-8.
        with open(file, encoding="utf-8-sig", newline="") as stream:
            text = stream.read()
    except UnicodeDecodeError:
        raise ValueError(
            f"csv must be a text file in UTF-8, and {file} is not; save it as that."
        ) from None
    rows = _read_rows(file, text, _find_delimiter(text, names))
    _, header = rows.pop(0) if rows else (0, [])
    for name in names:
        if header.count(name) != 1:
            raise ValueError(
                f"csv must have one column {name!r}, and {file} has "
                f"{header.count(name)}; its columns are "
                f"{', '.join(map(repr, header)) or 'none'}."
            )
    if not rows:
        raise ValueError(f"csv must have rows, and {file} has its header only.")
    longer = [line for line, row in rows if any(row[len(header) :])]
    if longer:
        raise ValueError(
            f"csv must have no more cells in a row than columns, but {file} has in "
            f"{_lines(longer)}; put cells that hold the delimiter into quotes."
        )
    return [_column(file, name, header.index(name), rows) for name in names]


def _find_delimiter(text: str, names: list[str]) -> str:
    """Return that by which most of the names, then most columns, are in the header."""
    first_line = text.lstrip("\r\n").splitlines()[:1]

    def columns(delimiter: str) -> tuple[int, int]:
        header = [
            cell.strip()
            for cell in next(csv.reader(first_line, delimiter=delimiter), [])
        ]
        return sum(name in header for name in names), len(header)

    return max(",;\t", key=columns)


def _read_rows(file: str, text: str, delimiter: str) -> list[tuple[int, list[str]]]:
    """Return the number of the line and the cells of each row that has any."""
    reader = csv.reader(
        io.StringIO(text, newline=""),
        delimiter=delimiter,
        skipinitialspace=True,
        strict=True,  # a quote that does not end would take in all that follows
    )
    rows = []
    try:
        for row in reader:
            cells = [cell.strip() for cell in row]
            if any(cells):
                rows.append((reader.line_num, cells))
    except csv.Error as error:
        raise ValueError(
            f"csv must be a table, but {file} cannot be read at line "
            f"{reader.line_num}: {error}."
        ) from None
    return rows


def _column(
    file: str, name: str, position: int, rows: list[tuple[int, list[str]]]
) -> list[str]:
    cells = [row[position] if position < len(row) else "" for _, row in rows]
    empty = [line for (line, _), cell in zip(rows, cells, strict=True) if not cell]
    if empty:
        raise ValueError(
            f"csv must have a cell in every row of column {name!r}, but {file} has "
            f"none in {_lines(empty)}; fill them or leave these rows out."
        )
    return cells


def _lines(numbers: list[int]) -> str:
    return f"line{'s' * (len(numbers) > 1)} {listed([str(n) for n in numbers])}"
