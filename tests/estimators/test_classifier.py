"""What single parameters of LSTMImageClassifier do; one graph serves them all."""

import os
import random

from sklstm._keras import keras

import numpy as np
import pytest

from sklstm import LSTMImageClassifier, PatchSequencer, VolumeSequencer
from sklstm.estimators._labels import stratified_split
from sklstm.estimators._targets import make_targets


def make(**params):
    """The network of test_sklearn.py, on the same four digits."""
    settings = {
        "units": 16,
        "epochs": 2,
        "learning_rate": 0.02,
        "batch_size": 16,
        "random_state": 0,
    }
    return LSTMImageClassifier(**{**settings, **params})


@pytest.fixture(scope="module")
def four(digits):
    """The digits 0 to 3: 120 to train on, 120 to test on."""
    images, y = digits
    images, y = images[y < 4], y[y < 4]
    return images[:120], y[:120], images[240:360], y[240:360]


# --- class_weight -------------------------------------------------------------------


def test_class_weight_moves_predictions(four):
    X, y, X_test, _ = four

    def share_of_threes(class_weight):
        model = make(epochs=1, class_weight=class_weight).fit(X, y)
        return model.predict_proba(X_test)[:, 3].mean(), np.mean(
            model.predict(X_test) == 3
        )

    light, even, heavy = map(share_of_threes, [{3: 0.05}, None, {3: 20}])
    assert light[0] < even[0] - 0.05 < even[0] + 0.05 < heavy[0]
    assert light[1] < even[1] < heavy[1]


def test_balanced_weights_find_a_rare_class(four):
    X, y, X_test, y_test = four
    rare = np.flatnonzero(y == 3)[5:]
    X, y = np.delete(X, rare, axis=0), np.delete(y, rare)
    found = [
        np.mean(
            make(epochs=4, class_weight=weights).fit(X, y).predict(X_test[y_test == 3])
            == 3
        )
        for weights in (None, "balanced")
    ]
    assert found[1] > found[0] + 0.3


# --- weights ------------------------------------------------------------------------


def losses(model, X, y):
    """The cross-entropy of each sample."""
    return -np.log(model.predict_proba(X)[np.arange(len(y)), y])


@pytest.mark.parametrize("class_weight", [None, {3: 5.0}, "balanced"])
def test_the_held_out_part_is_weighted_as_training_is(four, class_weight):
    X, y = four[:2]
    own = np.random.default_rng(0).uniform(0.01, 2, len(y))
    model = make(early_stopping=True, validation_fraction=0.25, epochs=1)
    model.set_params(class_weight=class_weight).fit(X, y, sample_weight=own)
    rows = stratified_split(y, 0.25, np.random.SeedSequence(0).spawn(3)[2])[1]
    weights = own
    if class_weight == "balanced":
        weights = own / np.bincount(y, own)[y]
    elif class_weight is not None:
        weights = own * np.where(y == 3, 5.0, 1.0)
    expected = np.average(losses(model, X[rows], y[rows]), weights=weights[rows])
    assert model.history_["val_loss"][0] == pytest.approx(expected, rel=1e-4)
    # As in training, the accuracy counts every sample alike.
    accuracy = np.mean(model.predict(X[rows]) == y[rows])
    assert model.history_["val_accuracy"][0] == pytest.approx(accuracy, rel=1e-5)


def test_given_validation_samples_have_the_weights_of_their_classes(four):
    X, y, X_val, y_val = four
    model = make(epochs=1, class_weight={3: 5.0, 0: 0.0})
    model.fit(X, y, X_val=X_val, y_val=y_val)
    weights = np.array([0, 1, 1, 5.0])[y_val]
    expected = np.average(losses(model, X_val, y_val), weights=weights)
    assert model.history_["val_loss"][0] == pytest.approx(expected, rel=1e-4)
    zeros = y_val == 0
    message = r"^class_weight gives every class in y_val the weight zero: nothing"
    with pytest.raises(ValueError, match=message):
        model.fit(X, y, X_val=X_val[zeros], y_val=y_val[zeros])


