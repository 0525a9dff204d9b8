"""The base class of all estimators that train a Keras network.

This module does not load Keras. The first fit does.
"""

from __future__ import annotations

import copy
import math
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np
from sklearn.base import BaseEstimator

from sklstm._compat import CallbackSupportMixin, StrOptions
from sklstm.estimators._constraints import constraints_of
from sklstm.estimators._ensemble import copy_members, mean_model_of
from sklstm.features._cloning import clone_sharing
from sklstm.images import unchanged_on_error
from sklstm.images._validate import count_samples
from sklstm.training._shared_graph import share_graph

if TYPE_CHECKING:
    import keras

    from sklstm.training._fitted_network import FittedNetwork

# Least number of updates of epochs="auto". With fewer, a network on a hundred
# images is far from trained (benchmarks/digits.py --small).
_FEWEST_UPDATES = 1200


class KerasEstimator(CallbackSupportMixin, BaseEstimator):
    """Base class with routed parameters, a network from the pool, and safe fits."""

    _routes: tuple[str, ...] = (
        "network",
        "optimizer",
        "loss",
        "metrics",
        "callbacks",
    )
    # Constraints of the parameters that are not in the table of hyperparameters.
    _parameter_constraints: dict = {
        "callbacks": "no_validation",
        "dtype_policy": [
            StrOptions({"float32", "mixed_float16", "mixed_bfloat16"}),
            None,
        ],
        "op_determinism": ["boolean"],
        "random_state": ["random_state"],
        "verbose": ["verbose"],
    }
    # Whether an ensemble averages the outputs of its networks, so that a model can.
    _averages_outputs = False
    _fitted_network: FittedNetwork
    # The fitted estimators of an ensemble, which then has no network of its own.
    _members: list[Any]
    history_: dict[str, list[float]]

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        inherited = super(cls, cls)._parameter_constraints
        own = cls.__dict__.get("_parameter_constraints", {})
        cls._parameter_constraints = {**inherited, **constraints_of(cls), **own}

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
        """Get the parameters of this estimator, including routed ones.

        Parameters
        ----------
        deep : bool, default=True
            If True, also return the parameters of parameters that are estimators.

        Returns
        -------
        dict
            Names and values.
        """
        # The caller may copy them next, as clone and searches do.
        _keep_whole_in_copies()
        params = super().get_params(deep=deep)
        params.update({name: getattr(self, name) for name in self._routed_names()})
        return params

    def set_params(self, **params: Any) -> KerasEstimator:
        """Set parameters of this estimator, including routed ones.

        Parameters
        ----------
        **params : dict
            Names and values. A name such as ``optimizer__beta_1`` sets a parameter of
            the optimizer.

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
            elif found and prefix in ("sequencer", "augmentation", "backbone"):
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
        """Return the parameters routed to some prefixes, by their full names."""
        return {
            name: getattr(self, name)
            for name in self._routed_names()
            if name.partition("__")[0] in prefixes
        }

    @contextmanager
    def _all_or_nothing(self, continues: bool) -> Iterator[None]:
        """Restore the estimator if the block fails.

        Parameters
        ----------
        continues : bool
            If True, the block trains the network that the estimator already holds.
        """
        state = None
        if continues and not hasattr(self, "_members"):  # an ensemble trains copies
            state = self._fitted_network.get_state()
        with unchanged_on_error(self):
            try:
                if continues:
                    self.history_ = {k: list(v) for k, v in self.history_.items()}
                yield
            except BaseException:
                if state is not None:
                    self._fitted_network.compiled.set_state(state)
                raise

    def __getstate__(self) -> dict[str, Any]:
        _keep_whole_in_copies()
        state = self._without_runs(super().__getstate__())
        return {k: v for k, v in state.items() if k != "_mean_model"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        if "_members" in state:
            # A shallow copy holds networks that are in use.
            networks = [member._fitted_network for member in self._members]
            share_graph(one for one in networks if one.has_no_graph())

    def __sklearn_clone__(self) -> KerasEstimator:
        twin = object.__new__(type(self))
        twin.__dict__.update(self._without_runs(self.__dict__))
        # A copy of a model for each fold would cost seconds and memory.
        backbone = getattr(self, "backbone", None)
        is_model = backbone is not None and not hasattr(backbone, "get_params")
        return clone_sharing(twin, *(["backbone"] if is_model else []))

    def _without_runs(self, attributes: dict[str, Any]) -> dict[str, Any]:
        if attributes.get("callbacks") is None:
            return attributes
        # Here and not above: this loads Keras.
        from sklstm.training._callbacks import without_runs

        names = ["callbacks", *self._routed_to("callbacks")]
        return attributes | {name: without_runs(attributes[name]) for name in names}

    def _is_fitted(self) -> bool:
        return hasattr(self, "_fitted_network") or hasattr(self, "_members")

    def _networks(self) -> list[FittedNetwork]:
        """Return the fitted networks: one, or those of the members of an ensemble."""
        if hasattr(self, "_members"):
            return [member._fitted_network for member in self._members]
        return [self._fitted_network]

    @property
    def estimators_(self) -> list[Any]:
        """The fitted members of an ensemble. A single estimator is its only member."""
        if not self._is_fitted():
            raise self._not_fitted()
        return list(self._members) if hasattr(self, "_members") else [self]

    def _not_fitted(self) -> AttributeError:
        return AttributeError(
            f"This {type(self).__name__} is not fitted yet: call fit first."
        )

    def __sklearn_is_fitted__(self) -> bool:
        return self._is_fitted()

    @property
    def model_(self) -> keras.Model:
        """The trained `keras.Model`. No later fit uses it again.

        That of an ensemble returns the mean of its members. It is made at first use.

        Raises
        ------
        AttributeError
            If the estimator is not fitted, or if it is an ensemble that averages what
            comes after its networks.
        """
        if not self._is_fitted():
            raise self._not_fitted()
        if hasattr(self, "_members"):
            if not self._averages_outputs:
                raise AttributeError(
                    f"An ensemble of {type(self).__name__} decodes the output of each "
                    "network before the mean, so no model gives it: use "
                    "estimators_[i].model_."
                )
            if self.__dict__.get("_is_shown"):
                return "keras.Model, made at first use"
            return mean_model_of(self)
        compiled = self._fitted_network.compiled
        compiled.exposed = compiled.exposed or not self.__dict__.get("_is_shown")
        return compiled.model

    def _get_fitted_attr_html(self, doc_link: str = "") -> Any:
        # The display of scikit-learn reads all attributes but keeps none, so that
        # the network can still go back to the pool.
        self._is_shown = True
        try:
            return super()._get_fitted_attr_html(doc_link)
        finally:
            del self._is_shown

    def _plan_epochs(self, X: Any) -> int:
        """Return the maximum number of epochs of a fit on X."""
        if self.epochs != "auto":
            return self.epochs
        batches = max(1, math.ceil(count_samples(X) / self.batch_size))
        for_updates = _FEWEST_UPDATES * self.gradient_accumulation_steps / batches
        return max(60, min(400, math.ceil(for_updates)))

    def _snapshot(self) -> dict[str, Any]:
        """Return the attributes that a copy must own to predict as after this epoch."""
        if hasattr(self, "_members"):
            return {"_members": copy_members(self._members)}
        return {
            "_fitted_network": copy.deepcopy(self._fitted_network),
            "history_": {name: list(values) for name, values in self.history_.items()},
            "n_iter_": len(self.history_["loss"]),
        }

    def _seed_sequence(self) -> np.random.SeedSequence:
        """Return the source of all randomness of one fit.

        Without `random_state`, the system provides it. NumPy's global generator is
        neither read nor changed.
        """
        if self.random_state is None:
            return np.random.SeedSequence()
        if isinstance(self.random_state, np.random.RandomState):
            return np.random.SeedSequence(int(self.random_state.randint(2**31 - 1)))
        return np.random.SeedSequence(int(self.random_state))


def _keep_whole_in_copies() -> None:
    """Let copies and pickles keep all attributes of the user's Keras objects."""
    # Without Keras, no such object exists.
    if "keras" in sys.modules:
        # Here and not above: this loads Keras.
        from sklstm.training._copies import keep_whole_in_copies

        keep_whole_in_copies()
