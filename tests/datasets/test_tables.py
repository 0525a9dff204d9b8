import warnings
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from sklstm import load_image_table


def names(paths):
    return [Path(path).name for path in paths]


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig"])
@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
def test_encodings_and_delimiters(tmp_path, delimiter, encoding, write, write_table):
    write(tmp_path / "a,b.png", 0)
    write(tmp_path / "ü.png", 1)
    rows = [["Bild", "Größe, in mm; circa"], ["a,b.png", "klein"], ["ü.png", "groß"]]
    table = write_table(tmp_path / "t.csv", rows, delimiter, encoding)
    found = load_image_table(table, "Bild", "Größe, in mm; circa")
    assert names(found.paths) == ["a,b.png", "ü.png"]
    assert found.labels.tolist() == ["klein", "groß"]


def test_spaces_empty_lines_and_short_rows(tmp_path, write):
    write(tmp_path / "a.png", 0)
    write(tmp_path / "b.png", 1)
    table = tmp_path / "t.csv"
    table.write_text('\nfile ; level;note\n"a.png"; "0"\n\n;;\nb.png;1;"x\ny";\n')
    found = load_image_table(table, "file", "level")
    assert names(found.paths) == ["a.png", "b.png"]
    assert found.labels.tolist() == [0, 1]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("file;level;level2\na;1;2", r"one column 'label', and .*t\.csv has 0; its "
         r"columns are 'file', 'level', 'level2'\."),
        ("file,label,label\na,1,2", "has 2; its columns are 'file', 'label', 'label'"),
        ("", "one column 'file', and .* has 0; its columns are none"),
        ("file,label\n", r"csv must have rows, and .*t\.csv has its header only"),
        ("file,label\na,1\n,2\nc,3\n\"\",4\n", r"cell in every row of column 'file', "
         r"but .*t\.csv has none in lines 3, 5; fill them"),
        ("file,label\n ,1\n", "every row of column 'file', but .* has none in line 2;"),
        ("file,label\na,b,1\n", "no more cells in a row than columns, .* in line 2;"),
        ('file,label\n"a,1\nb,1\n', "cannot be read at line 3: unexpected end of data"),
    ],
)  # fmt: skip
def test_bad_tables(tmp_path, text, message):
    table = tmp_path / "t.csv"
    table.write_text(text)
    with pytest.raises(ValueError, match=message):
        load_image_table(table, "file", "label")


def test_empty_groups_are_an_error(table, load_eyes):
    table.write_text(table.read_text().replace("p2", ""))
    message = "every row of column 'patient', but .* has none in lines 4, 5"
    with pytest.raises(ValueError, match=message):
        load_eyes(table, group_column="patient")
    assert load_eyes(table).groups is None  # Other columns may be empty.


@pytest.fixture
def load_labels(tmp_path, write, write_table):
    """Return a function that loads a table with the given labels."""

    def load(labels, group=None, **params):
        rows = [["file", "label", "patient"]]
        for seed, label in enumerate(labels):
            write(tmp_path / f"{seed}.png", seed)
            rows.append([f"{seed}.png", label, "x" if group is None else group[seed]])
        table = write_table(tmp_path / "t.csv", rows, **params)
        return load_image_table(table, "file", "label", group and "patient")

    return load


MISSING = ["", "nan", "NaN", "NA", "N/A", "null", "NULL", "None", "<NA>", "n/a", " "]


@pytest.mark.parametrize("missing", MISSING)
@pytest.mark.parametrize(
    ("labels", "expected"), [(["0", "2.0", "10"], [0, 2, 10]), ("abc", ["a", "b", "c"])]
)
def test_missing_labels_are_listed_and_no_class(
    tmp_path, missing, labels, expected, load_labels
):
    message = r"1 of 4 files must be left out: 1 without a label \(first .*1\.png\); "
    with pytest.warns(UserWarning, match=message + ".* lists all of them: unlabeled"):
        found = load_labels([labels[0], missing, *labels[1:]])
    assert names(found.unlabeled) == ["1.png"]
    assert found.labels.tolist() == found.classes.tolist() == expected
    with pytest.raises(ValueError, match=r"1 of 1 files .* without a .*; none is left"):
        load_labels([missing])


@pytest.mark.parametrize(
    ("labels", "expected"),
    [
        (["0.0", "2.0", "10.0"], [0, 2, 10]),
        (["0", "2.0", "-10.00"], [-10, 0, 2]),
        (["0.5", "10.25", "2"], [0.5, 2.0, 10.25]),
        (["01", "2"], ["01", "2"]),
        (["1.0", "x"], ["1.0", "x"]),
        (["1e3", "2"], ["1e3", "2"]),
        (["1,5", "2"], ["1,5", "2"]),
        (["9" * 19, "2"], ["2", "9" * 19]),
        (["Namibia", "nana"], ["Namibia", "nana"]),
    ],
)
def test_numbers_are_numbers(tmp_path, labels, expected, load_labels):
    found = load_labels(labels)
    assert found.classes.tolist() == expected
    assert [type(value) for value in found.classes.tolist()] == [*map(type, expected)]


def test_decimal_commas(tmp_path, load_labels):
    found = load_labels(["1,5", "10,25", "2"], delimiter=";")
    assert found.classes.tolist() == [1.5, 2.0, 10.25]
    assert load_labels(["1,0", "2,0"], delimiter=";").classes.tolist() == [
        1,
        2,
    ]


