"""Scheduled optimizers: the plain Keras optimizer, and a cosine beside it."""

import math

from sklstm._keras import keras

import numpy as np
import pytest

from sklstm.networks import get_network
from sklstm.training._optimizer import (
    optimizer_class,
    own_optimizer,
    scheduled,
    takes_decay,
)

# All that Keras has, this version and later ones; wrappers of others left out.
OPTIMIZERS = sorted(
    name
    for name, value in vars(keras.optimizers).items()
    if isinstance(value, type)
    and issubclass(value, keras.optimizers.Optimizer)
    and name not in ("Optimizer", "LossScaleOptimizer", "MultiOptimizer")
)


def variables_and_gradients(n_steps, seed=0):
    rng = np.random.default_rng(seed)
    shapes = [(3, 4), (4,)]
    variables = [keras.Variable(rng.normal(size=s).astype("float32")) for s in shapes]
    gradients = [
        [rng.normal(size=s).astype("float32") for s in shapes] for _ in range(n_steps)
    ]
    return variables, gradients


def apply(optimizer, variables, gradients):
    optimizer.apply([keras.ops.convert_to_tensor(g) for g in gradients], variables)


def cosine(peak, k, n_updates):
    return peak * 0.5 * (1 + math.cos(math.pi * min(k / n_updates, 1)))


def test_the_list_holds_the_usual_ones():
    usual = "Adadelta Adagrad Adam AdamW Adamax Ftrl Lion Nadam RMSprop SGD"
    assert set(usual.split()) <= set(OPTIMIZERS)


@pytest.mark.parametrize("accumulation", [None, 3])
@pytest.mark.parametrize("name", OPTIMIZERS)
def test_constant_rate_trains_as_plain_keras(name, accumulation):
    kind = getattr(keras.optimizers, name)
    settings = {"clipvalue": 0.5, "gradient_accumulation_steps": accumulation}
    plain = kind(learning_rate=0.03, **settings)
    own = scheduled(kind)(learning_rate=0.7, **settings)
    plain_variables, gradients = variables_and_gradients(4)
    own_variables, _ = variables_and_gradients(4)
    plain.build(plain_variables)
    own.build(own_variables)
    own.keep_constant(0.03)
    for gradient in gradients:
        apply(plain, plain_variables, gradient)
        apply(own, own_variables, gradient)
    start, _ = variables_and_gradients(0)
    # One operator of TensorFlow updates for Adam, with other rounding than Keras.
    rounding = (
        {"rtol": 5e-5, "atol": 2e-6} if name in ("Adam", "AdamW") else {"rtol": 0}
    )
    for a, b, c in zip(own_variables, plain_variables, start, strict=True):
        np.testing.assert_allclose(a.numpy(), b.numpy(), **rounding)
        assert not np.array_equal(a.numpy(), c.numpy())
    # The optimizer's own variables come first and are the same ones.
    for a, b in zip(own.variables, plain.variables, strict=False):
        np.testing.assert_allclose(a.numpy(), b.numpy(), **rounding)
    assert len(own.variables) == len(plain.variables) + 5


def test_cosine_of_every_update():
    optimizer = scheduled(keras.optimizers.SGD)(learning_rate=1.0)
    weight = keras.Variable([2.0])
    optimizer.build([weight])
    optimizer.start_cosine(0.4, 5)
    assert float(optimizer.learning_rate) == pytest.approx(0.4)
    for k in range(7):
        before = weight.numpy()[0]
        apply(optimizer, [weight], [np.float32([1.0])])
        rate = cosine(0.4, k, 5)
        assert float(optimizer.learning_rate) == pytest.approx(rate, abs=1e-7)
        assert before - weight.numpy()[0] == pytest.approx(rate, abs=1e-6)