def test_only_the_proportions_of_weights_count(four):
    X, y, X_test, _ = four
    own = np.random.default_rng(0).uniform(0, 2, len(y))
    even = dict.fromkeys(range(4), 10)
    fits = [
        make(class_weight=class_weight).fit(X, y, sample_weight=weights)
        for class_weight, weights in [(None, None), (even, None), (None, own)]
    ]
    plain, by_class, weighted = (fit.predict_proba(X_test) for fit in fits)
    np.testing.assert_array_equal(plain, by_class)
    assert np.abs(plain - weighted).max() > 0.001
    small = make().fit(X, y, sample_weight=own / 2**30)
    np.testing.assert_array_equal(small.predict_proba(X_test), weighted)


def test_samples_of_weight_zero_are_as_if_they_were_not_there(four):
    X, y, X_test, _ = four
    keep = np.arange(len(y)) % 3 > 0
    params = {"class_weight": "balanced", "early_stopping": True}
    params["validation_fraction"] = 0.25
    left_out = make(**params).fit(X, y, sample_weight=keep * 0.1)
    absent = make(**params).fit(X[keep], y[keep])
    np.testing.assert_array_equal(
        left_out.predict_proba(X_test), absent.predict_proba(X_test)
    )
    assert left_out.history_ == absent.history_


def test_partial_fit_keeps_to_the_scale_of_its_first_call(four):
    X, y = four[:2]
    model = make(optimizer="sgd", learning_rate=1e-9, input_noise=0.0, dropout=0.0)
    for size in (1e-4, 1e-4, 1e-3):
        model.partial_fit(X, y, sample_weight=np.full(len(y), size))
    first, second, third = model.history_["loss"]
    assert second == pytest.approx(first, rel=1e-3)
    assert third == pytest.approx(10 * first, rel=1e-3)
    message = r"nothing beside the 0\.0001 of the first call of partial_fit"
    with pytest.raises(ValueError, match=message):
        model.partial_fit(X, y, sample_weight=np.full(len(y), 1e-60))


# --- standardization ----------------------------------------------------------------


def standardization(model):
    """Mean and standard deviation that the network holds."""
    # Not by `model_`: a network that was looked at would not serve the next test.
    layer = model._fitted_network.compiled.model.get_layer("standardize")
    return float(layer.mean), float(layer.scale)


def test_standardization_is_of_the_training_rows_alone(four):
    X, y = four[:2]
    X = X.copy()
    seed = np.random.SeedSequence(0).spawn(3)[2]
    rows, kept = stratified_split(y, 0.25, seed)
    X[kept] += 1000  # what is held out lies far away
    model = make(early_stopping=True, validation_fraction=0.25, epochs=1).fit(X, y)
    mean, scale = standardization(model)
    assert mean == pytest.approx(X[rows].mean(), rel=1e-6)
    assert scale == pytest.approx(X[rows].std(), rel=1e-6)
    # The control: the same fit without a part held out takes all rows.
    mean, _ = standardization(model.set_params(early_stopping=False).fit(X, y))
    assert mean == pytest.approx(X.mean(), rel=1e-6)
    assert mean > 200


# --- warm_start ---------------------------------------------------------------------


def test_warm_start_goes_on(four):
    X, y, X_test, _ = four
    model = make(lr_schedule="constant", learning_rate=0.01, epochs=6).fit(X, y)
    at_once = model.history_, model.predict_proba(X_test)
    model.set_params(epochs=3).fit(X, y)
    first = {name: list(values) for name, values in model.history_.items()}
    assert model.n_iter_ == 3
    model.set_params(warm_start=True).fit(X, y)
    assert model.n_iter_ == model.best_epoch_ == 6
    for name, values in model.history_.items():
        assert len(values) == 6
        assert values[:3] == first[name]
    assert model.history_["loss"][3] < min(first["loss"])
    # At a constant rate, twice three epochs are six.
    np.testing.assert_allclose(model.history_["loss"], at_once[0]["loss"], rtol=1e-5)
    np.testing.assert_allclose(model.predict_proba(X_test), at_once[1], atol=1e-5)
    # The control: without it the second fit starts over.
    model.set_params(warm_start=False).fit(X, y)
    assert model.n_iter_ == 3
    assert model.history_ == first


