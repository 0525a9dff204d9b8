"""A pretrained model as a layer that always computes as in prediction."""

from typing import Any, Self

from sklstm._keras import keras


@keras.saving.register_keras_serializable("sklstm")
class PretrainedModel(keras.layers.Layer):
    """A model whose dropout is off and whose normalizations keep their statistics.

    Keras tells all layers of a functional model, and all models in it, whether it is
    training, and ``model(x, training=False)`` does not change that. In this layer, the
    model computes as in prediction, and its weights can train.

    Parameters
    ----------
    model : keras.Model
        The model. The layer computes in float32 under every dtype policy.
    **kwargs
        Keyword arguments of `keras.layers.Layer`.

    Examples
    --------
    >>> import keras
    >>> from sklstm.networks import PretrainedModel
    >>> model = keras.Sequential([keras.Input((4,)), keras.layers.Dropout(0.5)])
    >>> x = keras.ops.ones((1, 4))
    >>> PretrainedModel(model)(x, training=True).numpy()
    array([[1., 1., 1., 1.]], dtype=float32)
    """

    def __init__(self, model: keras.Model, **kwargs: Any) -> None:
        super().__init__(**{"dtype": "float32", **kwargs})
        self.model = model

    @property
    def layers(self) -> list:
        """The model, as the only layer inside this one."""
        return [self.model]

    def build(self, input_shape: tuple) -> None:
        pass

    def call(self, inputs: Any) -> Any:
        return self.model(inputs, training=False)

    def compute_output_shape(self, input_shape: tuple) -> tuple:
        return self.model.compute_output_shape(input_shape)

    def get_config(self) -> dict[str, Any]:
        model = keras.saving.serialize_keras_object(self.model)
        return {**super().get_config(), "model": model}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Self:
        model = keras.saving.deserialize_keras_object(config["model"])
        return cls(**{**config, "model": model})
