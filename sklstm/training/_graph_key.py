"""Keys of graphs, which decide whether two fits may share one compiled network.

A graph is traced once and keeps the values that its functions read during tracing. Two
fits may share it only if everything that shapes it is proven equal. The key therefore
contains what a user's function, loss or layer reads: global variables, closures,
defaults and attributes. A value that cannot be proven equal is equal only to itself.
"""

import builtins
import dis
import enum
import functools
import hashlib
import inspect
import logging
import types
from collections import OrderedDict, defaultdict
from pathlib import PurePath
from typing import Any

from sklstm._keras import keras

import numpy as np

from sklstm.training._unproven import Unproven

# Libraries whose functions and classes do not change while a process runs. The list has
# no libraries that read the time, files or the environment.
_LIBRARIES = frozenset(
    "abc builtins collections contextlib copy dataclasses enum fractions functools "
    "inspect itertools jax keras logging math numbers numpy operator re scipy sklearn "
    "sklstm string tensorflow torch types typing warnings".split()
)
# Names that read what no key can hold, or that give another value at each call.
_UNPROVEN_NAMES = frozenset(
    "__import__ eval exec globals id input locals open random vars".split()
)
_ATTRIBUTES = ("LOAD_ATTR", "LOAD_METHOD")
_IMPORT = "import "
# Names in the namespace of a class that shape no graph. Most are from Python.
_CLASS_FURNITURE = frozenset(
    "__abstractmethods__ __annotate__ __annotate_func__ __annotations__ "
    "__annotations_cache__ __dict__ __doc__ __firstlineno__ __module__ __qualname__ "
    "__repr__ __static_attributes__ __weakref__ _abc_impl".split()
)
# Maximum number of objects that one key may hold.
_MOST = 10_000
_SLOTS = (
    types.GetSetDescriptorType,
    types.MemberDescriptorType,
    types.WrapperDescriptorType,
)


def freeze(value: Any) -> Any:
    """Return a hashable key of a value.

    Parameters
    ----------
    value : Any
        Numbers, text, arrays, nested containers, functions, classes, objects.

    Returns
    -------
    hashable
        Key. Two keys are equal only if both values make the same graph.

    Examples
    --------
    >>> from sklstm.training._graph_key import freeze
    >>> freeze({"units": 4}) == freeze({"units": 4})
    True
    >>> freeze({"units": 4}) == freeze({"units": 5})
    False
    """
    return _Freezer().freeze(value, "a value")


class _UnprovenError(Exception):
    """Raised for a value that cannot be proven equal. The message describes it."""


