"""What every engine must do: `.ci/run` runs these tests on all three backends."""

from sklstm._keras import keras

import numpy as np
import pytest

from sklstm import LSTMImageClassifier, PatchSequencer, RowSequencer
from sklstm.networks import lstm
from sklstm.networks.initialize import initialize
from sklstm.training import _data
from sklstm.training._compiled import CompiledNetwork
from sklstm.training._engine import make_engine
from sklstm.training._loop import _Order
from sklstm.training._pool import clear_pool
from sklstm.training._spec import NetworkSpec

pytestmark = pytest.mark.backend

SMALL = {"units": 4, "bidirectional": False, "random_state": 0}


def averages(input_shape, n_classes):
    """A softmax over the mean step: compiled in a fraction of an LSTM's time."""
    inputs = keras.Input(input_shape)
    x = keras.layers.GlobalAveragePooling1D()(inputs)
    x = keras.layers.Dense(n_classes, activation="softmax")(x)
    return keras.Model(inputs, x)


def light(**params):
    return LSTMImageClassifier(averages, random_state=0, **params)


def by_keras():
    """Return a callback that listens to batches, so that Keras' `fit` trains."""
    return keras.callbacks.LambdaCallback(on_train_batch_end=lambda batch, logs: None)


@pytest.fixture(scope="module")
def small(digits):
    # 50 samples in batches of 16: the last batch has two.
    return digits[0][:50], digits[1][:50], digits[0][50:80], digits[1][50:80]


@pytest.fixture(scope="module")
def compiled():
    """A network with batch normalization, dropout, noise and a penalty."""
    spec = NetworkSpec(
        network="lstm",
        input_shape=(None, 8),
        n_outputs=3,
        input_dtype="uint8",
        network_params={
            "units": 3,
            "bidirectional": False,
            "batch_norm": True,
            "dropout": 0.2,
            "input_noise": 0.1,
            "l2": 0.01,
        },
        compile_params={"loss": "sparse_categorical_crossentropy", "metrics": None},
    )
    return CompiledNetwork(spec)


@pytest.fixture
def started(compiled):
    compiled.start(np.random.SeedSequence(0))
    compiled.configure({"dropout": 0.2, "input_noise": 0.1, "l2": 0.01})
    compiled.model.optimizer.keep_constant(0.05)
    return compiled


@pytest.fixture(scope="module")
def arrays():
    rng = np.random.default_rng(0)
    x = rng.integers(0, 4, (43, 8, 8)).astype(np.uint8)
    y = rng.integers(0, 3, 43).astype(np.int32)
    return x, y, rng.uniform(0.2, 2, 43).astype(np.float32)


def weights_of(compiled):
    return [np.array(w) for w in compiled.model.get_weights()]


def order_of(n, seed=0):
    return np.random.default_rng(seed).permutation(n).astype(np.int32)


def trained(compiled, data, epochs, batch_size=8):
    loaded = compiled.engine.load(*data)
    for epoch in range(epochs):
        order = order_of(len(data[0]), epoch)
        logs = compiled.engine.train_epoch(loaded, order, batch_size)
    return logs


# --- the same training as plain Keras ------------------------------------------------


@pytest.mark.parametrize(("accumulation", "schedule"), [
    (1, "cosine"),
    pytest.param(2, "constant", marks=pytest.mark.slow),
])  # fmt: skip
def test_matches_plain_keras(small, accumulation, schedule):
    X, y, X_val, y_val = small
    weights = np.random.default_rng(0).uniform(0.5, 2, len(X)).astype("float32")
    network = {"input_noise": 0.4, "dropout": 0.3, "l2": 0.01, "batch_norm": True}
    classifier = LSTMImageClassifier(
        **SMALL,
        **network,
        batch_size=16,
        epochs=3,
        learning_rate=0.01,
        lr_schedule=schedule,
        clipvalue=0.1,
        gradient_accumulation_steps=accumulation,
    ).fit(X, y, sample_weight=weights, X_val=X_val, y_val=y_val)

    plain = lstm((None, 8), 10, units=4, bidirectional=False, **network)
    initialize(plain, np.random.SeedSequence(0).spawn(3)[0])
    plain.get_layer("standardize").set(X.mean(), X.std())
    rate = 0.01
    if schedule == "cosine":
        rate = keras.optimizers.schedules.CosineDecay(0.01, 3 * 4)
    plain.compile(
        keras.optimizers.Adam(
            rate,
            clipvalue=0.1,
            gradient_accumulation_steps=accumulation if accumulation > 1 else None,
        ),
        "sparse_categorical_crossentropy",
        metrics=["accuracy"],
    )
    order = _Order(len(X), classifier._shuffle_seed, 0)
    history: dict = {}
    for epoch in range(3):
        rows = order(epoch)
        fitted = plain.fit(
            X[rows].astype("float32"),
            y[rows],
            sample_weight=(weights / weights.mean())[rows],
            validation_data=(X_val.astype("float32"), y_val),
            batch_size=16,
            shuffle=False,
            verbose=0,
        )
        for name, values in fitted.history.items():
            history.setdefault(name, []).extend(values)

    for name in ("loss", "accuracy", "val_loss", "val_accuracy"):
        np.testing.assert_allclose(
            classifier.history_[name], history[name], rtol=2e-5, err_msg=name
        )
    for own, other in zip(classifier.model_.weights, plain.weights, strict=True):
        np.testing.assert_allclose(
            own.numpy(), other.numpy(), rtol=1e-4, atol=1e-5, err_msg=own.path
        )
    assert int(classifier.model_.optimizer.iterations) == 12 // accumulation