def test_groups_are_whole_numbers_or_text(tmp_path, load_labels):
    found = load_labels("abc", group=["1.0", "2.0", "10.0"])
    assert found.groups.tolist() == [1, 2, 10]
    # Two names that are equal as numbers stay two patients.
    found = load_labels("abc", group=["1.1", "1.10", "2"])
    assert found.groups.tolist() == ["1.1", "1.10", "2"]
    for missing in MISSING:
        message = r"column 'patient', but .* has none in line 3;"
        with pytest.raises(ValueError, match=message):
            load_labels("abc", group=["1", missing, "2"])


def test_separator_line_of_a_spreadsheet(tmp_path, write):
    write(tmp_path / "a.png", 0)
    table = tmp_path / "t.csv"
    table.write_text("sep=;\r\nfile;label\r\na.png;1,5\r\n", encoding="utf-8-sig")
    assert load_image_table(table, "file", "label").labels.tolist() == [1.5]
    table.write_text("sep=;\nfile;label\na.png;1\n;2\n")
    with pytest.raises(ValueError, match="has none in line 4"):
        load_image_table(table, "file", "label")


@pytest.mark.parametrize(
    "cell", [" a.png", " a.png ", '" a.png"', "  b c.png", 'd .png"; "', "e.png "]
)
def test_names_with_spaces(tmp_path, cell, write):
    name = cell.strip('"')
    expected = write(tmp_path / "x.png", 0)
    Path(expected).rename(tmp_path / name)
    quoted = '"' + name.replace('"', '""') + '"' if '"' in name else cell
    for column in ("{},0", "0,{}"):
        header = "file,label" if column[0] == "{" else "label,file"
        table = tmp_path / "t.csv"
        table.write_text(f"{header}\n{column.format(quoted)}\n")
        found = load_image_table(table, "file", "label")
        assert found.paths.tolist() == [str(tmp_path / name)]
        assert found.labels.tolist() == [0]


@pytest.mark.parametrize(
    ("labels", "expected"),
    [
        ([0, 2, 1, 0], [0, 2, 1, 0]),
        ([0.0, 2.0, np.nan, 0.0], [0, 2, 0]),
        ([0.5, None, 1.5, 2.0], [0.5, 1.5, 2.0]),
        (["a", None, "NA", "b"], ["a", "NA", "b"]),
        (["0", "1", "2", "10"], ["0", "1", "2", "10"]),
        (pd.array([1, None, 2, 3], dtype="Int64"), [1, 2, 3]),
        (pd.Categorical(["x", "y", None, "x"]), ["x", "y", "x"]),
        (pd.array(["x", None, "y", "z"], dtype="string"), ["x", "y", "z"]),
        ([True, False, True, True], [True, False, True, True]),
    ],
)
def test_data_frames(table, monkeypatch, labels, expected):
    folder = table.parent / "images"
    frame = pd.read_csv(table)
    frame["level"] = labels
    frame.index = [9, 9, 7, 0]
    for paths in (
        frame["image"] + ".jpeg",
        [folder / f"{n}.jpeg" for n in frame["image"]],
    ):
        frame["path"] = paths
        with warnings.catch_warnings():
            warnings.simplefilter("ignore" if len(expected) < 4 else "error")
            found = load_image_table(frame, "path", "level", "patient", folder=folder)
        assert found.labels.tolist() == expected
        assert [*map(type, found.labels.tolist())] == [*map(type, expected)]
        assert len(found.unlabeled) == 4 - len(expected)
        assert set(found.groups) <= {"p10", "p2"}
    # Without `folder`, paths are relative to the current folder.
    monkeypatch.chdir(folder)
    frame["path"] = frame["image"] + ".jpeg"
    frame["level"] = 1
    found = load_image_table(frame, "path", "level")
    assert found.paths.tolist() == frame["path"].tolist()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"level": [1, "x", 2, 3]}, "numbers or text in column 'level', not both"),
        ({"level": [[1], [2], [3], [4]]}, "numbers or text in column 'level'"),
        (
            {"image": ["a", None, "b", "c"]},
            r"column 'image', but has none in row 1 \(co",
        ),
        ({"image": [1, 2, 3, 4]}, "paths in column 'image', .*; got int: 1"),
        (
            {"patient": ["a", "b", np.nan, "c"]},
            "column 'patient', but has none in row 2",
        ),
    ],
)
def test_bad_data_frames(table, change, message):
    frame = pd.read_csv(table).assign(**change)
    with pytest.raises(ValueError, match=f"csv must have .*{message}"):
        load_image_table(frame, "image", "level", "patient")
    with pytest.raises(
        ValueError, match="csv must have one column 'grade', and it has 0"
    ):
        load_image_table(frame, "image", "grade")
    with pytest.raises(ValueError, match="csv must have rows, and this table has none"):
        load_image_table(frame[:0], "image", "level")


@pytest.mark.parametrize("table", [None, 3, ["a"], {"image": ["a"]}])
def test_csv_is_a_path_or_a_table(table):
    with pytest.raises(
        TypeError, match="csv must be the path of a CSV file or a table w"
    ):
        load_image_table(table, "image", "level")


def test_table_in_another_encoding(tmp_path):
    table = tmp_path / "t.csv"
    table.write_text("file,label\nü.png,0\n", encoding="latin-1")
    with pytest.raises(
        ValueError, match=r"csv must be a text file in UTF-8, and .*t\."
    ):
        load_image_table(table, "file", "label")


def test_groups_keep_leading_zeros(table, load_eyes):
    for old in ("p10", "p2"):
        table.write_text(table.read_text().replace(old, f"00{old[1:]}"))
    found = load_eyes(table, group_column="patient")
    assert found.groups.tolist() == ["0010", "0010", "002", "002"]
