"""The same few things on every Keras backend; `.ci/run` runs them on all three."""

import os
import pickle

import numpy as np
import pytest
from sklearn.pipeline import make_pipeline

from sklstm import (
    LSTMDefectDetector,
    LSTMImageClassifier,
    PatchSequencer,
    RowSequencer,
)

pytestmark = pytest.mark.backend


@pytest.fixture(scope="module")
def fitted(digits):
    images, y = digits
    return make_pipeline(
        RowSequencer(),
        LSTMImageClassifier(
            units=32, epochs=12, learning_rate=1e-2, l2=1e-5, random_state=0
        ),
    ).fit(images[:500], y[:500])


def test_backend_is_the_one_asked_for(fitted):
    import keras

    asked = os.environ.get("KERAS_BACKEND", "tensorflow")
    assert keras.backend.backend() == asked


def test_learns_digits(digits, fitted):
    images, y = digits
    assert fitted.score(images[500:900], y[500:900]) > 0.8


def test_probabilities(digits, fitted):
    images, _ = digits
    probabilities = fitted.predict_proba(images[:7])
    assert probabilities.shape == (7, 10)
    np.testing.assert_allclose(probabilities.sum(axis=1), 1, rtol=1e-5)
    np.testing.assert_allclose(
        fitted.predict_proba(images[:1])[0], probabilities[0], atol=1e-6
    )


def test_pickle_predicts_the_same(digits, fitted):
    images, _ = digits
    again = pickle.loads(pickle.dumps(fitted))
    np.testing.assert_array_equal(
        again.predict_proba(images[:50]), fitted.predict_proba(images[:50])
    )


def test_same_seed_same_predictions(digits):
    images, y = digits
    classifier = LSTMImageClassifier(
        units=8, epochs=3, random_state=1, early_stopping=True, validation_fraction=0.2
    )
    once = classifier.fit(images[:100], y[:100]).predict_proba(images[:20])
    twice = classifier.fit(images[:100], y[:100]).predict_proba(images[:20])
    np.testing.assert_array_equal(once, twice)
    assert {"val_loss", "gradient_norm", "learning_rate"} <= set(classifier.history_)


def test_cosine_with_accumulation_falls_to_zero(digits):
    images, y = digits
    classifier = LSTMImageClassifier(
        units=8,
        epochs=4,
        random_state=1,
        gradient_accumulation_steps=2,
        pooling="attention",
    ).fit(images[:128], y[:128])
    rates = classifier.history_["learning_rate"]
    assert rates == sorted(rates, reverse=True)
    assert rates[-1] < 0.06 * rates[0]


def test_partial_fit_goes_on(digits):
    images, y = digits
    classifier = LSTMImageClassifier(units=8, random_state=1)
    for _ in range(3):
        classifier.partial_fit(images[:100], y[:100])
    assert classifier.n_iter_ == 3
    assert classifier.history_["loss"][2] < classifier.history_["loss"][0]


def test_the_scan_inside_is_the_scan_before_it_to_the_bit(digits):
    from sklstm._keras import keras

    from sklstm.networks import Scan

    images = digits[0][:20, ..., None].astype("float32")
    for sequencer in (
        PatchSequencer(3, 2, order="hilbert"),
        RowSequencer(5, axis="columns"),
    ):
        expected = sequencer.fit_transform(images)
        scanned = Scan(sequencer.index_map_)(keras.ops.convert_to_tensor(images))
        np.testing.assert_array_equal(keras.ops.convert_to_numpy(scanned), expected)


@pytest.mark.parametrize(
    "params",
    [
        # JAX compiles for half a minute what turns images: one of them is enough.
        pytest.param(
            {
                "sequencer": RowSequencer(),
                "augmentation": "light",
                "attention": "multihead",
                "embedding": "pixel",
            },
            marks=pytest.mark.slow,
        ),
        pytest.param(
            {
                "sequencer": PatchSequencer(4, 2),
                "augmentation": {"noise": 0.1},
                "attention": "multiscale",
            },
            marks=pytest.mark.slow,
        ),
        {
            "network": "cnn_lstm",
            "network__filters": 4,
            "augmentation": "surface",
        },
    ],
    ids=["multihead", "multiscale", "cnn_lstm"],
)
def test_images_inside_with_augmentation_repeat(digits, params):
    images, y = digits
    classifier = LSTMImageClassifier(units=4, epochs=2, random_state=1, **params)
    once = classifier.fit(images[:64], y[:64]).predict_proba(images[:20])
    twice = classifier.fit(images[:64], y[:64]).predict_proba(images[:20])
    np.testing.assert_array_equal(once, twice)
    np.testing.assert_allclose(once.sum(axis=1), 1, rtol=1e-5)
    if "attention" in params:
        weights = classifier.attention_map(images[:5])
        np.testing.assert_allclose(weights.sum(axis=1), 1, rtol=1e-5)


def test_defects(plates):
    X, Y = plates
    detector = LSTMDefectDetector(
        (16, 24),
        units=4,
        network__filters=4,
        augmentation={"flip": "horizontal", "contrast": 0.1},
        epochs=25,
        batch_size=8,
        random_state=0,
    ).fit(X[:40], Y[:40])
    assert detector.score(X[40:], Y[40:]) > 0.9
    again = pickle.loads(pickle.dumps(detector))
    np.testing.assert_array_equal(
        again.predict_proba(X[40:]), detector.predict_proba(X[40:])
    )


def test_videos(digits):
    images, y = digits
    videos = np.stack([images[:60], images[:60, ::-1]], axis=1)
    classifier = LSTMImageClassifier(
        "conv_lstm", network__filters=2, epochs=1, random_state=0
    ).fit(videos, y[:60])
    assert classifier.predict_proba(videos).shape == (60, 10)
