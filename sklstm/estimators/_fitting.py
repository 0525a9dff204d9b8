"""From the parameters of an estimator to its trained network.

This module loads Keras. The estimators import it in `fit`, and not before.
"""

from __future__ import annotations

import inspect
import math
import os
import sys
import warnings
from contextlib import nullcontext
from pathlib import Path
from types import FrameType
from typing import Any

from sklstm._keras import keras, warn_of_late_variable

import joblib
import numpy as np
import sklearn
from sklearn.exceptions import ConvergenceWarning

from sklstm.estimators._watch import Shown, tell_watcher
from sklstm.networks import NETWORKS, SavedNetwork, get_network
from sklstm.training import _pool
from sklstm.training._callbacks import let_go
from sklstm.training._compiled import CompiledNetwork
from sklstm.training._data import Data
from sklstm.training._devices import warn_of_idle_card
from sklstm.training._fitted_network import FittedNetwork
from sklstm.training._hyperparameters import (
    FROM_DATA,
    NETWORK_PARAMS,
    READ_FROM,
    VARIABLES,
    own_params,
)
from sklstm.training._loop import TrainingPlan, TrainingResult, train
from sklstm.training._optimizer import optimizer_class, own_optimizer
from sklstm.training._own_network import check_sample_shape, parameters_of
from sklstm.training._scikeras import make_callbacks
from sklstm.training._settings import deterministic_ops, policy_name, refuse_scopes
from sklstm.training._spec import NetworkSpec, changed_parts

# A cross-entropy over standardized inputs has gradients of norm 0.01 to 10. These
# bounds are far outside, and training does not learn there.
_EXPLODED = 1e3
_VANISHED = 1e-6

# Folders of the code between the line that calls `fit` and a warning.
_BETWEEN = tuple(
    f"{folder}{os.sep}"
    for folder in (
        Path(__file__).parents[1],
        Path(sklearn.__file__).parent,
        Path(joblib.__file__).parent,
    )
)


def stacklevel_of_caller() -> int:
    """Return the `stacklevel` of a warning about the line that calls `fit`.

    How many frames lie between depends on the version of scikit-learn, on ensembles,
    and on Pipelines and searches around the estimator.

    Returns
    -------
    int
        As in `warnings.warn`, counted from the function that is called with it.
    """
    frame: FrameType | None = sys._getframe(1)
    level = 2
    while frame is not None and frame.f_code.co_filename.startswith(_BETWEEN):
        frame, level = frame.f_back, level + 1
    return level


def start_network(
    estimator: Any,
    x: np.ndarray,
    seed: np.random.SeedSequence,
    continues: bool,
    *,
    network_params: dict[str, Any] | None = None,
    pretrained: keras.Model | None = None,
    **parts: Any,
) -> None:
    """Take a network from the pool and start it, or go on with the fitted one.

    Parameters
    ----------
    estimator : KerasEstimator
        Its `_fitted_network` is set.
    x : ndarray
        Samples to train on, as the network takes them.
    seed : numpy.random.SeedSequence
        Source of the initial weights.
    continues : bool
        If True, go on with the network that the estimator holds.
    network_params : dict or None
        What the network function is given besides the estimator's own parameters.
    pretrained : keras.Model or None
        The model with the weights of the backbone, if the network has one.
    **parts
        Further fields of the `NetworkSpec`, which depend on the kind of estimator.
    """
    refuse_scopes()
    spec = NetworkSpec(
        network=estimator.network,
        input_shape=(None, x.shape[2]) if x.ndim == 3 else x.shape[1:],
        input_dtype=x.dtype.name,
        network_params=_network_params(estimator) | (network_params or {}),
        optimizer=estimator.optimizer,
        optimizer_params=_optimizer_params(estimator),
        warmup=estimator.warmup > 0,
        weight_decay=bool(estimator.weight_decay),
        # Store the name, because a pickle may be loaded under another policy.
        dtype_policy=policy_name(estimator.dtype_policy, estimator.network),
        **parts,
    )
    if continues:
        compiled = _continued(estimator, spec)
    else:
        estimator._fitted_network = FittedNetwork(_pool.POOL.take(spec))
        compiled = estimator._fitted_network.compiled
        if callable(estimator.network):
            check_sample_shape(compiled.model, x.shape[1:])
        compiled.start(seed, pretrained)
        compiled.standardize(x)
        if callable(estimator.network):
            _check_probabilities(compiled.predict(x[:1])[0])
    compiled.configure(
        {n: getattr(estimator, n) for n in VARIABLES if hasattr(estimator, n)}
        | {"input_noise": input_noise_of(estimator)}
        | {name: getattr(estimator, name, 0.0) for name in ("mixup", "cutmix")}
    )
    if estimator.callbacks is not None:
        compiled.show_to_callbacks()
    level = stacklevel_of_caller()
    warn_of_idle_card(stacklevel=level)
    warn_of_late_variable(stacklevel=level)


