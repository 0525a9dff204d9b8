import csv
import os
import tracemalloc
import warnings
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pytest
import tifffile
from sklearn.model_selection import GroupKFold, cross_val_score
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer

from sklstm import (
    FundusPreprocessor,
    ImageReader,
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

    monkeypatch.setattr(os, "walk", walk)
    with pytest.raises(PermissionError, match=r"Permission denied: '.*0'"):
        load_image_folder(eyes)


def layout(root, names):
    """Write a different image under each name, or some text for other suffixes."""
    for seed, name in enumerate(names, 1000):
        path = root / name
        if Path(name).suffix.lower() in (".png", ".jpg", ".tif", ".bmp"):
            write(path, seed)
        elif Path(name).suffix.lower() in (".jfif", ".jpe", ".mpo"):
            Path(write(path.with_suffix(".jpeg"), seed)).rename(path)
        else:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(b"no image")
    return root


CHEST = [
    f"{split}/{name}/{i}.png"
    for split in ("train", "val", "test")
    for name in ("NORMAL", "PNEUMONIA")
    for i in "12"
]
MVTEC = ["train/good/0.png", "test/good/1.png", "test/broken/0.png",
         "ground_truth/broken/0_mask.png"]  # fmt: skip
DRIVE = ["training/images/21.tif", "training/1st_manual/21.png",
         "training/mask/21.png", "test/images/1.tif", "test/mask/1.png"]  # fmt: skip


@pytest.mark.parametrize(
    ("names", "split", "classes", "n"),
    [
        (CHEST, "train", ["NORMAL", "PNEUMONIA"], 4),
        (CHEST, "test", ["NORMAL", "PNEUMONIA"], 4),
        (CHEST, "validation", ["NORMAL", "PNEUMONIA"], 4),
        (MVTEC, "train", ["good"], 1),
        (MVTEC, "test", ["broken", "good"], 2),
        (["Training/a/1.png", "Testing/a/2.png"], "train", ["a"], 1),
        (["Training/a/1.png", "Testing/a/2.png"], "Testing", ["a"], 1),
        (["train_set/0/1.png", "valid_set/1/2.png"], "val", [1], 1),
        (["a/x/1.png", "b/y/2.png"], "b", ["y"], 1),
        (["train/0.png", "bus/1.png", "car/2.png"], None, ["bus", "car", "train"], 3),
        (["blood_test/0.png", "skin_test/1.png"], None, ["blood_test", "skin_test"], 2),
        (
            ["seg_train/a/1.png", "seg_test/a/2.png", "seg_pred/3.png"],
            "train",
            ["a"],
            1,
        ),
        (["test/0.png", "healthy/1.png"], None, ["healthy", "test"], 2),
    ],
)
def test_splits(tmp_path, names, split, classes, n):
    found = load_image_folder(layout(tmp_path, names), split=split)
    assert found.classes.tolist() == classes
    assert len(found.paths) == n


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (CHEST, "are the splits train, test, val; set split='train' to take the class"),
        (MVTEC, "are the splits train, test; set split='train'"),
        (DRIVE, "are the splits training, test; set split='training'"),
        (["seg_train/a/1.png", "seg_test/a/2.png", "seg_pred/3.png"],
         "are the splits seg_train, seg_test; set split='seg_train'"),
        (["Train/a/1.png"], "are the splits Train; set split='Train'"),
        (["data/" + name for name in CHEST], r"holds only data, whose folders are the "
         r"splits train, test, val; pass path='.*data' and split='train'"),
        (["images/1.png", "manual1/1.png", "mask/1.png"],
         r"holds images and masks \(images, manual1, mask\); name the images and "),
        (["images/1.png", "labels/1.png"], r"images and masks \(images, labels\)"),
        (["ground_truth/1.png"], r"images and masks \(ground_truth\)"),
    ],
)  # fmt: skip
def test_folders_that_are_no_classes_are_an_error(tmp_path, names, message):
    with pytest.raises(
        ValueError, match=f"path must hold a folder for each .*{message}"
    ):
        load_image_folder(layout(tmp_path, names))


@pytest.mark.parametrize(
    ("split", "message"),
    [
        ("dev", r"split must name a folder in .*, which holds test, train; got 'dev'"),
        ("../other", r"which holds test, train; got '\.\./other'"),
        (1, "split must be None or the name of a folder; got 1"),
        ("train", r"holds images and masks \(images, masks\)"),
    ],
)
def test_bad_splits(tmp_path, split, message):
    names = ["train/images/1.png", "train/masks/1.png", "test/images/1.png"]
    with pytest.raises(ValueError, match=message):
        load_image_folder(layout(tmp_path, names), split=split)


