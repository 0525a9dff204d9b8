"""What trains `window_lstm`: masks or labels of windows against its output."""

import math
from typing import Any

from sklstm._keras import keras

from sklstm.networks.crf._checks import known_shape, known_values, one_or_nan
from sklstm.networks.crf._loss import chain_losses
from sklstm.networks.layers._scan import Scan, pack_map
from sklstm.networks.windows._lines import grid_to_lines, split_outputs

MAX_WEIGHT = 10.0


@keras.saving.register_keras_serializable("sklstm")
class WindowLoss(keras.losses.Loss):
    """Weighted cross-entropy of the windows and, of chains, their likelihood.

    Parameters
    ----------
    grid : tuple of int
        Windows (down, across).
    index_map : ndarray of int, shape (n_steps, n_pixels_per_step), dict or None
        The windows' pixels: targets are then masks, from which labels are made. None
        where targets are the labels of windows, (n, n_steps).
    coverage : float
        A window is defective if at least such a part of its pixels is, or if no window
        of the image is more so.
    positive_weight : float or "balanced"
        Weight of a defective window beside one that is not. "balanced": the square root
        of how much rarer they are in their image, at most 10, so that a pinhole counts
        beside a stain.
    gamma : float
        Of the focal loss (Lin et al., 2017): windows that are right already count
        less. 0 for the plain cross-entropy.
    **kwargs
        Passed on to `keras.losses.Loss`.
    """

    def __init__(
        self,
        grid: tuple[int, int],
        index_map: Any = None,
        coverage: float = 0.1,
        positive_weight: float | str = 1.0,
        gamma: float = 0.0,
        **kwargs: Any,
    ) -> None:
        single = {"dtype": "float32"}
        super().__init__(**{"name": "window_loss", **single, **kwargs})
        down, across = grid
        self.grid = (down, across)
        self.scan = None if index_map is None else Scan(index_map, **single)
        self.coverage = coverage
        self.positive_weight = positive_weight
        self.gamma = gamma

    def labels(self, y_true: Any) -> Any:
        """Return (n, down, across) of zeros and ones.

        Parameters
        ----------
        y_true : tensor of shape (n, height, width) or (n, n_steps)
            Masks, from 0 to 255; or labels of windows, 0 and 255.

        Returns
        -------
        tensor of float32
            The label of every window. Inside a graph, NaN for all windows of an image
            with values that are not from 0 to 255.

        Raises
        ------
        ValueError
            If the targets have another shape or, outside of a graph, other values.
        """
        ops = keras.ops
        y = ops.cast(y_true, "float32") / 255
        self._check_shape(y)
        right = _in_range(y)
        if self.scan is not None:
            y = ops.mean(self.scan(y[..., None]), axis=-1)
        y = ops.reshape(y, (-1, *self.grid))
        # A defect smaller than that is still in the window that holds most of it.
        most = ops.max(y, axis=(1, 2), keepdims=True)
        # A hair less: 64 pixels of 8 bits do not sum up exactly.
        enough = ops.maximum(ops.minimum(self.coverage, most) - 1e-4, 1e-6)
        right = one_or_nan(right, "float32", "y_true must be from 0 to 255.")
        right = right[:, None, None]
        return ops.cast(y >= enough, "float32") * right

    def _check_shape(self, y: Any) -> None:
        shape = known_shape(y)
        if shape is None or None in shape[1:]:
            return
        n_values = math.prod(shape[1:])
        if self.scan is None:
            fits = n_values == math.prod(self.grid)
            expected = f"labels of {self.grid[0]} x {self.grid[1]} windows"
        else:
            fits = len(shape) == 3 and n_values > self.scan.index_map.max()
            expected = "masks (n, height, width) of the images that are scanned"
        if not fits:
            raise ValueError(f"y_true of shape {shape} must be {expected}.")

    def call(self, y_true: Any, y_pred: Any) -> Any:
        """Return the loss of every image.

        Parameters
        ----------
        y_true : tensor
            As in `labels`.
        y_pred : tensor of shape (n, down, across, 1 or more)
            What `window_lstm` gives.

        Returns
        -------
        tensor of shape (n,)
            In nats a window.
        """
        ops = keras.ops
        labels = self.labels(y_true)
        score, chains = split_outputs(y_pred, self.grid)
        # -log of the probability of the true label.
        losses = ops.softplus(ops.where(labels > 0, -score, score))
        weight = self._weight(labels)
        if self.gamma > 0:
            # (1 - p) ** gamma, p of the true label, whose gradient stays finite.
            others = ops.softplus(ops.where(labels > 0, score, -score))
            losses = losses * ops.exp(-self.gamma * others)
        loss = ops.mean(losses * (1 + (weight - 1) * labels), axis=(1, 2))
        for axis, potentials in chains.items():
            # A line with a defect counts as its windows do.
            lines = grid_to_lines(ops.stack([labels, labels * weight], axis=-1), axis)
            chain = chain_losses(potentials, ops.cast(lines[..., 0], "int32"))
            most = ops.max(lines, axis=1)  # 1 and the weight, or 0 and 0
            chain = chain * (1 - most[..., 0] + most[..., 1])
            chain = ops.mean(ops.reshape(chain, (ops.shape(loss)[0], -1)), axis=1)
            loss = loss + chain / len(chains)
        return loss

    def _weight(self, labels: Any) -> Any:
        """Return the weight of an image's defective windows, (n, 1, 1)."""
        if self.positive_weight != "balanced":
            return float(self.positive_weight)
        ops = keras.ops
        share = ops.mean(labels, axis=(1, 2), keepdims=True)
        share = ops.maximum(share, 1 / math.prod(self.grid))
        return ops.clip(ops.sqrt((1 - share) / share), 1.0, MAX_WEIGHT)

    def get_config(self) -> dict:
        return {
            **super().get_config(),
            "grid": self.grid,
            "index_map": None if self.scan is None else pack_map(self.scan.index_map),
            "coverage": self.coverage,
            "positive_weight": self.positive_weight,
            "gamma": self.gamma,
        }


def _in_range(y: Any) -> Any:
    """Return (n,): whether all targets of an image are from 0 to 1."""
    ops = keras.ops
    right = ops.logical_and(y >= 0, y <= 1)
    right = ops.all(right, axis=tuple(range(1, len(y.shape))))
    known = known_values(right)
    if known is not None and not known.all():
        raise ValueError(
            f"y_true[{known.argmin()}] has values that are not from 0 to 255: a target "
            "is 0 where nothing is defective and 255 where all is."
        )
    return right
