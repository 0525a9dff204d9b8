"""Training on mixtures of two samples: mixup and CutMix."""

from typing import Any

from sklstm._keras import keras

import numpy as np

from sklstm.networks.initialize import reseed
from sklstm.networks.layers._augmentation import make_augmentation


@keras.saving.register_keras_serializable("sklstm")
class MixedPairs(keras.layers.Layer):
    """Mix each sample of a batch with the sample before it.

    Mixup adds the samples, with a weight from a beta distribution (Zhang et al., 2018).
    CutMix pastes a box of the other sample, at a random place, whose part of the area
    has this distribution (Yun et al., 2019). In a sequence, the box is a span of steps.
    The target of a mixture is the mean of both targets with the same weight; for
    CutMix, with the exact part of the area.

    Parameters
    ----------
    mixup, cutmix : float
        Parameter of the symmetric beta distribution of the weight. 0 for no such
        mixtures. If both are above zero, each sample takes one of the two at random.
        Assign to the weights `mixup` and `cutmix` of the layer to change them.
    **kwargs
        Keyword arguments of `keras.layers.Layer`.

    References
    ----------
    Zhang, H., Cisse, M., Dauphin, Y. N. and Lopez-Paz, D. (2018). mixup: beyond
    empirical risk minimization. ICLR.

    Yun, S., Han, D., Oh, S. J., Chun, S., Choe, J. and Yoo, Y. (2019). CutMix:
    regularization strategy to train strong classifiers with localizable features. ICCV.

    Examples
    --------
    >>> import keras
    >>> from sklstm.networks import MixedPairs
    >>> x, y, w = keras.ops.ones((2, 8, 8, 1)), keras.ops.eye(2), keras.ops.ones(2)
    >>> x, y, w = MixedPairs(mixup=0.2)(x, y, w)
    >>> tuple(x.shape), y.numpy().sum()
    ((2, 8, 8, 1), np.float32(2.0))
    """

    def __init__(self, mixup: float = 0.0, cutmix: float = 0.0, **kwargs: Any) -> None:
        super().__init__(**{"dtype": "float32", "autocast": False, **kwargs})
        self._kinds = [("mixup", mixup), ("cutmix", cutmix)]
        self._kinds = [(name, value) for name, value in self._kinds if value > 0]
        if not self._kinds:
            raise ValueError("One of mixup and cutmix must be above zero.")
        for name, value in self._kinds:
            constant = keras.initializers.Constant(value)
            weight = self.add_weight(
                shape=(), initializer=constant, trainable=False, name=name
            )
            setattr(self, name, weight)
        self.seed_generator = keras.random.SeedGenerator()

    def call(self, x: Any, y: Any, w: Any, n: Any = None) -> tuple[Any, Any, Any]:
        """Return mixtures.

        Parameters
        ----------
        x : tensor of shape (n_rows, ..., n_channels), float32
            Samples: images, volumes or sequences.
        y : tensor of shape (n_rows, n_classes), float32
            Probabilities of the classes.
        w : tensor of shape (n_rows,), float32
            Weights of the samples in the loss.
        n : tensor of int or None
            Number of rows that count. The others are filling. If None, all rows count.

        Returns
        -------
        x, y, w : tensor
            Mixtures, their targets and their weights, of the same shapes. The loss of a
            mixture is the mean of the losses that its two samples have, by their weight
            in the mixture and by their own weights.
        """
        ops = keras.ops
        n_rows = ops.shape(x)[0]
        rows = ops.arange(n_rows, dtype="int32")
        last = n_rows - 1 if n is None else ops.cast(n, "int32") - 1
        # The order of a batch is random, so the sample before is a random one.
        other = ops.where(rows == 0, last, rows - 1)
        x_other = ops.take(x, other, axis=0)
        kept = []
        for name, _ in self._kinds:
            alpha = ops.broadcast_to(getattr(self, name).value, (n_rows,))
            share = keras.random.beta(
                (n_rows,), alpha, alpha, dtype="float32", seed=self.seed_generator
            )
            make = self._paste if name == "cutmix" else self._add
            kept.append(make(x, x_other, share))
        mixed, share = kept[0]
        if len(kept) == 2:
            uniform = keras.random.uniform((n_rows,), seed=self.seed_generator)
            first = uniform < 0.5
            mixed = ops.where(_as_column(first, x), mixed, kept[1][0])
            share = ops.where(first, share, kept[1][1])
        # Each of the two targets counts by its own weight too.
        own, others = share * w, (1.0 - share) * ops.take(w, other, axis=0)
        total = own + others
        y_other = ops.take(y, other, axis=0)
        y = (own[:, None] * y + others[:, None] * y_other) / total[:, None]
        return mixed, y, total

    def _add(self, x: Any, x_other: Any, share: Any) -> tuple[Any, Any]:
        column = _as_column(share, x)
        return column * x + (1.0 - column) * x_other, share

    def _paste(self, x: Any, x_other: Any, share: Any) -> tuple[Any, Any]:
        """Replace a box; return the mixtures and the part that is left of `x`."""
        ops = keras.ops
        n_rows, n_axes = ops.shape(x)[0], len(x.shape) - 2
        side = ops.power(1.0 - share, 1.0 / n_axes)
        left: Any = 1.0
        inside: Any = True
        for axis in range(1, n_axes + 1):
            length = ops.shape(x)[axis]
            size = ops.cast(length, "float32")
            width = ops.round(side * size)
            uniform = keras.random.uniform((n_rows,), seed=self.seed_generator)
            # The box lies inside of the image, so no part of it is lost.
            start = ops.floor(uniform * (size - width + 1.0))
            place = ops.arange(length, dtype="int32")
            place = ops.cast(place, "float32")[None]
            within = (place >= start[:, None]) & (place < (start + width)[:, None])
            shape = [-1 if k in (0, axis) else 1 for k in range(len(x.shape))]
            shape[0], shape[axis] = n_rows, length
            inside = ops.reshape(within, shape) & inside
            left = left * width / size
        return ops.where(inside, x_other, x), 1.0 - left

    def get_config(self) -> dict:
        values = {name: float(getattr(self, name).value) for name, _ in self._kinds}
        return {**super().get_config(), **values}


