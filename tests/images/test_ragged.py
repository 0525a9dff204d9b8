import numpy as np
import pytest

from sklstm.images._ragged import check_images, resize_images
from sklstm.images._resize import resize


@pytest.mark.parametrize("shape", [(1, 1), (40_000, 3), (3, 40_000), (32, 40)])
def test_images_of_any_size_are_resized(shape):
    image = np.full((*shape, 2), 7, np.uint8)
    (resized,) = resize_images([image], (32, 40))
    assert resized.shape == (32, 40, 2)
    assert (resized == 7).all()


@pytest.mark.parametrize(
    "dtype", ["?", "i1", "u2", ">u2", "i4", "u4", "i8", "u8", "f2", "f4", ">f8", "g"]
)
def test_images_of_any_dtype_are_resized(dtype):
    X = (np.random.default_rng(0).random((2, 20, 30)) * 100).astype(dtype)
    found = resize_images(check_images(X), (8, 9))
    assert found.dtype == np.float32
    expected = [resize(x.astype("float32"), (8, 9)) for x in X]
    np.testing.assert_array_equal(found[..., 0], expected)
    turned = resize_images(check_images(X[:, ::-1]), (8, 9))
    np.testing.assert_allclose(turned, found[:, ::-1], rtol=1e-5)
