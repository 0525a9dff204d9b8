"""Patches: images as grids of patches that do not overlap."""

from sklstm._keras import keras

import numpy as np
import pytest

from sklstm.networks import Patches
from sklstm.networks.layers._patches import default_patch_size, patch_side


@pytest.mark.backend
@pytest.mark.parametrize("size", [1, 3, (2, 5), (5, 1)])
def test_patches_by_their_definition(size):
    images = np.random.default_rng(0).normal(size=(2, 6, 7, 3)).astype("float32")
    layer = Patches(size)
    height, width = layer.size
    found = keras.ops.convert_to_numpy(layer(images))
    down, across = -(-6 // height), -(-7 // width)
    shape = (2, down, across, height * width * 3)
    assert found.shape == shape == layer.compute_output_shape(images.shape)
    filled = np.zeros((2, down * height, across * width, 3), "float32")
    filled[:, :6, :7] = images
    for i, j in np.ndindex(down, across):
        rows = slice(i * height, (i + 1) * height)
        patch = filled[:, rows, j * width : (j + 1) * width]
        np.testing.assert_array_equal(found[:, i, j], patch.reshape(2, -1))
    again = Patches.from_config(layer.get_config())
    np.testing.assert_array_equal(keras.ops.convert_to_numpy(again(images)), found)


def test_sizes_that_are_no_patches():
    with pytest.raises(ValueError, match=r"size=\(2, 0\) must be at least 1"):
        Patches((2, 0))
    for size in (0, 1.5, (2, 2)):
        with pytest.raises(ValueError, match="must be a whole number of at least 1, o"):
            patch_side(size, 8, 8)
    with pytest.raises(
        ValueError, match=r"patch_size=9 is larger .* 10 x 8: .* most 8"
    ):
        patch_side(9, 10, 8)


@pytest.mark.parametrize(("shape", "size"), [
    ((8, 8), 1),
    ((16, 16), 1),
    ((28, 28), 2),
    ((32, 32), 2),
    ((64, 64), 4),
    ((224, 224), 14),
    ((2, 5000), 2),
    ((64, 16), 2),
])  # fmt: skip
def test_default_size_gives_about_sixteen_lines_a_side(shape, size):
    assert default_patch_size(*shape) == patch_side(None, *shape) == size
    assert patch_side(min(shape), *shape) == min(shape)
