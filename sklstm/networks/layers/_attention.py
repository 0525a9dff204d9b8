"""Attention over the steps of a sequence."""

import math
from collections.abc import Iterable
from numbers import Integral
from typing import Any

from sklstm._keras import keras

import numpy as np


@keras.saving.register_keras_serializable("sklstm")
class AttentionPooling(keras.layers.Layer):
    """Weighted mean over the steps, with weights that depend on the steps.

    The layer takes (n, n_steps, n_features) and returns (n, n_features). The weight of
    a step h is the softmax over the steps of ``v . tanh(W h + b)``, where W, b and v
    are learned (Bahdanau et al., 2015; Yang et al., 2016).

    Parameters
    ----------
    units : int or None
        Number of rows of W. If None, it is n_features.
    kernel_regularizer : keras.regularizers.Regularizer or None
        Penalty on W.
    **kwargs
        Keyword arguments of `keras.layers.Layer`.

    References
    ----------
    Bahdanau, D., Cho, K. and Bengio, Y. (2015). Neural machine translation by jointly
    learning to align and translate. ICLR.

    Yang, Z., Yang, D., Dyer, C., He, X., Smola, A. and Hovy, E. (2016). Hierarchical
    attention networks for document classification. NAACL.

    Examples
    --------
    >>> import keras
    >>> from sklstm.networks import AttentionPooling
    >>> tuple(AttentionPooling()(keras.ops.ones((2, 28, 16))).shape)
    (2, 16)
    """

    def __init__(
        self, units: int | None = None, kernel_regularizer: Any = None, **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        self.units = units
        self.kernel_regularizer = keras.regularizers.get(kernel_regularizer)

    def build(self, input_shape: tuple) -> None:
        n_features = input_shape[-1]
        units = n_features if self.units is None else self.units
        self.kernel = self.add_weight(
            shape=(n_features, units),
            initializer="glorot_uniform",
            regularizer=self.kernel_regularizer,
            name="kernel",
        )
        self.bias = self.add_weight(shape=(units,), initializer="zeros", name="bias")
        self.query = self.add_weight(
            shape=(units, 1), initializer="glorot_uniform", name="query"
        )

    def step_weights(self, inputs: Any) -> Any:
        """Return the weight of every step in the mean.

        Parameters
        ----------
        inputs : tensor of shape (n, n_steps, n_features)
            Steps.

        Returns
        -------
        tensor of shape (n, n_steps, 1)
            Weights that sum to one over the steps.
        """
        hidden = keras.ops.tanh(_each_step(inputs, self.kernel) + self.bias)
        return keras.ops.softmax(_each_step(hidden, self.query), axis=1)

    def call(self, inputs: Any) -> Any:
        return keras.ops.sum(self.step_weights(inputs) * inputs, axis=1)

    def compute_output_shape(self, input_shape: tuple) -> tuple:
        return (input_shape[0], input_shape[2])

    def get_config(self) -> dict:
        return {
            **super().get_config(),
            "units": self.units,
            "kernel_regularizer": keras.regularizers.serialize(self.kernel_regularizer),
        }


@keras.saving.register_keras_serializable("sklstm")
class PositionEncoding(keras.layers.Layer):
    """Add sines and cosines of its position to every step.

    The layer takes and returns (n, n_steps, n_features). It uses the encoding of
    Vaswani et al. (2017), multiplied by one learned gain. The gain starts at 0.1,
    because after an LSTM the steps contain much of their position already.

    Parameters
    ----------
    **kwargs
        Keyword arguments of `keras.layers.Layer`.

    References
    ----------
    Vaswani, A., Shazeer, N., Parmar, N., Uszkoreit, J., Jones, L., Gomez, A. N.,
    Kaiser, L. and Polosukhin, I. (2017). Attention is all you need. NeurIPS.

    Examples
    --------
    >>> import keras
    >>> from sklstm.networks import PositionEncoding
    >>> PositionEncoding()(keras.ops.zeros((1, 3, 2))).numpy().round(2)
    array([[[ 0.  ,  0.1 ],
            [ 0.08,  0.05],
            [ 0.09, -0.04]]], dtype=float32)
    """

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)

    def build(self, input_shape: tuple) -> None:
        self.gain = self.add_weight(
            shape=(), initializer=keras.initializers.Constant(0.1), name="gain"
        )

    def call(self, inputs: Any) -> Any:
        ops = keras.ops
        n_steps, n_features = inputs.shape[1:]
        n_waves = (n_features + 1) // 2
        if n_steps is not None:  # one constant in place of thirty operators
            powers = np.arange(n_waves) / max(n_waves, 1)
            known = np.arange(n_steps)[:, None] * np.exp(-math.log(10_000.0) * powers)
            known = np.concatenate([np.sin(known), np.cos(known)], axis=1)
            known = ops.cast(known[None, :, :n_features], inputs.dtype)
            return inputs + ops.cast(self.gain, inputs.dtype) * known
        positions = ops.cast(ops.arange(ops.shape(inputs)[1]), "float32")
        powers = ops.arange(n_waves, dtype="float32") / max(n_waves, 1)
        angles = positions[:, None] * ops.exp(-math.log(10_000.0) * powers)[None]
        waves = ops.concatenate([ops.sin(angles), ops.cos(angles)], axis=1)
        waves = ops.cast(waves[None, :, :n_features], inputs.dtype)
        return inputs + ops.cast(self.gain, inputs.dtype) * waves

    def compute_output_shape(self, input_shape: tuple) -> tuple:
        return input_shape

    @classmethod
    def from_config(cls, config: dict) -> "PositionEncoding":
        """Make a layer from its configuration.

        Parameters
        ----------
        config : dict
            What `get_config` returned, possibly in an earlier version.

        Returns
        -------
        PositionEncoding
            The layer.
        """
        # Earlier versions also wrote the initial value of the gain.
        config = {name: value for name, value in config.items() if name != "gain"}
        return super().from_config(config)


