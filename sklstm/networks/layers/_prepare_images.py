"""Bring images to the size and the values that a pretrained model takes."""

from collections.abc import Sequence
from typing import Any

from sklstm._keras import keras

from sklstm.images._resize import weights_of_pixels


@keras.saving.register_keras_serializable("sklstm")
class PrepareImages(keras.layers.Layer):
    """Resize images, and map the channels of each pixel linearly.

    An axis that shrinks is averaged over areas, and an axis that grows is interpolated
    linearly, as in `FeatureSequencer`. The layer computes in float32 under every dtype
    policy.

    Parameters
    ----------
    size : tuple of int
        Height and width of the result.
    matrix : sequence of shape (n_channels, n_new)
        Factor of each channel of an image in each new channel.
    shift : sequence of shape (n_new,)
        What is added to the new channels.
    **kwargs
        Keyword arguments of `keras.layers.Layer`.

    Examples
    --------
    >>> import keras
    >>> from sklstm.networks import PrepareImages
    >>> layer = PrepareImages((4, 4), [[1.0, 1.0, 1.0]], [0.0, 0.0, 0.0])
    >>> layer(keras.ops.ones((5, 2, 2, 1))).shape.as_list()
    [5, 4, 4, 3]
    """

    def __init__(
        self,
        size: tuple[int, int],
        matrix: Sequence[Sequence[float]],
        shift: Sequence[float],
        **kwargs: Any,
    ) -> None:
        super().__init__(**{"dtype": "float32", **kwargs})
        self.size = tuple(size)
        self.matrix = [[float(value) for value in row] for row in matrix]
        self.shift = [float(value) for value in shift]

    def build(self, input_shape: tuple) -> None:
        pairs = zip(input_shape[1:3], self.size, strict=True)
        self._rows, self._columns = (
            None if n == n_new else weights_of_pixels(n, n_new) for n, n_new in pairs
        )

    def call(self, inputs: Any) -> Any:
        x = keras.ops.cast(inputs, "float32")
        if self._rows is not None:
            x = keras.ops.einsum("nhwc,Hh->nHwc", x, _tensor(self._rows))
        if self._columns is not None:
            x = keras.ops.einsum("nhwc,Ww->nhWc", x, _tensor(self._columns))
        return keras.ops.matmul(x, _tensor(self.matrix)) + _tensor(self.shift)

    def compute_output_shape(self, input_shape: tuple) -> tuple:
        return (input_shape[0], *self.size, len(self.shift))

    def get_config(self) -> dict[str, Any]:
        own = {"size": self.size, "matrix": self.matrix, "shift": self.shift}
        return {**super().get_config(), **own}


def _tensor(values: Any) -> Any:
    return keras.ops.convert_to_tensor(values, "float32")
