"""A compiled network: built once from its specification, started anew by every fit."""

import functools
import gc
import math
import os
import random
import re
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from sklstm._keras import keras

import numpy as np

from sklstm import networks
from sklstm.networks import (
    JointAugmentation,
    Mixing,
    PixelEmbedding,
    SavedNetwork,
    SelfAttention,
    Standardize,
    get_network,
    read_input,
)
from sklstm.networks._pretrained import BACKBONE
from sklstm.networks.initialize import initialize
from sklstm.training._copies import rebuilt
from sklstm.training._devices import share_memory
from sklstm.training._engine import make_engine
from sklstm.training._hyperparameters import VARIABLES
from sklstm.training._optimizer import optimizer_class, own_optimizer, scheduled
from sklstm.training._own_network import check_outputs, completed
from sklstm.training._scaling import measure
from sklstm.training._scikeras import build_model
from sklstm.training._settings import own_settings
from sklstm.training._spec import NetworkSpec

# Keras draws the seeds of layers without a seed from Python's global generator. The
# state of the generator is set while a network is built, and restored after that.
_PYTHON_RANDOM = threading.RLock()


class CompiledNetwork:
    """A Keras model, its optimizer and the functions traced from them.

    Parameters
    ----------
    spec : NetworkSpec
        Specification of the network to build.
    """

    @own_settings()
    def __init__(self, spec: NetworkSpec) -> None:
        self.spec = spec
        self.key = spec.key()
        self.process = os.getpid()
        self.exposed = False
        share_memory()  # before the first operation of the backend
        self.model = self._build_seeded(0)
        self.joint_augmentation: Any = None
        if spec.joint_augmentation is not None:
            assert spec.target_shape is not None
            self.joint_augmentation = JointAugmentation(
                spec.joint_augmentation, spec.input_shape
            )
        elif spec.mixing is not None:
            self.joint_augmentation = Mixing(spec.mixing, spec.input_shape)
        optimizer = self.model.optimizer
        optimizer.build(self.model.trainable_variables)
        self._optimizer_start = [_numpy(v) for v in optimizer.variables]
        self.engine = make_engine(self.model, spec, self.joint_augmentation)
        self._predict_batches: dict[int, int] = {}
        # Numbers of references to the parts, from the time that callbacks saw them.
        self._references: list[int] | None = None

    def show_to_callbacks(self) -> None:
        """Count the references to parts of the model before a user's callbacks see it.

        The caller must not hold such a part in a variable.
        """
        if self._references is None:
            gc.collect()  # reference cycles left from building count as well
            self._references = self._count_references()

    @contextmanager
    def own_references(self) -> Iterator[None]:
        """Do not count the references that the block makes as those of callbacks."""
        before = self._count_references()
        yield
        if self._references is not None:
            added = zip(self._count_references(), before, strict=True)
            self._references = [
                n + now - then
                for n, (now, then) in zip(self._references, added, strict=True)
            ]

    def is_held(self) -> bool:
        """Return whether a callback still holds the model or a part of it.

        The number of references to a layer or a variable shows it.
        """
        if self._references is None:
            return False
        pairs = zip(self._count_references(), self._references, strict=True)
        return any(now > before for now, before in pairs)

    def _count_references(self) -> list[int]:
        model = self.model
        parts = [*model._flatten_layers(), *self._variables(), model.optimizer]
        return [sys.getrefcount(part) for part in parts]

    def _build(self) -> keras.Model:
        spec = self.spec
        classes = spec.target_shape is None
        params = dict(spec.network_params, input_shape=spec.input_shape)
        if classes:
            params["n_classes"] = spec.n_outputs
        build = get_network(spec.network).build
        if callable(spec.network) and not isinstance(spec.network, SavedNetwork):
            build = completed(build)
        if spec.reading_params and not callable(spec.network):
            params.update(spec.reading_params)
        elif spec.reading_params and not isinstance(spec.network, SavedNetwork):
            build = _read_before(build, spec.reading_params)
        base = optimizer_class(spec.optimizer)
        kind = scheduled(
            base,
            warms=spec.warmup,
            decays=spec.weight_decay,
            slows=spec.trains_backbone,
        )
        if isinstance(spec.optimizer, keras.optimizers.Optimizer):
            optimizer: Any = rebuilt(spec.optimizer, kind)
            routed = {}
        else:
            optimizer = kind
            routed = {f"optimizer__{k}": v for k, v in spec.optimizer_params.items()}
        # XLA gains nothing for a recurrent loop on the CPU and compiles for seconds.
        jit = "auto" if keras.backend.backend() == "jax" else False
        model = build_model(
            build,
            params,
            {"optimizer": optimizer, **routed, **spec.compile_params},
            jit,
            accuracy=classes,
        )
        if classes:
            check_outputs(model, spec.n_outputs)
        if spec.trains_backbone:
            slow = model.get_layer(BACKBONE).trainable_variables
            own_optimizer(model).slowed = frozenset(map(id, slow))
        return model

    def release(self) -> None:
        """Delete the traced functions. The network can no longer train or predict.

        The garbage collector may call this at any moment, so it must wait for no lock.
        """
        self.engine.release()

    def start(
        self, seed: np.random.SeedSequence, pretrained: keras.Model | None = None
    ) -> None:
        """Reset weights, seeds and optimizer to those of a new network.

        Parameters
        ----------
        seed : numpy.random.SeedSequence
            Source of the weights.
        pretrained : keras.Model or None
            The model with the weights of the backbone, if the network has one.
        """
        if self.joint_augmentation is not None:
            self.joint_augmentation.start(seed.spawn(1)[0])
        if isinstance(self.spec.network, str):
            kept = [one for one in self.model.layers if one.name == BACKBONE]
            initialize(self.model, seed, kept)
            if pretrained is not None:
                kept[0].model.set_weights(pretrained.get_weights())
        else:
            fresh = self._build_seeded(int(seed.generate_state(1)[0]))
            for own, new in zip(self.model.variables, fresh.variables, strict=True):
                own.assign(_numpy(new))
        self._assign(self.model.optimizer.variables, self._optimizer_start)

    def _build_seeded(self, seed: int) -> keras.Model:
        with _PYTHON_RANDOM:
            before = random.getstate()
            policy = keras.config.dtype_policy()
            random.seed(seed)
            try:
                if self.spec.dtype_policy is not None:
                    keras.config.set_dtype_policy(self.spec.dtype_policy)
                return self._build()
            finally:
                keras.config.set_dtype_policy(policy)
                random.setstate(before)

    def configure(self, values: Mapping[str, float]) -> None:
        """Set the hyperparameters that variables of the graph hold.

        A user's own network is given these values when it is built.

        Parameters
        ----------
        values : mapping of str to float
            A value for each of `VARIABLES`, and for "mixup" and "cutmix" if the
            specification has a `mixing`.
        """
        if self.spec.mixing is not None:
            self.joint_augmentation.configure(values["mixup"], values["cutmix"])
        if not isinstance(self.spec.network, str):
            return
        for layer in _all_layers(self.model):
            for name, (kind, variable) in VARIABLES.items():
                if type(layer) is getattr(networks, kind):
                    getattr(layer, variable).assign(values[name])

    def standardize(self, x: np.ndarray) -> None:
        """Fit the standardization inside the network to training data.

        With a scan inside the network, a pixel counts as often as the scan reads it.
        The result is that of a sequencer before the network.
        """
        layers = _all_layers(self.model)
        scaling = [layer for layer in layers if isinstance(layer, Standardize)]
        if scaling:
            found = measure(x, self.spec.reading_params.get("index_map"))
            for layer in scaling:
                layer.set(found.mean, found.scale)
            ends = (found.low, found.high)
            low, high = ((end - found.mean) / found.scale for end in ends)
            for layer in layers:
                if isinstance(layer, PixelEmbedding):
                    layer.set(low, high)

    def get_state(self) -> dict[str, list]:
        """Return all numbers that training changes, and the names of the weights."""
        return {
            "names": self._names(),
            "model": [_numpy(v) for v in self._variables()],
            "optimizer": [_numpy(v) for v in self.model.optimizer.variables],
        }

    def set_state(self, state: dict[str, list]) -> None:
        """Restore the state that `get_state` returned.

        Raises
        ------
        ValueError
            If the state is that of a network with other layers.
        """
        self.set_weights(state)
        self._assign(self.model.optimizer.variables, state["optimizer"])

    def set_weights(self, state: dict[str, list]) -> None:
        """Restore the weights of a state, and leave the optimizer as it is."""
        if state["names"] != self._names():
            raise ValueError(
                f"The weights are those of {', '.join(state['names'])}, and the "
                f"network has {', '.join(self._names())}: train it anew."
            )
        self._assign(self._variables(), state["model"])

    def _names(self) -> list[str]:
        # The names have layer and weight, but not the numbers that Keras adds. Those
        # count the layers that a process has built.
        ends = ["/".join(v.path.split("/")[-2:]) for v in self._variables()]
        return [re.sub(r"_\d+(?=/|$)", "", end) for end in ends]

    def _variables(self) -> list:
        augment = self.joint_augmentation
        own = [] if augment is None else augment.variables
        return [*self.model.variables, *own]

    def _assign(self, variables: list, values: list[np.ndarray]) -> None:
        for variable, value in zip(variables, values, strict=True):
            variable.assign(value)

    @own_settings()
    def predict(self, x: np.ndarray) -> np.ndarray:
        """Return the output of the network for each sample."""
        return self.engine.predict(x, self.predict_batch(x))

    def predict_batch(self, x: np.ndarray) -> int:
        """Return the number of samples to predict at a time."""
        n_steps = x.shape[1]
        if n_steps not in self._predict_batches:
            self._predict_batches[n_steps] = batch_within_memory(self.model, n_steps)
        return self._predict_batches[n_steps]


