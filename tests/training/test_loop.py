"""Training on every backend: callbacks, early stopping, the schedule, what fails."""

import copy
import math
import pickle

from sklstm._keras import keras

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.exceptions import ConvergenceWarning
from sklearn.metrics import log_loss
from sklearn.model_selection import cross_val_score

from sklstm import LSTMImageClassifier
from sklstm.estimators._fitting import warn_about_gradients
from sklstm.training._callbacks import (
    BestWeights,
    wants_batches,
)
from sklstm.training._loop import _Order
from sklstm.training._optimizer import scheduled

pytestmark = pytest.mark.backend


def averages(input_shape, n_classes):
    """A softmax over the mean step: traced in a fraction of an LSTM's time."""
    inputs = keras.Input(input_shape)
    x = keras.layers.GlobalAveragePooling1D()(inputs)
    x = keras.layers.Dense(n_classes, activation="softmax")(x)
    return keras.Model(inputs, x)


def light(**params):
    return LSTMImageClassifier(averages, random_state=0, **params)


class Recorder(keras.callbacks.Callback):
    """Writes down what it is called with."""

    def __init__(self):
        super().__init__()
        self.events = []
        self.logs = []
        self.had_model = []

    def _note(self, event):
        self.events.append(event)
        self.had_model.append(isinstance(self.model, keras.Model))

    def on_train_begin(self, logs=None):
        self._note("train begins")

    def on_epoch_begin(self, epoch, logs=None):
        self._note(f"epoch {epoch} begins")

    def on_test_begin(self, logs=None):
        self._note("test begins")

    def on_test_end(self, logs=None):
        self._note("test ends")

    def on_epoch_end(self, epoch, logs=None):
        self._note(f"epoch {epoch} ends")
        self.logs.append(dict(logs))

    def on_train_end(self, logs=None):
        self._note("train ends")


def nothing(*args):
    pass


def through_fit():
    """Return a callback that listens to batches, so that Keras' `fit` trains."""
    return keras.callbacks.LambdaCallback(on_train_batch_end=lambda batch, logs: None)


@pytest.fixture(scope="module")
def small(digits):
    # 50 samples in batches of 16: the last batch has two. The values are small, because
    # Keras' losses on JAX and PyTorch clip probabilities below 1e-7.
    images = digits[0] / 16
    return images[:50], digits[1][:50], images[50:80], digits[1][50:80]


# --- the order of the samples, and the gradient ----------------------------------


def test_every_sample_once_in_a_new_order_each_epoch():
    order = _Order(50, 7, 0)
    first, second = order(0), order(1)
    np.testing.assert_array_equal(np.sort(first), np.arange(50))
    np.testing.assert_array_equal(np.sort(second), np.arange(50))
    assert not np.array_equal(first, second)
    assert not np.array_equal(first, _Order(50, 8, 0)(0))
    np.testing.assert_array_equal(_Order(50, 7, 1)(0), second)  # goes on with a fit


def test_gradient_norm_of_the_first_epoch_by_hand(small):
    X, y, _, _ = small
    start = light(batch_size=50, epochs=1, learning_rate=1e-30).fit(X, y)
    codes = np.eye(10)[y]
    features = np.c_[X.mean(axis=1), np.ones(len(X))]
    gradient = features.T @ (start.predict_proba(X) - codes) / len(X)
    assert np.abs(gradient).max() > 0.01
    classifier = light(batch_size=50, epochs=1, clipvalue=1e-3).fit(X, y)
    [norm] = classifier.history_["gradient_norm"]
    assert norm == pytest.approx(np.linalg.norm(gradient), rel=1e-4)


# --- callbacks ----------------------------------------------------------------------


