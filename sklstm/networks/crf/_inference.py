"""Inference in a linear-chain conditional random field, from its log-potentials."""

from typing import Any

from sklstm._keras import keras

from sklstm.networks.crf import _chain
from sklstm.networks.crf._checks import (
    check_labels,
    check_potentials,
    check_shape,
    unmasked_steps,
)


def path_score(potentials: Any, labels: Any) -> Any:
    """Return the score of a path: the sum of its log-potentials.

    Parameters
    ----------
    potentials : tensor of shape (n, n_steps, n_labels, n_labels)
        Log-potentials from `LinearChainCRF`.
    labels : tensor of int, shape (n, n_steps)
        Path of every chain, labels from 0 to ``n_labels - 1``. Labels at masked steps
        may have any value.

    Returns
    -------
    tensor of shape (n,)
        Scores. Inside a graph, on other backends than TensorFlow, the score of a path
        with invalid labels is NaN.

    Raises
    ------
    ValueError
        If the labels have a wrong shape or invalid values. Inside a graph of
        TensorFlow, invalid values raise `tensorflow.errors.InvalidArgumentError`.

    See Also
    --------
    log_likelihood : The log-probability of a path.

    Examples
    --------
    >>> import keras
    >>> from sklstm.networks import LinearChainCRF, path_score
    >>> emissions = keras.ops.array([[[2.0, 0.0], [0.0, 1.0]]])
    >>> path_score(LinearChainCRF()(emissions), keras.ops.array([[0, 1]])).numpy()
    array([3.], dtype=float32)
    """
    labels, one_or_nan = check_labels(labels, potentials)
    return keras.ops.sum(_path_scores(potentials, labels), axis=1) * one_or_nan


def log_partition(potentials: Any) -> Any:
    """Return the logarithm of the partition function.

    The partition function is the sum of ``exp(score)`` over all paths. It normalizes
    the probabilities: the log-probability of a path is its score minus the
    log-partition. The gradient of the log-partition with respect to the potentials is
    the marginal probability of every pair of neighbouring labels.

    Parameters
    ----------
    potentials : tensor of shape (n, n_steps, n_labels, n_labels)
        Log-potentials from `LinearChainCRF`.

    Returns
    -------
    tensor of shape (n,)
        Log-partition of every chain.

    Notes
    -----
    The memory grows with ``n * n_steps * n_labels ** 3``.

    Examples
    --------
    Two labels and three steps have eight paths, here of score 0.

    >>> import keras
    >>> from sklstm.networks import log_partition
    >>> log_partition(keras.ops.zeros((1, 3, 2, 2))).numpy().round(3)  # log(8)
    array([2.079], dtype=float32)
    """
    total, _ = _chain.product(_steps_first(potentials), keras.ops.logsumexp)
    # All rows of the first step are equal, and so are those of the product.
    return keras.ops.logsumexp(total[0], axis=0)


def log_likelihood(potentials: Any, labels: Any) -> Any:
    """Return the log-probability of a path.

    Parameters
    ----------
    potentials : tensor of shape (n, n_steps, n_labels, n_labels)
        Log-potentials from `LinearChainCRF`.
    labels : tensor of int, shape (n, n_steps)
        Path of every chain, labels from 0 to ``n_labels - 1``. Labels at masked steps
        may have any value.

    Returns
    -------
    tensor of shape (n,)
        Log-likelihoods, at most zero. Inside a graph, on other backends than
        TensorFlow, the log-likelihood of a path with invalid labels is NaN.

    Raises
    ------
    ValueError
        If the labels have a wrong shape or invalid values. Inside a graph of
        TensorFlow, invalid values raise `tensorflow.errors.InvalidArgumentError`.

    See Also
    --------
    CRFLoss : The negative log-likelihood per step, as a loss.

    Examples
    --------
    Two labels and three steps have eight paths, here of equal probability.

    >>> import keras
    >>> from sklstm.networks import log_likelihood
    >>> labels = keras.ops.array([[0, 1, 1]])
    >>> log_likelihood(keras.ops.zeros((1, 3, 2, 2)), labels).numpy().round(3)
    array([-2.079], dtype=float32)
    """
    labels, one_or_nan = check_labels(labels, potentials)
    return unchecked_log_likelihood(potentials, labels) * one_or_nan


def unchecked_log_likelihood(potentials: Any, labels: Any, masked: bool = True) -> Any:
    """Return what `log_likelihood` returns, for labels (int32) that need no check.

    With ``masked=False``, all steps count.
    """
    # The score of the path is subtracted step by step. The difference of the two sums
    # would be rounded to the precision of the sums, which can be large.
    scores = _path_scores(potentials, labels, masked)
    return -log_partition(potentials - scores[..., None, None])


def marginals(potentials: Any) -> Any:
    """Return the probability of every label at every step.

    This is the sum of the probabilities of all paths with that label at that step
    (forward-backward algorithm).

    Parameters
    ----------
    potentials : tensor of shape (n, n_steps, n_labels, n_labels)
        Log-potentials from `LinearChainCRF`.

    Returns
    -------
    tensor of shape (n, n_steps, n_labels)
        Probabilities that sum to one over the labels. A masked step has the
        probabilities of the last unmasked step before it.

    See Also
    --------
    viterbi : The most probable path.

    Examples
    --------
    >>> import keras
    >>> from sklstm.networks import LinearChainCRF, marginals
    >>> emissions = keras.ops.array([[[2.0, 0.0], [0.0, 1.0]]])
    >>> marginals(LinearChainCRF()(emissions))[0].numpy().round(3)
    array([[0.881, 0.119],
           [0.269, 0.731]], dtype=float32)
    """
    scores = _chain.label_scores(_steps_first(potentials), keras.ops.logsumexp)
    return keras.ops.softmax(_batch_first(scores), axis=-1)


