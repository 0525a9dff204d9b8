import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sklstm.preprocessing._scans import (
    PATHS,
    even_starts,
    hilbert_path,
    scan_blocks,
    scan_slabs,
    snake_path,
    stepped_starts,
)

sides = st.integers(1, 40)


def grid_of(*shape):
    return np.arange(np.prod(shape)).reshape(shape)


def distances(path, shape):
    """Return the city-block distance between each place of a path and the next."""
    places = np.stack(np.unravel_index(path, shape))
    return np.abs(np.diff(places, axis=1)).sum(axis=0)


@given(length=sides, n_windows=st.integers(1, 100))
def test_even_starts_cover_every_row(length, n_windows):
    starts, window = even_starts(length, n_windows)
    assert len(starts) == n_windows
    assert window == -(-length // n_windows)
    read = starts[:, None] + np.arange(window)
    np.testing.assert_array_equal(np.unique(read), np.arange(length))
    # Each start is at most half a row from its exact place.
    exact = np.linspace(0, length - window, n_windows)
    assert np.abs(starts - exact).max() <= 0.5


def test_even_starts_where_rounding_half_to_even_would_skip_a_row():
    starts, window = even_starts(4, 7)
    assert window == 1
    np.testing.assert_array_equal(starts, [0, 1, 1, 2, 2, 3, 3])


@given(length=sides, data=st.data())
def test_stepped_starts_cover_and_end_at_the_border(length, data):
    window = data.draw(st.integers(1, length))
    stride = data.draw(st.integers(1, window))
    starts = stepped_starts(length, window, stride)
    assert starts[-1] == length - window
    assert (np.diff(starts) > 0).all()
    assert (np.diff(starts)[:-1] == stride).all()
    read = starts[:, None] + np.arange(window)
    np.testing.assert_array_equal(np.unique(read), np.arange(length))


@given(height=sides, width=sides)
def test_hilbert_path_visits_all_and_never_jumps(height, width):
    path = hilbert_path(grid_of(height, width))
    np.testing.assert_array_equal(np.sort(path), np.arange(height * width))
    assert path[0] == 0
    assert (distances(path, (height, width)) == 1).all()


@pytest.mark.parametrize("side", [2, 4, 8, 16])
def test_hilbert_path_is_hilberts_curve_on_powers_of_two(side):
    # Each quarter of the curve fills one quadrant, at every scale.
    path = hilbert_path(grid_of(side, side))
    y, x = np.unravel_index(path, (side, side))
    size = side // 2
    while size >= 1:
        quadrant = (y // size) * side + x // size
        assert np.count_nonzero(np.diff(quadrant)) == (side // size) ** 2 - 1
        size //= 2


def test_hilbert_path_keeps_neighbours_closer_than_raster():
    # This is the reason for the Hilbert path: vertical neighbours are also near in the
    # sequence.
    shape = (32, 32)

    def gap(path):
        position = np.empty(path.size, int)
        position[path] = np.arange(path.size)
        position = position.reshape(shape)
        vertical, horizontal = np.diff(position, axis=0), np.diff(position, axis=1)
        return np.median(np.abs([vertical.ravel(), horizontal.ravel()]))

    assert gap(hilbert_path(grid_of(*shape))) < gap(PATHS["raster"](grid_of(*shape)))


@given(shape=st.lists(st.integers(1, 6), min_size=1, max_size=3).map(tuple))
def test_snake_path_visits_all_and_never_jumps(shape):
    path = snake_path(grid_of(*shape))
    np.testing.assert_array_equal(np.sort(path), np.arange(np.prod(shape)))
    assert (distances(path, shape) == 1).all()


def test_paths_on_a_small_grid():
    places = grid_of(2, 3)
    assert PATHS["raster"](places).tolist() == [0, 1, 2, 3, 4, 5]
    assert PATHS["backward"](places).tolist() == [5, 4, 3, 2, 1, 0]
    assert PATHS["snake"](places).tolist() == [0, 1, 2, 5, 4, 3]
    assert PATHS["hilbert"](grid_of(2, 2)).tolist() == [0, 2, 3, 1]


def test_scan_slabs():
    grid = grid_of(3, 2)
    starts = np.array([0, 1])
    scan = scan_slabs(grid, starts, 2, "forward")
    assert scan.tolist() == [[0, 1, 2, 3], [2, 3, 4, 5]]
    scan = scan_slabs(grid, starts, 2, "backward")
    assert scan.tolist() == [[2, 3, 4, 5], [0, 1, 2, 3]]
    # In the second window, rows keep their order, and each is read backwards.
    scan = scan_slabs(grid, starts, 2, "snake")
    assert scan.tolist() == [[0, 1, 2, 3], [3, 2, 5, 4]]


def test_scan_blocks():
    scan = scan_blocks(grid_of(3, 3), [np.array([0, 1])] * 2, (2, 2), "snake")
    assert scan.tolist() == [[0, 1, 3, 4], [1, 2, 4, 5], [4, 5, 7, 8], [3, 4, 6, 7]]
