"""The file itself: written whole or not at all, to and from what can be one."""

import io
import os

import numpy as np
import pytest
from sklearn.base import clone

import sklstm
from sklstm import RowSequencer


def saved(estimator):
    file = io.BytesIO()
    sklstm.save(estimator, file)
    return file.getvalue()


def test_a_file_appears_whole_or_not_at_all(tmp_path, monkeypatch):
    path = tmp_path / "rows.sklstm"
    sklstm.save(RowSequencer(), path)
    whole = path.read_bytes()

    def full_disk(file):
        raise OSError("No space left on device")

    monkeypatch.setattr(os, "fsync", full_disk)
    with pytest.raises(OSError, match="No space left"):
        sklstm.save(RowSequencer(sequence_length=3), path)
    assert path.read_bytes() == whole
    assert os.listdir(tmp_path) == ["rows.sklstm"]
    with pytest.raises(FileNotFoundError, match=r"there is no folder '.*missing'"):
        sklstm.save(RowSequencer(), tmp_path / "missing" / "rows.sklstm")
    with pytest.raises(FileNotFoundError, match=r"missing\.sklstm"):
        sklstm.load(tmp_path / "missing.sklstm")


def test_the_same_estimator_makes_the_same_file():
    sequencer = RowSequencer().fit(np.zeros((2, 8, 8)))
    assert saved(sequencer) == saved(clone(sequencer).fit(np.ones((2, 8, 8))))


def opened(path, mode):
    def open_it(folder):
        (folder / path).touch()
        return (folder / path).open(mode)

    return open_it


@pytest.mark.parametrize(
    ("target", "error", "message"),
    [
        (lambda folder: None, TypeError, "path=None must be the name of a file"),
        (lambda folder: 3, TypeError, "path=3 must be the name of a file"),
        (lambda folder: b"PK", TypeError, r"path is bytes: .* io.BytesIO\(content\)"),
        (lambda folder: io.StringIO(), ValueError, "must be open in binary mode, 'wb'"),
        (opened("a", "w"), ValueError, "must be open in binary mode, 'wb'"),
        (opened("a", "rb"), ValueError, "must be open in binary mode, 'wb'"),
        (lambda folder: folder, IsADirectoryError, "is a folder: name the file"),
        (lambda folder: "", IsADirectoryError, "path='' is empty: name the file"),
        (lambda folder: folder / "no" / "a", FileNotFoundError, "there is no folder"),
    ],
)
def test_targets_that_cannot_be_written(target, error, message, tmp_path):
    given = target(tmp_path)
    with pytest.raises(error, match=message):
        sklstm.save(RowSequencer(), given)
    if hasattr(given, "close"):
        given.close()


@pytest.mark.parametrize(
    ("source", "error", "message"),
    [
        (lambda folder: None, TypeError, "path=None must be the name of a file"),
        (lambda folder: 3, TypeError, "path=3 must be the name of a file"),
        (lambda folder: b"PK", TypeError, r"path is bytes: .* io.BytesIO\(content\)"),
        (lambda folder: io.StringIO("a"), ValueError, "open in binary mode, 'rb'"),
        (opened("a", "r"), ValueError, "must be open in binary mode, 'rb'"),
        (opened("a", "wb"), ValueError, "must be open in binary mode, 'rb'"),
        (lambda folder: folder, IsADirectoryError, "is a folder and no file"),
        (lambda folder: folder / "no", FileNotFoundError, "there is no such file"),
        (lambda folder: io.BytesIO(), ValueError, "it is no file of sklstm.save"),
    ],
)
def test_sources_that_cannot_be_read(source, error, message, tmp_path):
    given = source(tmp_path)
    with pytest.raises(error, match=message):
        sklstm.load(given)
    if hasattr(given, "close"):
        given.close()
