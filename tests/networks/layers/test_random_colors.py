"""RandomBrightness and RandomColor, on every backend."""

from sklstm._keras import keras

import numpy as np
import pytest

from sklstm.networks import RandomBrightness, RandomColor
from sklstm.networks.initialize import reseed

pytestmark = pytest.mark.backend


def changed_by(layer, images, seed=0):
    reseed(layer, np.random.default_rng(seed))
    return keras.ops.convert_to_numpy(layer(images, training=True))


def of(n, *shape):
    return np.random.default_rng(0).uniform(0, 255, (n, *shape)).astype("float32")


@pytest.mark.parametrize("kind", [RandomBrightness, RandomColor])
def test_every_image_changes_in_its_own_way_and_the_seed_decides(kind):
    images = np.repeat(of(1, 5, 6, 3), 30, axis=0)
    changed = changed_by(kind(0.2), images, seed=3)
    assert len(np.unique(changed.reshape(30, -1), axis=0)) == 30
    np.testing.assert_array_equal(changed_by(kind(0.2), images, seed=3), changed)
    assert not np.array_equal(changed_by(kind(0.2), images, seed=4), changed)


@pytest.mark.parametrize("kind", [RandomBrightness, RandomColor])
def test_nothing_changes_outside_training(kind):
    images = of(4, 5, 6, 3)
    for arguments in ({}, {"training": False}):
        same = keras.ops.convert_to_numpy(kind(0.2)(images, **arguments))
        np.testing.assert_array_equal(same, images)


@pytest.mark.parametrize("kind", [RandomBrightness, RandomColor])
@pytest.mark.parametrize(("scale", "low"), [(1 / 255, 0), (2, -1000), (100, 1e4)])
def test_values_may_have_any_range(kind, scale, low):
    images = of(10, 5, 6, 3)
    usual = changed_by(kind(0.3), images)
    scaled = changed_by(kind(0.3), images * np.float32(scale) + np.float32(low))
    np.testing.assert_allclose((scaled - low) / scale, usual, atol=0.01)


@pytest.mark.parametrize("kind", [RandomBrightness, RandomColor])
def test_they_have_a_config(kind):
    layer = kind(0.25, name="mine")
    again = kind.from_config(layer.get_config())
    assert (again.amount, again.name) == (0.25, "mine")
    assert layer.compute_output_shape((None, 4, 4, 1)) == (None, 4, 4, 1)


@pytest.mark.parametrize("shape", [(6, 6, 1), (6, 6, 3), (4, 6, 6, 1)])
def test_brightness_is_measured_by_the_image(shape):
    images = of(300, *shape)
    images *= np.geomspace(0.1, 10, 300).reshape(-1, *(1,) * len(shape))
    shift = (changed_by(RandomBrightness(0.4), images) - images).reshape(300, -1)
    shift /= images.reshape(300, -1).std(axis=1, keepdims=True)
    np.testing.assert_allclose(shift, shift[:, :1].repeat(shift.shape[1], 1), atol=1e-4)
    assert 0.38 < shift.max() < 0.401
    assert -0.401 < shift.min() < -0.38


@pytest.mark.parametrize("channels", [1, 2, 4])
def test_only_images_of_three_channels_have_colours(channels):
    images = of(4, 5, 6, channels)
    np.testing.assert_array_equal(changed_by(RandomColor(0.5), images), images)


@pytest.mark.parametrize("shape", [(6, 6, 3), (4, 6, 6, 3)])
def test_saturation_and_channels_are_scaled(shape):
    images = of(300, *shape)
    images[:, 0, 0, :] = 0  # the darkest pixels of all
    changed = changed_by(RandomColor(0.3), images).reshape(300, -1, 3)
    pixels = images.reshape(300, -1, 3)
    gray = pixels.mean(axis=-1, keepdims=True)
    found = []
    for before, after, middle in zip(pixels, changed, gray, strict=True):
        # Each channel is scale * (gray + saturation * (channel - gray)).
        fits = [
            np.linalg.lstsq(
                np.column_stack([middle[:, 0], before[:, c] - middle[:, 0]]),
                after[:, c],
                rcond=None,
            )
            for c in range(3)
        ]
        assert max(fit[1][0] for fit in fits) < 0.1  # the model explains all pixels
        scales = np.array([fit[0][0] for fit in fits])
        saturation = np.array([fit[0][1] for fit in fits]) / scales
        np.testing.assert_allclose(saturation, saturation[0], rtol=1e-4)
        found.append([*scales, saturation[0]])
    found = np.array(found)
    assert (found.max(axis=0) < 1.301).all()
    assert (found.min(axis=0) > 0.699).all()
    assert (np.ptp(found, axis=0) > 0.55).all()
    assert np.abs(np.corrcoef(found.T) - np.eye(4)).max() < 0.25
