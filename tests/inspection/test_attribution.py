import numpy as np
import pytest
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer

from sklstm import (
    FeatureSequencer,
    LSTMDefectDetector,
    LSTMImageClassifier,
    PatchSequencer,
    RowSequencer,
    VolumeSequencer,
)
from sklstm.inspection import attribute

RNG = np.random.default_rng(0)
WEIGHTS = RNG.uniform(0, 1, (6, 8)) / 48
IMAGES = RNG.uniform(0, 1, (5, 6, 8))


def test_occlusion_is_the_fall_of_the_score(Linear):
    found = attribute(
        Linear(WEIGHTS, largest=7),
        IMAGES,
        target="b",
        baseline=0.25,
        occlude=1,
        batch_size=7,
    )
    np.testing.assert_allclose(found, WEIGHTS * (IMAGES - 0.25), atol=1e-12)
    # The probability of the other class rises as much.
    labels = np.array(["b", "a", "b", "a", "a"])
    sign = np.where(labels == "b", 1, -1)[:, None, None]
    other = attribute(Linear(WEIGHTS), IMAGES, target=labels, baseline=0.25, occlude=1)
    np.testing.assert_allclose(other, sign * found, atol=1e-12)
    predicted = attribute(Linear(8 * WEIGHTS), IMAGES, baseline=0, occlude=1)
    likely = (IMAGES * 8 * WEIGHTS).sum(axis=(1, 2)) > 0.5
    assert likely.any()
    signs = np.where(likely, 1, -1)[:, None, None]
    np.testing.assert_allclose(predicted, signs * 8 * WEIGHTS * IMAGES, atol=1e-12)


def test_occlusion_averages_overlapping_patches(Linear):
    found = attribute(Linear(WEIGHTS), IMAGES, target="b", baseline=0, occlude=(4, 8))
    change = (WEIGHTS * IMAGES).sum(axis=2)
    first, second = change[:, :4].sum(axis=1), change[:, 2:].sum(axis=1)
    np.testing.assert_allclose(found[:, :2, 0].T, [first, first])
    np.testing.assert_allclose(found[:, 2:4, 5].T, [(first + second) / 2] * 2)
    np.testing.assert_allclose(found[:, 4:, 7].T, [second, second])


def test_occlusion_by_the_steps_of_a_pipeline(Linear):
    # A step of two rows; the classifier is given sequences.
    sequencer = RowSequencer(sequence_length=3).fit(IMAGES)
    double = FunctionTransformer(lambda X: 2 * X)
    flatten = FunctionTransformer(lambda X: X.reshape(len(X), -1))
    pipeline = make_pipeline(double, sequencer, flatten, Linear(WEIGHTS / 2))
    found = attribute(pipeline, IMAGES, target="b", baseline=0)
    steps = (WEIGHTS * IMAGES).reshape(5, 3, 16).sum(axis=2)
    np.testing.assert_allclose(found, sequencer.steps_to_image(steps))


def test_channels_and_rounded_baselines_of_bytes(Linear):
    images = RNG.integers(0, 256, (3, 4, 4, 3), dtype=np.uint8)
    weights = RNG.uniform(size=(4, 4, 3)) / 1e5
    found = attribute(Linear(weights), images, target="b", occlude=1)
    mean = np.rint(images.mean(axis=(1, 2), keepdims=True))
    expected = (weights * (images - mean)).sum(axis=3)
    np.testing.assert_allclose(found, expected, atol=1e-12)
    own = np.full((4, 4, 3), 300.0)  # beyond what bytes hold
    found = attribute(Linear(weights), images, target="b", occlude=1, baseline=own)
    expected = (weights * (images - 255.0)).sum(axis=3)
    np.testing.assert_allclose(found, expected, atol=1e-12)


def test_a_blurred_baseline_leaves_a_constant_image_alone(Linear):
    images = np.stack([np.full((6, 8), 0.7), IMAGES[0]])
    found = attribute(Linear(WEIGHTS), images, target="b", baseline="blur", occlude=1)
    np.testing.assert_allclose(found[0], 0, atol=1e-12)
    assert np.abs(found[1]).max() > 1e-3


