import os
from pathlib import Path

import cv2
import numpy as np
import pytest

from sklstm import load_mask_folder

SHAPE = (12, 16)


def spot(white=255, at=2):
    mask = np.zeros(SHAPE, np.uint8)
    mask[at : at + 4, 3:9] = white
    return mask


@pytest.fixture
def layout(tmp_path, write):
    """Return a function that writes images of noise, and masks that are given."""

    def write_files(files):
        for seed, (name, mask) in enumerate(files.items()):
            path = tmp_path / name
            if mask is None:
                write(path, seed, SHAPE)
            else:
                path.parent.mkdir(parents=True, exist_ok=True)
                assert cv2.imwrite(str(path), mask)
        return tmp_path

    return write_files


def names(found, root):
    return [Path(path).relative_to(root).as_posix() for path in found.paths]


def mask_names(found):
    return [mask and os.path.basename(mask) for mask in found.mask_paths]


MVTEC = {
    "train/good/000.png": None,
    "train/good/001.png": None,
    "test/good/000.png": None,
    "test/broken/000.png": None,
    "test/crack/000.png": None,
    "ground_truth/broken/000_mask.png": spot(at=1),
    "ground_truth/crack/000_mask.png": spot(at=7),
}


def test_mvtec(layout):
    root = layout(MVTEC)
    found = load_mask_folder(root)
    assert names(found, root) == [
        "test/broken/000.png", "test/crack/000.png", "test/good/000.png",
        "train/good/000.png", "train/good/001.png",
    ]  # fmt: skip
    assert found.kind_names == ["good", "broken", "crack"]
    assert found.kinds.tolist() == [1, 2, 0, 0, 0]
    assert found.split.tolist() == ["test"] * 3 + ["train"] * 2
    assert mask_names(found) == ["000_mask.png", "000_mask.png", None, None, None]
    np.testing.assert_array_equal(found.masks[0], spot(at=1) > 0)
    np.testing.assert_array_equal(found.masks[1], spot(at=7) > 0)
    for mask in found.masks[2:]:
        assert mask.shape == SHAPE
        assert mask.dtype == bool
        assert not mask.any()
    assert found.groups is None


def test_split(layout):
    root = layout({**MVTEC, "test/crack/001.png": None})
    # What is wrong in the test set does not concern the training set.
    train = load_mask_folder(root, split="training")
    assert names(train, root) == ["train/good/000.png", "train/good/001.png"]
    assert train.without_mask == train.without_image == []
    with pytest.warns(UserWarning, match="1 images without a mask"):
        assert len(load_mask_folder(root, split="test").paths) == 3
    with pytest.raises(ValueError, match=r"split must name .* holds test, train; got"):
        load_mask_folder(root, split="val")


DRIVE = {
    "training/images/21_training.tif": None,
    "training/images/22_training.tif": None,
    "training/1st_manual/21_manual1.png": spot(at=1),
    "training/1st_manual/22_manual1.png": spot(at=7),
    "training/mask/21_training_mask.png": spot(at=0),
    "training/mask/22_training_mask.png": spot(at=0),
    "test/images/01_test.tif": None,
    "test/1st_manual/01_manual1.png": spot(at=3),
    "test/2nd_manual/01_manual2.png": spot(at=4),
    "test/mask/01_test_mask.png": spot(at=0),
}


def test_drive(layout):
    root = layout(DRIVE)
    found = load_mask_folder(root, mask_folder="1st_manual")
    assert mask_names(found) == [
        "01_manual1.png", "21_manual1.png", "22_manual1.png"
    ]  # fmt: skip
    assert [int(np.argmax(mask.any(axis=1))) for mask in found.masks] == [3, 1, 7]
    assert found.kind_names == ["good", "defect"]
    assert found.kinds.tolist() == [1, 1, 1]
    assert len(found.not_used) == 4
    # Two people drew the test set. Fields of view are no masks of vessels.
    with pytest.warns(UserWarning, match="1 names with several masks .* mask_folder"):
        both = load_mask_folder(root)
    assert names(both, root) == [
        "training/images/21_training.tif", "training/images/22_training.tif"
    ]  # fmt: skip
    ((images, masks),) = both.ambiguous
    assert [os.path.basename(path) for path in images] == ["01_test.tif"]
    assert [os.path.basename(path) for path in masks] == [
        "01_manual1.png", "01_manual2.png"
    ]  # fmt: skip
    with pytest.raises(ValueError, match=r"mask_folder must name .* 1st_manual, 2nd"):
        load_mask_folder(root, mask_folder="3rd_manual")


def test_hrf(layout):
    root = layout({
        "images/01_dr.jpg": None, "manual1/01_dr.tif": spot(),
        "mask/01_dr_mask.tif": spot(at=0),
        "images/01_h.jpg": None, "manual1/01_h.tif": spot(at=5),
        "mask/01_h_mask.tif": spot(at=0),
    })  # fmt: skip
    found = load_mask_folder(root)
    assert mask_names(found) == ["01_dr.tif", "01_h.tif"]
    assert [int(np.argmax(mask.any(axis=1))) for mask in found.masks] == [2, 5]
    assert found.split is None