@pytest.mark.parametrize(
    ("make", "dtype", "params"),
    [
        (LSTMImageClassifier, "uint8", {**SMALL, "early_stopping": True}),
        pytest.param(
            light,
            "float64",
            {"optimizer__use_ema": True, "optimizer__ema_momentum": 0.5},
            marks=pytest.mark.slow,
        ),
        (light, "uint8", {"gradient_accumulation_steps": 3, "lr_schedule": "constant"}),
        (light, "uint8", {"weight_decay": 5.0, "warmup": 0.5, "label_smoothing": 0.2}),
        pytest.param(
            light,
            "float64",
            {"loss": "categorical_crossentropy"},
            marks=pytest.mark.slow,
        ),
    ],
)
def test_both_ways_of_training_agree(small, make, dtype, params):
    X, y, X_val, y_val = small
    X, X_val = X.astype(dtype), X_val.astype(dtype)
    params = {"batch_size": 16, "epochs": 4, "patience": 1, **params}
    params |= {"learning_rate": 0.05, "class_weight": "balanced"}
    own = make(**params).fit(X, y, X_val=X_val, y_val=y_val)
    through_keras = make(**params, callbacks=[by_keras()])
    through_keras.fit(X, y, X_val=X_val, y_val=y_val)
    assert own.history_.keys() == through_keras.history_.keys()
    for name, values in own.history_.items():
        np.testing.assert_allclose(values, through_keras.history_[name], rtol=1e-5)
    np.testing.assert_allclose(
        own.predict_proba(X_val), through_keras.predict_proba(X_val), atol=1e-6
    )
    assert own.best_epoch_ == through_keras.best_epoch_


DEEP = {
    "stem_kernels": "harmonic",
    "stem_blocks": "residual",
    "stem_size": 4,
    "stem_dropout": 0.1,
    "drop_path": 0.3,
}


@pytest.mark.slow
@pytest.mark.parametrize("stem", [{}, DEEP])
def test_own_metrics_and_networks_with_images_agree(digits, stem):
    X, y = digits[0][:50], digits[1][:50] % 3
    params = {
        "network": "cnn_lstm",
        "network__filters": 2,
        "units": 2,
        "augmentation": {"flip": "horizontal", "contrast": 0.2},
        "metrics": ["AUC", keras.metrics.F1Score(average=None)],
        "batch_size": 16,
        "epochs": 2,
        "random_state": 0,
        **stem,
    }
    weights = np.random.default_rng(0).uniform(0.5, 2, 50)
    own = LSTMImageClassifier(**params).fit(X, y, weights, X_val=X[:21], y_val=y[:21])
    keras_fit = LSTMImageClassifier(**params, callbacks=[by_keras()])
    keras_fit.fit(X, y, weights, X_val=X[:21], y_val=y[:21])
    assert own.history_.keys() == keras_fit.history_.keys()
    assert "val_f1_score_class_2" in own.history_
    for name, values in own.history_.items():
        np.testing.assert_allclose(
            values, keras_fit.history_[name], rtol=2e-4, err_msg=name
        )


def test_a_loss_over_the_whole_batch_agrees(small):
    # Its value depends on the other rows of the batch, so filling rows would change it.
    def spread(y_true, y_pred):
        each = keras.losses.categorical_crossentropy(y_true, y_pred)
        return each + keras.ops.max(each) * (1 + 0 * each)

    def count(y_true, y_pred):
        ones = keras.ops.ones_like(y_pred[:, 0])
        return ones * keras.ops.sum(ones)

    params = {"loss": spread, "metrics": [count], "batch_size": 16, "epochs": 2}
    own = light(**params).fit(*small[:2])
    other = light(**params, callbacks=[by_keras()]).fit(*small[:2])
    np.testing.assert_allclose(own.history_["loss"], other.history_["loss"], rtol=1e-5)
    # 48 rows are in batches of 16, and two in a batch of two.
    np.testing.assert_allclose(own.history_["count"], (48 * 16 + 2 * 2) / 50, rtol=1e-6)
    assert own.history_["count"] == pytest.approx(other.history_["count"])


