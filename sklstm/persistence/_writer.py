"""From estimators to plain data: JSON, arrays and networks.

A value that JSON can express is written as it is. Any other value is written as an
object with one key, the kind of the value: ``{"tuple": [1, 2]}``.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Iterable
from dataclasses import fields
from typing import TYPE_CHECKING, Any

import numpy as np
from sklearn.base import BaseEstimator
from sklearn.utils import Bunch
from sklearn.utils.metadata_routing import MetadataRequest

from sklstm._compat import BaseSearchCV
from sklstm.persistence._archive import PLAIN_KINDS, Refused
from sklstm.persistence._lazy_keras import keras_objects
from sklstm.persistence._names import FOLDERS, NAMES_IN_FILES, qualified_name

if TYPE_CHECKING:
    from sklstm.training._fitted_network import FittedNetwork

# `load` sets these attributes anew, or does without them.
_NOT_KEPT = ("_sklearn_version", "_skl_callbacks")


class Writer:
    """Turns an estimator into plain data, and collects its arrays and networks."""

    def __init__(self) -> None:
        self.arrays: list[np.ndarray] = []
        self.networks: dict[str, bytes] = {}
        self.holds_models = False
        self._seen: list[Any] = []
        # The user's own network functions, with the files of their networks.
        self._files: list[tuple[Callable, str]] = []
        self._functions: dict[str, Callable] = {}

    def write(self, value: Any, where: str = "") -> Any:
        """Return plain data for a value, which messages call `where`.

        Raises
        ------
        TypeError
            If a file cannot hold the value.
        """
        kind = type(value)
        if value is None or kind in (bool, int, str):
            return value
        if kind is float:
            return value if math.isfinite(value) else {"float": repr(value)}
        if kind is list:
            return self._items(value, where)
        if kind is tuple:
            return {"tuple": self._items(value, where)}
        if kind in (dict, Bunch):
            pairs = [
                [self.write(key, where), self.write(item, f"{where}[{key!r}]")]
                for key, item in value.items()
            ]
            return {kind.__name__.lower(): pairs}
        if kind is slice:
            return {"slice": [value.start, value.stop, value.step]}
        if kind is np.ndarray:
            return self._array(value, where)
        if isinstance(value, np.generic) and value.dtype.kind in PLAIN_KINDS:
            scalar = np.asarray(value)
            return {"scalar": [scalar.dtype.str, scalar.tobytes().hex()]}
        if isinstance(value, np.dtype) and value.kind in PLAIN_KINDS:
            return {"dtype": value.str}
        if isinstance(value, BaseEstimator):
            return self._once(value, self._estimator, where)
        if kind is np.random.RandomState:
            return self._once(value, self._random_state, where)
        if isinstance(value, type):
            return self._class(value)
        # Without Keras in this process, the value cannot be one of its objects.
        if "keras" in sys.modules and keras_objects().is_object(value):
            if keras_objects().has_weights(value):
                return self._once(value, self._model, where)
            return self._keras(value, where)
        if callable(value):
            return self._function(value, where)
        raise _cannot_hold(value, where)

    def _items(self, value: Iterable, where: str) -> list:
        items = []
        for place, item in enumerate(value):
            # Messages call a step of a Pipeline by its name.
            named = type(item) is tuple and item and type(item[0]) is str
            label = item[0] if named else place
            own = where if isinstance(value, tuple) else f"{where}[{label!r}]"
            items.append(self.write(item, own))
        return items

    def _once(self, value: Any, write: Callable, where: str) -> dict[str, Any]:
        for place, seen in enumerate(self._seen):
            if seen is value:
                return {"again": place}
        self._seen.append(value)
        return write(value, where)

    def _array(self, array: np.ndarray, where: str) -> dict[str, Any]:
        if array.dtype == object:
            items = self._items(array.ravel().tolist(), where)
            return {"objects": [list(array.shape), items]}
        if array.dtype.kind not in PLAIN_KINDS:
            raise _cannot_hold(array, where)
        for place, seen in enumerate(self.arrays):
            if seen is array:
                return {"array": place}
        self.arrays.append(array)
        return {"array": len(self.arrays) - 1}

    def _random_state(self, state: np.random.RandomState, where: str) -> dict:
        numbers = state.get_state(legacy=False)
        if numbers["bit_generator"] != "MT19937":
            raise _cannot_hold(state, where)
        key, position = numbers["state"]["key"], numbers["state"]["pos"]
        rest = [position, numbers["has_gauss"], numbers["gauss"]]
        return {"random_state": [self.write(key, where), *rest]}

    def _class(self, value: type) -> dict[str, str]:
        if issubclass(value, np.generic):
            return {"class": f"numpy.{value.__name__}"}
        name = None
        if "keras" in sys.modules:
            name = keras_objects().public_name(value)
        return {"class": name or qualified_name(value)}

    def _keras(self, value: Any, where: str) -> dict[str, Any]:
        try:
            description = keras_objects().describe(value)
            keras_objects().foreign(description)  # raises if it contains code
        except Refused as error:
            raise TypeError(f"{where} cannot be saved: it {error}") from None
        except (NotImplementedError, TypeError, ValueError) as error:
            raise TypeError(
                f"{where} cannot be saved: Keras cannot describe it ({error})."
            ) from error
        return {"keras": self.write(description, where)}

    def _model(self, value: Any, where: str) -> dict[str, Any]:
        if not keras_objects().is_model(value):
            raise TypeError(
                f"{where} is a {type(value).__name__} with weights. A file keeps the "
                "weights of a keras.Model only: put the layer into a keras.Sequential."
            )
        description = self._keras(value, where)["keras"]
        self.holds_models = True
        weights = [_as_plain(np.asarray(one)) for one in value.get_weights()]
        return {"model": [description, self.write(weights, where)]}

    def _function(self, value: Any, where: str) -> dict[str, Any]:
        for function, file in self._files:
            if function == value:
                saved = isinstance(value, keras_objects().SavedNetwork)
                return {
                    "network": {
                        "function": value.name if saved else qualified_name(value),
                        "takes": getattr(value, "takes", "sequences"),
                        "file": file,
                    }
                }
        if not hasattr(value, "__qualname__") and not isinstance(value, np.ufunc):
            raise _cannot_hold(value, where)
        name = qualified_name(value)
        if "<lambda>" in name:
            raise TypeError(
                f"{where} is a lambda, which has no name to give `load` again: define "
                "it by def."
            )
        if self._functions.setdefault(name, value) != value:
            raise TypeError(
                f"{where} is one of two functions called {name!r}, which `load` could "
                "not tell apart: give them names of their own."
            )
        return {"function": name}

    def _estimator(self, estimator: BaseEstimator, where: str) -> dict[str, Any]:
        kind = type(estimator)
        here = f"{where}: {kind.__name__}" if where else kind.__name__
        if isinstance(estimator, BaseSearchCV):
            raise TypeError(
                f"{here} is a search, which a file does not hold: save its "
                "best_estimator_."
            )
        state = dict(estimator.__getstate__())
        for name in _NOT_KEPT:
            state.pop(name, None)
        for folder, (what, _) in FOLDERS.items():
            if state.get(folder) not in (None, False):
                raise TypeError(
                    f"{here}.{folder}={state[folder]!r} is {what}, which a file does "
                    f"not hold: set {folder}=None before saving."
                )
        written: dict[str, Any] = {}
        # Networks come first, because the parameter `network` may refer to them.
        fitted = state.pop("_fitted_network", None)
        if fitted is not None:
            name = NAMES_IN_FILES["_fitted_network"]
            written[name] = self._fitted_network(fitted, here)
        if "_members" in state:
            members = state.pop("_members")
            written["_members"] = self.write(members, f"{here}.estimators_")
        for name, value in state.items():
            if isinstance(value, MetadataRequest):
                written[name] = self.write(_requests(value), f"{here}.{name}")
            else:
                written[name] = self.write(value, f"{here}.{name}")
        return {"estimator": {"class": qualified_name(kind), "state": written}}

    def _fitted_network(self, fitted: FittedNetwork, where: str) -> dict[str, Any]:
        module = keras_objects()
        try:
            with fitted.in_use() as compiled:
                network = module.save_network(compiled.model)
            module.foreign(module.read_network(network))  # raises if it contains code
        except Refused as error:
            raise TypeError(f"{where} cannot be saved: its network {error}") from None
        except (NotImplementedError, TypeError, ValueError) as error:
            raise TypeError(
                f"{where} cannot be saved: Keras cannot describe its network ({error})."
            ) from error
        file = f"networks/{len(self.networks)}.keras"
        self.networks[file] = network
        if callable(fitted.spec.network):
            self._files.append((fitted.spec.network, file))
        spec = {
            NAMES_IN_FILES.get(part.name, part.name): self.write(
                getattr(fitted.spec, part.name), where
            )
            for part in fields(fitted.spec)
        }
        state = {
            name: [_as_plain(number) for number in numbers]
            for name, numbers in fitted.get_state().items()
        }
        state = self.write(state, where)
        return {"lease": {"recipe": spec, "state": state, "file": file}}


def _as_plain(number: Any) -> Any:
    # NumPy cannot write bfloat16 to a file. float32 represents all of its numbers.
    is_half = isinstance(number, np.ndarray) and number.dtype.name == "bfloat16"
    return number.astype(np.float32) if is_half else number


def _requests(request: MetadataRequest) -> dict[str, dict]:
    methods = {
        name: getattr(method, "requests", None)
        for name, method in vars(request).items()
    }
    return {name: dict(asked) for name, asked in methods.items() if asked}


def _cannot_hold(value: Any, where: str) -> TypeError:
    kind = type(value)
    name = f"{kind.__module__}.{kind.__qualname__}"
    if isinstance(value, np.ndarray):
        name = f"{name} of dtype {value.dtype}"
    return TypeError(
        f"{where or 'The estimator'} is a {name}, which a file cannot hold: it holds "
        "plain values, arrays, estimators and Keras objects; keep this one by pickle, "
        "or leave it out."
    )
