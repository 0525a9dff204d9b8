"""The part of a Keras model up to a feature map, and what its images must be."""

import hashlib
import json
import re
import threading
import weakref
from typing import Any

from sklstm._keras import keras

import numpy as np

# What the models of `keras.applications` expect, by their names. The other models there
# rescale their images themselves.
_MODES = {
    r"densenet\d+": "torch",
    r"inception_(resnet_v2|v3)": "tf",
    r"mobilenet(v2)?_[\d.]+_\w+": "tf",
    r"nasnet(_\w+)?": "tf",
    r"resnet\d+": "caffe",
    r"resnet\d+v2": "tf",
    r"vgg\d+": "caffe",
    r"xception": "tf",
}
# Layers that rescale images are among the first ones.
_FIRST = 4
# The range that a first layer may give to values of 0 to 255. It is 1 or 2 in all
# published models.
_EXTENTS = 0.9, 2.1


def choose_preprocessing(backbone: Any, given: Any) -> Any:
    """Return how images of 0 to 255 are prepared for the backbone.

    Parameters
    ----------
    backbone : keras.Model
        The model.
    given : "auto", callable or None
        Parameter of `FeatureSequencer`.

    Returns
    -------
    str, callable or None
        A mode of Keras' ``preprocess_input``, the function that was given, or None if
        the backbone takes the images as they are.

    Raises
    ------
    ValueError
        If it is "auto" and the model is unknown.
    """
    if given is None or callable(given):
        return given
    name = backbone.name.lower()
    if any(map(_takes_bytes, backbone.layers[:_FIRST])):
        return None
    first = (type(layer) for layer in backbone.layers[:_FIRST])
    if name.startswith("convnext_") and keras.layers.Normalization in first:
        return None
    for pattern, mode in _MODES.items():
        if re.fullmatch(pattern, name):
            return mode
    raise ValueError(
        f"preprocessing='auto' does not know what images the model {backbone.name!r} "
        "takes: give a function of a float32 image with values from 0 to 255, or None "
        "if the model takes such images."
    )


def _takes_bytes(layer: Any) -> bool:
    """Return whether a layer brings values of 0 to 255 to a range of 1 or 2."""
    if not isinstance(layer, keras.layers.Rescaling):
        return False
    scale = np.asarray(layer.scale)
    low, high = _EXTENTS
    return scale.ndim == 0 and bool(low <= 255 * scale <= high)


def preprocess(images: np.ndarray, how: Any) -> np.ndarray:
    """Return images of 0 to 255 as the backbone takes them.

    Parameters
    ----------
    images : ndarray of shape (n, height, width, channels), float32
        The images. They may be changed.
    how : str, callable or None
        What `choose_preprocessing` returned.
    """
    if how is None:
        return images
    if callable(how):
        # Each image alone: a function may look at the largest value of its batch.
        found = [np.asarray(how(one[None].copy()), np.float32) for one in images]
        for one in found:
            if one.shape != (1, *images.shape[1:]):
                raise ValueError(
                    "preprocessing must return an array of the shape that it gets, "
                    f"{(1, *images.shape[1:])}; it returned {one.shape}."
                )
        return np.concatenate(found)
    inner = keras.applications.imagenet_utils.preprocess_input
    return np.asarray(inner(images, data_format="channels_last", mode=how), np.float32)


def check_backbone(backbone: Any) -> None:
    """Raise an error unless the backbone is a Keras model of images."""
    if not isinstance(backbone, keras.Model):
        raise TypeError(
            f"backbone must be a Keras model, such as one of keras.applications with "
            f"include_top=False; got {type(backbone).__name__}."
        )
    inputs = getattr(backbone, "inputs", None)
    if not inputs:
        raise ValueError(
            f"backbone {backbone.name!r} has no known input: make it with the "
            "functional API, or build it as a Sequential model with keras.Input."
        )
    if len(inputs) != 1 or len(inputs[0].shape) != 4:
        shapes = ", ".join(str(tuple(one.shape)) for one in inputs)
        raise ValueError(
            f"backbone {backbone.name!r} must take one batch of images, (None, height, "
            f"width, channels); it takes {shapes}."
        )


