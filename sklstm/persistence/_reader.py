"""From plain data to estimators. The reader trusts nothing that a file says."""

from __future__ import annotations

import inspect
import json
from collections.abc import Callable
from typing import Any

import numpy as np
import sklearn
from sklearn.base import BaseEstimator
from sklearn.utils import Bunch
from sklearn.utils.metadata_routing import MetadataRequest

from sklstm.persistence._archive import PLAIN_KINDS, Refused
from sklstm.persistence._lazy_keras import keras_objects
from sklstm.persistence._names import (
    FOLDERS,
    NAMES_IN_CODE,
    estimator_class,
    function,
    numpy_class,
)
from sklstm.training._fitted_network import FittedNetwork


class Reader:
    """Restores an estimator from plain data that `Writer` made.

    Parameters
    ----------
    arrays : list of ndarray
        Arrays to which the data refer by number.
    networks : dict of str to bytes
        Contents of `.keras` files to which the data refer by name.
    trusted : dict of str to object
        Classes and functions that the user trusts, by module and name.

    Raises
    ------
    Refused
        If a network contains code.
    """

    def __init__(
        self,
        arrays: list[np.ndarray],
        networks: dict[str, bytes],
        trusted: dict[str, Any],
    ) -> None:
        self._arrays = arrays
        self._trusted = trusted
        self._seen: list[Any] = []
        self._networks: dict[str, dict] = {}
        self._texts: dict[str, str] = {}
        self._foreign: dict[str, set[str]] = {}
        for file, data in networks.items():
            self._networks[file] = keras_objects().read_network(data)
            # This raises if the network contains code, even if it is built by name.
            self._foreign[file] = keras_objects().foreign(self._networks[file])

    def read(self, data: Any) -> Any:
        """Return the value of plain data.

        Raises
        ------
        Refused
            If the data name something that is not allowed.
        """
        if isinstance(data, list):
            return [self.read(item) for item in data]
        if not isinstance(data, dict):
            return data
        ((tag, content),) = data.items()
        return _READERS[tag](self, content)

    def _float(self, content: str) -> float:
        return float(content)

    def _tuple(self, content: list) -> tuple:
        return tuple(self.read(content))

    def _dict(self, content: list) -> dict:
        return {self.read(key): self.read(value) for key, value in content}

    def _bunch(self, content: list) -> Bunch:
        return Bunch(**self._dict(content))

    def _slice(self, content: list) -> slice:
        return slice(*content)

    def _scalar(self, content: list) -> Any:
        dtype, digits = content
        array: np.ndarray = np.ndarray((), self._dtype(dtype), bytes.fromhex(digits))
        return array[()]

    def _dtype(self, content: str) -> np.dtype:
        dtype = np.dtype(content)
        if dtype.kind not in PLAIN_KINDS:
            raise Refused(f"names the dtype {content!r}, which is not plain.")
        return dtype

    def _array(self, content: int) -> np.ndarray:
        return self._arrays[content]

    def _objects(self, content: list) -> np.ndarray:
        shape, items = content
        array = np.empty(len(items), object)
        # The items are assigned one by one, because NumPy would spread lists.
        for place, item in enumerate(items):
            array[place] = self.read(item)
        return array.reshape(shape)

    def _again(self, content: int) -> Any:
        value = self._seen[content]
        if value is None:
            raise Refused("holds an estimator that holds itself.")
        return value

    def _random_state(self, content: list) -> np.random.RandomState:
        key, position, has_gauss, gauss = self.read(content)
        # NumPy does not check the position in the key.
        if not 0 <= position <= len(key):
            raise Refused(f"holds a random state at {position}, beyond its key.")
        state = np.random.RandomState(0)
        state.set_state(("MT19937", key, position, has_gauss, gauss))
        self._seen.append(state)
        return state

    def _class(self, content: str) -> Any:
        kind = self._trusted.get(content) or numpy_class(content)
        if kind is None and content.startswith("keras."):
            kind = keras_objects().safe_class(content)
        return kind or self._refuse(content, "class")

    def _function(self, content: str) -> Any:
        found = self._trusted.get(content) or function(content)
        return found or self._refuse(content, "function")

    def _refuse(self, name: str, what: str) -> Any:
        own = name.rpartition(".")[2]
        raise Refused(
            f"needs the {what} {name!r}, which is not on the list of what any file "
            "may name: if you trust it, and whoever made the file, import it and pass "
            f"trusted={{{name!r}: {own}}}."
        )

    def _keras(self, content: Any) -> Any:
        description = self.read(content)
        self._check_names(description)
        return keras_objects().restore(description, self._trusted)

    def _check_names(self, description: Any) -> None:
        """Raise if a description of Keras names what is neither safe nor trusted."""
        for name in sorted(keras_objects().foreign(description) - set(self._trusted)):
            self._refuse(name, "Keras object")

    def _model(self, content: list) -> Any:
        place = len(self._seen)
        self._seen.append(None)
        description, weights = content
        model = self._keras(description)
        weights = self.read(weights)
        try:
            keras_objects().set_weights(model, weights)
        except (AttributeError, TypeError, ValueError):
            raise Refused("holds a model whose weights do not fit it.") from None
        self._seen[place] = model
        return model

    def _network(self, content: dict) -> Any:
        name, file = content["function"], content["file"]
        if name in self._trusted:
            return self._trusted[name]
        if self._foreign[file]:
            self._refuse(name, "function")
        if keras_objects().is_adapted(self._networks[file]):
            own = name.rpartition(".")[2]
            raise Refused(
                f"needs the function {name!r}, because its network has a Normalization "
                "layer without mean= and variance=: import the function and pass "
                f"trusted={{{name!r}: {own}}}."
            )
        # A forged file cannot multiply the text by referring to it many times.
        if file not in self._texts:
            self._texts[file] = json.dumps(self._networks[file])
        return keras_objects().SavedNetwork(name, content["takes"], self._texts[file])

    def _estimator(self, content: dict) -> BaseEstimator:
        name = content["class"]
        kind: Any = self._trusted.get(name) or estimator_class(name)
        if kind is None:
            self._refuse(name, "class")
        place = len(self._seen)
        self._seen.append(None)
        state = {
            NAMES_IN_CODE.get(key, key): self.read(value)
            for key, value in content["state"].items()
        }
        for folder, (_, asks_for) in FOLDERS.items():
            if state.get(folder) not in (None, False):
                raise Refused(f"names {asks_for}.")
        # The class may have parameters that it did not have when the file was saved.
        for parameter in inspect.signature(kind).parameters.values():
            if parameter.default is not parameter.empty:
                state.setdefault(parameter.name, parameter.default)
        requests = state.pop("_metadata_request", None)
        if kind.__module__.startswith("sklearn."):
            # `load` warns of another version, and once for the file is enough.
            state["_sklearn_version"] = sklearn.__version__
        estimator = kind.__new__(kind)
        estimator.__setstate__(state)
        self._seen[place] = estimator
        if requests is not None:
            estimator._metadata_request = _requested(estimator, requests)
        return estimator

    def _fitted_network(self, content: dict) -> FittedNetwork:
        params = {
            NAMES_IN_CODE.get(name, name): self.read(value)
            for name, value in content["recipe"].items()
        }
        if "backbone" in params.get("reading_params", {}):
            # Keras makes a model of this text when the network is built.
            try:
                description = json.loads(params["reading_params"]["backbone"]["model"])
            except (KeyError, TypeError, ValueError):
                raise Refused("describes a backbone that is no model.") from None
            self._check_names(description)
        spec = keras_objects().NetworkSpec(**params)
        fitted = FittedNetwork.__new__(FittedNetwork)
        fitted.__setstate__({"spec": spec, "state": self.read(content["state"])})
        return fitted


def _requested(estimator: BaseEstimator, requests: dict) -> MetadataRequest:
    routing = estimator.get_metadata_routing()
    for method, asked in requests.items():
        for param, alias in asked.items():
            vars(routing)[method].add_request(param=param, alias=alias)
    return routing


_READERS: dict[str, Callable[[Reader, Any], Any]] = {
    "again": Reader._again,
    "array": Reader._array,
    "bunch": Reader._bunch,
    "class": Reader._class,
    "dict": Reader._dict,
    "dtype": Reader._dtype,
    "estimator": Reader._estimator,
    "float": Reader._float,
    "function": Reader._function,
    "keras": Reader._keras,
    "model": Reader._model,
    "lease": Reader._fitted_network,
    "network": Reader._network,
    "objects": Reader._objects,
    "random_state": Reader._random_state,
    "scalar": Reader._scalar,
    "slice": Reader._slice,
    "tuple": Reader._tuple,
}