def _continued(estimator: Any, spec: NetworkSpec) -> CompiledNetwork:
    """Return the network that the estimator holds, or raise if it cannot continue."""
    compiled = estimator._fitted_network.compiled
    changed = changed_parts(spec.key(), compiled.key)
    if [name for name in changed if name != "the dtype of X"]:
        names = ", ".join(READ_FROM.get(name, name) for name in changed)
        raise ValueError(
            f"{names} changed since the last fit, and a network "
            "that trains on cannot follow: set it back, or fit with "
            "warm_start=False."
        )
    if compiled.spec.input_dtype != spec.input_dtype:  # uint8 before, float32 now
        state = estimator._fitted_network.get_state()
        estimator._fitted_network = FittedNetwork(_pool.POOL.take(spec))
        compiled = estimator._fitted_network.compiled
        compiled.set_state(state)
    return compiled


def _network_params(estimator: Any) -> dict[str, Any]:
    """Return the parameters of the estimator that the network function receives."""
    if isinstance(estimator.network, SavedNetwork):
        name = estimator.network.name
        raise ValueError(
            f"network={name!r} was loaded without its function, which training "
            f"needs: pass trusted={{{name!r}: function}} to sklstm.load."
        )
    own = (name for name in NETWORK_PARAMS if hasattr(estimator, name))
    params = {name: getattr(estimator, name) for name in own}
    params["input_noise"] = input_noise_of(estimator)
    known = parameters_of(get_network(estimator.network).build)
    if not any(p.kind is p.VAR_KEYWORD for p in known.values()):
        unknown = [name for name in params if name not in known]
        if callable(estimator.network):  # a user's network may lack all but this one
            refused = [name for name in unknown if name == "ordinal"]
        else:
            refused = unknown
        _refuse_without_effect(estimator, refused, own_params(known))
        params = {k: v for k, v in params.items() if k in known}
    for name in ("pooling", "patch_size", "scan", "stem_kernels"):
        if params.get(name) is None:
            params.pop(name, None)  # use the default of the network
    for routed, value in estimator._routed_to("network").items():
        name = routed.removeprefix("network__")
        if name in FROM_DATA:
            raise ValueError(f"{routed} is given: it follows from X and y.")
        if name in READ_FROM and isinstance(estimator.network, str):
            raise ValueError(f"{routed} is given: set {READ_FROM[name]} instead.")
        params[name] = value
    return params


def input_noise_of(estimator: Any) -> float:
    """Return `input_noise`, or the default of the network if it is None."""
    if estimator.input_noise is not None:
        return estimator.input_noise
    network = get_network(estimator.network)
    if any(network.build is named.build for named in NETWORKS.values()):
        return parameters_of(network.build)["input_noise"].default
    return 0.5 if network.takes == "sequences" else 0.2


def _refuse_without_effect(estimator: Any, names: list[str], own: list[str]) -> None:
    """Raise if a parameter that the network lacks was set."""
    defaults = inspect.signature(type(estimator)).parameters
    for name in names:
        if getattr(estimator, name) != defaults[name].default:
            instead = ", ".join(own)
            raise ValueError(
                f"{name}={getattr(estimator, name)!r} has no effect on "
                f"network={estimator.network!r}, which has no such parameter: leave it "
                f"out{f' (it has {instead})' if instead else ''}."
            )


