"""Photographs that are accepted, their scale, and the messages for others."""

import threading

import cv2
import numpy as np
import pandas as pd
import pytest

from sklstm import FundusPreprocessor, ImageReader
from sklstm.preprocessing import fov_mask
from sklstm.preprocessing.fundus._photographs import read_photograph


def photograph(side=120):
    """Return a field with shading, uint8."""
    y, x = np.mgrid[:side, :side]
    inside = (x - side / 2) ** 2 + (y - side / 2) ** 2 < (0.45 * side) ** 2
    colors = np.stack([180 - y / 8, 60 + x / 4, 40 + y / 8], axis=-1)
    return np.where(inside[..., None], colors, 0).astype(np.uint8)


@pytest.mark.parametrize("bits", [8, 10, 12, 14, 16])
@pytest.mark.parametrize("order", ["<", ">"])
def test_every_depth_comes_to_one_scale(bits, order):
    image = photograph()
    deep = (image.astype(np.uint16) << (bits - 8)).astype(f"{order}u2")
    np.testing.assert_array_equal(read_photograph(deep, "X"), image)
    np.testing.assert_array_equal(read_photograph(deep, "X", bit_depth=bits), image)
    preprocessor = FundusPreprocessor(size=64).fit([image])
    np.testing.assert_array_equal(
        preprocessor.transform([deep, image]), preprocessor.transform([image, deep])
    )
    np.testing.assert_array_equal(fov_mask(deep), fov_mask(image))


def test_the_depth_of_one_photograph_is_its_own():
    image = photograph()
    twelve, sixteen = (image.astype(np.uint16) * n for n in (16, 257))
    for deep in (twelve, sixteen):
        np.testing.assert_array_equal(read_photograph(deep, "X"), image)
    # 8 bits that were scaled to 16 are recognized even in a dark photograph.
    np.testing.assert_array_equal(
        read_photograph(sixteen // 257 // 8 * 257, "X"), image // 8
    )
    # A dark photograph of 16 bits looks like one of fewer bits, unless `bit_depth` is
    # given.
    dark = sixteen // 16
    assert read_photograph(dark, "X").max() > 150
    assert read_photograph(dark, "X", bit_depth=16).max() == image.max() // 16
    hot = twelve.copy()
    hot[5, 5] = 65535
    expected = image.copy()
    expected[5, 5] = 255
    np.testing.assert_array_equal(read_photograph(hot, "X"), expected)


def test_memory_layout_and_byte_order_do_not_matter():
    image = photograph()
    expected = FundusPreprocessor().transform(image)
    locked = image.copy()
    locked.setflags(write=False)
    strided = np.repeat(np.repeat(image, 2, 0), 2, 1)[::2, ::2]
    reverse = np.ascontiguousarray(image[::-1, ::-1])[::-1, ::-1]
    floats = [(image / 255).astype(kind) for kind in (">f8", ">f4", "f2")]
    for same in (locked, strided, reverse, np.asfortranarray(image), *floats):
        np.testing.assert_array_equal(FundusPreprocessor().transform(same), expected)
    gray = image[..., 1]
    for same in (gray, gray[..., None], [gray], gray[None], np.ascontiguousarray(gray)):
        np.testing.assert_array_equal(
            np.squeeze(FundusPreprocessor().transform(same)),
            FundusPreprocessor().transform(np.ascontiguousarray(gray)),
        )


def test_paths_are_refused_in_the_words_of_image_reader(tmp_path):
    path = str(tmp_path / "a.png")
    cv2.imwrite(path, photograph())
    frame = pd.DataFrame({"path": [path, path]})
    for X in (
        frame[["path"]],
        pd.Series([path, None]),
        pd.Series([path, np.nan]),
        pd.Series([path, pd.NA]),
        [path, None],
        [b"a.png"],
        b"a.png",
        np.array([path, 3], object),
        [3.5],
        np.array([[path], [path]]),
    ):
        messages = []
        for transformer in (ImageReader(), FundusPreprocessor()):
            with pytest.raises(ValueError, match="X must") as error:
                transformer.fit_transform(X)
            messages.append(str(error.value))
        assert messages[0] == messages[1]
    with pytest.raises(
        ValueError, match=r"X must hold photographs, or .* X\[1\] is No"
    ):
        FundusPreprocessor().transform([photograph(), None])
    expected = FundusPreprocessor().transform([photograph()] * 2)
    for X in (frame["path"], frame["path"].to_numpy(), [path, photograph()]):
        np.testing.assert_array_equal(FundusPreprocessor().transform(X), expected)


@pytest.mark.parametrize(
    ("image", "message"),
    [
        (
            photograph().astype(np.int16),
            "is int16 from 0 to 179: photographs are uint8",
        ),
        (photograph().astype(np.uint32), "is uint32 from 0 to 179: photographs are"),
        (photograph().astype(np.float32), "is float32 from 0.0 to 179.0: photographs"),
        (photograph().astype(complex), "is complex128: photographs are"),
        (np.full((90, 90), "a"), r"X must be a list or one-dimensional array of paths"),
    ],
)
def test_other_kinds_of_values_are_refused(image, message):
    with pytest.raises(ValueError, match=message):
        FundusPreprocessor().transform(image)


def test_bit_depth_is_checked():
    deep = photograph().astype(np.uint16) * 257
    with pytest.raises(ValueError, match=r"X\[0\] holds values up to 46003, but bit_d"):
        FundusPreprocessor(bit_depth=12).transform([deep])
    for value in (7, 17, 12.0, "12"):
        with pytest.raises(
            ValueError, match="bit_depth must be None or a whole number"
        ):
            FundusPreprocessor(bit_depth=value).transform([deep])


def test_mixed_sizes_stop_at_the_first_that_differs(tmp_path, monkeypatch):
    small, large = str(tmp_path / "small.png"), str(tmp_path / "large.png")
    cv2.imwrite(small, photograph(100))
    cv2.imwrite(large, photograph(140))
    read, lock = [], threading.Lock()
    prepare = FundusPreprocessor._prepare

    def counted(self, photograph, name):
        with lock:
            read.append(name)
        return prepare(self, photograph, name)

    monkeypatch.setattr(FundusPreprocessor, "_prepare", counted)
    monkeypatch.setattr("joblib.cpu_count", lambda: 2)
    with pytest.raises(ValueError, match="The results have different sizes") as error:
        FundusPreprocessor().transform([small] * 20 + [large] + [small] * 400)
    assert f"X[0], {small}" in str(error.value)
    assert f"X[20], {large}" in str(error.value)
    assert len(read) < 60


def test_a_preprocessor_pickled_before_bit_depth_works():
    preprocessor = FundusPreprocessor(size=64)
    state = dict(preprocessor.__getstate__())
    del state["bit_depth"]
    old = FundusPreprocessor.__new__(FundusPreprocessor)
    old.__setstate__(state)
    np.testing.assert_array_equal(
        old.transform(photograph()), preprocessor.transform(photograph())
    )
