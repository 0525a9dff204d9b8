"""The beginning of "cnn_lstm" and "cnn": images to a feature map."""

import inspect
from typing import Any

from sklstm.networks._blocks import add_l2_penalty
from sklstm.networks._convolutions import conv_stem
from sklstm.networks._pretrained import pretrained_map
from sklstm.networks._reading import read_input


def feature_map(
    input_shape: tuple[int, ...],
    *,
    augmentation: Any,
    input_noise: float,
    l2: float,
    backbone: dict[str, Any] | None,
    **stem: Any,
) -> tuple[Any, Any, Any]:
    """Make the input of a network, and the feature map of its stem or its backbone.

    A backbone takes the images as they are: no standardization or noise comes before
    it.

    Parameters
    ----------
    input_shape : tuple
        Shape (height, width, channels) of an image.
    augmentation, input_noise, l2 : Any
        As in `cnn_lstm`.
    backbone : dict or None
        See `pretrained_map`. If None, the network has a stem of its own.
    **stem
        Parameters of `conv_stem`.

    Returns
    -------
    inputs : keras.KerasTensor
        Input of the network.
    x : keras.KerasTensor
        Feature map of shape (n, height, width, channels).
    regularizer : keras.Regularizer or None
        Regularizer of the kernels after the map.

    Raises
    ------
    ValueError
        If there is a backbone, and an option of the stem that it replaces.
    """
    if backbone is None:
        inputs, x = read_input(
            input_shape, augmentation=augmentation, input_noise=input_noise
        )
        x, regularizer = add_l2_penalty(x, l2)
        return inputs, conv_stem(x, regularizer=regularizer, **stem), regularizer
    defaults = inspect.signature(conv_stem).parameters
    for name, value in stem.items():
        if value != defaults[name].default:
            raise ValueError(
                f"{name}={value!r} has no effect on a network with a backbone, which "
                "takes the place of the stem: leave it out."
            )
    inputs, x = read_input(input_shape, augmentation=augmentation, standardize=False)
    x, regularizer = add_l2_penalty(pretrained_map(x, backbone), l2)
    return inputs, x, regularizer
