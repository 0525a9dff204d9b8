"""What follows the network of a detector, as operators of TensorFlow.

The functions compute what `WindowOutputs` and `MeanWindowOutputs` compute in NumPy.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import tensorflow as tf

from sklstm.exporting._plan import WindowGrid
from sklstm.images._resize import weights_of_pixels
from sklstm.networks import split_outputs, split_pixels

# Log-odds beyond this limit are cut off where they become probabilities.
_MOST_ODDS = 60.0
# Number of the windows of an image that its score is averaged over.
_N_HIGHEST = 2


@tf.autograph.experimental.do_not_convert  # it would take seconds
def pixel_outputs(members: list[Any], windows: WindowGrid) -> dict[str, Any]:
    """Return what an exported detector returns.

    Parameters
    ----------
    members : list of tensor of shape (n, down, across, n_channels)
        Outputs of each network of an ensemble, or of the only network.
    windows : WindowGrid
        The windows.

    Returns
    -------
    dict
        "probabilities" (n, height, width), float32; "masks" (n, height, width), bool;
        "scores" (n,), float32.
    """
    log_odds = [_log_odds(one, windows) for one in members]
    highest = tf.reshape(_mean_log_odds(log_odds), (-1, math.prod(windows.grid)))
    best = tf.math.top_k(highest, min(_N_HIGHEST, math.prod(windows.grid))).values
    scores = tf.reduce_mean(best, axis=1)
    found = [_probabilities(odds) for odds in log_odds]
    if windows.sides is not None:
        matrices = (
            weights_of_pixels(n, len(lines))
            for n, lines in zip(
                windows.grid, (windows.rows, windows.columns), strict=True
            )
        )
        rows, columns = (matrix.astype("float32") for matrix in matrices)
        found = [
            tf.sqrt(
                _probabilities(split_pixels(one, windows.sides))
                * _enlarge(p, rows, columns)
            )
            for one, p in zip(members, found, strict=True)
        ]
        probabilities = _mean(found)
        # As NumPy compares float32 with a Python float.
        masks = probabilities >= np.float32(windows.threshold)
    else:
        # A pixel that several windows hold gets their mean.
        rows, columns = (
            lines / np.maximum(lines.sum(axis=1, keepdims=True), 1)
            for lines in (windows.rows, windows.columns)
        )
        probabilities = _enlarge(_mean(found), rows, columns)
        margins = _mean([_margins(one, windows) for one in members])
        votes = tf.clip_by_value(margins, -1.0, 1.0)
        # A sum of whole numbers is not rounded, so equal votes cancel out.
        masks = _enlarge(votes, windows.rows, windows.columns) > 0
    return {"probabilities": probabilities, "masks": masks, "scores": scores}


def _log_odds(outputs: Any, windows: WindowGrid) -> Any:
    """Return the log-odds (n, down, across) of a defect in each window."""

    def log_marginals(potentials: Any) -> Any:
        scores = _label_scores(potentials, _logsumexp)
        return tf.math.log(tf.nn.softmax(scores) + 1e-12)

    return _on_grid(outputs, windows, log_marginals)


def _margins(outputs: Any, windows: WindowGrid) -> Any:
    """Return the margins (n, down, across) of the decisions at the threshold."""
    shift = np.float32(-math.log(windows.threshold / (1 - windows.threshold)))

    def best(potentials: Any) -> Any:
        added = np.array([0, shift], np.float32)
        return _label_scores(potentials + added, _max)

    return _on_grid(outputs, windows, best, shift)


def _on_grid(
    outputs: Any,
    windows: WindowGrid,
    decode: Callable[[Any], Any],
    shift: float | np.float32 = 0.0,
) -> Any:
    """Return label 1 minus label 0 of what `decode` finds, on the grid of windows.

    Without a CRF, `shift` is added to the scores of the windows.
    """
    n_pixels = 0 if windows.sides is None else math.prod(windows.sides)
    score, chains = split_outputs(outputs, windows.grid, n_pixels)
    if not chains:
        return score + shift
    down, across = windows.grid
    found = []
    for axis, labels in _decoded(chains, decode).items():
        lines = labels[..., 1] - labels[..., 0]
        if axis == "rows":
            found.append(tf.reshape(lines, (-1, down, across)))
        else:
            lines = tf.reshape(lines, (-1, across, down))
            found.append(tf.transpose(lines, (0, 2, 1)))
    return _mean(found)


def _decoded(chains: dict[str, Any], decode: Callable[[Any], Any]) -> dict[str, Any]:
    """Decode the chains of each axis. Those of equal lengths are decoded together."""
    if len({potentials.shape[1] for potentials in chains.values()}) > 1:
        return {axis: decode(potentials) for axis, potentials in chains.items()}
    together = decode(tf.concat(list(chains.values()), axis=0))
    parts = tf.split(together, len(chains), axis=0)
    return dict(zip(chains, parts, strict=True))


def _label_scores(potentials: Any, reduce: Callable[..., Any]) -> Any:
    """Reduce over the paths through each label, (n_lines, n_steps, n_labels).

    The scores are right up to a constant for every chain and step. `_chain` computes
    the same. Here the number of steps is known and there is no gradient, and both
    directions are computed together, in a fourth of the operators.
    """
    x = tf.transpose(potentials, (1, 2, 3, 0))
    first, later = x[0, 0], x[1:]  # all rows of the first step are equal
    # Backwards, the chain is read from its end and its matrices are transposed.
    back = tf.transpose(later[::-1], (0, 2, 1, 3))
    start = tf.concat([first, tf.zeros_like(first)], axis=-1)
    found = _walk(start[None], tf.concat([later, back], axis=-1), reduce)
    forward, backward = tf.split(found, 2, axis=-1)
    return tf.transpose(forward + backward[::-1], (2, 0, 1))


def _walk(start: Any, x: Any, reduce: Callable[..., Any]) -> Any:
    """Multiply a vector with one matrix after another, and return all products.

    Neighbouring matrices are multiplied first. Their products lead to every second
    vector, and these to the vectors between.

    Parameters
    ----------
    start : tensor of shape (1, n_labels, n)
        Scores of the labels before the first step.
    x : tensor of shape (n_steps, n_labels, n_labels, n)
        Log-potentials.
    reduce : callable
        ``reduce(x, axis)``, as in `_label_scores`.

    Returns
    -------
    tensor of shape (n_steps + 1, n_labels, n)
        `start` and the scores after each step.
    """
    n_steps, n_labels = x.shape[:2]
    if n_steps == 0:
        return start
    every_second = start
    if n_steps > 1:
        left, right = x[: n_steps - 1 : 2], x[1::2]
        pairs = reduce(left[:, :, :, None] + right[:, None], 2)
        # Scores that all labels share would cost precision.
        pairs -= tf.reduce_max(pairs, (1, 2), keepdims=True)
        every_second = _walk(start, pairs, reduce)
    n_between = (n_steps + 1) // 2
    before = every_second[:n_between]
    between = reduce(before[:, :, None] + x[::2], 1)
    both = tf.reshape(tf.stack([before, between], 1), (2 * n_between, n_labels, -1))
    if n_steps % 2:
        return both
    return tf.concat([both, every_second[n_between:]], axis=0)


def _logsumexp(x: Any, axis: int) -> Any:
    # That of Keras also treats infinite values, in twice as many operators.
    best = tf.reduce_max(x, axis, keepdims=True)
    total = best + tf.math.log(tf.reduce_sum(tf.exp(x - best), axis, keepdims=True))
    return tf.squeeze(total, axis)


def _max(x: Any, axis: int) -> Any:
    return tf.reduce_max(x, axis)


def _probabilities(log_odds: Any) -> Any:
    # onnxruntime's Sigmoid is never below 1.5e-8, whose square root counts.
    return 1 / (1 + tf.exp(-tf.clip_by_value(log_odds, -_MOST_ODDS, _MOST_ODDS)))


def _mean_log_odds(members: list[Any]) -> Any:
    """Return the log-odds of the mean probability."""
    if len(members) == 1:
        return members[0]
    for_, against = (
        tf.math.log(_mean([_probabilities(sign * odds) for odds in members]))
        for sign in (1.0, -1.0)
    )
    return for_ - against


def _mean(parts: list[Any]) -> Any:
    return parts[0] if len(parts) == 1 else tf.add_n(parts) / len(parts)


def _enlarge(values: Any, rows: np.ndarray, columns: np.ndarray) -> Any:
    """Return (n, height, width) from (n, down, across), by a product for each axis."""
    (height, _), (width, across) = rows.shape, columns.shape
    x = tf.matmul(tf.constant(rows)[None], values)
    x = tf.matmul(tf.reshape(x, (-1, across)), tf.constant(columns.T))
    return tf.reshape(x, (-1, height, width))
