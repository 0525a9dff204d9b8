"""Keras' LSTM with all steps in one operator or loop of the backend."""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

from sklstm._keras import keras

# Each backend works without the others.
_BACKEND = keras.backend.backend()
if _BACKEND == "tensorflow":
    import tensorflow as tf

    from sklstm.networks.layers import _block_lstm
elif _BACKEND == "torch":
    from sklstm.networks.layers import _torch_lstm
elif _BACKEND == "jax":
    from sklstm.networks.layers import _jax_lstm

# Both bounds were measured with benchmarks/lstm_layers.py on two cores.
# The operator's own gradient adds to the gradient of the whole kernel at every step.
# With more weights than this it is slower than a loop that collects the gradients of
# the gates and multiplies once.
_FEW_WEIGHTS = 50_000
# With more multiplications in a step than this, TensorFlow splits the product of one
# step among its threads, and they wait for each other longer than they compute.
_FEW_PRODUCTS = 1_520_000

_BATCH_SIZE: ContextVar[int | None] = ContextVar("sklstm_batch_size", default=None)


@contextmanager
def known_batch_size(batch_size: int) -> Iterator[None]:
    """Context manager: tell layers traced in its block the size of the batches.

    If a layer knows the size, it traces the faster of its two ways to compute the
    steps. Otherwise it traces both and a condition on the size. Tracing then takes
    longer, and TensorFlow logs "Type inference failed" for the gradient of the
    condition.

    Parameters
    ----------
    batch_size : int
        Size of the batches. The last one of an epoch may be smaller.
    """
    token = _BATCH_SIZE.set(batch_size)
    try:
        yield
    finally:
        _BATCH_SIZE.reset(token)


