import csv
import tracemalloc
from pathlib import Path

import cv2
import numpy as np
import pytest
from sklearn.model_selection import GroupKFold, cross_val_score
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer

from sklstm import (
    FundusPreprocessor,
    ImageReader,
    datasets,
    load_image_folder,
    load_image_table,
)

LISTS = ("missing", "unreadable", "duplicates", "conflicts")


def write(path, seed, shape=(12, 16)):
    """Write noise of that seed; the same seed gives the same bytes."""
    path.parent.mkdir(parents=True, exist_ok=True)
    image = np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)
    ok, data = cv2.imencode(path.suffix, image)
    assert ok
    path.write_bytes(data.tobytes())
    return str(path)


def write_table(path, rows, delimiter=",", encoding="utf-8"):
    with open(path, "w", encoding=encoding, newline="") as file:
        csv.writer(file, delimiter=delimiter).writerows(rows)
    return path


@pytest.fixture
def eyes(tmp_path):
    """Two eyes of each of three patients, graded 0 or 1, in folders of the grades."""
    names = ["0/10_left", "0/10_right", "0/11_left", "1/11_right", "1/2_left",
             "1/2_right"]  # fmt: skip
    for seed, name in enumerate(names):
        write(tmp_path / f"{name}.png", seed)
    return tmp_path


@pytest.fixture
def table(tmp_path):
    """The same as a table with a patient's name, images in another folder."""
    rows = [["image", "patient", "level"]]
    for seed, (name, level) in enumerate(
        [("10_left", 0), ("10_right", 1), ("2_left", 2), ("2_right", 0)]
    ):
        write(tmp_path / "images" / f"{name}.jpeg", seed)
        rows.append([name, f"p{name.partition('_')[0]}", level])
    return write_table(tmp_path / "train.csv", rows)


def load_eyes(table, **params):
    params = {"suffix": ".jpeg", "folder": table.parent / "images", **params}
    return load_image_table(table, "image", "level", **params)


def names(paths):
    return [Path(path).name for path in paths]


# -- a folder for each class ----------------------------------------------------------


def test_folder(eyes):
    found = load_image_folder(eyes, group_pattern=r"(\d+)_")
    assert found.paths.dtype == object
    assert found.paths.tolist() == sorted(map(str, eyes.glob("*/*.png")))
    np.testing.assert_array_equal(found.labels, [0, 0, 0, 1, 1, 1])
    np.testing.assert_array_equal(found.groups, [10, 10, 11, 11, 2, 2])
    np.testing.assert_array_equal(found.classes, [0, 1])
    assert found.labels.dtype.kind == found.groups.dtype.kind == "i"
    assert all(found[reason] == [] for reason in (*LISTS, "outside"))


def test_folder_as_str_gives_the_same(eyes):
    for key, value in load_image_folder(eyes).items():
        np.testing.assert_array_equal(load_image_folder(str(eyes))[key], value)


def test_folder_without_groups(eyes):
    assert load_image_folder(eyes).groups is None


@pytest.mark.parametrize("folder", ["crack", "01", "1.0", "1_mild", "٣", "9" * 19])
def test_classes_are_text_unless_all_are_whole_numbers(eyes, folder):
    write(eyes / folder / "a.png", 100)
    found = load_image_folder(eyes)
    assert found.classes.tolist() == sorted(["0", "1", folder])
    assert found.labels.dtype.kind == "U"


def test_classes_are_sorted_as_numbers(eyes):
    write(eyes / "10" / "a.png", 100)
    write(eyes / "-2" / "a.png", 101)
    assert load_image_folder(eyes).classes.tolist() == [-2, 0, 1, 10]


def test_images_are_found_by_suffix_in_folders_within(eyes):
    before = load_image_folder(eyes).paths.tolist()
    new = [write(eyes / "1" / "clinic" / "2024" / "x.JPG", 100, (32, 32))]
    (eyes / "2" / "deep").mkdir(parents=True)
    new.append(write(eyes / "2" / "deep" / "y.tiff", 101))
    for other in ("notes.txt", "Thumbs.db", ".hidden.png", "no_suffix", "png"):
        (eyes / "1" / other).write_bytes(b"no image")
    for hidden in ("1/.cache", "1/__MACOSX", ".git", "__MACOSX"):
        write(eyes / hidden / "z.png", 102)
    found = load_image_folder(eyes)
    assert found.paths.tolist() == sorted(before + new)
    assert found.labels[found.paths == new[1]] == [2]


