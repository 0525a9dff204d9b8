from sklstm._keras import keras

import numpy as np
import pytest

from sklstm.networks import MixedPairs, Mixing

pytestmark = pytest.mark.backend

ops = keras.ops
EYE = np.eye(3, dtype="float32")


def batch(n, shape=(8, 6, 2), seed=0):
    """Return samples that hold their row number, one-hot targets and weights."""
    rng = np.random.default_rng(seed)
    x = np.zeros((n, *shape), "float32") + np.arange(n).reshape(n, *[1] * len(shape))
    return x.astype("float32"), EYE[rng.integers(0, 3, n)], np.ones(n, "float32")


def mix(layer, x, y, w, **kwargs):
    layer.seed_generator.state.assign(
        np.array([3, 0], layer.seed_generator.state.dtype)
    )
    out = layer(*map(ops.convert_to_tensor, (x, y, w)), **kwargs)
    return [np.asarray(ops.convert_to_numpy(part)) for part in out]


@pytest.mark.parametrize("shape", [(5, 7), (8, 6, 2), (4, 4, 4, 1)])
def test_mixup_is_a_mean_of_samples_and_targets(shape):
    x, y, w = batch(40, shape)
    mixed, target, weight = mix(MixedPairs(mixup=1.0), x, y, w)
    others = np.roll(np.arange(40), 1)
    # Row k is share * k + (1 - share) * (k - 1) everywhere.
    flat = mixed.reshape(40, -1)
    np.testing.assert_allclose(flat, flat[:, :1] + 0 * flat, atol=1e-5)
    share = flat[1:, 0] - others[1:]
    assert share.min() > 0
    assert share.max() < 1
    assert share.std() > 0.2  # uniform
    expected = share[:, None] * y[1:] + (1 - share[:, None]) * y[others[1:]]
    np.testing.assert_allclose(target[1:], expected, atol=1e-5)
    np.testing.assert_allclose(weight, 1, atol=1e-6)
    # The first row is mixed with the last one.
    assert 0 < flat[0, 0] < 39


@pytest.mark.parametrize("shape", [(50, 3), (16, 20, 2), (6, 8, 10, 1)])
def test_cutmix_pastes_a_box_and_counts_its_area(shape):
    x, y, w = batch(60, shape)
    mixed, target, _ = mix(MixedPairs(cutmix=1.0), x, y, w)
    others = np.roll(np.arange(60), 1)
    shares = []
    for k in range(60):
        inside = mixed[k] == others[k]
        assert (inside | (mixed[k] == k)).all()
        assert (inside == inside[..., :1]).all()  # all channels alike
        share = 1 - inside.mean()
        shares.append(share)
        expected = share * y[k] + (1 - share) * y[others[k]]
        np.testing.assert_allclose(target[k], expected, atol=1e-5)
        places = np.argwhere(inside[..., 0])
        if len(places):
            sides = places.max(0) - places.min(0) + 1
            assert np.prod(sides) == len(places)  # a box
            wanted = sides / np.array(shape[:-1])
            assert np.ptp(wanted) <= 1.01 / min(shape[:-1])  # of the image's form
    assert np.std(shares) > 0.2
    # Boxes reach each border.
    seen = np.stack([mixed[k] == others[k] for k in range(60)]).any(0)
    assert seen.all()


def test_alpha_shapes_the_weights_and_follows_the_variable():
    x, y, w = batch(200)
    layer = MixedPairs(mixup=0.1)
    share = mix(layer, x, y, w)[0][1:, 0, 0, 0] - np.arange(199)
    assert np.mean((share < 0.05) | (share > 0.95)) > 0.6
    layer.mixup.assign(50.0)
    share = mix(layer, x, y, w)[0][1:, 0, 0, 0] - np.arange(199)
    assert np.abs(share - 0.5).max() < 0.25


