"""The caches of features: bounds, files that cannot be trusted, processes."""

import os
import pickle
import subprocess
import sys
import textwrap
import time

import numpy as np
import pytest

from sklstm.features import _cache, clear_feature_cache, set_feature_cache_size
from sklstm.features._cache import MEMORY, FolderCache, MemoryCache

KEY = bytes(range(16))


def array(seed=0):
    return np.random.default_rng(seed).normal(size=(4, 5)).astype("float32")


def folder_cache(folder, source="abc", shape=(4, 5), dtype="float32"):
    return FolderCache(folder, source, shape, dtype)


def test_memory_is_bounded_and_keeps_the_first():
    cache = MemoryCache(3 * array().nbytes)
    for k in range(3):
        cache.put("a", bytes([k]), array(k))
    with pytest.warns(UserWarning, match="The cache of features is full at 0 MB"):
        cache.put("a", b"more", array())
    cache.put("a", b"more", array())  # It warns once.
    for k in range(3):
        np.testing.assert_array_equal(cache.get("a", bytes([k])), array(k))
    assert cache.get("a", b"more") is None
    assert cache.n_bytes == 3 * array().nbytes
    # Another source takes the place of what is no longer in use.
    cache.put("b", b"more", array(7))
    np.testing.assert_array_equal(cache.get("b", b"more"), array(7))
    assert cache.get("a", b"\0") is None
    assert cache.n_bytes == array().nbytes


def test_two_sources_that_drop_each_other_are_told():
    cache = MemoryCache(3 * array().nbytes)
    cache.put("old", b"k", array())
    cache.put("a", b"k", array(1))
    cache.put("b", b"k", array(2))
    assert cache.get("a", b"k") is not None
    cache.put("c", b"k", array(3))
    cache.put("c", b"l", array(3))
    # The one that was read last is still there. Nobody asks for the old one.
    assert cache.get("a", b"k") is not None
    with pytest.warns(UserWarning, match="some features are computed again in each f"):
        assert cache.get("b", b"k") is None
    # What is larger than all does not drop the others.
    big = np.zeros((100, 100), "float32")
    cache.put("d", b"k", big)
    assert cache.get("d", b"k") is None
    assert cache.get("a", b"k") is not None
    assert cache.n_bytes == 3 * array().nbytes


def test_arrays_in_memory_are_copies_that_nobody_changes():
    cache = MemoryCache(1000)
    mine = array()
    cache.put("a", b"k", mine)
    mine[:] = 0
    np.testing.assert_array_equal(cache.get("a", b"k"), array())
    with pytest.raises(ValueError, match="read-only"):
        cache.get("a", b"k")[:] = 1


def test_size_of_the_memory():
    before = MEMORY.max_bytes
    try:
        MEMORY.put("x", b"k", array())
        set_feature_cache_size(10)
        assert MEMORY.get("x", b"k") is None
        assert MEMORY.n_bytes == 0
        set_feature_cache_size(1e6)
        MEMORY.put("x", b"k", array())
        clear_feature_cache()
        assert MEMORY.get("x", b"k") is None
    finally:
        set_feature_cache_size(before)
    for bad in (-1, "1 GB", None, True, float("nan")):
        with pytest.raises(ValueError, match="n_bytes must be a number of bytes"):
            set_feature_cache_size(bad)


@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_a_folder_gives_back_the_same_bits(tmp_path, dtype):
    values = array().astype(dtype)
    folder_cache(tmp_path, dtype=dtype).put(KEY, values)
    found = folder_cache(tmp_path, dtype=dtype).get(KEY)
    assert found.dtype == dtype
    np.testing.assert_array_equal(found, values)
    assert folder_cache(tmp_path, dtype=dtype).get(KEY[::-1]) is None
    assert folder_cache(tmp_path, "other", dtype=dtype).get(KEY) is None


def damaged():
    """Yield a name and a function that spoils a file for each way to do so."""

    def change(at):
        def spoil(path):
            content = bytearray(path.read_bytes())
            content[at] ^= 1
            path.write_bytes(content)

        return spoil

    yield "first byte", change(0)
    yield "a value", change(-30)
    yield "checksum", change(-1)
    yield "empty", lambda path: path.write_bytes(b"")
    yield "cut off", lambda path: path.write_bytes(path.read_bytes()[:-1])
    yield "longer", lambda path: path.write_bytes(path.read_bytes() + b"x")
    yield (
        "random",
        lambda path: path.write_bytes(
            np.random.default_rng(0).bytes(path.stat().st_size)
        ),
    )

    def replaced(make):
        def spoil(path):
            path.unlink()
            make(path)

        return spoil

    yield "a folder", replaced(lambda path: path.mkdir())
    if hasattr(os, "mkfifo"):
        yield "a pipe", replaced(os.mkfifo)
    if sys.platform == "linux":
        yield "an endless device", replaced(lambda path: path.symlink_to("/dev/zero"))
    yield "a dead link", replaced(lambda path: path.symlink_to(path.parent / "none"))


