"""Convolutions whose kernels are combinations of cosine waves."""

import functools
from typing import Any

from sklstm._keras import keras

import numpy as np

from sklstm.networks.layers._data_format import CHANNELS_LAST


@functools.cache
def cosine_basis(size: int) -> np.ndarray:
    """Return the orthonormal basis of the two-dimensional DCT-II.

    Parameters
    ----------
    size : int
        Side of the patches.

    Returns
    -------
    ndarray of float32, shape (size**2, size**2)
        A row for each pair of frequencies (down, across), a column for each pixel.
    """
    k = np.arange(size)
    waves = np.cos(np.pi * np.outer(k, k + 0.5) / size)
    waves /= np.linalg.norm(waves, axis=1, keepdims=True)
    basis = np.kron(waves, waves).astype("float32")
    basis.flags.writeable = False
    return basis


@keras.saving.register_keras_serializable("sklstm")
class HarmonicConv2D(keras.layers.Layer):
    """Convolution with kernels that are learned combinations of cosine waves.

    Each kernel is a combination of the orthonormal basis of the two-dimensional
    discrete cosine transform (DCT-II) of a patch [1]_. The layer learns the
    coefficients. It makes the kernels from them, and then runs one convolution. This
    equals a DCT of each patch, followed by a combination of the frequencies.

    The layer can learn exactly what a convolution without bias can learn. With plain
    gradient descent it also learns in the same way, because the basis is orthonormal.
    Optimizers that scale each weight by itself, such as Adam, scale frequencies and not
    pixels.

    Parameters
    ----------
    filters : int
        Number of kernels, which is the number of channels of the output.
    kernel_size : int
        Side of the kernels.
    strides : int
        Step between two patches.
    kernel_regularizer : keras.regularizers.Regularizer, str or None
        Penalty on the coefficients. The L2 penalty is that on the kernels.
    **kwargs
        Keyword arguments of `keras.layers.Layer`.

    References
    ----------
    .. [1] M. Ulicny, V. A. Krylov and R. Dahyot, "Harmonic convolutional networks based
       on discrete cosine transform", Pattern Recognition 129, 2022.

    Examples
    --------
    >>> import keras
    >>> from sklstm.networks import HarmonicConv2D
    >>> layer = HarmonicConv2D(filters=4, kernel_size=3)
    >>> tuple(layer(keras.ops.ones((1, 8, 8, 2))).shape)
    (1, 8, 8, 4)
    >>> tuple(layer.coefficients.shape)  # frequencies, inputs, filters
    (9, 2, 4)
    """

    def __init__(
        self,
        filters: int,
        kernel_size: int = 3,
        strides: int = 1,
        kernel_regularizer: Any = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.filters = filters
        self.kernel_size = kernel_size
        self.strides = strides
        self.kernel_regularizer = keras.regularizers.get(kernel_regularizer)

    def build(self, input_shape: tuple) -> None:
        # The basis is orthonormal. So the kernels have the variance that the
        # initializer gives to the coefficients.
        self.coefficients = self.add_weight(
            shape=(self.kernel_size**2, input_shape[-1], self.filters),
            initializer="glorot_uniform",
            regularizer=self.kernel_regularizer,
            name="coefficients",
        )

    def make_kernel(self) -> Any:
        """Compute the kernels from the coefficients.

        Returns
        -------
        tensor of shape (kernel_size, kernel_size, n_inputs, filters)
            The kernels.
        """
        ops = keras.ops
        coefficients = ops.convert_to_tensor(self.coefficients)
        n_waves, n_inputs, filters = self.coefficients.shape
        basis = ops.cast(cosine_basis(self.kernel_size), coefficients.dtype)
        flat = ops.reshape(coefficients, (n_waves, n_inputs * filters))
        kernel = ops.matmul(ops.transpose(basis), flat)
        return ops.reshape(kernel, (*2 * (self.kernel_size,), n_inputs, filters))

    def call(self, inputs: Any) -> Any:
        return keras.ops.conv(
            inputs,
            keras.ops.cast(self.make_kernel(), inputs.dtype),
            strides=self.strides,
            padding="same",
            **CHANNELS_LAST,
        )

    def compute_output_shape(self, input_shape: tuple) -> tuple:
        n, *sides, _ = input_shape
        sides = [None if side is None else -(-side // self.strides) for side in sides]
        return (n, *sides, self.filters)

    def get_config(self) -> dict:
        return {
            **super().get_config(),
            "filters": self.filters,
            "kernel_size": self.kernel_size,
            "strides": self.strides,
            "kernel_regularizer": keras.regularizers.serialize(self.kernel_regularizer),
        }


@keras.saving.register_keras_serializable("sklstm")
class CosineTransform(keras.layers.Layer):
    """Discrete cosine transform of the patch around each pixel.

    The layer takes (n, height, width, channels) and returns (n, height, width, channels
    * size**2): for each channel the orthonormal two-dimensional DCT-II of the patch,
    frequency by frequency. Pixels outside of the image are zero. The layer has no
    weights.

    Parameters
    ----------
    size : int
        Side of the patches, which is odd.
    **kwargs
        Keyword arguments of `keras.layers.Layer`.

    Examples
    --------
    >>> import keras
    >>> from sklstm.networks import CosineTransform
    >>> waves = CosineTransform(size=3)(keras.ops.ones((1, 5, 5, 1)))
    >>> tuple(waves.shape)
    (1, 5, 5, 9)
    >>> round(float(waves[0, 2, 2, 0]), 4)  # a flat patch has the frequency 0 alone
    3.0
    """

    def __init__(self, size: int = 3, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.size = size

    def make_kernel(self, n_channels: int) -> np.ndarray:
        """Return the filters, each of which reads one channel.

        Parameters
        ----------
        n_channels : int
            Number of channels of the input.

        Returns
        -------
        ndarray of float32, shape (size, size, n_channels, n_channels * size**2)
            The kernels of the transform.
        """
        waves = cosine_basis(self.size).T.reshape(self.size, self.size, -1)
        own = np.eye(n_channels, dtype="float32")
        kernel = own[:, :, None] * waves[:, :, None, None]
        return kernel.reshape(*waves.shape[:2], n_channels, -1)

    def call(self, inputs: Any) -> Any:
        kernel = self.make_kernel(inputs.shape[-1])
        return keras.ops.conv(
            inputs,
            keras.ops.cast(kernel, inputs.dtype),
            padding="same",
            **CHANNELS_LAST,
        )

    def compute_output_shape(self, input_shape: tuple) -> tuple:
        return (*input_shape[:-1], input_shape[-1] * self.size**2)

    def get_config(self) -> dict:
        return {**super().get_config(), "size": self.size}
