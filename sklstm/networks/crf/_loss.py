"""The loss that trains a linear-chain conditional random field."""

from typing import Any

from sklstm._keras import keras

from sklstm.networks.crf._checks import check_labels, is_real_step
from sklstm.networks.crf._inference import unchecked_log_likelihood


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
        labels, right = check_labels(y_true, y_pred)
        return chain_losses(y_pred, labels) * right


def chain_losses(potentials: Any, labels: Any) -> Any:
    """Return what `CRFLoss` gives for labels, int32, that are known to be right."""
    ops = keras.ops
    n_steps = ops.sum(ops.cast(is_real_step(potentials), potentials.dtype), axis=1)
    return -unchecked_log_likelihood(potentials, labels) / n_steps
