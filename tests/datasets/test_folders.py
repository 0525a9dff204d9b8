import os
from pathlib import Path

import pytest

from sklstm import load_image_folder


def test_images_are_found_by_suffix_in_folders_within(eyes, write):
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


def test_images_beside_the_class_folders_are_listed(eyes, write):
    beside = write(eyes / "overview.png", 100)
    (eyes / "labels.csv").write_text("no image")
    with pytest.warns(UserWarning, match=r"1 of 7 files must be left out: 1 outside "
                      r"the class folders \(first .*overview\.png\)"):  # fmt: skip
        found = load_image_folder(eyes)
    assert found.outside == [beside]
    assert len(found.paths) == 6


def test_linked_folders_are_followed(eyes, tmp_path_factory, write):
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


@pytest.fixture
def layout(write):
    """Return a function that writes different images, or text for other suffixes."""

    def write_files(root, names):
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

    return write_files


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
def test_splits(tmp_path, names, split, classes, n, layout):
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
def test_folders_that_are_no_classes_are_an_error(tmp_path, names, message, layout):
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
def test_bad_splits(tmp_path, split, message, layout):
    names = ["train/images/1.png", "train/masks/1.png", "test/images/1.png"]
    with pytest.raises(ValueError, match=message):
        load_image_folder(layout(tmp_path, names), split=split)


def test_masks_are_no_images_of_a_class(tmp_path, layout):
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
def test_every_suffix_of_an_image_is_found(tmp_path, suffix, layout):
    layout(tmp_path, [f"a/1{suffix}", "b/1.bmp"])
    assert load_image_folder(tmp_path).labels.tolist() == ["a", "b"]


def test_files_that_are_not_read_are_listed(eyes, layout):
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


def test_folder_of_annotations_without_an_image_is_an_error(tmp_path, layout):
    layout(tmp_path, ["crack/1.png", "annotations/1.xml"])
    with pytest.raises(ValueError, match="folders without an image: annotations; move"):
        load_image_folder(tmp_path)


def test_class_of_files_that_are_not_read(tmp_path, layout):
    layout(tmp_path, ["a/1.png", "b/1.dcm", "b/notes.txt"])
    message = (
        r"without an image: b; move them elsewhere, or convert .*1\.dcm, to PNG or T"
    )
    with pytest.raises(ValueError, match=message):
        load_image_folder(tmp_path)


def test_links_that_lead_back_are_not_followed(eyes, tmp_path_factory, write):
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