def test_images_beside_the_class_folders_are_listed(eyes):
    beside = write(eyes / "overview.png", 100)
    (eyes / "labels.csv").write_text("no image")
    with pytest.warns(UserWarning, match=r"1 of 7 files must be left out: 1 outside "
                      r"the class folders \(first .*overview\.png\)"):  # fmt: skip
        found = load_image_folder(eyes)
    assert found.outside == [beside]
    assert len(found.paths) == 6


def test_linked_folders_are_followed(eyes, tmp_path_factory):
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    for seed, name in enumerate(["class", "part"], 100):
        write(elsewhere / name / "a.png", seed)
    (eyes / "2").symlink_to(elsewhere / "class")
    (eyes / "1" / "part").symlink_to(elsewhere / "part")
    assert load_image_folder(eyes).labels.tolist() == [0, 0, 0, 1, 1, 1, 1, 2]


def test_folder_that_cannot_be_opened_is_an_error(eyes, monkeypatch):
    def walk(top, onerror, followlinks):
        onerror(PermissionError(13, "Permission denied", top))
        return iter(())

    monkeypatch.setattr(datasets.os, "walk", walk)
    with pytest.raises(PermissionError, match=r"Permission denied: '.*0'"):
        load_image_folder(eyes)


def test_bad_folders(tmp_path):
    with pytest.raises(FileNotFoundError, match="path names a folder that does not ex"):
        load_image_folder(tmp_path / "no")
    file = write(tmp_path / "a.png", 0)
    with pytest.raises(NotADirectoryError, match=r"path must name a folder; .*a\.png"):
        load_image_folder(file)
    with pytest.raises(ValueError, match="path must hold a folder for each class; "):
        load_image_folder(tmp_path)
    write(tmp_path / "good" / "a.png", 1)
    (tmp_path / "bad").mkdir()
    (tmp_path / "bad" / "notes.txt").write_text("no image")
    with pytest.raises(ValueError, match="folders without an image: bad; move them"):
        load_image_folder(tmp_path)


# -- a table ---------------------------------------------------------------------------


def test_table(table):
    found = load_eyes(table, group_column="patient")
    assert names(found.paths) == [
        "10_left.jpeg", "10_right.jpeg", "2_left.jpeg", "2_right.jpeg"
    ]  # fmt: skip
    assert found.paths.dtype == object
    assert found.labels.tolist() == [0, 1, 2, 0]
    assert found.classes.tolist() == [0, 1, 2]
    assert found.groups.tolist() == ["p10", "p10", "p2", "p2"]
    assert all(found[reason] == [] for reason in LISTS)


def test_order_of_the_table_is_kept(table):
    header, *lines = table.read_text().splitlines()
    table.write_text("\n".join([header, *lines[::-1]]))
    found = load_eyes(table)
    assert found.labels.tolist() == [0, 2, 1, 0]
    assert names(found.paths)[0] == "2_right.jpeg"


def test_table_with_groups_by_name(table):
    assert load_eyes(table, group_pattern=r"(\d+)_").groups.tolist() == [10, 10, 2, 2]
    # The whole match where there are no parentheses; the name without its folder.
    sides = load_eyes(table, group_pattern="left|right|images").groups
    assert sides.tolist() == ["left", "right", "left", "right"]