def test_callbacks_see_the_epochs_in_order(small):
    X, y, X_val, y_val = small
    seen, logs = [], []
    for extra in ([], [through_fit()]):
        recorder = Recorder()
        classifier = light(epochs=2, callbacks=[recorder, *extra])
        classifier.fit(X, y, X_val=X_val, y_val=y_val)
        assert all(recorder.had_model)
        seen.append(recorder.events)
        logs.append(recorder.logs)
        for name, values in classifier.history_.items():
            np.testing.assert_allclose([log[name] for log in recorder.logs], values)
    assert seen[0] == [
        "train begins",
        *("epoch 0 begins", "test begins", "test ends", "epoch 0 ends"),
        *("epoch 1 begins", "test begins", "test ends", "epoch 1 ends"),
        "train ends",
    ]
    assert seen[1] == seen[0]
    assert set(logs[0][0]) == {
        *("loss", "accuracy", "val_loss", "val_accuracy"),
        *("gradient_norm", "learning_rate"),
    }
    assert set(logs[1][0]) == set(logs[0][0])


def test_no_test_without_validation_data(small):
    recorder = Recorder()
    light(epochs=1, callbacks=recorder).fit(*small[:2])
    assert recorder.events == [
        *("train begins", "epoch 0 begins", "epoch 0 ends", "train ends")
    ]


