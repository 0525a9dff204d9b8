"""Augmentation that moves an image and its mask alike."""

from typing import Any

from sklstm._keras import keras

import numpy as np

from sklstm.networks.initialize import reseed
from sklstm.networks.layers._augmentation import (
    MOVES,
    SHORT_FORMS,
    make_augmentation,
)

# How pixels move, which changes nothing by itself.
_MANNER = ("fill", "resampling")
# Changes that move pixels. They must move the mask with the image.
_GEOMETRIC = (*MOVES, "flip", "turn", *_MANNER)


def split_augmentation(augmentation: Any) -> tuple[dict | None, dict | None]:
    """Split augmentation into changes of the positions and of the values of pixels.

    Parameters
    ----------
    augmentation : None, str or dict
        Augmentation as `make_augmentation` takes it, but no layer.

    Returns
    -------
    geometric : dict or None
        Changes of positions, such as a rotation. None if there are none.
    photometric : dict or None
        Changes of values, such as noise. None if there are none.

    Examples
    --------
    >>> from sklstm.networks import split_augmentation
    >>> split_augmentation({"rotation": 15, "noise": 0.1})
    ({'rotation': 15}, {'noise': 0.1})
    """
    if isinstance(augmentation, str):
        augmentation = SHORT_FORMS[augmentation]
    # An amount of 0 changes nothing.
    amounts = {name: value for name, value in (augmentation or {}).items() if value}
    geometric = {k: v for k, v in amounts.items() if k in _GEOMETRIC}
    photometric = {k: v for k, v in amounts.items() if k not in _GEOMETRIC}
    moves = bool(set(geometric) - set(_MANNER))
    return (geometric if moves else None), photometric or None


class JointAugmentation:
    """Apply the same random geometric changes to images and to their masks.

    Parameters
    ----------
    geometric : dict
        Changes of positions; see `split_augmentation`.
    input_shape : tuple of int
        Shape (height, width, channels) of the images.

    Examples
    --------
    >>> import keras
    >>> import numpy as np
    >>> from sklstm.networks import JointAugmentation
    >>> augment = JointAugmentation({"rotation": 15}, (8, 8, 1))
    >>> augment.start(np.random.SeedSequence(0))
    >>> images, masks, _ = augment(np.ones((2, 8, 8, 1)), np.zeros((2, 8, 8)), None)
    >>> tuple(images.shape), tuple(masks.shape)
    ((2, 8, 8, 1), (2, 8, 8))
    """

    def __init__(self, geometric: dict[str, Any], input_shape: tuple[int, ...]) -> None:
        layer = make_augmentation(geometric)
        assert layer is not None
        self.layer = layer
        # The mask is one more channel of the image.
        layer.build((None, *input_shape[:2], input_shape[2] + 1))

    def start(self, seed: np.random.SeedSequence) -> None:
        """Set the seeds of the random layers.

        Parameters
        ----------
        seed : numpy.random.SeedSequence
            Seed that determines all changes.
        """
        reseed(self.layer, np.random.default_rng(seed))

    @property
    def variables(self) -> list:
        """Variables that a change advances: the seeds."""
        return self.layer.variables

    def __call__(
        self, images: Any, masks: Any, weights: Any, n: Any = None
    ) -> tuple[Any, Any, Any]:
        """Return changed images and masks, and their weights.

        Parameters
        ----------
        images : array or tensor of shape (n, height, width, channels)
            Images, of any real dtype.
        masks : array or tensor of shape (n, height, width)
            Masks, of any real dtype.
        weights : array or tensor of shape (n,)
            Weights of the images.
        n : None
            Not used. `Mixing` has it.

        Returns
        -------
        images, masks : tensor of float32
            Changed images and masks, of the same shapes.
        weights : array or tensor of shape (n,)
            The same weights.
        """
        ops = keras.ops
        parts = [ops.cast(images, "float32"), ops.cast(masks, "float32")[..., None]]
        moved = self.layer(ops.concatenate(parts, axis=-1), training=True)
        return moved[..., :-1], moved[..., -1], weights
