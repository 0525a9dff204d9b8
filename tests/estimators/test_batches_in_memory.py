from sklstm._keras import keras

import numpy as np
import pytest
from sklearn.base import clone

from sklstm import LSTMDefectDetector, LSTMImageClassifier
from sklstm.training import _compiled


class OutOfMemoryError(RuntimeError):
    """Named as that of PyTorch."""


class XlaRuntimeError(RuntimeError):
    """Named as that of JAX."""


def error_of_tensorflow(text):
    tf = pytest.importorskip("tensorflow")
    return tf.errors.ResourceExhaustedError(None, None, text)


ERRORS = {
    "tensorflow": error_of_tensorflow,
    "torch": OutOfMemoryError,
    "jax": lambda text: XlaRuntimeError(f"RESOURCE_EXHAUSTED: {text}"),
    "numpy": MemoryError,
}


@pytest.fixture
def memory_for(monkeypatch):
    """A function that lets training fail on batches above a size."""
    networks = []
    own = _compiled.make_engine

    def limit(most, kind="numpy", after=0):
        def make(*args, **kwargs):
            engine = own(*args, **kwargs)
            train = type(engine).train_epoch
            left = [after]

            def train_epoch(data, order, batch_size):
                if batch_size > most and left[0] <= 0:
                    raise ERRORS[kind]("out of memory")
                left[0] -= 1
                return train(engine, data, order, batch_size)

            engine.train_epoch = train_epoch
            return engine

        from sklstm.estimators import clear_pool

        clear_pool()
        networks.append(clear_pool)
        monkeypatch.setattr(_compiled, "make_engine", make)

    yield limit
    monkeypatch.undo()
    for clear in networks:
        clear()


@pytest.fixture(scope="module")
def few(digits):
    images, y = digits
    return images[:70], y[:70]


@pytest.mark.parametrize("kind", ERRORS)
def test_the_error_says_what_to_set(memory_for, few, kind):
    memory_for(8, kind)
    classifier = LSTMImageClassifier(units=3, epochs=1, gradient_accumulation_steps=3)
    message = (
        "Memory ran out in fit with batch_size=32: set batch_size=16 and "
        "gradient_accumulation_steps=6"
    )
    with pytest.raises(MemoryError, match=message):
        classifier.fit(*few)
    assert not hasattr(classifier, "classes_")


def test_auto_equals_the_smaller_batch_set_by_hand(memory_for, few):
    X, y = few
    by_hand = LSTMImageClassifier(
        units=3, epochs=3, batch_size=8, gradient_accumulation_steps=4,
        random_state=np.random.RandomState(5),
    ).fit(X, y)  # fmt: skip
    # Memory runs out after the first epoch.
    memory_for(8, after=1)
    auto = LSTMImageClassifier(
        units=3, epochs=3, batch_size="auto", random_state=np.random.RandomState(5)
    )
    planned = []
    auto._plan_epochs = lambda X: (
        planned.append((auto.batch_size, auto.gradient_accumulation_steps)) or 3
    )
    with pytest.warns(UserWarning, match="Memory ran out with batches of") as told:
        auto.fit(X, y)
    sizes = [str(one.message).partition(":")[0].split()[-1] for one in told]
    assert sizes == ["32", "16"]
    assert told[0].filename == __file__
    assert (auto.batch_size_, auto.gradient_accumulation_steps_) == (8, 4)
    assert planned[-1] == (8, 4)
    assert auto.history_ == by_hand.history_
    np.testing.assert_array_equal(auto.predict_proba(X), by_hand.predict_proba(X))
    # The parameters stay, and so does the prediction of a clone.
    assert (auto.batch_size, auto.gradient_accumulation_steps) == ("auto", 1)
    assert not hasattr(clone(auto), "batch_size_")


def test_auto_changes_nothing_where_memory_suffices(few):
    X, y = few
    plain = LSTMImageClassifier(units=3, epochs=2, random_state=0).fit(X, y)
    auto = clone(plain).set_params(batch_size="auto").fit(X, y)
    assert auto.history_ == plain.history_
    assert (auto.batch_size_, auto.gradient_accumulation_steps_) == (32, 1)
    auto.set_params(warm_start=True).fit(X, y)
    assert len(auto.history_["loss"]) == 4
    auto.set_params(batch_size=32, warm_start=False).fit(X, y)
    assert not hasattr(auto, "batch_size_")


def test_an_ensemble_begins_again_as_a_whole(memory_for, few):
    memory_for(16)
    ensemble = LSTMImageClassifier(
        units=3, epochs=1, n_estimators=2, batch_size="auto", random_state=0
    )
    with pytest.warns(UserWarning, match="batch_size=16 and gradient_accumulation_st"):
        ensemble.fit(*few)
    assert [one.batch_size for one in ensemble.estimators_] == [16, 16]
    assert ensemble.batch_size_ == 16


def test_what_auto_cannot_change(memory_for, few):
    memory_for(0)
    auto = LSTMImageClassifier(units=3, epochs=1, batch_size="auto")
    with (
        pytest.warns(UserWarning, match="Memory ran out"),
        pytest.raises(MemoryError, match="with one sample in a batch"),
    ):
        auto.fit(*few)
    assert auto.batch_size == "auto"
    own = clone(auto).set_params(optimizer=keras.optimizers.SGD(0.1))
    with pytest.raises(MemoryError, match="an optimizer that is an instance"):
        own.fit(*few)


def test_a_network_that_trains_on_keeps_its_accumulation(memory_for, few):
    memory_for(0, after=1)
    auto = LSTMImageClassifier(units=3, epochs=1, batch_size="auto", warm_start=True)
    auto.fit(*few)
    with pytest.raises(MemoryError, match="fit with warm_start=False"):
        auto.fit(*few)
    assert auto.batch_size_ == 32


@pytest.mark.slow
def test_the_detector_has_it_too(memory_for, plates):
    memory_for(4)
    X, Y = plates
    detector = LSTMDefectDetector(size=(16, 24), units=4, epochs=1, batch_size="auto")
    with pytest.warns(UserWarning, match="Memory ran out"):
        detector.fit(X[:16], Y[:16])
    assert (detector.batch_size_, detector.gradient_accumulation_steps_) == (4, 4)