def _read_before(build: Callable, reading_params: dict[str, Any]) -> Callable:
    """Put augmentation and scan before a network that does not take them."""

    @functools.wraps(build)
    def built(input_shape: tuple, n_classes: int, **params: Any) -> keras.Model:
        inputs, x = read_input(input_shape, **reading_params, standardize=False)
        network = build(input_shape=tuple(x.shape[1:]), n_classes=n_classes, **params)
        return keras.Model(inputs, network(x), name="read")

    return built


def batch_within_memory(model: keras.Model, n_steps: int, n_values: int = 2**25) -> int:
    """Return a number of samples whose layer outputs need at most 128 MiB each.

    The number is at most 512. The overlapping patches of one large photograph need
    megabytes, and attention compares each patch with each. `n_steps` replaces the sides
    that the graph leaves open.
    """
    sizes = [1]
    for layer in _all_layers(model):
        for output in keras.tree.flatten(getattr(layer, "output", [])):
            shape = [n_steps if side is None else side for side in output.shape[1:]]
            sizes.append(math.prod(shape))
            if isinstance(layer, SelfAttention | keras.layers.MultiHeadAttention):
                heads = getattr(layer, "n_heads", None) or layer.num_heads
                sizes.append(heads * shape[0] ** 2)
    return max(1, min(512, n_values // max(sizes)))


def _numpy(variable: Any) -> np.ndarray:
    # np.array would pass a keyword to `__array__` that Keras' variables do not take.
    # NumPy 2 would warn.
    return np.array(np.asarray(variable))


def _all_layers(layer: Any) -> list:
    found = [layer]
    for inner in getattr(layer, "layers", []):
        found.extend(_all_layers(inner))
    return found