def test_masks_are_no_images_of_a_class(tmp_path):
    images = ["good/1.png", "broken/2.png", "covid/images/3.png", "cyst/a (1).png",
              "mask/4.png", "cyst/b_mask.png"]  # fmt: skip
    masks = ["ground_truth/broken/2_mask.png", "covid/masks/3.png",
             "cyst/a (1)_mask.png", "cyst/a (1)_mask_1.png", "good/GT/1.png",
             "good/image/5.png"]  # fmt: skip
    layout(tmp_path, images + masks)
    with pytest.warns(
        UserWarning, match=r"5 of 12 files .*: 5 outside the class folders"
    ):
        found = load_image_folder(tmp_path)
    expected = sorted(str(tmp_path / name) for name in [*images, masks[-1]])
    assert found.paths.tolist() == expected
    assert sorted(found.outside) == sorted(str(tmp_path / name) for name in masks[:-1])
    assert found.classes.tolist() == ["broken", "covid", "cyst", "good", "mask"]


@pytest.mark.parametrize("suffix", [".jfif", ".mpo", ".jpe", ".JPG", ".Tif", ".PNG"])
def test_every_suffix_of_an_image_is_found(tmp_path, suffix):
    layout(tmp_path, [f"a/1{suffix}", "b/1.bmp"])
    assert load_image_folder(tmp_path).labels.tolist() == ["a", "b"]


def test_files_that_are_not_read_are_listed(eyes):
    strange = ["0/scan.dcm", "1/photo.HEIC", "0/ct.nii.gz", "1/deep/er.cr2", "x.heif"]
    quiet = ["0/notes.txt", "1/boxes.xml", "labels.csv", "1/no_suffix", "0/all.tar.gz"]
    layout(eyes, [*quiet, "0/Thumbs.db", "1/desktop.ini", "0/.DS_Store"])
    found = load_image_folder(eyes, on_problem="raise")
    assert sorted(found.not_read) == sorted(str(eyes / name) for name in quiet)
    layout(eyes, strange)
    message = (
        r"5 of 11 files must be left out: 5 of a kind that is not read \(first .*dcm"
    )
    with pytest.warns(UserWarning, match=message + r".*\); .* all of them: not_read\."):
        found = load_image_folder(eyes)
    names_not_read = sorted(str(eyes / name) for name in quiet + strange)
    assert sorted(found.not_read) == names_not_read
    assert len(found.paths) == 6


def test_folder_of_annotations_without_an_image_is_an_error(tmp_path):
    layout(tmp_path, ["crack/1.png", "annotations/1.xml"])
    with pytest.raises(ValueError, match="folders without an image: annotations; move"):
        load_image_folder(tmp_path)


def test_class_of_files_that_are_not_read(tmp_path):
    layout(tmp_path, ["a/1.png", "b/1.dcm", "b/notes.txt"])
    message = (
        r"without an image: b; move them elsewhere, or convert .*1\.dcm, to PNG or T"
    )
    with pytest.raises(ValueError, match=message):
        load_image_folder(tmp_path)


def test_an_unreadable_file_does_not_stop_the_others(eyes):
    # A TIFF of complex numbers, one of a compression that is not read, and nonsense.
    tifffile.imwrite(eyes / "0" / "complex.tif", np.ones((4, 4), "c8"))
    tifffile.imwrite(
        eyes / "0" / "signed.tif", np.ones((4, 4, 3), "i1"), photometric="rgb"
    )
    other = bytearray((eyes / "0" / "signed.tif").read_bytes())
    at = other.index(b"\x03\x01\x03\x00\x01\x00\x00\x00")  # 259: the compression
    other[at + 8 : at + 10] = b"\x50\xc3"
    (eyes / "1" / "zstd.tif").write_bytes(other)
    (eyes / "1" / "nonsense.tif").write_bytes(b"II*\0" + bytes(range(200)))
    with pytest.warns(UserWarning, match="3 unreadable"):
        found = load_image_folder(eyes)
    assert names(found.unreadable) == ["complex.tif", "nonsense.tif", "zstd.tif"]
    assert len(found.paths) == 7


def test_links_that_lead_back_are_not_followed(eyes, tmp_path_factory):
    before = load_image_folder(eyes).paths.tolist()
    (eyes / "0" / "up").symlink_to(eyes)
    (eyes / "0" / "same").symlink_to(eyes / "0")
    (eyes / "self").symlink_to(eyes)
    (eyes / "above").symlink_to(eyes.parent)
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    new = write(elsewhere / "b.png", 100)
    (elsewhere / "round").symlink_to(elsewhere)
    (elsewhere / "home").symlink_to(eyes / "1")
    (eyes / "1" / "out").symlink_to(elsewhere)
    found = load_image_folder(eyes)
    assert found.paths.tolist() == [*before, str(eyes / "1" / "out" / Path(new).name)]
    assert found.classes.tolist() == [0, 1]


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


