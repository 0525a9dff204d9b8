"""Initial values of the weights of a network, drawn by NumPy from one seed.

A new network and a network that is trained again must start from the same values, on
every backend, without a change of global random states. So this module initializes all
networks of this package. It chooses the distribution by the name of the weight. For
the layers of Keras it uses the distributions that Keras uses.
"""

import functools
from collections.abc import Sequence

from sklstm._keras import keras

import numpy as np
from threadpoolctl import ThreadpoolController


def initialize(
    model: keras.Model, seed: np.random.SeedSequence, kept: Sequence = ()
) -> None:
    """Set all weights and all seeds of a network of this package.

    Parameters
    ----------
    model : keras.Model
        Built network.
    seed : numpy.random.SeedSequence
        Seed that determines all values.
    kept : sequence of keras.layers.Layer
        Pretrained layers of the network, which keep their weights.

    Raises
    ------
    ValueError
        If the network has a weight with an unknown name.

    Examples
    --------
    >>> import numpy as np
    >>> from sklstm.networks import lstm
    >>> from sklstm.networks.initialize import initialize
    >>> initialize(lstm((None, 28), 10, units=8), np.random.SeedSequence(0))
    """
    rng = np.random.default_rng(seed)
    pretrained = {id(weight) for layer in kept for weight in layer.weights}
    # The matrices are small. With several BLAS threads, the threads would wait for each
    # other; while Keras' own threads are busy, this can take as long as an epoch.
    with _blas().limit(limits=1, user_api="blas"):
        for variable in model.weights:
            if id(variable) in pretrained:
                continue
            value = _initial_value(variable, rng)
            if value is not None:
                variable.assign(value.astype("float32", copy=False))
    reseed(model, rng)


@functools.cache
def _blas() -> ThreadpoolController:
    return ThreadpoolController()


def reseed(model: keras.Model, rng: np.random.Generator) -> None:
    """Set the seeds of the random layers of a network, such as dropout.

    Parameters
    ----------
    model : keras.Model or keras.layers.Layer
        Built network or layer.
    rng : numpy.random.Generator
        Generator of the seeds.
    """
    for variable in model.non_trainable_variables:
        if variable.name == "seed_generator_state":
            start = rng.integers(2**31 - 1)
            variable.assign(np.array([start, 0], dtype=variable.dtype))


_ZEROS = {"beta", "moving_mean", "mix", "transitions", "start", "end", "gate_kernel"}
# Training sets these weights from the data or from a parameter.
_SET_BY_TRAINING = {"mean", "scale", "rate", "stddev", "l2", "low", "high"}


def _initial_value(
    variable: keras.Variable, rng: np.random.Generator
) -> np.ndarray | None:
    name, shape = variable.name, tuple(variable.shape)
    if name in ("kernel", "query", "coefficients"):
        return _glorot_uniform(shape, rng)
    if name in ("query_kernel", "key_kernel", "value_kernel", "depthwise_kernel"):
        return _glorot_of_groups(name, shape, rng)
    if name == "recurrent_kernel":
        return _orthogonal(shape, rng)
    if name == "bias":
        bias = np.zeros(shape)
        if "lstm_cell" in variable.path:
            units = shape[0] // 4
            bias[units : 2 * units] = 1.0
        return bias
    if name in ("gamma", "moving_variance", "skip"):
        return np.ones(shape)
    if name in _ZEROS:
        return np.zeros(shape)
    if name == "gate_bias":
        return open_gates(shape[0] // 2)
    if name == "positions":
        return rng.normal(0, 0.02, shape)
    if name == "gain":
        return np.array(0.1)
    if name == "thresholds":
        return _even_thresholds(shape[0])
    if name == "levels":
        return _smooth_levels(shape, rng)
    if name in _SET_BY_TRAINING:
        return None
    raise ValueError(f"No starting value is known for the weight {variable.path!r}.")


def _glorot_uniform(shape: tuple, rng: np.random.Generator) -> np.ndarray:
    # Glorot and Bengio (2010). For a convolution, the size of the kernel multiplies
    # both the number of inputs and the number of outputs.
    field = int(np.prod(shape[:-2]))
    limit = np.sqrt(6.0 / (field * (shape[-2] + shape[-1])))
    return rng.uniform(-limit, limit, size=shape)


def open_gates(n_heads: int) -> np.ndarray:
    """Return the biases of a `MatrixLSTM`: those of input gates, then of forget gates.

    Parameters
    ----------
    n_heads : int
        Number of heads.

    Returns
    -------
    ndarray of float, shape (2 * n_heads,)
        The heads forget at different speeds, as in the paper of the mLSTM: half of a
        step is left after 14 steps in the first head, and after 280 in the last one.
    """
    return np.concatenate([np.zeros(n_heads), np.linspace(3.0, 6.0, n_heads)])


def _glorot_of_groups(name: str, shape: tuple, rng: np.random.Generator) -> np.ndarray:
    """Return kernels that mix only the features of a group with each other.

    `GridConvolution` has a kernel (rows, columns, 1, 1) for each feature, and
    `MatrixLSTM` a matrix (inputs, outputs) for each block. The sizes of one group
    count, because a unit sees no more than those.
    """
    if name == "depthwise_kernel":
        n_inputs = n_outputs = shape[0] * shape[1]
    else:
        n_inputs, n_outputs = shape[-2:]
    limit = np.sqrt(6.0 / (n_inputs + n_outputs))
    return rng.uniform(-limit, limit, size=shape)


def _orthogonal(shape: tuple, rng: np.random.Generator) -> np.ndarray:
    # Saxe et al. (2014): the QR decomposition of a Gaussian matrix. The signs of the
    # diagonal of R make the distribution uniform.
    rows, columns = int(np.prod(shape[:-1])), shape[-1]
    gaussian = rng.standard_normal((max(rows, columns), min(rows, columns)))
    q, r = np.linalg.qr(gaussian)
    q *= np.sign(np.diag(r))
    return (q.T if rows < columns else q).reshape(shape)


def _even_thresholds(n: int) -> np.ndarray:
    """Return thresholds of `CumulativeLink` with equal classes at a score of 0."""
    shares = np.arange(1, n + 1) / (n + 1)
    thresholds = np.log(shares / (1 - shares))
    gaps = np.diff(thresholds)
    return np.append(thresholds[:1], np.log(np.expm1(gaps)))


def _smooth_levels(shape: tuple, rng: np.random.Generator) -> np.ndarray:
    """Return vectors of grey levels: the level itself, then waves of random phase.

    Every column has mean zero and variance one over the levels, like standardized
    pixels.
    """
    level = np.linspace(0, 1, shape[0])[:, None]
    waves = np.arange(shape[1])
    phase = rng.uniform(0, 2 * np.pi, shape[1])
    columns = np.cos(np.pi * (waves + 1) / 2 * level + phase)
    columns[:, 0] = level[:, 0]
    return (columns - columns.mean(0)) / columns.std(0)
