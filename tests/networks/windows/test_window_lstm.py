"""window_lstm: where its decoder puts the pixels, and what it refuses."""

from sklstm._keras import keras

import numpy as np
import pytest

from sklstm import PatchSequencer
from sklstm.networks import split_outputs, split_pixels, window_lstm

SHAPE, GRID, SIDES = (24, 16, 1), (3, 2), (8, 8)


def build(**params):
    settings = {
        "index_map": PatchSequencer(8, 8).get_index_map(SHAPE[:2]),
        "stem": (SIDES, SIDES),
        "units": 4,
        "filters": 4,
        "decoder": True,
    }
    return window_lstm(SHAPE, GRID, **{**settings, **params})


@pytest.mark.backend
@pytest.mark.parametrize("crf", [True, pytest.param(False, marks=pytest.mark.slow)])
def test_pixels_are_where_the_last_convolution_has_them(crf):
    keras.utils.set_random_seed(0)
    model = build(crf=crf)
    assert model.output_shape == (None, *GRID, (9 if crf else 1) + 64)
    last = model.get_layer("pixels")
    both = keras.Model(model.inputs, [model.output, last.output])
    x = np.random.default_rng(0).normal(size=(2, *SHAPE)).astype("float32")
    outputs, maps = (keras.ops.convert_to_numpy(part) for part in both([x]))
    pixels = keras.ops.convert_to_numpy(split_pixels(outputs, SIDES))
    assert pixels.shape == (2, 24, 16)
    rows, columns = np.indices((24, 16))
    expected = maps[:, rows // 2, columns // 2, 2 * (rows % 2) + columns % 2]
    np.testing.assert_array_equal(pixels, expected)
    # The windows are those of the same network without its decoder.
    plain = build(crf=crf, decoder=False)
    names = {variable.path for variable in plain.variables}
    plain.set_weights(
        [
            keras.ops.convert_to_numpy(variable)
            for variable in model.variables
            if variable.path in names
        ]
    )
    windows = keras.ops.convert_to_numpy(plain(x))
    np.testing.assert_allclose(outputs[..., :-64], windows, atol=1e-6)
    tensor = keras.ops.convert_to_tensor(outputs)
    score, chains = split_outputs(tensor, GRID, n_pixels=64)
    np.testing.assert_array_equal(keras.ops.convert_to_numpy(score), outputs[..., 0])
    assert set(chains) == ({"rows", "columns"} if crf else set())


def test_a_pixel_sees_the_details_around_it():
    """Of two places in one window, each changes with the pixels beside it."""
    keras.utils.set_random_seed(0)
    model = build()
    x = np.random.default_rng(0).normal(size=(1, *SHAPE)).astype("float32")
    changed = x.copy()
    changed[0, 9, 1] += 3.0

    def pixels(x):
        return keras.ops.convert_to_numpy(split_pixels(model(x), SIDES))[0]

    moved = np.abs(pixels(changed) - pixels(x))[8:16, :8]
    assert moved[:3, :3].mean() > 2 * moved[5:, 5:].mean()


@pytest.mark.parametrize(
    "params",
    [{"stem": None}, {"stem": ((8, 8), (4, 4))}, {"stem": ((8, 4), (8, 4))}],
    ids=["no stem", "overlap", "other windows"],
)
def test_windows_that_do_not_fill_the_image(params):
    with pytest.raises(ValueError, match="decoder=True needs a stem and windows that"):
        build(**params)
