"""What every estimator over a Keras network shares: parameters, training, pickling.

Keras is imported by the first fit and not before.
"""

from __future__ import annotations

import copy
import inspect
import math
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, nullcontext
from numbers import Integral, Real
from typing import TYPE_CHECKING, Any

import numpy as np
from sklearn.base import BaseEstimator

from sklstm._compat import (
    FRAMES_OF_FIT,
    CallbackSupportMixin,
    Interval,
    StrOptions,
)
from sklstm.estimators._copies import keep_whole_in_copies
from sklstm.images import count_samples, unchanged_on_error

if TYPE_CHECKING:
    import keras

    from sklstm.estimators._pool import Lease
    from sklstm.estimators._training import Data, Result

# Of "auto" epochs. Fewer leave a network on a hundred images far from trained
# (benchmarks/digits.py --small).
_FEWEST_UPDATES = 1200
# What a network is given besides, and the parameter that it comes from.
_READING = {"index_map": "sequencer", "augmentation": "augmentation", "stem": "stem"}
_FROM_DATA = ("input_shape", "n_classes", "grid")
# What a network is given of the estimator's own parameters, if it takes them.
SHARED_PARAMS = (
    "units",
    "n_layers",
    "bidirectional",
    "embedding",
    "attention",
    "pooling",
    "input_noise",
    "dropout",
    "l2",
    "batch_norm",
    "ordinal",
    "contrast",
    "crf",
)


