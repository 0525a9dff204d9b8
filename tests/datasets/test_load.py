from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pytest
from sklearn.model_selection import GroupKFold, cross_val_score
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer

from sklstm import FundusPreprocessor, ImageReader, load_image_folder, load_image_table

LISTS = ("missing", "unreadable", "duplicates", "conflicts")


def names(paths):
    return [Path(path).name for path in paths]


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
def test_classes_are_text_unless_all_are_whole_numbers(eyes, folder, write):
    write(eyes / folder / "a.png", 100)
    found = load_image_folder(eyes)
    assert found.classes.tolist() == sorted(["0", "1", folder])
    assert found.labels.dtype.kind == "U"


def test_classes_are_sorted_as_numbers(eyes, write):
    write(eyes / "10" / "a.png", 100)
    write(eyes / "-2" / "a.png", 101)
    assert load_image_folder(eyes).classes.tolist() == [-2, 0, 1, 10]


def test_bad_folders(tmp_path, write):
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


def test_table(table, load_eyes):
    found = load_eyes(table, group_column="patient")
    assert names(found.paths) == [
        "10_left.jpeg", "10_right.jpeg", "2_left.jpeg", "2_right.jpeg"
    ]  # fmt: skip
    assert found.paths.dtype == object
    assert found.labels.tolist() == [0, 1, 2, 0]
    assert found.classes.tolist() == [0, 1, 2]
    assert found.groups.tolist() == ["p10", "p10", "p2", "p2"]
    assert all(found[reason] == [] for reason in LISTS)


def test_order_of_the_table_is_kept(table, load_eyes):
    header, *lines = table.read_text().splitlines()
    table.write_text("\n".join([header, *lines[::-1]]))
    found = load_eyes(table)
    assert found.labels.tolist() == [0, 2, 1, 0]
    assert names(found.paths)[0] == "2_right.jpeg"


def test_table_with_groups_by_name(table, load_eyes):
    assert load_eyes(table, group_pattern=r"(\d+)_").groups.tolist() == [10, 10, 2, 2]
    # Without parentheses, the whole match is the group. Folders are not searched.
    sides = load_eyes(table, group_pattern="left|right|images").groups
    assert sides.tolist() == ["left", "right", "left", "right"]


def test_paths_start_at_the_folder_of_the_table(
    tmp_path, monkeypatch, write, write_table
):
    absolute = write(tmp_path / "other" / "b.png", 1)
    expected = [write(tmp_path / "sub" / "a.png", 0), absolute]
    rows = [["file", "label"], ["sub/a.png", "healthy"], [absolute, "ill"]]
    table = write_table(tmp_path / "t.csv", rows)
    assert load_image_table(table, "file", "label").paths.tolist() == expected
    monkeypatch.chdir(tmp_path)
    found = load_image_table("t.csv", "file", "label")
    assert found.paths.tolist() == [str(Path("sub", "a.png")), absolute]
    assert ImageReader().transform(found.paths).shape == (2, 12, 16)


def test_backslashes_are_slashes_unless_a_file_has_them(tmp_path, write, write_table):
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


def test_ids_without_suffix_get_a_hint(table, load_eyes):
    message = (
        r"4 of 4 files must be left out: 4 missing \(first .*10_left\); there is "
        r".*10_left\.jpeg, for suffix='\.jpeg'; none is left"
    )
    with pytest.raises(ValueError, match=message):
        load_eyes(table, suffix="")


def test_missing_table_or_folder(table, load_eyes):
    with pytest.raises(FileNotFoundError, match=r"nein\.csv"):
        load_image_table(table.parent / "nein.csv", "image", "level")
    with pytest.raises(FileNotFoundError, match="folder names a folder that does not"):
        load_eyes(table, folder=table.parent / "nein")


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


def test_groups_are_given_once(table, load_eyes):
    with pytest.raises(ValueError, match="group_column and group_pattern both say"):
        load_eyes(table, group_column="patient", group_pattern="left")


def test_bad_on_problem(eyes, table, load_eyes):
    message = "on_problem must be one of 'warn', 'raise'; got 'ignore'"
    with pytest.raises(ValueError, match=message):
        load_image_folder(eyes, on_problem="ignore")
    with pytest.raises(ValueError, match=message):
        load_eyes(table, on_problem="ignore")


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
