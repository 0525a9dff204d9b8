"""Searches and estimators that the tests of this package share."""

import numpy as np
import pytest
from scipy.stats import loguniform
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.pipeline import make_pipeline
from sklearn.svm import SVC

from sklstm import LSTMImageClassifier, OptunaSearchCV, RowSequencer


@pytest.fixture
def svc_search():
    """A function that makes a search of an SVC, for any estimator and space."""

    def make(**params):
        settings = {"n_trials": 6, "random_state": 0, "cv": 3, **params}
        space = settings.pop("space", {"C": loguniform(1e-2, 1e2)})
        return OptunaSearchCV(settings.pop("estimator", SVC()), space, **settings)

    return make


class Choosy(ClassifierMixin, BaseEstimator):
    """Scores what it is told to, fails where it is told to; counts its fits."""

    fits: list = []

    def __init__(self, quality=0.5, fail=False):
        self.quality = quality
        self.fail = fail

    def fit(self, X, y, sample_weight=None):
        Choosy.fits.append(self.quality)
        if self.fail:
            raise MemoryError("no room for this one")
        self.classes_ = np.unique(y)
        return self

    def predict(self, X):
        return np.repeat(self.classes_[:1], len(X))

    def score(self, X, y, sample_weight=None):
        return self.quality


@pytest.fixture
def choosy():
    """The class `Choosy`, with no fits counted yet."""
    Choosy.fits.clear()
    return Choosy


@pytest.fixture(scope="session")
def few_digits(digits):
    """The first 120 digits."""
    images, y = digits
    return images[:120].astype("uint8"), y[:120]


@pytest.fixture
def lstm_search():
    """A function that makes a search of a Pipeline with a small LSTM."""

    def make(**params):
        own = {"units": 8, "epochs": 6, "batch_size": 16, "random_state": 0}
        classifier = LSTMImageClassifier(**{**own, **params.pop("own", {})})
        space = params.pop(
            "space", {"lstmimageclassifier__learning_rate": loguniform(1e-3, 1e-1)}
        )
        settings = {"n_trials": 4, "cv": 2, "random_state": 0, "refit": False, **params}
        pipeline = make_pipeline(RowSequencer(), classifier)
        return OptunaSearchCV(pipeline, space, **settings)

    return make
