"""Metrics in `history_`: their values do not depend on what the loss is given."""

from sklstm._keras import keras

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.metrics import f1_score, log_loss, precision_score, recall_score

from sklstm import LSTMImageClassifier
from sklstm.training._metrics import make_metrics, to_floats

METRICS = keras.metrics
N_CLASSES = 4


def averages(input_shape, n_classes):
    inputs = keras.Input(input_shape)
    x = keras.layers.GlobalAveragePooling1D()(inputs)
    return keras.Model(inputs, keras.layers.Dense(n_classes, "softmax")(x))


def own_squares(y_true, y_pred):
    return keras.ops.mean(keras.ops.square(y_true - y_pred), axis=-1)


def own_distance(y_true, y_pred):
    best = keras.ops.cast(keras.ops.argmax(y_pred, axis=-1), "float32")
    return keras.ops.abs(keras.ops.cast(y_true, "float32") - best)


def own_sparse_mean(y_true, y_pred):
    return keras.ops.cast(y_true, "float32")


class OwnRecall(METRICS.Recall):
    """What a subclass is given is what its class in Keras is given."""


class OwnHits(METRICS.Metric):
    """Of the base class, and without weights."""

    def __init__(self, factor=1.0, name="own_hits", **kwargs):
        super().__init__(name=name, **kwargs)
        self.factor = factor
        self.total = self.add_weight(shape=(), initializer="zeros", name="total")

    def update_state(self, y_true, y_pred):
        self.total.assign_add(self.factor * keras.ops.sum(y_true * y_pred))

    def result(self):
        return self.total


@pytest.fixture(scope="module")
def outcome():
    """Labels and the probabilities of a classifier that is often right."""
    rng = np.random.default_rng(0)
    y = rng.integers(N_CLASSES, size=64).astype("int32")
    logits = rng.normal(size=(64, N_CLASSES)) + 2 * np.eye(N_CLASSES)[y]
    p = np.exp(logits)
    return y, (p / p.sum(1, keepdims=True)).astype("float32")


def value(metric, y, p, given=None):
    """Compute a metric as a network of this package would."""
    made, *others = make_metrics(given or [metric], [metric], {}, N_CLASSES)
    assert not others
    for rows in (slice(0, 40), slice(40, 64)):
        made.update_state(y[rows], p[rows])
    result = made.result()
    return to_floats(result if isinstance(result, dict) else {made.name: result})


# Keras asks for int64 in its IoU, which JAX makes int32 of.
@pytest.mark.filterwarnings("ignore:Explicitly requested dtype int64:UserWarning")
@pytest.mark.parametrize(
    "one_hot", [False, pytest.param(True, marks=pytest.mark.backend)]
)
@pytest.mark.parametrize(
    "make",
    [
        METRICS.AUC,
        METRICS.Precision,
        lambda: METRICS.Recall(class_id=1),
        lambda: METRICS.F1Score(average="macro"),
        METRICS.MeanSquaredError,
        METRICS.MeanAbsoluteError,
        METRICS.CategoricalAccuracy,
        METRICS.BinaryAccuracy,
        METRICS.CategoricalCrossentropy,
        METRICS.KLDivergence,
        METRICS.CosineSimilarity,
        METRICS.CategoricalHinge,
        METRICS.BinaryIoU,
        lambda: METRICS.OneHotMeanIoU(num_classes=N_CLASSES),
        lambda: METRICS.TopKCategoricalAccuracy(k=2),
        lambda: METRICS.PrecisionAtRecall(0.5),
    ],
)
def test_metric_is_that_of_keras_on_rows_of_zeros_and_a_one(make, one_hot, outcome):
    y, p = outcome
    rows = np.eye(N_CLASSES, dtype="float32")[y]
    plain = make()
    plain.update_state(rows, p)
    found = value(make(), rows if one_hot else y, p)
    np.testing.assert_allclose(
        list(found.values()), [float(plain.result())], rtol=1e-5, atol=1e-7
    )


@pytest.mark.parametrize("one_hot", [False, True])
@pytest.mark.parametrize(
    ("metric", "expected"),
    [
        (
            METRICS.F1Score(average="macro"),
            lambda y, p: f1_score(y, p, average="macro"),
        ),
        (
            METRICS.Precision(class_id=1, top_k=1),
            lambda y, p: precision_score(y == 1, p == 1),
        ),
        (
            METRICS.Recall(class_id=1, top_k=1),
            lambda y, p: recall_score(y == 1, p == 1),
        ),
        (METRICS.SparseCategoricalAccuracy(), lambda y, p: np.mean(y == p)),
        (METRICS.Accuracy(), lambda y, p: np.mean(y == p)),
        (
            METRICS.MeanIoU(num_classes=N_CLASSES),
            lambda y, p: np.mean(
                [
                    ((y == k) & (p == k)).sum() / ((y == k) | (p == k)).sum()
                    for k in range(N_CLASSES)
                ]
            ),
        ),
        (own_distance, lambda y, p: np.abs(y - p).mean()),
        (own_sparse_mean, lambda y, p: y.mean()),
        (OwnRecall(class_id=2, top_k=1), lambda y, p: recall_score(y == 2, p == 2)),
    ],
)
def test_metric_of_labels_is_that_of_scikit_learn(metric, expected, one_hot, outcome):
    y, p = outcome
    targets = np.eye(N_CLASSES, dtype="float32")[y] if one_hot else y
    (found,) = value(metric, targets, p).values()
    assert found == pytest.approx(expected(y, p.argmax(1)), abs=1e-6)


