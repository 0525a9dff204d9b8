"""The mLSTM: an LSTM whose memory is a matrix, computed for all steps at once."""

from typing import Any

from sklstm._keras import keras

import numpy as np

from sklstm.networks.initialize import open_gates

# Features that one block of the projections to queries, keys and values mixes.
_BLOCK = 4
# The logarithm of the normalizer stays in this interval. Its exponential, and the
# square of it in a gradient, are then numbers that float32 can hold.
_LIMIT = 40.0


@keras.saving.register_keras_serializable("sklstm")
class MatrixLSTM(keras.layers.Layer):
    r"""LSTM with a matrix as its memory and exponential gates: the mLSTM [1]_.

    The layer takes and returns (n, n_steps, n_features). Each head has a memory
    :math:`C_t` and a normalizer :math:`n_t`. They follow

    .. math::

        C_t &= f_t C_{t-1} + i_t v_t k_t^\top, \qquad n_t = f_t n_{t-1} + i_t k_t, \\
        h_t &= C_t q_t / \max(|n_t^\top q_t|, 1),

    where :math:`q_t`, :math:`k_t` and :math:`v_t` are linear functions of the step in
    blocks of four features, and :math:`k_t` is divided by the square root of the
    features of a head. The input gate :math:`i_t` is the exponential, and the forget
    gate :math:`f_t` the sigmoid, of a linear function of the step. Each head of
    :math:`h_t` is normalized over its features. The output is this, multiplied by
    learned factors, plus the input, also multiplied by learned factors.

    No step waits for the step before it: the layer computes one product of two steps
    for each pair of them. Memory and time grow with the square of n_steps. All
    exponents are relative to the largest of their row, so the gates can be as far open
    or closed as they like. The gates, the products and the normalization are float32
    under every dtype policy.

    Parameters
    ----------
    n_heads : int
        Number of heads. n_features must be a multiple of it.
    reverse : bool
        If True, read the last step first. The steps of the output have the order of
        the input in both cases.
    kernel_regularizer : keras.regularizers.Regularizer or None
        Penalty on the kernels of queries, keys, values and gates.
    **kwargs
        Keyword arguments of `keras.layers.Layer`.

    Raises
    ------
    ValueError
        If `n_heads` is less than 1, or if n_features is not a multiple of `n_heads`
        and of four.

    References
    ----------
    .. [1] M. Beck, K. Pöppel, M. Spanring, A. Auer, O. Prudnikova, M. Kopp, G.
       Klambauer, J. Brandstetter and S. Hochreiter, "xLSTM: extended long short-term
       memory", NeurIPS 2024.

    Examples
    --------
    >>> import keras
    >>> from sklstm.networks import MatrixLSTM
    >>> layer = MatrixLSTM(n_heads=2, reverse=True)
    >>> tuple(layer(keras.ops.ones((3, 49, 16))).shape)
    (3, 49, 16)
    """

    def __init__(
        self,
        n_heads: int = 4,
        reverse: bool = False,
        kernel_regularizer: Any = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.n_heads = n_heads
        self.reverse = reverse
        self.kernel_regularizer = keras.regularizers.get(kernel_regularizer)

    def build(self, inputs_shape: tuple, values_shape: tuple | None = None) -> None:
        n_features = inputs_shape[-1]
        if self.n_heads < 1:
            raise ValueError(f"n_heads={self.n_heads} must be at least 1.")
        for divisor, what in ((self.n_heads, "heads"), (_BLOCK, "features of a block")):
            if n_features % divisor:
                raise ValueError(
                    f"MatrixLSTM reads {n_features} features, which is not a multiple "
                    f"of its {divisor} {what}."
                )
        limit = (6.0 / (2 * _BLOCK)) ** 0.5  # Glorot's for the inputs of a block
        for name in ("query_kernel", "key_kernel", "value_kernel"):
            weight = self.add_weight(
                shape=(n_features // _BLOCK, _BLOCK, _BLOCK),
                initializer=keras.initializers.RandomUniform(-limit, limit),
                regularizer=self.kernel_regularizer,
                name=name,
            )
            setattr(self, name, weight)
        self.gate_kernel = self.add_weight(
            shape=(n_features, 2 * self.n_heads),
            initializer="zeros",
            regularizer=self.kernel_regularizer,
            autocast=False,
            name="gate_kernel",
        )
        self.gate_bias = self.add_weight(
            shape=(2 * self.n_heads,),
            initializer=lambda shape, dtype=None: keras.ops.convert_to_tensor(
                open_gates(shape[0] // 2), dtype=dtype
            ),
            autocast=False,
            name="gate_bias",
        )
        self.gamma = self.add_weight(
            shape=(n_features,), initializer="ones", autocast=False, name="gamma"
        )
        self.skip = self.add_weight(
            shape=(n_features,), initializer="ones", name="skip"
        )
        rows = np.arange(n_features)[:, None] // _BLOCK
        columns = np.arange(n_features) // _BLOCK
        self._same_block = (rows == columns).astype("float32")

    def call(self, inputs: Any, values: Any = None) -> Any:
        """Read the steps.

        Parameters
        ----------
        inputs : tensor of shape (n, n_steps, n_features)
            Steps. Queries, keys and gates come from these.
        values : tensor of shape (n, n_steps, n_features) or None
            What the memory stores of the steps. If None, it is `inputs`.

        Returns
        -------
        tensor of shape (n, n_steps, n_features)
            Output of each step.
        """
        ops = keras.ops
        stored = inputs if values is None else values
        n_features, n_heads = inputs.shape[-1], self.n_heads
        size = n_features // n_heads
        queries = _each_step(inputs, self._dense(self.query_kernel))
        keys = _each_step(inputs, self._dense(self.key_kernel))
        stored = _each_step(stored, self._dense(self.value_kernel))
        gates = _each_step(ops.cast(inputs, "float32"), self.gate_kernel)
        gates = gates + self.gate_bias

        def heads(x: Any) -> Any:
            x = ops.cast(x, "float32")
            if self.reverse:
                x = ops.flip(x, axis=1)
            x = ops.reshape(x, (-1, ops.shape(x)[1], n_heads, x.shape[-1] // n_heads))
            return ops.transpose(x, (0, 2, 1, 3))

        h = matrix_memory(
            heads(queries),
            heads(keys) * size**-0.5,
            heads(stored),
            heads(gates[..., :n_heads])[..., 0],
            heads(gates[..., n_heads:])[..., 0],
        )
        h = h - ops.mean(h, axis=-1, keepdims=True)
        h = h * ops.rsqrt(ops.mean(h * h, axis=-1, keepdims=True) + 1e-5)
        h = ops.transpose(h, (0, 2, 1, 3))
        h = ops.reshape(h, (-1, ops.shape(inputs)[1], n_features))
        if self.reverse:
            h = ops.flip(h, axis=1)
        h = ops.cast(h * self.gamma, self.compute_dtype)
        return h + ops.cast(self.skip, self.compute_dtype) * inputs

    def _dense(self, kernel: Any) -> Any:
        """Return the kernel of all blocks as a matrix with zeros between the blocks.

        One product with it is faster than a product for each block of four features.
        """
        ops = keras.ops
        n_blocks = kernel.shape[0]
        rows = ops.reshape(kernel, (n_blocks * _BLOCK, _BLOCK))
        same_block = ops.convert_to_tensor(self._same_block, self.compute_dtype)
        return ops.cast(ops.tile(rows, (1, n_blocks)), self.compute_dtype) * same_block

    def compute_output_shape(
        self, inputs_shape: tuple, values_shape: tuple | None = None
    ) -> tuple:
        return inputs_shape

    def get_config(self) -> dict:
        return {
            **super().get_config(),
            "n_heads": self.n_heads,
            "reverse": self.reverse,
            "kernel_regularizer": keras.regularizers.serialize(self.kernel_regularizer),
        }


def matrix_memory(
    queries: Any, keys: Any, values: Any, input_gates: Any, forget_gates: Any
) -> Any:
    """Return what the matrix memory of an mLSTM holds for the query of each step.

    Parameters
    ----------
    queries, keys, values : tensor of shape (n, n_heads, n_steps, size), float32
        Queries, keys and values. The keys are scaled already.
    input_gates, forget_gates : tensor of shape (n, n_heads, n_steps), float32
        Gates before their exponential or sigmoid.

    Returns
    -------
    tensor of shape (n, n_heads, n_steps, size), float32
        Memory times query, divided by the normalizer.
    """
    ops = keras.ops
    exponents = _exponents(input_gates, forget_gates)
    # The result does not depend on this shift, so no gradient has to pass it.
    largest = ops.stop_gradient(ops.max(exponents, axis=-1, keepdims=True))
    weights = ops.matmul(queries, ops.transpose(keys, (0, 1, 3, 2)))
    weights = weights * ops.exp(exponents - largest)
    normalizer = ops.maximum(
        ops.abs(ops.sum(weights, axis=-1, keepdims=True)),
        ops.exp(ops.clip(-largest, -_LIMIT, _LIMIT)),
    )
    return ops.matmul(weights, values) / normalizer


def _exponents(input_gates: Any, forget_gates: Any) -> Any:
    """Return the logarithm of the weight that the value of step j has at step i.

    At [..., i, j], this is the input gate of step j plus the log forget gates of the
    steps j + 1 to i, or a large negative number if j comes after i.

    The sum over the forget gates is the difference of two sums from the first step on.
    Such sums reach thousands, where float32 has three decimals. So every number is
    split into a multiple of 1/8 and a small rest: float32 adds the multiples without
    error, and the sums of the rests are small.
    """
    ops = keras.ops
    log_forget = ops.log_sigmoid(forget_gates)
    multiples = ops.stop_gradient(ops.round(log_forget * 8.0)) / 8.0
    coarse = ops.cumsum(multiples, axis=-1)
    fine = ops.cumsum(log_forget - multiples, axis=-1)
    steps = ops.arange(ops.shape(forget_gates)[-1])
    future = -1e30 * ops.cast(steps[:, None] < steps[None], "float32")
    exact = (coarse[..., :, None] - coarse[..., None, :]) + future
    return exact + (fine[..., :, None] + (input_gates - fine)[..., None, :])


def _each_step(x: Any, matrix: Any) -> Any:
    """Multiply every step of (n, n_steps, k) by a matrix, as one product.

    The gradient of a product with three axes would be computed for each sample.
    """
    ops = keras.ops
    flat = ops.matmul(ops.reshape(x, (-1, x.shape[-1])), matrix)
    return ops.reshape(flat, (-1, ops.shape(x)[1], matrix.shape[-1]))
