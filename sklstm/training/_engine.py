"""What an engine is, and which one runs a compiled model.

An engine trains a compiled model epoch by epoch and predicts with it. There is one for
each Keras backend. `_loop.py` calls the hooks of callbacks between the epochs, so an
engine knows no callbacks.
"""

from typing import Any, Protocol

from sklstm._keras import keras

import numpy as np

from sklstm.training._spec import NetworkSpec


class Engine(Protocol):
    """Runs a compiled model epoch by epoch.

    Between two calls, the variables of the model, its optimizer and its metrics hold
    the state. Whoever reads or assigns them needs no engine.
    """

    def load(self, x: np.ndarray, y: np.ndarray, w: np.ndarray) -> Any:
        """Prepare samples, targets and weights for `train_epoch` and `evaluate`.

        A fit calls this once for its training data and once for its validation data.
        Data of more than `AT_ONCE` bytes stay where they are, and the engine copies a
        few batches at a time.
        """

    def train_epoch(self, data: Any, order: np.ndarray, batch_size: int) -> dict:
        """Train on the samples in the given order; return loss and metrics.

        Parameters
        ----------
        data : Any
            Result of `load`.
        order : ndarray of shape (n,), int32
            Rows of the data, which may repeat.
        batch_size : int
            Number of samples in a batch. The last batch may be smaller.

        Returns
        -------
        dict of str to float
            Metrics over the epoch, named as Keras names them.
        """

    def evaluate(self, data: Any, batch_size: int) -> dict:
        """Return loss and metrics on data, as `train_epoch` does, without training."""

    def predict(self, x: np.ndarray, batch_size: int) -> np.ndarray:
        """Return the network's output, (n, ...), for samples (n, ...) of any dtype.

        `batch_size` is the largest number of samples that fits into memory at once. The
        prediction of a sample must not depend on the samples beside it.
        """

    def release(self) -> None:
        """Free what the engine has compiled. It is not used again."""


def make_engine(
    model: keras.Model, spec: NetworkSpec, joint_augmentation: Any = None
) -> Engine:
    """Return the engine of Keras' backend.

    Parameters
    ----------
    model : keras.Model
        Compiled model whose optimizer is built.
    spec : NetworkSpec
        Specification of the model.
    joint_augmentation : JointAugmentation, Mixing or None
        Changes samples and targets alike, in training.

    Raises
    ------
    RuntimeError
        If the backend has no engine.
    """
    shape, dtype = spec.target()
    backend = keras.backend.backend()
    if backend == "tensorflow":
        # Here and not above: this loads TensorFlow.
        from sklstm.training._tensorflow import GraphEngine

        return GraphEngine(model, spec.input_dtype, shape, dtype, joint_augmentation)
    if backend == "torch":
        # Here and not above: PyTorch is optional.
        from sklstm.training._torch import EagerEngine

        return EagerEngine(model, joint_augmentation)
    if backend == "jax":
        # Here and not above: JAX is optional.
        from sklstm.training._jax import ScanEngine

        return ScanEngine(model, spec, joint_augmentation)
    raise RuntimeError(
        f"The backend of Keras is {backend!r}, which trains no network here: set "
        "KERAS_BACKEND to 'tensorflow', 'jax' or 'torch' before Python starts."
    )
