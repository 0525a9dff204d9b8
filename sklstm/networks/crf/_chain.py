"""Sums and maxima over all paths of a chain, without a loop over its steps.

A chain has one matrix of log-potentials (n_labels, n_labels) for each step. The sum
over all paths is the product of these matrices, where logsumexp replaces addition and
addition replaces multiplication. With max instead of logsumexp the same product gives
the best path.

The product is associative, so its factors can be grouped freely: neighbours are
multiplied in pairs, then their products in pairs, until one matrix is left (a parallel
scan; Blelloch, 1990; Hassan et al., 2021). A chain therefore takes ``log2(n_steps)``
operations on whole tensors. A sum over thousands of steps is rounded about a dozen
times, and not once at every step.

In this module the steps come first and the batch comes last: (n_steps, n_labels,
n_labels, n). With the labels last, the CPU needs three times as long. Every function
takes the parameter `reduce`: ``keras.ops.logsumexp`` sums over paths and
``keras.ops.max`` finds the best one.

References
----------
Blelloch, G. E. (1990). Prefix sums and their applications. Technical report
CMU-CS-90-190, Carnegie Mellon University.

Hassan, S. S., Särkkä, S. and García-Fernández, Á. F. (2021). Temporal parallelization
of inference in hidden Markov models. IEEE Transactions on Signal Processing 69.
"""

from typing import Any

from sklstm._keras import keras

import numpy as np

# The other backends work without TensorFlow.
_BACKEND = keras.backend.backend()
if _BACKEND == "tensorflow":
    import tensorflow as tf

# The log-potential of an impossible transition. It is far below any score, and sums of
# it stay finite.
IMPOSSIBLE = -1e9
# A graph that is traced without a known number of steps gets this number of levels,
# which is enough for 65,536 steps. Levels that a chain does not need cost little.
_MOST_LEVELS = 16


def identity(n_labels: int, dtype: Any) -> Any:
    """Return the log-potentials of a step that keeps every label, at no cost."""
    stays = np.eye(n_labels, dtype="bool")
    return keras.ops.cast(np.where(stays, 0.0, IMPOSSIBLE), dtype)


