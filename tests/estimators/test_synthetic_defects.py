"""Synthetic defects: images, masks, and `synthetic_defects` of the detector."""

import cv2
import numpy as np
import pytest
from sklearn.base import clone
from sklearn.metrics import roc_auc_score

from sklstm import LSTMDefectDetector
from sklstm.estimators import _fitting, _synthetic_defects
from sklstm.estimators._synthetic_defects import (
    BORDER,
    KINDS,
    add_synthetic_defects,
    check_synthetic_defects,
    noise_defects,
    paste_defects,
    perlin_noise,
)


def surfaces(n=12, n_defective=2, dtype=np.uint8, channels=1, seed=0):
    """Grainy surfaces, each of its own brightness. The first ones have a dark spot."""
    rng = np.random.default_rng(seed)
    levels = rng.uniform(80, 200, (n, 1, 1, 1))
    x = np.clip(levels + rng.normal(0, 6, (n, 32, 40, channels)), 0, 255)
    y = np.zeros((n, 32, 40), np.uint8)
    for image, mask in zip(x[:n_defective], y[:n_defective], strict=True):
        row, column = rng.integers(2, 24), rng.integers(2, 32)
        mask[row : row + 5, column : column + 6] = 255
        image[mask > 0] -= 50
    if dtype == np.uint8:
        return np.round(np.clip(x, 0, 255)).astype(np.uint8), y
    return (x / 255).astype(dtype), y


def base_of(image, x):
    """Return the row of the image that another one was made of."""
    return np.argmin([np.count_nonzero(image != one) for one in x])


# --- images and masks ---------------------------------------------------------------


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
@pytest.mark.parametrize(
    ("make", "border"), [(paste_defects, BORDER), (noise_defects, 0)]
)
def test_only_the_new_defect_changes(make, border, dtype, channels):
    x, y = surfaces(n=32, dtype=dtype, channels=channels)
    images, masks = make(x, y, 30, 0)
    assert images.shape == (30, *x.shape[1:])
    assert masks.shape == (30, *y.shape[1:])
    assert (images.dtype, masks.dtype) == (x.dtype, y.dtype)
    assert images.min() >= 0
    assert images.max() <= (255 if dtype == np.uint8 else 1)
    square = np.ones((2 * border + 1, 2 * border + 1), np.uint8)
    for image, mask in zip(images, masks, strict=True):
        row = base_of(image, x)
        changed = (image != x[row]).any(axis=-1)
        assert mask.any()
        assert not changed[cv2.dilate(mask, square) == 0].any()
        # Nearly all of the mask is something else than before.
        assert changed[mask > 0].mean() > 0.7


@pytest.mark.parametrize("make", [paste_defects, noise_defects])
def test_images_without_defects_are_used_first(make):
    x, y = surfaces(n=8, n_defective=3)
    images, masks = make(x, y, 13, 0)
    rows = [base_of(image, x) for image in images]
    assert sorted(rows[:5]) == [3, 4, 5, 6, 7]
    assert sorted(rows[5:8]) == [0, 1, 2]
    assert sorted(rows[8:]) == [3, 4, 5, 6, 7]
    # A defect that was there stays in the mask.
    for row, mask in zip(rows, masks, strict=True):
        assert (mask >= y[row]).all()


def test_a_pasted_defect_follows_its_surroundings():
    x, y = surfaces(n=40, n_defective=1)
    images, masks = paste_defects(x, y, 39, 0)
    contrast = []
    for image, mask in zip(images[..., 0].astype(float), masks, strict=True):
        around = (cv2.dilate(mask, np.ones((9, 9), np.uint8)) > 0) & (mask == 0)
        contrast.append(image[mask > 200].mean() - image[around].mean())
    # The spot is 50 darker than its surface, and the surfaces differ by up to 120.
    assert np.abs(np.array(contrast) + 50).max() < 15
    # It is scaled.
    areas = (masks > 127).sum(axis=(1, 2))
    assert areas.min() < 25
    assert areas.max() > 38


def test_defects_are_pasted_from_every_region_of_a_mask():
    x = np.full((41, 40, 40, 1), 100, np.uint8)
    y = np.zeros((41, 40, 40), np.uint8)
    y[0, 2:5, 2:5], y[0, 20:32, 20:32] = 255, 255
    x[0][y[0] > 0] = 30
    areas = (paste_defects(x, y, 40, 0)[1] > 127).sum(axis=(1, 2))
    small, large = np.count_nonzero(areas < 20), np.count_nonzero(areas > 80)
    assert small > 8
    assert large > 8
    assert small + large == 40
    assert areas.max() < 240


def test_a_faint_speck_is_pasted():
    x, y = surfaces(n_defective=0)
    x[0, 9, 9], y[0, 9, 9] = 255, 3
    _, masks = paste_defects(x, y, 11, 0)
    assert masks.any(axis=(1, 2)).all()


def test_the_whole_image_can_be_a_defect():
    x, y = surfaces(n_defective=0)
    y[0] = 255
    _, masks = paste_defects(x, y, 11, 0)
    assert (masks > 0).mean(axis=(1, 2)).min() > 0.5