def test_each_image_takes_one_of_both():
    x, y, w = batch(60)
    mixed = mix(MixedPairs(mixup=1.0, cutmix=1.0), x, y, w)[0].reshape(60, -1)
    even = np.ptp(mixed, axis=1) < 1e-6
    fractions = np.abs(mixed - np.round(mixed)).max(axis=1) > 1e-4
    assert 10 < fractions.sum() < 50  # mixup
    assert np.all(even[fractions])
    assert (~even).sum() > 10  # CutMix


def test_the_loss_is_that_of_both_samples_by_their_weights():
    x, y, _ = batch(12)
    w = np.random.default_rng(1).uniform(0.2, 3, 12).astype("float32")
    layer = MixedPairs(mixup=1.0)
    mixed, target, weight = mix(layer, x, y, w)
    rng = np.random.default_rng(2)
    p = rng.dirichlet([1, 1, 1], 12)
    others = np.roll(np.arange(12), 1)
    share = (mixed[1:, 0, 0, 0] - others[1:])[:, None]
    loss = -(target * np.log(p)).sum(1) * weight
    own = -(y * np.log(p)).sum(1) * w
    other = -(y[others] * np.log(p)).sum(1) * w[others]
    expected = share[:, 0] * own[1:] + (1 - share[:, 0]) * other[1:]
    np.testing.assert_allclose(loss[1:], expected, rtol=1e-4)


def test_filling_rows_are_no_partners():
    x, y, w = batch(8)
    layer = MixedPairs(mixup=1.0, cutmix=0.5)
    mixed, target, _ = mix(layer, x, y, w, n=ops.convert_to_tensor(np.int32(5)))
    alone = mix(layer, x[:5], y[:5], w[:5])
    if keras.backend.backend() == "jax":  # random numbers begin alike there
        np.testing.assert_allclose(mixed[:5], alone[0], atol=1e-5)
        np.testing.assert_allclose(target[:5], alone[1], atol=1e-5)
    assert mixed[0].max() <= 4.0


def test_one_sample_stays_as_it_is():
    x, y, w = batch(1)
    mixed, target, weight = mix(MixedPairs(mixup=1.0, cutmix=1.0), x + 3, y, w)
    np.testing.assert_allclose(mixed, x + 3, rtol=1e-6)
    np.testing.assert_allclose(target, y, rtol=1e-6)
    np.testing.assert_allclose(weight, w, rtol=1e-6)


def test_images_are_augmented_before_they_are_mixed():
    # A flip after the paste would also flip the box.
    x = np.zeros((30, 8, 8, 1), "float32")
    x[:, :, :4] = 1 + np.arange(30).reshape(30, 1, 1, 1)
    mixing = Mixing(
        {"mixup": 0.0, "cutmix": 1.0, "augmentation": {"flip": "horizontal"}},
        (8, 8, 1),
    )
    mixing.start(np.random.SeedSequence(0))
    same = EYE[np.zeros(30, int)], np.ones(30)
    mixed = ops.convert_to_numpy(mixing(x, *same)[0])
    flipped = [(mixed[k, :, 4:] == 1 + k).any() for k in range(30)]
    kept = [(mixed[k, :, :4] == 1 + k).any() for k in range(30)]
    assert 3 < sum(flipped) < 27
    assert 3 < sum(kept) < 27
    assert not np.logical_and(flipped, kept).any()
    mixing.start(np.random.SeedSequence(0))
    again = ops.convert_to_numpy(mixing(x, *same)[0])
    np.testing.assert_array_equal(again, mixed)
    assert len(mixing.variables) == 3  # two seeds and the parameter of CutMix


def test_it_comes_back_from_its_configuration():
    layer = MixedPairs(mixup=0.3, cutmix=0.7)
    layer.cutmix.assign(0.9)
    copy = MixedPairs.from_config(layer.get_config())
    assert float(copy.mixup.value) == pytest.approx(0.3)
    assert float(copy.cutmix.value) == pytest.approx(0.9)
    with pytest.raises(ValueError, match="above zero"):
        MixedPairs()
