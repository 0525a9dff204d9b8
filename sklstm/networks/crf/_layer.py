"""The layer of a linear-chain conditional random field."""

from typing import Any

from sklstm._keras import keras

import numpy as np

from sklstm.networks.crf import _chain
from sklstm.networks.crf._checks import check_mask, one_or_nan


@keras.saving.register_keras_serializable("sklstm")
class LinearChainCRF(keras.layers.Layer):
    """Linear-chain conditional random field (CRF) over the steps of a sequence.

    A softmax at each step chooses the label of that step alone. A CRF chooses the
    labels of all steps together, because it also scores which label follows which. It
    gives a score to every path, that is, to every sequence of labels
    ``y[0], ..., y[n_steps - 1]``::

        score(y) = start[y[0]] + emissions[0, y[0]]
                   + transitions[y[0], y[1]] + emissions[1, y[1]]
                   + ...
                   + end[y[n_steps - 1]]

    The probability of a path is the softmax of its score over all
    ``n_labels ** n_steps`` paths. The layer before the CRF computes the emissions, one
    score for each step and label; a `keras.layers.Dense` layer without activation is
    the usual choice. The CRF learns the start scores, the transition scores and the end
    scores. They start at zero, so an untrained CRF treats the steps as independent.

    The layer takes emissions of shape (n, n_steps, n_labels), with two labels or more.
    It returns log-potentials of shape (n, n_steps, n_labels, n_labels). Entry
    [..., t, i, j] is what step t adds to the score of a path that has label i at step
    t - 1 and label j at step t. The score of a path is the sum of its entries. At the
    first step, which has no step before it, all rows i are equal.

    Train the network with `CRFLoss`. The functions `viterbi`, `marginals`,
    `max_marginals`, `log_likelihood`, `log_partition` and `path_score` take the
    log-potentials.

    Parameters
    ----------
    **kwargs
        Keyword arguments of `keras.layers.Layer`. The layer computes in float32
        whatever the dtype policy.

    Raises
    ------
    ValueError
        If the emissions have another rank or fewer than two labels, or if the mask
        leaves out a step before a step that counts. Inside a graph, the values of the
        mask are not known, and the log-potentials of such a chain become NaN instead.

    See Also
    --------
    CRFLoss : The loss that trains the network.
    viterbi : The most probable path.
    marginals : The probability of each label at each step.

    Notes
    -----
    Chains of different lengths are padded at the end and masked, for example by
    `keras.layers.Masking`. A masked step repeats the label of the step before it and
    adds nothing to the score, so the functions above need no mask. If all steps of a
    chain are masked, its labels are equally probable.

    The functions take ``log2(n_steps)`` operations on whole tensors instead of a loop
    over the steps. If TensorFlow traces a graph without a known number of steps, a
    chain can have at most 65,536 steps.

    References
    ----------
    Lafferty, J., McCallum, A. and Pereira, F. (2001). Conditional random fields:
    probabilistic models for segmenting and labeling sequence data. ICML.

    Examples
    --------
    The emissions of the middle step favour label 0. If both labels tend to stay, the
    best path keeps label 1 nevertheless.

    >>> import keras
    >>> from sklstm.networks import CRFLoss, LinearChainCRF, viterbi
    >>> emissions = keras.ops.array([[[0.0, 2.0], [1.0, 0.5], [0.0, 2.0]]])
    >>> crf = LinearChainCRF()
    >>> viterbi(crf(emissions))[0].numpy()
    array([[1, 0, 1]], dtype=int32)
    >>> _ = crf.transitions.assign([[1.0, 0.0], [0.0, 1.0]])
    >>> viterbi(crf(emissions))[0].numpy()
    array([[1, 1, 1]], dtype=int32)

    In a network, an LSTM computes the emissions.

    >>> inputs = keras.Input((28, 28))
    >>> x = keras.layers.LSTM(8, return_sequences=True)(inputs)
    >>> model = keras.Model(inputs, LinearChainCRF()(keras.layers.Dense(2)(x)))
    >>> model.compile("adam", CRFLoss())
    >>> model.output_shape
    (None, 28, 2, 2)
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
        if mask is None and emissions.shape[1] is not None:
            return self._add_scores(emissions)
        valid = 1.0
        if mask is None:
            mask = ops.ones(ops.shape(emissions)[:2], "bool")
        else:
            mask = ops.cast(mask, "bool")
            valid = one_or_nan(check_mask(mask), "float32")[:, None, None, None]
        continues = ops.concatenate([mask[:, 1:], ops.zeros_like(mask[:, :1])], axis=1)
        last = ops.logical_and(mask, ops.logical_not(continues))
        first = (ops.arange(ops.shape(emissions)[1]) == 0)[:, None, None]
        start, transitions, end = map(
            ops.convert_to_tensor, (self.start, self.transitions, self.end)
        )
        scores = emissions + ops.where(last[..., None], end, 0.0)
        scores = scores[:, :, None] + ops.where(first, start, transitions)
        masked = ops.where(first, 0.0, _chain.identity(emissions.shape[-1], "float32"))
        return ops.where(mask[..., None, None], scores, masked) * valid

    def _add_scores(self, emissions: Any) -> Any:
        """Return the log-potentials of chains of a known length, without a mask."""
        ops = keras.ops
        steps = np.arange(emissions.shape[1])
        first = (steps == 0)[:, None, None]
        last = (steps == steps.max(initial=0))[:, None, None]
        start, transitions, end = map(
            ops.convert_to_tensor, (self.start, self.transitions, self.end)
        )
        scores = ops.where(first, start, transitions) + ops.where(last, end, 0.0)
        return emissions[:, :, None] + scores

    def compute_mask(self, emissions: Any, mask: Any = None) -> None:
        # The mask ends here. The potentials contain it, and Keras would apply a mask
        # of the output to the loss a second time.
        return None

    def compute_output_shape(self, emissions_shape: tuple) -> tuple:
        return (*emissions_shape, emissions_shape[-1])