def test_masks_beside_images(layout):
    root = layout({
        "crack/a.jpg": None, "crack/a.png": spot(),
        "fray/a.png": None, "fray/a_mask.png": spot(at=5),
        "uneven/b.jpg": None, "uneven/b.png": spot(0),
        "free/c.jpg": None, "free/c.png": spot(0),
        "free/d.jpg": None,
    })  # fmt: skip
    with pytest.warns(UserWarning, match=r"1 images are in folders of defects.*b\.jpg"):
        found = load_mask_folder(root)
    assert mask_names(found) == ["a.png", "a_mask.png", "c.png", None, "b.png"]
    assert found.kinds.tolist() == [1, 2, 0, 0, 3]
    assert [mask.any() for mask in found.masks] == [True, True, False, False, False]
    assert [os.path.basename(path) for path in found.empty] == ["b.jpg"]


def test_a_name_in_several_splits_and_folders(layout):
    root = layout({
        "training/images/1.tif": None, "training/manual1/1.png": spot(at=1),
        "test/images/1.tif": None, "test/manual1/1.png": spot(at=2),
        "val/images/2.jpg": None, "val/images/2.png": spot(at=3),
        "val/2.jpg": None, "val/2.png": spot(at=4),
    })  # fmt: skip
    found = load_mask_folder(root)
    assert names(found, root) == [
        "test/images/1.tif", "training/images/1.tif", "val/2.jpg", "val/images/2.jpg"
    ]  # fmt: skip
    assert [int(np.argmax(mask.any(axis=1))) for mask in found.masks] == [2, 1, 4, 3]


def test_groups(layout):
    root = layout(MVTEC)
    found = load_mask_folder(root, group_pattern=r"00(\d)")
    assert found.groups.tolist() == [0, 0, 0, 0, 1]


# --- values of masks ----------------------------------------------------------------


def test_antialiased_masks(layout):
    soft = cv2.GaussianBlur(spot(), (3, 3), 0)
    lossy = spot()
    root = layout({
        "a/1.jpg": None, "a/1.png": soft, "a/2.png": None, "a/2_mask.jpg": lossy,
    })  # fmt: skip
    assert len(np.unique(soft)) > 2
    found = load_mask_folder(root)
    np.testing.assert_array_equal(found.masks[0], soft > 127)
    assert (found.masks[1] != (spot() > 0)).mean() < 0.05
    wide = load_mask_folder(root, threshold=0.1)
    np.testing.assert_array_equal(wide.masks[0], soft > 25)


def test_masks_of_0_and_1_and_of_16_bits(layout, tmp_path):
    ones = layout({"a/1.jpg": None, "a/1.png": spot(1), "a/2.jpg": None,
                   "a/2.png": spot(1, at=6)})  # fmt: skip
    found = load_mask_folder(ones)
    np.testing.assert_array_equal(found.masks[0], spot() > 0)
    deep = spot().astype(np.uint16) * 257
    layout({"a/1.png": deep, "a/2.png": deep})
    np.testing.assert_array_equal(load_mask_folder(ones).masks[0], spot() > 0)
    # In a set with brighter masks, values of 0 and 1 are no clear mask.
    layout({"a/1.png": spot(1), "a/2.png": spot()})
    with pytest.warns(UserWarning, match="1 masks with a region below the threshold"):
        found = load_mask_folder(ones)
    assert [os.path.basename(mask) for _, mask in found.unclear] == ["1.png"]


def test_a_kind_below_the_threshold_is_not_lost(layout):
    two = spot(at=1)
    two[8:11, 3:9] = 100
    root = layout({"a/1.jpg": None, "a/1.png": two, "a/2.jpg": None, "a/2.png": spot()})
    with pytest.warns(UserWarning, match="threshold=0 takes every value above black"):
        found = load_mask_folder(root)
    assert names(found, root) == ["a/2.jpg"]
    every = load_mask_folder(root, threshold=0)
    np.testing.assert_array_equal(every.masks[0], two > 0)
    # A speck beside the defect is not a region.
    speck = spot(at=1)
    speck[9, 12] = 60
    layout({"a/1.png": speck})
    np.testing.assert_array_equal(load_mask_folder(root).masks[0], spot(at=1) > 0)


def test_inverted_masks(layout):
    root = layout({"a/1.jpg": None, "a/1.png": 255 - spot(),
                   "free/2.jpg": None, "free/2.png": 255 - spot(0)})  # fmt: skip
    with (
        pytest.warns(UserWarning, match="1 good images whose mask has a defect"),
        pytest.warns(UserWarning, match="1 of the 1 .* set invert=True") as caught,
    ):
        found = load_mask_folder(root)
    assert len(found.contradicted) == 1
    assert {warning.filename for warning in caught} == {__file__}
    right = load_mask_folder(root, invert=True)
    np.testing.assert_array_equal(right.masks[0], spot() > 0)
    assert not right.masks[1].any()