def product(x: Any, reduce: Any, normalize: bool = False) -> tuple[Any, list]:
    """Multiply the matrices of all steps.

    Parameters
    ----------
    x : tensor of shape (n_steps, n_labels, n_labels, n)
        Log-potentials.
    reduce : callable
        ``keras.ops.logsumexp`` or ``keras.ops.max``.
    normalize : bool
        Subtract its largest entry from every product. The scores are then right up to
        a constant, and large scores that all labels share cost no precision.

    Returns
    -------
    product : tensor of shape (n_labels, n_labels, n)
        Entry [i, j] reduces over all paths that come from label i and end in label j.
    levels : list of tuple
        The left factors, the right factors and the number of steps of every level of
        pairs. `forward_scores` and `backward_scores` walk back through them.
    """
    ops = keras.ops
    n_labels = x.shape[1]
    known = x.shape[0] is not None
    n_levels = (x.shape[0] - 1).bit_length() if known else _MOST_LEVELS
    levels = []
    for _ in range(n_levels):
        n_steps = x.shape[0] if known else ops.shape(x)[0]
        odd = n_steps % 2
        if not known or odd:
            padding = identity(n_labels, x.dtype)[None, :, :, None]
            shape = (odd, n_labels, n_labels, ops.shape(x)[3])
            x = ops.concatenate([x, ops.broadcast_to(padding, shape)])
        pairs = ops.reshape(x, ((n_steps + odd) // 2, 2, n_labels, n_labels, -1))
        left, right = ops.unstack(pairs, 2, axis=1)
        levels.append((left, right, n_steps))
        x = _multiply(left, right, reduce)
        if normalize:
            x = x - ops.max(x, axis=(1, 2), keepdims=True)
    # The reshape fails if the chain has more steps than the levels can hold.
    return ops.reshape(x, (n_labels, n_labels, ops.shape(x)[3])), levels


def _multiply(left: Any, right: Any, reduce: Any) -> Any:
    """Return the products of pairs of matrices, (n_pairs, n_labels, n_labels, n)."""
    if _BACKEND == "tensorflow" and reduce is keras.ops.logsumexp:
        return _log_product(left, right)
    return reduce(left[:, :, :, None] + right[:, None], axis=2)


def _log_product(left: Any, right: Any) -> Any:
    # TensorFlow would derive the gradient in four times as many operators, and a
    # training graph has a product for each level.
    @tf.custom_gradient
    def multiply(left: Any, right: Any) -> tuple:
        paths = tf.expand_dims(left, 3) + tf.expand_dims(right, 1)
        best = tf.reduce_max(paths, 2, keepdims=True)
        total = best + tf.math.log(tf.reduce_sum(tf.exp(paths - best), 2, True))

        def gradient(upstream: Any) -> tuple:
            shares = tf.exp(paths - total) * tf.expand_dims(upstream, 2)
            return tf.reduce_sum(shares, 3), tf.reduce_sum(shares, 1)

        return tf.squeeze(total, 2), gradient

    return multiply(left, right)


def forward_scores(levels: list, x: Any, reduce: Any) -> Any:
    """Reduce over the paths that lead to each step.

    Parameters
    ----------
    levels : list of tuple
        The levels that `product` returned.
    x : tensor of shape (n_steps, n_labels, n_labels, n)
        Log-potentials.
    reduce : callable
        As in `product`.

    Returns
    -------
    tensor of shape (n_steps, n_labels, n)
        Entry [t, i] reduces over all paths through the steps before t that end in
        label i at step t - 1.
    """
    ops = keras.ops
    # All rows of the first step are equal, so any label may come before it. It is the
    # first one here.
    nothing = identity(x.shape[1], x.dtype)[:1, :, None]
    scores = ops.broadcast_to(nothing, (1, x.shape[1], ops.shape(x)[3]))
    for left, _, n_steps in reversed(levels):
        past_left = reduce(scores[:, :, None] + left, axis=1)
        scores = _interleave(scores, past_left)[:n_steps]
    return scores


def backward_scores(levels: list, end: Any, reduce: Any) -> Any:
    """Reduce over the paths that follow each step.

    Parameters
    ----------
    levels : list of tuple
        The levels that `product` returned.
    end : tensor of shape (n_labels, n)
        Score of each label at the last step.
    reduce : callable
        As in `product`.

    Returns
    -------
    tensor of shape (n_steps, n_labels, n)
        Entry [t, j] reduces over all paths through the steps after t that come from
        label j at step t.
    """
    scores = end[None]
    for _, right, n_steps in reversed(levels):
        from_right = reduce(right + scores[:, None], axis=2)
        scores = _interleave(from_right, scores)[:n_steps]
    return scores


def label_scores(x: Any, reduce: Any) -> Any:
    """Reduce over the paths through each label at each step (forward-backward).

    Parameters
    ----------
    x : tensor of shape (n_steps, n_labels, n_labels, n)
        Log-potentials.
    reduce : callable
        As in `product`.

    Returns
    -------
    tensor of shape (n_steps, n_labels, n)
        Scores, up to a constant for every chain and step.
    """
    _, levels = product(x, reduce, normalize=True)
    scores = forward_scores(levels, x, reduce)
    arriving = reduce(scores[:, :, None] + x, axis=1)
    return arriving + backward_scores(levels, keras.ops.zeros_like(scores[0]), reduce)


def _interleave(a: Any, b: Any) -> Any:
    """Return a[0], b[0], a[1], b[1], ..."""
    ops = keras.ops
    n_steps, n_labels, n = ops.shape(a)
    return ops.reshape(ops.stack([a, b], axis=1), (2 * n_steps, n_labels, n))
