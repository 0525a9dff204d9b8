"""Sequencers inside skl2onnx."""

import numpy as np
import onnxruntime
import pytest
from skl2onnx import to_onnx

from sklstm import PatchSequencer, RowSequencer, VolumeSequencer
from sklstm.exporting import register_skl2onnx


@pytest.mark.parametrize(
    ("sequencer", "shape"),
    [
        (RowSequencer(5, order="snake"), (8, 6)),
        (RowSequencer(axis="columns"), (64,)),
        (PatchSequencer(4, 3, order="hilbert"), (8, 8, 3)),
        (VolumeSequencer(), (5, 8, 6)),
    ],
    ids=["rows", "flat", "patches", "volume"],
)
@pytest.mark.parametrize("dtype", [np.float32, np.uint8])
def test_same_as_transform(sequencer, shape, dtype):
    register_skl2onnx()
    images = np.random.default_rng(0).integers(0, 255, (3, *shape)).astype(dtype)
    model = to_onnx(sequencer.fit(images), images[:1])
    session = onnxruntime.InferenceSession(model.SerializeToString())
    (found,) = session.run(None, {"X": images})
    np.testing.assert_array_equal(found, sequencer.transform(images))
    assert found.dtype == dtype
