"""Descriptions tell what changes the scores, and are equal in any process."""

from sklstm._keras import keras

import joblib
import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, KFold
from sklearn.pipeline import Pipeline
from sklearn.svm import SVC

from sklstm import FeatureSequencer, LSTMImageClassifier, RowSequencer
from sklstm.model_selection._description import describe


def described(classifier=None, **params):
    steps = [("seq", RowSequencer(**params)), ("clf", classifier or SVC())]
    return joblib.hash(describe(Pipeline(steps)))


def test_an_estimator_is_known_again_in_any_process():
    assert described() == described(SVC(verbose=True))
    others = [
        described(axis="columns"),
        described(SVC(C=2)),
        described(SVC(kernel=sum)),
        described(LogisticRegression()),
        described(LSTMImageClassifier()),
        described(LSTMImageClassifier(optimizer__beta_1=0.8)),
    ]
    assert len({described(), *others}) == 1 + len(others)
    assert described(SVC(kernel=lambda X, Y: X)) == described(
        SVC(kernel=lambda X, Y: X)
    )


def test_objects_are_told_apart_by_what_they_hold():
    folds = [described(GridSearchCV(SVC(), {}, cv=KFold(n))) for n in (3, 3, 5)]
    assert folds[0] == folds[1] != folds[2]
    rates = [
        described(LSTMImageClassifier(optimizer=keras.optimizers.Adam(rate)))
        for rate in (1e-3, 1e-3, 1e-2)
    ]
    assert rates[0] == rates[1] != rates[2]
    kinds = [keras.optimizers.SGD, keras.optimizers.Adam, "adam"]
    assert len({described(LSTMImageClassifier(optimizer=one)) for one in kinds}) == 3
    assert described(LSTMImageClassifier(keras.Model)) != described(
        LSTMImageClassifier(keras.Sequential)
    )


@pytest.mark.parametrize("inside", [False, True])
def test_models_are_told_apart_by_their_weights(inside):
    model = keras.Sequential([keras.Input((8, 8, 1)), keras.layers.Conv2D(1, 1)])
    backbone = FeatureSequencer(model) if inside else model
    classifier = LSTMImageClassifier("cnn_lstm", backbone=backbone)
    before = described(classifier)
    assert described(classifier) == before
    model.set_weights([np.full(w.shape, 3.0) for w in model.get_weights()])
    assert described(classifier) != before