# --- files that cannot be used ------------------------------------------------------


def test_what_is_left_out_is_listed(layout):
    root = layout({
        **MVTEC,
        "test/crack/001.png": None,  # without a mask
        "ground_truth/crack/007_mask.png": spot(),  # without an image
        "test/crack/002.png": None, "ground_truth/crack/002.png": spot(),
        "ground_truth/crack/002_mask.png": spot(),  # two masks
        "test/crack/003.png": None, "ground_truth/crack/003_mask.png": spot()[:, 1:],
        "test/crack/004.png": None, "ground_truth/crack/004_mask.png": spot(),
        "test/crack/005.png": None, "ground_truth/crack/005_mask.png": spot(),
        "val/crack/006.png": None, "test/crack/006.png": None,
        "ground_truth/crack/006_mask.png": spot(),  # of which image?
    })  # fmt: skip
    (root / "test/crack/004.png").write_bytes(b"no image")
    (root / "ground_truth/crack/005_mask.png").write_bytes(b"no image")
    (root / "test/crack/scan.dcm").write_bytes(b"no image")
    (root / "licence.txt").write_text("no image")
    with pytest.warns(UserWarning, match="Files must be left out") as caught:
        found = load_mask_folder(root)
    (said,) = [str(warning.message) for warning in caught]
    assert len(found.paths) == 5

    def short(paths):
        return [Path(path).relative_to(root).as_posix() for path in paths]

    assert short(found.without_mask) == ["test/crack/001.png"]
    assert short(found.without_image) == ["ground_truth/crack/007_mask.png"]
    assert sorted(short(found.unreadable)) == [
        "ground_truth/crack/005_mask.png", "test/crack/004.png"
    ]  # fmt: skip
    assert [short(pair) for pair in found.sizes] == [
        ["test/crack/003.png", "ground_truth/crack/003_mask.png"]
    ]
    assert [(short(i), short(m)) for i, m in found.ambiguous] == [
        (["test/crack/006.png", "val/crack/006.png"],
         ["ground_truth/crack/006_mask.png"]),
        (["test/crack/002.png"],
         ["ground_truth/crack/002.png", "ground_truth/crack/002_mask.png"]),
    ]  # fmt: skip
    assert short(found.not_read) == ["licence.txt", "test/crack/scan.dcm"]
    for text in (
        "1 images without a mask (first ", "1 masks without an image (first ",
        "2 names with several masks or images (first ", "2 unreadable (first ",
        "1 pairs whose image and mask differ in size (first ",
        "1 of a kind that is not read (first ",
    ):  # fmt: skip
        assert text in said
    with pytest.raises(ValueError, match="on_problem='warn' leaves them out"):
        load_mask_folder(root, on_problem="raise")


def test_equal_images(layout, write):
    root = layout({"a/1.jpg": None, "a/1.png": spot(), "b/5.jpg": None,
                   "b/5.png": spot()})  # fmt: skip
    write(root / "a/2.jpg", 0, SHAPE)
    layout_of_masks = {"a/2.png": spot(), "b/6.png": spot(at=6)}
    for name, mask in layout_of_masks.items():
        cv2.imwrite(str(root / name), mask)
    (root / "b/6.jpg").write_bytes((root / "b/5.jpg").read_bytes())
    with pytest.warns(UserWarning, match="1 duplicates .*, 1 images that are equal"):
        found = load_mask_folder(root)
    assert names(found, root) == ["a/1.jpg"]
    assert [os.path.basename(path) for path in found.duplicates[0]] == [
        "2.jpg", "1.jpg"
    ]  # fmt: skip
    assert len(found.conflicts[0]) == 2


def test_nothing_to_load(tmp_path, layout):
    with pytest.raises(ValueError, match=r"path must hold images and their masks"):
        load_mask_folder(tmp_path)
    with pytest.raises(FileNotFoundError, match="path names a folder that does not"):
        load_mask_folder(tmp_path / "none")
    root = layout({"crack/1.png": None, "crack/2.png": None})
    with pytest.raises(ValueError, match=r"2 images without a mask .*no image is left"):
        load_mask_folder(root)
    assert len(load_mask_folder(root, good=["crack"]).paths) == 2
    for params, message in [
        ({"threshold": 1}, "threshold=1 must be at least 0 and below 1"),
        ({"threshold": "half"}, "threshold='half' must be"),
        ({"good": "crack"}, "good='crack' must be a list of names"),
        ({"on_problem": "skip"}, "on_problem must be one of"),
    ]:
        with pytest.raises(ValueError, match=message):
            load_mask_folder(root, **params)
