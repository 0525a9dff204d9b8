"""A linear-chain conditional random field, in `keras.ops` alone."""

from typing import Any

from sklstm._keras import keras

from sklstm.networks.crf import _chain
from sklstm.networks.crf._checks import (
    check_labels,
    check_potentials,
    check_shape,
    is_real_step,
)


def shift_labels(potentials: Any, shift: Any) -> Any:
    """Add a constant to the score of each label, at every step of the chain.

    It biases a trained network towards labels, away from others.

    Parameters
    ----------
    potentials : tensor of shape (n, n_steps, n_labels, n_labels)
        Log-potentials that `LinearChainCRF` gives.
    shift : array-like of shape (n_labels,)
        What is added to each label's score. Masked steps stay as they are.

    Returns
    -------
    tensor of shape (n, n_steps, n_labels, n_labels)
        Log-potentials.

    Examples
    --------
    >>> from sklstm._keras import keras
    >>> from sklstm.networks import marginals, shift_labels
    >>> potentials = keras.ops.zeros((1, 3, 2, 2))
    >>> shifted = shift_labels(potentials, [0.0, 1.0])
    >>> marginals(shifted)[0, 0].numpy().round(3)
    array([0.269, 0.731], dtype=float32)
    """
    ops = keras.ops
    potentials = check_potentials(potentials)
    shift = ops.cast(shift, potentials.dtype)
    check_shape(
        "shift", shift, potentials.shape[-1:], "(n_labels,), one for each label"
    )
    return potentials + ops.where(is_real_step(potentials)[..., None, None], shift, 0.0)


def log_partition(potentials: Any) -> Any:
    """Return the log of the sum, over all paths, of the exponentials of their scores.

    Its gradient is the marginal probability of every pair of neighbouring labels.

    Parameters
    ----------
    potentials : tensor of shape (n, n_steps, n_labels, n_labels)
        Log-potentials that `LinearChainCRF` gives. Memory grows with ``n * n_steps *
        n_labels ** 3``.

    Returns
    -------
    tensor of shape (n,)
        Log-partition.

    Examples
    --------
    >>> from sklstm._keras import keras
    >>> from sklstm.networks import log_partition
    >>> log_partition(keras.ops.zeros((1, 3, 2, 2))).numpy().round(3)  # log(2 ** 3)
    array([2.079], dtype=float32)
    """
    total, _ = _chain.multiply(_steps_first(potentials), keras.ops.logsumexp)
    # Of the first step's rows, which are the same, any.
    return keras.ops.logsumexp(total[0], axis=0)


def path_score(potentials: Any, labels: Any) -> Any:
    """Return the score of a path: the sum of its log-potentials.

    Parameters
    ----------
    potentials : tensor of shape (n, n_steps, n_labels, n_labels)
        Log-potentials that `LinearChainCRF` gives.
    labels : tensor of int, shape (n, n_steps)
        The path, 0 to ``n_labels - 1``. At masked steps anything may stand.

    Returns
    -------
    tensor of shape (n,)
        Score. Inside a graph, NaN for a path with values that are no labels.

    Raises
    ------
    ValueError
        If the labels have another shape or, outside of a graph, values that are none.

    Examples
    --------
    >>> from sklstm._keras import keras
    >>> from sklstm.networks import path_score
    >>> path_score(keras.ops.ones((1, 3, 2, 2)), keras.ops.array([[0, 1, 1]])).numpy()
    array([3.], dtype=float32)
    """
    labels, right = check_labels(labels, potentials)
    return keras.ops.sum(_path_scores(potentials, labels), axis=1) * right


def log_likelihood(potentials: Any, labels: Any) -> Any:
    """Return the log-probability of a path.

    Parameters
    ----------
    potentials : tensor of shape (n, n_steps, n_labels, n_labels)
        Log-potentials that `LinearChainCRF` gives.
    labels : tensor of int, shape (n, n_steps)
        The path, 0 to ``n_labels - 1``. At masked steps anything may stand.

    Returns
    -------
    tensor of shape (n,)
        Log-likelihood, at most zero. Inside a graph, NaN for a path with values that
        are no labels.

    Raises
    ------
    ValueError
        If the labels have another shape or, outside of a graph, values that are none.

    Examples
    --------
    >>> from sklstm._keras import keras
    >>> from sklstm.networks import log_likelihood
    >>> labels = keras.ops.array([[0, 1, 1]])
    >>> log_likelihood(keras.ops.zeros((1, 3, 2, 2)), labels).numpy().round(3)
    array([-2.079], dtype=float32)
    """
    labels, right = check_labels(labels, potentials)
    return unchecked_log_likelihood(potentials, labels) * right


def unchecked_log_likelihood(potentials: Any, labels: Any) -> Any:
    # Relative to the path, step by step: the difference of two large sums would be
    # rounded to the precision of the sums.
    scores = _path_scores(potentials, labels)
    return -log_partition(potentials - scores[..., None, None])