def _as_column(values: Any, x: Any) -> Any:
    """Give a vector axes of length 1, so that it meets the rows of `x`."""
    return keras.ops.reshape(values, (-1, *[1] * (len(x.shape) - 1)))


class Mixing:
    """Augment the samples of a batch, then mix them and their targets.

    Parameters
    ----------
    mixing : dict
        "mixup" and "cutmix", see `MixedPairs`, and "augmentation", see
        `make_augmentation`.
    input_shape : tuple of int
        Shape of a sample.

    Examples
    --------
    >>> import numpy as np
    >>> from sklstm.networks import Mixing
    >>> mixing = {"mixup": 0.2, "cutmix": 1.0, "augmentation": {"rotation": 15}}
    >>> mix = Mixing(mixing, (8, 8, 1))
    >>> mix.start(np.random.SeedSequence(0))
    >>> x, y, w = mix(np.ones((2, 8, 8, 1)), np.eye(2), np.ones(2))
    >>> tuple(x.shape)
    (2, 8, 8, 1)
    """

    def __init__(self, mixing: dict[str, Any], input_shape: tuple[int, ...]) -> None:
        self._augment = make_augmentation(mixing.get("augmentation"))
        if self._augment is not None:
            self._augment.build((None, *input_shape))
        self._mix = MixedPairs(mixing["mixup"], mixing["cutmix"])

    def start(self, seed: np.random.SeedSequence) -> None:
        """Set the seeds of the random layers."""
        rng = np.random.default_rng(seed)
        for layer in self._layers():
            reseed(layer, rng)

    def configure(self, mixup: float, cutmix: float) -> None:
        """Set the parameters of the distributions that are in use."""
        for name, value in (("mixup", mixup), ("cutmix", cutmix)):
            if hasattr(self._mix, name):
                getattr(self._mix, name).assign(value)

    def _layers(self) -> list[keras.layers.Layer]:
        return [layer for layer in (self._augment, self._mix) if layer is not None]

    @property
    def variables(self) -> list:
        """Seeds, and parameters of the distributions."""
        return [v for layer in self._layers() for v in layer.variables]

    def __call__(self, x: Any, y: Any, w: Any, n: Any = None) -> tuple[Any, Any, Any]:
        """Return mixtures, see `MixedPairs`."""
        if self._augment is not None:
            x = self._augment(x, training=True)
        ops = keras.ops
        x, y, w = (ops.cast(part, "float32") for part in (x, y, w))
        return self._mix(x, y, w, n=n)
