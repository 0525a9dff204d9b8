from sklstm._keras import keras

import numpy as np
import pytest

from sklstm import LSTMImageClassifier

pytestmark = pytest.mark.backend

PARAMS = {
    "units": 2,
    "bidirectional": False,
    "batch_norm": True,
    "batch_size": 16,
    "epochs": 5,
    "random_state": 0,
}


class Weights(keras.callbacks.Callback):
    """Records the weights at the start of each epoch and at its end."""

    def __init__(self):
        super().__init__()
        self.begin, self.end = [], []

    def on_epoch_begin(self, epoch, logs=None):
        self.begin.append(self.model.get_weights())

    def on_epoch_end(self, epoch, logs=None):
        self.end.append(self.model.get_weights())


class WeightsOfBatches(Weights):
    """The same, through Keras' own `fit`."""

    def on_train_batch_end(self, batch, logs=None):
        pass


@pytest.fixture(scope="module")
def small(digits):
    return digits[0][:40], digits[1][:40] % 3


def mean(weights):
    return [np.mean(parts, axis=0) for parts in zip(*weights, strict=True)]


def assert_equal(weights, others, **tolerance):
    for a, b in zip(weights, others, strict=True):
        np.testing.assert_allclose(a, b, **{"rtol": 1e-6, "atol": 1e-7, **tolerance})


@pytest.mark.parametrize(
    "kind", [Weights, pytest.param(WeightsOfBatches, marks=pytest.mark.slow)]
)
def test_the_mean_of_the_last_epochs(small, kind):
    plain, averaged = kind(), kind()
    one = LSTMImageClassifier(**PARAMS, callbacks=[plain])
    one.fit(*small, X_val=small[0], y_val=small[1])
    other = LSTMImageClassifier(**PARAMS, callbacks=[averaged], average_epochs=3)
    other.fit(*small, X_val=small[0], y_val=small[1])
    assert_equal(other.model_.get_weights(), mean(plain.end[-3:]))
    # Callbacks and the validation see the mean, and the next epoch trains on.
    for k in range(5):
        assert_equal(averaged.end[k], mean(plain.end[max(0, k - 2) : k + 1]))
        assert_equal(averaged.begin[k], plain.begin[k])
    assert other.history_["loss"] == pytest.approx(one.history_["loss"], rel=1e-5)
    last = other.model_.evaluate(
        small[0].astype("float32"), small[1], verbose=0, return_dict=True
    )
    assert other.history_["val_loss"][-1] == pytest.approx(last["loss"], rel=1e-4)
    assert other.history_["val_loss"][-1] != pytest.approx(one.history_["val_loss"][-1])


def test_one_epoch_is_no_mean(small):
    one = LSTMImageClassifier(**PARAMS).fit(*small)
    other = LSTMImageClassifier(**PARAMS, average_epochs=1).fit(*small)
    np.testing.assert_array_equal(
        one.predict_proba(small[0]), other.predict_proba(small[0])
    )


def test_numbers_that_training_does_not_change_stay_to_the_bit(small):
    classifier = LSTMImageClassifier(**PARAMS, l2=0.1, average_epochs=3).fit(*small)
    plain = LSTMImageClassifier(**PARAMS, l2=0.1).fit(*small)
    for a, b in zip(classifier.model_.weights, plain.model_.weights, strict=True):
        if a.name in ("mean", "scale", "rate", "stddev", "l2"):
            np.testing.assert_array_equal(a.numpy(), b.numpy())


def test_the_best_epoch_is_the_best_mean(small):
    seen = Weights()
    classifier = LSTMImageClassifier(
        **{**PARAMS, "epochs": 30, "learning_rate": 0.2},
        early_stopping=True,
        patience=2,
        average_epochs=2,
        callbacks=[seen],
    ).fit(*small, X_val=small[0][::3], y_val=small[1][::3])
    losses = classifier.history_["val_loss"]
    assert len(losses) < 30
    assert classifier.best_epoch_ == np.argmin(losses) + 1
    assert_equal(classifier.model_.get_weights(), seen.end[np.argmin(losses)])
    # With the cosine, training goes back to the best mean before it ends.
    best = [int(np.argmin(losses[: k + 1])) for k in range(len(losses))]
    waited = next(k for k in range(len(losses)) if k - best[k] == 2)
    assert len(losses) == waited + 2
    assert_equal(seen.begin[waited + 1], seen.end[best[waited]])


def test_weights_that_a_callback_sets_are_trained_on(small):
    class Halve(Weights):
        def on_epoch_end(self, epoch, logs=None):
            super().on_epoch_end(epoch)
            if epoch == 1:
                self.halves = [w / 2 for w in self.model.get_weights()]
                self.model.set_weights(self.halves)

    seen = Halve()
    LSTMImageClassifier(**PARAMS, average_epochs=3, callbacks=[seen]).fit(*small)
    assert_equal(seen.begin[2], seen.halves)
    # The mean begins anew.
    assert_equal(seen.end[2], seen.begin[3])
    assert_equal(seen.end[3], mean([seen.begin[3], seen.begin[4]]))