def test_paths_start_at_the_folder_of_the_table(tmp_path, monkeypatch):
    absolute = write(tmp_path / "other" / "b.png", 1)
    expected = [write(tmp_path / "sub" / "a.png", 0), absolute]
    rows = [["file", "label"], ["sub/a.png", "healthy"], [absolute, "ill"]]
    table = write_table(tmp_path / "t.csv", rows)
    assert load_image_table(table, "file", "label").paths.tolist() == expected
    monkeypatch.chdir(tmp_path)
    found = load_image_table("t.csv", "file", "label")
    assert found.paths.tolist() == [str(Path("sub", "a.png")), absolute]
    assert ImageReader().transform(found.paths).shape == (2, 12, 16)


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig"])
@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
def test_encodings_and_delimiters(tmp_path, delimiter, encoding):
    write(tmp_path / "a,b.png", 0)
    write(tmp_path / "ü.png", 1)
    rows = [["Bild", "Größe, in mm; circa"], ["a,b.png", "klein"], ["ü.png", "groß"]]
    table = write_table(tmp_path / "t.csv", rows, delimiter, encoding)
    found = load_image_table(table, "Bild", "Größe, in mm; circa")
    assert names(found.paths) == ["a,b.png", "ü.png"]
    assert found.labels.tolist() == ["klein", "groß"]


def test_spaces_empty_lines_and_short_rows(tmp_path):
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
        ("file,label\na,1\nb,\nc,3\nd\n", r"cell in every row of column 'label', but "
         r".*t\.csv has none in lines 3, 5; fill them"),
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


def test_empty_groups_are_an_error(table):
    table.write_text(table.read_text().replace("p2", ""))
    message = "every row of column 'patient', but .* has none in lines 4, 5"
    with pytest.raises(ValueError, match=message):
        load_eyes(table, group_column="patient")
    assert load_eyes(table).groups is None  # nothing is asked of other columns


def test_table_in_another_encoding(tmp_path):
    table = tmp_path / "t.csv"
    table.write_text("file,label\nü.png,0\n", encoding="latin-1")
    with pytest.raises(
        ValueError, match=r"csv must be a text file in UTF-8, and .*t\."
    ):
        load_image_table(table, "file", "label")


def test_missing_table_or_folder(table):
    with pytest.raises(FileNotFoundError, match=r"nein\.csv"):
        load_image_table(table.parent / "nein.csv", "image", "level")
    with pytest.raises(FileNotFoundError, match="folder names a folder that does not"):
        load_eyes(table, folder=table.parent / "nein")


# -- groups ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("pattern", "message"),
    [
        (r"(\d+)_l", r"must find a group in every name; .* finds none in 3 of 6: "
         r".*10_right\.png, .*11_right\.png, .*2_right\.png\."),
        (r"(x)?_", "finds none in 6 of 6"),
        ("(", r"group_pattern must be a regular expression; '\(' is none: missing \)"),
    ],
)  # fmt: skip
def test_bad_group_pattern(eyes, pattern, message):
    with pytest.raises(ValueError, match=message):
        load_image_folder(eyes, group_pattern=pattern)


def test_groups_keep_leading_zeros(table):
    for old in ("p10", "p2"):
        table.write_text(table.read_text().replace(old, f"00{old[1:]}"))
    found = load_eyes(table, group_column="patient")
    assert found.groups.tolist() == ["0010", "0010", "002", "002"]


def test_groups_are_given_once(table):
    with pytest.raises(ValueError, match="group_column and group_pattern both say"):
        load_eyes(table, group_column="patient", group_pattern="left")


# -- files that cannot be used ---------------------------------------------------------


@pytest.fixture
def damaged(tmp_path):
    """A table of one good file and one of each problem, and what is to be listed."""
    a, b = write(tmp_path / "a.png", 0), write(tmp_path / "b.png", 1)
    c = write(tmp_path / "c.png", 2)
    copy, twin = write(tmp_path / "copy.png", 0), write(tmp_path / "twin.png", 1)
    moved = write(tmp_path / "moved.png", 2)
    cut = write(tmp_path / "cut.jpg", 3, (64, 64))
    Path(cut).write_bytes(Path(cut).read_bytes()[:-200])
    (tmp_path / "text.png").write_text("no image")
    (tmp_path / "folder.png").mkdir()
    rows = [["file", "label", "patient"]]
    rows += [["a.png", 0, 7], ["b.png", 0, 7], ["c.png", 1, 8], ["copy.png", 0, 7]]
    rows += [["a.png", 0, 7], ["twin.png", 2, 7], ["moved.png", 1, 9]]
    rows += [["cut.jpg", 0, 7], ["text.png", 0, 7], ["folder.png", 0, 7]]
    rows += [["no.png", 3, 7], ["no/a.png", 0, 7]]
    expected = {
        "missing": [str(tmp_path / "no.png"), str(tmp_path / "no/a.png")],
        "unreadable": [cut, str(tmp_path / "text.png"), str(tmp_path / "folder.png")],
        "duplicates": [(copy, a), (a, a)],
        "conflicts": [[(b, 0, 7), (twin, 2, 7)], [(c, 1, 8), (moved, 1, 9)]],
    }
    return write_table(tmp_path / "t.csv", rows), expected