def test_noise_has_small_thin_and_large_shapes():
    x = np.random.default_rng(0).normal(100, 5, (4, 128, 128, 1)).astype(np.float32)
    _, masks = noise_defects(x, np.zeros((4, 128, 128), np.uint8), 60, 0)
    areas = (masks > 127).mean(axis=(1, 2))
    assert areas.max() <= 0.1
    assert areas.max() > 0.04
    assert areas.min() < 0.003
    thickness = [
        2 * cv2.distanceTransform((mask > 127).astype(np.uint8), cv2.DIST_L2, 5).max()
        for mask in masks
    ]
    thin = np.array(thickness) < 6
    assert np.count_nonzero(thin & (areas > 0.003)) > 10
    assert np.count_nonzero(~thin) > 10
    for mask in masks:  # one region
        assert cv2.connectedComponents((mask > 0).astype(np.uint8))[0] == 2


def test_noise_can_be_seen():
    """The shape differs from the grain around it, in its mean or its contrast."""
    x = np.random.default_rng(0).normal(100, 5, (6, 64, 64, 1)).astype(np.float32)
    images, masks = noise_defects(x, np.zeros((6, 64, 64), np.uint8), 40, 0)
    for image, mask in zip(images[..., 0], masks, strict=True):
        inside = image[mask > 127]
        shift, ratio = abs(inside.mean() - 100) / 5, inside.std() / 5
        assert shift > 0.9 or (inside.size > 40 and not 0.6 < ratio < 1.7)


def test_where_nothing_can_change_there_is_no_mask():
    x, y = np.full((3, 16, 16, 1), -3, np.float32), np.zeros((3, 16, 16), np.uint8)
    images, masks = noise_defects(x, y, 3, 0)
    np.testing.assert_array_equal(images, x)
    assert not masks.any()


def test_perlin_noise_is_smooth_and_zero_at_the_corners_of_the_cells():
    noise = perlin_noise((64, 96), (4, 3), 0)
    assert noise.shape == (64, 96)
    np.testing.assert_allclose(noise[::16, ::32], 0, atol=1e-12)
    assert 0.2 < noise.max() <= 1
    assert -1 <= noise.min() < -0.2
    assert np.abs(np.diff(noise, axis=0)).max() < 0.25
    assert np.abs(np.diff(noise, axis=1)).max() < 0.15


@pytest.mark.parametrize("kind", KINDS)
def test_the_seed_decides_and_the_arguments_do_not_change(kind):
    x, y = surfaces()
    before = x.copy(), y.copy()
    first = add_synthetic_defects(x, y, {kind: 0.5}, 0)
    again = add_synthetic_defects(x, y, {kind: 0.5}, np.random.default_rng(0))
    other = add_synthetic_defects(x, y, {kind: 0.5}, 1)
    for a, b, c, old in zip(first, again, other, before, strict=True):
        assert len(a) == 18
        np.testing.assert_array_equal(a, b)
        assert (a != c).any()
        np.testing.assert_array_equal(a[:12], old)
    np.testing.assert_array_equal(x, before[0])
    np.testing.assert_array_equal(y, before[1])


def test_shares():
    assert check_synthetic_defects(None) == {}
    assert check_synthetic_defects(0) == {}
    assert check_synthetic_defects(1) == {"paste": 0.5, "noise": 0.5}
    assert check_synthetic_defects({"noise": 0.2, "paste": 0}) == {"noise": 0.2}
    x, y = surfaces()
    assert len(add_synthetic_defects(x, y, 1.5, 0)[0]) == 30
    assert len(add_synthetic_defects(x, y, 0.001, 0)[0]) == 14  # one of each kind
    assert add_synthetic_defects(x, y, None, 0)[0] is x


def test_nothing_to_paste_is_an_error():
    x, y = surfaces(n_defective=0)
    with pytest.raises(ValueError, match="no defect to paste"):
        paste_defects(x, y, 1, 0)


# --- the detector -------------------------------------------------------------------


def make(**params):
    settings = {
        "size": (32, 40),
        "units": 4,
        "epochs": 1,
        "batch_size": 8,
        "random_state": 0,
        "network__filters": 4,
        "attention": None,
        "bidirectional": False,
        "decoder": False,
    }
    return LSTMDefectDetector(**{**settings, **params})


class Stop(Exception):
    """Raised in place of training."""


@pytest.fixture
def trained_on(monkeypatch):
    """Return a function that gives what `fit` would train on, and watch."""

    def fit(detector, *data, **params):
        seen = {}

        def stop(estimator, samples, watched, *, chances, **_):
            seen.update(x=samples.x, y=samples.y, chances=chances)
            seen["watched"] = watched
            raise Stop

        with monkeypatch.context() as patch:
            patch.setattr(_fitting, "train_network", stop)
            patch.setattr(_fitting, "start_network", lambda *_, **__: None)
            with pytest.raises(Stop):
                detector.fit(*data, **params)
        return seen

    return fit


