"""The part of a Keras model up to a feature map, and what its images must be."""

import hashlib
import json
import threading
import weakref
from collections.abc import Callable
from typing import Any

from sklstm._keras import keras

import numpy as np

# What the models of `keras.applications` expect, by the beginning of their names. The
# longest beginning counts. All others rescale their images themselves.
_MODES = {
    "densenet": "torch",
    "inception_resnet_v2": "tf",
    "inception_v3": "tf",
    "mobilenet_": "tf",
    "mobilenetv2_": "tf",
    "nasnet": "tf",
    "resnet101": "caffe",
    "resnet101v2": "tf",
    "resnet152": "caffe",
    "resnet152v2": "tf",
    "resnet50": "caffe",
    "resnet50v2": "tf",
    "vgg16": "caffe",
    "vgg19": "caffe",
    "xception": "tf",
}
# Layers that rescale images are among the first ones.
_FIRST = 4

Preprocess = Callable[[np.ndarray], np.ndarray]


def choose_preprocessing(backbone: Any, given: Any) -> Preprocess | None:
    """Return the function that prepares images of 0 to 255 for the backbone.

    Parameters
    ----------
    backbone : keras.Model
        The model.
    given : "auto", callable or None
        Parameter of `FeatureSequencer`.

    Returns
    -------
    callable or None
        Function of a float32 array of shape (n, height, width, channels). None if the
        backbone takes the images as they are.

    Raises
    ------
    ValueError
        If it is "auto" and the model is unknown.
    """
    if given is None or callable(given):
        return given
    rescaling = (keras.layers.Rescaling, keras.layers.Normalization)
    if any(isinstance(layer, rescaling) for layer in backbone.layers[:_FIRST]):
        return None
    name = backbone.name.lower()
    known = [begin for begin in _MODES if name.startswith(begin)]
    if not known:
        raise ValueError(
            f"preprocessing='auto' does not know what images the model "
            f"{backbone.name!r} takes: give a function of a float32 batch with values "
            "from 0 to 255, or None if the model takes such a batch."
        )
    mode = _MODES[max(known, key=len)]

    def preprocess(images: np.ndarray) -> np.ndarray:
        # Keras writes into its argument.
        return np.asarray(
            keras.applications.imagenet_utils.preprocess_input(
                images.copy(), data_format="channels_last", mode=mode
            )
        )

    return preprocess


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
        found = backbone.get_layer(layer).output
        if len(getattr(found, "shape", ())) != 4:
            raise ValueError(
                f"layer={layer!r} gives no feature map, (None, height, width, "
                f"channels), but {getattr(found, 'shape', type(found).__name__)}."
            )
        return found
    outputs = [getattr(one, "output", None) for one in backbone.layers[::-1]]
    for output in (*backbone.outputs, *outputs):
        if len(getattr(output, "shape", ())) == 4:
            return output
    raise ValueError(f"backbone {backbone.name!r} has no layer that gives an image.")


class Backbone:
    """A Keras model up to one of its layers.

    Parameters
    ----------
    model : keras.Model
        The model. It is only read.
    layer : str or None
        Name of the layer. If None, the last one with a feature map.
    """

    def __init__(self, model: Any, layer: str | None) -> None:
        # A name of its own: Keras counts the models that it has to name.
        self.network = keras.Model(
            model.inputs[0], _output_of(model, layer), name="sklstm_features"
        )
        # XLA takes long to compile on a CPU. JAX has nothing else.
        self.network.compile(jit_compile=keras.backend.backend() == "jax")
        self._structure = _structure_of(self.network)
        self._lock = threading.RLock()

    @property
    def lock(self) -> Any:
        """Lock that a thread holds while it computes features."""
        return self._lock

    def map_shape(self, shape: tuple[int, ...]) -> tuple[int, ...] | None:
        """Return the shape (height, width, channels) of the feature map.

        None if images of this shape leave no feature map.
        """
        try:
            found = self.network.compute_output_shape((1, *shape))
        except ValueError:  # The shape of a layer inside would be zero or negative.
            return None
        lengths = tuple(int(length) for length in found[1:])
        return lengths if min(lengths) > 0 else None

    def digest(self) -> str:
        """Return a name for the structure and the weights, in hexadecimal digits.

        The names of layers do not enter, because Keras counts them in each process.
        """
        digest = hashlib.blake2b(self._structure, digest_size=16)
        for weight in self.network.weights:
            values = np.asarray(keras.ops.convert_to_numpy(weight))
            digest.update(f"{values.dtype} {values.shape}".encode())
            digest.update(np.ascontiguousarray(values).view(np.uint8).reshape(-1).data)
        return digest.hexdigest()

    def compute(self, images: np.ndarray) -> np.ndarray:
        """Return the feature maps, float32, of shape (n, height, width, channels)."""
        return np.asarray(self.network.predict_on_batch(images), np.float32)


def _structure_of(network: Any) -> bytes:
    text = json.dumps(network.get_config(), sort_keys=True, default=repr)
    for i, layer in enumerate(network.layers):
        text = text.replace(json.dumps(layer.name), f'"layer {i}"')
    versions = f"{keras.__version__} {keras.backend.backend()} "
    return (versions + text).encode()


# Models are traced once in a process, however many clones use them.
_BACKBONES: "weakref.WeakKeyDictionary[Any, dict]" = weakref.WeakKeyDictionary()
_MAKING = threading.Lock()


def backbone_of(model: Any, layer: str | None) -> Backbone:
    """Return the `Backbone` of a model and a layer. It is made at the first call."""
    with _MAKING:
        made = _BACKBONES.setdefault(model, {})
        if layer not in made:
            made[layer] = Backbone(model, layer)
        return made[layer]
