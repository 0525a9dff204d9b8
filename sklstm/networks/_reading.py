"""How a network reads its input: augmentation, scan, scaling, noise.

All of it is in the graph, batch by batch: overlapping patches of a whole data set
never exist in memory, and images are augmented before the scan. Scaling and noise
come after it, as they do where a sequencer stands before the network: both ways give
the same numbers.
"""

from collections.abc import Callable
from typing import Any, TypeVar

from sklstm._keras import keras

import numpy as np

from sklstm.networks.layers import HyperNoise, LocalContrast, Standardize
from sklstm.networks.layers._augmentation import make_augmentation
from sklstm.networks.layers._scan import Scan

_Build = TypeVar("_Build", bound=Callable[..., Any])
SAMPLES = ("sequences", "images", "volumes")


def takes(kind: str) -> Callable[[_Build], _Build]:
    """Mark a function that builds a network with what one sample of it is.

    Parameters
    ----------
    kind : {"sequences", "images", "volumes"}
        Kept as the function's attribute `takes`.

    Returns
    -------
    callable
        The decorator.
    """

    def mark(build: _Build) -> _Build:
        build.takes = kind  # type: ignore[attr-defined]
        return build

    return mark


def read_input(
    input_shape: tuple[Any, ...],
    *,
    index_map: np.ndarray | None = None,
    augmentation: Any = None,
    input_noise: float = 0.0,
    standardize: bool = True,
    contrast: tuple[int, ...] | None = None,
) -> tuple[Any, Any]:
    """Make the input of a network and all that comes before its first own layer.

    Parameters
    ----------
    input_shape : tuple
        ``(n_steps or None, n_features)`` of a sequence; ``(height, width, channels)``
        of an image; ``(depth, height, width, channels)`` of a volume.
    index_map : ndarray of int, shape (n_steps, n_pixels_per_step), or None
        The scan by which images or volumes become sequences.
    augmentation : None, str, dict or keras.layers.Layer
        See `make_augmentation`.
    input_noise : float
        Standard deviation of the noise added in training to the standardized input.
    standardize : bool
        Subtract the mean and divide by the standard deviation of the training data.
    contrast : tuple of int or None
        Surroundings for `LocalContrast`, which needs whole images: the scan then comes
        last.

    Returns
    -------
    inputs : keras.KerasTensor
        Of `input_shape`.
    x : keras.KerasTensor
        What the network goes on with: images, or sequences of
        ``(n_steps, n_pixels_per_step * channels)``.
    """
    inputs = keras.Input(input_shape, name="sequence" if len(input_shape) == 2 else "X")
    x: Any = inputs
    augment = make_augmentation(augmentation)
    if augment is not None:
        x = augment(x)
    scan = None if index_map is None else Scan(index_map, name="scan")
    if scan is not None and contrast is None:
        x = scan(x)
    if standardize:
        x = Standardize(name="standardize")(x)
    if contrast is not None:
        x = LocalContrast(contrast, name="contrast")(x)
    if input_noise > 0:
        x = HyperNoise(input_noise, name="input_noise")(x)
    if scan is not None and contrast is not None:
        x = scan(x)
    return inputs, x