class KerasEstimator(CallbackSupportMixin, BaseEstimator):
    """Base of the estimators: routed parameters, a pooled network, all or nothing."""

    _routes: tuple[str, ...] = (
        "network",
        "optimizer",
        "loss",
        "metrics",
        "callbacks",
    )
    # Of the parameters that mean the same in all of them.
    _shared_constraints: dict = {
        "units": [Interval(Integral, 1, None, closed="left")],
        "n_layers": [Interval(Integral, 1, None, closed="left")],
        "bidirectional": ["boolean"],
        "dropout": [Interval(Real, 0, 1, closed="left")],
        "l2": [Interval(Real, 0, None, closed="left")],
        "batch_norm": ["boolean"],
        "optimizer": "no_validation",
        "learning_rate": [Interval(Real, 0, None, closed="neither")],
        "lr_schedule": "no_validation",
        "clipvalue": [Interval(Real, 0, None, closed="neither"), None],
        "gradient_accumulation_steps": [Interval(Integral, 1, None, closed="left")],
        "batch_size": [Interval(Integral, 1, None, closed="left")],
        "early_stopping": ["boolean"],
        "patience": [Interval(Integral, 1, None, closed="left")],
        "validation_fraction": [Interval(Real, 0, 1, closed="neither")],
        "callbacks": "no_validation",
        "dtype_policy": [
            StrOptions({"float32", "mixed_float16", "mixed_bfloat16"}),
            None,
        ],
        "op_determinism": ["boolean"],
        "random_state": ["random_state"],
        "verbose": ["verbose"],
    }
    _lease: Lease
    history_: dict[str, list[float]]

    def _set_routed(self, routed: dict[str, Any]) -> None:
        for name in routed:
            prefix, _, rest = name.partition("__")
            if prefix not in self._routes or not rest:
                raise TypeError(
                    f"{type(self).__name__}() got an unexpected keyword argument "
                    f"{name!r}: routed parameters begin with "
                    + ", ".join(f"{known}__" for known in self._routes)
                    + "."
                )
        if routed:
            self.__dict__.update(routed)
            self._routed = (*getattr(self, "_routed", ()), *routed)

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        """Get the parameters of this estimator, the routed ones included.

        Parameters
        ----------
        deep : bool, default=True
            Also return the parameters of parameters that are estimators.

        Returns
        -------
        dict
            Names to values.
        """
        # Whoever asks may copy them: clone does, and a search copies its values next.
        keep_whole_in_copies()
        params = super().get_params(deep=deep)
        params.update({name: getattr(self, name) for name in self._routed_names()})
        return params

    def set_params(self, **params: Any) -> KerasEstimator:
        """Set parameters of this estimator, the routed ones included.

        Parameters
        ----------
        **params : dict
            Names to values; ``optimizer__beta_1`` and the like go to that part.

        Returns
        -------
        self : object
            The estimator.
        """
        own = super().get_params(deep=False)
        routed = {}
        for name in list(params):
            prefix, found, rest = name.partition("__")
            if (
                found
                and prefix in self._routes
                and not hasattr(own.get(prefix), "set_params")
            ):
                if not rest:
                    raise ValueError(
                        f"Invalid parameter {name!r} for {type(self).__name__}: it "
                        f"names none of the parameters of {prefix}."
                    )
                routed[name] = params.pop(name)
            elif found and prefix in ("sequencer", "augmentation"):
                whole = params.get(prefix, own[prefix])
                if not hasattr(whole, "set_params"):
                    raise ValueError(
                        f"Invalid parameter {name!r} for {type(self).__name__}: "
                        f"{prefix}={whole!r} has no parameters of its own; set "
                        f"{prefix} as a whole."
                    )
        super().set_params(**params)
        new = {k: v for k, v in routed.items() if k not in self._routed_names()}
        self.__dict__.update(routed)
        self._set_routed(new)
        return self

    def _routed_names(self) -> tuple[str, ...]:
        return getattr(self, "_routed", ())

    def _routed_to(self, *prefixes: str) -> dict[str, Any]:
        """Return routed parameters, names with their prefix."""
        return {
            name: getattr(self, name)
            for name in self._routed_names()
            if name.partition("__")[0] in prefixes
        }

    @contextmanager
    def _all_or_nothing(self, continues: bool) -> Iterator[None]:
        """Leave the estimator as it was when the block fails.

        Parameters
        ----------
        continues : bool
            The block trains the network that the estimator already holds.
        """
        state = self._lease.get_state() if continues else None
        with unchanged_on_error(self):
            try:
                if continues:
                    self.history_ = {k: list(v) for k, v in self.history_.items()}
                yield
            except BaseException:
                if state is not None:
                    self._lease.compiled.set_state(state)
                raise

    def __getstate__(self) -> dict[str, Any]:
        keep_whole_in_copies()
        return self._without_runs(super().__getstate__())

    def __sklearn_clone__(self) -> KerasEstimator:
        twin = object.__new__(type(self))
        twin.__dict__.update(self._without_runs(self.__dict__))
        return BaseEstimator.__sklearn_clone__(twin)

    def _without_runs(self, attributes: dict[str, Any]) -> dict[str, Any]:
        if attributes.get("callbacks") is None:
            return attributes
        from sklstm.estimators._callbacks import without_runs

        names = ["callbacks", *self._routed_to("callbacks")]
        return attributes | {name: without_runs(attributes[name]) for name in names}

    def _is_fitted(self) -> bool:
        return hasattr(self, "_lease")

    def __sklearn_is_fitted__(self) -> bool:
        return self._is_fitted()

    @property
    def model_(self) -> keras.Model:
        """The trained `keras.Model`; it is yours to keep, no later fit reuses it."""
        if not self._is_fitted():
            raise AttributeError(
                f"This {type(self).__name__} is not fitted yet: call fit first."
            )
        compiled = self._lease.compiled
        compiled.exposed = compiled.exposed or not self.__dict__.get("_is_shown")
        return compiled.model

    def _get_fitted_attr_html(self, doc_link: str = "") -> Any:
        # The display of scikit-learn reads every attribute and keeps none.
        self._is_shown = True
        try:
            return super()._get_fitted_attr_html(doc_link)
        finally:
            del self._is_shown

    def _lease_network(
        self,
        x: np.ndarray,
        seed: np.random.SeedSequence,
        continues: bool,
        *,
        network_params: dict[str, Any] | None = None,
        **parts: Any,
    ) -> None:
        """Take a network from the pool and start it, or go on with the own one.

        `network_params` is what the network is given besides the estimator's own
        parameters, `parts` what the kind of estimator adds to the recipe.
        """
        from sklstm.estimators._compiled import Recipe, changed_parts
        from sklstm.estimators._own_network import check_sample_shape
        from sklstm.estimators._pool import POOL, Lease
        from sklstm.estimators._settings import policy_name, refuse_scopes

        refuse_scopes()
        recipe = Recipe(
            network=self.network,
            input_shape=(None, x.shape[2]) if x.ndim == 3 else x.shape[1:],
            input_dtype=x.dtype.name,
            network_params=self._network_params() | (network_params or {}),
            optimizer=self.optimizer,
            optimizer_params=self._optimizer_params(),
            # By name: whoever loads a pickle may have another policy.
            dtype_policy=policy_name(self.dtype_policy, self.network),
            **parts,
        )
        if continues:
            own = self._lease.compiled
            changed = changed_parts(recipe.key(), own.key)
            if [name for name in changed if name != "the dtype of X"]:
                names = ", ".join(_READING.get(name, name) for name in changed)
                raise ValueError(
                    f"{names} changed since the last fit, and a network "
                    "that trains on cannot follow: set it back, or fit with "
                    "warm_start=False."
                )
            if own.recipe.input_dtype != recipe.input_dtype:  # bytes before, floats now
                state = self._lease.get_state()
                self._lease = Lease(POOL.take(recipe))
                self._lease.compiled.set_state(state)
        else:
            self._lease = Lease(POOL.take(recipe))
            if callable(self.network):
                check_sample_shape(self._lease.compiled.model, x.shape[1:])
            self._lease.compiled.start(seed)
            self._lease.compiled.standardize(x)
            if callable(self.network):
                _check_probabilities(self._lease.compiled.predict(x[:1])[0])
        self._lease.compiled.configure(self.dropout, self._noise(), self.l2)
        if self.callbacks is not None:
            self._lease.compiled.show_to_callbacks()

    def _plan_epochs(self, X: Any) -> int:
        """Return how many epochs a fit on X takes at most."""
        if self.epochs != "auto":
            return self.epochs
        batches = max(1, math.ceil(count_samples(X) / self.batch_size))
        for_updates = _FEWEST_UPDATES * self.gradient_accumulation_steps / batches
        return max(60, min(400, math.ceil(for_updates)))

    def _snapshot(self) -> dict[str, Any]:
        """Return what a copy of this estimator, fitted so far, must own itself."""
        return {
            "_lease": copy.deepcopy(self._lease),
            "history_": {name: list(values) for name, values in self.history_.items()},
            "n_iter_": len(self.history_["loss"]),
        }

    def _network_params(self) -> dict[str, Any]:
        from sklstm.estimators._own_network import parameters_of
        from sklstm.networks import SavedNetwork, get_network

        if isinstance(self.network, SavedNetwork):
            name = self.network.name
            raise ValueError(
                f"network={name!r} was loaded without its function, which training "
                f"needs: pass trusted={{{name!r}: function}} to sklstm.load."
            )
        own = (name for name in SHARED_PARAMS if hasattr(self, name))
        params = {name: getattr(self, name) for name in own}
        params["input_noise"] = self._noise()
        known = parameters_of(get_network(self.network).build)
        if not any(p.kind is p.VAR_KEYWORD for p in known.values()):
            unknown = [name for name in params if name not in known]
            if callable(self.network):  # it may do without, but not keep an order
                refused = [name for name in unknown if name == "ordinal"]
            else:
                refused = unknown
            self._refuse_without_effect(refused, own_params(known))
            params = {k: v for k, v in params.items() if k in known}
        if params.get("pooling") is None:
            params.pop("pooling", None)  # the network has its own default
        for routed, value in self._routed_to("network").items():
            name = routed.removeprefix("network__")
            if name in _FROM_DATA:
                raise ValueError(f"{routed} is given: it follows from X and y.")
            if name in _READING and isinstance(self.network, str):
                raise ValueError(f"{routed} is given: set {_READING[name]} instead.")
            params[name] = value
        return params

    def _noise(self) -> float:
        """Return `input_noise`, or what it is where it is None."""
        from sklstm.networks import get_network

        if self.input_noise is not None:
            return self.input_noise
        return 0.5 if get_network(self.network).takes == "sequences" else 0.2

    def _refuse_without_effect(self, names: list[str], own: list[str]) -> None:
        """Raise if one of the parameters, which the network lacks, was set."""
        defaults = inspect.signature(type(self)).parameters
        for name in names:
            if getattr(self, name) != defaults[name].default:
                instead = ", ".join(own)
                raise ValueError(
                    f"{name}={getattr(self, name)!r} has no effect on "
                    f"network={self.network!r}, which has no such parameter: leave it "
                    f"out{f' (it has {instead})' if instead else ''}."
                )

    def _optimizer_params(self) -> dict[str, Any]:
        """Return what the optimizer is made with, clipping included."""
        from sklstm._keras import keras

        from sklstm.estimators._optimizer import optimizer_class

        optimizer_class(self.optimizer)  # raises if it is none
        params = {
            name.removeprefix("optimizer__"): value
            for name, value in self._routed_to("optimizer").items()
        }
        if params and not isinstance(self.optimizer, str | type):
            raise ValueError(
                f"optimizer__{next(iter(params))} is given, but optimizer is an "
                "instance, which is made already: give its class or name."
            )
        for name in ("learning_rate", "clipvalue", "gradient_accumulation_steps"):
            if name in params:
                raise ValueError(f"optimizer__{name} is given: set {name} instead.")
        clips = [
            name
            for name in ("clipnorm", "global_clipnorm")
            if params.get(name) is not None
        ]
        if self.clipvalue is not None:
            if clips:
                raise ValueError(
                    f"clipvalue={self.clipvalue} and optimizer__{clips[0]} exclude "
                    "each other: set clipvalue=None to clip by norm."
                )
            params["clipvalue"] = self.clipvalue
        if self.gradient_accumulation_steps > 1:
            params["gradient_accumulation_steps"] = self.gradient_accumulation_steps
        if self.lr_schedule in ("cosine", "constant"):
            params["learning_rate"] = float(self.learning_rate)
        elif isinstance(
            self.lr_schedule, keras.optimizers.schedules.LearningRateSchedule
        ):
            if not isinstance(self.optimizer, str | type):
                raise ValueError(
                    "lr_schedule is a schedule of Keras, but optimizer is an instance, "
                    "which keeps its own learning rate: give the schedule to the "
                    "optimizer, or give the optimizer's class."
                )
            params["learning_rate"] = self.lr_schedule
        else:
            raise ValueError(
                f"lr_schedule={self.lr_schedule!r} is not known: use 'cosine', "
                "'constant' or a keras.optimizers.schedules.LearningRateSchedule."
            )
        return params

    def _seed_sequence(self) -> np.random.SeedSequence:
        """Return the source of all randomness of one fit.

        None draws from the system, so that nobody's global generator moves.
        """
        if self.random_state is None:
            return np.random.SeedSequence()
        if isinstance(self.random_state, np.random.RandomState):
            return np.random.SeedSequence(int(self.random_state.randint(2**31 - 1)))
        return np.random.SeedSequence(int(self.random_state))

    def _train_network(
        self,
        data: Data,
        validation: Data | None,
        *,
        epochs: int,
        context: Any,
        seen: dict[str, Any],
        constant_rate: bool = False,
        chances: np.ndarray | None = None,
    ) -> Result:
        """Train the leased network; return the result and extend `history_`.

        `seen` is what scikit-learn's callbacks are shown: the data as `fit` got it.
        """
        from sklstm.estimators._callbacks import let_go, warn_about_gradients
        from sklstm.estimators._optimizer import own_optimizer
        from sklstm.estimators._scikeras import make_callbacks
        from sklstm.estimators._training import Plan, deterministic_ops, train
        from sklstm.estimators._watch import tell_watcher

        compiled = self._lease.compiled
        optimizer = own_optimizer(compiled.model)
        self._planned_epochs = epochs
        if isinstance(self.optimizer, str | type):
            peak = self.learning_rate
        else:
            peak = float(self.optimizer.learning_rate)
        running: list = []

        def epoch_begin(epoch: int) -> None:
            running[:] = [context.subcontext(task_name="epoch")]
            running[0].call_on_fit_task_begin(estimator=self, **seen)

        def epoch_end(epoch: int, logs: dict) -> bool:
            stop = running[0].call_on_fit_task_end(
                estimator=self,
                **seen,
                reconstruction_attributes=self._snapshot,
            )
            return tell_watcher(self, epoch, logs) or stop

        plan = Plan(
            epochs=epochs,
            batch_size=self.batch_size,
            shuffle_seed=self._shuffle_seed,
            peak=peak,
            cosine=self.lr_schedule == "cosine" and not constant_rate,
            accumulation=optimizer.gradient_accumulation_steps or 1,
            patience=self.patience if self.early_stopping else None,
            chances=chances,
            verbose=self.verbose,
            callbacks=make_callbacks(self.callbacks, self._routed_to("callbacks")),
            epoch_begin=epoch_begin,
            epoch_end=epoch_end,
        )
        try:
            with deterministic_ops() if self.op_determinism else nullcontext():
                result = train(compiled, data, validation, plan, self.history_)
        finally:
            let_go(plan.callbacks)
        norms = self.history_["gradient_norm"][-result.n_epochs :]
        warn_about_gradients(
            norms, stacklevel=4 + FRAMES_OF_FIT
        )  # the line that calls fit
        return result


def own_params(names: Iterable[str]) -> list[str]:
    """Return those parameters of a network that are set as ``network__*``."""
    given = (*SHARED_PARAMS, *_READING, *_FROM_DATA)
    return [f"network__{name}" for name in names if name not in given]


def _check_probabilities(outputs: np.ndarray) -> None:
    """Refuse a user's network that gives anything but probabilities."""
    if outputs.min() < 0 or abs(float(outputs.sum()) - 1) > 1e-3:
        raise ValueError(
            f"The network's outputs for one sample sum to {outputs.sum():.3g}, but "
            "they must be probabilities: end it with activation='softmax'."
        )