class _StepAttention(keras.layers.Layer):
    """Base class: attention between steps, a residual connection, a normalization."""

    def build(self, input_shape: tuple) -> None:
        n_features = input_shape[-1]
        if self.n_heads < 1:
            raise ValueError(f"n_heads={self.n_heads} must be at least 1.")
        if n_features % self.n_heads:
            raise ValueError(
                f"n_heads={self.n_heads} does not divide the {n_features} features of "
                "a step, which are the units of all directions: set network__n_heads, "
                "or units, so that it does."
            )
        self.positions = PositionEncoding(name="positions", dtype=self.dtype_policy)
        self.norm = keras.layers.LayerNormalization(
            name="norm", dtype=self.dtype_policy
        )
        self.positions.build(input_shape)
        self.norm.build(input_shape)

    def compute_output_shape(self, input_shape: tuple) -> tuple:
        return input_shape


@keras.saving.register_keras_serializable("sklstm")
class SelfAttention(_StepAttention):
    """Multi-head attention of every step to every step (Vaswani et al., 2017).

    The layer takes and returns (n, n_steps, n_features). It computes ``norm(x +
    attention(x + positions))``, with `PositionEncoding` and a layer normalization.
    Memory and time grow with the square of n_steps.

    Parameters
    ----------
    n_heads : int
        Number of attention heads. It must divide n_features; each head has
        ``n_features // n_heads`` features.
    kernel_regularizer : keras.regularizers.Regularizer or None
        Penalty on the kernels.
    **kwargs
        Keyword arguments of `keras.layers.Layer`.

    Raises
    ------
    ValueError
        If `n_heads` is less than 1 or does not divide n_features.

    References
    ----------
    Vaswani, A., Shazeer, N., Parmar, N., Uszkoreit, J., Jones, L., Gomez, A. N.,
    Kaiser, L. and Polosukhin, I. (2017). Attention is all you need. NeurIPS.

    Examples
    --------
    >>> import keras
    >>> from sklstm.networks import SelfAttention
    >>> tuple(SelfAttention(n_heads=4)(keras.ops.ones((2, 28, 16))).shape)
    (2, 28, 16)
    """

    def __init__(
        self, n_heads: int = 1, kernel_regularizer: Any = None, **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        self.n_heads = n_heads
        self.kernel_regularizer = keras.regularizers.get(kernel_regularizer)

    def build(self, input_shape: tuple) -> None:
        super().build(input_shape)
        self.attention = keras.layers.MultiHeadAttention(
            self.n_heads,
            input_shape[-1] // self.n_heads,
            kernel_regularizer=self.kernel_regularizer,
            name="attention",
            dtype=self.dtype_policy,
        )
        self.attention.build(input_shape, input_shape)

    def call(self, inputs: Any) -> Any:
        ops = keras.ops
        weights, values = self._weights(self.positions(inputs))
        attended = ops.transpose(ops.matmul(weights, values), (0, 2, 1, 3))
        attended = ops.reshape(attended, (-1, ops.shape(inputs)[1], inputs.shape[-1]))
        kernel, bias = self._kernel(self.attention.output_dense)
        kernel = ops.reshape(kernel, (inputs.shape[-1], inputs.shape[-1]))
        return self.norm(inputs + _each_step(attended, kernel) + bias)

    def _weights(self, x: Any) -> tuple:
        """Return attention weights (n, n_heads, n_steps, n_steps), and values.

        The weights use Keras' layer for the variables only. One product for queries,
        keys and values, and explicit transpositions of the heads, take half the time of
        the einsums of Keras' layer on two cores.
        """
        ops = keras.ops
        n_features = x.shape[-1]
        size = n_features // self.n_heads
        layer = self.attention
        dense = (layer.query_dense, layer.key_dense, layer.value_dense)
        kernels, biases = zip(*(self._kernel(one) for one in dense), strict=True)
        kernel = ops.concatenate(
            [ops.reshape(one, (n_features, n_features)) for one in kernels], axis=1
        )
        bias = ops.concatenate([ops.reshape(one, (n_features,)) for one in biases])
        parts = ops.split(_each_step(x, kernel) + bias, 3, axis=-1)
        shape = (-1, ops.shape(x)[1], self.n_heads, size)
        queries, keys, values = (
            ops.transpose(ops.reshape(part, shape), (0, 2, 1, 3)) for part in parts
        )
        scores = ops.matmul(queries * size**-0.5, ops.transpose(keys, (0, 1, 3, 2)))
        if x.shape[1] == 1:  # Keras warns about a softmax over one number
            return ops.ones_like(scores), values
        return ops.softmax(scores), values

    def _kernel(self, dense: Any) -> tuple:
        return tuple(
            keras.ops.cast(one, self.compute_dtype)
            for one in (dense.kernel, dense.bias)
        )

    def step_weights(self, inputs: Any, queries: Any) -> Any:
        """Return the attention that each step receives.

        Parameters
        ----------
        inputs : tensor of shape (n, n_steps, n_features)
            Input of the layer.
        queries : tensor of shape (n, n_steps)
            Weight of each step that attends to others. Every row sums to one.

        Returns
        -------
        tensor of shape (n, n_steps)
            Attention weights, summed over the queries with their weights and averaged
            over the heads. Every row sums to one.
        """
        x = self.positions(inputs)
        weights, _ = self._weights(x)
        return keras.ops.einsum("nq,nhqk->nk", queries, weights) / self.n_heads

    def get_config(self) -> dict:
        return {
            **super().get_config(),
            "n_heads": self.n_heads,
            "kernel_regularizer": keras.regularizers.serialize(self.kernel_regularizer),
        }


@keras.saving.register_keras_serializable("sklstm")
class MultiScaleAttention(_StepAttention):
    """Attention of every step to the steps around it, in windows of several sizes.

    The layer takes and returns (n, n_steps, n_features). For each size, it cuts the
    sequence into windows of that many steps and pads and masks the last one. Every step
    attends to every step of its window. The sizes share one projection to queries, keys
    and values. Their results are averaged with learned shares that sum to one. As in
    `SelfAttention`, the steps get a position encoding, and the result is added to the
    input and normalized.

    The time grows with n_steps times the largest window, so the layer can read
    sequences of thousands of steps.

    Parameters
    ----------
    windows : sequence of int
        Window sizes in steps.
    kernel_regularizer : keras.regularizers.Regularizer or None
        Penalty on the kernels.
    **kwargs
        Keyword arguments of `keras.layers.Layer`.

    Raises
    ------
    ValueError
        If `windows` is empty or holds anything but positive integers.

    Examples
    --------
    >>> import keras
    >>> from sklstm.networks import MultiScaleAttention
    >>> tuple(MultiScaleAttention((4, 16))(keras.ops.ones((2, 28, 16))).shape)
    (2, 28, 16)
    """

    n_heads = 1

    def __init__(
        self,
        windows: Any = (4, 16, 64),
        kernel_regularizer: Any = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        sizes = list(windows) if isinstance(windows, Iterable) else []
        if not sizes or not all(isinstance(n, Integral) and int(n) > 0 for n in sizes):
            raise ValueError(
                f"windows={windows!r} must be a tuple of numbers of steps, such as "
                "(4, 16)."
            )
        self.windows = [int(size) for size in sizes]
        self.kernel_regularizer = keras.regularizers.get(kernel_regularizer)

    def build(self, input_shape: tuple) -> None:
        super().build(input_shape)
        n_features = input_shape[-1]
        kinds = {
            "kernel_regularizer": self.kernel_regularizer,
            "dtype": self.dtype_policy,
        }
        self.projection = keras.layers.Dense(3 * n_features, name="projection", **kinds)
        self.projection.build(input_shape)
        self.output_projection = keras.layers.Dense(n_features, name="output", **kinds)
        self.output_projection.build(input_shape)
        self.mix = self.add_weight(
            shape=(len(self.windows),), initializer="zeros", name="mix"
        )

    def call(self, inputs: Any) -> Any:
        ops = keras.ops
        query, key, value = self._project(inputs)
        n_steps = ops.shape(inputs)[1]
        shares = self._shares(inputs.dtype)
        mixed = 0.0
        for i, window in enumerate(self.windows):
            weights = self._weights(query, key, n_steps, window)
            attended = ops.matmul(weights, _windows(value, n_steps, window))
            shape = (ops.shape(inputs)[0], -1, inputs.shape[-1])
            attended = ops.reshape(attended, shape)
            mixed = mixed + shares[i] * attended[:, :n_steps]
        return self.norm(inputs + self.output_projection(mixed))

    def _shares(self, dtype: Any) -> Any:
        mix = keras.ops.cast(self.mix, dtype)
        # Keras warns about a softmax over one number.
        return keras.ops.softmax(mix) if len(self.windows) > 1 else mix * 0 + 1

    def _project(self, inputs: Any) -> list:
        return keras.ops.split(self.projection(self.positions(inputs)), 3, axis=-1)

    def _weights(self, query: Any, key: Any, n_steps: Any, window: int) -> Any:
        """Return attention weights (n, n_windows, window, window), queries first."""
        ops = keras.ops
        scores = ops.matmul(
            _windows(query, n_steps, window),
            ops.swapaxes(_windows(key, n_steps, window), -1, -2),
        ) / math.sqrt(query.shape[-1])
        present = _windows(ops.ones((1, n_steps, 1), scores.dtype), n_steps, window)
        masked = (1 - ops.swapaxes(present, -1, -2)) * -1e4
        return ops.softmax(scores + masked, axis=-1)

    def step_weights(self, inputs: Any, queries: Any) -> Any:
        """Return the attention that each step receives.

        Parameters
        ----------
        inputs : tensor of shape (n, n_steps, n_features)
            Input of the layer.
        queries : tensor of shape (n, n_steps)
            Weight of each step that attends to others. Every row sums to one.

        Returns
        -------
        tensor of shape (n, n_steps)
            Attention weights, summed over the queries with their weights and averaged
            over the window sizes by their shares. Every row sums to one.
        """
        ops = keras.ops
        query, key, _ = self._project(inputs)
        n_steps = ops.shape(inputs)[1]
        shares = self._shares(inputs.dtype)
        total = 0.0
        for i, window in enumerate(self.windows):
            weights = self._weights(query, key, n_steps, window)
            rows = _windows(queries[..., None], n_steps, window)
            received = ops.sum(rows * weights, axis=2)
            received = ops.reshape(received, (ops.shape(inputs)[0], -1))
            total = total + shares[i] * received[:, :n_steps]
        return total

    def get_config(self) -> dict:
        return {
            **super().get_config(),
            "windows": self.windows,
            "kernel_regularizer": keras.regularizers.serialize(self.kernel_regularizer),
        }


def _each_step(x: Any, kernel: Any) -> Any:
    """Multiply each step of (n, n_steps, k) with a matrix."""
    if x.shape[1] is None:
        return keras.ops.matmul(x, kernel)
    # In this form, the product and its gradient have half as many operators.
    flat = keras.ops.reshape(x, (-1, x.shape[2]))
    shape = (-1, x.shape[1], kernel.shape[1])
    return keras.ops.reshape(keras.ops.matmul(flat, kernel), shape)


def _windows(x: Any, n_steps: Any, window: int) -> Any:
    """Cut (n, n_steps, k) into (n, n_windows, window, k), padded with zeros."""
    ops = keras.ops
    # Not ``-n_steps % window``: runtimes differ in the sign of a negative remainder.
    missing = (window - n_steps % window) % window
    n = ops.shape(x)[0]
    padding = ops.zeros((n, missing, x.shape[-1]), x.dtype)
    x = ops.concatenate([x, padding], axis=1)
    return ops.reshape(x, (n, (n_steps + missing) // window, window, x.shape[-1]))
