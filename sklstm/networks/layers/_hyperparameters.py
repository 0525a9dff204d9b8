"""Layers and regularizers, in `keras.ops` alone so that every backend runs them.

Values that a search varies (dropout rate, L2 strength, the scaling of the input) are
weights here and not constants of the graph: one traced graph serves them all.
"""

from typing import Any

from sklstm._keras import keras


@keras.saving.register_keras_serializable("sklstm")
class HyperDropout(keras.layers.Layer):
    """Dropout whose rate is a weight, so that another rate needs no new graph.

    Parameters
    ----------
    rate : float
        Fraction of the inputs set to zero in training, in [0, 1); the others are
        divided by ``1 - rate`` (Srivastava et al., 2014).
    **kwargs
        Passed on to `keras.layers.Layer`.
    """

    def __init__(self, rate: float, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self._initial_rate = rate
        self.seed_generator = keras.random.SeedGenerator()

    def build(self, input_shape: tuple) -> None:
        self.rate = self.add_weight(
            shape=(),
            initializer=keras.initializers.Constant(self._initial_rate),
            trainable=False,
            name="rate",
        )

    def call(self, inputs: Any, training: bool = False) -> Any:
        if not training:
            return inputs
        uniform = keras.random.uniform(
            keras.ops.shape(inputs), dtype="float32", seed=self.seed_generator
        )
        rate = keras.ops.cast(self.rate, inputs.dtype)
        kept = keras.ops.cast(
            uniform >= keras.ops.cast(self.rate, "float32"), inputs.dtype
        )
        return inputs * kept / (1 - rate)

    def compute_output_shape(self, input_shape: tuple) -> tuple:
        return input_shape

    def get_config(self) -> dict:
        rate = float(self.rate) if self.built else self._initial_rate
        return {**super().get_config(), "rate": rate}


@keras.saving.register_keras_serializable("sklstm")
class HyperNoise(keras.layers.Layer):
    """Gaussian noise, in training, whose standard deviation is a weight.

    Parameters
    ----------
    stddev : float
        Standard deviation of what is added, in the input's units (Bishop, 1995).
    **kwargs
        Passed on to `keras.layers.Layer`.
    """

    def __init__(self, stddev: float, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self._initial_stddev = stddev
        self.seed_generator = keras.random.SeedGenerator()

    def build(self, input_shape: tuple) -> None:
        self.stddev = self.add_weight(
            shape=(),
            initializer=keras.initializers.Constant(self._initial_stddev),
            trainable=False,
            name="stddev",
        )

    def call(self, inputs: Any, training: bool = False) -> Any:
        if not training:
            return inputs
        noise = keras.random.normal(
            keras.ops.shape(inputs), dtype="float32", seed=self.seed_generator
        )
        stddev = keras.ops.cast(self.stddev, inputs.dtype)
        return inputs + stddev * keras.ops.cast(noise, inputs.dtype)

    def compute_output_shape(self, input_shape: tuple) -> tuple:
        return input_shape

    def get_config(self) -> dict:
        stddev = float(self.stddev) if self.built else self._initial_stddev
        return {**super().get_config(), "stddev": stddev}


@keras.saving.register_keras_serializable("sklstm")
class L2(keras.regularizers.Regularizer):
    """Sum of squares times a strength, which may be a variable.

    Parameters
    ----------
    l2 : float or keras.Variable
        The strength.
    """

    def __init__(self, l2: Any) -> None:
        self.l2 = l2

    def __call__(self, x: Any) -> Any:
        return keras.ops.cast(self.l2, x.dtype) * keras.ops.sum(keras.ops.square(x))

    def get_config(self) -> dict:
        return {"l2": float(keras.ops.convert_to_tensor(self.l2))}


@keras.saving.register_keras_serializable("sklstm")
class PenaltyStrength(keras.layers.Layer):
    """Pass the input on and own the strength of the network's L2 penalty.

    Parameters
    ----------
    l2 : float
        Strength of the penalty on every kernel.
    **kwargs
        Passed on to `keras.layers.Layer`.
    """

    def __init__(self, l2: float, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        # Made here and not in build: other layers' regularizers refer to it before
        # this layer is first called.
        self.l2 = self.add_weight(
            shape=(),
            initializer=keras.initializers.Constant(l2),
            trainable=False,
            name="l2",
        )

    def regularizer(self) -> L2:
        """Return a regularizer that follows this layer's strength.

        Returns
        -------
        L2
            For the other layers' kernels.
        """
        return L2(self.l2)

    def call(self, inputs: Any) -> Any:
        return inputs

    def compute_output_shape(self, input_shape: tuple) -> tuple:
        return input_shape

    def get_config(self) -> dict:
        return {
            **super().get_config(),
            "l2": float(keras.ops.convert_to_tensor(self.l2)),
        }