def test_volumes_and_flat_images(Linear):
    volumes = RNG.uniform(size=(2, 4, 6, 6))
    weights = RNG.uniform(size=(4, 6, 6)) / 144
    sequencer = VolumeSequencer().fit(volumes)
    pipeline = make_pipeline(sequencer, Linear(weights))
    found = attribute(pipeline, volumes, target="b", baseline=0)
    slices = (weights * volumes).sum(axis=(2, 3))
    np.testing.assert_allclose(found, sequencer.steps_to_image(slices))
    cubes = attribute(pipeline, volumes, target="b", baseline=0, occlude=1)
    np.testing.assert_allclose(cubes, weights * volumes)
    flat = IMAGES[:, :, :6].reshape(5, -1)
    found = attribute(Linear(WEIGHTS[:, :6]), flat, target="b", baseline=0, occlude=1)
    np.testing.assert_allclose(found, WEIGHTS[:, :6] * IMAGES[:, :, :6])


def test_features_of_changed_images_are_not_kept(monkeypatch):
    from sklstm._keras import keras

    from sklstm.features import _feature_sequencer

    inputs = keras.Input((8, 8, 1))
    mean = keras.layers.AveragePooling2D(4, name="map")(inputs)
    sequencer = FeatureSequencer(
        keras.Model(inputs, mean), layer="map", preprocessing=None, value_range=(0, 1)
    )
    images = RNG.uniform(size=(4, 8, 8)).astype(np.float32)
    features = sequencer.fit_transform(images)
    flatten = FunctionTransformer(lambda X: X.reshape(len(X), -1))
    classifier = LogisticRegression(C=100).fit(flatten.transform(features), [0, 1] * 2)
    pipeline = make_pipeline(sequencer, flatten, classifier)
    caches = []
    own = _feature_sequencer.features

    def spy(images, how, cache):
        caches.append(cache)
        return own(images, how, cache)

    monkeypatch.setattr(_feature_sequencer, "features", spy)
    found = attribute(pipeline, images, target=1, occlude=4)
    assert found.shape == (4, 8, 8)
    assert np.abs(found).max() > 1e-3
    assert set(caches) == {False}
    assert sequencer.cache is None
    with pytest.raises(TypeError, match="an LSTMImageClassifier"):
        attribute(pipeline, images, method="gradients")


PARAMS = {
    "attention": "additive",
    "units": 8,
    "epochs": 6,
    "learning_rate": 1e-2,
    "random_state": 0,
}


@pytest.fixture(scope="module")
def ensemble(digits):
    """Two networks with a scan inside, a temperature, and ten images."""
    images, y = digits
    X, y = images.astype(np.uint8)[y < 4], y[y < 4]
    classifier = LSTMImageClassifier(
        sequencer=PatchSequencer(4, 2),
        n_estimators=2,
        calibration="temperature",
        **PARAMS,
    )
    return classifier.fit(X[:200], y[:200]), X[200:210]


@pytest.mark.backend
def test_gradients_sum_to_the_difference_of_the_scores(ensemble):
    classifier, X = ensemble
    assert abs(classifier.temperature_ - 1) > 0.01
    target = np.arange(10) % 4
    found = attribute(classifier, X, method="gradients", baseline=0, target=target)
    before, after = classifier.predict_proba(0 * X), classifier.predict_proba(X)
    rows = np.arange(10)
    difference = after[rows, target] - before[rows, target]
    assert np.abs(difference).max() > 0.2
    np.testing.assert_allclose(found.sum(axis=(1, 2)), difference, atol=0.01)
    # Pixels that do not differ from the baseline have no part in it.
    assert (found[X == 0] == 0).all()


@pytest.mark.backend
def test_occlusion_and_attention_of_an_ensemble(ensemble):
    classifier, X = ensemble
    weights = attribute(classifier, X, method="attention")
    np.testing.assert_array_equal(weights, classifier.attention_map(X, per="pixel"))
    found = attribute(classifier, X, baseline=0, target=1)
    sequencer = classifier.sequencer_
    falls = np.empty((10, 9))
    for step, pixels in enumerate(sequencer.index_map_):
        less = X.reshape(10, -1).copy()
        less[:, pixels] = 0
        changed = classifier.predict_proba(less.reshape(X.shape))
        falls[:, step] = classifier.predict_proba(X)[:, 1] - changed[:, 1]
    np.testing.assert_allclose(found, sequencer.steps_to_image(falls), atol=1e-6)