def _output_of(backbone: Any, layer: str | None) -> Any:
    """Return the tensor of the feature map."""
    if layer is not None:
        names = [one.name for one in backbone.layers]
        if layer not in names:
            raise ValueError(
                f"layer={layer!r} is no layer of the backbone {backbone.name!r}; its "
                f"last ones are {', '.join(names[-5:])}."
            )
        found = backbone.get_layer(layer)
        if isinstance(found, keras.Model):
            raise ValueError(
                f"layer={layer!r} is a model inside the backbone {backbone.name!r}: "
                f"give backbone.get_layer({layer!r}) as the backbone."
            )
        if not _is_map(found.output):
            raise ValueError(
                f"layer={layer!r} gives no feature map, (None, height, width, "
                f"channels), but {getattr(found.output, 'shape', found.output)}."
            )
        return found.output
    if len(backbone.outputs) > 1:
        raise ValueError(
            f"backbone {backbone.name!r} has {len(backbone.outputs)} outputs: name the "
            "layer= whose output is the feature map."
        )
    if _is_map(backbone.outputs[0]):
        return backbone.outputs[0]
    for one in backbone.layers[::-1]:
        if isinstance(one, keras.Model) and _is_map(one.outputs[0]):
            raise ValueError(
                f"The feature map of the backbone {backbone.name!r} is inside its "
                f"layer {one.name!r}: give backbone.get_layer({one.name!r}) as the "
                "backbone."
            )
        found = getattr(one, "output", None)
        if found is not None and _is_map(found):
            if tuple(found.shape[1:3]) == (1, 1):
                raise ValueError(
                    f"The last map of the backbone {backbone.name!r}, of the layer "
                    f"{one.name!r}, has one position only: make the model with "
                    "include_top=False, or name an earlier layer=."
                )
            return found
    raise ValueError(f"backbone {backbone.name!r} has no layer that gives an image.")


def _is_map(tensor: Any) -> bool:
    return len(getattr(tensor, "shape", ())) == 4


