"""Keras' LSTM, its steps computed by one TensorFlow operator instead of a loop."""

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

        if self._few_weights():
            most = _FEW_PRODUCTS // self._n_weights() * (2 if self.halves else 1)
            outputs = tf.cond(tf.shape(sequences)[0] <= most, fused, keras_own)
        else:
            outputs = fused()
        steps = sequences.shape[1:2] if self.return_sequences else ()
        outputs.set_shape((sequences.shape[0], *steps, self.units))
        return outputs

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

        scan = _with_own_gradient if self._few_weights() else _with_collected_gradient
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


def _block_lstm(x: Any, weights: Any, bias: Any) -> Any:
    """Run the operator; `x` is (n_steps, n, n_features).

    The first version of it: in TensorFlow 2.21 the second one's gradient mistakes the
    order of the gates.
    """
    import tensorflow as tf

    shape = tf.shape(x)
    units = bias.shape[0] // 4
    state = tf.zeros((shape[1], units))
    peephole = tf.zeros(units)
    return tf.raw_ops.BlockLSTM(
        seq_len_max=tf.cast(shape[0], tf.int64),
        x=x,
        cs_prev=state,
        h_prev=state,
        w=weights,
        wci=peephole,
        wcf=peephole,
        wco=peephole,
        b=bias,
        forget_bias=0.0,
        cell_clip=0.0,
        use_peephole=False,
    )


def _swap_gates(weights: Any) -> Any:
    """Turn Keras' order of gates (i, f, c, o) into the operator's, or back."""
    import tensorflow as tf

    first, second, third, fourth = tf.split(weights, 4, axis=-1)
    return tf.concat([first, third, second, fourth], axis=-1)


def _with_own_gradient(
    x: Any, kernel: Any, recurrent: Any, bias: Any, every_step: bool
) -> Any:
    import tensorflow as tf

    weights = _swap_gates(tf.concat([kernel, recurrent], 0))
    h = _block_lstm(tf.transpose(x, [1, 0, 2]), weights, _swap_gates(bias)).h
    return tf.transpose(h, [1, 0, 2]) if every_step else h[-1]


def _with_collected_gradient(
    x: Any, kernel: Any, recurrent: Any, bias: Any, every_step: bool
) -> Any:
    import tensorflow as tf

    @tf.custom_gradient
    def scan(x: Any, kernel: Any, recurrent: Any, bias: Any) -> tuple:
        n_features, units = x.shape[2], bias.shape[0] // 4
        weights = _swap_gates(tf.concat([kernel, recurrent], 0))
        bias = _swap_gates(bias)
        x = tf.transpose(x, [1, 0, 2])
        i, cs, f, o, ci, co, h = _block_lstm(x, weights, bias)

        def gradient(upstream: Any) -> tuple:
            n_steps, n = tf.unstack(tf.shape(x)[:2])
            nothing = tf.zeros((n, units))
            peephole = tf.zeros(units)
            kernel, recurrent = weights[:n_features], weights[n_features:]
            before = tf.concat([nothing[None], cs[:-1]], 0)

            def step(t: Any, dh: Any, dcs: Any, gates: Any) -> tuple:
                if every_step:
                    dh = dh + upstream[t]
                dcs, dgates, *_ = tf.raw_ops.LSTMBlockCellGrad(
                    x=x[0],  # of x, w and h_prev it reads the shapes
                    cs_prev=before[t],
                    h_prev=nothing,
                    w=weights,
                    wci=peephole,
                    wcf=peephole,
                    wco=peephole,
                    b=bias,
                    i=i[t],
                    cs=cs[t],
                    f=f[t],
                    o=o[t],
                    ci=ci[t],
                    co=co[t],
                    cs_grad=dcs,
                    h_grad=dh,
                    use_peephole=False,
                )
                dh = tf.matmul(dgates, recurrent, transpose_b=True)
                return t - 1, dh, dcs, gates.write(t, dgates)

            *_, gates = tf.while_loop(
                lambda t, *_: t >= 0,
                step,
                (
                    n_steps - 1,
                    nothing if every_step else upstream,
                    nothing,
                    tf.TensorArray(tf.float32, size=n_steps),
                ),
            )
            dgates = gates.concat()  # (n_steps * n, 4 * units)
            read = tf.concat([x, tf.concat([nothing[None], h[:-1]], 0)], -1)
            read = tf.reshape(read, (-1, n_features + units))
            dweights = _swap_gates(tf.matmul(read, dgates, transpose_a=True))
            dx = tf.matmul(dgates, kernel, transpose_b=True)
            dx = tf.transpose(tf.reshape(dx, (n_steps, n, n_features)), [1, 0, 2])
            dbias = _swap_gates(tf.reduce_sum(dgates, 0))
            return dx, dweights[:n_features], dweights[n_features:], dbias

        return (h if every_step else h[-1]), gradient

    outputs = scan(x, kernel, recurrent, bias)
    return tf.transpose(outputs, [1, 0, 2]) if every_step else outputs
