"""Copies of a user's losses, metrics and optimizers, even without `get_config`."""

import copy
import pickle

from sklstm._keras import keras

import joblib
import numpy as np
import pytest
from sklearn.base import clone
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import make_pipeline

from sklstm import LSTMImageClassifier, RowSequencer
from sklstm.training._copies import keep_whole_in_copies, rebuilt
from sklstm.training._optimizer import scheduled

METRICS, OPTIMIZERS = keras.metrics, keras.optimizers


class Focal(keras.losses.Loss):
    def __init__(self, gamma=2.0, name="focal", **kwargs):
        super().__init__(name=name, **kwargs)
        self.gamma = gamma

    def call(self, y_true, y_pred):
        q = keras.ops.sum(y_true * y_pred, axis=-1)
        return -((1 - q) ** self.gamma) * keras.ops.log(q)


class Above(METRICS.Metric):
    """Without get_config, and one parameter without a default."""

    def __init__(self, threshold, name="above", **kwargs):
        super().__init__(name=name, **kwargs)
        self.threshold = threshold
        self.shape = [threshold, 1]
        self.total = self.add_weight(shape=(), initializer="zeros", name="total")

    def update_state(self, y_true, y_pred):
        above = keras.ops.cast(y_pred > self.threshold, "float32")
        self.total.assign_add(keras.ops.sum(above))

    def result(self):
        return self.total


class WeightedAUC(METRICS.AUC):
    def __init__(self, factor=1.0, **kwargs):
        super().__init__(**kwargs)
        self.factor = factor


class Renamed(METRICS.AUC):
    """Keeps its parameter under another name."""

    def __init__(self, factor=1.0, **kwargs):
        super().__init__(**kwargs)
        self.weight = factor


class Scaled(OPTIMIZERS.SGD):
    def __init__(self, learning_rate=0.01, factor=1.0, **kwargs):
        super().__init__(learning_rate, **kwargs)
        self.factor = factor

    def update_step(self, gradient, variable, learning_rate):
        super().update_step(gradient * self.factor, variable, learning_rate)


class Halving(OPTIMIZERS.schedules.LearningRateSchedule):
    """Without get_config."""

    def __init__(self, start):
        self.start = start

    def __call__(self, step):
        return self.start * 0.5 ** keras.ops.cast(step, "float32")


class Hidden(METRICS.Metric):
    """Of its parameter nothing is kept by which it could be made again."""

    def __init__(self, size, **kwargs):
        super().__init__(**kwargs)
        self.v = self.add_weight(shape=(size,), initializer="zeros", name="v")


class Brighter(keras.layers.Layer):
    """Not registered, and described by Keras itself."""

    def __init__(self, amount=1.0, **kwargs):
        super().__init__(**kwargs)
        self.amount = amount

    def call(self, images):
        return images + self.amount


def own_function(y_true, y_pred):
    return keras.ops.mean(y_pred, axis=-1)


def by_pickle(thing):
    return pickle.loads(pickle.dumps(thing))


def by_joblib(thing, path):
    joblib.dump(thing, path)
    return joblib.load(path)


def by_clone(thing):
    return clone(thing, safe=False)


WAYS = [copy.deepcopy, by_pickle, by_clone]


def averages(input_shape, n_classes):
    inputs = keras.Input(input_shape)
    x = keras.layers.GlobalAveragePooling1D()(inputs)
    return keras.Model(inputs, keras.layers.Dense(n_classes, "softmax")(x))