class Backbone:
    """A Keras model up to one of its layers.

    Parameters
    ----------
    model : keras.Model
        The model. It is only read.
    output : keras.KerasTensor
        The feature map.
    lock : lock
        A thread holds it while it computes. All backbones of a model have the same.
    """

    def __init__(self, model: Any, output: Any, lock: Any) -> None:
        self.output = output
        self.lock = lock
        # A name of its own: Keras counts the models that it has to name.
        self.network = keras.Model(model.inputs[0], output, name="sklstm_features")
        self.structure = _structure_of(self.network)
        self.constants = _constants_of(self.network)
        self._call = traced(self.network)

    def is_current(self, output: Any) -> bool:
        """Return whether the model is as it was when its graph was traced."""
        return (
            output is self.output
            and _constants_of(self.network) == self.constants
            and _structure_of(self.network) == self.structure
        )

    def map_shape(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        """Return the shape (height, width, channels) of the feature map.

        Raises
        ------
        ValueError
            If images of this shape have no feature map.
        """
        found = self.network.compute_output_shape((1, *shape))
        lengths = tuple(int(length) for length in found[1:])
        if min(lengths) < 1:
            raise ValueError(f"The feature map would be of the shape {lengths}.")
        return lengths

    def digest(self) -> str:
        """Return a name for the structure and the weights, in hexadecimal digits."""
        digest = hashlib.blake2b(self.structure, digest_size=16)
        for weight in self.network.weights:
            digest.update(_bytes_of(weight))
        return digest.hexdigest()

    def compute(self, images: np.ndarray) -> np.ndarray:
        """Return the feature maps, float32, of shape (n, height, width, channels)."""
        return np.asarray(self._call(images), np.float32)


def _call_by_tensorflow(network: Any) -> Any:
    """Return a function of images. Keras' own may draw from the global generator."""
    # Here and not above: this loads TensorFlow.
    import tensorflow as tf

    return tf.function(
        lambda images: network(images, training=False), reduce_retracing=True
    )


def _call_by_torch(network: Any) -> Any:
    """Return a function of images."""
    # Here and not above: this loads PyTorch, which is optional.
    import torch

    def compute(images: np.ndarray) -> Any:
        with torch.no_grad():
            found = network(keras.ops.convert_to_tensor(images), training=False)
        return keras.ops.convert_to_numpy(found)

    return compute


def _call_by_jax(network: Any) -> Any:
    """Return a function of images. Keras' own gives the weights away while it runs."""
    # Here and not above: this loads JAX, which is optional.
    import jax

    @jax.jit
    def call(trainable: list, others: list, images: Any) -> Any:
        return network.stateless_call(trainable, others, images, training=False)[0]

    def compute(images: np.ndarray) -> Any:
        trainable = [one.value for one in network.trainable_variables]
        others = [one.value for one in network.non_trainable_variables]
        return call(trainable, others, images)

    return compute


_CALLS = {
    "jax": _call_by_jax,
    "tensorflow": _call_by_tensorflow,
    "torch": _call_by_torch,
}


def traced(network: Any) -> Any:
    """Return a function from images to the output of a model, as in prediction."""
    return _CALLS[keras.backend.backend()](network)


def code_of(network: Any) -> str:
    """Return a digest of the code of the user's own layers, or "" without any."""
    digest = hashlib.blake2b(digest_size=16)
    found = False
    for layer in network._flatten_layers():
        for kind in type(layer).__mro__:
            if not kind.__module__.startswith(
                ("keras.", "builtins", "tensorflow.", "torch.")
            ):
                found = True
                digest.update(f"{kind.__module__}.{kind.__qualname__}".encode())
                for value in vars(kind).values():
                    _add_code(digest, getattr(value, "__code__", None))
    return digest.hexdigest() if found else ""


def _bytes_of(weight: Any) -> bytes:
    values = np.asarray(keras.ops.convert_to_numpy(weight))
    return f"{values.dtype} {values.shape}".encode() + values.tobytes()


def _constants_of(network: Any) -> bytes:
    """Return the weights that a trace holds as constants."""
    adapted = (
        layer
        for layer in network._flatten_layers()
        if isinstance(layer, keras.layers.Normalization)
    )
    return b"".join(_bytes_of(w) for layer in adapted for w in layer.weights)


def _structure_of(network: Any) -> bytes:
    """Return what is computed, apart from the weights."""
    config = json.dumps(_nameless(network.get_config(), {}), sort_keys=True)
    versions = f"{keras.__version__} {keras.backend.backend()}"
    return f"{versions} {code_of(network)} {config}".encode()


def _add_code(digest: Any, code: Any) -> None:
    if code is None:
        return
    digest.update(code.co_code)
    digest.update(repr(code.co_names).encode())
    for value in code.co_consts:
        if hasattr(value, "co_code"):
            _add_code(digest, value)
        else:
            digest.update(repr(value).encode())


def _nameless(value: Any, places: dict[str, int]) -> Any:
    """Return a configuration in which layers have no names, but places.

    Keras counts the layers that it has to name, so that a model that is made again has
    other names.
    """
    if isinstance(value, list | tuple):
        return [_nameless(item, places) for item in value]
    if not isinstance(value, dict):
        return value if isinstance(value, str | int | float | None) else repr(value)
    if str(value.get("class_name", "")).endswith(("Policy", "PolicyMap")):
        return value  # The name of a policy is its type.
    if isinstance(value.get("layers"), list):
        names = [layer.get("config", {}).get("name") for layer in value["layers"]]
        places = {name: place for place, name in enumerate(names)}
    found = {}
    for key, item in value.items():
        if key in ("keras_history", "input_layers", "output_layers"):
            found[key] = _placed(item, places)
        elif key not in ("name", "trainable", "build_config"):
            found[str(key)] = _nameless(item, places)
    return found


def _placed(value: Any, places: dict[str, int]) -> Any:
    if isinstance(value, list | tuple):
        return [_placed(item, places) for item in value]
    return places.get(value, value) if isinstance(value, str) else value


class _Made:
    """The backbones of a model, by layer, and the lock that they share."""

    def __init__(self) -> None:
        self.lock = threading.RLock()
        self.backbones: dict[str | None, Backbone] = {}


# A model is traced once in a process, however many clones use it.
_MADE: "weakref.WeakKeyDictionary[Any, _Made]" = weakref.WeakKeyDictionary()
_MAKING = threading.Lock()


def backbone_of(model: Any, layer: str | None) -> Backbone:
    """Return the `Backbone` of a model and a layer.

    It is made at the first call, and again if the model has changed in more than the
    weights.
    """
    with _MAKING:
        made = _MADE.setdefault(model, _Made())
    with made.lock:
        output = _output_of(model, layer)
        found = made.backbones.get(layer)
        if found is None or not found.is_current(output):
            found = made.backbones[layer] = Backbone(model, output, made.lock)
        return found
