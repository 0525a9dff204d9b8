"""Keras objects as plain data, and the lists of what may be restored from it.

Keras restores any class or function that a description names. Its safe mode refuses
code in the description, but it has been circumvented by the names of harmful functions.
This module therefore passes only descriptions to Keras in which every name is on a list
or trusted by the user.
"""

from __future__ import annotations

import json
import os
import tempfile
import warnings
import zipfile
from collections.abc import Iterator
from importlib import import_module
from typing import Any

from sklstm._keras import keras

import numpy as np

from sklstm.features._rebuilding import set_weights as set_weights
from sklstm.features._rebuilding import without_registration

# Importing this package also registers its layers with Keras.
from sklstm.networks import SavedNetwork as SavedNetwork
from sklstm.persistence._archive import PLAIN_KINDS, Refused, pack, unpack
from sklstm.training._spec import NetworkSpec as NetworkSpec

# These layers only compute. The list omits layers that contain code (Lambda, and the
# wrappers of JAX, PyTorch and TensorFlow) and layers that read files (StringLookup and
# similar ones).
_LAYERS = frozenset(
    """
    Activation ActivityRegularization AdaptiveAveragePooling1D AdaptiveAveragePooling2D
    AdaptiveAveragePooling3D AdaptiveMaxPooling1D AdaptiveMaxPooling2D
    AdaptiveMaxPooling3D Add AdditiveAttention AlphaDropout Attention AugMix
    AutoContrast Average AveragePooling1D AveragePooling2D AveragePooling3D
    BatchNormalization Bidirectional CenterCrop Concatenate Conv1D Conv1DTranspose
    Conv2D Conv2DTranspose Conv3D Conv3DTranspose ConvLSTM1D ConvLSTM2D ConvLSTM3D
    Cropping1D Cropping2D Cropping3D Dense DepthwiseConv1D DepthwiseConv2D Dot Dropout
    ELU EinsumDense Embedding Equalization Flatten GRU GRUCell GaussianDropout
    GaussianNoise GlobalAveragePooling1D GlobalAveragePooling2D GlobalAveragePooling3D
    GlobalMaxPooling1D GlobalMaxPooling2D GlobalMaxPooling3D GroupNormalization
    GroupQueryAttention Identity InputLayer LSTM LSTMCell LayerNormalization LeakyReLU
    Masking MaxPooling1D MaxPooling2D MaxPooling3D Maximum Minimum MultiHeadAttention
    Multiply Normalization PReLU Permute Pipeline RMSNormalization RNN RandAugment
    RandomBrightness RandomColorDegeneration RandomColorJitter RandomContrast RandomCrop
    RandomElasticTransform RandomErasing RandomFlip RandomGaussianBlur RandomGrayscale
    RandomHue RandomInvert RandomPerspective RandomPosterization RandomRotation
    RandomSaturation RandomSharpness RandomShear RandomTranslation RandomZoom ReLU
    RepeatVector Rescaling Reshape Resizing SeparableConv1D SeparableConv2D SimpleRNN
    SimpleRNNCell Softmax Solarization SpatialDropout1D SpatialDropout2D
    SpatialDropout3D SpectralNormalization StackedRNNCells Subtract TimeDistributed
    UnitNormalization UpSampling1D UpSampling2D UpSampling3D ZeroPadding1D ZeroPadding2D
    ZeroPadding3D
    """.split()
)
# These callbacks write no files and open no connections.
_CALLBACKS = frozenset({"EarlyStopping", "ReduceLROnPlateau", "TerminateOnNaN"})
_ONE_BY_ONE = {
    "keras": {"DTypePolicy", "Model", "Sequential"},
    "keras.callbacks": _CALLBACKS,
    "keras.layers": _LAYERS,
    "keras.src.models.functional": {"Functional"},
    "keras.src.ops.core": {"Cast"},
}
# In these modules all classes of the given kind are safe, because none of them takes
# the name of a function.
_BY_KIND = {
    "keras.constraints": "keras.constraints.Constraint",
    "keras.initializers": "keras.initializers.Initializer",
    "keras.losses": "keras.losses.Loss",
    "keras.metrics": "keras.metrics.Metric",
    "keras.optimizers": "keras.optimizers.Optimizer",
    "keras.optimizers.schedules": "keras.optimizers.schedules.LearningRateSchedule",
    "keras.regularizers": "keras.regularizers.Regularizer",
    "keras.src.ops.math": "keras.Operation",
    "keras.src.ops.nn": "keras.Operation",
    "keras.src.ops.numpy": "keras.Operation",
}
# The names by which Keras writes values that JSON cannot express.
_VALUES = frozenset(
    "__bytes__ __ellipsis__ __keras_tensor__ __numpy__ __slice__ __tensor__".split()
)


def safe_class(name: str) -> type | None:
    """Return the class with a public name, or None if it is not on the list."""
    module, _, class_name = name.rpartition(".")
    on_list = class_name in _ONE_BY_ONE.get(module, ())
    if not on_list and module not in _BY_KIND:
        return None
    value = getattr(import_module(module), class_name, None)
    if not isinstance(value, type):
        return None
    if on_list:
        return value
    base_module, _, base = _BY_KIND[module].rpartition(".")
    return (
        value if issubclass(value, getattr(import_module(base_module), base)) else None
    )


def public_name(kind: type) -> str | None:
    """Return the public name of a class, or None if it is not on the list."""
    for module in (*_ONE_BY_ONE, *_BY_KIND):
        name = f"{module}.{kind.__name__}"
        if safe_class(name) is kind:
            return name
    return None