# --- op_determinism -----------------------------------------------------------------


class Watch(keras.callbacks.Callback):
    """Notes whether TensorFlow runs deterministic kernels alone; fails if asked to."""

    def __init__(self, fail=False):
        super().__init__()
        self.fail = fail
        self.seen = []

    def on_epoch_begin(self, epoch, logs=None):
        self.seen.append(deterministic())
        if self.fail:
            raise RuntimeError("enough")


def deterministic():
    from tensorflow.python.framework import config

    return config.is_op_determinism_enabled()


def surroundings():
    """All that a fit with op_determinism must leave as it was."""
    from tensorflow.python.eager import context

    return {
        "deterministic": deterministic(),
        "environment": dict(os.environ),
        "python": random.getstate(),
        "numpy": repr(np.random.get_state()),  # noqa: NPY002
        "tensorflow": context.global_seed(),
    }


@pytest.mark.parametrize("variable", [None, "0"])
def test_op_determinism_leaves_no_trace(four, monkeypatch, variable):
    X, y, X_test, _ = four
    monkeypatch.delenv("TF_DETERMINISTIC_OPS", raising=False)
    if variable is not None:
        monkeypatch.setenv("TF_DETERMINISTIC_OPS", variable)
    before = surroundings()
    assert not before["deterministic"]
    watch = Watch()
    model = make(op_determinism=True, callbacks=[watch])
    once, history = model.fit(X, y).predict_proba(X_test), model.history_
    assert watch.seen == [True, True]
    assert surroundings() == before
    np.testing.assert_array_equal(model.fit(X, y).predict_proba(X_test), once)
    assert model.history_ == history
    # Nor when training fails.
    with pytest.raises(RuntimeError, match="enough"):
        model.set_params(callbacks=[Watch(fail=True)]).fit(X, y)
    assert surroundings() == before


def test_op_determinism_that_was_on_stays_on(four):
    import tensorflow as tf
    from tensorflow.python.framework import config

    before = deterministic()
    tf.config.experimental.enable_op_determinism()
    try:
        make(epochs=1, op_determinism=True).fit(*four[:2])
        assert deterministic()
    finally:
        if not before:
            config.disable_op_determinism()


# --- verbose ------------------------------------------------------------------------


def test_verbose(four, capfd):
    X, y = four[:2]
    make().fit(X, y)
    assert capfd.readouterr() == ("", "")
    make(verbose=1).fit(X, y)
    out, err = capfd.readouterr()
    assert err == ""
    lines = out.splitlines()
    assert [line.partition("  ")[0] for line in lines] == ["epoch 1/2", "epoch 2/2"]
    for line in lines:
        assert {"loss", "accuracy", "learning_rate"} <= set(line.split())


@pytest.mark.skipif(
    keras.backend.backend() != "tensorflow",
    reason="other backends are given batches of few different sizes",
)
@pytest.mark.parametrize("n", [1, 5, 60, 97])
def test_a_prediction_does_not_depend_on_its_place(digits, n):
    images, y = digits
    model = LSTMImageClassifier(units=8, epochs=1, random_state=0)
    model.fit(images[:200], y[:200])
    expected = model.predict_proba(images[:n])
    for seed in range(5):
        order = np.random.default_rng(seed).permutation(n)
        found = model.predict_proba(images[order])
        np.testing.assert_array_equal(found, expected[order])
    first = model.predict_proba(images[:1])  # and not on who stands beside it
    np.testing.assert_array_equal(first, expected[:1])


def test_predict_after_set_params_uses_the_fitted_network(digits):
    X, y = digits[0][:40], digits[1][:40]
    classifier = LSTMImageClassifier(
        sequencer=PatchSequencer(4), attention="additive", units=4, epochs=1
    ).fit(X, y)
    predict = classifier.predict_proba, classifier.attention_map
    before = [function(X[:3]) for function in predict]
    for changed in (
        {"sequencer": None},
        {"network": "cnn_lstm"},
        {"network": "no such network", "augmentation": "no such augmentation"},
        {"sequencer": VolumeSequencer()},
    ):
        classifier.set_params(**changed)
        for function, expected in zip(predict, before, strict=True):
            np.testing.assert_array_equal(function(X[:3]), expected)


