"""`aligned_unit` finds the units of an index map that can be copied at once."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from sklstm import PatchSequencer, RowSequencer, VolumeSequencer
from sklstm.images._index_map import aligned_unit


@pytest.mark.parametrize(
    ("index_map", "n_pixels", "unit"),
    [
        (RowSequencer().get_index_map((28, 28)), 784, 784),  # The map is one run.
        (RowSequencer(order="backward").get_index_map((28, 28)), 784, 28),
        (RowSequencer(sequence_length=16).get_index_map((28, 28)), 784, 28),
        (RowSequencer(axis="columns").get_index_map((28, 28)), 784, 1),
        (RowSequencer(order="snake").get_index_map((28, 28)), 784, 1),
        (PatchSequencer(16, 8).get_index_map((64, 64)), 4096, 8),
        (PatchSequencer(16, 16).get_index_map((64, 64)), 4096, 16),
        (PatchSequencer(16, 6).get_index_map((64, 64)), 4096, 2),
        (VolumeSequencer(order="backward").get_index_map((4, 6, 6)), 144, 36),
        (np.array([[0, 1, 2, 3], [-1, -1, -1, -1]]), 4, 1),
        (np.array([[-1, 0, 1, 2]]), 4, 1),
        (np.array([[0, 1], [2, 3]]), 5, 1),  # 2 divides the map, but not the image.
        (np.array([[0, 1], [2, 3]]), 6, 2),
    ],
)
def test_aligned_unit(index_map, n_pixels, unit):
    assert aligned_unit(index_map, n_pixels) == unit


def is_unit(flat, unit, n_pixels):
    if flat.size % unit or n_pixels % unit:
        return False
    runs = flat.reshape(-1, unit)
    starts = runs[:, 0]
    return not (starts % unit).any() and np.array_equal(
        runs, starts[:, None] + np.arange(unit)
    )


@given(
    starts=arrays(np.int64, st.integers(1, 5), elements=st.integers(0, 5)),
    length=st.integers(1, 6),
    rest=st.integers(0, 6),
)
def test_aligned_unit_is_the_largest(starts, length, rest):
    flat = (starts[:, None] * length + np.arange(length)).ravel()
    n_pixels = int(flat.max()) + 1 + rest
    units = [u for u in range(1, n_pixels + 1) if is_unit(flat, u, n_pixels)]
    assert aligned_unit(flat, n_pixels) == max(units)
