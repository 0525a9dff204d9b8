"""Layers and regularizers, in `keras.ops` alone so that every backend runs them.

Values that a search varies (dropout rate, L2 strength, the scaling of the input) are
weights here and not constants of the graph: one traced graph serves them all.
"""

from typing import Any

from sklstm._keras import keras

_PACKAGE = "sklstm"


@keras.saving.register_keras_serializable(_PACKAGE)
class Standardize(keras.layers.Layer):
    """Cast to float and subtract one mean, divide by one standard deviation.

    The two numbers are weights that training does not move; `set` fills them. One
    pair serves all pixels: a border that is black in every training image would have
    no spread of its own to divide by.

    Parameters
    ----------
    **kwargs
        Passed on to `keras.layers.Layer`.
    """

    def __init__(self, **kwargs: Any) -> None:
        # Under a mixed policy: half precision would round pixels before they are small.
        super().__init__(**{"autocast": False, **kwargs})

    def build(self, input_shape: tuple) -> None:
        # Keras rounds weights to half precision, too, unless told not to: a loaded
        # model would read a mean of 3,500 as another.
        own: dict[str, Any] = {"shape": (), "trainable": False, "autocast": False}
        self.mean = self.add_weight(initializer="zeros", name="mean", **own)
        self.scale = self.add_weight(initializer="ones", name="scale", **own)

    def set(self, mean: float, scale: float) -> None:
        """Set the two numbers, in the input's units.

        Parameters
        ----------
        mean : float
            Subtracted from the input.
        scale : float
            What the rest is divided by, above zero.
        """
        self.mean.assign(mean)
        self.scale.assign(scale)

    def call(self, inputs: Any) -> Any:
        x = (keras.ops.cast(inputs, self.variable_dtype) - self.mean) / self.scale
        return keras.ops.cast(x, self.compute_dtype)

    def compute_output_shape(self, input_shape: tuple) -> tuple:
        return input_shape


@keras.saving.register_keras_serializable(_PACKAGE)
class Probabilities(keras.layers.Layer):
    """Cast probabilities that were computed in half precision to float32.

    Rows that sum to one up to the rounding of half precision are divided by their sum.
    All others stay what they are: they are no probabilities, and shall be seen so.

    Parameters
    ----------
    **kwargs
        Passed on to `keras.layers.Layer`.
    """

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**{**kwargs, "dtype": "float32"})

    def call(self, inputs: Any) -> Any:
        ops = keras.ops
        x = ops.cast(inputs, "float32")
        total = ops.sum(x, axis=-1, keepdims=True)
        return x / ops.where(ops.abs(total - 1) < 0.05, total, ops.ones_like(total))

    def compute_output_shape(self, input_shape: tuple) -> tuple:
        return input_shape


@keras.saving.register_keras_serializable(_PACKAGE)
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


@keras.saving.register_keras_serializable(_PACKAGE)
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


@keras.saving.register_keras_serializable(_PACKAGE)
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


@keras.saving.register_keras_serializable(_PACKAGE)
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


@keras.saving.register_keras_serializable(_PACKAGE)
class PixelEmbedding(keras.layers.Layer):
    """Give each of 256 grey levels a vector of its own, learned.

    Takes (n, n_steps, n_features), gives (n, n_steps, n_features * units): the vectors
    of a step's pixels side by side. The levels divide the range from `low` to `high`,
    two weights that `set` fills, evenly; what lies beyond belongs to the nearest. Of
    bytes that reach from 0 to 255 each is a level.

    Neighbouring levels start with neighbouring vectors (the level itself, then its
    slow waves; see `initialize`): started at random, a network would have to learn
    from few images that 17 is next to 18.

    Parameters
    ----------
    units : int
        Length of a level's vector.
    **kwargs
        Passed on to `keras.layers.Layer`.
    """

    n_levels = 256

    def __init__(self, units: int = 4, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.units = units

    def build(self, input_shape: tuple) -> None:
        own: dict[str, Any] = {"shape": (), "trainable": False, "autocast": False}
        self.low = self.add_weight(initializer="zeros", name="low", **own)
        self.high = self.add_weight(initializer="ones", name="high", **own)
        self.levels = self.add_weight(
            shape=(self.n_levels, self.units),
            initializer="glorot_uniform",
            name="levels",
        )

    def set(self, low: float, high: float) -> None:
        """Set the range that the levels divide, in the input's units.

        Parameters
        ----------
        low, high : float
            The lowest and the highest level.
        """
        self.low.assign(low)
        self.high.assign(high if high > low else low + 1.0)

    def call(self, inputs: Any) -> Any:
        ops = keras.ops
        x = ops.cast(inputs, "float32")
        place = (x - ops.cast(self.low, "float32")) / ops.cast(
            self.high - self.low, "float32"
        )
        place = ops.clip(place, 0, 1) * (self.n_levels - 1)
        level = ops.cast(ops.round(place), "int32")
        # Times one: the gradient of a product is dense, that of a bare lookup is not.
        vectors = ops.take(self.levels * 1.0, level, axis=0)
        shape = ops.shape(inputs)
        x = ops.reshape(vectors, (shape[0], shape[1], inputs.shape[-1] * self.units))
        return ops.cast(x, self.compute_dtype)

    def compute_output_shape(self, input_shape: tuple) -> tuple:
        return (*input_shape[:-1], input_shape[-1] * self.units)

    def get_config(self) -> dict:
        return {**super().get_config(), "units": self.units}
