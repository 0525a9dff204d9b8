"""Loss, metrics and updates of a batch are those of Keras."""

from sklstm._keras import keras

import numpy as np
import pytest

from sklstm.training._optimizer import scheduled

pytestmark = [
    pytest.mark.backend,
    pytest.mark.skipif(
        keras.backend.backend() != "torch", reason="the module runs on PyTorch alone"
    ),
]


def build(
    optimizer="adam", loss="sparse_categorical_crossentropy", own=False, **params
):
    keras.utils.set_random_seed(0)
    inputs = keras.Input((3,))
    x = keras.layers.Dense(4, activation="tanh")(inputs)
    model = keras.Model(inputs, keras.layers.Dense(3, activation="softmax")(x))
    kind = type(keras.optimizers.get(optimizer))
    made = scheduled(kind, warms=own, decays=own)(0.1, **params)
    model.compile(made, loss, metrics=["accuracy"])
    made.build(model.trainable_variables)
    return model


@pytest.mark.parametrize("cosine", [False, True])
@pytest.mark.parametrize(
    ("optimizer", "params"),
    [
        ("adam", {}),
        ("adam", {"clipvalue": 0.1, "beta_2": 0.9, "epsilon": 1e-3}),
        ("adamw", {"weight_decay": 0.1}),
        ("adam", {"own": True}),
        ("adamw", {"own": True, "weight_decay": 0.0}),
    ],
)
def test_adam_updates_as_keras_does(optimizer, params, cosine):
    import torch

    from sklstm.training._torch_step import AdamUpdates, KerasUpdates

    states = []
    for kind in (AdamUpdates, KerasUpdates):
        model = build(optimizer, **params)
        made, variables = model.optimizer, model.trainable_variables
        assert AdamUpdates.can_run(made, variables)
        if params.get("weight_decay"):
            made.exclude_from_weight_decay(var_names=["bias"])
        n_warmup = 0
        if params.get("own"):
            made.decay_strength.assign(0.3)
            n_warmup = 2
        if cosine:
            made.start_cosine(0.1, 7, n_warmup)
        else:
            made.keep_constant(0.1, n_warmup)
        rng = np.random.default_rng(0)
        for n in (3, 6):  # more than the schedule has
            updates = kind(made, variables)
            for _ in range(n):
                gradients = [
                    torch.tensor(rng.normal(size=v.shape).astype("float32"))
                    for v in variables
                ]
                with torch.no_grad():
                    updates.apply(gradients)
            updates.end()
        states.append([v.numpy() for v in [*variables, *made.variables]])
    for own, by_keras in zip(*states, strict=True):
        np.testing.assert_allclose(own, by_keras, rtol=1e-5, atol=2e-7)


@pytest.mark.parametrize(
    ("optimizer", "params"),
    [
        ("sgd", {}),
        ("adam", {"amsgrad": True}),
        ("adam", {"use_ema": True}),
        ("adam", {"gradient_accumulation_steps": 2}),
        ("adam", {"clipnorm": 1.0}),
        ("adam", {"global_clipnorm": 1.0}),
    ],
)
def test_other_optimizers_are_left_to_keras(optimizer, params):
    from sklstm.training._torch_step import AdamUpdates

    model = build(optimizer, **params)
    assert not AdamUpdates.can_run(model.optimizer, model.trainable_variables)


def test_loss_and_metrics_are_those_of_keras():
    import torch

    from sklstm.training._torch_step import Counts, direct_loss

    model = build()
    rng = np.random.default_rng(0)
    results = []
    for own in (True, False):
        counts = Counts(model)
        for n in (5, 5, 2):
            outputs = torch.tensor(rng.dirichlet([0.2] * 3, n).astype("float32"))
            outputs[0] = torch.tensor([1.0, 0.0, 0.0])  # a loss that is clipped
            y = torch.tensor(rng.integers(1, 3, n))
            w = torch.tensor(rng.uniform(0, 2, n).astype("float32"))
            loss = model.compute_loss(None, y, outputs, w)
            if own:
                np.testing.assert_allclose(
                    direct_loss(model)(y, outputs, w), loss, rtol=1e-6
                )
                counts.add(loss, y, outputs, w)
            else:
                model._loss_tracker.update_state(loss, sample_weight=n)
                model._compile_metrics.update_state(y, outputs, w)
        found = counts.result() if own else model.get_metrics_result()
        results.append({name: float(value) for name, value in found.items()})
        rng = np.random.default_rng(0)
    assert results[0].keys() == results[1].keys()
    np.testing.assert_allclose(*map(list, map(dict.values, results)), rtol=1e-6)


@pytest.mark.parametrize("loss", ["mse", "categorical_crossentropy"])
def test_other_losses_are_left_to_keras(loss):
    from sklstm.training._torch_step import direct_loss

    assert direct_loss(build(loss=loss)) is None


def test_the_loss_of_each_step_is_left_to_keras():
    from sklstm.training._torch_step import direct_loss

    inputs = keras.Input((4, 3))
    model = keras.Model(inputs, keras.layers.Dense(3, activation="softmax")(inputs))
    model.compile("adam", "sparse_categorical_crossentropy")
    assert direct_loss(model) is None


def test_targets_in_a_column_are_counted_as_keras_counts_them():
    import torch

    from sklstm.training._torch_step import Counts

    model = build()
    outputs, y = torch.eye(3), torch.tensor([[0], [1], [0]])
    model._compile_metrics.build(y, outputs)
    counts = Counts(model)
    counts.add(torch.tensor(1.0), y, outputs, torch.ones(3))
    assert float(counts.result()["accuracy"]) == pytest.approx(2 / 3)