@pytest.mark.parametrize("spoil", [pytest.param(f, id=name) for name, f in damaged()])
def test_a_file_that_is_not_whole_is_never_trusted(tmp_path, spoil):
    cache = folder_cache(tmp_path)
    cache.put(KEY, array())
    spoil(cache._path(KEY))
    assert cache.get(KEY) is None


@pytest.mark.parametrize("number", [np.nan, np.inf])
def test_numbers_that_no_feature_has_are_never_trusted(tmp_path, number):
    cache = folder_cache(tmp_path)
    cache.put(KEY, np.full((4, 5), number, "float32"))
    assert cache.get(KEY) is None


@pytest.mark.skipif(os.name == "nt", reason="Windows has no mode of files")
def test_others_may_read_the_files(tmp_path):
    before = os.umask(0o022)
    try:
        cache = folder_cache(tmp_path)
        cache.put(KEY, array())
    finally:
        os.umask(before)
    assert cache._path(KEY).stat().st_mode & 0o777 == 0o644


def test_a_file_of_another_image_or_shape_is_never_trusted(tmp_path):
    cache = folder_cache(tmp_path)
    cache.put(KEY, array())
    os.replace(cache._path(KEY), cache._path(KEY[::-1]))
    assert cache.get(KEY[::-1]) is None
    cache.put(KEY, array())
    assert folder_cache(tmp_path, shape=(5, 4)).get(KEY) is None
    assert folder_cache(tmp_path, dtype="int32").get(KEY) is None


class Bomb:
    def __reduce__(self):
        return os.mkdir, ("exploded",)


def test_nothing_is_unpickled(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    cache = folder_cache(tmp_path)
    cache.put(KEY, array())
    size = cache._path(KEY).stat().st_size
    bomb = pickle.dumps(Bomb())
    for content in (bomb, bomb.ljust(size, b"\0"), cache._head + bomb.ljust(96, b"\0")):
        cache._path(KEY).write_bytes(content)
        assert cache.get(KEY) is None
    assert not (tmp_path / "exploded").exists()


def test_what_a_killed_process_left_does_no_harm_and_goes(tmp_path):
    cache = folder_cache(tmp_path)
    cache.put(KEY, array())
    left = cache.folder / ".writing-old"
    left.write_bytes(b"half")
    an_hour_ago = time.time() - 3700
    os.utime(left, (an_hour_ago, an_hour_ago))
    written_now = cache.folder / ".writing-new"
    written_now.write_bytes(b"half")
    _cache._CLEANED.clear()  # as in another process
    found = folder_cache(tmp_path).get(KEY)
    np.testing.assert_array_equal(found, array())
    assert not left.exists()
    assert written_now.exists()


def test_a_write_that_fails_leaves_nothing(tmp_path, monkeypatch):
    cache = folder_cache(tmp_path)

    def full(*_):
        raise OSError("no space left on the disk")

    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(OSError, match="no space left"):
        cache.put(KEY, array())
    assert list(cache.folder.iterdir()) == []


WRITER = """
import sys
import numpy as np
from sklstm.features._cache import FolderCache
cache = FolderCache(sys.argv[1], "abc", (200_000,), "float32")
print("ready", flush=True)
k = 0
while True:
    cache.put(k.to_bytes(16, "big"), np.full(200_000, k, "float32"))
    k = (k + 1) % 50
"""


def test_processes_that_are_killed_while_they_write(tmp_path):
    start = [sys.executable, "-c", textwrap.dedent(WRITER), str(tmp_path)]
    writers = [subprocess.Popen(start, stdout=subprocess.PIPE) for _ in range(2)]
    for writer in writers:
        assert writer.stdout.readline() == b"ready\n"
    cache = FolderCache(tmp_path, "abc", (200_000,), "float32")
    n_found = 0
    end = time.monotonic() + 30
    while n_found < 200 and time.monotonic() < end:
        for k in range(50):
            found = cache.get(k.to_bytes(16, "big"))
            if found is not None:
                n_found += 1
                assert (found == k).all()
    for writer in writers:
        writer.kill()
        writer.wait()
        writer.stdout.close()
    assert n_found >= 200
    for k in range(50):
        found = cache.get(k.to_bytes(16, "big"))
        assert found is None or (found == k).all()
