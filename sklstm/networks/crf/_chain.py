"""Sums and maxima over all paths of a chain, without a loop over its steps.

A chain is its log-potentials, one (n_labels, n_labels) matrix a step. What all paths
sum to is the product of these matrices, with logsumexp (or max) in the place of
addition and addition in that of multiplication. The product is associative: neighbours
are multiplied pair by pair, then these products, until one is left (Blelloch, 1990;
Hassan, Särkkä and García-Fernández, 2021). So a chain takes ``log2(n_steps)``
operations on whole tensors, and a sum over thousands of steps is rounded a dozen times.

Here the steps come first and the batch last, (n_steps, n_labels, n_labels, n): with the
labels last it would take three times as long on the CPU.
"""

from typing import Any

from sklstm._keras import keras

import numpy as np

# Log-potential of what cannot be: far below any score, and sums of it stay finite.
NEVER = -1e9
# Levels of pairs where the number of steps is not known when the graph is made: enough
# for 65,536 steps. Those that are not needed cost little.
_MOST_LEVELS = 16


def identity(n_labels: int, dtype: Any) -> Any:
    """Return the log-potentials of a step at which every label stays, at no cost."""
    stays = np.eye(n_labels, dtype="bool")
    return keras.ops.cast(np.where(stays, 0.0, NEVER), dtype)


def multiply(x: Any, add: Any, scaled: bool = False) -> tuple[Any, list]:
    """Multiply a chain's matrices over the steps.

    Returns the product (n_labels, n_labels, n) and the levels on the way to it: the
    left and the right of every pair, and how many steps they were. `scaled` takes the
    largest entry of every product off it, so that what follows is not rounded for the
    sake of what all labels have in common.
    """
    ops = keras.ops
    n_labels, n = x.shape[1], ops.shape(x)[3]
    filling = identity(n_labels, x.dtype)[None, :, :, None]
    n_levels = _MOST_LEVELS if x.shape[0] is None else (x.shape[0] - 1).bit_length()
    levels = []
    for _ in range(n_levels):
        n_steps = ops.shape(x)[0]
        odd = n_steps % 2
        x = ops.concatenate(
            [x, ops.broadcast_to(filling, (odd, n_labels, n_labels, n))]
        )
        pairs = ops.reshape(x, ((n_steps + odd) // 2, 2, n_labels, n_labels, n))
        left, right = ops.unstack(pairs, 2, axis=1)
        levels.append((left, right, n_steps))
        x = add(left[:, :, :, None] + right[:, None], axis=2)
        if scaled:
            x = x - ops.max(x, axis=(1, 2), keepdims=True)
    # Fails where the steps were more than the levels can hold.
    return ops.reshape(x, (n_labels, n_labels, n)), levels


def before(levels: list, x: Any, add: Any) -> Any:
    """Return (n_steps, n_labels, n): what the paths before each step sum to.

    The label is that of the step before.
    """
    ops = keras.ops
    # Before the first step, whose rows are all the same, let there be the first label.
    nothing = identity(x.shape[1], x.dtype)[:1, :, None]
    scores = ops.broadcast_to(nothing, (1, x.shape[1], ops.shape(x)[3]))
    for left, _, n_steps in reversed(levels):
        past_left = add(scores[:, :, None] + left, axis=1)
        scores = _interleave(scores, past_left)[:n_steps]
    return scores


def after(levels: list, end: Any, add: Any) -> Any:
    """Return (n_steps, n_labels, n): what the paths after each step sum to.

    `end` (n_labels, n) is the score of each label at the last step.
    """
    scores = end[None]
    for _, right, n_steps in reversed(levels):
        from_right = add(right + scores[:, None], axis=2)
        scores = _interleave(from_right, scores)[:n_steps]
    return scores


def through(x: Any, add: Any) -> Any:
    """Return (n_steps, n_labels, n): what the paths through each label sum to.

    Right but for a constant of every chain and step.
    """
    _, levels = multiply(x, add, scaled=True)
    scores = before(levels, x, add)
    arriving = add(scores[:, :, None] + x, axis=1)
    return arriving + after(levels, keras.ops.zeros_like(scores[0]), add)


def _interleave(a: Any, b: Any) -> Any:
    """Return a[0], b[0], a[1], b[1], ..."""
    ops = keras.ops
    n_steps, n_labels, n = ops.shape(a)
    return ops.reshape(ops.stack([a, b], axis=1), (2 * n_steps, n_labels, n))
