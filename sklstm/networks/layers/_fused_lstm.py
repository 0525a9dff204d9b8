"""Keras' LSTM, its steps computed by one TensorFlow operator instead of a loop."""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

from sklstm._keras import keras

# Bounds found with benchmarks/lstm_layers.py on two cores.
# Above this many weights the operator's own gradient, which adds to the gradient of
# the whole kernel at every step, loses to a loop that collects the gates' gradients
# and multiplies once.
_FEW_WEIGHTS = 40_000
# Above this many multiplications a step, TensorFlow shares one step's product among
# its threads, and they wait for each other longer than they compute.
_FEW_PRODUCTS = 1_520_000

_BATCH_SIZE: ContextVar[int | None] = ContextVar("sklstm_batch_size", default=None)


@contextmanager
def batches_of(batch_size: int) -> Iterator[None]:
    """Tell the layers that are traced in the block how large batches will be.

    A layer that knows it traces one way to compute its steps. A layer that does not
    traces both, and a condition of the graph on the size: the graph takes longer to
    trace, and TensorFlow logs "Type inference failed" about the gradient of the
    condition.

    Parameters
    ----------
    batch_size : int
        The size of all batches; the last one of an epoch may be smaller.
    """
    token = _BATCH_SIZE.set(batch_size)
    try:
        yield
    finally:
        _BATCH_SIZE.reset(token)


@keras.saving.register_keras_serializable("sklstm")
class FusedLSTM(keras.layers.LSTM):
    """`keras.layers.LSTM` with less work between the matrix products on the CPU.

    Same weights, same results to rounding. The steps run in TensorFlow's ``BlockLSTM``
    operator wherever that computes the same: on the TensorFlow backend without a GPU
    (which has cuDNN), in float32, tanh and sigmoid, with a bias, without mask, initial
    state, returned state or dropout of its own. Everywhere else Keras' own code runs.

    Parameters
    ----------
    *args
        As for `keras.layers.LSTM`.
    halves : bool
        Compute the two halves of every batch side by side. A layer that has the
        processor to itself gains by it; the two of a `keras.layers.Bidirectional` are
        side by side already, and beyond 40,000 weights they are Keras' own.
    fused : bool
        False always runs Keras' own code.
    **kwargs
        As for `keras.layers.LSTM`.
    """

    def __init__(
        self, *args: Any, halves: bool = False, fused: bool = True, **kwargs: Any
    ) -> None:
        super().__init__(*args, **kwargs)
        self.halves = halves
        self.fused = fused
        if keras.backend.backend() == "tensorflow":
            self.supports_jit = False  # XLA has no kernel for the operator

    def call(
        self,
        sequences: Any,
        initial_state: Any = None,
        mask: Any = None,
        training: bool = False,
    ) -> Any:
        if mask is not None or initial_state is not None or not self._can_fuse():
            return super().call(
                sequences, initial_state=initial_state, mask=mask, training=training
            )
        import tensorflow as tf

        def fused() -> Any:
            x = tf.reverse(sequences, [1]) if self.go_backwards else sequences
            return self._in_halves(x) if self.halves else self._scan(x)

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

    def fuses(self, batch_size: Any) -> Any:
        """Tell whether the operator is the faster way, where weights are few.

        Parameters
        ----------
        batch_size : int or scalar tensor
            Samples in a batch.

        Returns
        -------
        bool or scalar tensor
            True for small batches.
        """
        most = _FEW_PRODUCTS // self._n_weights() * (2 if self.halves else 1)
        return batch_size <= most

    def _can_fuse(self) -> bool:
        if not self.fused or keras.backend.backend() != "tensorflow":
            return False
        import tensorflow as tf

        return (
            self.compute_dtype == "float32"
            and self.activation is keras.activations.tanh
            and self.recurrent_activation is keras.activations.sigmoid
            and self.use_bias
            and not (self.stateful or self.unroll or self.return_state)
            and not (self.dropout or self.recurrent_dropout)
            and (self.halves or self._few_weights())
            and not tf.config.list_logical_devices("GPU")
        )

    def _scan(self, x: Any) -> Any:
        """Return (n, n_steps, units), or (n, units) if only the last is asked for."""
        import tensorflow as tf

        from sklstm.networks.layers import _block_lstm

        if self._few_weights():
            scan = _block_lstm.with_own_gradient
        else:
            scan = _block_lstm.with_collected_gradient
        cell = self.cell
        kernel, recurrent, bias = (
            tf.convert_to_tensor(weight)
            for weight in (cell.kernel, cell.recurrent_kernel, cell.bias)
        )
        return scan(x, kernel, recurrent, bias, self.return_sequences)

    def _in_halves(self, x: Any) -> Any:
        import tensorflow as tf

        # Of an odd number both halves compute the middle one, and none is empty: of
        # nothing, the operator leaves its gradient as the memory was.
        n = tf.shape(x)[0]
        first, second = self._scan(x[: (n + 1) // 2]), self._scan(x[n // 2 :])
        return tf.concat([first, second[n % 2 :]], 0)

    def _n_weights(self) -> int:
        return self.cell.kernel.shape[0] * 4 * self.units + 4 * self.units**2

    def _few_weights(self) -> bool:
        return self._n_weights() <= _FEW_WEIGHTS

    def get_config(self) -> dict:
        return {**super().get_config(), "halves": self.halves, "fused": self.fused}
