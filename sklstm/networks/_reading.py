"""The input of a network: augmentation, scan, standardization and noise.

All of this happens in the graph, batch by batch. Overlapping patches of a whole data
set therefore never exist in memory, and images are augmented before the scan. The
standardization and the noise come after the scan. A sequencer before the network gives
the same order, so both ways give the same numbers.
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
    """Decorate a function that builds a network with its kind of samples.

    Parameters
    ----------
    kind : {"sequences", "images", "volumes"}
        Kind of the samples. It becomes the attribute `takes` of the function.

    Returns
    -------
    callable
        Decorator.
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
    """Make the input of a network and the layers that prepare it.

    Parameters
    ----------
    input_shape : tuple
        Shape of one sample: (n_steps or None, n_features) of a sequence, (height,
        width, channels) of an image, or (depth, height, width, channels) of a volume.
    index_map : ndarray of int, shape (n_steps, n_pixels_per_step), or None
        Scan that turns images or volumes into sequences; see `Scan`.
    augmentation : None, str, dict or keras.layers.Layer
        Random changes of images or volumes in training, as `LSTMImageClassifier` takes
        them.
    input_noise : float
        Standard deviation of the Gaussian noise that training adds to the standardized
        input.
    standardize : bool
        If True, add a `Standardize` layer.
    contrast : tuple of int or None
        Sizes of the surroundings of a `LocalContrast` layer. The layer needs whole
        images, so the scan comes last then.

    Returns
    -------
    inputs : keras.KerasTensor
        Input of the network.
    x : keras.KerasTensor
        Prepared input: sequences of shape (n_steps, n_pixels_per_step * channels) if
        there is an `index_map`, otherwise samples of `input_shape` (with more channels
        if there is a `contrast`).

    Examples
    --------
    >>> import keras
    >>> from sklstm import RowSequencer
    >>> from sklstm.networks import read_input
    >>> index_map = RowSequencer().get_index_map((28, 28))
    >>> inputs, x = read_input((28, 28, 1), index_map=index_map, input_noise=0.5)
    >>> [layer.name for layer in keras.Model(inputs, x).layers]
    ['X', 'scan', 'standardize', 'input_noise']
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
