"""JointAugmentation: images and their masks move alike."""

from sklstm._keras import keras

import numpy as np
import pytest

from sklstm.networks import JointAugmentation, split_augmentation


def plates(n, seed=0, shape=(32, 40)):
    """Return noisy plates; every other one has a dark spot of 8 x 8 pixels."""
    rng = np.random.default_rng(seed)
    X = rng.normal(100, 5, (n, *shape))
    Y = np.zeros((n, *shape), bool)
    for image, mask in zip(X[::2], Y[::2], strict=True):
        row, column = 8 * rng.integers(0, 4), 8 * rng.integers(0, shape[1] // 8)
        mask[row : row + 8, column : column + 8] = True
        image[mask] -= 40
    return np.clip(X, 0, 255).astype(np.uint8), Y


def test_masks_move_with_their_images():
    assert split_augmentation({"rotation": 0, "fill": "nearest"}) == (None, None)
    moves, changes = split_augmentation("medium")
    assert set(moves) == {"rotation", "translation", "zoom"}
    assert set(changes) == {"contrast", "erasing"}
    augmentation = JointAugmentation(moves, (32, 40, 1))
    augmentation.start(np.random.SeedSequence(0))
    X, Y = plates(20)
    given = X[..., None], Y * np.uint8(255), np.arange(20)
    images, masks, weights = augmentation(*given)
    np.testing.assert_array_equal(weights, np.arange(20))
    images, masks = (keras.ops.convert_to_numpy(a) for a in (images[..., 0], masks))
    assert not np.array_equal(masks, Y * 255)
    inside = masks > 250
    assert inside.any()
    assert images[inside].max() < 90  # dark where the mask is
    augmentation.start(np.random.SeedSequence(0))
    again = keras.ops.convert_to_numpy(augmentation(*given)[1])
    np.testing.assert_array_equal(again, masks)


@pytest.mark.backend
@pytest.mark.parametrize("name", ["surface", "fundus", "characters"])
def test_masks_move_with_images_of_a_kind(name):
    moves, changes = split_augmentation(name)
    assert not {"contrast", "brightness"} & set(moves)
    assert not {"turn", "crop", "shear", "fill", "resampling"} & set(changes or {})
    augmentation = JointAugmentation(moves, (32, 32, 1))
    augmentation.start(np.random.SeedSequence(0))
    Y = plates(20, shape=(32, 32))[1]
    # Each image shows its own mask.
    given = Y[..., None] * np.uint8(255), Y * np.uint8(255), np.ones(20)
    images, masks, _ = augmentation(*given)
    images, masks = (keras.ops.convert_to_numpy(a) for a in (images[..., 0], masks))
    np.testing.assert_array_equal(images, masks)
    assert not np.array_equal(masks, Y * 255)
    assert masks.min() >= 0
    assert masks.max() <= 255
    if name == "surface":  # it copies pixels
        assert set(np.unique(masks)) == {0, 255}


def test_a_way_to_move_alone_moves_nothing():
    manner = {"resampling": "once", "fill": "reflect"}
    assert split_augmentation(manner) == (None, None)
    assert split_augmentation({**manner, "color": 0.1}) == (None, {"color": 0.1})