@pytest.mark.parametrize("extra", [[], [through_fit()]])
def test_a_callback_can_stop_training(small, extra):
    class Stop(keras.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            self.model.stop_training = epoch == 1

    classifier = light(epochs=9, callbacks=[Stop, *extra]).fit(*small[:2])
    assert classifier.n_iter_ == classifier.best_epoch_ == 2
    assert len(classifier.history_["loss"]) == 2
    # The network is told to stop; the next fit over it is not.
    assert light(epochs=3).fit(*small[:2]).n_iter_ == 3


def test_a_callback_can_lower_the_learning_rate(small):
    reduce = keras.callbacks.ReduceLROnPlateau(
        monitor="loss", factor=0.5, patience=1, min_delta=1e9
    )
    classifier = light(
        epochs=4, callbacks=[reduce], lr_schedule="constant", learning_rate=0.008
    ).fit(*small[:2])
    np.testing.assert_allclose(
        classifier.history_["learning_rate"], [0.008, 0.008, 0.004, 0.002], rtol=1e-6
    )
    # The next fit starts from its own rate again.
    again = light(epochs=1, lr_schedule="constant", learning_rate=0.008)
    np.testing.assert_allclose(
        again.fit(*small[:2]).history_["learning_rate"], [0.008], rtol=1e-6
    )


class SetsRate(keras.callbacks.Callback):
    """Sets the learning rate in one hook, in one of the two ways that Keras has."""

    def __init__(self, hook, assign):
        super().__init__()
        self.assign = assign
        setattr(self, hook, self.set_rate)

    def set_rate(self, *args, **kwargs):
        if self.assign:
            self.model.optimizer.learning_rate.assign(0.5)
        else:
            self.model.optimizer.learning_rate = 0.5


class OwnScheduler(keras.callbacks.LearningRateScheduler):
    pass


def constant_rate(epoch):
    return 0.5


DECAY = keras.optimizers.schedules.ExponentialDecay(0.1, 1, 0.5)
KNOWN_SETTERS = [
    lambda: keras.callbacks.LearningRateScheduler(constant_rate),
    lambda: keras.callbacks.ReduceLROnPlateau("loss"),
    lambda: OwnScheduler(constant_rate),
]


@pytest.mark.parametrize("make", KNOWN_SETTERS)
@pytest.mark.parametrize(
    ("params", "schedule"),
    [
        ({}, "lr_schedule='cosine'"),
        ({"lr_schedule": DECAY}, "a schedule of Keras"),
        ({"optimizer": keras.optimizers.Adam(DECAY)}, "a schedule of Keras"),
    ],
)
def test_callbacks_that_set_the_rate_are_refused_beside_a_schedule(
    small, make, params, schedule
):
    message = rf"sets the learning rate, but {schedule} .*: set lr_schedule='constant'"
    with pytest.raises(ValueError, match=message):
        light(epochs=2, callbacks=[make()], **params).fit(*small[:2])


@pytest.mark.parametrize("assign", [False, True])
@pytest.mark.parametrize(
    "hook",
    ["on_train_begin", "on_epoch_begin", "on_epoch_end", "on_train_batch_end"],
)
def test_a_rate_that_a_callback_sets_is_noticed_or_obeyed(small, hook, assign):
    callback = SetsRate(hook, assign)
    with pytest.raises(ValueError, match="callbacks: one of them sets the learning"):
        light(epochs=2, callbacks=[callback]).fit(*small[:2])
    constant = light(epochs=2, callbacks=[callback], lr_schedule="constant")
    assert constant.fit(*small[:2]).history_["learning_rate"][1] == 0.5


@pytest.mark.parametrize(
    ("params", "rate"),
    [({}, DECAY), ({"lr_schedule": "constant"}, DECAY), ({"lr_schedule": DECAY}, 0.5)],
)
def test_a_callback_cannot_change_the_kind_of_rate(small, params, rate):
    class Sets(keras.callbacks.Callback):
        def on_train_begin(self, logs=None):
            self.model.optimizer.learning_rate = rate

    with pytest.raises(ValueError, match="one of them sets the learning rate to a sch"):
        light(epochs=1, callbacks=[Sets()], **params).fit(*small[:2])
    light(epochs=1, **params).fit(*small[:2])  # the next fit has the usual rate


def test_a_scheduler_is_obeyed_at_a_constant_rate(small):
    scheduler = keras.callbacks.LearningRateScheduler(lambda epoch: 0.5**epoch)
    classifier = light(epochs=3, callbacks=[scheduler], lr_schedule="constant")
    history = classifier.fit(*small[:2]).history_
    assert history["learning_rate"] == [1.0, 0.5, 0.25]


@pytest.mark.parametrize("early_stopping", [False, True])
def test_an_optimizer_keeps_its_own_schedule(small, early_stopping):
    # 50 images, or 45 of them, in batches of 16 are four or three batches an epoch.
    batches = 3 if early_stopping else 4
    for params in (
        {"optimizer": keras.optimizers.Adam(DECAY)},
        {"optimizer": "adam", "lr_schedule": DECAY},
    ):
        X, y = small[0], small[1] % 3
        classifier = light(
            epochs=2,
            batch_size=16,
            early_stopping=early_stopping,
            validation_fraction=0.1,
            **params,
        ).fit(X, y)
        # The rate of the last batch of each epoch.
        expected = [0.1 * 0.5 ** (batches * k - 1) for k in (1, 2)]
        np.testing.assert_allclose(
            classifier.history_["learning_rate"], expected, rtol=1e-5
        )
    assert classifier.fit(X, y).history_["learning_rate"][0] == pytest.approx(
        expected[0]
    ), "the schedule starts anew"


def test_two_schedules_are_refused(small):
    with pytest.raises(ValueError, match="lr_schedule is a schedule of Keras, but "):
        light(optimizer=keras.optimizers.Adam(), lr_schedule=DECAY).fit(*small[:2])


@pytest.mark.parametrize("extra", [[], [through_fit()]])
def test_a_callback_of_the_user_is_let_go(small, extra):
    class WantsModel(Recorder):
        def set_model(self, model):
            model.count_params()  # as TensorBoard's, which reads the model here
            super().set_model(model)

    callback = WantsModel()
    classifier = light(epochs=1, callbacks=[callback, *extra]).fit(*small[:2])
    assert callback.model is None
    assert classifier.callbacks[0] is callback
    copy.deepcopy(classifier)


def test_a_callback_is_let_go_after_an_error(small):
    class Fails(keras.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            raise RuntimeError("enough")

    callback = Fails()
    with pytest.raises(RuntimeError, match="enough"):
        light(epochs=2, callbacks=[callback]).fit(*small[:2])
    assert callback.model is None


# --- callbacks and copies of their estimator ----------------------------------------


class KeepsAll(Recorder):
    """Keeps what it saw, the network, a file, and a network that it was given."""

    def __init__(self, path, teacher):
        super().__init__()
        self.path, self.teacher = path, teacher
        self.file, self.kept, self.models = None, None, []

    def on_train_begin(self, logs=None):
        super().on_train_begin(logs)
        self.file = open(self.path, "a")  # noqa: SIM115
        self.models.append(self.model)

    def on_epoch_end(self, epoch, logs=None):
        super().on_epoch_end(epoch, logs)
        self.kept = self.model


COPIES = [clone, copy.deepcopy, lambda c: pickle.loads(pickle.dumps(c))]


@pytest.mark.parametrize("way", COPIES)
@pytest.mark.parametrize(
    "make",
    [
        lambda folder: keras.callbacks.CSVLogger(folder / "log.csv"),
        lambda folder: keras.callbacks.ModelCheckpoint(folder / "best.keras"),
        lambda folder: keras.callbacks.BackupAndRestore(folder / "backup"),
        lambda folder: keras.callbacks.EarlyStopping("loss"),
        lambda folder: keras.callbacks.ReduceLROnPlateau("loss"),
        lambda folder: keras.callbacks.LambdaCallback(on_epoch_end=nothing),
    ],
)
def test_estimators_with_callbacks_are_copied_after_fit(small, tmp_path, make, way):
    callback = make(tmp_path)
    classifier = light(epochs=1, lr_schedule="constant", callbacks={"a": [callback]})
    classifier.fit(*small[:2])
    assert classifier.callbacks["a"][0] is callback
    copied = way(classifier)
    assert type(copied.callbacks["a"][0]) is type(callback)
    assert copied.callbacks["a"][0] is not callback
    copied.fit(*small[:2])  # it can still do its work


@pytest.mark.parametrize("way", COPIES)
def test_copies_of_callbacks_leave_out_what_a_fit_opened(small, tmp_path, way):
    teacher = averages((8, 8), 3)
    callback = KeepsAll(tmp_path / "log", teacher)
    classifier = light(epochs=1, callbacks=[callback, Recorder]).fit(*small[:2])
    own, other = way(classifier).callbacks
    assert other is Recorder
    assert own.file is own.kept is own.model is None
    assert own.models == []
    assert own.events == callback.events == [*own.events[:3], "train ends"]
    assert isinstance(own.teacher, keras.Model)
    # The user's own instance is as the fit left it.
    assert callback.kept is callback.models[0] is classifier.model_
    callback.file.close()


def test_cross_validation_with_a_callback_that_was_used(small, tmp_path):
    callback = keras.callbacks.CSVLogger(tmp_path / "log.csv")
    classifier = light(epochs=1, callbacks=callback).fit(*small[:2])
    X, y = small[0], small[1] % 3
    scores = cross_val_score(classifier, X, y, cv=2, error_score="raise")
    assert len(scores) == 2


def test_wants_batches():
    class ByMethod(keras.callbacks.Callback):
        def on_train_batch_begin(self, batch, logs=None):
            pass

    class Inherits(ByMethod):
        pass

    assert wants_batches(ByMethod())
    assert wants_batches(Inherits())
    assert wants_batches(through_fit())
    assert wants_batches(keras.callbacks.TerminateOnNaN())
    assert not wants_batches(Recorder())
    assert not wants_batches(keras.callbacks.EarlyStopping())
    assert not wants_batches(
        keras.callbacks.LambdaCallback(on_epoch_end=lambda epoch, logs: None)
    )


# --- early stopping and the schedule ---------------------------------------------


class Snapshots(keras.callbacks.Callback):
    """Weights before every epoch and, last, at its end; the optimizer's counters."""

    def __init__(self):
        super().__init__()
        self.before = []
        self.after = []

    def on_epoch_begin(self, epoch, logs=None):
        self.before.append(self.model.get_weights())

    def on_epoch_end(self, epoch, logs=None):
        self.after.append(self.model.get_weights())

    def on_train_end(self, logs=None):
        optimizer = self.model.optimizer
        self.done = int(optimizer.iterations)
        self.planned = int(optimizer.schedule_start) + int(optimizer.schedule_steps)


def first_epoch_out_of_patience(losses, patience):
    best = 0
    for epoch, loss in enumerate(losses):
        if loss < losses[best]:
            best = epoch
        if epoch - best >= patience:
            return epoch, best
    raise AssertionError("patience never ran out")


@pytest.mark.parametrize("accumulation", [1, 3])
def test_early_stopping(small, accumulation):
    X, y, X_val, y_val = small
    shots = Snapshots()
    patience = 4
    classifier = light(
        epochs=200,
        batch_size=10,
        learning_rate=0.1,
        early_stopping=True,
        patience=patience,
        gradient_accumulation_steps=accumulation,
        callbacks=[shots],
    ).fit(X, y, X_val=X_val, y_val=(y_val + 1) % 10)  # what is learned is wrong there
    history = classifier.history_
    losses = history["val_loss"]
    stopped, best = first_epoch_out_of_patience(losses, patience)

    # Two more epochs, half of the patience, from the best weights.
    assert classifier.n_iter_ == len(losses) == stopped + 1 + 2 < 200
    for a, b in zip(shots.before[stopped + 1], shots.after[best], strict=True):
        np.testing.assert_array_equal(a, b)
    # They lead the rate from where it was to zero.
    n_updates = int(2 * 5 / accumulation)
    rate = history["learning_rate"][stopped]
    assert shots.planned <= shots.done <= shots.planned + 1
    if accumulation == 1:
        last = rate * 0.5 * (1 + math.cos(math.pi * (n_updates - 1) / n_updates))
        assert history["learning_rate"][-1] == pytest.approx(last, rel=1e-4)
    assert history["learning_rate"][-1] < 0.1 * rate

    # The best epoch of all is kept.
    assert classifier.best_epoch_ == np.argmin(losses) + 1
    kept = log_loss((y_val + 1) % 10, classifier.predict_proba(X_val), labels=range(10))
    assert kept == pytest.approx(min(losses), rel=1e-5)
    for a, b in zip(
        classifier.model_.get_weights(),
        shots.after[classifier.best_epoch_ - 1],
        strict=True,
    ):
        np.testing.assert_array_equal(a, b)


def test_early_stopping_at_a_constant_rate(small):
    X, y, X_val, y_val = small
    classifier = light(
        epochs=200,
        learning_rate=0.1,
        lr_schedule="constant",
        early_stopping=True,
        patience=3,
    ).fit(X, y, X_val=X_val, y_val=(y_val + 1) % 10)
    losses = classifier.history_["val_loss"]
    stopped, best = first_epoch_out_of_patience(losses, 3)
    assert classifier.n_iter_ == stopped + 1
    assert classifier.best_epoch_ == best + 1
    np.testing.assert_allclose(classifier.history_["learning_rate"], 0.1, rtol=1e-6)


def test_early_stopping_that_never_stops(small):
    X, y, _, _ = small
    classifier = light(
        epochs=5, learning_rate=0.01, early_stopping=True, patience=2
    ).fit(X, y, X_val=X, y_val=y)
    losses = classifier.history_["val_loss"]
    assert classifier.n_iter_ == 5
    assert classifier.best_epoch_ == np.argmin(losses) + 1
    assert classifier.history_["learning_rate"][-1] < 0.001


@pytest.mark.parametrize(("epochs", "last"), [(3, 2), (4, 3), (5, 4), (9, 4)])
def test_the_last_epochs_are_within_those_allowed(epochs, last):
    class Model:
        stop_training = False
        optimizer = scheduled(keras.optimizers.SGD)(0.1)
        weights = 0

        def get_weights(self):
            return self.weights

        def set_weights(self, weights):
            self.weights = weights

    model = Model()
    model.optimizer.build([keras.Variable([0.0])])
    callback = BestWeights(patience=2, anneal=2, updates_per_epoch=3)
    callback.set_model(model)
    callback.set_params({"epochs": epochs})
    for epoch, loss in enumerate([1.0, 2.0, 2.0, 2.0, 0.5]):
        model.weights = epoch + 100
        callback.on_epoch_end(epoch, {"val_loss": loss})
        if epoch == 2 and epochs > 3:
            assert model.weights == 100
            assert float(model.optimizer.schedule_steps) == 3 * min(2, epochs - 3)
        assert model.stop_training == (epoch == last)
        if epoch == last:
            break
    callback.on_train_end()
    # The best epoch of all is kept, also one of the last.
    assert model.weights == (104 if last == 4 else 100)
    assert callback.best_epoch == (4 if last == 4 else 0)


@pytest.mark.parametrize("early_stopping", [False, True])
@pytest.mark.parametrize(
    "accumulation", [1, pytest.param(2, marks=pytest.mark.slow), 5]
)
def test_the_cosine_ends_at_the_last_update(digits, accumulation, early_stopping):
    X, y = digits[0][:80], digits[1][:80]
    shots = Snapshots()
    classifier = light(
        epochs=3,
        batch_size=9,
        learning_rate=0.02,
        gradient_accumulation_steps=accumulation,
        early_stopping=early_stopping,
        validation_fraction=0.25,
        callbacks=[shots],
    ).fit(X, y)
    n_batches = 3 * (7 if early_stopping else 9)  # of 60 or of 80 samples
    n_updates = n_batches // accumulation
    assert shots.done == shots.planned == n_updates
    # After the last update the rate of a window left over would be zero.
    k = n_updates if n_batches % accumulation else n_updates - 1
    assert classifier.history_["learning_rate"][-1] == pytest.approx(
        0.02 * 0.5 * (1 + math.cos(math.pi * k / n_updates)), abs=1e-8
    )


# --- what goes wrong --------------------------------------------------------------


def test_nan_loss_stops_with_a_clear_error(small):
    X, y = small[:2]
    classifier = light(epochs=2).fit(X, y)
    before = classifier.predict_proba(X)
    history = {name: list(values) for name, values in classifier.history_.items()}

    def broken(y_true, y_pred):
        return keras.ops.sum(y_pred, axis=-1) * math.nan

    classifier.set_params(loss=broken)
    with pytest.raises(FloatingPointError, match=r"became nan in epoch 1: lower"):
        classifier.fit(X, y)
    np.testing.assert_array_equal(classifier.predict_proba(X), before)
    assert classifier.history_ == history
    with pytest.raises(FloatingPointError, match="learning_rate"):
        light(epochs=9, optimizer="sgd", learning_rate=1e38, clipvalue=None).fit(
            16 * X, y
        )


def test_gradient_warnings():
    with pytest.warns(ConvergenceWarning, match=r"reached 2e\+03 in epoch 2"):
        warn_about_gradients([1.0, 2000.0, 5.0])
    with pytest.warns(ConvergenceWarning, match="vanished: its norm was 1e-07"):
        warn_about_gradients([1e-7, 1.0])
    warn_about_gradients([10.0, 0.01, 1e-9])  # a small gradient at the end is success


# `pytest.warns` passes on what the filter of the project leaves out.
@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")
@pytest.mark.parametrize(("scale", "message"), [(1e6, "exploded"), (1e-9, "vanished")])
def test_a_fit_warns_of_its_gradient(small, scale, message):
    def scaled(y_true, y_pred):
        return scale * keras.losses.categorical_crossentropy(y_true, y_pred)

    with pytest.warns(ConvergenceWarning, match=message):
        light(epochs=1, loss=scaled).fit(*small[:2])
