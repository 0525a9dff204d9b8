"""Augmentation that moves an image and its mask alike."""

from typing import Any

from sklstm._keras import keras

import numpy as np

from sklstm.networks.initialize import reseed
from sklstm.networks.layers._augmentation import SHORT_FORMS, make_augmentation

# What moves pixels moves a mask as well.
_MOVES = ("rotation", "translation", "zoom", "flip", "fill")


def split_augmentation(augmentation: Any) -> tuple[dict | None, dict | None]:
    """Take apart what moves pixels and what changes their values.

    Parameters
    ----------
    augmentation : None, str or dict
        As in `make_augmentation`; no layer.

    Returns
    -------
    moves, changes : dict or None
        None where there is nothing of the kind.
    """
    if isinstance(augmentation, str):
        augmentation = SHORT_FORMS[augmentation]
    # An amount of 0 is none; how to fill is none either, where nothing moves.
    amounts = {name: value for name, value in (augmentation or {}).items() if value}
    moves = {name: value for name, value in amounts.items() if name in _MOVES}
    changes = {name: value for name, value in amounts.items() if name not in _MOVES}
    return (moves if set(moves) - {"fill"} else None), changes or None


class JointAugmentation:
    """Move the pixels of images and of their masks alike, in training.

    Parameters
    ----------
    moves : dict
        See `split_augmentation`.
    input_shape : tuple
        ``(height, width, channels)`` of the images.
    """

    def __init__(self, moves: dict[str, Any], input_shape: tuple[int, ...]) -> None:
        layer = make_augmentation(moves)
        assert layer is not None
        self.layer = layer
        layer.build((None, *input_shape[:2], input_shape[2] + 1))

    def start(self, seed: np.random.SeedSequence) -> None:
        """Start the generators of the layers anew."""
        reseed(self.layer, np.random.default_rng(seed))

    def __call__(self, images: Any, masks: Any) -> tuple[Any, Any]:
        """Return moved images and masks, float32.

        Parameters
        ----------
        images : tensor of shape (n, height, width, channels)
            Any real dtype.
        masks : tensor of shape (n, height, width)
            Any real dtype.

        Returns
        -------
        images, masks : tensor
            Of the same shapes.
        """
        ops = keras.ops
        parts = [ops.cast(images, "float32"), ops.cast(masks, "float32")[..., None]]
        moved = self.layer(ops.concatenate(parts, axis=-1), training=True)
        return moved[..., :-1], moved[..., -1]
