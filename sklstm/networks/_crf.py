"""A linear-chain conditional random field, in `keras.ops` alone."""

from typing import Any

from sklstm._keras import keras

from sklstm.networks import _chain


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
    to know them. A chain without any step is left uniform over the labels. Where a
    TensorFlow graph is made without knowing n_steps, it may be at most 65,536.

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
        if mask is None:
            mask = ops.ones(ops.shape(emissions)[:2], "bool")
        going_on = ops.concatenate([mask[:, 1:], ops.zeros_like(mask[:, :1])], axis=1)
        last = ops.logical_and(mask, ops.logical_not(going_on))
        first = (ops.arange(ops.shape(emissions)[1]) == 0)[:, None, None]
        start, transitions, end = map(
            ops.convert_to_tensor, (self.start, self.transitions, self.end)
        )
        scores = emissions + ops.where(last[..., None], end, 0.0)
        scores = scores[:, :, None] + ops.where(first, start, transitions)
        staying = ops.where(first, 0.0, _chain.identity(emissions.shape[-1], "float32"))
        return ops.where(mask[..., None, None], scores, staying)

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
        super().__init__(name=name, **kwargs)

    def call(self, y_true: Any, y_pred: Any) -> Any:
        """Return the loss of every chain.

        Parameters
        ----------
        y_true : tensor of int, shape (n, n_steps)
            Labels; a float dtype is cast. Labels at masked steps do not count.
        y_pred : tensor of shape (n, n_steps, n_labels, n_labels)
            Log-potentials that `LinearChainCRF` gives.

        Returns
        -------
        tensor of shape (n,)
            In nats a step.
        """
        ops = keras.ops
        n_steps = ops.sum(ops.cast(_is_real(y_pred), y_pred.dtype), axis=1)
        return -log_likelihood(y_pred, y_true) / n_steps


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
    potentials = ops.convert_to_tensor(potentials)
    shift = ops.cast(shift, potentials.dtype)
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
        Score.

    Examples
    --------
    >>> from sklstm._keras import keras
    >>> from sklstm.networks import path_score
    >>> path_score(keras.ops.ones((1, 3, 2, 2)), keras.ops.array([[0, 1, 1]])).numpy()
    array([3.], dtype=float32)
    """
    return keras.ops.sum(_path_scores(potentials, labels), axis=1)


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
        Log-likelihood, at most zero.

    Examples
    --------
    >>> from sklstm._keras import keras
    >>> from sklstm.networks import log_likelihood
    >>> labels = keras.ops.array([[0, 1, 1]])
    >>> log_likelihood(keras.ops.zeros((1, 3, 2, 2)), labels).numpy().round(3)
    array([-2.079], dtype=float32)
    """
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
    return labels, path_score(potentials, labels)


def _is_real(potentials: Any) -> Any:
    """Return (n, n_steps), True where the mask of the layer was."""
    return potentials[..., 0, -1] > _chain.NEVER / 2


def _path_scores(potentials: Any, labels: Any) -> Any:
    """Return (n, n_steps): a path's log-potential at every step."""
    ops = keras.ops
    potentials = ops.convert_to_tensor(potentials)
    now = ops.one_hot(
        ops.cast(labels, "int32"), potentials.shape[-1], dtype=potentials.dtype
    )
    # At the first step all rows are the same.
    before = ops.concatenate([now[:, :1], now[:, :-1]], axis=1)
    chosen = before[..., :, None] * now[..., None, :]
    scores = ops.sum(potentials * chosen, axis=(2, 3))
    return ops.where(_is_real(potentials), scores, 0.0)


def _steps_first(potentials: Any) -> Any:
    """Return (n_steps, n_labels, n_labels, n): pairs and sums are fastest so."""
    return keras.ops.transpose(potentials, (1, 2, 3, 0))


def _batch_first(x: Any) -> Any:
    return keras.ops.transpose(x, (2, 0, 1))


def _only(label: Any, x: Any, axis: int) -> Any:
    """Return, along a new axis of the labels, 0 for this label and NEVER for others."""
    other = 1 - keras.ops.one_hot(label, x.shape[1], axis=axis, dtype=x.dtype)
    return other * _chain.NEVER