@pytest.mark.parametrize("accumulation", [pytest.param(1, marks=pytest.mark.slow), 2])
def test_mixed_precision_agrees(small, accumulation):
    params = {
        "epochs": 3,
        "learning_rate": 0.02,
        "dtype_policy": "mixed_float16",
        "gradient_accumulation_steps": accumulation,
        "batch_size": 16,
    }
    own = light(**params).fit(*small[:2], X_val=small[2], y_val=small[3])
    assert isinstance(own.model_.optimizer, keras.optimizers.LossScaleOptimizer)
    other = light(**params, callbacks=[by_keras()])
    other.fit(*small[:2], X_val=small[2], y_val=small[3])
    for name, values in own.history_.items():
        np.testing.assert_allclose(
            values, other.history_[name], rtol=5e-3, err_msg=name
        )


def test_a_sample_of_weight_zero_does_not_count(small):
    X, y = small[:2]
    weights = np.ones(len(X))
    weights[3::5] = 0
    changed = X.copy()
    changed[3::5] = 0
    params = {"batch_size": 16, "epochs": 3}
    # The standardization counts them, so the network must not have one.
    one, other = (light(**params).fit(x, y, weights) for x in (X, changed))
    np.testing.assert_allclose(one.predict_proba(X), other.predict_proba(X), atol=1e-6)
    assert one.history_["loss"] == pytest.approx(other.history_["loss"], rel=1e-6)


# --- orders and parts ------------------------------------------------------------


def test_rows_may_repeat_and_be_left_out(started, arrays):
    order = np.array([5, 5, 7, 0, 0, 0, 12, 40, 3, 5], dtype=np.int32)
    loaded = started.engine.load(*arrays)
    logs = started.engine.train_epoch(loaded, order, 4)
    weights = weights_of(started)
    started.start(np.random.SeedSequence(0))
    started.model.optimizer.keep_constant(0.05)
    picked = started.engine.load(*(a[order] for a in arrays))
    again = started.engine.train_epoch(picked, np.arange(10, dtype=np.int32), 4)
    assert logs == pytest.approx(again, rel=1e-6)
    for a, b in zip(weights, weights_of(started), strict=True):
        np.testing.assert_allclose(a, b, atol=1e-6)


