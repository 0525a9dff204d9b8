"""Dropout, noise and the L2 penalty, with strengths that are weights of the network.

A search varies these strengths. Because they are weights and not constants of the
graph, one traced graph serves all their values.
"""

from typing import Any

from sklstm._keras import keras


@keras.saving.register_keras_serializable("sklstm")
class HyperDropout(keras.layers.Layer):
    """Dropout whose rate is a weight, so that a new rate needs no new graph.

    In training, the layer sets a random part of its inputs to zero and divides the
    others by ``1 - rate`` (Srivastava et al., 2014).

    Parameters
    ----------
    rate : float
        Fraction of the inputs to set to zero, in [0, 1). Assign to the weight `rate` of
        the layer to change it.
    **kwargs
        Keyword arguments of `keras.layers.Layer`.

    References
    ----------
    Srivastava, N., Hinton, G., Krizhevsky, A., Sutskever, I. and Salakhutdinov, R.
    (2014). Dropout: a simple way to prevent neural networks from overfitting. JMLR 15.

    Examples
    --------
    >>> import keras
    >>> from sklstm.networks import HyperDropout
    >>> layer = HyperDropout(0.5)
    >>> layer(keras.ops.ones((1, 3))).numpy()  # no dropout outside of training
    array([[1., 1., 1.]], dtype=float32)
    >>> _ = layer.rate.assign(0.2)
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
class StemDropout(HyperDropout):
    """`HyperDropout` in the residual blocks of a stem, which has a rate of its own.

    Parameters
    ----------
    rate : float
        Fraction of the inputs to set to zero, in [0, 1).
    **kwargs
        Keyword arguments of `keras.layers.Layer`.

    Examples
    --------
    >>> import keras
    >>> from sklstm.networks import StemDropout
    >>> StemDropout(0.5)(keras.ops.ones((1, 3))).numpy()
    array([[1., 1., 1.]], dtype=float32)
    """


@keras.saving.register_keras_serializable("sklstm")
class DropPath(HyperDropout):
    """Stochastic depth: leaves out a residual branch for some samples of a batch.

    In training, the layer sets all values of a random part of the samples to zero and
    divides the others by the probability to be kept [1]_. The probability to be left
    out is ``rate * share``.

    Parameters
    ----------
    rate : float
        Probability to leave out the last branch of the network, in [0, 1). Assign to
        the weight `rate` of the layer to change it.
    share : float
        Share of the probability that this branch has, in [0, 1].
    **kwargs
        Keyword arguments of `keras.layers.Layer`.

    References
    ----------
    .. [1] G. Huang, Y. Sun, Z. Liu, D. Sedra and K. Q. Weinberger, "Deep networks with
       stochastic depth", ECCV 2016.

    Examples
    --------
    >>> import keras
    >>> from sklstm.networks import DropPath
    >>> layer = DropPath(0.5)
    >>> layer(keras.ops.ones((1, 3))).numpy()  # all branches outside of training
    array([[1., 1., 1.]], dtype=float32)
    >>> _ = layer.rate.assign(0.2)
    """

    def __init__(self, rate: float, share: float = 1.0, **kwargs: Any) -> None:
        super().__init__(rate, **kwargs)
        self.share = share

    def call(self, inputs: Any, training: bool = False) -> Any:
        if not training:
            return inputs
        ops = keras.ops
        shape = (ops.shape(inputs)[0], *(1,) * (len(inputs.shape) - 1))
        uniform = keras.random.uniform(shape, dtype="float32", seed=self.seed_generator)
        rate = ops.cast(self.rate, "float32") * self.share
        kept = ops.cast(uniform >= rate, "float32") / (1 - rate)
        return inputs * ops.cast(kept, inputs.dtype)

    def get_config(self) -> dict:
        return {**super().get_config(), "share": self.share}


@keras.saving.register_keras_serializable("sklstm")
class HyperNoise(keras.layers.Layer):
    """Gaussian noise whose standard deviation is a weight.

    In training, the layer adds noise to its input, which acts as a regularizer (Bishop,
    1995).

    Parameters
    ----------
    stddev : float
        Standard deviation of the noise, in the units of the input. Assign to the weight
        `stddev` of the layer to change it.
    **kwargs
        Keyword arguments of `keras.layers.Layer`.

    References
    ----------
    Bishop, C. M. (1995). Training with noise is equivalent to Tikhonov regularization.
    Neural Computation 7.

    Examples
    --------
    >>> import keras
    >>> from sklstm.networks import HyperNoise
    >>> layer = HyperNoise(0.5)
    >>> layer(keras.ops.ones((1, 3))).numpy()  # no noise outside of training
    array([[1., 1., 1.]], dtype=float32)
    >>> _ = layer.stddev.assign(0.1)
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
    """Penalty on the sum of squares, with a strength that may be a variable.

    Parameters
    ----------
    l2 : float or keras.Variable
        Strength of the penalty.
    """

    def __init__(self, l2: Any) -> None:
        self.l2 = l2

    def __call__(self, x: Any) -> Any:
        return keras.ops.cast(self.l2, x.dtype) * keras.ops.sum(keras.ops.square(x))

    def get_config(self) -> dict:
        return {"l2": float(keras.ops.convert_to_tensor(self.l2))}


@keras.saving.register_keras_serializable("sklstm")
class PenaltyStrength(keras.layers.Layer):
    """Identity layer that holds the strength of the network's L2 penalty.

    Parameters
    ----------
    l2 : float
        Strength of the penalty on every kernel. Assign to the weight `l2` of the layer
        to change it.
    **kwargs
        Keyword arguments of `keras.layers.Layer`.

    Examples
    --------
    >>> import keras
    >>> from sklstm.networks import PenaltyStrength
    >>> penalty = PenaltyStrength(0.01)
    >>> dense = keras.layers.Dense(2, kernel_regularizer=penalty.regularizer())
    >>> _ = penalty.l2.assign(0.1)  # changes the penalty of `dense`
    """

    def __init__(self, l2: float, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        # Not in `build`: the regularizers of other layers refer to this weight before
        # the layer is built.
        self.l2 = self.add_weight(
            shape=(),
            initializer=keras.initializers.Constant(l2),
            trainable=False,
            name="l2",
        )

    def regularizer(self) -> L2:
        """Return a regularizer that uses the strength of this layer.

        Returns
        -------
        L2
            Regularizer for the kernels of other layers.
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
