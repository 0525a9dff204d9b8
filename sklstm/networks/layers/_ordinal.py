"""The output layer of a network for ordered classes."""

from typing import Any

from sklstm._keras import keras


@keras.saving.register_keras_serializable("sklstm")
class CumulativeLink(keras.layers.Layer):
    """Logistic cumulative-link model: probabilities of ordered classes.

    The layer takes features (n, n_features) and returns probabilities (n, n_classes),
    float32. It computes one score s for each sample, a linear function of the features.
    All samples share thresholds t[0] < t[1] < ... that divide the scores into classes
    (McCullagh, 1980)::

        P(class > k) = 1 / (1 + exp(t[k] - s))

    A higher score makes every higher class more probable. This holds for any weights.

    The weight `thresholds` holds t[0], then the distances between neighbouring
    thresholds before a softplus. `sklstm.networks.initialize.initialize` sets them to
    values for which all classes are equally probable at a score of 0.

    Parameters
    ----------
    n_classes : int
        Number of classes, at least 2.
    kernel_regularizer : keras.regularizers.Regularizer or None
        Penalty on the weights of the score.
    **kwargs
        Keyword arguments of `keras.layers.Layer`. The dtype is float32 by default.

    Raises
    ------
    ValueError
        If `n_classes` is less than 2.

    References
    ----------
    McCullagh, P. (1980). Regression models for ordinal data. Journal of the Royal
    Statistical Society B 42.

    Examples
    --------
    >>> import keras
    >>> from sklstm.networks import CumulativeLink
    >>> probabilities = CumulativeLink(n_classes=5)(keras.ops.ones((3, 16)))
    >>> tuple(probabilities.shape)
    (3, 5)
    """

    def __init__(
        self, n_classes: int, kernel_regularizer: Any = None, **kwargs: Any
    ) -> None:
        # Half precision cannot represent small differences between probabilities.
        super().__init__(**{"dtype": "float32", **kwargs})
        if n_classes < 2:
            raise ValueError(f"n_classes={n_classes!r} must be at least 2.")
        self.n_classes = n_classes
        self.kernel_regularizer = keras.regularizers.get(kernel_regularizer)

    def build(self, input_shape: tuple) -> None:
        self.kernel = self.add_weight(
            shape=(input_shape[-1], 1),
            initializer="glorot_uniform",
            regularizer=self.kernel_regularizer,
            name="kernel",
        )
        self.thresholds = self.add_weight(
            shape=(self.n_classes - 1,), initializer="zeros", name="thresholds"
        )

    def call(self, inputs: Any) -> Any:
        ops = keras.ops
        score = ops.matmul(inputs, self.kernel)
        gaps = ops.softplus(self.thresholds[1:])
        thresholds = self.thresholds[0] + ops.concatenate(
            [ops.zeros((1,), "float32"), ops.cumsum(gaps)]
        )
        above = score - thresholds
        # P(k) = P(> k - 1) - P(> k) is a difference of nearly equal numbers if the
        # score is far from the thresholds. It equals the product of P(> k - 1),
        # P(<= k) and 1 - exp(-gap), and the logarithms of these factors are exact.
        none = ops.zeros_like(score)
        log_above = ops.concatenate([none, ops.log_sigmoid(above)], axis=1)
        log_below = ops.concatenate([ops.log_sigmoid(-above), none], axis=1)
        between = ops.log(-ops.expm1(-gaps))
        edge = ops.zeros((1,), "float32")
        log_between = ops.concatenate([edge, between, edge])
        # The probabilities sum to one already. Keras computes the cross-entropy of a
        # softmax from its logits, which is exact for small probabilities, too.
        return keras.activations.softmax(log_above + log_below + log_between)

    def compute_output_shape(self, input_shape: tuple) -> tuple:
        return (*input_shape[:-1], self.n_classes)

    def get_config(self) -> dict:
        regularizer = keras.regularizers.serialize(self.kernel_regularizer)
        return {
            **super().get_config(),
            "n_classes": self.n_classes,
            "kernel_regularizer": regularizer,
        }
