"""GridToLines and LinesToGrid: the rows and columns of a grid as sequences."""

from sklstm._keras import keras

import numpy as np
import pytest

from sklstm.networks import GridToLines, LinesToGrid


@pytest.mark.backend
@pytest.mark.parametrize("axis", ["rows", "columns"])
def test_lines_by_their_definition_and_back(axis):
    grid = np.random.default_rng(0).normal(size=(2, 3, 4, 5)).astype("float32")
    to_lines, to_grid = GridToLines(axis), LinesToGrid(axis, (3, 4))
    lines = to_lines(grid)
    turned = grid if axis == "rows" else grid.transpose(0, 2, 1, 3)
    expected = np.concatenate(list(turned))
    np.testing.assert_array_equal(keras.ops.convert_to_numpy(lines), expected)
    assert to_lines.compute_output_shape((None, 3, 4, 5))[1:] == expected.shape[1:]
    back = to_grid(lines)
    np.testing.assert_array_equal(keras.ops.convert_to_numpy(back), grid)
    assert to_grid.compute_output_shape((None, 4, 5)) == (None, 3, 4, 5)
    # Files of trained networks hold these names.
    for layer in (to_lines, to_grid):
        stored = keras.saving.serialize_keras_object(layer)
        assert stored["registered_name"] == f"sklstm>{type(layer).__name__}"
        again = keras.saving.deserialize_keras_object(stored)
        assert again.get_config() == layer.get_config()
