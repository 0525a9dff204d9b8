"""Keys of graphs: equal where a fresh build would be equal, and nowhere else."""

import copy
import dataclasses
import functools
import logging
import random
import re
import types

from sklstm._keras import keras

import numpy as np
import pytest

from sklstm.training import _graph_key
from sklstm.training._graph_key import freeze
from sklstm.training._unproven import unproven_part

WIDTH = 4
SETTINGS = {"width": 4, "layers": [2, 3]}
LOG = logging.getLogger("test")
GENERATOR = np.random.default_rng(0)
POINT = types.SimpleNamespace(width=4)
own_module = types.ModuleType("own_module")
own_module.width = 4
own_module.deeper = types.ModuleType("deeper")


def _name(value):
    """Name of a case: its repr without addresses, which differ between processes."""
    return re.sub(r" at 0x\w+", "", repr(value), flags=re.IGNORECASE)


def reads_global():
    return WIDTH


def reads_inside():
    return [(lambda: WIDTH)() for _ in range(2)]


def reads_dict():
    return SETTINGS["layers"][0]


def reads_attribute():
    return POINT.width


def reads_module():
    return own_module.width


def calls_another():
    return reads_global()


def calls_itself(n):
    return calls_itself(n - 1) if n else WIDTH


class Settings:
    width = 4

    def __init__(self, size):
        self.size = size

    def read(self):
        return self.size * WIDTH

    def __call__(self):
        return self.read()


@dataclasses.dataclass
class Data:
    size: int


class Focal(keras.losses.Loss):
    """Its configuration lacks gamma."""

    def __init__(self, gamma=2.0, name="focal"):
        super().__init__(name=name)
        self.gamma = gamma

    def call(self, y_true, y_pred):
        return keras.ops.mean((1 - y_pred) ** self.gamma, axis=-1)


class Whole(Focal):
    def get_config(self):
        return {**super().get_config(), "gamma": self.gamma}


class OwnLayer(keras.layers.Layer):
    def call(self, x):
        return x * WIDTH


class OwnSchedule(keras.optimizers.schedules.LearningRateSchedule):
    def __call__(self, step):
        return WIDTH / (step + 1)

    def get_config(self):
        return {}


def make_layer():
    return OwnLayer()


def reads_default(width={"of": 4}):  # noqa: B006
    return width["of"]


def has_attribute():
    return None


def decorated(function):
    @functools.wraps(function)
    def inner():
        return function() * WIDTH

    return inner


twice = decorated(has_attribute)
partial = functools.partial(calls_itself, n=3)
settings, data, focal, whole = Settings(3), Data(3), Focal(), Whole()
lambda_layer = keras.layers.Lambda(lambda x: x * WIDTH)


def close_over(content):
    def inner():
        return content

    return inner


cell = {"of": 1}
closure = close_over(cell)


# Each: something with a key, what is changed, and how.
def changed_global(monkeypatch):
    monkeypatch.setitem(globals(), "WIDTH", 8)


CHANGES = {
    "a global": (reads_global, changed_global),
    "a global of a lambda": (reads_inside, changed_global),
    "a global of a function called": (calls_another, changed_global),
    "a global of itself": (calls_itself, changed_global),
    "a global of a partial's function": (partial, changed_global),
    "a global of a decorator": (twice, changed_global),
    "a global of a method": (settings, changed_global),
    "a global of a bound method": (settings.read, changed_global),
    "a global of a layer's class": (make_layer, changed_global),
    "a global of a Lambda layer": (lambda_layer, changed_global),
    "a global of a schedule": (
        keras.optimizers.Adam(OwnSchedule())._learning_rate,
        changed_global,
    ),
    "a value in a list in a dict": (
        reads_dict,
        lambda m: m.setitem(SETTINGS, "layers", [5, 3]),
    ),
    "an attribute of a global": (
        reads_attribute,
        lambda m: m.setattr(POINT, "width", 5),
    ),
    "an attribute of a module": (
        reads_module,
        lambda m: m.setattr(own_module, "width", 5),
    ),
    "a default": (
        reads_default,
        lambda m: m.setitem(reads_default.__defaults__[0], "of", 5),
    ),
    "a closure": (closure, lambda m: m.setitem(cell, "of", 5)),
    "an attribute of a function": (
        has_attribute,
        lambda m: m.setattr(has_attribute, "takes", "images", raising=False),
    ),
    "an attribute of an object": (settings, lambda m: m.setattr(settings, "size", 4)),
    "an attribute of its class": (settings, lambda m: m.setattr(Settings, "width", 5)),
    "a method of its class": (
        settings,
        lambda m: m.setattr(Settings, "read", lambda self: 1),
    ),
    "a field": (data, lambda m: m.setattr(data, "size", 5)),
    "an attribute outside a configuration": (
        focal,
        lambda m: m.setattr(focal, "gamma", 5.0),
    ),
    "an attribute in a configuration": (
        whole,
        lambda m: m.setattr(whole, "gamma", 5.0),
    ),
    "the code": (
        reads_global,
        lambda m: m.setattr(reads_global, "__code__", reads_inside.__code__),
    ),
}


