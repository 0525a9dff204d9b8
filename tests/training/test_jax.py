import gc
import json
import os
import subprocess
import sys
import weakref

from sklstm._keras import keras

import numpy as np
import pytest

from sklstm.networks import WindowLoss
from sklstm.training import _data
from sklstm.training._compiled import CompiledNetwork
from sklstm.training._optimizer import own_optimizer
from sklstm.training._spec import NetworkSpec

if keras.backend.backend() == "jax":
    import jax
    import jax.numpy as jnp

    from sklstm.training._jax import _Devices

pytestmark = [
    pytest.mark.backend,
    pytest.mark.skipif(
        keras.backend.backend() != "jax", reason="tests the engine on JAX"
    ),
]

PLAIN = {"loss": "sparse_categorical_crossentropy", "metrics": None}
STRENGTHS = {"dropout": 0.2, "input_noise": 0.1, "l2": 0.01}
OF_THE_STEM = {"stem_dropout": 0.1, "drop_path": 0.3}
OF_MIXTURES = {"mixup": 0.5, "cutmix": 1.0}


def lstm_spec(**changes):
    return NetworkSpec(
        **{
            "network": "lstm",
            "input_shape": (None, 8),
            "n_outputs": 3,
            "input_dtype": "uint8",
            "network_params": {
                "units": 3,
                "bidirectional": False,
                "batch_norm": True,
                **STRENGTHS,
            },
            "compile_params": {
                "loss": "sparse_categorical_crossentropy",
                "metrics": ["AUC", keras.metrics.F1Score(average=None)],
            },
            "optimizer_params": {
                "clipvalue": 0.1,
                "gradient_accumulation_steps": 2,
            },
            **changes,
        }
    )


def images_spec():
    return lstm_spec(
        network="cnn_lstm",
        input_shape=(8, 8, 1),
        network_params={"units": 2, "bidirectional": False, "filters": 2, **STRENGTHS},
        reading_params={},
    )


def stem_spec():
    spec = images_spec()
    spec.network_params |= {
        "stem_kernels": "harmonic",
        "stem_blocks": "residual",
        "stem_size": 4,
        **OF_THE_STEM,
    }
    return spec


def defects_spec():
    grid = (2, 2)
    index_map = np.arange(64).reshape(2, 4, 2, 4).swapaxes(1, 2).reshape(4, 16)
    return lstm_spec(
        network="window_lstm",
        input_shape=(8, 8, 1),
        network_params={
            "grid": grid,
            "index_map": index_map,
            "units": 2,
            "bidirectional": False,
            "contrast": None,
            "attention": None,
            "batch_norm": True,
            **STRENGTHS,
        },
        compile_params={
            "loss": WindowLoss(grid, index_map, positive_weight="balanced"),
            "metrics": None,
        },
        target_shape=(8, 8),
        joint_augmentation={"rotation": 15, "flip": "both"},
    )


def mixed_spec():
    return lstm_spec(
        one_hot=True,
        compile_params={"loss": "categorical_crossentropy", "metrics": None},
        mixing={"mixup": 0.5, "cutmix": 1.0},
        warmup=True,
        weight_decay=True,
    )


def half_spec():
    return lstm_spec(
        dtype_policy="mixed_float16",
        optimizer_params={"use_ema": True, "ema_momentum": 0.5},
    )


def start(compiled, rate=0.05):
    compiled.start(np.random.SeedSequence(0))
    compiled.configure({**STRENGTHS, **OF_THE_STEM, **OF_MIXTURES})
    own_optimizer(compiled.model).keep_constant(rate)
    return compiled


def arrays(n, spec):
    rng = np.random.default_rng(0)
    shape = [8 if side is None else side for side in spec.input_shape]
    x = rng.integers(0, 4, (n, *shape)).astype(np.uint8)
    target, dtype = spec.target()
    top = 256 if dtype == "uint8" else 3
    y = rng.integers(0, top, (n, *target)).astype(dtype)
    if spec.one_hot:
        y = np.eye(3, dtype=dtype)[rng.integers(0, 3, n)]
    return x, y, rng.uniform(0.2, 2, n).astype(np.float32)


def order_of(n, seed=0):
    return np.random.default_rng(seed).permutation(n).astype(np.int32)


def train(compiled, data, epochs=2, batch_size=16):
    loaded = compiled.engine.load(*data)
    n = len(data[0])
    return [
        compiled.engine.train_epoch(loaded, order_of(n, epoch), batch_size)
        for epoch in range(epochs)
    ]


def values_of(compiled):
    variables = [*compiled._variables(), *compiled.model.optimizer.variables]
    return [(v.path, np.array(v.numpy())) for v in variables]


@pytest.fixture(scope="module")
def network():
    compiled = CompiledNetwork(lstm_spec())
    assert compiled.engine._pads
    return compiled