def _optimizer_params(estimator: Any) -> dict[str, Any]:
    """Return the parameters of the optimizer, including clipping."""
    optimizer_class(estimator.optimizer)  # raise if it is not an optimizer
    params = {
        name.removeprefix("optimizer__"): value
        for name, value in estimator._routed_to("optimizer").items()
    }
    if params and not isinstance(estimator.optimizer, str | type):
        raise ValueError(
            f"optimizer__{next(iter(params))} is given, but optimizer is an "
            "instance, which is made already: give its class or name."
        )
    for name in ("learning_rate", "clipvalue", "gradient_accumulation_steps"):
        if name in params:
            raise ValueError(f"optimizer__{name} is given: set {name} instead.")
    clips = [
        name for name in ("clipnorm", "global_clipnorm") if params.get(name) is not None
    ]
    if estimator.clipvalue is not None:
        if clips:
            raise ValueError(
                f"clipvalue={estimator.clipvalue} and optimizer__{clips[0]} exclude "
                "each other: set clipvalue=None to clip by norm."
            )
        params["clipvalue"] = estimator.clipvalue
    if estimator.weight_decay is not None:
        params.update(_without_own_decay(estimator, params))
    if estimator.gradient_accumulation_steps > 1:
        params["gradient_accumulation_steps"] = estimator.gradient_accumulation_steps
    if estimator.lr_schedule in ("cosine", "constant"):
        params["learning_rate"] = float(estimator.learning_rate)
    elif isinstance(
        estimator.lr_schedule, keras.optimizers.schedules.LearningRateSchedule
    ):
        if not isinstance(estimator.optimizer, str | type):
            raise ValueError(
                "lr_schedule is a schedule of Keras, but optimizer is an instance, "
                "which keeps its own learning rate: give the schedule to the "
                "optimizer, or give the optimizer's class."
            )
        params["learning_rate"] = estimator.lr_schedule
    else:
        raise ValueError(
            f"lr_schedule={estimator.lr_schedule!r} is not known: use 'cosine', "
            "'constant' or a keras.optimizers.schedules.LearningRateSchedule."
        )
    instance = not isinstance(estimator.optimizer, str | type)
    uses_ema = estimator.optimizer.use_ema if instance else params.get("use_ema")
    if estimator.average_epochs > 1 and uses_ema:
        raise ValueError(
            f"average_epochs={estimator.average_epochs} and the optimizer's use_ema "
            "both average the weights: leave one out."
        )
    if getattr(estimator, "backbone", None) is not None and uses_ema:
        raise ValueError(
            "The optimizer's use_ema averages the weights of the backbone before it "
            "is slowed down: set average_epochs instead."
        )
    follows = estimator.lr_schedule not in ("cosine", "constant")
    if estimator.warmup > 0 and (
        follows or (instance and callable(estimator.optimizer._learning_rate))
    ):
        raise ValueError(
            f"warmup={estimator.warmup} has no effect beside a schedule of Keras: set "
            "lr_schedule='cosine' or 'constant', or give the schedule a warm-up."
        )
    return params


def _wait_of_backbone(estimator: Any, one_epoch: bool) -> float:
    """Return the part of the updates in which the backbone does not train."""
    if not one_epoch:
        return getattr(estimator, "backbone_warmup", 0.0)
    # The first call of partial_fit meets a network with random weights.
    return 0.0 if estimator.history_ else 1.0


def _without_own_decay(estimator: Any, params: dict[str, Any]) -> dict[str, float]:
    """Return what turns off the optimizer's own weight decay, or raise."""
    kind = optimizer_class(estimator.optimizer)
    if "weight_decay" in params:
        raise ValueError("optimizer__weight_decay is given: set weight_decay instead.")
    if not isinstance(estimator.optimizer, str | type):
        if estimator.optimizer.weight_decay:
            raise ValueError(
                f"weight_decay={estimator.weight_decay} is given, and the optimizer, "
                "which is an instance, has a weight decay of its own: leave one out."
            )
        return {}
    return {"weight_decay": 0.0} if issubclass(kind, keras.optimizers.AdamW) else {}


