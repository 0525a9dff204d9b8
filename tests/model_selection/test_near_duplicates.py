import numpy as np
import pytest

from sklstm.model_selection._near_duplicates import (
    NearDuplicates,
    _best_of_each,
    _gauss_newton,
    _moving,
    equal_pairs,
    expected_by_chance,
    thumbnails,
)

cv2 = pytest.importorskip("cv2")


def smooth(rng, n, side, sigma=1.5):
    noise = rng.normal(size=(n, side, side)).astype(np.float32)
    return np.stack([cv2.GaussianBlur(one, (0, 0), sigma) for one in noise])


def test_thumbnails_do_not_depend_on_scale_dtype_or_size():
    rng = np.random.default_rng(0)
    images = rng.integers(0, 200, (3, 40, 50), dtype=np.uint8)
    small = thumbnails(images)
    assert small.shape == (3, 64, 64)
    np.testing.assert_allclose(small.mean(axis=(1, 2)), 0, atol=1e-4)
    np.testing.assert_allclose(small.std(axis=(1, 2)), 1, rtol=1e-3)
    np.testing.assert_allclose(thumbnails(images * 1e30), small, atol=1e-3)
    color = np.repeat(images[..., None], 3, axis=3)
    np.testing.assert_allclose(thumbnails(color), small, atol=1e-3)
    blank = [np.full((8, 8), value) for value in (0.0, 0.1, 255.0)]
    assert not thumbnails(blank).any()


def test_registration_finds_shift_and_scale():
    rng = np.random.default_rng(0)
    (image,) = smooth(rng, 1, 64, 2.5)
    truth = np.array([0.03, -0.02, 0.05, -0.04])
    back_y = _moving(64, -truth[0] / 1.05, 1 / 1.05 - 1)
    back_x = _moving(64, -truth[1] / 0.96, 1 / 0.96 - 1)
    moved = back_y @ image @ back_x.T
    start = np.zeros((1, 4), np.float32)
    before, _ = _gauss_newton(image[None], moved[None], start, 0)
    after, found = _gauss_newton(image[None], moved[None], start, 8)
    assert before[0] < 0.8
    assert after[0] > 0.97
    np.testing.assert_allclose(found[0], truth, atol=0.01)


def test_expected_number_in_a_set_of_known_dimension():
    """Points on a sphere have as many near neighbors as are expected."""
    rng = np.random.default_rng(0)
    n = 1000
    points = rng.normal(size=(n, 5))
    points /= np.linalg.norm(points, axis=1, keepdims=True)
    cosines = points @ points.T
    order = np.argsort(-cosines, axis=1)
    cosines = np.take_along_axis(cosines, order, axis=1)
    ranks = np.array([25, 50, 100, 200])
    first = np.stack([np.arange(n), order[:, 1]], axis=1)
    found = expected_by_chance(first, cosines[:, 1], cosines[:, ranks], ranks)
    # About k neighbors have an expected number of less than k.
    for limit in (20, 100):
        assert limit / 2 < (found < limit).sum() < 2 * limit
    assert (found < 0.1).sum() <= 2


@pytest.mark.parametrize("flip", [None, "horizontal", "vertical", "both"])
def test_flips_are_found_only_if_asked_for(flip):
    rng = np.random.default_rng(0)
    images = smooth(rng, 24, 64, 2.0)
    turned = np.stack(
        [images[0][:, ::-1], images[1][::-1], images[2][::-1, ::-1], images[3]]
    )
    pairs, _ = NearDuplicates(thumbnails([*images, *turned]), flip).search(0.2, None)
    expected = {
        None: {(3, 27)},
        "horizontal": {(0, 24), (3, 27)},
        "vertical": {(1, 25), (3, 27)},
        "both": {(0, 24), (1, 25), (2, 26), (3, 27)},
    }
    assert set(map(tuple, pairs.tolist())) == expected[flip]


def test_a_pair_counts_once_with_its_highest_similarity():
    pairs, values = _best_of_each(
        np.array([[0, 1], [2, 3], [0, 1]]), np.array([0.5, 0.7, 0.9])
    )
    assert pairs.tolist() == [[0, 1], [2, 3]]
    assert values.tolist() == [0.9, 0.7]


def test_equal_pairs_join_each_image_with_the_first():
    images = np.arange(5)[[0, 1, 0, 2, 0]][:, None, None] * np.ones((1, 2, 3))
    assert equal_pairs(images).tolist() == [[0, 2], [0, 4]]
    # The same bytes in another shape are another image.
    assert not len(equal_pairs([np.zeros((2, 3)), np.zeros((3, 2))]))
