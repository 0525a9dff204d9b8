"""A linear-chain conditional random field, in `keras.ops` alone."""

from typing import Any

from sklstm._keras import keras

import numpy as np

from sklstm.networks.crf import _chain
from sklstm.networks.crf._label_checks import (
    check_shape,
    known_shape,
    known_values,
    one_or_nan,
)


@keras.saving.register_keras_serializable("sklstm")
class LinearChainCRF(keras.layers.Layer):
    """Conditional random field over the steps: from label scores to log-potentials.

    Takes (n, n_steps, n_labels), any real numbers (a `keras.layers.Dense` without
    activation gives them). Gives (n, n_steps, n_labels, n_labels): entry [.., t, i, j]
    is the score of label j at step t after label i at step t - 1, that is, j's score at
    t plus that of the transition from i to j. At the first step all rows are the same,
    j's score plus that of starting with j; at the last, that of ending with j is added.
    The probability of a path, one label a step, is the softmax over all paths of the
    sum of its entries (Lafferty et al., 2001). `log_likelihood`, `marginals`,
    `viterbi` and `max_marginals` compute from these potentials, and `CRFLoss` trains.

    The scores of transitions, starts and ends are learned and start at zero: before
    training, the steps are independent of each other. Everything is in float32,
    whatever the dtype policy.

    Chains of different lengths are filled up at the right and masked. At steps that the
    mask leaves out the label stays what it was, at no cost; the functions need no mask
    to know them. A chain without any step is left uniform over the labels. A mask that
    leaves out a step before one that counts is an error; inside a graph, where none can
    be raised, the potentials of that chain are NaN. Where a TensorFlow graph is made
    without knowing n_steps, it may be at most 65,536.

    Parameters
    ----------
    **kwargs
        Passed on to `keras.layers.Layer`.

    References
    ----------
    Lafferty, J., McCallum, A. and Pereira, F. (2001). Conditional random fields:
    probabilistic models for segmenting and labeling sequence data. ICML.

    Examples
    --------
    >>> from sklstm._keras import keras
    >>> from sklstm.networks import CRFLoss, LinearChainCRF, viterbi
    >>> inputs = keras.Input((28, 28))
    >>> x = keras.layers.LSTM(8, return_sequences=True)(inputs)
    >>> model = keras.Model(inputs, LinearChainCRF()(keras.layers.Dense(2)(x)))
    >>> model.compile("adam", CRFLoss())
    >>> model.output_shape
    (None, 28, 2, 2)
    >>> labels, score = viterbi(model(keras.ops.ones((1, 28, 28))))
    >>> tuple(labels.shape)
    (1, 28)
    """

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**{**kwargs, "dtype": "float32"})

    def build(self, emissions_shape: tuple) -> None:
        if len(emissions_shape) != 3 or (emissions_shape[-1] or 0) < 2:
            raise ValueError(
                f"emissions of shape {tuple(emissions_shape)} must be (n, n_steps, "
                "n_labels), with at least two labels."
            )
        n_labels = emissions_shape[-1]
        self.transitions = self.add_weight(
            shape=(n_labels, n_labels), initializer="zeros", name="transitions"
        )
        self.start = self.add_weight(
            shape=(n_labels,), initializer="zeros", name="start"
        )
        self.end = self.add_weight(shape=(n_labels,), initializer="zeros", name="end")

    def call(self, emissions: Any, mask: Any = None) -> Any:
        ops = keras.ops
        filled = 1.0
        if mask is None:
            mask = ops.ones(ops.shape(emissions)[:2], "bool")
        else:
            mask = ops.cast(mask, "bool")
            filled = one_or_nan(_filled_at_the_right(mask), "float32")
            filled = filled[:, None, None, None]
        going_on = ops.concatenate([mask[:, 1:], ops.zeros_like(mask[:, :1])], axis=1)
        last = ops.logical_and(mask, ops.logical_not(going_on))
        first = (ops.arange(ops.shape(emissions)[1]) == 0)[:, None, None]
        start, transitions, end = map(
            ops.convert_to_tensor, (self.start, self.transitions, self.end)
        )
        scores = emissions + ops.where(last[..., None], end, 0.0)
        scores = scores[:, :, None] + ops.where(first, start, transitions)
        staying = ops.where(first, 0.0, _chain.identity(emissions.shape[-1], "float32"))
        return ops.where(mask[..., None, None], scores, staying) * filled

    def compute_mask(self, emissions: Any, mask: Any = None) -> None:
        # It ends here: it is in the potentials, and Keras would weight the loss by it.
        return None

    def compute_output_shape(self, emissions_shape: tuple) -> tuple:
        return (*emissions_shape, emissions_shape[-1])