@pytest.fixture(autouse=True)
def whole():
    keep_whole_in_copies()


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize(
    ("thing", "expected"),
    [
        (Focal(5.0), {"gamma": 5.0, "name": "focal"}),
        (Above(0.3), {"threshold": 0.3, "shape": [0.3, 1], "name": "above"}),
        (WeightedAUC(3.0, num_thresholds=9), {"factor": 3.0, "num_thresholds": 9}),
        (Renamed(3.0, num_thresholds=9), {"weight": 3.0, "num_thresholds": 9}),
        (Scaled(0.5, 7.0, momentum=0.25), {"factor": 7.0, "momentum": 0.25}),
        (METRICS.MeanMetricWrapper(own_function, name="x"), {"_fn": own_function}),
        (OPTIMIZERS.Adam(0.5, beta_1=0.25), {"beta_1": 0.25}),
        (Brighter(3.0), {"amount": 3.0}),
    ],
)
def test_copies_equal_what_was_given(way, thing, expected):
    copied = way(thing)
    assert type(copied) is type(thing)
    assert copied is not thing
    assert {name: getattr(copied, name) for name in expected} == expected
    if isinstance(thing, OPTIMIZERS.Optimizer):
        assert float(copied.learning_rate) == float(thing.learning_rate) == 0.5


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("kind", [Scaled, OPTIMIZERS.Adam])
def test_copies_of_optimizers_keep_their_schedule(way, kind):
    own = way(Scaled(Halving(0.5), 2.0)) if kind is Scaled else way(kind(Halving(0.5)))
    assert float(own.learning_rate) == 0.5
    assert own._learning_rate.start == 0.5


def test_pickles_of_Keras_objects_do_not_need_this_package():
    for thing in (
        keras.losses.CategoricalFocalCrossentropy(gamma=5.0),
        METRICS.AUC(num_thresholds=9),
        OPTIMIZERS.Adam(0.5),
    ):
        assert b"sklstm" not in pickle.dumps(thing)


def test_metric_that_was_used_is_rebuilt_as_new():
    metric = Above(0.3)
    metric.update_state(None, np.ones(3))
    assert float(rebuilt(metric).result()) == 0
    assert float(metric.result()) == 3


def test_what_cannot_be_copied_is_named():
    with pytest.raises(TypeError, match="Hidden cannot be copied, since its "):
        rebuilt(Hidden(3))


def test_trains_with_all_of_an_own_optimizer(digits):
    X, y = digits[0][:40], digits[1][:40]
    rates = []
    for optimizer in (Scaled(0.001, 8.0), "sgd"):
        classifier = LSTMImageClassifier(
            averages,
            epochs=2,
            optimizer=optimizer,
            learning_rate=0.008,
            lr_schedule="constant",
            clipvalue=None,
            random_state=0,
        ).fit(X, y)
        rates.append(classifier.history_["loss"])
    np.testing.assert_allclose(rates[0], rates[1], rtol=1e-5)
    assert isinstance(rebuilt(Scaled(1.0, 8.0), scheduled(Scaled)), Scaled)


@pytest.mark.parametrize("fitted", [False, True])
def test_estimators_keep_own_parts(digits, tmp_path, fitted):
    classifier = LSTMImageClassifier(
        averages,
        epochs=1,
        loss=Focal(5.0),
        metrics=[Above(0.3)],
        optimizer=Scaled(0.001, 7.0),
    )
    if fitted:
        classifier.fit(digits[0][:40], digits[1][:40])
    copies = [way(classifier) for way in WAYS]
    copies += [by_joblib(classifier, tmp_path / "c"), clone(by_pickle(classifier))]
    for one in copies:
        assert one.loss.gamma == 5.0
        assert one.metrics[0].threshold == 0.3
        assert one.optimizer.factor == 7.0
        assert one.loss is not classifier.loss


def test_grid_scores_every_own_loss(digits):
    X, y = digits[0][:60], digits[1][:60] % 3
    losses = [Focal(0.0), Focal(2.0), Focal(5.0)]
    pipeline = make_pipeline(
        RowSequencer(), LSTMImageClassifier(averages, epochs=1, random_state=0)
    )

    def gamma(estimator, X, y):
        return estimator[-1].loss.gamma

    grid = GridSearchCV(
        pipeline, {"lstmimageclassifier__loss": losses}, cv=2, scoring=gamma
    ).fit(X, y)
    assert grid.cv_results_["mean_test_score"].tolist() == [0.0, 2.0, 5.0]
    scores = cross_val_score(grid.best_estimator_, X, y, cv=2, scoring=gamma)
    assert scores.tolist() == [5.0, 5.0]