def test_gradients_of_an_ensemble_are_the_mean_of_its_members(ensemble):
    classifier, X = ensemble
    how = {"method": "gradients", "target": 3, "n_steps": 4}
    plain = LSTMImageClassifier()
    plain.__dict__.update(vars(classifier))
    del plain.temperature_
    found = attribute(plain, X, **how)
    members = [attribute(one, X, **how) for one in classifier.estimators_]
    np.testing.assert_allclose(found, np.mean(members, axis=0), atol=1e-6)
    assert np.abs(members[0] - members[1]).max() > 1e-3


@pytest.mark.slow
def test_the_scan_before_a_network_gives_the_attributions_of_the_scan_inside(
    ensemble,
):
    inside, X = ensemble
    member = inside.estimators_[0]
    samples = inside.sequencer_.transform(X)
    # The same weights in a network that is given sequences.
    before = LSTMImageClassifier(**PARAMS)
    before.set_params(epochs=1).fit(samples, np.arange(10) % 4)
    state = member._fitted_network.get_state()
    before._fitted_network.compiled.set_weights(state)
    pipeline = make_pipeline(inside.sequencer_, before)
    np.testing.assert_allclose(
        pipeline.predict_proba(X), member.predict_proba(X), atol=1e-6
    )
    for method in ("gradients", "occlusion", "attention"):
        np.testing.assert_allclose(
            attribute(pipeline, X, method=method),
            attribute(member, X, method=method),
            atol=1e-5,
        )
    # The sum over steps is complete also where patches overlap.
    sums = attribute(pipeline, X, method="gradients", baseline=0).sum(axis=(1, 2))
    place = member.predict_proba(X).argmax(axis=1)
    ends = [pipeline.predict_proba(one)[np.arange(10), place] for one in (X, 0 * X)]
    np.testing.assert_allclose(sums, ends[0] - ends[1], atol=0.02)


def test_a_coarse_line_warns(ensemble):
    classifier, X = ensemble
    with pytest.warns(ConvergenceWarning, match="images do not sum to the difference"):
        attribute(classifier, X, method="gradients", baseline=255, n_steps=1)


def test_the_estimator_and_the_images_stay(ensemble, generators_stay):
    classifier, X = ensemble
    images, before = X.copy(), classifier.predict_proba(X)
    with generators_stay():
        for method in ("occlusion", "gradients", "attention"):
            attribute(classifier, X, method=method, n_steps=8)
    np.testing.assert_array_equal(X, images)
    np.testing.assert_array_equal(classifier.predict_proba(X), before)


def test_what_cannot_be_attributed(ensemble, Linear):
    classifier, X = ensemble
    linear = Linear(WEIGHTS)
    for problem, message in (
        ({"method": "lime"}, "method='lime' must be 'occlusion'"),
        ({"target": "c"}, r"target=\['c'\] must be among the classes"),
        ({"target": ["a", "b"]}, "target must be one label or 5"),
        ({"baseline": "black"}, "baseline='black' must be"),
        ({"baseline": np.nan}, "must hold finite numbers"),
        ({"baseline": np.zeros(5)}, r"baseline has shape \(5,\)"),
        ({"occlude": 0}, "occlude=0 must be a number of pixels"),
        ({"occlude": VolumeSequencer()}, "reads volumes|reads images"),
        ({"batch_size": 0}, "batch_size=0 must be a whole number"),
    ):
        with pytest.raises(ValueError, match=message):
            attribute(linear, IMAGES, **problem)
    with pytest.raises(ValueError, match="target has no effect"):
        attribute(classifier, X, method="attention", target=1)
    with pytest.raises(TypeError, match="needs an LSTMImageClassifier"):
        attribute(linear, IMAGES, method="gradients")
    with pytest.raises(TypeError, match="is no classifier with predict_proba"):
        attribute(LSTMDefectDetector(), IMAGES)
    with pytest.raises(TypeError, match="A RowSequencer is no classifier"):
        attribute(RowSequencer(), IMAGES)
    rows = RowSequencer().fit(X)
    steps = make_pipeline(rows, FunctionTransformer(), classifier.estimators_[0])
    with pytest.raises(TypeError, match="cannot follow the pixels through a Function"):
        attribute(steps, X, method="gradients")
