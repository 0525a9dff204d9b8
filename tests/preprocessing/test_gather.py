import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from sklstm.preprocessing import PatchSequencer, RowSequencer
from sklstm.preprocessing._gather import (
    average_to_pixels,
    make_gather,
    plan_gather,
)


def gathered(pixels, index_map):
    plan = plan_gather(index_map, pixels.shape[1])
    out = np.full((len(pixels), index_map.size, pixels.shape[2]), 77, pixels.dtype)
    make_gather(index_map, plan)(pixels, out)
    return out, plan


def naive(pixels, index_map):
    flat = index_map.ravel()
    out = pixels[:, flat]
    out[:, flat < 0] = 0
    return out


def pixels_of(n_pixels, n_channels=2):
    return np.arange(3 * n_pixels * n_channels).reshape(3, n_pixels, n_channels)


@pytest.mark.parametrize(
    ("index_map", "unit", "loops"),
    [
        (np.arange(12).reshape(3, 4), 12, ([12], [1])),
        (np.arange(12).reshape(3, 4)[::-1], 4, None),
        (np.arange(12).reshape(3, 4).T, 1, ([4, 3], [1, 4])),
        (np.arange(12)[::-1].reshape(3, 4), 1, ([12], [-1])),
        (RowSequencer(sequence_length=3).get_index_map((5, 6)), 6, None),
        (PatchSequencer(4, 2).get_index_map((8, 8)), 2, None),
        (
            PatchSequencer(3, 2).get_index_map((7, 5)),
            1,
            ([3, 2, 3, 3], [10, 2, 5, 1]),
        ),
        # The last patch is aligned to the border, so the strides are not equal.
        (PatchSequencer(3, 2).get_index_map((7, 8)), 1, None),
        (np.array([[3, 1], [0, 2]]), 1, None),
        # The padding is at both ends or in between.
        (np.array([[-1, 0, 1], [2, 3, -1]]), 1, None),
        (np.array([[0, -1], [-1, 3]]), 1, None),
        # Runs divide the map evenly, but not the image.
        (np.array([[0, 1], [2, 3]]), 1, ([4], [1])),
    ],
)
def test_each_way_to_read_equals_plain_indexing(index_map, unit, loops):
    n_pixels = 5 if index_map.size == 4 else index_map.max() + 1
    pixels = pixels_of(n_pixels)
    out, plan = gathered(pixels, index_map)
    np.testing.assert_array_equal(out, naive(pixels, index_map))
    assert plan == (unit, loops)


@given(
    index_map=arrays(
        np.int64,
        st.tuples(st.integers(1, 4), st.integers(1, 6)),
        elements=st.integers(-1, 9),
    ),
    n_channels=st.integers(1, 3),
)
def test_any_map_reads_as_plain_indexing(index_map, n_channels):
    pixels = pixels_of(10, n_channels)
    np.testing.assert_array_equal(
        gathered(pixels, index_map)[0], naive(pixels, index_map)
    )


@given(
    first=st.integers(0, 5),
    loops=st.lists(
        st.tuples(st.integers(1, 4), st.integers(-5, 5)), min_size=1, max_size=4
    ),
)
def test_nested_loops_read_as_plain_indexing(first, loops):
    index_map = np.array([first])
    for length, stride in loops:
        index_map = np.add.outer(index_map, stride * np.arange(length))
    index_map = index_map.reshape(1, -1) - min(index_map.min(), 0)
    pixels = pixels_of(int(index_map.max()) + 1)
    np.testing.assert_array_equal(
        gathered(pixels, index_map)[0], naive(pixels, index_map)
    )


OVERLAPPING = PatchSequencer(3, 1).get_index_map((7, 6))  # A pixel is in up to 9 steps.


def contributions(values, index_map, n_pixels):
    """Return the list of values that belong to each pixel."""
    found = [[] for _ in range(n_pixels)]
    for value, pixel in zip(values, index_map.ravel(), strict=True):
        found[pixel].append(value)
    return found


def test_average_of_floats_that_differ():
    rng = np.random.default_rng(0)
    values = rng.normal(size=(2, OVERLAPPING.size, 1))
    images = average_to_pixels(values, OVERLAPPING, 42)
    for value, image in zip(values[..., 0], images[..., 0], strict=True):
        means = [np.mean(c) for c in contributions(value, OVERLAPPING, 42)]
        np.testing.assert_allclose(image, means, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("dtype", [np.uint8, np.int32, np.int64, np.uint64])
def test_average_of_integers_that_differ_is_rounded(dtype):
    info = np.iinfo(dtype)
    rng = np.random.default_rng(0)
    values = rng.integers(
        info.min, info.max, (1, OVERLAPPING.size, 1), dtype=dtype, endpoint=True
    )
    image = average_to_pixels(values, OVERLAPPING, 42)[0, :, 0]
    assert image.dtype == dtype
    expected = contributions(values[0, :, 0].tolist(), OVERLAPPING, 42)
    for pixel, given_values in zip(image.tolist(), expected, strict=True):
        # Python's integers compare the error with half a unit, without rounding.
        n = len(given_values)
        assert 2 * abs(pixel * n - sum(given_values)) <= n


@pytest.mark.parametrize(
    "dtype",
    "bool uint8 int8 uint16 int64 uint64 float16 float32 float64 longdouble".split(),
)
def test_equal_values_average_to_themselves(dtype):
    rng = np.random.default_rng(0)
    if np.dtype(dtype).kind == "f":
        scale = 2.0 ** rng.integers(-10, 10, (200, 42, 1))
        images = (rng.normal(size=scale.shape) * scale).astype(dtype)
        images[0, :3, 0] = [np.finfo(dtype).max, np.finfo(dtype).tiny, -0.0]
    elif dtype == "bool":
        images = rng.random((200, 42, 1)) < 0.5
    else:
        info = np.iinfo(dtype)
        images = rng.integers(
            info.min, info.max, (200, 42, 1), dtype=dtype, endpoint=True
        )
        images[0, :2, 0] = info.min, info.max
    back = average_to_pixels(images[:, OVERLAPPING.ravel()], OVERLAPPING, 42)
    assert back.dtype == dtype
    np.testing.assert_array_equal(back, images)
    if np.dtype(dtype).kind == "f":
        np.testing.assert_array_equal(np.signbit(back), np.signbit(images))


def test_padding_and_pixels_that_no_step_reads():
    index_map = np.array([[0, 2, -1], [2, -1, -1]])
    values = np.array([[[1.0], [2.0], [9.0], [4.0], [9.0], [9.0]]])
    image = average_to_pixels(values, index_map, 4)
    assert image[0, :, 0].tolist() == [1, 0, 3, 0]
    by_step = average_to_pixels(np.array([[[1.0], [5.0]]]), index_map, 4)
    assert by_step[0, :, 0].tolist() == [1, 0, 3, 0]
