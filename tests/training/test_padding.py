from sklstm._keras import keras

import numpy as np
import pytest

from sklstm.networks import Augmentation, WindowLoss
from sklstm.networks.initialize import reseed
from sklstm.networks.layers._augmentation import make_augmentation
from sklstm.training._metrics import make_metrics
from sklstm.training._padding import can_pad, padded_size, row_weights
from sklstm.training._spec import NetworkSpec

ROWS = ("binary_crossentropy", "categorical_focal_crossentropy", "mean_squared_error")
ops = keras.ops


def test_padded_sizes_are_few_and_close():
    sizes = [padded_size(n) for n in range(1, 2000)]
    assert all(size >= n for n, size in enumerate(sizes, 1))
    assert all(size <= 1.25 * n for n, size in enumerate(sizes, 1))
    assert sizes == sorted(sizes)
    assert len(set(sizes)) <= 40
    assert padded_size(240) == padded_size(241) == padded_size(250)


def outputs_network(n_outputs=3):
    inputs = keras.Input((4,))
    outputs = keras.layers.Dense(n_outputs, activation="softmax")(inputs)
    return keras.Model(inputs, outputs)


def compiled(loss="categorical_crossentropy", metrics=()):
    model = outputs_network()
    made = make_metrics(list(metrics), list(metrics), {}, 3)
    model.compile("sgd", loss, metrics=["accuracy", *made])
    x, y = np.zeros((6, 4), "float32"), np.eye(3, dtype="float32")[[0, 1, 2, 0, 1, 2]]
    model.compute_metrics(None, ops.convert_to_tensor(y), model(x), np.ones(6))
    model.reset_metrics()
    return model


def spec(network="lstm", **params):
    return NetworkSpec(network, (4,), 3, "float32", network_params=params)


def own_loss(y_true, y_pred):
    return keras.losses.mean_squared_error(y_true, y_pred)


class OwnMetric(keras.metrics.AUC):
    pass


@pytest.mark.parametrize(
    ("loss", "known"),
    [
        ("categorical_crossentropy", True),
        (keras.losses.mean_squared_error, True),
        (keras.losses.CategoricalFocalCrossentropy(), True),
        (keras.losses.CategoricalCrossentropy(reduction="sum"), True),
        (keras.losses.CategoricalCrossentropy(reduction=None), False),
        (keras.losses.CosineSimilarity(axis=0), False),
        (WindowLoss((1, 3)), True),
        ("dice", False),
        (keras.losses.Tversky(), False),
        (keras.losses.Circle(), False),
        (own_loss, False),
    ],
)
def test_only_losses_of_single_samples_are_padded(loss, known):
    model = compiled()
    model.loss = loss
    assert can_pad(model, spec()) == known


@pytest.mark.parametrize(
    ("metric", "known"),
    [
        (keras.metrics.AUC(), True),
        (keras.metrics.F1Score(), True),
        (keras.metrics.CategoricalCrossentropy(), True),
        (keras.metrics.TopKCategoricalAccuracy(2), True),
        (keras.losses.MeanSquaredError(), True),
        (keras.metrics.RootMeanSquaredError(), False),
        (OwnMetric(), False),
        (own_loss, False),
    ],
)
def test_only_metrics_of_single_samples_are_padded(metric, known):
    assert can_pad(compiled(metrics=[metric]), spec()) == known


def test_own_networks_and_layers_are_not_padded():
    model = compiled()
    assert not can_pad(model, spec(outputs_network))
    assert not can_pad(model, spec(augmentation=keras.layers.RandomFlip()))
    assert can_pad(model, spec(augmentation={"flip": "both"}))


@pytest.mark.backend
@pytest.mark.parametrize(
    "loss",
    [
        keras.losses.categorical_crossentropy,
        *(
            keras.losses.CategoricalCrossentropy(reduction=reduction)
            for reduction in ("sum", "sum_over_batch_size", "mean_with_sample_weight")
        ),
        WindowLoss((1, 3), positive_weight="balanced"),
    ],
)
def test_row_weights_give_the_loss_of_the_real_rows(loss):
    rng = np.random.default_rng(0)
    y = np.eye(3, dtype="float32")[rng.integers(0, 3, 8)]
    outputs = rng.dirichlet(np.ones(3), 8).astype("float32")
    if isinstance(loss, WindowLoss):
        y, outputs = 255 * y, outputs[:, None, :, None]
    weights = rng.uniform(0.5, 2, 8).astype("float32")
    mask = np.arange(8) < 5
    inputs = keras.Input((3,))
    model = keras.Model(inputs, keras.layers.Dense(3)(inputs))
    model.compile(loss=loss)

    def value(rows, w):
        return float(
            model.compute_loss(
                y=ops.convert_to_tensor(y[rows]),
                y_pred=ops.convert_to_tensor(outputs[rows]),
                sample_weight=ops.convert_to_tensor(w),
            )
        )

    padded = ops.convert_to_numpy(row_weights(model.loss, weights, mask))
    assert value(slice(8), padded) == pytest.approx(value(slice(5), weights[:5]), 1e-6)


@pytest.mark.parametrize(
    "changes",
    [
        {"rotation": 15},
        {"translation": 0.2},
        {"zoom": 0.2},
        {"flip": "both"},
        {"contrast": 0.2},
        {"noise": 0.1},
        {"erasing": 0.5},
        {"crop": 0.4, "rotation": 15},
        {"color": 0.5},
        {"brightness": 0.5},
    ],
    ids=lambda changes: next(iter(changes)),
)
def test_padding_leaves_the_random_numbers_of_the_real_rows(changes):
    if keras.backend.backend() != "jax":
        pytest.skip("only the engine on JAX pads batches")
    x = np.random.default_rng(0).uniform(0, 9, (8, 6, 6, 3)).astype("float32")
    layer = make_augmentation(changes)
    assert isinstance(layer, Augmentation)
    found = []
    for n in (5, 8):
        reseed(layer, np.random.default_rng(0))
        found.append(ops.convert_to_numpy(layer(x[:n], training=True))[:5])
    np.testing.assert_allclose(found[0], found[1], atol=1e-5)
    assert not np.allclose(found[0], x[:5])
