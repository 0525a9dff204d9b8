"""What standardizes an input is that of the sequences a scan makes of it."""

import numpy as np
import pytest

from sklstm import PatchSequencer, RowSequencer, VolumeSequencer
from sklstm.networks import Scan
from sklstm.training._data import Subset
from sklstm.training._scaling import measure

SCANS = {
    "rows": (RowSequencer(), (8, 6)),
    "windows of rows": (RowSequencer(5), (8, 6)),
    "more windows than rows": (RowSequencer(11, axis="columns"), (8, 6)),
    "patches": (PatchSequencer(4, 2), (8, 7)),
    "slices": (VolumeSequencer(step_size=2, stride=1), (4, 5, 6)),
    "cubes": (VolumeSequencer(None, 3, 1), (4, 5, 6)),
}


def samples(shape, dtype, n_channels):
    """Samples whose border differs from their middle."""
    rng = np.random.default_rng(0)
    x = rng.integers(40, 60, (50, *shape, n_channels))
    x[(slice(None), *(slice(1, -1) for _ in shape))] += 100
    return x.astype(dtype)


@pytest.mark.parametrize("n_channels", [1, 3])
@pytest.mark.parametrize("dtype", ["uint8", "float32"])
@pytest.mark.parametrize("name", SCANS)
def test_a_pixel_counts_as_often_as_the_scan_reads_it(name, dtype, n_channels):
    sequencer, shape = SCANS[name]
    x = samples(shape, dtype, n_channels)
    found = measure(x, sequencer.fit(x).index_map_)
    np.testing.assert_allclose(found, measure(sequencer.transform(x)), rtol=1e-12)


def read(index_map, x):
    return np.asarray(Scan(index_map)(x.astype("float32")))


@pytest.mark.parametrize(
    "index_map",
    [
        np.array([[-1, 0, 1], [2, 3, -1], [4, 4, 5]]),  # padded and read twice
        np.array([[0, 1, 2], [3, 4, -1]]),  # padded, and one pixel not read
        np.array([[0, 1], [1, 2]]),  # half of the pixels
        np.array([[-1, -1]]),  # nothing but padding
    ],
)
def test_padding_is_zero_and_what_is_not_read_does_not_count(index_map):
    x = samples((2, 3), "uint8", 2)
    x[:, 1, 2] = 255
    found = measure(x, index_map)
    np.testing.assert_allclose(found, measure(read(index_map, x)), rtol=1e-6)


def test_the_plain_numbers():
    x = samples((8, 6), "uint8", 1)
    expected = (x.mean(), x.std(), x.min(), x.max())
    np.testing.assert_allclose(measure(x), expected, rtol=1e-12)
    # A scan that reads every pixel once changes no bit, whatever its order.
    assert measure(x, PatchSequencer(2, 2).get_index_map((8, 6))) == measure(x)
    assert measure(np.full((3, 4, 4), 7.0)).scale == 1


@pytest.mark.parametrize("index_map", [None, np.array([[0, 1, 1, -1]])])
def test_samples_are_read_a_few_at_a_time(index_map, monkeypatch):
    x = samples((2, 3), "uint8", 2)
    expected = measure(x, index_map)
    sizes = []
    get = Subset.__getitem__

    def spy(self, key):
        found = get(self, key)
        if isinstance(key, slice):
            sizes.append(len(found))
        return found

    monkeypatch.setattr(Subset, "__getitem__", spy)
    monkeypatch.setattr(
        "sklstm.training._scaling.batches",
        lambda n, _: (slice(i, i + 8) for i in range(0, n, 8)),
    )
    found = measure(Subset(x, np.arange(50)), index_map)
    np.testing.assert_allclose(found, expected, rtol=1e-12)
    assert max(sizes) == 8
