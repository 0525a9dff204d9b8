"""Complete copies of a user's Keras losses, metrics, optimizers and layers.

Keras copies and pickles these objects by their configuration alone. A user's class with
an incomplete `get_config` comes back with its defaults, and a class that is not
registered does not come back at all. The copies made here use the configuration where
Keras needs it, and keep the other attributes of the object as well.
"""

import copy
import copyreg
import inspect
from collections.abc import Callable, Iterator
from typing import Any

from sklstm._keras import keras

import numpy as np


def keep_whole_in_copies() -> None:
    """Let `copy` and `pickle` keep all attributes of the user's Keras objects.

    scikit-learn copies parameters when it clones an estimator, and the values of a grid
    before it sets them. The copies must therefore be right before an estimator sees
    them. The registry of `copyreg` makes this possible.
    """
    reducers: dict[type, Callable] = {
        keras.losses.Loss: _reduce_loss,
        keras.metrics.Metric: _reduce_stateful,
        keras.optimizers.Optimizer: _reduce_stateful,
    }
    for base, reduce in reducers.items():
        for kind in _subclasses(base):
            own_way = kind.__reduce__ is not base.__reduce__
            if not own_way and not getattr(kind, "_sklstm_mixed", False):
                copyreg.pickle(kind, reduce)
    layer = keras.layers.Layer
    for kind in _subclasses(layer):
        own_way = kind.__reduce__ is not layer.__reduce__
        if not own_way and not _in_keras(kind):
            copyreg.pickle(kind, _reduce_layer)


def _subclasses(kind: type) -> Iterator[type]:
    below: list[type] = kind.__subclasses__()
    for one in below:
        yield one
        yield from _subclasses(one)


def _kind(thing: Any) -> Any:
    return thing if hasattr(thing, "__name__") else type(thing)


def _in_keras(kind: Any) -> bool:
    return kind.__module__.partition(".")[0] in ("keras", "sklstm")


def _reduce_loss(loss: Any) -> tuple:
    if _in_keras(type(loss)) and _in_keras(_kind(getattr(loss, "fn", loss))):
        return loss.__reduce__()  # its configuration is complete
    return _make_loss, (type(loss),), dict(vars(loss))


def _make_loss(kind: Any) -> Any:
    # In another process, the class is not registered yet, and may be copied again.
    keep_whole_in_copies()
    return kind.__new__(kind)


def _reduce_stateful(thing: Any) -> tuple:
    holds = [getattr(thing, name, None) for name in ("_learning_rate", "_fn")]
    own = [one for one in holds if callable(one) and not _is_machinery(one)]
    if _in_keras(type(thing)) and all(_in_keras(_kind(one)) for one in own):
        return thing.__reduce__()  # its configuration is complete
    return _rebuild, _parts(thing)


def _reduce_layer(layer: Any) -> tuple:
    if layer.weights or isinstance(layer, keras.Model):
        return layer.__reduce__()  # Keras keeps the weights
    return _from_config, (type(layer), layer.get_config())


def rebuilt(thing: Any, kind: type | None = None) -> Any:
    """Return an equal metric or optimizer in its initial state.

    Parameters
    ----------
    thing : keras.metrics.Metric or keras.optimizers.Optimizer
        Object to copy. It does not change.
    kind : type or None
        Class of the copy, a subclass of the class of `thing`. If None, that class.

    Returns
    -------
    object
        Object made from the configuration, with copies of all other attributes.

    Raises
    ------
    TypeError
        If the object cannot be made from its configuration.
    """
    made, config, attributes = _parts(thing)
    return _rebuild(kind or made, config, copy.deepcopy(attributes))


