"""The same few things on every Keras backend; `.ci/run` runs them on all three."""

import os
import pickle

import numpy as np
import pytest
from sklearn.pipeline import make_pipeline

from sklstm import LSTMImageClassifier, RowSequencer

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
