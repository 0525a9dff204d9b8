"""bilstm_2d: a grid read along its rows and along its columns."""

from sklstm._keras import keras

import numpy as np
import pytest

from sklstm.networks._scan_2d import bilstm_2d
from sklstm.networks.initialize import initialize

to_numpy = keras.ops.convert_to_numpy


@pytest.mark.backend
@pytest.mark.parametrize("bidirectional", [True, False])
def test_lines_in_one_batch_give_what_a_loop_over_them_gives(bidirectional):
    inputs = keras.Input((3, 4, 2))
    model = keras.Model(
        inputs,
        bilstm_2d(
            inputs, units=5, bidirectional=bidirectional, regularizer=None, prefix="a_"
        ),
    )
    initialize(model, np.random.SeedSequence(0))
    grid = np.random.default_rng(0).normal(size=(2, 3, 4, 2)).astype("float32")
    kind, width = ("bidirectional", 10) if bidirectional else ("lstm", 5)
    rows, columns = (
        model.get_layer(f"a_{axis}_{kind}") for axis in ("rows", "columns")
    )
    expected = np.empty((2, 3, 4, 2 * width), "float32")
    for i in range(3):
        expected[:, i, :, :width] = to_numpy(rows(grid[:, i]))
    for j in range(4):
        expected[:, :, j, width:] = to_numpy(columns(grid[:, :, j]))
    found = to_numpy(model(grid))
    assert len(np.unique(found.round(4))) > 0.9 * found.size
    np.testing.assert_allclose(found, expected, atol=1e-5)