@keras.saving.register_keras_serializable("sklstm")
class CRFLoss(keras.losses.Loss):
    """Negative log-likelihood of a chain's labels, divided by its number of steps.

    So it can be compared with a mean cross-entropy, which it equals where all scores of
    transitions, starts and ends are zero. One number a chain: sample weights are (n,).

    Labels are 0 to ``n_labels - 1``. Any other is an error; inside a graph, where none
    can be raised, the loss of its chain is NaN.

    Parameters
    ----------
    name : str
        Name of the loss.
    **kwargs
        Passed on to `keras.losses.Loss`.

    Examples
    --------
    >>> from sklstm._keras import keras
    >>> from sklstm.networks import CRFLoss
    >>> potentials = keras.ops.zeros((1, 3, 2, 2))  # two labels, all paths alike
    >>> round(float(CRFLoss()(keras.ops.array([[0, 1, 1]]), potentials)), 3)
    0.693
    """

    def __init__(self, name: str = "crf_loss", **kwargs: Any) -> None:
        super().__init__(name=name, **{"dtype": "float32", **kwargs})

    def call(self, y_true: Any, y_pred: Any) -> Any:
        """Return the loss of every chain.

        Parameters
        ----------
        y_true : tensor of int, shape (n, n_steps)
            Labels, 0 to ``n_labels - 1``; whole numbers of a float dtype and bool are
            taken as well. Labels at masked steps do not count.
        y_pred : tensor of shape (n, n_steps, n_labels, n_labels)
            Log-potentials that `LinearChainCRF` gives.

        Returns
        -------
        tensor of shape (n,)
            In nats a step.

        Raises
        ------
        ValueError
            If the labels have another shape, or values that are no labels.
        """
        labels, right = _checked_labels(y_true, y_pred)
        return chain_losses(y_pred, labels) * right


def chain_losses(potentials: Any, labels: Any) -> Any:
    """Return what `CRFLoss` gives for labels, int32, that are known to be right."""
    ops = keras.ops
    n_steps = ops.sum(ops.cast(_is_real(potentials), potentials.dtype), axis=1)
    return -_log_likelihood(potentials, labels) / n_steps


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
    potentials = _checked_potentials(potentials)
    shift = ops.cast(shift, potentials.dtype)
    check_shape(
        "shift", shift, potentials.shape[-1:], "(n_labels,), one for each label"
    )
    return potentials + ops.where(_is_real(potentials)[..., None, None], shift, 0.0)


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
    labels, right = _checked_labels(labels, potentials)
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
    labels, right = _checked_labels(labels, potentials)
    return _log_likelihood(potentials, labels) * right


def _log_likelihood(potentials: Any, labels: Any) -> Any:
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


def _is_real(potentials: Any) -> Any:
    """Return (n, n_steps), True where the mask of the layer was."""
    return potentials[..., 0, -1] > _chain.NEVER / 2


def _checked_potentials(potentials: Any) -> Any:
    potentials = keras.ops.convert_to_tensor(potentials)
    shape = known_shape(potentials)
    n_labels = shape[-1] if shape else None
    check_shape(
        "potentials",
        potentials,
        (None, None, n_labels, n_labels),
        "(n, n_steps, n_labels, n_labels), as LinearChainCRF gives them",
    )
    return potentials


