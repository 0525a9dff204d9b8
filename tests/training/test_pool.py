"""The pool of compiled networks: nobody can tell a reused network from a new one."""

import copy
import gc
import logging
import multiprocessing
import os
import pickle
import random
import threading
import warnings
from types import SimpleNamespace

from sklstm._keras import keras

import numpy as np
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from sklearn.base import clone
from sklearn.model_selection import cross_validate

from sklstm import LSTMImageClassifier, RowSequencer
from sklstm.estimators import clear_pool, set_pool_size
from sklstm.networks import HyperDropout, PenaltyStrength
from sklstm.training import _compiled, _pool
from sklstm.training._pool import Pool

SMALL = {
    "units": 3,
    "bidirectional": False,
    "epochs": 2,
    "learning_rate": 0.02,
    "random_state": 0,
}


def averages(input_shape, n_classes, dropout=0.0):
    """A network as a user writes it; random layers of Keras' own, no seeds."""
    inputs = keras.Input(input_shape)
    x = keras.layers.GlobalAveragePooling1D()(inputs)
    x = keras.layers.BatchNormalization()(x)
    x = keras.layers.Dropout(0.3)(x)
    x = keras.layers.Dense(n_classes, activation="softmax")(x)
    return keras.Model(inputs, x)


def small(**params):
    return LSTMImageClassifier(**SMALL | params)


CompiledNetwork = _compiled.CompiledNetwork


def use(monkeypatch, size):
    """Put a new pool in the place of the package's; count what it must build."""
    pool = Pool(size)
    pool.built = []

    def build(spec):
        pool.built.append(spec)
        return CompiledNetwork(spec)

    monkeypatch.setattr(_pool, "POOL", pool)
    monkeypatch.setattr(_compiled, "CompiledNetwork", build)
    return pool


@pytest.fixture
def pool(monkeypatch):
    return use(monkeypatch, 8)


@pytest.fixture(scope="module")
def data(digits):
    return digits[0][:70], digits[1][:70]


def assert_same(a, b, X):
    np.testing.assert_array_equal(a.predict_proba(X), b.predict_proba(X))
    assert a.history_ == b.history_
    assert a.best_epoch_ == b.best_epoch_


# --- a reused network is as good as new -------------------------------------------

# What shapes the graph, and what the fit before it had in common with this one. The
# first choices together are the first example, so they are those with most to reset.
INSIDE = {
    "sequencer": RowSequencer(),
    "augmentation": {"rotation": 20, "noise": 0.2, "erasing": 0.5},
}
GRAPHS = st.fixed_dictionaries(
    {
        "reading": st.sampled_from([INSIDE, {}]),
        "bidirectional": st.sampled_from([True, False]),
        "pooling": st.sampled_from(["attention", "last", "mean", "max"]),
        "batch_norm": st.sampled_from([True, False]),
        "optimizer": st.sampled_from(
            ["nadam", "adam", "adamw", "sgd", "rmsprop", "adadelta", "adamax"]
            + ["lion", "lamb"]
        ),
        "gradient_accumulation_steps": st.sampled_from([3, 1]),
        "clipvalue": st.sampled_from([1.0, None]),
        "input_noise": st.sampled_from([0.3, 0.0]),
        "dropout": st.sampled_from([0.3, 0.0]),
        "l2": st.sampled_from([0.01, 0.0]),
    }
)
# What does not: drawn for both fits.
FITS = st.fixed_dictionaries(
    {
        "learning_rate": st.sampled_from([0.02, 1e-3]),
        "lr_schedule": st.sampled_from(["cosine", "constant"]),
        "early_stopping": st.sampled_from([True, False]),
        "class_weight": st.sampled_from([{0: 3.0}, "balanced", None]),
        "batch_size": st.sampled_from([16, 32]),
        "epochs": st.sampled_from([4, 2]),
        "random_state": st.integers(0, 5),
    }
)