@pytest.mark.parametrize(
    ("loss", "one_hot"),
    [
        (None, False),
        ("sparse_categorical_crossentropy", False),
        (keras.losses.SparseCategoricalCrossentropy, False),
        (keras.losses.SparseCategoricalCrossentropy(name="xent"), False),
        ("categorical_crossentropy", True),
        (keras.losses.MeanSquaredError(name="x"), True),
        (keras.losses.categorical_crossentropy, True),
    ],
)
def test_sparse_losses_are_given_class_numbers_whatever_their_name(loss, one_hot):
    classifier = LSTMImageClassifier(loss=loss)
    classifier.classes_ = np.arange(3)
    targets = make_targets(classifier, np.array([2, 0], "int32"))
    assert targets.shape == ((2, 3) if one_hot else (2,))


# --- soft targets -------------------------------------------------------------------


def test_label_smoothing_is_the_loss_of_smoothed_targets(four):
    X, y, X_val, y_val = four
    smoothed = make(label_smoothing=0.2, dropout=0.0, input_noise=0.0, epochs=1)
    smoothed.set_params(lr_schedule="constant", learning_rate=1e-9, batch_size=120)
    smoothed.fit(X, y, X_val=X_val, y_val=y_val)
    # The weights hardly change, so the losses are those of the probabilities now.
    p = smoothed.predict_proba(X).astype(float)
    expected = -np.mean(0.8 * np.log(p[np.arange(120), y]) + 0.2 * np.log(p).mean(1))
    assert smoothed.history_["loss"][0] == pytest.approx(expected, rel=1e-4)
    # The validation has the targets as they are.
    p = smoothed.predict_proba(X_val)
    expected = -np.mean(np.log(p[np.arange(120), y_val]))
    assert smoothed.history_["val_loss"][0] == pytest.approx(expected, rel=1e-4)


def test_label_smoothing_keeps_probabilities_from_the_ends(four):
    X, y, X_test, _ = four
    plain, smoothed = (
        make(epochs=15, label_smoothing=part).fit(X, y).predict_proba(X_test)
        for part in (0.0, 0.3)
    )
    assert plain.max(axis=1).mean() > smoothed.max(axis=1).mean() + 0.1


@pytest.mark.parametrize(
    ("params", "least"),
    [
        ({"mixup": 1.0}, 0.8),
        ({"cutmix": 1.0}, 0.8),
        ({"mixup": 0.5, "cutmix": 0.5, "ordinal": True}, 0.4),
    ],
)
def test_mixtures_teach_the_classes(four, params, least):
    X, y, X_test, y_test = four
    mixed = make(**params, epochs=15).fit(X, y)
    assert mixed.score(X_test, y_test) > least
    # The loss of mixtures cannot fall below the entropy of their targets.
    assert mixed.history_["loss"][-1] > 0.2
    again = make(**params, epochs=15).fit(X, y)
    np.testing.assert_array_equal(
        again.predict_proba(X_test), mixed.predict_proba(X_test)
    )


def test_mixtures_come_after_the_augmentation(four):
    mixed = make(
        network="cnn_lstm",
        units=2,
        network__filters=2,
        cutmix=1.0,
        augmentation="light",
    )
    mixed.fit(four[0], four[1])
    names = [layer.name for layer in mixed.model_.layers]
    assert "augmentation" not in names
    plain = mixed.set_params(cutmix=0.0).fit(four[0], four[1])
    assert "augmentation" in [layer.name for layer in plain.model_.layers]


