"""PixelEmbedding: a vector for each grey level."""

from sklstm._keras import keras

import numpy as np
import pytest

from sklstm.networks import PixelEmbedding, Standardize, lstm
from sklstm.networks.initialize import initialize


def to_numpy(x):
    return keras.ops.convert_to_numpy(x)


def embedding(units, low=0.0, high=1.0):
    layer = PixelEmbedding(units)
    layer.build((None, None, 4))
    rng = np.random.default_rng(1)
    layer.levels.assign(rng.normal(size=(256, units)).astype("float32"))
    layer.set(low, high)
    return layer, layer.levels.numpy()


@pytest.mark.parametrize("units", [1, 3])
def test_pixel_embedding(units):
    layer, levels = embedding(units, low=-1.5, high=2.5)
    x = np.random.default_rng(0).uniform(-3, 4, (2, 5, 4)).astype("float32")
    place = np.clip((x + 1.5) / 4, 0, 1) * 255
    assert place.min() == 0  # some pixels lie below the range and some above
    assert place.max() == 255
    level = np.rint(place).astype(int)
    expected = np.concatenate([levels[level[..., i]] for i in range(4)], axis=-1)
    out = to_numpy(layer(x))
    assert out.shape == (2, 5, 4 * units)
    np.testing.assert_array_equal(out, expected)
    assert layer.compute_output_shape((None, 5, 4)) == (None, 5, 4 * units)


@pytest.mark.parametrize(("mean", "scale"), [(0.0, 1.0), (33.318, 78.567), (4.6, 17.0)])
def test_each_byte_has_its_own_level(mean, scale):
    # Without standardization, and with that of LSTMImageClassifier.
    layer, levels = embedding(3, low=(0 - mean) / scale, high=(255 - mean) / scale)
    standardize = Standardize()
    standardize.build((None, None, 4))
    standardize.set(mean, scale)
    x = np.arange(256, dtype="float32").reshape(1, 64, 4)
    out = to_numpy(layer(standardize(x)))
    np.testing.assert_array_equal(out.reshape(256, 3), levels)


def test_an_image_of_one_grey_level():
    layer, levels = embedding(2, low=7.0, high=7.0)
    out = to_numpy(layer(np.full((1, 1, 4), 7.0, "float32")))
    np.testing.assert_array_equal(out.reshape(4, 2), levels[[0, 0, 0, 0]])


def test_training_changes_the_levels_it_sees_and_not_the_range():
    layer, levels = embedding(2, low=0.0, high=255.0)
    assert [w.name for w in layer.trainable_weights] == ["levels"]
    inputs = keras.Input((1, 4))
    x = keras.layers.Flatten()(layer(inputs))
    model = keras.Model(inputs, keras.layers.Dense(1)(x))
    model.compile("sgd", "mse")
    model.train_on_batch(np.array([[[3, 9, 9, 200]]], "float32"), np.array([[5.0]]))
    moved = np.flatnonzero((layer.levels.numpy() != levels).any(axis=1))
    assert moved.tolist() == [3, 9, 200]
    assert (float(layer.low), float(layer.high)) == (0.0, 255.0)


def started_levels(seed, units=6):
    model = lstm((None, 4), 2, units=2, embedding="pixel", embedding_units=units)
    layer = model.get_layer("embedding")
    assert layer.levels.shape == (256, units)
    layer.set(-1.0, 3.0)
    initialize(model, np.random.SeedSequence(seed))
    assert (float(layer.low), float(layer.high)) == (-1.0, 3.0)
    return layer.levels.numpy()


def test_levels_start_smooth_and_standardized():
    levels = started_levels(0)
    np.testing.assert_allclose(levels.mean(axis=0), 0, atol=1e-5)
    np.testing.assert_allclose(levels.std(axis=0), 1, rtol=1e-5)
    # The first number of a vector is the level.
    steps = np.diff(levels[:, 0])
    np.testing.assert_allclose(steps, steps[0], rtol=1e-2)
    assert steps[0] > 0
    for near, far in ((1, 16), (16, 128)):
        close, distant = (
            np.linalg.norm(levels[k:] - levels[:-k], axis=1) for k in (near, far)
        )
        assert close.max() < distant.min()
        assert close.mean() < distant.mean() / 3
    # The vector most similar to that of a level is that of a neighbour.
    between = np.linalg.norm(levels[:, None] - levels[None], axis=-1)
    np.fill_diagonal(between, np.inf)
    assert np.all(np.abs(between.argmin(axis=1) - np.arange(256)) == 1)


def test_levels_start_from_the_seed():
    same, other = started_levels(0), started_levels(1)
    np.testing.assert_array_equal(started_levels(0), same)
    assert np.abs(same[:, 1:] - other[:, 1:]).max() > 0.1
    # No two columns are equal.
    correlation = np.corrcoef(same.T) - np.eye(6)
    assert np.abs(correlation).max() < 0.999