@pytest.mark.slow
@settings(
    max_examples=4,
    phases=[Phase.generate],  # to shrink a failure takes minutes of tracing
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(graph=GRAPHS, before=FITS, fit=FITS, rate=st.sampled_from([0.1, 0.6]))
def test_pool_on_and_off_are_identical(monkeypatch, data, graph, before, fit, rate):
    X, y = data
    common = {"units": 2, "patience": 1, "validation_fraction": 0.3}
    graph = dict(graph)
    reading = graph.pop("reading")
    common.update(reading)
    this = LSTMImageClassifier(**common, **graph, **fit)
    other = clone(this).set_params(**before)
    for name in ("input_noise", "dropout", "l2"):
        if graph[name]:
            other.set_params(**{name: rate})
    with monkeypatch.context() as patch:
        pool = use(patch, 8)
        # A network of sequences serves any length; a scan is of one shape of image.
        other.fit(X[:50, :: -1 if reading else 2] * 9, y[:50])
        del other
        reused = clone(this).fit(X, y)
        assert len(pool.built) == 1
        probabilities = reused.predict_proba(X)
    with monkeypatch.context() as patch:
        pool = use(patch, 0)
        fresh = clone(this).fit(X, y)
        assert len(pool.built) == 1
    np.testing.assert_array_equal(fresh.predict_proba(X), probabilities)
    assert fresh.history_ == reused.history_
    assert fresh.best_epoch_ == reused.best_epoch_


def test_what_the_fit_before_was_given_is_forgotten(monkeypatch, pool, data):
    X, y = data
    given = {"dropout": 0.1, "l2": 1e-4, "input_noise": 0.1}
    given |= {"weight_decay": 0.5, "warmup": 0.4, "mixup": 0.3, "cutmix": 0.4}
    this = small(bidirectional=True, **given)
    before = {"dropout": 0.8, "l2": 5.0, "input_noise": 3.0, "weight_decay": 20.0}
    before |= {"warmup": 0.9, "mixup": 3.0, "cutmix": 2.0}
    clone(this).set_params(**before).fit(X, y)
    reused = clone(this).fit(X, y)
    assert len(pool.built) == 1
    for name in given:  # and each of them matters
        other = clone(this).set_params(**{name: 0.7}).fit(X, y)
        assert other.history_["loss"] != reused.history_["loss"]
        del other
    assert len(pool.built) == 2
    use(monkeypatch, 0)
    assert_same(clone(this).fit(X, y), reused, X)


@pytest.mark.parametrize("optimizer", ["adagrad", "ftrl"])
def test_optimizers_that_do_not_start_at_zero(monkeypatch, pool, data, optimizer):
    X, y = data
    this = small(network=averages, optimizer=optimizer)
    clone(this).set_params(random_state=1).fit(X, y)
    reused = clone(this).fit(X, y)
    assert len(pool.built) == 1
    use(monkeypatch, 0)
    assert_same(clone(this).fit(X, y), reused, X)


def test_a_network_of_the_user_starts_afresh(monkeypatch, pool, data):
    X, y = data
    this = LSTMImageClassifier(averages, epochs=2, random_state=1)
    clone(this).set_params(random_state=2, learning_rate=0.5).fit(X * 3, y)
    reused = clone(this).fit(X, y)
    assert len(pool.built) == 1
    other_seed = clone(this).set_params(random_state=3).fit(X, y)
    assert not np.array_equal(other_seed.predict_proba(X), reused.predict_proba(X))
    use(monkeypatch, 0)
    assert_same(clone(this).fit(X, y), reused, X)


def test_the_learning_rate_of_an_optimizer_instance(monkeypatch, pool, data):
    X, y = data

    def with_rate(rate):
        optimizer = keras.optimizers.SGD(rate, momentum=0.9)
        return small(network=averages, optimizer=optimizer).fit(X, y)

    with_rate(0.5)
    reused = with_rate(0.01)
    assert len(pool.built) == 1
    assert reused.history_["learning_rate"][0] <= 0.01
    use(monkeypatch, 0)
    assert_same(with_rate(0.01), reused, X)


def test_a_network_of_the_user_keeps_its_own_dropout(pool, data):
    def own(input_shape, n_classes):
        inputs = keras.Input(input_shape)
        x = keras.layers.GlobalAveragePooling1D()(
            PenaltyStrength(0.7, name="p")(inputs)
        )
        x = HyperDropout(0.5, name="d")(x)
        x = keras.layers.Dense(n_classes, activation="softmax")(x)
        return keras.Model(inputs, x)

    model = LSTMImageClassifier(own, dropout=0.2, epochs=1).fit(*data).model_
    assert float(model.get_layer("d").rate) == 0.5
    assert float(model.get_layer("p").l2) == pytest.approx(0.7)


# --- what needs a new trace ---------------------------------------------------------


def test_what_a_search_varies_needs_no_new_trace(pool, data):
    X, y = data
    base = small(dropout=0.2, l2=0.01, bidirectional=True)
    engines = set()
    for params in (
        {},
        {"learning_rate": 0.5},
        {"dropout": 0.7},
        {"input_noise": 2.0},
        {"l2": 1.0},
        {"class_weight": "balanced"},
        {"class_weight": {1: 2.0}},
        {"batch_size": 7},
        {"epochs": 3},
        {"lr_schedule": "constant"},
        {"early_stopping": True, "validation_fraction": 0.3},
        {"random_state": 5},
    ):
        classifier = clone(base).set_params(**params).fit(X, y)
        classifier.predict(X)
        engine = classifier._fitted_network.compiled.engine
        engines.add(engine)
        del classifier
    for n_steps in (4, 2):  # other lengths of the same features, other numbers too
        clone(base).fit(X[:40, :n_steps], y[:40]).predict(X[:3, :n_steps])
    assert len(pool.built) == len(engines) == len(pool) == 1
    functions = [engine._train_epoch, engine._evaluate, engine._predict]
    traced = [one for each in functions for one in each.traced.values()]
    assert len(traced) == 3
    for function in traced:
        assert function.experimental_get_tracing_count() == 1


def test_what_shapes_the_graph_is_in_the_key():
    params = {"units": 3, "dropout": 0.2, "input_noise": 0.1, "l2": 0.1}

    def key(**changes):
        parts = {
            "network": "lstm",
            "input_shape": (None, 8),
            "n_outputs": 10,
            "input_dtype": "uint8",
            "network_params": params,
            "optimizer_params": {"learning_rate": 0.1, "clipvalue": 1.0},
            "compile_params": {"loss": "x", "metrics": ["accuracy"]},
        }
        return _compiled.NetworkSpec(**parts | changes).key()

    varied = {"dropout": 0.5, "input_noise": 2.0, "l2": 3.0}
    assert key() == key(network_params=params | varied)
    assert key() == key(optimizer_params={"learning_rate": 1.0, "clipvalue": 1.0})
    decay = keras.optimizers.schedules.ExponentialDecay
    others = [
        key(),
        key(network=averages),
        key(input_shape=(None, 9)),
        key(n_outputs=9),
        key(input_dtype="float32"),
        key(network_params=params | {"units": 4}),
        key(network_params=params | {"dropout": 0.0}),
        key(network_params=params | {"input_noise": 0.0}),
        key(network_params=params | {"l2": 0.0}),
        key(optimizer_params={"learning_rate": 0.1, "clipvalue": None}),
        key(optimizer_params={"learning_rate": decay(0.1, 5, 0.5), "clipvalue": 1.0}),
        key(optimizer_params={"learning_rate": decay(0.1, 6, 0.5), "clipvalue": 1.0}),
        key(optimizer="sgd"),
        key(optimizer=keras.optimizers.SGD(0.1)),
        key(optimizer=keras.optimizers.SGD(0.1, momentum=0.9)),
        key(optimizer=keras.optimizers.SGD(decay(0.1, 5, 0.5))),
        key(compile_params={"loss": "y", "metrics": ["accuracy"]}),
        key(compile_params={"loss": "x", "metrics": ["accuracy", "mse"]}),
        key(one_hot=True),
    ]
    assert len(set(others)) == len(others)
    # Two instances have two names and, here, two learning rates.
    sgd = keras.optimizers.SGD
    assert key(optimizer=sgd(0.1)) == key(optimizer=sgd(0.2))
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy("bfloat16")
    try:
        assert key() not in others
    finally:
        keras.config.set_dtype_policy(before)


@pytest.mark.skipif(
    keras.backend.backend() != "tensorflow", reason="the option is TensorFlow's"
)
def test_graphs_of_others_are_still_optimized(pool, data):
    import tensorflow as tf
    from tensorflow.python.eager import context

    from sklstm.training._tensorflow import little_rewriting

    def only_prunes():
        config = tf.compat.v1.ConfigProto()
        config.ParseFromString(
            context.context().function_call_options.config_proto_serialized
        )
        return list(config.graph_options.rewrite_options.optimizers) == ["pruning"]

    with little_rewriting():
        assert only_prunes()
    assert not only_prunes()
    seen = []
    callback = keras.callbacks.LambdaCallback(
        on_epoch_end=lambda epoch, logs: seen.append(only_prunes())
    )
    small(callbacks=[callback]).fit(*data)
    assert seen == [False, False]


ACTIVATION = "relu"


def reads_a_global(input_shape, n_classes):
    inputs = keras.Input(input_shape)
    x = keras.layers.GlobalAveragePooling1D()(inputs)
    x = keras.layers.Dense(4, activation=ACTIVATION)(x)
    return keras.Model(inputs, keras.layers.Dense(n_classes, "softmax")(x))


def reads_the_clock(input_shape, n_classes):
    import time

    assert time.time() > 0
    return averages(input_shape, n_classes)


def test_a_network_that_reads_a_changed_global_is_built_anew(monkeypatch, pool, data):
    def fit():
        return LSTMImageClassifier(reads_a_global, epochs=1, random_state=0).fit(*data)

    before = fit().predict_proba(data[0])
    monkeypatch.setitem(globals(), "ACTIVATION", "tanh")
    changed = fit()
    assert len(pool.built) == 2
    assert not np.array_equal(changed.predict_proba(data[0]), before)
    fresh = use(monkeypatch, 0)
    assert_same(fit(), changed, data[0])
    assert len(fresh.built) == 1
    changed.set_params(warm_start=True)
    monkeypatch.setitem(globals(), "ACTIVATION", "selu")
    with pytest.raises(ValueError, match="network changed since the last fit"):
        changed.fit(*data)


def test_a_network_that_cannot_be_proven_equal_is_not_shared(pool, data):
    classifier = LSTMImageClassifier(reads_the_clock, epochs=1, warm_start=True)
    classifier.fit(*data).fit(*data)  # but the same one trains on
    assert len(pool.built) == 1
    del classifier
    assert len(pool) == 0


@pytest.mark.slow
def test_many_networks_bring_no_warning_of_retracing(pool, data):
    messages = []
    handler = logging.Handler()
    handler.emit = lambda record: messages.append(record.getMessage())
    logging.getLogger("tensorflow").addHandler(handler)
    try:
        for steps in range(1, 7):  # six graphs: TensorFlow warns from the fifth on
            classifier = LSTMImageClassifier(averages, epochs=1, clipvalue=steps)
            classifier.fit(*data).predict(data[0])
    finally:
        logging.getLogger("tensorflow").removeHandler(handler)
    assert len(pool.built) == 6
    assert messages == []


# --- who holds a network ------------------------------------------------------------


def test_living_estimators_never_disturb_each_other(pool, data):
    X, y = data
    first = small().fit(X, y)
    probabilities = first.predict_proba(X)
    second = small(random_state=1).fit(X, y)
    assert first._fitted_network.compiled is not second._fitted_network.compiled
    np.testing.assert_array_equal(first.predict_proba(X), probabilities)

    del second
    results = cross_validate(small(), X, y, cv=3, return_estimator=True)
    kept = results["estimator"]
    assert len({id(e._fitted_network.compiled) for e in (first, *kept)}) == 4
    assert len(pool.built) == 4
    expected = [e.predict_proba(X) for e in kept]
    small(random_state=2).fit(X, y)
    for estimator, probabilities_then in zip(kept, expected, strict=True):
        np.testing.assert_array_equal(estimator.predict_proba(X), probabilities_then)
    np.testing.assert_array_equal(first.predict_proba(X), probabilities)


def test_a_second_fit_gives_the_first_network_back(pool, data):
    X, y = data
    classifier = small().fit(X, y)
    first = classifier._fitted_network.compiled
    classifier.fit(X, y)
    assert classifier._fitted_network.compiled is not first
    assert list(pool._free.values()) == [first]
    classifier.fit(X, y)
    assert classifier._fitted_network.compiled is first
    assert len(pool.built) == 2


def test_a_failed_fit_gives_its_network_back(pool, data):
    X, y = data

    def stop(epoch, logs):
        raise RuntimeError("enough")

    callback = keras.callbacks.LambdaCallback(on_epoch_end=stop)
    with pytest.raises(RuntimeError, match="enough"):
        small(callbacks=[callback]).fit(X, y)
    reused = small().fit(X, y)
    assert len(pool.built) == 1
    other = small().fit(X, y)
    assert_same(reused, other, X)


def test_a_model_that_was_looked_at_is_never_reused(pool, data):
    X, y = data
    classifier = LSTMImageClassifier(averages, epochs=1, random_state=0).fit(X, y)
    model = classifier.model_
    weights = model.get_weights()
    del classifier
    assert len(pool) == 0
    LSTMImageClassifier(averages, epochs=1, random_state=1).fit(X, y)
    assert len(pool.built) == 2
    for a, b in zip(model.get_weights(), weights, strict=True):
        np.testing.assert_array_equal(a, b)


def test_a_pickle_holds_numbers_and_no_graph(pool, data):
    X, y = data
    classifier = small().fit(X, y)
    probabilities = classifier.predict_proba(X)
    pickled = pickle.dumps(classifier)
    assert len(pickled) < 30_000
    for word in (b"tensorflow", b"ConcreteFunction", b"CompiledNetwork", b"Functional"):
        assert word not in pickled
    other = pickle.loads(pickled)
    assert (
        other._fitted_network._compiled is None
    )  # nothing is built before it is needed
    del classifier
    np.testing.assert_array_equal(other.predict_proba(X), probabilities)
    assert len(pool.built) == 1  # and then the one that became free
    twin = copy.deepcopy(other)
    other.set_params(warm_start=True).fit(X, y)
    np.testing.assert_array_equal(twin.predict_proba(X), probabilities)
    assert not np.array_equal(other.predict_proba(X), probabilities)


class Keeper(keras.callbacks.Callback):
    """Keeps a part of the model, as `part` picks it."""

    def __init__(self, part):
        super().__init__()
        self.part = part
        self.kept = []

    def on_epoch_end(self, epoch, logs=None):
        self.kept = [self.part(self.model)]


class BatchKeeper(Keeper):
    def on_train_batch_end(self, batch, logs=None):
        pass


@pytest.mark.parametrize(
    ("kind", "part", "held"),
    [
        (Keeper, lambda model: model, True),
        pytest.param(
            BatchKeeper, lambda model: model.predict, True, marks=pytest.mark.slow
        ),
        pytest.param(
            Keeper, lambda model: model.layers[-1].kernel, True, marks=pytest.mark.slow
        ),
        pytest.param(
            BatchKeeper, lambda model: model.optimizer, True, marks=pytest.mark.slow
        ),
        pytest.param(
            BatchKeeper,
            lambda model: model.get_weights(),
            False,
            marks=pytest.mark.slow,
        ),
    ],
    ids="model method variable optimizer copies".split(),
)
def test_what_a_callback_keeps_is_its_own(pool, data, kind, part, held):
    X, y = data
    callback = kind(part)
    fits = {"X_val": X[:20], "y_val": y[:20]}
    small(epochs=1, callbacks=callback).fit(X, y)
    small(epochs=1).fit(X, y)  # another trains while it is kept
    assert len(pool.built) == (2 if held else 1)
    callback.kept.clear()
    for _ in range(2):  # let go, it is used again
        small(epochs=1, callbacks=callback).fit(X, y, **fits)
        callback.kept.clear()
    assert len(pool.built) == (2 if held else 1)


@pytest.mark.skipif(
    keras.backend.backend() != "tensorflow", reason="the functions are TensorFlow's"
)
@pytest.mark.parametrize(
    "network", ["lstm", pytest.param(reads_the_clock, marks=pytest.mark.slow)]
)
def test_a_dropped_network_leaves_no_function_in_tensorflow(pool, data, network):
    from tensorflow.python.eager import context

    def functions():
        gc.collect()
        return set(context.context().list_function_names())

    kept = small(network=network).fit(*data)
    kept.predict(data[0])
    before = functions()
    small(network=network, units=4).fit(*data).predict(data[0])
    if network == "lstm":  # the other is not shared, and gone at once
        assert functions() > before
    clear_pool()
    assert functions() <= before
    assert len(kept.predict(data[0])) == len(data[0])
    kept.set_params(warm_start=True).fit(*data)


# --- the pool itself ----------------------------------------------------------------


class Wanted:
    def __init__(self, name):
        self.name = name

    def key(self):
        return self.name


@pytest.fixture
def bare(monkeypatch):
    """A pool of empty shells."""

    def build(spec):
        return SimpleNamespace(
            key=spec.key(),
            process=os.getpid(),
            exposed=False,
            is_held=lambda: False,
            release=lambda: None,
        )

    monkeypatch.setattr(_compiled, "CompiledNetwork", build)
    return Pool(2)


def test_take_finds_by_key(bare):
    a, b = bare.take(Wanted("a")), bare.take(Wanted("b"))
    bare.give(a)
    bare.give(b)
    assert len(bare) == 2
    assert bare.take(Wanted("a")) is a
    assert bare.take(Wanted("a")) is not a
    assert bare.take(Wanted("b")) is b
    assert len(bare) == 0


def test_the_longest_unused_is_dropped(bare):
    a, b, c = (bare.take(Wanted(name)) for name in "abc")
    for compiled in (a, b):
        bare.give(compiled)
    assert bare.take(Wanted("a")) is a  # used again, now the newest
    bare.give(a)
    bare.give(c)
    assert len(bare) == 2
    assert bare.take(Wanted("b")) is not b
    assert bare.take(Wanted("a")) is a
    assert bare.take(Wanted("c")) is c


def test_of_two_alike_the_newer_is_taken(bare):
    first, second = bare.take(Wanted("a")), bare.take(Wanted("a"))
    bare.give(first)
    bare.give(second)
    assert bare.take(Wanted("a")) is second
    assert bare.take(Wanted("a")) is first


def test_resize_and_clear(bare):
    bare.resize(5)
    held = [bare.take(Wanted(i)) for i in range(5)]
    for compiled in held:
        bare.give(compiled)
    assert len(bare) == 5
    bare.resize(3)
    assert len(bare) == 3
    assert bare.take(Wanted(4)) is held[4]
    bare.clear()
    assert len(bare) == 0
    assert bare.take(Wanted(3)) is not held[3]
    bare.resize(0)
    bare.give(held[4])
    assert len(bare) == 0
    assert bare.take(Wanted(4)) is not held[4]


def test_the_public_functions(bare, monkeypatch):
    monkeypatch.setattr(_pool, "POOL", bare)
    held = [bare.take(Wanted(i)) for i in range(4)]
    set_pool_size(np.int64(3))
    for compiled in held:
        bare.give(compiled)
    assert len(bare) == 3
    clear_pool()
    assert len(bare) == 0
    for size in (-1, 1.5, "3"):
        with pytest.raises(ValueError, match="must be a whole number, 0 or more"):
            set_pool_size(size)
    assert bare.size == 3


def test_the_exposed_are_not_taken_back(bare):
    compiled = bare.take(Wanted("a"))
    compiled.exposed = True
    bare.give(compiled)
    assert len(bare) == 0


def test_what_is_held_waits_until_it_is_free(bare):
    compiled = bare.take(Wanted("a"))
    compiled.is_held = lambda: True
    bare.give(compiled)
    assert bare.take(Wanted("a")) is not compiled
    compiled.is_held = lambda: False
    assert bare.take(Wanted("a")) is compiled


def test_what_comes_back_while_the_pool_is_busy_waits(bare):
    # The garbage collector can end a fitted network in the middle of `take`.
    compiled = bare.take(Wanted("a"))
    with bare._lock:
        bare.give(compiled)
        assert len(bare) == 0
    assert bare.take(Wanted("a")) is compiled


def test_a_forked_child_starts_empty(bare, monkeypatch):
    parents, held = bare.take(Wanted("a")), bare.take(Wanted("a"))
    bare.give(parents)
    monkeypatch.setattr(os, "getpid", lambda: -1)
    bare.give(held)  # the parent's: it is put aside
    own = bare.take(Wanted("a"))
    assert own is not parents
    assert own is not held
    assert len(bare) == 0
    bare.give(own)
    bare.give(held)  # also now that the child has used the pool
    assert len(bare) == 1
    assert bare.take(Wanted("a")) is own
    bare.clear()


def test_a_child_forked_while_the_pool_was_locked_goes_on(bare, monkeypatch):
    bare._lock.acquire()
    monkeypatch.setattr(os, "getpid", lambda: -1)
    done = threading.Thread(target=bare.take, args=[Wanted("a")], daemon=True)
    done.start()
    done.join(timeout=10)
    assert not done.is_alive()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
@pytest.mark.skipif(
    keras.backend.backend() == "torch", reason="PyTorch can be used after a fork"
)
def test_a_forked_child_says_what_to_do(pool, data):
    X, y = data
    classifier = small().fit(X, y)
    classifier.predict(X[:1])
    results = multiprocessing.get_context("fork").SimpleQueue()

    def work():
        for use in (
            lambda: classifier.predict(X[:1]),
            lambda: small().fit(X, y),
            lambda: pickle.dumps(classifier),
        ):
            try:
                use()
            except RuntimeError as error:
                results.put(str(error))
        clear_pool()

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Python and JAX warn of forks, too
        child = multiprocessing.get_context("fork").Process(target=work)
        child.start()
    child.join(20)
    hangs = child.is_alive()
    child.kill()
    assert not hangs
    assert child.exitcode == 0
    for _ in range(3):
        assert "start processes by 'spawn' or 'forkserver'" in results.get()
    assert len(classifier.predict(X[:1])) == 1  # the parent goes on


# --- threads and random state -----------------------------------------------------


@pytest.mark.slow
def test_threads(pool, data):
    X, y = data
    seeds = range(4)
    serial = [small(random_state=seed).fit(X, y) for seed in seeds]
    expected = [e.predict_proba(X) for e in serial]
    histories = [e.history_ for e in serial]
    del serial[2:]  # two threads find a network waiting, two build theirs
    parallel: dict = {}
    errors = []
    start = threading.Barrier(len(seeds))

    def fit(seed):
        try:
            start.wait()
            for _ in range(2):
                parallel[seed] = small(random_state=seed).fit(X, y)
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=fit, args=[seed]) for seed in seeds]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    assert (
        len({id(e._fitted_network.compiled) for e in (*parallel.values(), *serial)})
        == 6
    )
    for seed in seeds:
        np.testing.assert_array_equal(parallel[seed].predict_proba(X), expected[seed])
        assert parallel[seed].history_ == histories[seed]


