"""A convolution over steps that are the cells of a grid."""

from typing import Any

from sklstm._keras import keras


@keras.saving.register_keras_serializable("sklstm")
class GridConvolution(keras.layers.Layer):
    """Convolve each feature of the cells of a grid with a kernel of its own.

    The layer takes and returns (n, n_steps, n_features). The steps are the cells of a
    grid, row by row. Each step becomes the weighted sum of the 3 x 3 cells around it,
    plus a bias. Beyond its border, the grid is zero.

    Parameters
    ----------
    grid : tuple of int
        Rows and columns of the grid. Their product is n_steps.
    kernel_regularizer : keras.regularizers.Regularizer or None
        Penalty on the kernels.
    **kwargs
        Keyword arguments of `keras.layers.Layer`.

    Examples
    --------
    >>> import keras
    >>> from sklstm.networks import GridConvolution
    >>> tuple(GridConvolution((5, 7))(keras.ops.ones((2, 35, 16))).shape)
    (2, 35, 16)
    """

    def __init__(
        self, grid: Any, kernel_regularizer: Any = None, **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        self.grid = tuple(int(length) for length in grid)
        self.kernel_regularizer = keras.regularizers.get(kernel_regularizer)

    def build(self, input_shape: tuple) -> None:
        n_features = input_shape[-1]
        limit = (6.0 / 18) ** 0.5  # Glorot's for nine inputs and nine outputs
        self.depthwise_kernel = self.add_weight(
            shape=(3, 3, n_features, 1),
            initializer=keras.initializers.RandomUniform(-limit, limit),
            regularizer=self.kernel_regularizer,
            name="depthwise_kernel",
        )
        self.bias = self.add_weight(
            shape=(n_features,), initializer="zeros", name="bias"
        )

    def call(self, inputs: Any) -> Any:
        ops = keras.ops
        n_features = inputs.shape[-1]
        x = ops.depthwise_conv(
            ops.reshape(inputs, (-1, *self.grid, n_features)),
            ops.cast(self.depthwise_kernel, self.compute_dtype),
            padding="same",
            data_format="channels_last",
        )
        x = x + ops.cast(self.bias, self.compute_dtype)
        return ops.reshape(x, (-1, self.grid[0] * self.grid[1], n_features))

    def compute_output_shape(self, input_shape: tuple) -> tuple:
        return input_shape

    def get_config(self) -> dict:
        return {
            **super().get_config(),
            "grid": self.grid,
            "kernel_regularizer": keras.regularizers.serialize(self.kernel_regularizer),
        }
