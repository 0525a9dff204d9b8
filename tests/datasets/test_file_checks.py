import tracemalloc
from pathlib import Path

import cv2
import numpy as np
import pytest
import tifffile

from sklstm import ImageReader, load_image_folder, load_image_table

LISTS = ("missing", "unreadable", "duplicates", "conflicts")


def names(paths):
    return [Path(path).name for path in paths]


@pytest.fixture
def damaged(tmp_path, write, write_table):
    """A table with a good file and all problems, and the expected lists."""
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


def test_only_what_is_wrong_is_spoken_of(eyes, write):
    write(eyes / "1" / "3_left.png", 0)  # 0/10_left has the same contents.
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


def test_third_of_equal_files_that_differs_takes_all_out(eyes, write):
    write(eyes / "0" / "a.png", 0)
    write(eyes / "1" / "b.png", 0)
    with pytest.warns(UserWarning, match=r"3 equal.*10_left\.png of label 0, .*b\.png"):
        found = load_image_folder(eyes)
    assert len(found.conflicts[0]) == 3
    assert found.duplicates == []


def test_nothing_is_left(table, load_eyes):
    message = r"4 of 4 files must be left out: 4 missing \(first .*\); none is left\.$"
    with pytest.raises(ValueError, match=message):
        load_eyes(table, suffix=".png")


def test_an_unreadable_file_does_not_stop_the_others(eyes):
    # The files are a TIFF of complex numbers, one with an unknown compression, and
    # nonsense.
    tifffile.imwrite(eyes / "0" / "complex.tif", np.ones((4, 4), "c8"))
    tifffile.imwrite(
        eyes / "0" / "signed.tif", np.ones((4, 4, 3), "i1"), photometric="rgb"
    )
    other = bytearray((eyes / "0" / "signed.tif").read_bytes())
    at = other.index(b"\x03\x01\x03\x00\x01\x00\x00\x00")  # Tag 259 is the compression.
    other[at + 8 : at + 10] = b"\x50\xc3"
    (eyes / "1" / "zstd.tif").write_bytes(other)
    (eyes / "1" / "nonsense.tif").write_bytes(b"II*\0" + bytes(range(200)))
    with pytest.warns(UserWarning, match="3 unreadable"):
        found = load_image_folder(eyes)
    assert names(found.unreadable) == ["complex.tif", "nonsense.tif", "zstd.tif"]
    assert len(found.paths) == 7


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


def test_what_a_decoder_raises_or_forgives_is_unreadable(eyes, capfd, write):
    huge = eyes / "0" / "huge.pgm"
    huge.write_bytes(b"P5 100000 100000 255\n" + bytes(100))
    damaged = Path(write(eyes / "1" / "damaged.png", 100))
    data = bytearray(damaged.read_bytes())
    data[-1] ^= 1  # The checksum of the last chunk is wrong.
    damaged.write_bytes(data)
    with pytest.warns(UserWarning, match="2 unreadable"):
        found = load_image_folder(eyes)
    assert found.unreadable == [str(huge), str(damaged)]
    assert capfd.readouterr() == ("", "")
    with pytest.raises(ValueError, match="names 2 of 2 files that cannot be read"):
        ImageReader().transform(found.unreadable)


def test_no_contents_are_kept(tmp_path, write):
    for seed in range(60):
        write(tmp_path / "0" / f"{seed}.bmp", seed, (1000, 1000))
    tracemalloc.start()
    try:
        assert len(load_image_folder(tmp_path).paths) == 60
        kept, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    # A file has a megabyte, and each thread holds one.
    assert kept < 1e6
    assert peak < 30e6