MESSAGE = (
    r"11 of 12 files must be left out: "
    r"2 missing \(first \S*no\.png\), "
    r"3 unreadable \(first \S*cut\.jpg\), "
    r"2 duplicate \(first \S*copy\.png, the same as \S*a\.png\), "
    r"4 equal but of different label or group \(first \S*b\.png of label 0 and group "
    r"7, the same as \S*twin\.png of label 2 and group 7\); "
    r"none is left of class 1, 2, 3; "
)


def test_problems_are_listed_and_warned_of(damaged):
    table, expected = damaged
    with pytest.warns(UserWarning, match=MESSAGE + (
        "what is returned lists all of them: "
        r"missing, unreadable, duplicates, conflicts\.$"
    )) as caught:  # fmt: skip
        found = load_image_table(table, "file", "label", "patient")
    assert len(caught) == 1
    assert caught[0].filename == __file__
    assert names(found.paths) == ["a.png"]
    assert (found.labels, found.classes, found.groups) == ([0], [0], [7])
    assert {reason: found[reason] for reason in LISTS} == expected


def test_problems_are_raised(damaged):
    message = MESSAGE + r"on_problem='warn' leaves them out\.$"
    with pytest.raises(ValueError, match=message):
        load_image_table(damaged[0], "file", "label", "patient", on_problem="raise")


def test_only_what_is_wrong_is_spoken_of(eyes):
    write(eyes / "1" / "3_left.png", 0)  # as 0/10_left
    message = (
        r"2 of 7 files must be left out: 2 equal but of different label or group "
        r"\(first \S*10_left\.png of label 0, the same as \S*3_left\.png of label 1\); "
        r"what is returned lists all of them: conflicts\.$"
    )
    with pytest.warns(UserWarning, match=message) as caught:
        found = load_image_folder(eyes)
    assert caught[0].filename == __file__
    assert [file[1:] for file in found.conflicts[0]] == [(0, None), (1, None)]
    assert len(found.paths) == 5
    with pytest.raises(ValueError, match="2 equal but of different label"):
        load_image_folder(eyes, on_problem="raise")


def test_third_of_equal_files_that_differs_takes_all_out(eyes):
    write(eyes / "0" / "a.png", 0)
    write(eyes / "1" / "b.png", 0)
    with pytest.warns(UserWarning, match=r"3 equal.*10_left\.png of label 0, .*b\.png"):
        found = load_image_folder(eyes)
    assert len(found.conflicts[0]) == 3
    assert found.duplicates == []


def test_nothing_is_left(table):
    message = r"4 of 4 files must be left out: 4 missing \(first .*\); none is left\.$"
    with pytest.raises(ValueError, match=message):
        load_eyes(table, suffix=".png")


def test_bad_on_problem(eyes, table):
    message = "on_problem must be one of 'warn', 'raise'; got 'ignore'"
    with pytest.raises(ValueError, match=message):
        load_image_folder(eyes, on_problem="ignore")
    with pytest.raises(ValueError, match=message):
        load_eyes(table, on_problem="ignore")