class _Freezer:
    """One walk through a value. The argument `what` describes the present part."""

    def __init__(self) -> None:
        self._keys: dict[int, Any] = {}
        # They are kept alive, because Python reuses the ids of deleted objects.
        self._held: list = []
        self._inside = False

    def freeze(self, value: Any, what: str) -> Any:
        if value is None or isinstance(value, bool | int | bytes | types.EllipsisType):
            return (type(value).__name__, value)
        if isinstance(value, str):
            return self._text(value, what)
        if isinstance(value, float | complex):
            return (type(value).__name__, repr(value))
        if id(value) in self._keys:
            return self._keys[id(value)]
        # A function may call itself, and methods may name their class.
        self._keys[id(value)] = ("the same as", len(self._keys))
        self._held.append(value)
        if len(self._held) > _MOST:
            raise _UnprovenError(what)
        key = self._keys[id(value)] = self._whole(value, what)
        return key

    def _whole(self, value: Any, what: str) -> Any:
        """Freeze a value. If a part of it cannot be proven, the value is `Unproven`.

        The items of a container count as values.
        """
        if type(value) in (dict, list, tuple) and not self._inside:
            return self._freeze(value, what)
        inside, self._inside = self._inside, True
        try:
            return self._freeze(value, what)
        except _UnprovenError as error:
            if inside:
                raise
            return Unproven(value, str(error))
        finally:
            self._inside = inside

    def _text(self, value: str, what: str) -> Any:
        # The text may name a registered loss or layer of the user.
        found = keras.saving.get_registered_object(value)
        own = () if found is None else (self.freeze(found, f"{value!r}"),)
        return ("str", str(value), *own)

    def _freeze(self, value: Any, what: str) -> Any:
        kind = type(value)
        if kind in (dict, OrderedDict, defaultdict, types.MappingProxyType):
            factory = getattr(value, "default_factory", None)
            return (
                kind.__name__,
                self.freeze(factory, what),
                *(
                    (self.freeze(k, what), self.freeze(value[k], f"{what} {k!r}"))
                    for k in _in_order(value)
                ),
            )
        if kind in (list, tuple):
            return (kind.__name__, *(self.freeze(v, what) for v in value))
        if kind in (set, frozenset):
            return (kind.__name__, frozenset(self.freeze(v, what) for v in value))
        if isinstance(value, np.ndarray):
            if value.dtype.hasobject:
                raise _UnprovenError(what)
            # An index map may be megabytes long.
            digest = hashlib.sha256(value.tobytes()).digest()
            return (kind, value.shape, value.dtype.str, digest)
        if isinstance(value, np.generic):
            return (kind, value.tobytes())
        if isinstance(value, np.dtype | range | slice | PurePath):
            return (kind, repr(value))
        if isinstance(value, enum.Enum):
            return (kind, value.name)
        if kind is types.SimpleNamespace:
            return (kind, self.freeze(vars(value), what))
        if isinstance(value, logging.Logger):
            return (kind, value.name)
        if isinstance(value, types.ModuleType):
            if not _is_library(value):
                raise _UnprovenError(what)
            return (kind, value.__name__)
        if isinstance(value, type):
            return self._class(value, what)
        if _is_callable_kind(value):
            return self._callable(value, what)
        if isinstance(value, keras.Variable):
            raise _UnprovenError(what)
        if hasattr(value, "get_config"):
            return self._keras_object(value, what)
        return self._instance(value, what)

    def _class(self, kind: type, what: str) -> Any:
        """Freeze a class and what its methods read."""
        parts: list = []
        for base in kind.__mro__:
            if _is_library(base):
                continue
            for name in sorted(vars(base).keys() - _CLASS_FURNITURE):
                member = vars(base)[name]
                if isinstance(member, _SLOTS):
                    continue
                here = f"{base.__name__}.{name}"
                parts.append((name, self.freeze(member, here)))
        return ("class", kind, *parts)

    def _callable(self, value: Any, what: str) -> Any:
        if isinstance(value, staticmethod | classmethod):
            return (type(value).__name__, self.freeze(value.__func__, what))
        if isinstance(value, property):
            accessors = (value.fget, value.fset, value.fdel)
            return ("property", *(self.freeze(part, what) for part in accessors))
        if isinstance(value, functools.cached_property):
            return ("cached_property", self.freeze(value.func, what))
        if isinstance(value, functools.partial):
            called = (value.func, value.args, value.keywords)
            return ("partial", *(self.freeze(part, what) for part in called))
        if isinstance(value, types.MethodType):
            bound = (value.__func__, value.__self__)
            return ("method", *(self.freeze(part, what) for part in bound))
        if isinstance(value, types.FunctionType):
            return self._function(value)
        # A function in C is trusted if it is from a library and if it is not bound to
        # an object that may change.
        bound_to = getattr(value, "__self__", None)
        free = bound_to is None or isinstance(bound_to, types.ModuleType | type)
        trusted = free and (_is_library(value) or isinstance(value, np.ufunc))
        if not trusted:
            raise _UnprovenError(what)
        return ("builtin", value)

    def _function(self, function: types.FunctionType) -> Any:
        name = function.__name__
        code = function.__code__
        if _is_library(function):
            # A library may have made it around a function of the user.
            cells = [cell for cell in function.__closure__ or () if _is_filled(cell)]
            held = [cell.cell_contents for cell in cells]
            held = [f for f in held if _is_callable_kind(f) and not _is_library(f)]
            return ("function", function, *(self.freeze(f, name) for f in held))
        parts: list = [code]
        for variable, cell in zip(
            code.co_freevars, function.__closure__ or (), strict=True
        ):
            here = f"{variable!r}, which {name!r} reads"
            content = cell.cell_contents if _is_filled(cell) else None
            parts.append(self.freeze(content, here))
        for default in (function.__defaults__, function.__kwdefaults__):
            parts.append(self.freeze(default, f"a default of {name!r}"))
        attributes = {k: v for k, v in vars(function).items() if k != "__wrapped__"}
        parts.append(self.freeze(attributes, f"an attribute of {name!r}"))
        for read in sorted(_reads(code)):
            parts.append((*read, self._read(function, *read)))
        return ("function", function, *parts)

    def _read(self, function: types.FunctionType, name: str, attribute: str) -> Any:
        """Freeze a global variable, or an attribute of a global module."""
        what = f"{name!r}, which {function.__name__!r} reads"
        if name in function.__globals__:
            value = function.__globals__[name]
            if not isinstance(value, types.ModuleType) or _is_library(value):
                return self.freeze(value, what)
            if attribute and hasattr(value, attribute):
                what = f"'{name}.{attribute}', which {function.__name__!r} reads"
                return self.freeze(getattr(value, attribute), what)
        elif name.startswith(_IMPORT):
            if _root(name.removeprefix(_IMPORT)) in _LIBRARIES:
                return "library"
        elif name not in _UNPROVEN_NAMES and hasattr(builtins, name):
            return "builtin"
        raise _UnprovenError(what)

    def _keras_object(self, value: Any, what: str) -> Any:
        """Freeze an object of Keras or of a user's subclass by its configuration."""
        kind = type(value)
        if getattr(value, "weights", None) and not isinstance(
            value, keras.optimizers.Optimizer | keras.metrics.Metric
        ):
            raise _UnprovenError(f"{what}, which holds weights")
        if not configuration_is_whole(value):
            return self._instance(value, what)
        layers = [value]
        if isinstance(value, keras.Layer):
            layers = list(value._flatten_layers())
        functions = [
            (name, held)
            for layer in layers
            for name, held in vars(layer).items()
            if _is_callable_kind(held) and not _is_library(held)
        ]
        return (
            self._class(kind, what),
            self.freeze(value.get_config(), what),
            *(self._class(type(layer), what) for layer in layers[1:]),
            *((name, self.freeze(held, what)) for name, held in functions),
        )

    def _instance(self, value: Any, what: str) -> Any:
        """Freeze an object by all its attributes, if Python knows them."""
        kind = type(value)
        ways = ("__reduce_ex__", "__getstate__", "__reduce__")
        changed = [
            name for name in ways if getattr(kind, name) != getattr(object, name)
        ]
        reduce = getattr(kind.__reduce__, "__module__", None) or ""
        if not changed:
            try:
                _, arguments, state, items, pairs = value.__reduce_ex__(4)
            except TypeError as error:  # it has attributes that Python does not know
                raise _UnprovenError(what) from error
            parts = [arguments[1:], state, list(items or ()), list(pairs or ())]
        elif changed == ["__reduce__"] and _root(reduce) in ("keras", "scikeras"):
            parts = [vars(value)]  # they pickle the configuration alone
        else:
            raise _UnprovenError(what)
        return (
            self._class(kind, what),
            *(self.freeze(part, what) for part in parts),
        )


