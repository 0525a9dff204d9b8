"""All steps of an LSTM in TensorFlow's BlockLSTM operator.

This module imports TensorFlow. The other modules of `networks` do without it.
"""

from typing import Any

import tensorflow as tf


def _block_lstm(x: Any, weights: Any, bias: Any) -> Any:
    """Run the operator on (n_steps, n, n_features).

    This is the first version of the operator. In TensorFlow 2.21 the gradient of the
    second version confuses the order of the gates.
    """
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
    """Swap Keras' order of gates (i, f, c, o) and the operator's (i, c, f, o)."""
    first, second, third, fourth = tf.split(weights, 4, axis=-1)
    return tf.concat([first, third, second, fourth], axis=-1)


def _multiply_wide_steps(x: Any, kernel: Any, bias: Any) -> tuple:
    """Multiply steps by the kernel if they are much wider than the four gates.

    The operator copies its input to put the steps first, and it computes the gradient
    of the input, which the first layer of a network does not need. Both are as wide as
    the input. Returns the products, and the identity and zeros to read them with.
    """
    n_features, width = kernel.shape
    if n_features <= 2 * width:
        return x, kernel, bias
    products = tf.matmul(tf.reshape(x, (-1, n_features)), kernel) + bias
    n, n_steps = tf.unstack(tf.shape(x)[:2])
    return tf.reshape(products, (n, n_steps, width)), tf.eye(width), tf.zeros(width)


def _steps_first(x: Any, go_backwards: bool) -> Any:
    x = tf.transpose(x, [1, 0, 2])
    return tf.reverse(x, [0]) if go_backwards else x


def with_own_gradient(
    x: Any,
    kernel: Any,
    recurrent: Any,
    bias: Any,
    every_step: bool,
    go_backwards: bool = False,
) -> Any:
    """Run an LSTM over (n, n_steps, n_features), with the operator's own gradient.

    The batch must not be empty, because the operator then leaves its gradient
    uninitialized. With `go_backwards`, the output has the order in which the LSTM reads
    the steps.
    """
    x, kernel, bias = _multiply_wide_steps(x, kernel, bias)
    weights = _swap_gates(tf.concat([kernel, recurrent], 0))
    h = _block_lstm(_steps_first(x, go_backwards), weights, _swap_gates(bias)).h
    return tf.transpose(h, [1, 0, 2]) if every_step else h[-1]


def with_collected_gradient(
    x: Any,
    kernel: Any,
    recurrent: Any,
    bias: Any,
    every_step: bool,
    go_backwards: bool = False,
) -> Any:
    """Run the same LSTM, with a gradient that needs one product for the weights.

    A loop over the steps computes the gradients of the gates. One product of all steps
    with them gives the gradient of the weights.
    """

    @tf.custom_gradient
    def scan(x: Any, kernel: Any, recurrent: Any, bias: Any) -> tuple:
        n_features, units = x.shape[2], bias.shape[0] // 4
        weights = _swap_gates(tf.concat([kernel, recurrent], 0))
        bias = _swap_gates(bias)
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
                    x=x[0],  # the operator reads only the shapes of x, w and h_prev
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
            dx = tf.reshape(dx, (n_steps, n, n_features))
            dbias = _swap_gates(tf.reduce_sum(dgates, 0))
            return dx, dweights[:n_features], dweights[n_features:], dbias

        return (h if every_step else h[-1]), gradient

    outputs = scan(_steps_first(x, go_backwards), kernel, recurrent, bias)
    return tf.transpose(outputs, [1, 0, 2]) if every_step else outputs