@pytest.mark.parametrize(
    ("network", "seed"), [("lstm", None), (averages, 0), (averages, None)]
)
def test_nobodys_random_state_is_moved(
    monkeypatch, data, network, seed, generators_stay
):
    pool = use(monkeypatch, 1)
    with generators_stay():
        for _ in range(2):  # one that is built and one that is reused
            small(network=network, dropout=0.3, early_stopping=True).set_params(
                random_state=seed, validation_fraction=0.3
            ).fit(*data).predict(data[0])
        assert len(pool.built) == 1


def test_global_seeds_are_not_read_either(pool, data):
    X, y = data
    before = random.getstate(), np.random.get_state()  # noqa: NPY002
    fits = []
    try:
        for global_seed in (1, 2):
            keras.utils.set_random_seed(global_seed)
            fits.append(small(network=averages).fit(X, y))
        keras.utils.set_random_seed(2)
        drawn = [small(network=averages, random_state=None) for _ in range(2)]
        for classifier in drawn:
            keras.utils.set_random_seed(2)
            classifier.fit(X, y)
    finally:
        random.setstate(before[0])
        np.random.set_state(before[1])  # noqa: NPY002
    assert_same(*fits, X)
    assert not np.array_equal(drawn[0].predict_proba(X), drawn[1].predict_proba(X))


@pytest.mark.skipif(
    keras.backend.backend() != "tensorflow", reason="only TensorFlow keeps kernels"
)
def test_kernels_of_released_networks_are_forgotten(monkeypatch, data):
    from sklstm.training import _tensorflow

    forgotten = []
    monkeypatch.setattr(_tensorflow, "forget_kernels", lambda: forgotten.append(1))
    monkeypatch.setattr(_pool, "_FORGET_AFTER", 2)
    use(monkeypatch, 1)
    seen = []
    for step in range(1, 6):  # each network but the first releases the one before
        LSTMImageClassifier(averages, epochs=1, clipvalue=step).fit(*data)
        seen.append(len(forgotten))
    # Two are released when the third fit has ended, and the fourth builds.
    assert seen == [0, 0, 0, 1, 1]
