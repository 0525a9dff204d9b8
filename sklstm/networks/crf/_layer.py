"""The layer of a linear-chain conditional random field."""

from typing import Any

from sklstm._keras import keras

from sklstm.networks.crf import _chain
from sklstm.networks.crf._checks import check_mask, one_or_nan


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
            filled = one_or_nan(check_mask(mask), "float32")
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