def is_object(value: Any) -> bool:
    """Tell whether Keras can describe a value."""
    bases = (
        keras.Operation,
        keras.constraints.Constraint,
        keras.initializers.Initializer,
        keras.losses.Loss,
        keras.metrics.Metric,
        keras.optimizers.Optimizer,
        keras.optimizers.schedules.LearningRateSchedule,
        keras.regularizers.Regularizer,
    )
    return isinstance(value, bases)


def is_model(value: Any) -> bool:
    """Tell whether a value is a Keras model."""
    return isinstance(value, keras.Model)


def has_weights(value: Any) -> bool:
    """Tell whether a Keras object is a layer or model that has weights by now."""
    return isinstance(value, keras.Layer) and bool(value.weights)


def foreign(description: Any) -> set[str]:
    """Return the names in a description that are not on the list.

    Parameters
    ----------
    description : dict
        Description, as `keras.saving.serialize_keras_object` returns it.

    Returns
    -------
    set of str
        Names of classes and functions, with their modules.

    Raises
    ------
    Refused
        If the description contains code (a Lambda layer or a lambda) or a value that
        is not plain.
    """
    return set(_foreign(description))


def is_adapted(description: Any) -> bool:
    """Tell whether a network has a Normalization layer without ``mean=``.

    Such a layer computes with constants that it makes from its weights in ``adapt``. To
    restore the weights is not enough.
    """
    if isinstance(description, list | tuple):
        return any(map(is_adapted, description))
    if not isinstance(description, dict):
        return False
    config = description.get("config")
    if description.get("class_name") == "Normalization" and isinstance(config, dict):
        return config.get("mean") is None
    return any(map(is_adapted, description.values()))


def _foreign(description: Any) -> Iterator[str]:
    if isinstance(description, list | tuple):
        for item in description:
            yield from _foreign(item)
    if not isinstance(description, dict):
        _check_plain(description)
        return
    for key, item in description.items():
        _check_plain(key)
        yield from _foreign(item)
    if "class_name" not in description or description["class_name"] in _VALUES:
        return
    name = description["class_name"]
    module = description.get("module")
    registered = description.get("registered_name")
    if name in ("Lambda", "__lambda__"):
        raise Refused(
            "holds a Lambda layer or a lambda, which is code: only layers that have a "
            "class of their own can be in a file."
        )
    if name == "function":
        yield f"{module or '__main__'}.{description.get('config')}"
    elif str(registered).startswith("sklstm>"):
        kind = keras.saving.get_registered_object(registered)  # Keras does the same
        if not getattr(kind, "__module__", "").startswith("sklstm.networks."):
            yield f"{module}.{name}"
    elif registered not in (None, name) or safe_class(f"{module}.{name}") is None:
        yield f"{module or '__main__'}.{name}"


def _check_plain(value: Any) -> None:
    """Raise if Keras may find more in a value than this module checks."""
    if isinstance(value, np.ndarray | np.generic):
        plain = value.dtype.kind in PLAIN_KINDS
    else:
        plain = isinstance(value, str | bytes | int | float | None | list | tuple)
    if not plain:
        raise Refused(
            f"holds a {type(value).__name__} in the description of a Keras object, "
            "where only plain values can be."
        )


def describe(value: Any) -> dict[str, Any]:
    """Return the description of a Keras object."""
    with warnings.catch_warnings():
        # Keras warns of a lambda, which `foreign` refuses.
        warnings.filterwarnings("ignore", message=".*includes a `lambda`")
        description = keras.saving.serialize_keras_object(value)
    description = without_registration(description)
    if str(description["module"]).startswith("keras.src.backend."):
        # With PyTorch, an optimizer has a private class of the same name.
        description.update(module="keras.optimizers", registered_name=None)
    return description


def restore(description: dict[str, Any], trusted: dict[str, Any]) -> Any:
    """Restore a Keras object from its description.

    Parameters
    ----------
    description : dict
        Description, as `describe` returns it. The caller has checked its names.
    trusted : dict of str to object
        Classes and functions that the user trusts, by module and name.

    Returns
    -------
    object
        The Keras object.
    """
    own = {name.rpartition(".")[2]: value for name, value in trusted.items()}
    registered = {
        keras.saving.get_registered_name(value): value
        for value in trusted.values()
        if isinstance(value, type)
    }
    return keras.saving.deserialize_keras_object(
        description, custom_objects={**own, **registered}, safe_mode=True
    )


def save_network(model: keras.Model) -> bytes:
    """Return a network as a `.keras` file, without its optimizer."""
    # This model shares the layers, but it is not compiled, because the state of the
    # optimizer is saved elsewhere.
    bare = keras.Model(model.inputs[0], model.outputs[0], name=model.name)
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*includes a `lambda`")
        # Keras copies variables in a way that NumPy 2 warns of. If the caller turns
        # warnings into errors, nothing could be saved.
        warnings.filterwarnings("ignore", message=".*__array__ implementation doesn't")
        path = os.path.join(folder, "network.keras")
        bare.save(path)
        with zipfile.ZipFile(path) as archive:
            parts = {name: archive.read(name) for name in archive.namelist()}
    return pack(parts)


def read_network(data: bytes) -> dict[str, Any]:
    """Return the description of the network in a `.keras` file, without weights."""
    return without_registration(json.loads(unpack(data)["config.json"]))