@pytest.mark.parametrize(
    ("value", "error"),
    [
        (-0.1, ValueError),
        (np.nan, ValueError),
        (np.inf, ValueError),
        ({"paste": -1}, ValueError),
        ({"cut": 0.5}, ValueError),
        (True, TypeError),
        ("both", TypeError),
        ({"noise": "half"}, TypeError),
    ],
)
def test_a_wrong_share_is_an_error(value, error):
    x, y = surfaces()
    with pytest.raises(error, match=r"synthetic_defects=.*give a share"):
        make(synthetic_defects=value).fit(x, y > 0)


def test_labels_of_windows_are_an_error():
    x, _ = surfaces()
    labels = np.zeros((12, 20))
    labels[:4, 3] = 1
    with pytest.raises(ValueError, match=r"synthetic_defects=0.5 .* give masks"):
        make(synthetic_defects=0.5).fit(x, labels)


def test_only_the_training_part_has_synthetic_images(trained_on):
    x, y = surfaces(n=20, n_defective=4)
    given = x.copy()
    groups = np.arange(20) % 10
    plain = trained_on(make(early_stopping=True), x, y > 0, groups=groups)
    detector = make(early_stopping=True, synthetic_defects=1.0)
    more = trained_on(detector, x, y > 0, groups=groups)
    n = len(plain["x"])
    assert len(more["x"]) == len(more["y"]) == 2 * n
    np.testing.assert_array_equal(more["x"][:n], plain["x"])
    np.testing.assert_array_equal(more["y"][:n], plain["y"])
    np.testing.assert_array_equal(more["watched"].x, plain["watched"].x)
    np.testing.assert_array_equal(more["watched"].y, plain["watched"].y)
    # The new images are those of the training part, and no others.
    made = [base_of(image, x) for image in more["x"][n:]]
    kept = [base_of(image, x) for image in plain["x"]]
    assert set(made) <= set(kept)
    np.testing.assert_array_equal(x, given)
    again = trained_on(clone(detector), x, y > 0, groups=groups)
    np.testing.assert_array_equal(again["x"], more["x"])
    other = trained_on(clone(detector).set_params(random_state=1), x, y > 0)
    assert not np.array_equal(other["x"], more["x"])


def test_given_validation_data_stay_as_they_are(trained_on):
    x, y = surfaces()
    x_val, y_val = surfaces(seed=1)
    detector = make(synthetic_defects={"paste": 1})
    seen = trained_on(detector, x, y > 0, x_val, y_val > 0)
    assert len(seen["x"]) == 24
    np.testing.assert_array_equal(seen["watched"].x, x_val)
    np.testing.assert_array_equal(seen["watched"].y, y_val)


def test_one_mask_and_validation_data_are_enough(trained_on):
    x, y = surfaces(n_defective=1)
    masks = [y[0] > 0, *[None] * 11]
    seen = trained_on(make(synthetic_defects=1.0), x, masks, x, y > 0)
    assert (seen["y"][12:] > 0).any(axis=(1, 2)).all()


def test_balanced_sampling_counts_synthetic_images(trained_on):
    x, y = surfaces(n=20, n_defective=4)
    detector = make(synthetic_defects=0.5, sampling="balanced")
    seen = trained_on(detector, x, y > 0)
    defective = seen["y"].any(axis=(1, 2))
    assert defective.sum() > 8
    assert len(seen["chances"]) == len(seen["x"])
    np.testing.assert_allclose(seen["chances"][defective].sum(), 0.5)
    np.testing.assert_allclose(seen["chances"][~defective].sum(), 0.5)


@pytest.mark.slow
def test_members_have_defects_of_their_own_and_a_clone_of_one_has_the_same(monkeypatch):
    made = []

    def note(*args):
        made.append(add_synthetic_defects(*args))
        return made[-1]

    monkeypatch.setattr(_synthetic_defects, "add_synthetic_defects", note)
    x, y = surfaces(n=20, n_defective=5)
    ensemble = make(n_estimators=2, bootstrap=True, synthetic_defects=1.0)
    ensemble.fit(x, y > 0)
    first, second = (masks for _, masks in made)
    assert len(first) == len(second)
    assert not np.array_equal(first, second)
    rows = ensemble.estimators_samples_[0]
    member = clone(ensemble.estimators_[0])
    member.fit(x[rows], y[rows] > 0, groups=rows)
    np.testing.assert_array_equal(made[-1][1], first)
    np.testing.assert_allclose(
        member.predict_proba(x), ensemble.estimators_[0].predict_proba(x), atol=1e-6
    )


@pytest.mark.slow
def test_a_defect_that_two_masks_show_is_learned():
    """One of them is trained on, and the other one chooses the threshold."""
    x, y = surfaces(n=60, n_defective=2)
    x_test, y_test = surfaces(n=40, n_defective=20, seed=1)
    settings = {"epochs": 12, "units": 8, "sampling": "balanced"}
    scores = []
    for share in (None, {"paste": 0.5}):
        detector = make(synthetic_defects=share, **settings)
        detector.fit(x, [mask > 0 if mask.any() else None for mask in y])
        scores.append(
            roc_auc_score(y_test.any((1, 2)), detector.decision_function(x_test))
        )
    assert scores[1] > 0.95
    assert scores[1] > scores[0] + 0.05
