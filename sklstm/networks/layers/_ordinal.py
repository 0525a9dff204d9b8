"""The end of a network whose classes are ordered: one score, cut by thresholds."""

from typing import Any

from sklstm._keras import keras


@keras.saving.register_keras_serializable("sklstm")
class CumulativeLink(keras.layers.Layer):
    """Probabilities of ordered classes: a logistic cumulative-link model.

    Takes (n, n_features), gives (n, n_classes), float32. Every sample gets one score s,
    linear in its features, and P(class > k) = 1 / (1 + exp(t_k - s)) with thresholds
    t_0 < t_1 < ... that all samples share (McCullagh, 1980): the higher the score, the
    more probable is every higher class, so these probabilities are ordered whatever
    the weights.

    The first of the weights named "thresholds" is t_0, the others are the distances
    between neighbours before a softplus. They start where a score of 0 makes all
    classes equally probable.

    Parameters
    ----------
    n_classes : int
        At least 2.
    kernel_regularizer : keras.regularizers.Regularizer or None
        Of the weights that make the score.
    **kwargs
        Passed on to `keras.layers.Layer`.
    """

    def __init__(
        self, n_classes: int, kernel_regularizer: Any = None, **kwargs: Any
    ) -> None:
        # Single precision whatever the policy: differences of probabilities are small.
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
        # P(k) = P(> k - 1) - P(> k) is a difference of nearly equal numbers far out, so
        # its logarithm is taken factor by factor: of P(> k - 1), of P(<= k), and of
        # 1 - exp(-gap).
        none = ops.zeros_like(score)
        log_above = ops.concatenate([none, ops.log_sigmoid(above)], axis=1)
        log_below = ops.concatenate([ops.log_sigmoid(-above), none], axis=1)
        between = ops.log(-ops.expm1(-gaps))
        edge = ops.zeros((1,), "float32")
        log_between = ops.concatenate([edge, between, edge])
        # They sum to one already. From a softmax, Keras takes the loss by logarithms.
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
