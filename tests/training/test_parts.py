import threading
import time

import numpy as np
import pytest

from sklstm import LSTMImageClassifier
from sklstm.preprocessing._on_disk import empty_batch
from sklstm.training import _data, _parts
from sklstm.training._data import Subset
from sklstm.training._parts import in_parts, is_mapped

N, BATCH = 23, 2


@pytest.fixture
def data(monkeypatch):
    # If the images are in a file, a part has three batches of two images of 16 bytes.
    monkeypatch.setattr(_data, "AT_ONCE", 8 * 100)
    monkeypatch.setattr(_parts, "is_mapped", lambda x: True)
    x = np.arange(N * 16, dtype=np.uint8).reshape(N, 4, 4)
    return x, np.arange(N), np.linspace(0, 1, N, dtype=np.float32)


def order():
    return np.random.default_rng(0).choice(N, N).astype(np.int32)


def assert_no_thread_is_left():
    for thread in threading.enumerate():
        if thread.name.startswith("sklstm-part"):
            thread.join(timeout=60)  # it may be about to end
            assert not thread.is_alive()


class Watched:
    """An array that notes which threads read it, and may be slow or fail."""

    def __init__(self, array, fails_at=None, seconds=0.0):
        self.array = array
        self.nbytes = array.nbytes
        self.fails_at = fails_at
        self.seconds = seconds
        self.n_done = 0
        self.readers = []
        self.read = threading.Semaphore(0)

    def __len__(self):
        return len(self.array)

    def __getitem__(self, rows):
        self.readers.append(threading.current_thread())
        self.read.release()
        if len(self.readers) == self.fails_at:
            raise OSError("the disk is gone")
        time.sleep(self.seconds)
        self.n_done += 1
        return self.array[rows]


def test_parts_are_the_rows_in_order(data):
    parts = list(in_parts(data, order(), BATCH))
    assert [len(part[0]) for part in parts] == [6, 6, 6, 5]
    for i, array in enumerate(data):
        joined = np.concatenate([part[i] for part in parts])
        np.testing.assert_array_equal(joined, array[order()])
        assert joined.dtype == array.dtype


def test_images_in_memory_are_copied_in_turn(data, monkeypatch):
    monkeypatch.undo()
    monkeypatch.setattr(_data, "AT_ONCE", 8 * 100)
    x = Watched(data[0])
    parts = list(in_parts((x, *data[1:]), order(), BATCH))
    assert [len(part[0]) for part in parts] == [12, 11]
    assert set(x.readers) == {threading.current_thread()}
    joined = np.concatenate([part[0] for part in parts])
    np.testing.assert_array_equal(joined, data[0][order()])


def test_which_images_are_in_a_file(tmp_path):
    memory = np.zeros((4, 2, 2))
    mapped = np.memmap(tmp_path / "x", np.uint8, "w+", shape=(4, 2, 2))
    on_disk = empty_batch((4, 2, 2), np.uint8, tmp_path)
    for x, expected in ((memory, False), (mapped, True), (on_disk, True)):
        for view in (x, x[..., None], np.asarray(x)[1:], Subset(x, np.arange(2))):
            assert is_mapped(view) == expected
    assert not is_mapped(mapped.astype("float32"))


def test_a_batch_larger_than_a_part_is_one_part(data):
    parts = list(in_parts(data, order(), 20))
    assert [len(part[0]) for part in parts] == [20, 3]


def test_a_thread_copies_one_part_ahead_and_no_more(data):
    x = Watched(data[0])
    parts = in_parts((x, *data[1:]), order(), BATCH)
    assert not x.readers  # nothing is read before the caller asks
    for i in range(4):
        next(parts)
        for _ in range(min(2, 4 - i) if i == 0 else int(i < 3)):
            assert x.read.acquire(timeout=60)
        assert len(x.readers) == min(i + 2, 4)
    here = threading.current_thread()
    assert [reader is here for reader in x.readers] == [True, False, False, False]
    assert next(parts, None) is None


def test_data_of_one_part_need_no_thread(data):
    x = Watched(data[0])
    assert len(list(in_parts((x, *data[1:]), order()[:6], BATCH))) == 1
    assert x.readers == [threading.current_thread()]


def test_an_error_of_the_thread_reaches_the_caller(data):
    x = Watched(data[0], fails_at=3)
    parts = in_parts((x, *data[1:]), order(), BATCH)
    next(parts)
    next(parts)  # the thread fails meanwhile
    with pytest.raises(OSError, match="the disk is gone"):
        next(parts)
    assert_no_thread_is_left()


def test_an_early_close_waits_for_the_thread(data):
    x = Watched(data[0], seconds=0.2)
    parts = in_parts((x, *data[1:]), order(), BATCH)
    next(parts)
    parts.close()
    assert x.n_done == 2
    assert_no_thread_is_left()


def test_no_thread_waits_for_a_caller_that_failed(data):
    def train():
        for _ in in_parts(data, order(), BATCH):
            raise RuntimeError("training failed")

    try:
        train()
    except RuntimeError as error:
        held = error  # keeps the generator, as a traceback in a debugger does
        assert_no_thread_is_left()
    del held


@pytest.mark.backend
def test_a_fit_reads_a_file_ahead_and_learns_the_same(tmp_path, monkeypatch):
    rng = np.random.default_rng(0)
    memory = rng.integers(0, 256, (N, 4, 4), dtype=np.uint8)
    mapped = empty_batch(memory.shape, np.uint8, tmp_path)
    mapped[:] = memory
    y = np.arange(N) % 2
    monkeypatch.setattr(_data, "AT_ONCE", memory.nbytes - 1)
    starts = []
    start = _parts._start
    monkeypatch.setattr(
        _parts, "_start", lambda *call: starts.append(call) or start(*call)
    )
    found = []
    for x in (memory, mapped):
        model = LSTMImageClassifier(units=2, epochs=2, batch_size=2, random_state=0)
        found.append(model.fit(x, y).predict_proba(memory))
        assert bool(starts) == (x is mapped)
    np.testing.assert_array_equal(*found)
    assert_no_thread_is_left()
