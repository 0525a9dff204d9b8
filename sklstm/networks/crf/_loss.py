"""The loss that trains a linear-chain conditional random field."""

from typing import Any

from sklstm._keras import keras

from sklstm.networks.crf._checks import check_labels, unmasked_steps
from sklstm.networks.crf._inference import unchecked_log_likelihood


@keras.saving.register_keras_serializable("sklstm")
class CRFLoss(keras.losses.Loss):
    """Negative log-likelihood of the true labels of a chain, per step.

    The loss of a chain is minus the log-probability of its true path, divided by its
    number of unmasked steps. It is comparable with a mean cross-entropy: both are equal
    if all start, transition and end scores of the `LinearChainCRF` are zero. There is
    one loss for each chain, so sample weights have the shape (n,).

    Parameters
    ----------
    name : str
        Name of the loss.
    **kwargs
        Keyword arguments of `keras.losses.Loss`. The dtype is float32 by default.

    See Also
    --------
    LinearChainCRF : The layer that gives the log-potentials.

    Examples
    --------
    All four paths of two steps and two labels have the score 0, so each has the
    probability 1/4. The loss per step is log(2).

    >>> import keras
    >>> from sklstm.networks import CRFLoss
    >>> potentials = keras.ops.zeros((1, 2, 2, 2))
    >>> round(float(CRFLoss()(keras.ops.array([[0, 1]]), potentials)), 3)
    0.693
    """

    def __init__(self, name: str = "crf_loss", **kwargs: Any) -> None:
        super().__init__(name=name, **{"dtype": "float32", **kwargs})

    def call(self, y_true: Any, y_pred: Any) -> Any:
        """Return the loss of every chain.

        Parameters
        ----------
        y_true : tensor of shape (n, n_steps)
            Labels, whole numbers from 0 to ``n_labels - 1``, of an integer, float or
            bool dtype. Labels at masked steps may have any value.
        y_pred : tensor of shape (n, n_steps, n_labels, n_labels)
            Log-potentials from `LinearChainCRF`.

        Returns
        -------
        tensor of shape (n,)
            Loss in nats per step. Inside a graph, on other backends than TensorFlow, it
            is NaN for a chain with invalid labels.

        Raises
        ------
        ValueError
            If the labels have a wrong shape or invalid values. Inside a graph of
            TensorFlow, invalid values raise `tensorflow.errors.InvalidArgumentError`.
        """
        labels, one_or_nan = check_labels(y_true, y_pred)
        return chain_losses(y_pred, labels) * one_or_nan


def chain_losses(potentials: Any, labels: Any, masked: bool = True) -> Any:
    """Return the loss of every chain, for labels (int32) that need no check.

    With ``masked=False``, all steps count.
    """
    ops = keras.ops
    n_steps = potentials.shape[1]
    if masked:
        unmasked = ops.cast(unmasked_steps(potentials), potentials.dtype)
        n_steps = ops.sum(unmasked, axis=1)
    return -unchecked_log_likelihood(potentials, labels, masked) / n_steps