@pytest.mark.parametrize("case", CHANGES)
def test_a_change_of_what_is_read_changes_the_key(monkeypatch, case):
    value, change = CHANGES[case]
    before = freeze(value)
    assert unproven_part(before) is None
    assert freeze(value) == before
    assert hash(freeze(value)) == hash(before)
    change(monkeypatch)
    assert freeze(value) != before
    monkeypatch.undo()
    assert freeze(value) == before


@pytest.mark.parametrize(
    "pair",
    [
        (1, 2), (1, 1.0), (1, True), (0.0, -0.0), ("a", b"a"), (None, 0), ([1], (1,)),
        ({"a": 1}, {"a": 2}), ({1, 2}, {1, 3}), (np.float32(1), np.float64(1)),
        (np.zeros(2), np.zeros((2, 1))), (np.zeros(2), np.zeros(2, "float32")),
        (Focal(0.0), Focal(5.0)), (Focal(2.0), Whole(2.0)), (Data(1), Data(2)),
        (np.tanh, np.sin), (keras.activations.tanh, keras.activations.relu),
        (keras.layers.RandomRotation(0.1, name="r"),
         keras.layers.RandomRotation(0.2, name="r")),
        (close_over(1), close_over(2)),
    ],
    ids=_name,
)  # fmt: skip
def test_different_values_have_different_keys(pair):
    one, other = pair
    assert freeze(one) != freeze(other)


@pytest.mark.parametrize(
    "value",
    [
        {"b": [1, (2.5, None)], "a": {3}}, np.arange(6).reshape(2, 3).T, np.float64(2),
        Focal(3.0), Whole(3.0), Data([1, 2]), Settings({"a": 1}),
        keras.initializers.GlorotUniform(seed=1), keras.regularizers.L2(0.1),
        keras.layers.RandomFlip(name="flip"), functools.partial(reads_global),
    ],
    ids=_name,
)  # fmt: skip
def test_equal_values_have_equal_keys(value):
    key = freeze(value)
    assert unproven_part(key) is None
    if isinstance(value, Focal):
        other = type(value)(value.gamma)
    elif isinstance(value, keras.layers.Layer):
        other = type(value).from_config(value.get_config())
    else:
        other = copy.deepcopy(value)
    assert freeze(other) == key


def test_a_registered_name_is_what_it_names(monkeypatch):
    before = freeze("sklstm_tests>thing")
    with keras.saving.custom_object_scope({"sklstm_tests>thing": Focal}):
        named = freeze("sklstm_tests>thing")
    assert named != before
    with keras.saving.custom_object_scope({"sklstm_tests>thing": Whole}):
        assert freeze("sklstm_tests>thing") not in (before, named)


def draws():
    return np.random.default_rng(0).normal() + random.random()


def draws_of_keras():
    return keras.random.normal((2,))


def looks_around():
    return globals()["WIDTH"]


def sets_a_global():
    global WIDTH
    WIDTH = 4


def imports_another():
    import os

    return os.environ


def reads_a_file():
    return open("settings.txt").read()


def reads_a_module_within():
    return own_module.deeper.width


def passes_a_module_on():
    return vars(own_module)


def reads_a_generator():
    return GENERATOR


def reads_nothing_known():
    return not_there  # noqa: F821


built = keras.layers.Dense(2)
built.build((None, 3))


@functools.cache
def remembered():
    return WIDTH


class Slotted:
    __slots__ = ("width",)

    def __reduce__(self):
        return (Slotted, ())


@pytest.mark.parametrize(
    "value",
    [
        draws, draws_of_keras, looks_around, sets_a_global, imports_another,
        reads_a_file, reads_a_module_within, passes_a_module_on, reads_a_generator,
        reads_nothing_known, close_over(built), built, remembered, Slotted(),
        keras.Variable(1.0), np.array([object()]), iter([1]), GENERATOR.normal,
    ],
    ids=_name,
)  # fmt: skip
def test_what_cannot_be_proven_equals_itself_alone(value):
    key = freeze(value)
    assert unproven_part(key) is not None
    assert freeze(value) == key  # training the same network on is possible
    assert freeze([value, 1]) == freeze([value, 1])
    assert freeze([value]) != freeze([copy.copy])
    assert str(unproven_part(key)).startswith("Unproven(")


def uses_libraries(input_shape, n_classes):
    from keras import ops

    LOG.info("building")
    logging.getLogger("x").debug("building")
    x = inputs = keras.Input(input_shape)
    for _ in range(max(1, int(np.sqrt(4)))):
        x = ops.tanh(x)
    print(len(str(x)))
    return keras.Model(inputs, keras.layers.Dense(n_classes)(x))


def test_what_libraries_do_is_proven():
    assert unproven_part(freeze(uses_libraries)) is None


def test_it_says_what_cannot_be_proven():
    part = unproven_part(freeze(reads_a_generator))
    assert part.what == "'GENERATOR', which 'reads_a_generator' reads"


def test_keys_are_quick_to_make(monkeypatch):
    # A function that is reached on many ways is looked at once.
    seen = []
    own = _graph_key._Freezer._function
    monkeypatch.setattr(
        _graph_key._Freezer,
        "_function",
        lambda self, f: seen.append(f) or own(self, f),
    )
    freeze([calls_another, reads_global, calls_another, twice, twice])
    assert len(seen) == len(set(seen))
