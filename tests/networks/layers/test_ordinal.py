"""CumulativeLink: probabilities of ordered classes."""

from sklstm._keras import keras

import numpy as np
import pytest

from sklstm.networks import CumulativeLink, lstm
from sklstm.networks.initialize import initialize

pytestmark = pytest.mark.backend


def built(n_classes, kernel, thresholds=None):
    """Return a model with one feature, whose score is `kernel` times the feature."""
    layer = CumulativeLink(n_classes)
    model = keras.Sequential([keras.Input((1,)), layer])
    initialize(model, np.random.SeedSequence(0))
    layer.kernel.assign([[kernel]])
    if thresholds is not None:
        gaps = np.log(np.expm1(np.diff(thresholds)))
        layer.thresholds.assign(np.append(thresholds[:1], gaps).astype("float32"))
    return model


def predict(model, x):
    return keras.ops.convert_to_numpy(model(np.asarray(x, "float32")))


def test_probabilities_by_their_definition():
    thresholds = np.array([-1.0, 0.2, 0.9])
    model = built(4, 2.0, thresholds)
    x = np.linspace(-3, 3, 13)[:, None]
    above = 1 / (1 + np.exp(thresholds - 2.0 * x))
    edges = np.hstack([np.ones_like(x), above, np.zeros_like(x)])
    np.testing.assert_allclose(predict(model, x), -np.diff(edges), atol=2e-7)


@pytest.mark.parametrize("n_classes", [2, 3, 7])
def test_all_classes_are_equally_probable_at_the_start(n_classes):
    found = predict(built(n_classes, 1.0), [[0.0]])
    np.testing.assert_allclose(found, 1 / n_classes, rtol=1e-5)


def test_a_higher_score_makes_every_higher_class_more_probable():
    rng = np.random.default_rng(0)
    model = built(5, 1.0)
    model.layers[0].thresholds.assign(rng.normal(0, 3, 4).astype("float32"))
    found = predict(model, np.sort(rng.normal(0, 10, 200))[:, None])
    above = np.cumsum(found[:, ::-1], axis=1)[:, ::-1][:, 1:]
    assert (np.diff(above, axis=0) > -1e-6).all()
    assert (np.diff(above, axis=1) < 1e-6).all()
    np.testing.assert_allclose(found.sum(axis=1), 1, rtol=1e-5)


@pytest.mark.skipif(
    keras.backend.backend() != "tensorflow",
    reason="elsewhere Keras takes the loss of clipped probabilities, of a softmax too",
)
def test_learns_if_the_score_is_far_from_the_thresholds():
    # If the probability of the true class rounds to zero, its gradient must not.
    model = built(3, 1.0)
    model.compile(keras.optimizers.SGD(0.001), loss="sparse_categorical_crossentropy")
    before = float(model.layers[0].kernel[0, 0])
    loss = model.train_on_batch(np.array([[200.0]]), np.array([0]))
    assert np.isfinite(loss)
    after = float(model.layers[0].kernel[0, 0])
    assert after == pytest.approx(before - 0.001 * 200, abs=1e-3)


def test_a_saved_network_is_the_same(tmp_path):
    model = lstm((None, 3), 4, units=2, ordinal=True, l2=0.01)
    initialize(model, np.random.SeedSequence(1))
    x = np.random.default_rng(0).normal(size=(5, 6, 3)).astype("float32")
    model.save(tmp_path / "m.keras")
    loaded = keras.models.load_model(tmp_path / "m.keras")
    np.testing.assert_array_equal(predict(loaded, x), predict(model, x))
    # There are one score and three thresholds instead of four scores.
    softmax = lstm((None, 3), 4, units=2, l2=0.01)
    assert softmax.count_params() - model.count_params() == (4 + 1) * 4 - (4 + 3)


def test_the_output_is_float32_under_a_mixed_policy():
    policy = keras.config.dtype_policy()
    keras.config.set_dtype_policy("mixed_float16")
    try:
        model = lstm((None, 3), 4, units=2, ordinal=True)
    finally:
        keras.config.set_dtype_policy(policy)
    found = predict(model, np.ones((1, 2, 3)))
    assert found.dtype == np.float32
    assert found.sum() == pytest.approx(1)


def test_one_class_is_refused():
    with pytest.raises(ValueError, match="n_classes=1 must be at least 2"):
        CumulativeLink(1)
