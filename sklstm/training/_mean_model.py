"""One model of several, which returns their outputs or the mean of these."""

from sklstm._keras import keras


def mean_model(
    models: list[keras.Model],
    temperature: float | None = None,
    smallest: float = 0.0,
) -> keras.Model:
    """Return a model of the mean output of several models of one kind.

    Parameters
    ----------
    models : list of keras.Model
        Models with one input and one output each, of equal shapes. The new model holds
        their layers.
    temperature : float or None
        If not None, the mean is a probability, and its logarithm is divided by the
        temperature.
    smallest : float
        Lower bound of the mean before its logarithm. The logarithm of zero would be
        infinite, which numbers of 16 or 8 bits cannot hold.

    Returns
    -------
    keras.Model
        The new model, which is not compiled.
    """
    inputs, outputs = _join(models)
    mean = outputs[0]
    if len(outputs) > 1:
        mean = keras.layers.Average(name="mean")(outputs)
    if temperature is not None:
        logits = keras.ops.log(keras.ops.maximum(mean, smallest))
        mean = keras.ops.softmax(logits / temperature)
    return keras.Model(inputs, mean, name="ensemble")


def joined_model(models: list[keras.Model]) -> keras.Model:
    """Return a model with the outputs of several models of one kind, in their order.

    Parameters
    ----------
    models : list of keras.Model
        As in `mean_model`.

    Returns
    -------
    keras.Model
        The new model, which is not compiled.
    """
    inputs, outputs = _join(models)
    return keras.Model(inputs, outputs, name="ensemble")


def _join(models: list[keras.Model]) -> tuple:
    """Return one input for all models, and their outputs for it."""
    inputs = keras.Input(batch_shape=models[0].inputs[0].shape, name="samples")
    outputs = [
        # The layers of a model need names that differ.
        keras.Model(model.inputs[0], model.outputs[0], name=f"member_{i + 1}")(inputs)
        for i, model in enumerate(models)
    ]
    return inputs, outputs