def test_metrics_of_soft_targets_count_the_labels(four):
    X, y = four[:2]
    smoothed = make(
        label_smoothing=0.2, metrics=["AUC", keras.metrics.F1Score(average="macro")]
    )
    smoothed.set_params(lr_schedule="constant", learning_rate=1e-9, epochs=1)
    smoothed.set_params(dropout=0.0, input_noise=0.0)
    smoothed.fit(X, y, X_val=X, y_val=y)
    for name in ("accuracy", "AUC", "f1_score"):
        value = smoothed.history_[name][0]
        assert value == pytest.approx(smoothed.history_[f"val_{name}"][0], abs=1e-3)


@pytest.mark.parametrize("name", ["label_smoothing", "mixup", "cutmix"])
def test_soft_targets_need_a_loss_that_takes_them(four, name):
    message = "compares class numbers, and label_smoothing, mixup and cutmix make"
    classifier = make(loss="sparse_categorical_crossentropy", **{name: 0.1})
    with pytest.raises(ValueError, match=message):
        classifier.fit(four[0], four[1])
    own = make(loss="categorical_focal_crossentropy", **{name: 0.1})
    assert own.fit(four[0], four[1]).predict(four[2]).shape == (120,)


# --- weight decay and warm-up -------------------------------------------------------


def test_weight_decay_shrinks_the_kernels(four):
    kernels = {}
    for decay in (None, 0.0, 10.0):
        fitted = make(weight_decay=decay).fit(four[0], four[1])
        kernels[decay] = float(
            np.abs(fitted.model_.get_layer("probabilities").kernel.numpy()).mean()
        )
    assert kernels[0.0] == kernels[None]
    assert kernels[10.0] < 0.5 * kernels[0.0]


def test_the_decay_of_adamw_is_replaced(four):
    adam, adamw = (
        make(optimizer=name, weight_decay=0.5).fit(four[0], four[1])
        for name in ("adam", "adamw")
    )
    np.testing.assert_allclose(
        adam.predict_proba(four[2]), adamw.predict_proba(four[2]), atol=1e-5
    )
    own = make(optimizer="adamw").fit(four[0], four[1])  # Keras' own 0.004
    assert own.model_.optimizer.weight_decay == 0.004


@pytest.mark.parametrize(
    ("params", "message"),
    [
        (
            {"weight_decay": 0.1, "optimizer__weight_decay": 0.2, "optimizer": "adamw"},
            "optimizer__weight_decay is given: set weight_decay instead",
        ),
        (
            {"weight_decay": 0.1, "optimizer": keras.optimizers.AdamW()},
            "is an instance, has a weight decay of its own: leave one out",
        ),
        (
            {
                "warmup": 0.1,
                "lr_schedule": keras.optimizers.schedules.CosineDecay(0.1, 10),
            },
            "warmup=0.1 has no effect beside a schedule of Keras",
        ),
        (
            {
                "warmup": 0.1,
                "optimizer": keras.optimizers.Adam(
                    keras.optimizers.schedules.CosineDecay(0.1, 10)
                ),
            },
            "warmup=0.1 has no effect beside a schedule of Keras",
        ),
        (
            {"average_epochs": 3, "optimizer__use_ema": True},
            "average_epochs=3 and the optimizer's use_ema both average",
        ),
        (
            {"average_epochs": 3, "optimizer": keras.optimizers.SGD(use_ema=True)},
            "average_epochs=3 and the optimizer's use_ema both average",
        ),
        ({"warmup": 1.0}, "'warmup' parameter"),
        ({"mixup": -0.1}, "'mixup' parameter"),
    ],
)
def test_parts_of_a_recipe_that_exclude_each_other(four, params, message):
    with pytest.raises(ValueError, match=message):
        make(**params).fit(four[0], four[1])


def test_the_rate_rises_over_a_part_of_all_updates(four):
    # 120 samples in batches of 16 make 8 updates an epoch, 40 in all.
    fitted = make(epochs=5, warmup=0.4, learning_rate=0.016).fit(four[0], four[1])
    rates = fitted.history_["learning_rate"]
    np.testing.assert_allclose(rates[:2], [0.008, 0.016], rtol=1e-5)
    assert rates[2] < 0.016
    assert rates[-1] < 1e-3
