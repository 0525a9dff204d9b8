from sklstm._keras import keras

import numpy as np
import pytest

from sklstm.networks import MatrixLSTM
from sklstm.networks.initialize import initialize

pytestmark = pytest.mark.backend


def to_numpy(x):
    return keras.ops.convert_to_numpy(keras.ops.cast(x, "float32"))


def recurrence(queries, keys, values, input_gates, forget_gates):
    """The mLSTM step by step, in float64: equations 19 to 27 of Beck et al. (2024).

    Exponents are relative to the stabilizer m, as in their appendix. Queries, keys and
    values have the shape (n_steps, size), and both gates (n_steps,).
    """
    size = queries.shape[-1]
    memory, normalizer, m = np.zeros((size, size)), np.zeros(size), -np.inf
    log_forget = -np.logaddexp(0, -forget_gates)
    outputs = []
    for t, (q, k, v) in enumerate(zip(queries, keys, values, strict=True)):
        before, m = log_forget[t] + m, max(log_forget[t] + m, input_gates[t])
        forget, write = np.exp(before - m), np.exp(input_gates[t] - m)
        memory = forget * memory + write * np.outer(v, k / np.sqrt(size))
        normalizer = forget * normalizer + write * k / np.sqrt(size)
        one = np.exp(min(-m, 700.0))
        outputs.append(memory @ q / max(abs(normalizer @ q), one))
    return np.stack(outputs)


def step_by_step(layer, x, values):
    """What a `MatrixLSTM` gives by the recurrence, for one sample (n_steps, k)."""
    weights = {w.name: to_numpy(w).astype(float) for w in layer.weights}
    x, values = x.astype(float), values.astype(float)

    def blocks(x, name):
        parts = x.reshape(len(x), -1, 4)
        return np.einsum("tbi,bio->tbo", parts, weights[name]).reshape(x.shape)

    found = (
        blocks(x, "query_kernel"),
        blocks(x, "key_kernel"),
        blocks(values, "value_kernel"),
    )
    gates = x @ weights["gate_kernel"] + weights["gate_bias"]
    heads = [np.split(one, layer.n_heads, axis=1) for one in found]
    outputs = []
    for head in range(layer.n_heads):
        own = [one[head] for one in heads]
        own += [gates[:, head], gates[:, layer.n_heads + head]]
        if layer.reverse:
            own = [one[::-1] for one in own]
        h = recurrence(*own)
        h = h - h.mean(axis=1, keepdims=True)
        h /= np.sqrt(np.square(h).mean(axis=1, keepdims=True) + 1e-5)
        outputs.append(h[::-1] if layer.reverse else h)
    return np.concatenate(outputs, axis=1) * weights["gamma"] + weights["skip"] * x


def built(n_features=16, spread=1.0, **params):
    """A layer with weights that no part of the formula leaves out.

    The gates are multiples of `spread`, so that whole numbers give them without
    rounding.
    """
    layer = MatrixLSTM(n_heads=2, **params)
    layer.build((None, None, n_features), (None, None, n_features))
    rng = np.random.default_rng(1)
    for weight in layer.weights:
        value = rng.normal(size=weight.shape)
        if weight.name.startswith("gate"):
            value = np.round(value) * spread
        elif weight.name == "gamma":
            value = rng.uniform(0.5, 1.0, weight.shape)
        weight.assign(value.astype("float32"))
    return layer


@pytest.mark.parametrize(
    ("n_steps", "reverse"),
    [
        pytest.param(1, False, marks=pytest.mark.slow),
        (50, True),
        (1024, False),
    ],
)
def test_all_at_once_is_the_recurrence(n_steps, reverse):
    rng = np.random.default_rng(0)
    x = rng.integers(-2, 3, (2, n_steps, 16)).astype("float32")
    values = rng.normal(size=x.shape).astype("float32")
    # With the last, gates are wide open or shut: exponents reach some hundreds.
    for spread in (0.25, 4.0, 32.0):
        layer = built(spread=spread, reverse=reverse)
        found = to_numpy(layer(x, values))
        expected = [step_by_step(layer, *one) for one in zip(x, values, strict=True)]
        np.testing.assert_allclose(found, expected, rtol=0, atol=1e-4)


def test_many_closed_forget_gates_do_not_blur_the_steps_after_them():
    # The log forget gates sum to -30,000 here, where float32 numbers are 0.002 apart.
    # The last 24 steps remember each other all the same.
    layer = built()
    x = np.random.default_rng(0).normal(size=(1, 1024, 16)).astype("float32")
    x[:, :1000, 0], x[:, 1000:, 0] = -30, 5
    gates = np.zeros((16, 4), "float32")
    gates[0, 2:] = 1
    layer.gate_kernel.assign(gates)
    layer.gate_bias.assign(np.zeros(4, "float32"))
    expected = step_by_step(layer, x[0], x[0])
    np.testing.assert_allclose(to_numpy(layer(x))[0], expected, rtol=0, atol=1e-4)


@pytest.mark.parametrize("spread", [0.0, 1e3])
@pytest.mark.parametrize("policy", ["float32", "mixed_float16", "mixed_bfloat16"])
def test_gradients_are_finite(policy, spread):
    layer = built(spread=spread, dtype=policy)
    # The input gates of one head are open, and those of the other are shut.
    layer.gate_bias.assign(np.array([spread, -spread, 0, 0], "float32"))
    head = keras.layers.Dense(1, dtype="float32")
    model = keras.Sequential([keras.Input((20, 16)), layer, head])
    model.compile(keras.optimizers.SGD(1.0), "mse")
    x = np.random.default_rng(0).normal(size=(4, 20, 16)).astype("float32")
    x[0] = 0  # no query, no key: neither memory nor normalizer
    before = to_numpy(layer.value_kernel)
    model.train_on_batch(x, np.ones((4, 20, 1), "float32"))
    for weight in model.weights:
        assert np.isfinite(to_numpy(weight)).all(), weight.path
    assert not np.array_equal(to_numpy(layer.value_kernel), before)


def test_starts_with_open_gates_and_blocks_that_keep_the_variance():
    layer = MatrixLSTM(4)
    model = keras.Sequential([keras.Input((5, 64)), layer])
    for start in (lambda: None, lambda: initialize(model, np.random.SeedSequence(0))):
        start()
        np.testing.assert_array_equal(to_numpy(layer.gate_kernel), 0)
        bias = to_numpy(layer.gate_bias)
        np.testing.assert_array_equal(bias, [0, 0, 0, 0, 3, 4, 5, 6])
        kernel = to_numpy(layer.query_kernel)
        assert 4 * kernel.var() == pytest.approx(1, rel=0.2)


@pytest.mark.parametrize(
    ("n_heads", "n_features", "message"),
    [
        (0, 16, "n_heads=0 must be at least 1"),
        (3, 16, "reads 16 features, which is not a multiple of its 3 heads"),
        (2, 6, "reads 6 features, which is not a multiple of its 4 features of a bl"),
    ],
)
def test_features_that_do_not_suit_the_heads(n_heads, n_features, message):
    with pytest.raises(ValueError, match=message):
        MatrixLSTM(n_heads)(np.zeros((1, 3, n_features), "float32"))
