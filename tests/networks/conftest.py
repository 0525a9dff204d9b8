"""What the tests of several networks share."""

import numpy as np
import pytest


def _sigmoid(x):
    return 1 / (1 + np.exp(-x))


def _lstm(x, kernel, recurrent_kernel, bias):
    """Return (n, n_steps, units), the outputs of Keras' LSTM, in NumPy."""
    h = c = np.zeros((len(x), len(recurrent_kernel)))
    outputs = []
    for t in range(x.shape[1]):
        gates = x[:, t] @ kernel + h @ recurrent_kernel + bias
        i, f, g, o = np.split(gates, 4, axis=1)
        c = _sigmoid(f) * c + _sigmoid(i) * np.tanh(g)
        h = _sigmoid(o) * np.tanh(c)
        outputs.append(h)
    return np.stack(outputs, axis=1)


def _bilstm(x, weights):
    """Return (..., n_steps, 2 * units) of an LSTM along the last axis but one."""
    lines = x.reshape(-1, *x.shape[-2:])
    forward = _lstm(lines, *weights[:3])
    backward = _lstm(lines[:, ::-1], *weights[3:])[:, ::-1]
    both = np.concatenate([forward, backward], axis=-1)
    return both.reshape(*x.shape[:-1], both.shape[-1])


@pytest.fixture
def bilstm():
    """Return a bidirectional LSTM over the last axis but one, in NumPy."""
    return _bilstm


@pytest.fixture
def with_random_weights():
    """Give a network random weights and moments of the pixels, and return its layers.

    The layers are functions in NumPy of their weights, by name.
    """

    def randomize(model):
        rng = np.random.default_rng(0)
        model.set_weights(
            [
                rng.uniform(0.5, 1.5, v.shape)
                if v.name in ("scale", "moving_variance")
                else rng.normal(0, 0.4, v.shape)
                for v in model.weights
            ]
        )
        model.get_layer("standardize").set(120.0, 70.0)

        def weights(name):
            return [w.astype("float64") for w in model.get_layer(name).get_weights()]

        def dense(x, name):
            kernel, bias = weights(name)
            return x @ kernel + bias

        def norm(x, name, epsilon):
            gamma, beta = weights(name)
            centred = x - x.mean(-1, keepdims=True)
            scale = np.sqrt(x.var(-1, keepdims=True) + epsilon)
            return centred / scale * gamma + beta

        return weights, dense, norm

    return randomize