def train_network(
    estimator: Any,
    data: Data,
    validation: Data | None,
    *,
    epochs: int,
    context: Any,
    seen: dict[str, Any],
    constant_rate: bool = False,
    chances: np.ndarray | None = None,
    shown: Shown | None = None,
) -> TrainingResult:
    """Train the network of an estimator and extend its `history_`.

    Parameters
    ----------
    estimator : KerasEstimator
        Its network has been started.
    data, validation : Data
        Samples to train on and to watch.
    epochs : int
        Maximum number of epochs.
    context : object
        Context of scikit-learn's callbacks.
    seen : dict
        What these callbacks are shown: the data as `fit` got it.
    constant_rate : bool
        If True, use a constant learning rate instead of the schedule.
    chances : ndarray of shape (n,) or None
        Probability of each sample to be drawn, see `TrainingPlan`.
    shown : Shown or None
        What callbacks of scikit-learn and watchers are shown. If None, the estimator.

    Returns
    -------
    TrainingResult
        Number of epochs run, and the best one.
    """
    shown = shown or Shown(estimator, estimator._snapshot)
    compiled = estimator._fitted_network.compiled
    optimizer = own_optimizer(compiled.model)
    estimator._planned_epochs = epochs
    if isinstance(estimator.optimizer, str | type):
        peak = estimator.learning_rate
    else:
        peak = float(estimator.optimizer.learning_rate)
    running: list = []

    def epoch_begin(epoch: int) -> None:
        running[:] = [context.subcontext(task_name="epoch")]
        running[0].call_on_fit_task_begin(estimator=shown.estimator, **seen)

    def epoch_end(epoch: int, logs: dict) -> bool:
        stop = running[0].call_on_fit_task_end(
            estimator=shown.estimator,
            **seen,
            reconstruction_attributes=shown.snapshot,
        )
        told = tell_watcher(shown.estimator, shown.first_epoch + epoch, logs)
        return told or stop

    plan = TrainingPlan(
        epochs=epochs,
        batch_size=estimator.batch_size,
        shuffle_seed=estimator._shuffle_seed,
        peak=peak,
        cosine=estimator.lr_schedule == "cosine" and not constant_rate,
        warmup=0.0 if constant_rate else estimator.warmup,
        weight_decay=estimator.weight_decay or 0.0,
        backbone_rate=getattr(estimator, "backbone_rate", 1.0),
        backbone_warmup=_wait_of_backbone(estimator, constant_rate),
        average_epochs=1 if constant_rate else estimator.average_epochs,
        accumulation=optimizer.gradient_accumulation_steps or 1,
        patience=estimator.patience if estimator.early_stopping else None,
        chances=chances,
        verbose=estimator.verbose,
        callbacks=make_callbacks(
            estimator.callbacks, estimator._routed_to("callbacks")
        ),
        epoch_begin=epoch_begin,
        epoch_end=epoch_end,
    )
    try:
        with deterministic_ops() if estimator.op_determinism else nullcontext():
            result = train(compiled, data, validation, plan, estimator.history_)
    finally:
        let_go(plan.callbacks)
    norms = estimator.history_["gradient_norm"][-result.n_epochs :]
    warn_about_gradients(norms, stacklevel=stacklevel_of_caller())
    return result


def _check_probabilities(outputs: np.ndarray) -> None:
    """Raise if the outputs of a user's network are not probabilities."""
    if outputs.min() < 0 or abs(float(outputs.sum()) - 1) > 1e-3:
        raise ValueError(
            f"The network's outputs for one sample sum to {outputs.sum():.3g}, but "
            "they must be probabilities: end it with activation='softmax'."
        )


def warn_about_gradients(norms: list[float], stacklevel: int = 2) -> None:
    """Warn if the mean gradient of an epoch exploded or vanished.

    Parameters
    ----------
    norms : list of float
        Mean norm of the gradient in each epoch.
    stacklevel : int
        As in `warnings.warn`, counted from this function.
    """
    # The norm is NaN if each step of an epoch was skipped, as loss scaling can do.
    norms = [0.0 if math.isnan(norm) else norm for norm in norms]
    largest = int(np.argmax(norms))
    if norms[largest] > _EXPLODED:
        warnings.warn(
            f"The gradient exploded: its norm reached {norms[largest]:.2g} in epoch "
            f"{largest + 1}. Lower learning_rate, or clip the gradient (clipvalue).",
            ConvergenceWarning,
            stacklevel=stacklevel,
        )
    elif 0.0 < norms[0] < _VANISHED:
        warnings.warn(
            f"The gradient vanished: its norm was {norms[0]:.2g} in the first epoch, "
            "so nothing was learned. Use fewer steps (sequence_length), "
            "pooling='attention', or batch_norm=True.",
            ConvergenceWarning,
            stacklevel=stacklevel,
        )