def _parts(thing: Any) -> tuple[type, dict, dict]:
    """Return class, configuration, and the attributes that this does not hold."""
    kind, config = type(thing), configuration(thing)
    plain = _from_config(kind, config)
    known = set(vars(_plain_parent(thing, config)))
    attributes = {}
    for name, value in vars(thing).items():
        if name == "name":
            continue
        new = name not in vars(plain)
        if name in known or (new and name.startswith("_")) or _is_machinery(value):
            continue
        if new or not _equal(value, vars(plain)[name]):
            attributes[name] = _untracked(value)
    held, made = (getattr(one, "_variables", ()) for one in (thing, plain))
    if len(held) == len(made) and any(
        tuple(a.shape) != tuple(b.shape) for a, b in zip(held, made, strict=True)
    ):
        raise TypeError(_advice(kind, "makes variables of other shapes"))
    rate = getattr(thing, "_learning_rate", None)
    if rate is not None and not _is_machinery(rate):
        attributes["_learning_rate"] = rate  # a schedule, or a function
    return kind, config, attributes


def _rebuild(kind: type, config: dict, attributes: dict) -> Any:
    keep_whole_in_copies()
    made = _from_config(kind, config)
    attributes = dict(attributes)
    if "_learning_rate" in attributes:
        made.learning_rate = attributes.pop("_learning_rate")
    vars(made).update(attributes)
    return made


def configuration(thing: Any) -> dict[str, Any]:
    """Return the configuration of a metric or an optimizer.

    The configuration leaves out a learning rate that is a schedule or a function,
    because it may not be possible to describe it.
    """
    # The user's object must not change, so a copy is asked.
    twin = object.__new__(type(thing))
    vars(twin).update(vars(thing))
    if callable(getattr(twin, "_learning_rate", None)) and not _is_machinery(
        twin._learning_rate
    ):
        vars(twin)["_learning_rate"] = None
    if type(thing).__name__ == "MeanMetricWrapper":
        kwargs = thing._fn_kwargs
        return {"fn": thing._fn, "name": thing.name, "dtype": thing.dtype, **kwargs}
    try:
        config = dict(twin.get_config())
    except NotImplementedError:
        config = {}
    # A class may leave parameters out, but keep them as attributes of the same name.
    kind: Any = type(thing)
    for name in inspect.signature(kind.__init__).parameters:
        value = vars(thing).get(name)
        if name not in config and value is not None and not _is_machinery(value):
            config[name] = _untracked(value)
    return config


def _from_config(kind: type, config: dict) -> Any:
    try:
        if "fn" in config and callable(config["fn"]):
            return kind(**config)
        return kind.from_config(dict(config))  # type: ignore[attr-defined]
    except (TypeError, ValueError) as error:
        raise TypeError(_advice(kind, str(error))) from error


def _advice(kind: type, reason: str) -> str:
    return (
        f"{kind.__name__} cannot be copied, since its get_config does not bring it "
        f"back ({reason}): return all parameters of its __init__ from get_config."
    )


def _plain_parent(thing: Any, config: dict) -> Any:
    """Return a new object of the nearest parent class of Keras, if it can be made."""
    for kind in type(thing).__mro__:
        if _in_keras(kind):
            parent: Any = kind
            names = inspect.signature(parent.__init__).parameters
            given = {k: v for k, v in config.items() if k in names}
            for name in names:
                if name not in given and hasattr(thing, name):
                    given[name] = getattr(thing, name)
            try:
                return parent(**given)
            except Exception:
                break
    return keras.metrics.Metric()


def _is_machinery(value: Any) -> bool:
    """Return whether Keras made this value, such as a variable, and not the user."""
    if isinstance(value, keras.Variable | keras.metrics.Metric):
        return True
    if isinstance(value, list | tuple | dict) and value:
        inner = value.values() if isinstance(value, dict) else value
        return any(isinstance(one, keras.Variable) for one in inner)
    return type(value).__name__ == "Tracker"


def _untracked(value: Any) -> Any:
    """Return a plain container. Keras replaces containers by its own."""
    for plain in (list, dict, set):
        if isinstance(value, plain) and type(value).__name__.startswith("Tracked"):
            return plain(value)
    return value


def _equal(a: Any, b: Any) -> bool:
    if a is b:
        return True
    if type(a) is not type(b):
        return False
    if isinstance(a, np.ndarray):
        return np.array_equal(a, b)
    try:
        return bool(a == b)
    except Exception:
        return False