@pytest.mark.parametrize("one_hot", [False, True])
def test_own_metric_is_given_rows_where_it_can_compute_with_them(one_hot, outcome):
    y, p = outcome
    rows = np.eye(N_CLASSES, dtype="float32")[y]
    targets = rows if one_hot else y
    (squares,) = value(own_squares, targets, p).values()
    assert squares == pytest.approx(np.mean((rows - p) ** 2), rel=1e-5)
    (hits,) = value(OwnHits(3.0), targets, p).values()
    assert hits == pytest.approx(3 * (rows * p).sum(), rel=1e-5)
    (loss,) = value(keras.losses.CategoricalCrossentropy(), targets, p).values()
    assert loss == pytest.approx(log_loss(y, p), rel=1e-5)


def test_metric_of_several_numbers_gives_its_mean_and_each(outcome):
    y, p = outcome
    found = value(METRICS.F1Score(), y, p)
    each = f1_score(y, p.argmax(1), average=None)
    np.testing.assert_allclose(found.pop("f1_score"), each.mean(), rtol=1e-6)
    assert list(found) == [f"f1_score_class_{k}" for k in range(N_CLASSES)]
    np.testing.assert_allclose(list(found.values()), each, rtol=1e-6)


@pytest.mark.parametrize(
    ("metric", "message"),
    [
        (METRICS.MeanIoU(num_classes=2), "num_classes=2, and y has 4 classes"),
        (METRICS.Mean(), "^metrics=Mean takes values and not"),
        (lambda t, p: t[:, 7] + p, "neither of rows of zeros and a one nor of class"),
    ],
)
def test_metric_that_cannot_be_computed_is_refused(metric, message):
    with pytest.raises(ValueError, match=message):
        make_metrics([metric], [metric], {}, N_CLASSES)


def test_what_is_no_metric_is_refused():
    with pytest.raises(TypeError, match="metrics: 3 is no metric: give names, "):
        make_metrics([3], [3], {}, N_CLASSES)


def test_names_are_those_given_and_never_counted():
    given = ["AUC", METRICS.AUC, METRICS.F1Score(), METRICS.F1Score(), "mse"]
    for _ in range(2):
        made = [METRICS.AUC(), METRICS.AUC(), *given[2:4], METRICS.MeanSquaredError()]
        names = [one.name for one in make_metrics(given, made, {}, N_CLASSES)]
        assert names == ["AUC", "auc", "f1_score", "f1_score_1", "mse"]


@pytest.mark.slow
def test_history_is_the_same_whatever_loss_and_way_of_training(digits):
    X, y = digits[0][:60], digits[1][:60] % 4
    metrics = [METRICS.AUC(), "sparse_categorical_accuracy", METRICS.F1Score()]
    metrics += ["categorical_accuracy", OwnHits(2.0)]
    by_batches = keras.callbacks.LambdaCallback(on_train_batch_end=lambda b, logs: None)
    histories = []
    for params in (
        {},
        {"loss": "categorical_crossentropy"},
        {"callbacks": [by_batches]},
    ):
        classifier = LSTMImageClassifier(
            averages, epochs=2, metrics=metrics, random_state=0, **params
        ).fit(X, y, X_val=X, y_val=y)
        histories.append(classifier.history_)
    for other in histories[1:]:
        assert set(other) == set(histories[0])
        for name, values in histories[0].items():
            np.testing.assert_allclose(other[name], values, rtol=1e-4, err_msg=name)
    history = histories[0]
    for name in ("categorical_accuracy", "sparse_categorical_accuracy"):
        assert history[name] == history["accuracy"]
    p = classifier.predict_proba(X)
    macro = f1_score(y, p.argmax(1), average="macro", zero_division=0)
    assert history["val_f1_score"][-1] == pytest.approx(macro, abs=1e-6)
    hits = 2 * p[np.arange(len(y)), y].sum()
    assert history["val_own_hits"][-1] == pytest.approx(hits, rel=1e-4)
    assert float(metrics[-1].result()) == 0, "the user's own metric was changed"
    clone(classifier)
