import numpy as np
import pytest

from sklstm.images._resize import resize

DTYPES = ["u1", "u2", "u4", "u8", "i1", "i2", "i4", "i8", "f2", "f4", "f8", "?"]


def extremes(dtype):
    dtype = np.dtype(dtype)
    if dtype.kind == "b":
        return False, True
    if dtype.kind == "f":
        return dtype.type(-1000.5), dtype.type(1000.5)
    return np.iinfo(dtype).min, np.iinfo(dtype).max


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("size", [(4, 5), (3, 30), (40, 6), (31, 29)])
def test_every_dtype_is_resized_and_kept(dtype, size):
    rng = np.random.default_rng(0)
    for shape in ((20, 13), (20, 13, 3)):
        image = rng.integers(0, 100, shape).astype(dtype)
        result = resize(image, size)
        assert result.dtype == dtype
        assert result.shape == (*size, *shape[2:])
        expected = resize(image.astype("f4"), size)
        off = np.abs(result.astype(float) - expected)
        # OpenCV rounds after each of the two steps.
        tolerance = 1.01 if dtype in ("u1", "u2", "i2") else 0.51
        assert off.max() <= tolerance
    for value in extremes(dtype):
        image = np.full((20, 13), value, dtype)
        result = resize(image, size)
        nearly = {"u8": 2**12, "i8": 2**12, "f4": 1e-3, "f8": 1e-9}.get(dtype, 0)
        assert abs(float(result.min()) - float(value)) <= nearly
        assert abs(float(result.max()) - float(value)) <= nearly


def test_resizing_in_float64_is_exact():
    image = np.random.default_rng(0).normal(size=(6, 8))
    means = image.reshape(3, 2, 2, 4).mean(axis=(1, 3))
    np.testing.assert_allclose(resize(image, (3, 2)), means, rtol=1e-12)
    image[2, 2] = np.nan
    assert np.isnan(resize(image, (3, 2))).sum() == 1


@pytest.mark.parametrize("n_channels", [1, 4, 5, 9, 600])
def test_any_number_of_channels_is_resized(n_channels):
    X = np.random.default_rng(0).random((50, 30, n_channels), np.float32)
    resized = resize(X, (20, 40))
    assert resized.shape == (20, 40, n_channels)
    for i in {0, n_channels // 2, n_channels - 1}:
        np.testing.assert_array_equal(resized[..., i], resize(X[..., i], (20, 40)))