def _in_order(mapping: Any) -> list:
    names = list(mapping)
    return sorted(names) if all(isinstance(name, str) for name in names) else names


def _root(module: str) -> str:
    return module.partition(".")[0]


def _is_library(value: Any) -> bool:
    named = "__name__" if isinstance(value, types.ModuleType) else "__module__"
    return _root(getattr(value, named, None) or "") in _LIBRARIES


def _is_callable_kind(value: Any) -> bool:
    return isinstance(
        value,
        types.FunctionType
        | types.BuiltinFunctionType
        | types.MethodType
        | functools.partial
        | functools.cached_property
        | staticmethod
        | classmethod
        | property
        | np.ufunc,
    )


def _is_filled(cell: types.CellType) -> bool:
    try:
        cell.cell_contents  # noqa: B018
    except ValueError:
        return False
    return True


def configuration_is_whole(value: Any) -> bool:
    """Return whether the configuration of a Keras object is complete.

    Configurations of Keras' own classes are complete. That of a subclass is complete if
    it names each parameter of the constructor.

    Parameters
    ----------
    value : object
        Object with a method `get_config`.

    Returns
    -------
    bool
        False also if `get_config` fails.
    """
    try:
        config = value.get_config()
    except (NotImplementedError, TypeError, AttributeError):
        return False
    if _is_library(type(value)):
        return True
    _, *parameters = inspect.signature(type(value).__init__).parameters.values()
    kinds = (inspect.Parameter.VAR_KEYWORD, inspect.Parameter.VAR_POSITIONAL)
    return {p.name for p in parameters if p.kind not in kinds} <= config.keys()


@functools.lru_cache(maxsize=512)
def _reads(code: types.CodeType) -> frozenset[tuple[str, str]]:
    """Return what a function and its inner functions read from outside.

    The result has pairs of a global variable and the attribute that is read from it
    directly, or "". It also has the imported modules and the attributes that no key can
    hold.
    """
    reads = set()
    instructions = [i for i in dis.get_instructions(code) if i.opname != "CACHE"]
    for this, after in zip(instructions, instructions[1:] + instructions, strict=False):
        if this.opname in ("LOAD_GLOBAL", "LOAD_NAME"):
            attribute = after.argval if after.opname in _ATTRIBUTES else ""
            reads.add((this.argval, attribute))
        elif this.opname == "IMPORT_NAME":
            reads.add((_IMPORT + this.argval, ""))
        elif this.opname in ("STORE_GLOBAL", "DELETE_GLOBAL"):
            reads.add(("globals", ""))
        from_module = this.opname in (*_ATTRIBUTES, "IMPORT_FROM")
        if from_module and this.argval in _UNPROVEN_NAMES:
            reads.add((this.argval, ""))
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            reads |= _reads(constant)
    return frozenset(reads)
