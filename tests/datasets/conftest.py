"""Image sets that the tests of this package share."""

import csv

import cv2
import numpy as np
import pytest

from sklstm import load_image_table


@pytest.fixture
def write():
    """Return a function that writes noise. The same seed gives the same bytes."""

    def write_noise(path, seed, shape=(12, 16)):
        path.parent.mkdir(parents=True, exist_ok=True)
        image = np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)
        ok, data = cv2.imencode(path.suffix, image)
        assert ok
        path.write_bytes(data.tobytes())
        return str(path)

    return write_noise


@pytest.fixture
def write_table():
    """Return a function that writes rows as a CSV file."""

    def write_rows(path, rows, delimiter=",", encoding="utf-8"):
        with open(path, "w", encoding=encoding, newline="") as file:
            csv.writer(file, delimiter=delimiter).writerows(rows)
        return path

    return write_rows


@pytest.fixture
def eyes(tmp_path, write):
    """Both eyes of three patients, in folders of their grades 0 and 1."""
    names = ["0/10_left", "0/10_right", "0/11_left", "1/11_right", "1/2_left",
             "1/2_right"]  # fmt: skip
    for seed, name in enumerate(names):
        write(tmp_path / f"{name}.png", seed)
    return tmp_path


@pytest.fixture
def table(tmp_path, write, write_table):
    """A table of names, patients and grades, with the images in another folder."""
    rows = [["image", "patient", "level"]]
    for seed, (name, level) in enumerate(
        [("10_left", 0), ("10_right", 1), ("2_left", 2), ("2_right", 0)]
    ):
        write(tmp_path / "images" / f"{name}.jpeg", seed)
        rows.append([name, f"p{name.partition('_')[0]}", level])
    return write_table(tmp_path / "train.csv", rows)


@pytest.fixture
def load_eyes():
    """Return a function that loads `table` or one like it."""

    def load(table, **params):
        params = {"suffix": ".jpeg", "folder": table.parent / "images", **params}
        return load_image_table(table, "image", "level", **params)

    return load
