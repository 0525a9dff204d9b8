"""The mean of the weights after each of the last epochs."""

from collections import deque

from sklstm._keras import keras

import numpy as np


class AverageWeights(keras.callbacks.Callback):
    """Between epochs, replace the weights by their mean over the last epochs.

    The validation and all other callbacks then see the mean. The next epoch goes on
    from the weights that training reached. If a callback sets other weights, training
    goes on from those, and the mean begins anew. So this must be the first callback.

    A network that the mean of weights describes needs the statistics of its batch
    normalization as well. They are weights of the model, so they are averaged too.

    Parameters
    ----------
    n_epochs : int
        Number of epochs, at least 2. The mean of fewer is taken until there are so
        many.

    References
    ----------
    Kaddour, J. (2022). Stop wasting my time! Saving days of ImageNet and BERT training
    with latest weight averaging. arXiv 2209.14981.
    """

    def __init__(self, n_epochs: int) -> None:
        super().__init__()
        self._recent: deque = deque(maxlen=n_epochs)
        self._mean: list[np.ndarray] | None = None

    def on_epoch_begin(self, epoch: int, logs: dict | None = None) -> None:
        if self._mean is None:
            return
        now = self.model.get_weights()
        if all(map(np.array_equal, now, self._mean)):
            self.model.set_weights(self._recent[-1])
        else:
            self._recent.clear()
        self._mean = None

    def on_test_begin(self, logs: dict | None = None) -> None:
        self._show_mean()

    def on_epoch_end(self, epoch: int, logs: dict | None = None) -> None:
        self._show_mean()

    def _show_mean(self) -> None:
        """Give the model the mean weights, unless it has them already."""
        if self._mean is not None:
            return
        self._recent.append(self.model.get_weights())
        self._mean = [
            # In double precision, the mean of equal numbers is this number.
            np.mean(values, axis=0, dtype=np.float64).astype(values[0].dtype)
            for values in zip(*self._recent, strict=True)
        ]
        self.model.set_weights(self._mean)
