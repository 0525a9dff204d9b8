"""Estimators that read the steps of a sequence, or parts of an image, without order."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from sklearn.base import BaseEstimator, TransformerMixin, clone
from sklearn.pipeline import Pipeline

from sklstm.estimators._base import KerasEstimator

# An image is cut into this many blocks along each side.
_N_BLOCKS = 4


class StepShuffler(TransformerMixin, BaseEstimator):
    """Put the steps of each sample in a random order of its own.

    Parameters
    ----------
    unit : {"steps", "blocks"}, default="steps"
        What is put in another order: the second axis of the samples, which are
        sequences, videos or volumes, or blocks of images.
    block : int or None, default=None
        Side of the blocks in pixels. If None, a quarter of the shorter side.
    random_state : int or None, default=None
        Seed of the orders.
    """

    def __init__(
        self,
        unit: str = "steps",
        block: int | None = None,
        random_state: int | None = None,
    ) -> None:
        self.unit = unit
        self.block = block
        self.random_state = random_state

    def fit(self, X: Any, y: Any = None) -> StepShuffler:
        """Return the transformer, which learns nothing.

        Parameters
        ----------
        X : array-like
            Samples.
        y : None
            Ignored.

        Returns
        -------
        self : StepShuffler
            The transformer.
        """
        self.n_features_in_ = math.prod(np.shape(X)[1:])
        return self

    def transform(self, X: Any) -> np.ndarray:
        """Return the samples with their steps in another order.

        Parameters
        ----------
        X : array-like of shape (n, n_steps, ...) or (n, height, width, ...)
            Samples. Flat ones (n, n_pixels) are square images, or sequences of pixels.

        Returns
        -------
        ndarray
            Samples of the same dtype. Flat ones become images.
        """
        X = _as_images(np.asarray(X))
        rng = np.random.default_rng(self.random_state)
        if self.unit == "steps":
            order = rng.permuted(np.tile(np.arange(X.shape[1]), (len(X), 1)), axis=1)
            return X[np.arange(len(X))[:, None], order]
        size = self.block or block_of(X.shape)
        rows, columns = X.shape[1] // size, X.shape[2] // size
        height, width = rows * size, columns * size
        rest = X.shape[3:]
        # What is left at the right and at the bottom stays in its place.
        whole = X[:, :height, :width].reshape(len(X), rows, size, columns, size, *rest)
        blocks = whole.swapaxes(2, 3).reshape(len(X), rows * columns, size, size, *rest)
        order = rng.permuted(np.tile(np.arange(rows * columns), (len(X), 1)), axis=1)
        mixed = blocks[np.arange(len(X))[:, None], order]
        mixed = mixed.reshape(len(X), rows, columns, size, size, *rest).swapaxes(2, 3)
        found = X.copy()
        found[:, :height, :width] = mixed.reshape(len(X), height, width, *rest)
        return found


def _as_images(X: np.ndarray) -> np.ndarray:
    """Return flat samples as the classifier reads them."""
    if X.ndim != 2:
        return X
    side = math.isqrt(X.shape[1])
    return X.reshape(len(X), side, side) if side**2 == X.shape[1] else X[..., None]


def block_of(shape: tuple) -> int:
    """Return the side of the blocks of images of a shape (n, height, width, ...)."""
    return max(1, min(shape[1], shape[2]) // _N_BLOCKS)


def without_order(estimator: Any, recipe: dict[str, Any]) -> tuple[Any, Any, str]:
    """Return an estimator that sees no order, and what to compare it with.

    Parameters
    ----------
    estimator : estimator
        An estimator with a network, or a Pipeline that ends in one.
    recipe : dict
        Parameters that ``network="auto"`` has chosen.

    Returns
    -------
    shuffled : estimator or None
        The same with a `StepShuffler` before the network. None if this does not apply.
    ordered : estimator or None
        What it differs from by the order alone. None if that is `estimator`.
    unit : str
        What is shuffled, or why nothing can be.
    """
    steps = [("network", estimator)]
    if isinstance(estimator, Pipeline):
        steps = list(estimator.steps)
    network = steps[-1][1]
    if not isinstance(network, KerasEstimator):
        return None, None, f"a {type(network).__name__} reads no steps"
    # Here and not above: this loads Keras.
    from sklstm.networks import get_network

    network = clone(network).set_params(**recipe)
    before = steps[:-1]
    kind = get_network(network.network).takes
    unit, block, ordered = "steps", None, None
    if network.sequencer is not None:
        # A scan before the network gives the predictions of the scan inside, and
        # its steps can be shuffled. Augmentation needs images, so neither has it.
        changes = network.augmentation is not None
        before = [*before, ("scan", clone(network.sequencer))]
        network.set_params(sequencer=None, augmentation=None)
        if changes:
            ordered = Pipeline([*before, ("network", clone(network))])
        what = "steps of the scan"
    elif kind == "images":
        unit = "blocks"
        block = network.patch_size
        what = f"blocks of {block} x {block} pixels" if block else "blocks of the image"
    else:
        what = "slices" if kind == "volumes" else "steps"
    shuffler = StepShuffler(unit, block)
    last = ("network", clone(network))
    return Pipeline([*before, ("shuffler", shuffler), last]), ordered, what