def test_cosine_counts_updates_and_not_batches():
    optimizer = scheduled(keras.optimizers.SGD)(gradient_accumulation_steps=3)
    weight = keras.Variable([2.0])
    optimizer.build([weight])
    optimizer.start_cosine(0.4, 4)
    for batch in range(12):
        before = weight.numpy()[0]
        apply(optimizer, [weight], [np.float32([batch % 3])])
        rate = cosine(0.4, batch // 3, 4)
        assert float(optimizer.learning_rate) == pytest.approx(rate, abs=1e-7)
        step = rate if batch % 3 == 2 else 0.0  # the mean of 0, 1 and 2 is 1
        assert before - weight.numpy()[0] == pytest.approx(step, abs=1e-6)
    assert int(optimizer.iterations) == 4


def test_a_second_cosine_starts_where_it_is_asked_for():
    optimizer = scheduled(keras.optimizers.SGD)()
    weight = keras.Variable([2.0])
    optimizer.build([weight])
    optimizer.start_cosine(0.4, 10)
    for _ in range(3):
        apply(optimizer, [weight], [np.float32([1.0])])
    optimizer.start_cosine(0.1, 2)
    rates = []
    for _ in range(3):
        apply(optimizer, [weight], [np.float32([1.0])])
        rates.append(float(optimizer.learning_rate))
    np.testing.assert_allclose(rates, [0.1, 0.05, 0.0], atol=1e-7)


@pytest.mark.parametrize("accumulation", [None, 2])
def test_the_rate_rises_before_the_cosine(accumulation):
    kind = scheduled(keras.optimizers.SGD, warms=True)
    optimizer = kind(gradient_accumulation_steps=accumulation)
    weight = keras.Variable([2.0])
    optimizer.build([weight])
    optimizer.start_cosine(0.4, 10, 4)
    rates = []
    for _ in range(11):
        before = weight.numpy()[0]
        for _ in range(accumulation or 1):
            apply(optimizer, [weight], [np.float32([1.0])])
        rates.append(before - weight.numpy()[0])
    rising = [0.1, 0.2, 0.3, 0.4]
    falling = [cosine(0.4, k, 6) for k in range(7)]
    np.testing.assert_allclose(rates, rising + falling, atol=1e-6)
    optimizer.start_cosine(0.1, 2)  # early stopping ends without another rise
    apply(optimizer, [weight], [np.float32([1.0])])
    assert float(optimizer.learning_rate) == pytest.approx(0.1)


def test_the_rate_rises_to_a_constant_that_callbacks_can_set():
    optimizer = scheduled(keras.optimizers.SGD, warms=True)()
    weight = keras.Variable([2.0])
    optimizer.build([weight])
    optimizer.keep_constant(0.4, 2)
    rates = []
    for k in range(5):
        if k == 4:
            optimizer.learning_rate = 0.05
        apply(optimizer, [weight], [np.float32([1.0])])
        rates.append(float(optimizer.learning_rate))
    np.testing.assert_allclose(rates, [0.2, 0.4, 0.4, 0.4, 0.05], atol=1e-7)


@pytest.mark.parametrize("accumulation", [None, 3])
@pytest.mark.parametrize("name", ["SGD", "Adam", "AdamW", "RMSprop"])
def test_weight_decay_shrinks_kernels_alone(name, accumulation):
    settings = {"gradient_accumulation_steps": accumulation}
    # AdamW has a decay of its own, which must not be added.
    own_decay = {"weight_decay": 0.0} if name == "AdamW" else {}
    results = []
    for decays in (False, True):
        kind = scheduled(getattr(keras.optimizers, name), decays=decays)
        optimizer = kind(**settings, **own_decay)
        variables, gradients = variables_and_gradients(1)
        optimizer.build(variables)
        optimizer.keep_constant(0.1)
        if decays:
            optimizer.decay_strength.assign(0.5)
        for _ in range(accumulation or 1):
            apply(optimizer, variables, gradients[0])
        results.append([v.numpy() for v in variables])
    start = variables_and_gradients(0)[0][0].numpy()
    (plain_kernel, plain_bias), (kernel, bias) = results
    np.testing.assert_allclose(plain_kernel - kernel, 0.1 * 0.5 * start, atol=1e-6)
    np.testing.assert_array_equal(bias, plain_bias)


def test_what_decays_in_the_networks():
    index_map = np.arange(64).reshape(2, 4, 2, 4).swapaxes(1, 2).reshape(4, 16)
    window = {"grid": (2, 2), "index_map": index_map, "contrast": None}
    models = [
        get_network("lstm").build((None, 8), 3, attention="self", batch_norm=True),
        get_network("lstm_transformer").build((4, 8), 3, embedding="pixel"),
        get_network("cnn_lstm").build((8, 8, 1), 3, ordinal=True),
        get_network("window_lstm").build((8, 8, 1), **window, units=4),
        get_network("renet").build((8, 8, 1), 3, units=2),
        get_network("vil").build((8, 8, 1), 3, units=8, n_blocks=1),
    ]
    variables = [v for model in models for v in model.trainable_variables]
    names = {True: set(), False: set()}
    for variable in variables:
        names[takes_decay(variable)].add(variable.name)
    of_vil = {"query_kernel", "key_kernel", "value_kernel", "gate_kernel"}
    of_vil |= {"depthwise_kernel"}
    assert names[True] == {"kernel", "recurrent_kernel", "levels"} | of_vil
    expected = {"bias", "gamma", "beta", "thresholds", "transitions", "start", "end"}
    expected |= {"positions", "gate_bias", "skip"}
    assert expected <= names[False]
    assert not names[True] & names[False]


def test_variables_of_unused_parts_do_not_exist():
    # Files of older versions could not be loaded otherwise.
    plain, full = (
        scheduled(keras.optimizers.Adam, warms=used, decays=used)()
        for used in (False, True)
    )
    for optimizer in (plain, full):
        optimizer.build(variables_and_gradients(0)[0])
    assert len(full.variables) == len(plain.variables) + 2


def test_constant_after_cosine_and_then_by_hand():
    optimizer = scheduled(keras.optimizers.SGD)()
    weight = keras.Variable([2.0])
    optimizer.build([weight])
    optimizer.start_cosine(0.4, 3)
    optimizer.keep_constant(0.2)
    for _ in range(5):
        apply(optimizer, [weight], [np.float32([0.0])])
    assert float(optimizer.learning_rate) == pytest.approx(0.2)
    optimizer.learning_rate = 0.05  # as ReduceLROnPlateau does
    apply(optimizer, [weight], [np.float32([1.0])])
    assert weight.numpy()[0] == pytest.approx(2.0 - 0.05)


def test_a_schedule_of_keras_is_followed():
    decay = keras.optimizers.schedules.ExponentialDecay(0.3, 1, 0.5)
    plain = keras.optimizers.SGD(decay)
    own = scheduled(keras.optimizers.SGD)(decay)
    plain_variables, gradients = variables_and_gradients(4)
    own_variables, _ = variables_and_gradients(4)
    plain.build(plain_variables)
    own.build(own_variables)
    for gradient in gradients:
        apply(plain, plain_variables, gradient)
        apply(own, own_variables, gradient)
    np.testing.assert_array_equal(own_variables[0].numpy(), plain_variables[0].numpy())
    assert float(own.learning_rate) == pytest.approx(0.3 * 0.5**4)


@pytest.mark.parametrize(
    "clip", [{}, {"clipvalue": 1e-3}, {"clipnorm": 1e-3}, {"global_clipnorm": 1e-3}]
)
def test_gradient_norm_is_that_before_clipping(clip):
    optimizer = scheduled(keras.optimizers.Adam)(**clip)
    variables, gradients = variables_and_gradients(4)
    optimizer.build(variables)
    assert math.isnan(optimizer.take_gradient_norm())
    for gradient in gradients:
        apply(optimizer, variables, gradient)
    norms = [np.sqrt(sum(np.sum(np.square(g)) for g in step)) for step in gradients]
    assert optimizer.take_gradient_norm() == pytest.approx(np.mean(norms), rel=1e-6)
    apply(optimizer, variables, gradients[0])
    assert optimizer.take_gradient_norm() == pytest.approx(norms[0], rel=1e-6)


def test_it_is_saved_as_the_plain_optimizer():
    own = scheduled(keras.optimizers.AdamW)(learning_rate=0.01, beta_1=0.8)
    variables, gradients = variables_and_gradients(1)
    own.build(variables)
    apply(own, variables, gradients[0])
    config = keras.saving.serialize_keras_object(own)
    plain = keras.saving.deserialize_keras_object(config)
    assert type(plain) is keras.optimizers.AdamW
    assert plain.beta_1 == 0.8
    plain.build(variables_and_gradients(0)[0])
    store: dict = {}
    own.save_own_variables(store)
    plain.load_own_variables(store)  # and no warning about their number
    for a, b in zip(plain.variables, own.variables, strict=False):
        np.testing.assert_array_equal(a.numpy(), b.numpy())


def test_one_class_for_one_optimizer():
    assert scheduled(keras.optimizers.Adam) is scheduled(keras.optimizers.Adam)
    assert scheduled(keras.optimizers.Adam).__name__ == "Adam"
    assert scheduled(keras.optimizers.Adam) is not scheduled(keras.optimizers.AdamW)


def test_own_optimizer_inside_the_loss_scaling_one():
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy("mixed_float16")
    try:
        model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
        model.compile(scheduled(keras.optimizers.SGD)(), "mse", run_eagerly=True)
    finally:
        keras.config.set_dtype_policy(before)
    assert isinstance(model.optimizer, keras.optimizers.LossScaleOptimizer)
    own = own_optimizer(model)
    model.optimizer.build(model.trainable_variables)
    own.start_cosine(0.1, 10)
    model.layers[0].set_weights([np.zeros((2, 1)), np.zeros(1)])
    model.train_on_batch(np.ones((1, 2)), np.full((1, 1), 0.25))
    # d (0.25 - w1 - w2 - b)^2 is -0.5 in each of the three; not times the loss scale.
    assert own.take_gradient_norm() == pytest.approx(math.sqrt(0.75), rel=1e-3)
    plain = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
    plain.compile(scheduled(keras.optimizers.SGD)(), "mse")
    assert own_optimizer(plain) is plain.optimizer


def test_optimizer_class():
    Adam = keras.optimizers.Adam
    assert optimizer_class("adam") is Adam
    assert optimizer_class("Adam") is Adam
    for name in OPTIMIZERS:
        assert optimizer_class(name.lower()) is getattr(keras.optimizers, name)
    assert optimizer_class(Adam) is Adam
    assert optimizer_class(Adam(0.1)) is Adam
    with pytest.raises(ValueError, match="'adamm' is not known to Keras: use 'adam'"):
        optimizer_class("adamm")
    with pytest.raises(TypeError, match="is no optimizer: give the name"):
        optimizer_class(0.1)
    with pytest.raises(ValueError, match="give the inner one, and dtype_policy="):
        optimizer_class(keras.optimizers.LossScaleOptimizer(Adam()))