def _filled_at_the_right(mask: Any) -> Any:
    """Return (n,): whether no step of a chain counts after one that does not."""
    ops = keras.ops
    right = ops.all(ops.logical_or(mask[:, :-1], ops.logical_not(mask[:, 1:])), axis=1)
    known = known_values(right)
    if known is not None and not known.all():
        raise ValueError(
            f"mask leaves out steps of chain {known.argmin()} before others that "
            "count: chains are filled up at the right, for example by "
            "keras.utils.pad_sequences(..., padding='post')."
        )
    return right


def _checked_labels(labels: Any, potentials: Any) -> tuple[Any, Any]:
    """Return labels as int32, and (n,): 1, or NaN where a chain's are no labels."""
    ops = keras.ops
    potentials = _checked_potentials(potentials)
    n_labels = potentials.shape[-1]
    values = known_values(labels)
    if values is not None and values.dtype.kind not in "buif":
        raise ValueError(
            f"labels are {values.dtype}, but must be whole numbers from 0 to "
            f"{n_labels - 1}: number the classes."
        )
    # float32 holds all numbers of labels. Of larger ones no two need be told apart, but
    # as int32 they might become small.
    y = ops.cast(labels if values is None else values.astype("float32"), "float32")
    check_shape(
        "labels",
        y,
        potentials.shape[:2],
        f"(n, n_steps), a number for each step, here {tuple(potentials.shape[:2])}",
    )
    is_label = ops.logical_and(y >= 0, y < n_labels)
    is_label = ops.logical_and(is_label, ops.equal(y, ops.round(y)))
    fine = ops.logical_or(is_label, ops.logical_not(_counts(potentials)))
    wrong = known_values(ops.logical_not(fine))
    if values is not None and wrong is not None and wrong.any():
        found = ", ".join(map(str, np.unique(values[wrong])[:4].tolist()))
        raise ValueError(
            f"labels hold {found}, but the potentials are of {n_labels} labels: they "
            f"must be whole numbers from 0 to {n_labels - 1} at all steps that the "
            "mask does not leave out."
        )
    y = ops.where(is_label, y, 0.0)  # not every backend takes others, to ignore them
    right = one_or_nan(
        ops.all(fine, axis=1),
        potentials.dtype,
        f"labels must be whole numbers from 0 to {n_labels - 1} at all steps that the "
        "mask does not leave out.",
    )
    return ops.cast(y, "int32"), right


def _counts(potentials: Any) -> Any:
    """Return (n, n_steps): whether a step's label counts.

    As `_is_real`, but that a chain without any step has not one either.
    """
    ops = keras.ops
    real = _is_real(potentials)
    silent = ops.all(ops.equal(potentials[:, 0], 0.0), axis=(1, 2))
    alone = ops.logical_not(ops.any(real[:, 1:], axis=1))
    none = ops.logical_and(silent, alone)[:, None]
    first = ops.logical_and(real[:, :1], ops.logical_not(none))
    return ops.concatenate([first, real[:, 1:]], axis=1)


def _path_scores(potentials: Any, labels: Any) -> Any:
    """Return (n, n_steps): a path's log-potential at every step."""
    ops = keras.ops
    potentials = ops.convert_to_tensor(potentials)
    now = ops.one_hot(labels, potentials.shape[-1], dtype=potentials.dtype)
    # At the first step all rows are the same.
    before = ops.concatenate([now[:, :1], now[:, :-1]], axis=1)
    chosen = before[..., :, None] * now[..., None, :]
    scores = ops.sum(potentials * chosen, axis=(2, 3))
    return ops.where(_is_real(potentials), scores, 0.0)


def _steps_first(potentials: Any) -> Any:
    """Return (n_steps, n_labels, n_labels, n): pairs and sums are fastest so."""
    return keras.ops.transpose(_checked_potentials(potentials), (1, 2, 3, 0))


def _batch_first(x: Any) -> Any:
    return keras.ops.transpose(x, (2, 0, 1))


def _only(label: Any, x: Any, axis: int) -> Any:
    """Return, along a new axis of the labels, 0 for this label and NEVER for others."""
    other = 1 - keras.ops.one_hot(label, x.shape[1], axis=axis, dtype=x.dtype)
    return other * _chain.NEVER