@pytest.mark.parametrize(
    ("make", "tolerance"),
    [
        (lstm_spec, 1e-4),
        (images_spec, 1e-4),
        # They differ little from the others, and take long to compile.
        pytest.param(half_spec, 1e-2, marks=pytest.mark.slow),
        pytest.param(defects_spec, 1e-4, marks=pytest.mark.slow),
        pytest.param(stem_spec, 1e-4, marks=pytest.mark.slow),
        pytest.param(mixed_spec, 1e-4, marks=pytest.mark.slow),
    ],
)
def test_a_padded_fit_is_the_fit_without_padding(make, tolerance):
    # 37 samples in batches of 16: the last batch has five.
    padded, exact = (CompiledNetwork(make()) for _ in range(2))
    assert padded.engine._pads
    exact.engine._pads = False
    data = arrays(37, padded.spec)
    logs = [train(start(compiled), data) for compiled in (padded, exact)]
    assert exact.engine._train._cache_size() == 2
    for one, other in zip(*logs, strict=True):
        assert one == pytest.approx(other, rel=tolerance)
    for (path, a), (_, b) in zip(values_of(padded), values_of(exact), strict=True):
        np.testing.assert_allclose(
            a, b, rtol=10 * tolerance, atol=tolerance / 5, err_msg=path
        )
    seen = [c.engine.evaluate(c.engine.load(*data), 16) for c in (padded, exact)]
    assert seen[0] == pytest.approx(seen[1], rel=tolerance)


def test_folds_of_almost_equal_size_share_a_compiled_function(network):
    engine = start(network).engine
    engine.release()
    for n in (240, 241, 250, 240):
        data = arrays(n, network.spec)
        train(network, data, 2)
        engine.evaluate(engine.load(*data), 16)
    assert engine._train._cache_size() == 1
    assert engine._test._cache_size() == 1
    # What callbacks and a new fit assign has the same kind as what training leaves.
    start(network)
    network.model.optimizer.take_gradient_norm()
    network.model.optimizer.learning_rate = 0.01
    network.model.set_weights(network.model.get_weights())
    network.set_state(network.get_state())
    train(network, data, 1)
    assert engine._train._cache_size() == 1


def test_sizes_of_parts_share_a_compiled_function(network, monkeypatch):
    start(network).engine.release()
    monkeypatch.setattr(_data, "AT_ONCE", 10_000)
    train(network, arrays(100, network.spec), 2)
    assert network.engine._train._cache_size() == 1


def test_few_predictions_are_compiled(network):
    engine = network.engine
    engine.release()
    x = arrays(40, network.spec)[0]
    for n in range(1, 41):
        engine.predict(x[:n], 512)
    assert engine._output._cache_size() <= 7


def test_a_prediction_is_the_same_in_any_company(network):
    # XLA compiles each size on its own: on some CPUs the last bit depends on it.
    x = arrays(70, network.spec)[0]
    together = network.engine.predict(x, 512)
    for rows in (slice(1), slice(5, 8), slice(11, 50)):
        alone = network.engine.predict(x[rows], 512)
        np.testing.assert_allclose(alone, together[rows], rtol=0, atol=2e-7)
        again = network.engine.predict(x[rows], 512)
        np.testing.assert_array_equal(again, alone)


def test_donation_leaves_what_others_hold(network):
    data = arrays(37, network.spec)
    train(start(network), data, 1)
    model = network.model
    variables = [*model.variables, *model.optimizer.variables]
    device_arrays = [v.value for v in variables]
    views = [np.asarray(value) for value in device_arrays[::2]]
    weights = model.get_weights()
    copies = [np.array(value) for value in device_arrays]
    weight_copies = [np.array(weight) for weight in weights]
    train(network, data, 2)
    changed = 0
    for value, copy, variable in zip(device_arrays, copies, variables, strict=True):
        np.testing.assert_array_equal(np.asarray(value), copy)
        changed += not np.array_equal(variable.numpy(), copy)
    assert changed > 10
    for view, copy in zip(views, copies[::2], strict=True):
        np.testing.assert_array_equal(view, copy)
    for weight, copy in zip(weights, weight_copies, strict=True):
        np.testing.assert_array_equal(weight, copy)


def test_views_alone_outlive_donation(network):
    # The view holds the memory, and nobody holds the array of JAX.
    data = arrays(37, network.spec)
    train(start(network), data, 1)
    variable = network.model.trainable_variables[0]
    view = np.asarray(variable.value)
    copy = view.copy()
    train(network, data, 1)
    gc.collect()
    np.testing.assert_array_equal(view, copy)
    assert not np.array_equal(variable.numpy(), copy)


def test_the_state_is_donated(network):
    data = arrays(37, network.spec)
    # Without donation, the old array would live until the new one exists.
    train(start(network), data, 1)
    variable = network.model.trainable_variables[0]
    before = variable.value.unsafe_buffer_pointer()
    train(network, data, 1)
    assert variable.value.unsafe_buffer_pointer() == before


def test_a_released_engine_leaves_no_trace_in_the_caches_of_jax():
    partial_eval = pytest.importorskip("jax._src.interpreters.partial_eval")
    compiled = CompiledNetwork(lstm_spec(compile_params=PLAIN))
    train(start(compiled), arrays(20, compiled.spec), 1)
    size = partial_eval.close_jaxpr.cache_info().currsize
    function = weakref.ref(compiled.engine)
    compiled.release()
    assert partial_eval.close_jaxpr.cache_info().currsize < size
    del compiled
    gc.collect()
    assert function() is None


