"""The specification of a network, and the key that names its graph."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from sklstm._keras import keras

from sklstm.networks import get_network
from sklstm.training._copies import configuration
from sklstm.training._graph_key import configuration_is_whole, freeze
from sklstm.training._hyperparameters import VARIABLES
from sklstm.training._own_network import parameters_of


@dataclass
class NetworkSpec:
    """Everything that shapes the graph of a network, in a form that can be pickled.

    Parameters
    ----------
    network : str or callable
        Name or function of the network.
    input_shape : tuple
        Shape of one sample. None stands for a side that may vary.
    n_outputs : int
        Number of classes.
    input_dtype : str
        dtype of the training samples in memory, "uint8" or "float32". The graph casts
        them to float32.
    network_params, optimizer_params, compile_params : dict
        Arguments of the network function, of the optimizer, and of loss and metrics.
    one_hot : bool
        If True, targets are one-hot. If False, they are class numbers.
    reading_params : dict
        ``index_map`` and ``augmentation``, if there are any. They are put before a
        user's own network, which does not take them.
    dtype_policy : str or None
        Name of the dtype policy of Keras. If None, the global policy.
    target_shape : tuple or None
        Shape of one target, uint8, for a network that labels windows. None for a
        network that predicts classes.
    joint_augmentation : dict or None
        Augmentation that changes a sample together with its target, see
        `JointAugmentation`.
    mixing : dict or None
        Which samples are mixed with each other, and their augmentation before that, see
        `Mixing`.
    warmup, weight_decay : bool
        Whether the optimizer has variables for these; see `scheduled`.
    """

    network: str | Callable[..., keras.Model]
    input_shape: tuple
    n_outputs: int
    input_dtype: str
    network_params: dict[str, Any]
    optimizer: Any = "adam"
    optimizer_params: dict[str, Any] = field(default_factory=dict)
    compile_params: dict[str, Any] = field(default_factory=dict)
    one_hot: bool = False
    reading_params: dict[str, Any] = field(default_factory=dict)
    dtype_policy: str | None = None
    target_shape: tuple | None = None
    joint_augmentation: dict | None = None
    mixing: dict | None = None
    warmup: bool = False
    weight_decay: bool = False

    @property
    def trains_backbone(self) -> bool:
        """Whether layers of a backbone train, which they do more slowly."""
        return bool(self.reading_params.get("backbone", {}).get("n_trained"))

    def key(self) -> tuple:
        """Return a hashable key. Two networks with equal keys can use one graph.

        The key holds the present state of the user's objects, because they may change.
        """
        return tuple(
            ((group, name), freeze(value))
            for group, parts in self._parts().items()
            for name, value in sorted(parts.items())
        )

    def target(self) -> tuple[tuple, str]:
        """Return the shape and the dtype of one target."""
        if self.target_shape is not None:
            return self.target_shape, "uint8"
        return ((self.n_outputs,), "float32") if self.one_hot else ((), "int32")

    def _parts(self) -> dict[str, dict[str, Any]]:
        params = dict(self.network_params)
        if isinstance(self.network, str):
            # A file may come from a version in which the network had fewer parameters.
            params = _defaults(self.network) | params
            for name in VARIABLES:  # one graph serves all values above zero
                params[name] = params.get(name, 0) > 0
        optimizer = self.optimizer
        if isinstance(optimizer, keras.optimizers.Optimizer) and (
            configuration_is_whole(optimizer)
        ):
            config = configuration(optimizer)
            del config["name"]  # Keras numbers the names
            del config["learning_rate"]
            if not isinstance(optimizer._learning_rate, keras.Variable):  # a schedule
                # The configuration holds no more than the name of a function.
                config["learning_rate"] = optimizer._learning_rate
            optimizer = (type(optimizer), config)
        optimizer_params = dict(self.optimizer_params)
        schedule = optimizer_params.pop("learning_rate", None)
        if isinstance(schedule, float):
            schedule = None  # a variable of the optimizer holds it
        return {
            "network": {
                "": self.network,
                **params,
                **self.reading_params,
                "joint_augmentation": self.joint_augmentation,
                "mixing": _kinds(self.mixing),
            },
            "optimizer": {
                "": optimizer,
                **optimizer_params,
                "warmup": self.warmup,
                "weight_decay": (
                    self.weight_decay,
                    optimizer_params.get("weight_decay"),
                ),
            },
            "compile": {**self.compile_params, "lr_schedule": schedule},
            "fixed": {
                "the Keras backend": keras.backend.backend(),
                "Keras' epsilon": keras.config.epsilon(),
                "Keras' distribution": _distribution(),
                "the dtype policy": (
                    self.dtype_policy or keras.config.dtype_policy().name
                ),
                "the shape of X": self.input_shape,
                "the dtype of X": self.input_dtype,
                "the number of classes": self.n_outputs,
                "the kind of target": (self.one_hot, self.target_shape),
            },
        }


def _defaults(network: str) -> dict[str, Any]:
    """Return the defaults of the parameters of a named network."""
    known = parameters_of(get_network(network).build).values()
    return {p.name: p.default for p in known if p.default is not p.empty}


def _kinds(mixing: dict | None) -> dict | None:
    """Return which mixtures there are: one graph serves all values above zero."""
    if mixing is None:
        return None
    kinds = {name: mixing[name] > 0 for name in ("mixup", "cutmix")}
    return {**mixing, **kinds}


def _distribution() -> Any:
    """Return what describes the distribution between devices, if Keras has one."""
    found = keras.distribution.distribution()
    if type(found) is not keras.distribution.DataParallel:
        return found
    mesh = found.device_mesh
    return tuple(map(str, mesh.devices.flat)), mesh.shape, mesh.axis_names


def changed_parts(key: tuple, before: tuple) -> list[str]:
    """Return the names of the parts in which the keys of two specifications differ."""
    new, old = dict(key), dict(before)
    none = freeze(None)
    return [
        name or group
        for group, name in {**new, **old}
        if new.get((group, name), none) != old.get((group, name), none)
    ]