@pytest.mark.parametrize(
    ("suffix", "dtype"),
    [(".jpg", "u1"), (".png", "u1"), (".png", "u2"), (".tif", "u1"), (".tif", "u2"),
     (".tif", "f4"), (".bmp", "u1"), (".webp", "u1"), (".pgm", "u2"), (".pfm", "f4")],
)  # fmt: skip
def test_readable_is_what_the_reader_reads(tmp_path, suffix, dtype, capfd):
    image = np.random.default_rng(0).integers(0, 256, (32, 32)).astype(dtype)
    ok, data = cv2.imencode(suffix, image)
    assert ok
    data = data.tobytes()
    path = tmp_path / "0" / f"a{suffix}"
    path.parent.mkdir()
    for part in (1.0, 0.9, 0.5, 0.1):
        path.write_bytes(data[: int(len(data) * part)])
        try:
            ImageReader().transform([path])
        except ValueError:
            with pytest.raises(ValueError, match="1 unreadable"):
                load_image_folder(tmp_path)
        else:
            assert load_image_folder(tmp_path).paths.tolist() == [str(path)]
    assert capfd.readouterr() == ("", "")


def test_what_a_decoder_raises_or_forgives_is_unreadable(eyes, capfd):
    huge = eyes / "0" / "huge.pgm"
    huge.write_bytes(b"P5 100000 100000 255\n" + bytes(100))
    damaged = Path(write(eyes / "1" / "damaged.png", 100))
    data = bytearray(damaged.read_bytes())
    data[-1] ^= 1  # the checksum of the last chunk
    damaged.write_bytes(data)
    with pytest.warns(UserWarning, match="2 unreadable"):
        found = load_image_folder(eyes)
    assert found.unreadable == [str(huge), str(damaged)]
    assert capfd.readouterr() == ("", "")
    with pytest.raises(ValueError, match="names 2 of 2 files that cannot be read"):
        ImageReader().transform(found.unreadable)


def test_no_contents_are_kept(tmp_path):
    for seed in range(60):
        write(tmp_path / "0" / f"{seed}.bmp", seed, (1000, 1000))
    tracemalloc.start()
    try:
        assert len(load_image_folder(tmp_path).paths) == 60
        kept, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    # A megabyte a file; while it runs, as many files as there are threads.
    assert kept < 1e6
    assert peak < 30e6


# -- what comes after ------------------------------------------------------------------


def test_cross_validation_by_patient(tmp_path):
    rng = np.random.default_rng(0)
    for patient in range(12):
        for side in ("left", "right"):
            path = tmp_path / str(patient % 2) / f"{patient}_{side}.png"
            path.parent.mkdir(exist_ok=True)
            level = 60 + 120 * (patient % 2)
            image = rng.integers(level - 20, level + 20, (20, 30 + patient))
            cv2.imwrite(str(path), image.astype(np.uint8))
    eyes = load_image_folder(tmp_path, group_pattern=r"(\d+)_")
    assert len(set(eyes.groups)) == 12
    for train, test in GroupKFold(3).split(eyes.paths, eyes.labels, eyes.groups):
        assert not set(eyes.groups[train]) & set(eyes.groups[test])
    model = make_pipeline(
        ImageReader(size=(8, 8)),
        FunctionTransformer(lambda images: images.reshape(len(images), -1) / 255),
        KNeighborsClassifier(1),
    )
    scores = cross_val_score(
        model, eyes.paths, eyes.labels, groups=eyes.groups, cv=GroupKFold(3)
    )
    np.testing.assert_array_equal(scores, 1)
    np.testing.assert_array_equal(model.fit(eyes.paths, eyes.labels).classes_, [0, 1])


def test_fundus_preprocessor_takes_the_paths(tmp_path):
    y, x = np.mgrid[:120, :140]
    for seed in range(2):
        inside = (x - 70) ** 2 + (y - 60) ** 2 < (50 + seed) ** 2
        photograph = np.where(inside[..., None], [40, 90, 180], 0).astype(np.uint8)
        (tmp_path / str(seed)).mkdir()
        cv2.imwrite(str(tmp_path / str(seed) / "a.png"), photograph)
    paths = load_image_folder(tmp_path).paths
    assert FundusPreprocessor(size=64).fit_transform(paths).shape == (2, 64, 64)
