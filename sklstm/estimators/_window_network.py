"""What the detector gives its network besides the parameters. Loads Keras."""

from typing import Any

import numpy as np

from sklstm.estimators._windows import stem_windows
from sklstm.networks import check_augmentation, split_augmentation
from sklstm.networks.layers._augmentation import SHORT_FORMS
from sklstm.networks.windows._window_lstm import STEM_STRIDE


def split_for_masks(augmentation: Any) -> tuple[dict | None, dict | None]:
    """Split an augmentation into what moves pixels and what changes their values.

    Parameters
    ----------
    augmentation : str, dict or None
        As `LSTMDefectDetector` takes it.

    Returns
    -------
    moves, changes : dict or None
        A mask has to follow `moves`, but not `changes`.

    Raises
    ------
    TypeError, ValueError
        If it cannot be used with masks.
    """
    if not isinstance(augmentation, str | dict | None):
        known = ", ".join(map(repr, SHORT_FORMS))
        raise TypeError(
            f"augmentation={augmentation!r} must be {known}, a dict or None: of a "
            "layer nobody knows how the mask would have to follow."
        )
    check_augmentation(augmentation)
    if isinstance(augmentation, dict) and augmentation.get("erasing"):
        raise ValueError(
            "augmentation erases parts of images, where the mask would still show "
            "a defect: leave 'erasing' out."
        )
    moves, changes = split_augmentation(augmentation)
    if changes:
        changes.pop("erasing", None)
    return moves, changes or None


def window_params(
    grid: tuple[int, int],
    index_map: np.ndarray,
    stem: bool,
    image_shape: tuple[int, ...],
    decoder: bool = False,
) -> dict[str, Any]:
    """Return the parameters of `window_lstm` that describe the windows.

    Parameters
    ----------
    grid : tuple of int
        Number of windows (down, across).
    index_map : ndarray of int, shape (n_steps, n_pixels_per_step)
        The windows.
    stem : bool
        If True, convolutions make the features of the windows.
    image_shape : tuple of int
        (height, width, channels) of what the network reads.
    decoder : bool
        If True, the network has a decoder from windows to pixels.

    Returns
    -------
    dict
        Names to values.
    """
    params: dict[str, Any] = {"grid": grid, "index_map": index_map}
    if decoder:
        params["decoder"] = True
    if stem:
        params["stem"] = stem_windows(index_map, image_shape, STEM_STRIDE)
    return params