def test_empty_groups_are_an_error(table):
    table.write_text(table.read_text().replace("p2", ""))
    message = "every row of column 'patient', but .* has none in lines 4, 5"
    with pytest.raises(ValueError, match=message):
        load_eyes(table, group_column="patient")
    assert load_eyes(table).groups is None  # nothing is asked of other columns


# -- cells of a table ------------------------------------------------------------------


def load_labels(tmp_path, labels, group=None, **params):
    """Return what a table with these labels gives, and what is not labelled."""
    rows = [["file", "label", "patient"]]
    for seed, label in enumerate(labels):
        write(tmp_path / f"{seed}.png", seed)
        rows.append([f"{seed}.png", label, "x" if group is None else group[seed]])
    table = write_table(tmp_path / "t.csv", rows, **params)
    return load_image_table(table, "file", "label", group and "patient")


MISSING = ["", "nan", "NaN", "NA", "N/A", "null", "NULL", "None", "<NA>", "n/a", " "]


@pytest.mark.parametrize("missing", MISSING)
@pytest.mark.parametrize(
    ("labels", "expected"), [(["0", "2.0", "10"], [0, 2, 10]), ("abc", ["a", "b", "c"])]
)
def test_missing_labels_are_listed_and_no_class(tmp_path, missing, labels, expected):
    message = r"1 of 4 files must be left out: 1 without a label \(first .*1\.png\); "
    with pytest.warns(UserWarning, match=message + ".* lists all of them: unlabeled"):
        found = load_labels(tmp_path, [labels[0], missing, *labels[1:]])
    assert names(found.unlabeled) == ["1.png"]
    assert found.labels.tolist() == found.classes.tolist() == expected
    with pytest.raises(ValueError, match=r"1 of 1 files .* without a .*; none is left"):
        load_labels(tmp_path, [missing])


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
def test_numbers_are_numbers(tmp_path, labels, expected):
    found = load_labels(tmp_path, labels)
    assert found.classes.tolist() == expected
    assert [type(value) for value in found.classes.tolist()] == [*map(type, expected)]


def test_decimal_commas(tmp_path):
    found = load_labels(tmp_path, ["1,5", "10,25", "2"], delimiter=";")
    assert found.classes.tolist() == [1.5, 2.0, 10.25]
    assert load_labels(tmp_path, ["1,0", "2,0"], delimiter=";").classes.tolist() == [
        1,
        2,
    ]


def test_groups_are_whole_numbers_or_text(tmp_path):
    found = load_labels(tmp_path, "abc", group=["1.0", "2.0", "10.0"])
    assert found.groups.tolist() == [1, 2, 10]
    # Names that are equal as numbers stay two patients.
    found = load_labels(tmp_path, "abc", group=["1.1", "1.10", "2"])
    assert found.groups.tolist() == ["1.1", "1.10", "2"]
    for missing in MISSING:
        message = r"column 'patient', but .* has none in line 3;"
        with pytest.raises(ValueError, match=message):
            load_labels(tmp_path, "abc", group=["1", missing, "2"])


def test_separator_line_of_a_spreadsheet(tmp_path):
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
def test_names_with_spaces(tmp_path, cell):
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


def test_backslashes_are_slashes_unless_a_file_has_them(tmp_path):
    expected = write(tmp_path / "sub" / "a.png", 0)
    table = write_table(tmp_path / "t.csv", [["file", "label"], ["sub\\a.png", 0]])
    assert load_image_table(table, "file", "label").paths.tolist() == [expected]
    frame = {"file": ["sub\\a"], "label": [0]}
    found = load_image_table(
        pd.DataFrame(frame), "file", "label", folder=tmp_path, suffix=".png"
    )
    assert found.paths.tolist() == [expected]
    if Path("/").exists() and "\\" not in str(tmp_path):
        own = write(tmp_path / "sub\\a.png", 1)
        assert load_image_table(table, "file", "label").paths.tolist() == [own]


def test_ids_without_suffix_get_a_hint(table):
    message = (
        r"4 of 4 files must be left out: 4 missing \(first .*10_left\); there is "
        r".*10_left\.jpeg, for suffix='\.jpeg'; none is left"
    )
    with pytest.raises(ValueError, match=message):
        load_eyes(table, suffix="")


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
    # Without a folder, paths start at the current one.
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