@pytest.mark.parametrize("batch_size", [1, 8, 43, 64])
def test_each_update_is_one_batch(started, arrays, batch_size):
    trained(started, arrays, 1, batch_size)
    assert int(started.model.optimizer.iterations) == -(-43 // batch_size)


@pytest.mark.parametrize("at_once", [2000, 3])
def test_parts_of_large_data_give_the_same_bits(started, arrays, monkeypatch, at_once):
    whole = trained(started, arrays, 2)
    seen = started.engine.evaluate(started.engine.load(*arrays), 8)
    expected = weights_of(started)
    started.start(np.random.SeedSequence(0))
    started.model.optimizer.keep_constant(0.05)
    monkeypatch.setattr(_data, "AT_ONCE", at_once)
    assert trained(started, arrays, 2) == pytest.approx(whole, rel=1e-6)
    again = started.engine.evaluate(started.engine.load(*arrays), 8)
    assert again == pytest.approx(seen, rel=1e-6)
    for a, b in zip(expected, weights_of(started), strict=True):
        np.testing.assert_array_equal(a, b)


# --- evaluation and prediction ------------------------------------------------------


def test_evaluation_by_hand(started, arrays):
    trained(started, arrays, 2)
    before = weights_of(started)
    x, y, w = arrays
    logs = started.engine.evaluate(started.engine.load(x, y, w), 8)
    probabilities = started.engine.predict(x, 43)
    losses = -np.log(probabilities[np.arange(43), y]) * w
    penalty = 0.01 * sum(
        float(np.sum(np.square(np.asarray(v))))
        for v in started.model.trainable_variables
        if "kernel" in v.path
    )
    assert logs["loss"] == pytest.approx(losses.mean() + penalty, rel=1e-5)
    correct = probabilities.argmax(axis=1) == y
    assert logs["accuracy"] == pytest.approx(correct.mean(), rel=1e-6)
    for a, b in zip(before, weights_of(started), strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("dtype", ["uint8", "float32", "float64"])
@pytest.mark.parametrize("batch_size", [1, 5, 512])
def test_a_prediction_does_not_depend_on_other_samples(
    started, arrays, dtype, batch_size
):
    x = arrays[0].astype(dtype)
    together = started.engine.predict(x, 512)
    assert together.dtype == np.float32
    assert together.shape == (43, 3)
    np.testing.assert_allclose(together.sum(axis=1), 1, rtol=1e-6)
    some = started.engine.predict(x[7:30], batch_size)
    np.testing.assert_allclose(some, together[7:30], atol=1e-6)
    assert isinstance(together, np.ndarray)
    together[:] = 0  # the result belongs to the caller


# --- state ------------------------------------------------------------------------


def test_state_goes_out_and_in(started, arrays):
    trained(started, arrays, 2)
    state = started.get_state()
    more = trained(started, arrays, 2)
    expected = weights_of(started)
    started.start(np.random.SeedSequence(9))
    trained(started, arrays, 1)
    started.set_state(state)
    assert trained(started, arrays, 2) == more
    for a, b in zip(expected, weights_of(started), strict=True):
        np.testing.assert_array_equal(a, b)


def test_weights_that_someone_holds_do_not_change(started, arrays):
    trained(started, arrays, 1)
    held = started.model.get_weights()
    state = started.get_state()
    copies = [np.array(w) for w in held]
    slots = [np.array(v) for v in state["optimizer"]]
    trained(started, arrays, 2)
    for a, b in zip(held, copies, strict=True):
        np.testing.assert_array_equal(a, b)
    for a, b in zip(state["optimizer"], slots, strict=True):
        np.testing.assert_array_equal(a, b)
    now = started.model.get_weights()
    changed = zip(held, now, strict=True)
    assert any(not np.array_equal(a, b) for a, b in changed)


RECIPE = {
    "network": "cnn_lstm",
    "network__filters": 2,
    "units": 3,
    "stem_blocks": "residual",
    "stem_depth": 1,
    "stem_size": 4,
    "stem_dropout": 0.3,
    "drop_path": 0.3,
    "weight_decay": 0.3,
    "warmup": 0.3,
    "label_smoothing": 0.1,
    "average_epochs": 2,
    "mixup": 0.5,
    "cutmix": 1.0,
}


@pytest.mark.parametrize(
    "params",
    [
        pytest.param(
            {**SMALL, "dropout": 0.3, "batch_norm": True}, marks=pytest.mark.slow
        ),
        {"random_state": 0, **RECIPE},
    ],
    ids=["lstm", "recipe"],
)
def test_the_same_seed_gives_the_same_bits_with_and_without_the_pool(small, params):
    X, y = small[:2]
    classifier = LSTMImageClassifier(epochs=2, batch_size=16, **params)
    clear_pool()
    once = classifier.fit(X, y).predict_proba(X)
    twice = classifier.fit(X, y).predict_proba(X)
    np.testing.assert_array_equal(once, twice)


@pytest.mark.parametrize(
    "part", ["weight_decay", "warmup", "label_smoothing", "average_epochs", "mixup"]
)
def test_each_part_of_a_recipe_changes_the_training(small, part):
    X, y = small[:2]
    value = {"average_epochs": 2, "weight_decay": 5.0}.get(part, 0.3)
    how = {"epochs": 2, "batch_size": 16, "learning_rate": 0.02}
    plain = light(**how).fit(X, y).predict_proba(X)
    changed = light(**how, **{part: value}).fit(X, y).predict_proba(X)
    assert np.abs(plain - changed).max() > 1e-4


def test_other_backends_are_refused(monkeypatch, compiled):
    monkeypatch.setattr(keras.backend, "backend", lambda: "openvino")
    with pytest.raises(RuntimeError, match="set KERAS_BACKEND to 'tensorflow', 'jax'"):
        make_engine(compiled.model, compiled.spec)


# --- whole estimators ----------------------------------------------------------------


@pytest.mark.slow
def test_a_scan_inside_the_network_trains_from_bytes(digits):
    X, y = digits[0][:60].astype(np.uint8), digits[1][:60] % 2
    for sequencer in (RowSequencer(), PatchSequencer(4, 2)):
        params = {"sequencer": sequencer, "units": 3, "epochs": 2, "random_state": 0}
        own = LSTMImageClassifier(**params).fit(X, y)
        other = LSTMImageClassifier(**params, callbacks=[by_keras()]).fit(X, y)
        for name, values in own.history_.items():
            np.testing.assert_allclose(values, other.history_[name], rtol=1e-4)


def test_lengths_that_the_network_leaves_open(digits):
    X, y = digits[0][:40], digits[1][:40] % 2
    classifier = LSTMImageClassifier(**SMALL, epochs=1)
    for n_steps in (8, 5, 8):
        classifier.fit(X[:, :n_steps], y)
        assert classifier.predict_proba(X[:, :n_steps]).shape == (40, 2)
