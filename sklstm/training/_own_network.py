"""Checks and additions for a user's own network."""

import functools
import inspect
from collections.abc import Callable, Mapping
from typing import Any

from sklstm._keras import keras

from sklstm.networks import Probabilities


def parameters_of(build: Callable) -> Mapping[str, inspect.Parameter]:
    """Return the parameters of a network function or class by name.

    For a class of models, they are the named parameters of `__init__`. Other keyword
    arguments are for Keras.
    """
    build = inspect.unwrap(build)
    if not isinstance(build, type):
        return inspect.signature(build).parameters
    init: Any = build.__init__  # type: ignore[misc]
    parameters = list(inspect.signature(init).parameters.values())[1:]
    named = (p for p in parameters if p.kind not in (p.VAR_KEYWORD, p.VAR_POSITIONAL))
    return {p.name: p for p in named}


def completed(build: Callable) -> Callable:
    """Return a function that builds the same network in a form that can be trained.

    Parameters
    ----------
    build : callable
        Function or class of the user, ``build(input_shape, n_classes, **params)``.

    Returns
    -------
    callable
        Function that returns a functional model with one input and one output in
        float32. It raises TypeError or ValueError if it cannot make one from what
        `build` returns.
    """

    @functools.wraps(build)
    def built(input_shape: tuple, n_classes: int, **params: Any) -> keras.Model:
        model = build(input_shape=input_shape, n_classes=n_classes, **params)
        return _complete(model, input_shape, n_classes)

    return built


def _complete(model: Any, input_shape: tuple, n_classes: int) -> keras.Model:
    if not isinstance(model, keras.Model):
        raise TypeError(
            f"The network function returned a {type(model).__name__}: it must "
            "return a keras.Model."
        )
    if model.compiled:
        raise ValueError(
            "The network function returned a compiled model: return it without "
            "compile() and set optimizer, loss and metrics on the estimator."
        )
    given = model
    if isinstance(model, keras.Sequential) and not model.built:
        model.build((None, *input_shape))
    if not getattr(model, "inputs", None):  # a subclass has to be called
        inputs = keras.Input(input_shape)
        model = keras.Model(inputs, model(inputs), name=model.name)
    if len(model.inputs) != 1:
        raise ValueError(
            f"The network has {len(model.inputs)} inputs: it must have one, of shape "
            f"{(None, *input_shape)}."
        )
    taken = tuple(model.inputs[0].shape)
    if len(taken) != len(input_shape) + 1 or any(
        own not in (None, side) and not (side is None and i > 0)
        for i, (own, side) in enumerate(zip(taken, (None, *input_shape), strict=True))
    ):
        raise ValueError(
            f"The network takes inputs of shape {taken}, but X has samples of shape "
            f"{input_shape}: make its Input of input_shape."
        )
    check_outputs(model, n_classes)
    output = model.outputs[0]
    if output.dtype != "float32":
        output = Probabilities(name="probabilities")(output)
    nested = False  # in a list or a dict, which a Sequential cannot have
    if not isinstance(model, keras.Sequential):
        ends = (model.input, model.compute_output_spec(model.input))
        nested = any(map(keras.tree.is_nested, ends))
    if nested or output is not model.outputs[0]:
        model = keras.Model(model.inputs[0], output, name=model.name)
    own_step = type(given).train_step is not keras.Model.train_step
    if model is not given and own_step:
        raise ValueError(
            f"The network function returned a {type(given).__name__}, whose own "
            "train_step would not be run: return a functional model in float32 that "
            "gives one tensor, or leave train_step out."
        )
    return model


def check_outputs(model: keras.Model, n_classes: int) -> None:
    """Raise unless a model has one output with a number for each class."""
    if len(model.outputs) != 1 or tuple(model.outputs[0].shape[1:]) != (n_classes,):
        shapes = [tuple(output.shape) for output in model.outputs]
        raise ValueError(
            f"The network gives outputs of shape {shapes}: it must give one of "
            f"shape (None, {n_classes}), the probabilities of the classes."
        )


def check_sample_shape(model: keras.Model, shape: tuple[int, ...]) -> None:
    """Raise unless a model takes samples of a shape."""
    taken = tuple(model.inputs[0].shape[1:])
    if any(own not in (None, side) for own, side in zip(taken, shape, strict=True)):
        raise ValueError(
            f"The network takes samples of shape {taken}, but those of X have the "
            f"shape {shape}: make its Input of input_shape."
        )