DEVICES = """
import json, sys
import keras
import numpy as np
from sklstm import LSTMImageClassifier

if sys.argv[1] == "two":
    keras.distribution.set_distribution(keras.distribution.DataParallel())

def averages(input_shape, n_classes):
    inputs = keras.Input(input_shape)
    x = keras.layers.GlobalAveragePooling1D()(inputs)
    x = keras.layers.BatchNormalization()(x)
    return keras.Model(inputs, keras.layers.Dense(n_classes, activation="softmax")(x))

rng = np.random.default_rng(0)
X, y = rng.uniform(size=(37, 4, 4)), np.arange(37) % 3
kinds = {
    "lstm": {"units": 2, "bidirectional": False, "batch_norm": True, "l2": 1e-3},
    averages: {},
}
found = []
for network, params in kinds.items():
    classifier = LSTMImageClassifier(
        network, **params, epochs=2, batch_size=15, random_state=0, learning_rate=0.05
    )
    classifier.fit(X, y, X_val=X[:7], y_val=y[:7])
    found.append([classifier.history_, classifier.predict_proba(X).tolist()])
    devices = {len(v.value.sharding.device_set) for v in classifier.model_.variables}
    found.append(sorted(devices))
print(json.dumps(found))
"""


def run_on(devices):
    flags = {"XLA_FLAGS": "--xla_force_host_platform_device_count=2"}
    result = subprocess.run(
        [sys.executable, "-c", DEVICES, devices],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, **flags, "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    assert result.returncode == 0, result.stderr
    return json.loads(result.stdout.splitlines()[-1])


def test_two_devices_give_the_results_of_one():
    one, two = run_on("one"), run_on("two")
    assert one[1::2] == [[1], [1]]
    assert two[1::2] == [[2], [2]]
    for (history, outputs), (other, others) in zip(one[::2], two[::2], strict=True):
        assert history.keys() == other.keys()
        for name, values in history.items():
            np.testing.assert_allclose(values, other[name], rtol=1e-4, err_msg=name)
        np.testing.assert_allclose(outputs, others, atol=1e-5)


def test_the_distribution_is_part_of_the_key(monkeypatch):
    alone = lstm_spec().key()
    distribution = keras.distribution.DataParallel()
    monkeypatch.setattr(keras.distribution, "distribution", lambda: distribution)
    spread = lstm_spec().key()
    assert spread != alone
    assert spread == lstm_spec().key()
    other = keras.distribution.DataParallel()
    monkeypatch.setattr(keras.distribution, "distribution", lambda: other)
    assert spread == lstm_spec().key()


@pytest.mark.parametrize("shared", [True, False])
def test_fits_that_train_together_are_separate_fits(network, shared):
    engine = network.engine
    whole = arrays(70, network.spec)
    # One fit has one batch less than the others.
    folds = [order_of(70, i)[:n] for i, n in enumerate((60, 58, 33))]
    each = [tuple(array[rows] for array in whole) for rows in folds]
    if shared:
        data = engine.load(*whole)
        orders = [[rows[order_of(len(rows), e)] for rows in folds] for e in range(2)]
    else:
        data = [_Devices().load(arrays, 64) for arrays in each]
        orders = [[order_of(len(rows), e) for rows in folds] for e in range(2)]

    starts, expected, expected_logs = [], [], []
    for i, own in enumerate(each):
        network.start(np.random.SeedSequence(i))
        network.configure(STRENGTHS)
        network.model.optimizer.keep_constant(0.05)
        starts.append(engine.get_values())
        expected_logs.append(train(network, own)[-1])
        expected.append(engine.get_values())

    values = jax.tree.map(lambda *all_: jnp.stack(all_), *starts)
    for order in orders:
        values, logs = engine.train_together(values, data, order, 16)
    for i in range(3):
        assert logs[i] == pytest.approx(expected_logs[i], rel=1e-4)
        found = jax.tree.map(lambda value, i=i: value[i], values)
        for a, b in zip(*map(jax.tree.leaves, (found, expected[i])), strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-3, atol=2e-5)
        engine.set_values(found)
        assert np.isfinite(engine.predict(whole[0], 64)).all()


def test_layers_of_stacked_fits_leave_cudnn_out(monkeypatch):
    from sklstm.networks.layers import _jax_lstm

    seen = []
    monkeypatch.setattr(_jax_lstm, "on_gpu", lambda: True)
    monkeypatch.setattr(
        _jax_lstm, "inner_loop", lambda *_: seen.append(_jax_lstm.may_use_cudnn())
    )
    network = CompiledNetwork(lstm_spec(compile_params=PLAIN))
    data = network.engine.load(*arrays(9, network.spec))
    network.engine.train_epoch(data, order_of(9, 0), 8)
    assert seen
    assert all(seen)
    seen.clear()
    values = jax.tree.map(lambda v: jnp.stack([v] * 2), network.engine.get_values())
    network.engine.train_together(values, data, [order_of(9, 0)] * 2, 8)
    assert seen
    assert not any(seen)
