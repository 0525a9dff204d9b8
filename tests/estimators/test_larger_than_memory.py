"""Across modules: a set on disk is fitted and predicted without being in memory."""

import subprocess
import sys

import cv2
import numpy as np
import pytest

from sklstm import LSTMImageClassifier, PatchSequencer
from sklstm.training import _data
from sklstm.training._data import Subset, take_rows

# 600 images of 1,024 x 1,024 bytes are 600 MiB. Beyond what the process holds when it
# has trained on 60 of them, it may allocate 400. Pages of the file are not its own: the
# system takes them back.
LIMITED = """
import resource, sys
import numpy as np
from sklearn.pipeline import make_pipeline
from sklstm import ImageReader, LSTMImageClassifier, PatchSequencer

folder, on_disk = sys.argv[1], sys.argv[2] or None
paths = np.array([f"{folder}/{i % 6}.png" for i in range(600)])
y = np.arange(600) % 2
model = make_pipeline(
    ImageReader(on_disk=on_disk),
    LSTMImageClassifier(
        sequencer=PatchSequencer(256, 256), units=2, epochs=1, batch_size=4,
        early_stopping=True, validation_fraction=0.2, random_state=0,
    ),
)
model.fit(paths[:60], y[:60])
status = open("/proc/self/status").read().split("VmData:")[1]
limit = int(status.split()[0]) * 1024 + 400 * 2**20
resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))
try:
    model.fit(paths, y)
except MemoryError:
    print("too large")
else:
    print("score", model.score(paths[:6], y[:6]))
"""


@pytest.mark.slow
@pytest.mark.skipif(
    sys.platform != "linux", reason="the limit of RLIMIT_DATA is that of Linux"
)
def test_a_set_beyond_the_memory_limit_trains(tmp_path):
    ramp = np.tile(np.arange(1024) // 20, (1024, 1)).astype(np.uint8)
    for i in range(6):
        cv2.imwrite(str(tmp_path / f"{i}.png"), ramp + np.uint8(i + 150 * (i % 2)))
    for on_disk, expected in ((str(tmp_path), "score 1.0"), ("", "too large")):
        done = subprocess.run(
            [sys.executable, "-c", LIMITED, tmp_path, on_disk],
            capture_output=True,
            text=True,
        )
        assert done.stdout.strip() == expected, done.stdout + done.stderr
    assert len(list(tmp_path.iterdir())) == 6  # nothing is left


def test_rows_of_a_large_array_are_read_when_asked_for(monkeypatch):
    x = np.arange(40.0).reshape(10, 2, 2)
    assert isinstance(take_rows(x, np.array([1, 2])), np.ndarray)
    monkeypatch.setattr(_data, "AT_ONCE", 8)
    some = take_rows(x, np.array([1, 5, 7]))
    assert isinstance(some, Subset)
    assert (some.shape, some.nbytes, len(some)) == ((3, 2, 2), 96, 3)
    np.testing.assert_array_equal(some[1:], x[[5, 7]])
    np.testing.assert_array_equal(some[np.array([2, 0])], x[[7, 1]])
    again = take_rows(some, np.array([2, 1]))
    assert again.array is x
    np.testing.assert_array_equal(again.astype("int32"), x[[7, 5]])


def test_what_is_read_in_parts_trains_the_same(monkeypatch, digits):
    images, y = (a[:120] for a in digits)
    images = images.astype(np.uint8)
    weights = np.ones(120)
    weights[::7] = 0

    def fitted():
        model = LSTMImageClassifier(
            sequencer=PatchSequencer(4),
            units=4,
            epochs=3,
            early_stopping=True,
            random_state=0,
        )
        return model.fit(images, y, weights)

    whole = fitted()
    monkeypatch.setattr(_data, "AT_ONCE", 1000)
    parts = fitted()
    np.testing.assert_array_equal(
        whole.predict_proba(images), parts.predict_proba(images)
    )
    assert whole.history_ == parts.history_
