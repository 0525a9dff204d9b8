import numpy as np
import pytest
from sklearn.base import BaseEstimator, ClassifierMixin


class Linear(ClassifierMixin, BaseEstimator):
    """The probability of "b" is a weighted sum of the values of a sample."""

    classes_ = np.array(["a", "b"])

    def __init__(self, weights, largest=None):
        self.weights = weights
        self.largest = largest

    def fit(self, X, y):
        return self

    def __sklearn_is_fitted__(self):
        return True

    def predict_proba(self, X):
        assert self.largest is None or len(X) <= self.largest
        p = X.reshape(len(X), -1).astype(float) @ np.ravel(self.weights)
        return np.column_stack([1 - p, p])


@pytest.fixture(name="Linear")
def linear():
    """The class of a classifier whose attributions are known."""
    return Linear