def marginals(potentials: Any) -> Any:
    """Return the probability of every label at every step.

    Parameters
    ----------
    potentials : tensor of shape (n, n_steps, n_labels, n_labels)
        Log-potentials that `LinearChainCRF` gives.

    Returns
    -------
    tensor of shape (n, n_steps, n_labels)
        Probabilities that sum to one over the labels. A masked step has those of the
        last one before it.

    Examples
    --------
    >>> from sklstm._keras import keras
    >>> from sklstm.networks import LinearChainCRF, marginals
    >>> emissions = keras.ops.array([[[2.0, 0.0], [0.0, 1.0]]])
    >>> marginals(LinearChainCRF()(emissions))[0].numpy().round(3)
    array([[0.881, 0.119],
           [0.269, 0.731]], dtype=float32)
    """
    scores = _chain.through(_steps_first(potentials), keras.ops.logsumexp)
    return keras.ops.softmax(_batch_first(scores), axis=-1)


def max_marginals(potentials: Any) -> Any:
    """Return the score of the best path through every label at every step.

    The difference between two labels at a step says how much the best path of the chain
    loses if the one has to be the other there. The label with the highest is that of
    `viterbi`, unless paths are equally good.

    Parameters
    ----------
    potentials : tensor of shape (n, n_steps, n_labels, n_labels)
        Log-potentials that `LinearChainCRF` gives.

    Returns
    -------
    tensor of shape (n, n_steps, n_labels)
        Scores, rounded as that of the whole path is.

    Examples
    --------
    >>> from sklstm._keras import keras
    >>> from sklstm.networks import LinearChainCRF, max_marginals
    >>> emissions = keras.ops.array([[[2.0, 0.0], [0.0, 1.0]]])
    >>> max_marginals(LinearChainCRF()(emissions))[0].numpy()
    array([[3., 1.],
           [2., 3.]], dtype=float32)
    """
    ops = keras.ops
    x = _steps_first(potentials)
    scores = _chain.through(x, ops.max)
    total, _ = _chain.multiply(x, ops.max)
    best = ops.max(total[0], axis=0)
    return _batch_first(scores - ops.max(scores, axis=1, keepdims=True) + best)


def viterbi(potentials: Any) -> tuple[Any, Any]:
    """Return the best path and its score.

    Parameters
    ----------
    potentials : tensor of shape (n, n_steps, n_labels, n_labels)
        Log-potentials that `LinearChainCRF` gives.

    Returns
    -------
    labels : tensor of int32, shape (n, n_steps)
        The path; one of them, where several are best. A masked step has the label of
        the last one before it.
    score : tensor of shape (n,)
        Its `path_score`.

    Examples
    --------
    >>> from sklstm._keras import keras
    >>> from sklstm.networks import LinearChainCRF, viterbi
    >>> emissions = keras.ops.array([[[2.0, 0.0], [0.0, 1.0]]])
    >>> labels, score = viterbi(LinearChainCRF()(emissions))
    >>> labels.numpy(), score.numpy()
    (array([[0, 1]], dtype=int32), array([3.], dtype=float32))
    """
    ops = keras.ops
    x = _steps_first(potentials)
    _, levels = _chain.multiply(x, ops.max, scaled=True)
    arriving = _chain.before(levels, x, ops.max)[:, :, None] + x
    last = ops.argmax(ops.max(arriving[-1], axis=0), axis=0)
    # The way back is a chain, too, in which every label has one to come from. So of
    # equally good paths it is one, and not some steps of this and some of that.
    way = _only(ops.argmax(arriving, axis=1), x, axis=1)
    _, levels = _chain.multiply(way, ops.max)
    labels = _chain.after(levels, _only(last, x, axis=0), ops.max)
    labels = ops.cast(ops.transpose(ops.argmax(labels, axis=1)), "int32")
    return labels, keras.ops.sum(_path_scores(potentials, labels), axis=1)


def _path_scores(potentials: Any, labels: Any) -> Any:
    """Return (n, n_steps): a path's log-potential at every step."""
    ops = keras.ops
    potentials = ops.convert_to_tensor(potentials)
    now = ops.one_hot(labels, potentials.shape[-1], dtype=potentials.dtype)
    # At the first step all rows are the same.
    before = ops.concatenate([now[:, :1], now[:, :-1]], axis=1)
    chosen = before[..., :, None] * now[..., None, :]
    scores = ops.sum(potentials * chosen, axis=(2, 3))
    return ops.where(is_real_step(potentials), scores, 0.0)


def _steps_first(potentials: Any) -> Any:
    """Return (n_steps, n_labels, n_labels, n): pairs and sums are fastest so."""
    return keras.ops.transpose(check_potentials(potentials), (1, 2, 3, 0))


def _batch_first(x: Any) -> Any:
    return keras.ops.transpose(x, (2, 0, 1))


def _only(label: Any, x: Any, axis: int) -> Any:
    """Return, along a new axis of the labels, 0 for this label and NEVER for others."""
    other = 1 - keras.ops.one_hot(label, x.shape[1], axis=axis, dtype=x.dtype)
    return other * _chain.NEVER