@keras.saving.register_keras_serializable("sklstm")
class FusedLSTM(keras.layers.LSTM):
    """`keras.layers.LSTM` that runs faster.

    The layer has the weights of `keras.layers.LSTM` and gives the same results up to
    rounding. On TensorFlow without a GPU, it computes all steps in the ``BlockLSTM``
    operator where that is faster. On PyTorch, it runs PyTorch's own LSTM, which is
    cuDNN's on a GPU. It does so with tanh, sigmoid and a bias, and without a mask, an
    initial state, a returned state or dropout of its own, on the CPU in float32. In all
    other cases it runs Keras' code. On a GPU, this is cuDNN on TensorFlow. On JAX with
    a GPU, the layer runs cuDNN's LSTM, which computes in float32 there: with half
    precision, only its input and output are halves.

    Parameters
    ----------
    *args
        Positional arguments of `keras.layers.LSTM`.
    halves : bool
        If True, compute the two halves of every batch in parallel. This is faster for a
        layer that has all cores to itself. The two layers of a
        `keras.layers.Bidirectional` run in parallel already: leave it False for them.
        With more than 40,000 weights, a layer without `halves` runs Keras' code.
    fused : bool
        If False, always run Keras' code.
    **kwargs
        Keyword arguments of `keras.layers.LSTM`.

    Examples
    --------
    >>> import keras
    >>> from sklstm.networks import FusedLSTM
    >>> tuple(FusedLSTM(8, return_sequences=True)(keras.ops.ones((2, 28, 28))).shape)
    (2, 28, 8)
    """

    def __init__(
        self, *args: Any, halves: bool = False, fused: bool = True, **kwargs: Any
    ) -> None:
        super().__init__(*args, **kwargs)
        self.halves = halves
        self.fused = fused
        if _BACKEND == "tensorflow":
            self.supports_jit = False  # XLA does not implement the operator
        if _BACKEND == "jax" and self.variable_dtype != "float32":
            self.use_cudnn = False  # JAX compiles it in float32 only

    def call(
        self,
        sequences: Any,
        initial_state: Any = None,
        mask: Any = None,
        training: bool = False,
    ) -> Any:
        if mask is not None or initial_state is not None or not self.can_fuse():
            return super().call(
                sequences, initial_state=initial_state, mask=mask, training=training
            )
        if _BACKEND == "torch":
            x = sequences.flip(1) if self.go_backwards else sequences
            return _torch_lstm.scan(x, [self.cell_weights()], self.return_sequences)

        def fused() -> Any:
            return self._in_halves(sequences) if self.halves else self._scan(sequences)

        def keras_own() -> Any:
            return super(FusedLSTM, self).call(sequences, training=training)

        batch_size = _BATCH_SIZE.get()
        if not self._few_weights():
            outputs = fused()
        elif batch_size is None:
            outputs = tf.cond(self.fuses(tf.shape(sequences)[0]), fused, keras_own)
        else:
            outputs = fused() if self.fuses(batch_size) else keras_own()
        steps = sequences.shape[1:2] if self.return_sequences else ()
        outputs.set_shape((sequences.shape[0], *steps, self.units))
        return outputs

    def inner_loop(
        self, sequences: Any, initial_state: Any, mask: Any, training: bool = False
    ) -> tuple:
        """Run the steps. Keras calls this.

        Parameters
        ----------
        sequences : tensor of shape (n, n_steps, n_features)
            Input.
        initial_state : list of tensors
            Two states of shape (n, units).
        mask : tensor of shape (n, n_steps) or None
            Steps that count.
        training : bool
            Whether dropout is on.

        Returns
        -------
        tuple
            Last output, outputs of all steps, and states.
        """
        if _BACKEND == "jax" and self.use_cudnn and _jax_lstm.on_gpu():
            found = None
            if mask is None and not (self.dropout or self.recurrent_dropout):
                found = _jax_lstm.inner_loop(self, sequences, initial_state)
            if found is None:
                found = keras.layers.RNN.inner_loop(
                    self, sequences, initial_state, mask, training=training
                )
            return found
        return super().inner_loop(sequences, initial_state, mask, training=training)

    def fuses(self, batch_size: Any) -> Any:
        """Tell whether the operator is faster than Keras' code for such batches.

        The size of the batches decides for layers with at most 40,000 weights only.

        Parameters
        ----------
        batch_size : int or scalar tensor
            Number of samples in a batch.

        Returns
        -------
        bool or scalar tensor
            True for small batches.
        """
        most = _FEW_PRODUCTS // self._n_weights() * (2 if self.halves else 1)
        return batch_size <= most

    def chooses_by_batch_size(self) -> bool:
        """Return whether the size of the batches decides which code runs.

        Returns
        -------
        bool
            True if small and large batches run different code.
        """
        return self.can_fuse() and self._few_weights()

    def can_fuse(self) -> bool:
        """Return whether the backend's own LSTM gives the results of Keras' code.

        Returns
        -------
        bool
            False if Keras' code runs.
        """
        if not (
            self.fused
            and self.activation is keras.activations.tanh
            and self.recurrent_activation is keras.activations.sigmoid
            and self.use_bias
            and not (self.stateful or self.unroll or self.return_state)
            and not (self.dropout or self.recurrent_dropout)
        ):
            return False
        if _BACKEND == "torch":
            return self.compute_dtype == "float32" or _torch_lstm.on_gpu()
        return (
            _BACKEND == "tensorflow"
            and self.compute_dtype == "float32"
            and (self.halves or self._few_weights())
            and not tf.config.list_logical_devices("GPU")
        )

    def cell_weights(self) -> tuple:
        """Return the weights as tensors of the compute dtype.

        Returns
        -------
        tuple
            Kernel, recurrent kernel and bias, in the shapes that Keras has.
        """
        cell = self.cell
        weights = (cell.kernel, cell.recurrent_kernel, cell.bias)
        if _BACKEND == "tensorflow":
            return tuple(map(tf.convert_to_tensor, weights))
        return tuple(keras.ops.cast(w.value, self.compute_dtype) for w in weights)

    def _scan(self, x: Any) -> Any:
        """Return (n, n_steps, units), or (n, units) without `return_sequences`."""
        scan: Any = _block_lstm.with_collected_gradient
        if self._few_weights():
            scan = _block_lstm.with_own_gradient
        every_step = self.return_sequences
        return scan(x, *self.cell_weights(), every_step, self.go_backwards)

    def _in_halves(self, x: Any) -> Any:
        # If the number of samples is odd, both halves compute the middle one. So no
        # half is empty: for an empty batch the operator leaves its gradient
        # uninitialized.
        n = tf.shape(x)[0]
        first, second = self._scan(x[: (n + 1) // 2]), self._scan(x[n // 2 :])
        return tf.concat([first, second[n % 2 :]], 0)

    def _n_weights(self) -> int:
        return self.cell.kernel.shape[0] * 4 * self.units + 4 * self.units**2

    def _few_weights(self) -> bool:
        return self._n_weights() <= _FEW_WEIGHTS

    def get_config(self) -> dict:
        return {**super().get_config(), "halves": self.halves, "fused": self.fused}


@keras.saving.register_keras_serializable("sklstm")
class FusedBidirectional(keras.layers.Bidirectional):
    """`keras.layers.Bidirectional` that runs both directions of a `FusedLSTM` at once.

    The layer has the weights of `keras.layers.Bidirectional` and gives the same results
    up to rounding. On PyTorch, one call of PyTorch's own LSTM computes both directions.
    On other backends, and where `FusedLSTM` runs Keras' code, Keras' code runs.

    Parameters
    ----------
    layer : keras.layers.RNN
        Layer that reads forwards, such as a `FusedLSTM`.
    merge_mode : str or None
        How to join the outputs of the directions, as in `keras.layers.Bidirectional`.
    weights : list or None
        Initial weights.
    backward_layer : keras.layers.RNN or None
        Layer that reads backwards. If None, a copy of `layer`.
    **kwargs
        Keyword arguments of `keras.layers.Layer`.

    Examples
    --------
    >>> import keras
    >>> from sklstm.networks import FusedBidirectional, FusedLSTM
    >>> layer = FusedBidirectional(FusedLSTM(8, return_sequences=True))
    >>> tuple(layer(keras.ops.ones((2, 28, 28))).shape)
    (2, 28, 16)
    """

    def call(
        self,
        sequences: Any,
        initial_state: Any = None,
        mask: Any = None,
        training: bool | None = None,
    ) -> Any:
        if mask is not None or initial_state is not None or not self.can_fuse():
            run = super().call
            if _BACKEND != "jax":
                return run(sequences, initial_state, mask, training)
            with _jax_lstm.single_precision(self.compute_dtype) as cast:
                return run(*cast((sequences, initial_state)), mask, training)
        weights = [
            layer.cell_weights() for layer in (self.forward_layer, self.backward_layer)
        ]
        return _torch_lstm.scan(sequences, weights, self.return_sequences)

    def _can_attempt_fused_lstm(self, *args: Any, **kwargs: Any) -> bool:
        # Keras asks this before it runs both directions in cuDNN.
        if _BACKEND == "jax" and not _jax_lstm.may_use_cudnn():
            return False
        return super()._can_attempt_fused_lstm(*args, **kwargs)

    def can_fuse(self) -> bool:
        """Return whether one call of PyTorch's LSTM computes both directions.

        Returns
        -------
        bool
            False if each direction is computed by its own layer.
        """
        layers = (self.forward_layer, self.backward_layer)
        return (
            _BACKEND == "torch"
            and self.merge_mode == "concat"
            and not (self.return_state or self.stateful)
            and all(isinstance(one, FusedLSTM) and one.can_fuse() for one in layers)
            and layers[0].units == layers[1].units
            and not layers[0].go_backwards
            and layers[1].go_backwards
        )
