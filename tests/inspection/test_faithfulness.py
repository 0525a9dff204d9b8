import numpy as np
import pytest
from scipy.stats import t as student
from sklearn.pipeline import make_pipeline

from sklstm import LSTMImageClassifier, PatchSequencer
from sklstm.inspection import attribute, faithfulness

RNG = np.random.default_rng(0)
WEIGHTS = RNG.uniform(0, 1, (6, 8)) / 48
IMAGES = RNG.uniform(0, 1, (5, 6, 8))


def test_curves_of_a_sum(Linear):
    maps = WEIGHTS * IMAGES
    found = faithfulness(
        Linear(WEIGHTS), IMAGES, maps, target="b", baseline=0, n_points=6, batch_size=4
    )
    np.testing.assert_allclose(found.fractions, np.arange(7) / 6)
    ordered = -np.sort(-maps.reshape(5, 6, 8).reshape(5, 48), axis=1)
    gained = np.cumsum(ordered, axis=1)[:, 7::8]
    np.testing.assert_allclose(found.insertion[:, 1:], gained)
    np.testing.assert_allclose(found.insertion[:, 0], 0, atol=1e-12)
    np.testing.assert_allclose(
        found.deletion, found.insertion[:, -1:] - found.insertion
    )
    area = (found.deletion[:, :-1] + found.deletion[:, 1:]).mean(axis=1) / 2
    np.testing.assert_allclose(found.deletion_area, area)
    assert (found.insertion_area > found.deletion_area).all()
    worse = faithfulness(Linear(WEIGHTS), IMAGES, -maps, target="b", baseline=0)
    assert (worse.insertion_area < worse.deletion_area).all()


def test_pixels_of_equal_attribution_are_in_random_order(Linear):
    maps = np.zeros_like(IMAGES)

    def curves(seed):
        return faithfulness(Linear(WEIGHTS), IMAGES, maps, random_state=seed).deletion

    np.testing.assert_array_equal(curves(0), curves(0))
    assert np.abs(curves(0) - curves(1)).max() > 1e-3


def test_attributions_of_another_shape_are_refused(Linear):
    with pytest.raises(ValueError, match=r"have shape \(5, 8, 6\), but the"):
        faithfulness(Linear(WEIGHTS), IMAGES, IMAGES.swapaxes(1, 2))
    with pytest.raises(ValueError, match="attributions must be finite"):
        faithfulness(Linear(WEIGHTS), IMAGES, IMAGES * np.nan)


@pytest.mark.slow
def test_attributions_of_digits_are_more_faithful_than_random_ones(digits):
    images, y = digits
    model = make_pipeline(
        PatchSequencer(4, 2),
        LSTMImageClassifier(
            attention="additive",
            units=16,
            epochs=12,
            learning_rate=1e-2,
            random_state=0,
        ),
    ).fit(images[:600], y[:600])
    X = images[1000:1060]
    rng = np.random.default_rng(0)
    how = {"baseline": "mean", "random_state": 0}
    chance = [
        faithfulness(model, X, rng.uniform(size=X.shape), **how) for _ in range(3)
    ]
    for method in ("occlusion", "gradients", "attention"):
        found = faithfulness(model, X, attribute(model, X, method=method), **how)
        for gain in (
            np.mean([one.deletion_area for one in chance], axis=0)
            - found.deletion_area,
            found.insertion_area
            - np.mean([one.insertion_area for one in chance], axis=0),
        ):
            # The lower end of the 95 % interval over the images is above zero.
            error = gain.std(ddof=1) / np.sqrt(len(gain))
            assert gain.mean() - student.ppf(0.975, len(gain) - 1) * error > 0, method