def max_marginals(potentials: Any) -> Any:
    """Return the score of the best path through every label at every step.

    The difference between two labels at a step is the score that the best path loses
    if it has to take the one label instead of the other. It measures how safe a
    decision of `viterbi` is. `viterbi` chooses the label with the highest score, unless
    several paths are equally good.

    Parameters
    ----------
    potentials : tensor of shape (n, n_steps, n_labels, n_labels)
        Log-potentials from `LinearChainCRF`.

    Returns
    -------
    tensor of shape (n, n_steps, n_labels)
        Scores. They are rounded to the precision of the score of the whole path.

    See Also
    --------
    viterbi : The best path itself.

    Examples
    --------
    >>> import keras
    >>> from sklstm.networks import LinearChainCRF, max_marginals
    >>> emissions = keras.ops.array([[[2.0, 0.0], [0.0, 1.0]]])
    >>> max_marginals(LinearChainCRF()(emissions))[0].numpy()
    array([[3., 1.],
           [2., 3.]], dtype=float32)
    """
    ops = keras.ops
    x = _steps_first(potentials)
    scores = _chain.label_scores(x, ops.max)
    total, _ = _chain.product(x, ops.max)
    best = ops.max(total[0], axis=0)
    return _batch_first(scores - ops.max(scores, axis=1, keepdims=True) + best)


def viterbi(potentials: Any) -> tuple[Any, Any]:
    """Return the best path and its score.

    The best path has the highest score and the highest probability.

    Parameters
    ----------
    potentials : tensor of shape (n, n_steps, n_labels, n_labels)
        Log-potentials from `LinearChainCRF`.

    Returns
    -------
    labels : tensor of int32, shape (n, n_steps)
        Best path of every chain. If several paths are equally good, it is one of them.
        A masked step has the label of the last unmasked step before it.
    score : tensor of shape (n,)
        Score of the path, as `path_score` returns it.

    See Also
    --------
    marginals : The probability of each label at each step.
    max_marginals : How much the score drops if a step takes another label.

    Notes
    -----
    The function finds the path of Viterbi's algorithm (Viterbi, 1967), but not in his
    loop over the steps; see `LinearChainCRF`.

    References
    ----------
    Viterbi, A. (1967). Error bounds for convolutional codes and an asymptotically
    optimum decoding algorithm. IEEE Transactions on Information Theory 13.

    Examples
    --------
    >>> import keras
    >>> from sklstm.networks import LinearChainCRF, viterbi
    >>> emissions = keras.ops.array([[[2.0, 0.0], [0.0, 1.0]]])
    >>> labels, score = viterbi(LinearChainCRF()(emissions))
    >>> labels.numpy(), score.numpy()
    (array([[0, 1]], dtype=int32), array([3.], dtype=float32))
    """
    ops = keras.ops
    x = _steps_first(potentials)
    _, levels = _chain.product(x, ops.max, normalize=True)
    arriving = _chain.forward_scores(levels, x, ops.max)[:, :, None] + x
    last = ops.argmax(ops.max(arriving[-1], axis=0), axis=0)
    # Backtracking is a chain, too: each label has one best label before it. So the
    # labels of all steps belong to one path, even if several are equally good.
    backtrack = _only(ops.argmax(arriving, axis=1), x, axis=1)
    _, levels = _chain.product(backtrack, ops.max)
    labels = _chain.backward_scores(levels, _only(last, x, axis=0), ops.max)
    labels = ops.cast(ops.transpose(ops.argmax(labels, axis=1)), "int32")
    return labels, keras.ops.sum(_path_scores(potentials, labels), axis=1)


def shift_labels(potentials: Any, shift: Any) -> Any:
    """Add a constant to the score of each label, at every step of the chain.

    The shift makes a trained network choose some labels more often and others less
    often, for example to move a decision threshold.

    Parameters
    ----------
    potentials : tensor of shape (n, n_steps, n_labels, n_labels)
        Log-potentials from `LinearChainCRF`.
    shift : array-like of shape (n_labels,)
        Number to add to the score of each label. Masked steps do not change.

    Returns
    -------
    tensor of shape (n, n_steps, n_labels, n_labels)
        Log-potentials.

    Raises
    ------
    ValueError
        If `shift` does not have one number for each label.

    Examples
    --------
    >>> import keras
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
    unmasked = unmasked_steps(potentials)[..., None, None]
    return potentials + ops.where(unmasked, shift, 0.0)


def _path_scores(potentials: Any, labels: Any, masked: bool = True) -> Any:
    """Return (n, n_steps): the log-potential of a path at every step."""
    ops = keras.ops
    potentials = ops.convert_to_tensor(potentials)
    now = ops.one_hot(labels, potentials.shape[-1], dtype=potentials.dtype)
    # All rows of the first step are equal, so any label may come before it.
    before = ops.concatenate([now[:, :1], now[:, :-1]], axis=1)
    chosen = before[..., :, None] * now[..., None, :]
    scores = ops.sum(potentials * chosen, axis=(2, 3))
    return ops.where(unmasked_steps(potentials), scores, 0.0) if masked else scores


def _steps_first(potentials: Any) -> Any:
    """Return (n_steps, n_labels, n_labels, n), the order of axes in `_chain`."""
    return keras.ops.transpose(check_potentials(potentials), (1, 2, 3, 0))


def _batch_first(x: Any) -> Any:
    return keras.ops.transpose(x, (2, 0, 1))


def _only(label: Any, x: Any, axis: int) -> Any:
    """Return scores, along a new axis of the labels, that allow one label only."""
    other = 1 - keras.ops.one_hot(label, x.shape[1], axis=axis, dtype=x.dtype)
    return other * _chain.IMPOSSIBLE
