"""The use of scikeras, which makes Keras objects from routed parameters.

The `BaseWrapper` of scikeras turns parameters such as ``optimizer__beta_1``,
``callbacks__0__patience`` and ``loss__gamma`` into objects. No other module uses
scikeras.
"""

import inspect
from collections.abc import Callable
from typing import Any

from sklstm._keras import import_quietly, keras

from sklstm.training._hyperparameters import NETWORK_PARAMS, own_params
from sklstm.training._metrics import leaves, make_metrics
from sklstm.training._own_network import parameters_of

# scikeras loads TensorFlow, whichever backend Keras has.
BaseWrapper = import_quietly("scikeras.wrappers").BaseWrapper


def build_model(
    build: Callable[..., keras.Model],
    network_params: dict[str, Any],
    compile_params: dict[str, Any],
    jit_compile: bool | str,
    accuracy: bool = True,
) -> keras.Model:
    """Build a network and compile it with routed optimizer, loss and metrics.

    Parameters
    ----------
    build : callable
        Function that returns a `keras.Model` and takes keyword arguments only.
    network_params : dict
        Arguments of this function.
    compile_params : dict
        ``optimizer`` (a class), ``loss`` and ``metrics`` with their routed parameters.
    jit_compile : bool or str
        As in `keras.Model.compile`.
    accuracy : bool
        If True, the network predicts classes, and the accuracy is a metric.

    Returns
    -------
    keras.Model
        Compiled model.

    Raises
    ------
    TypeError
        If a routed parameter is unknown.
    ValueError
        If a loss or metric is unknown, or if a metric cannot be computed.
    """
    if accuracy:
        _check_network_params(build, network_params)
    for part in ("optimizer", "loss", "metrics"):
        _check_part(part, compile_params)

    def compiled(compile_kwargs: dict[str, Any]) -> keras.Model:
        model = build(**network_params)
        made = compile_kwargs.pop("metrics")
        metrics = []
        if accuracy:
            own = make_metrics(
                compile_params["metrics"],
                made,
                {k: v for k, v in compile_params.items() if k.startswith("metrics__")},
                network_params["n_classes"],
            )
            metrics = ["accuracy", *own]
        model.compile(**compile_kwargs, metrics=metrics, jit_compile=jit_compile)
        return model

    wrapper = BaseWrapper(model=compiled, **compile_params)
    wrapper._random_state = None  # this package seeds its networks
    return wrapper._build_keras_model()


def _check_network_params(build: Callable, network_params: dict[str, Any]) -> None:
    known = parameters_of(build)
    if any(p.kind is p.VAR_KEYWORD for p in known.values()):
        return
    kind = "class" if isinstance(inspect.unwrap(build), type) else "function"
    function = getattr(build, "__name__", build)
    for name in ("input_shape", "n_classes"):
        if name not in known:
            raise TypeError(
                f"The network {kind} {function!r} must have parameters named "
                f"input_shape and n_classes; it has {', '.join(known) or 'none'}."
            )
    for name in network_params:
        if name not in known:
            takes = own_params(known)
            shared = [p for p in known if p in NETWORK_PARAMS]
            also = f"; {', '.join(shared)} are set without network__" if shared else ""
            raise TypeError(
                f"network__{name} is not a parameter of the network {kind} "
                f"{function!r}: it takes {', '.join(takes) or 'none'}{also}."
            )


def _check_part(part: str, params: dict[str, Any]) -> None:
    """Make optimizer, loss or metrics once, to name the part that fails."""
    value = params[part]
    routed = {k: v for k, v in params.items() if k.startswith(f"{part}__")}
    try:
        BaseWrapper(**{part: value, **routed})._get_compile_kwargs()
    except (TypeError, ValueError) as error:
        raise _blame(part, value, routed, error) from error


def _blame(part: str, value: Any, routed: dict, error: Exception) -> Exception:
    reason = str(error)
    if "not a class" in reason:
        reason = "only a class takes parameters, not a name, function or instance."
    given = getattr(value, "__name__", None) or repr(value)
    with_routed = ", ".join(f"{name}={v!r}" for name, v in routed.items())
    return type(error)(
        f"{part}={given}{' with ' if routed else ''}{with_routed} cannot be used: "
        f"{reason}"
    )


def make_callbacks(callbacks: Any, routed: dict[str, Any]) -> list:
    """Return Keras callbacks from classes, instances, lists or dicts of them.

    Parameters
    ----------
    callbacks : Any
        Callbacks in a form that scikeras accepts.
    routed : dict
        Parameters with the prefix ``callbacks__``.

    Returns
    -------
    list of keras.callbacks.Callback
        Flat list.

    Raises
    ------
    TypeError
        If an item is not a callback, or if a routed parameter is unknown.
    """
    try:
        for callback in leaves(callbacks):
            kind = callback if isinstance(callback, type) else type(callback)
            if not issubclass(kind, keras.callbacks.Callback):
                raise TypeError(
                    "give classes or instances of keras.callbacks.Callback, or a list "
                    "or dict of them."
                )
        if routed and callbacks is None:
            raise TypeError("give callbacks the class that takes them.")
        wrapper = BaseWrapper(callbacks=callbacks, **routed)
        wrapper._initialize_callbacks()
    except (TypeError, ValueError) as error:
        raise _blame("callbacks", callbacks, routed, error) from error
    flat: list = []
    for callback in wrapper._fit_callbacks:
        flat.extend(callback if isinstance(callback, list) else [callback])
    return flat
