"""The loss that trains `window_lstm` on masks or on labels of windows."""

import math
from typing import Any

from sklstm._keras import keras

from sklstm.networks.crf._checks import known_shape, known_values, one_or_nan
from sklstm.networks.crf._loss import chain_losses
from sklstm.networks.layers._lines import grid_to_lines
from sklstm.networks.layers._scan import Scan, pack_map
from sklstm.networks.windows._lines import split_outputs, split_pixels

MAX_WEIGHT = 10.0


@keras.saving.register_keras_serializable("sklstm")
class WindowLoss(keras.losses.Loss):
    """Weighted cross-entropy of windows, plus the loss of the CRFs if there are any.

    The loss of an image is the mean cross-entropy of the scores of its windows. If the
    network has CRFs, their negative log-likelihood per window is added, averaged over
    the lines of an axis and then over the axes.

    If the network has a decoder, the mean cross-entropy of the pixels is added. In
    images with a defect, the Dice loss is added too, which is 1 minus the F1 of the
    probabilities of the pixels (Milletari et al., 2016).

    Parameters
    ----------
    grid : tuple of int
        Number of windows (down, across).
    index_map : ndarray of int, shape (n_steps, n_pixels_per_step), dict or None
        Pixels of the windows. The targets are then masks, from which the loss makes
        labels of windows. If None, the targets are labels of windows, (n, n_steps).
    coverage : float
        Smallest part of its pixels that must be defective for a window to be defective.
        If no window of an image reaches it, the windows with the largest part are
        defective, so that a small defect still has a window.
    positive_weight : float or "balanced"
        Weight of a defective window; the others have the weight 1. "balanced" is the
        square root of the ratio of other windows to defective windows of the image,
        between 1 and 10. It lets small defects count more.
    gamma : float
        Exponent of the focal loss, which reduces the loss of windows with a good score
        (Lin et al., 2017). With 0, it is the plain cross-entropy.
    sides : tuple of int or None
        Size (height, width) of a window, if the network has a decoder. Defective pixels
        then have a weight as windows have.
    **kwargs
        Keyword arguments of `keras.losses.Loss`. The dtype is float32 by default.

    References
    ----------
    Lin, T.-Y., Goyal, P., Girshick, R., He, K. and Dollár, P. (2017). Focal loss for
    dense object detection. ICCV.

    Milletari, F., Navab, N. and Ahmadi, S.-A. (2016). V-Net: fully convolutional neural
    networks for volumetric medical image segmentation. 3DV.

    Examples
    --------
    >>> import numpy as np
    >>> from sklstm.networks import WindowLoss
    >>> loss = WindowLoss((1, 2))
    >>> labels = np.array([[0, 255]])  # one image; the second window is defective
    >>> scores = np.zeros((1, 1, 2, 1), "float32")
    >>> round(float(loss(labels, scores)), 3)
    0.693
    """

    def __init__(
        self,
        grid: tuple[int, int],
        index_map: Any = None,
        coverage: float = 0.1,
        positive_weight: float | str = 1.0,
        gamma: float = 0.0,
        sides: tuple[int, int] | None = None,
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
        self.sides = None if sides is None else (int(sides[0]), int(sides[1]))
        if self.sides is not None and index_map is None:
            raise ValueError(
                "sides is given, but index_map is None: a decoder learns from masks."
            )

    def labels(self, y_true: Any) -> Any:
        """Return the label of every window.

        Parameters
        ----------
        y_true : tensor of shape (n, height, width) or (n, n_steps)
            Masks with values from 0 to 255, or labels of windows, 0 and 255.

        Returns
        -------
        tensor of float32, shape (n, down, across)
            Labels, 0 or 1. Inside a graph, on other backends than TensorFlow, all
            labels of an image with values outside of 0 to 255 are NaN.

        Raises
        ------
        ValueError
            If the targets have a wrong shape or values outside of 0 to 255. Inside a
            graph of TensorFlow, wrong values raise
            `tensorflow.errors.InvalidArgumentError`.
        """
        ops = keras.ops
        y = ops.cast(y_true, "float32") / 255
        self._check_shape(y)
        valid = _in_range(y)
        if self.scan is not None:
            y = ops.mean(self.scan(y[..., None]), axis=-1)
        y = ops.reshape(y, (-1, *self.grid))
        # A small defect belongs to the window that contains most of it.
        most = ops.max(y, axis=(1, 2), keepdims=True)
        # The threshold is slightly lower, because the mean of a window is rounded.
        enough = ops.maximum(ops.minimum(self.coverage, most) - 1e-4, 1e-6)
        valid = one_or_nan(valid, "float32", "y_true must be from 0 to 255.")
        valid = valid[:, None, None]
        return ops.cast(y >= enough, "float32") * valid

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
        y_true : tensor of shape (n, height, width) or (n, n_steps)
            Masks or labels of windows; see `labels`.
        y_pred : tensor of shape (n, down, across, n_channels)
            Output of `window_lstm`.

        Returns
        -------
        tensor of shape (n,)
            Loss in nats per window.

        Raises
        ------
        ValueError
            As in `labels`.
        """
        ops = keras.ops
        labels = self.labels(y_true)
        n_pixels = 0 if self.sides is None else math.prod(self.sides)
        score, chains = split_outputs(y_pred, self.grid, n_pixels)
        weight = self._weight(labels)
        loss = self._cross_entropy(labels, score, weight)
        if self.sides is not None:
            loss = loss + self._pixel_loss(y_true, split_pixels(y_pred, self.sides))
        n_steps = {axis: chains[axis].shape[1] for axis in chains}
        for n in sorted(set(n_steps.values())):
            # Rows and columns of equal length are chains of one batch.
            axes = [axis for axis in chains if n_steps[axis] == n]
            potentials = _concatenate([chains[axis] for axis in axes])
            # A line that contains a defect has the weight of a defective window.
            both = ops.stack([labels, labels * weight], axis=-1)
            lines = _concatenate([grid_to_lines(both, axis) for axis in axes])
            chain = chain_losses(
                potentials, ops.cast(lines[..., 0], "int32"), masked=False
            )
            # 1 and the weight for a line with a defect, otherwise 0 and 0.
            most = ops.max(lines, axis=1)
            chain = chain * (1 - most[..., 0] + most[..., 1])
            chain = ops.reshape(chain, (len(axes), ops.shape(loss)[0], -1))
            loss = loss + ops.sum(ops.mean(chain, axis=2), axis=0) / len(chains)
        return loss

    def _cross_entropy(self, labels: Any, score: Any, weight: Any) -> Any:
        """Return the mean weighted cross-entropy (n,) of windows or of pixels."""
        ops = keras.ops
        # Minus the logarithm of the probability p of the true label.
        losses = ops.softplus(ops.where(labels > 0, -score, score))
        if self.gamma > 0:
            # (1 - p) ** gamma, in a form whose gradient stays finite.
            others = ops.softplus(ops.where(labels > 0, score, -score))
            losses = losses * ops.exp(-self.gamma * others)
        return ops.mean(losses * (1 + (weight - 1) * labels), axis=(1, 2))

    def _pixel_loss(self, y_true: Any, pixels: Any) -> Any:
        """Return the cross-entropy (n,) of the pixels, plus the Dice loss."""
        ops = keras.ops
        # A pixel is defective if half of it is, or if no pixel of the image has more.
        y = ops.cast(y_true, "float32") / 255
        most = ops.max(y, axis=(1, 2), keepdims=True)
        enough = ops.maximum(ops.minimum(0.5, most), 1e-6)
        labels = ops.cast(y >= enough, "float32")
        loss = self._cross_entropy(labels, pixels, self._weight(labels))
        p = ops.sigmoid(pixels)
        n_defective = ops.sum(labels, axis=(1, 2))
        dice = 2 * ops.sum(labels * p, axis=(1, 2))
        dice = dice / (n_defective + ops.sum(p, axis=(1, 2)) + 1e-6)
        return loss + ops.where(n_defective > 0, 1 - dice, ops.zeros_like(dice))

    def _weight(self, labels: Any) -> Any:
        """Return the weight of defective windows or pixels: a number, or (n, 1, 1)."""
        if self.positive_weight != "balanced":
            return float(self.positive_weight)
        ops = keras.ops
        share = ops.mean(labels, axis=(1, 2), keepdims=True)
        share = ops.maximum(share, 1 / math.prod(labels.shape[1:]))
        return ops.clip(ops.sqrt((1 - share) / share), 1.0, MAX_WEIGHT)

    def get_config(self) -> dict:
        return {
            **super().get_config(),
            "grid": self.grid,
            "index_map": None if self.scan is None else pack_map(self.scan.index_map),
            "coverage": self.coverage,
            "positive_weight": self.positive_weight,
            "gamma": self.gamma,
            "sides": self.sides,
        }


def _concatenate(parts: list) -> Any:
    return keras.ops.concatenate(parts) if len(parts) > 1 else parts[0]


def _in_range(y: Any) -> Any:
    """Return (n,): whether all targets of an image lie between 0 and 1.

    Raises
    ------
    ValueError
        If the values are known and one does not.
    """
    ops = keras.ops
    valid = ops.logical_and(y >= 0, y <= 1)
    valid = ops.all(valid, axis=tuple(range(1, len(y.shape))))
    known = known_values(valid)
    if known is not None and not known.all():
        raise ValueError(
            f"y_true[{known.argmin()}] has values that are not from 0 to 255: a target "
            "is 0 where nothing is defective and 255 where all is."
        )
    return valid
