"""Ensembles: several networks of one estimator, whose probabilities are averaged."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import replace
from itertools import zip_longest
from numbers import Number
from typing import Any

import numpy as np
from sklearn.base import clone

from sklstm.estimators._calibration import SMALLEST_PROBABILITY
from sklstm.estimators._resampling import draw_rows
from sklstm.estimators._watch import Shown
from sklstm.training._shared_graph import share_graph
from sklstm.training._unproven import unproven_part

# What `fit` learns from X and y before it trains. Each member is given it.
_READ_FROM_DATA = (
    "classes_",
    "n_features_in_",
    "feature_names_in_",
    "image_shape_",
    "sequencer_",
    "_backbone_values",
    "grid_",
    "decoder_",
    "_fitted_flat",
    "_fitted_depth",
)
# Attributes of the last fit. A single network and an ensemble leave different ones.
_FITTED = (
    "_fitted_network",
    "_members",
    "_mean_model",
    "_member_seeds",
    "_split_seed",
    "estimators_samples_",
    "temperature_",
    "_objects_of_fit",
)
# What the members do not take over: their seeds differ, and each is a single network.
_SINGLE = {"n_estimators": 1, "bootstrap": False, "calibration": None}


def is_ensemble(estimator: Any) -> bool:
    """Return whether the parameters of an estimator make `fit` train members."""
    calibrates = getattr(estimator, "calibration", None) is not None
    return n_members(estimator) > 1 or estimator.bootstrap or calibrates


def n_members(estimator: Any) -> int:
    """Return the number of networks that `fit` trains."""
    return 1 if estimator.n_estimators is None else estimator.n_estimators


def begin_fit(estimator: Any, continues: bool) -> None:
    """Delete what the last fit left, or check that a fit can continue it.

    Raises
    ------
    ValueError
        If the fit continues, and `n_estimators`, `bootstrap` or `calibration` has
        changed. The networks were trained on all rows, or on other ones, so that none
        would be left for the new way.
    """
    kind = {name: getattr(estimator, name, None) for name in _SINGLE}
    kind["n_estimators"] = n_members(estimator)
    if not continues:
        estimator._kind_of_fit = kind
        for name in _FITTED:
            estimator.__dict__.pop(name, None)
        if is_ensemble(estimator):
            _draw_seeds(estimator)
        return
    # A callback may have stopped the last fit before it had all networks, so the
    # parameters are compared and not the networks. A member, and an estimator from a
    # file of a version without ensembles, are single networks.
    for name, before in getattr(estimator, "_kind_of_fit", _SINGLE).items():
        if kind[name] != before:
            raise ValueError(
                f"{name} changed since the last fit from {before!r} to {kind[name]!r}: "
                "set it back, or fit with warm_start=False."
            )


def fit_members(
    estimator: Any,
    samples: Any,
    watched: Any,
    *,
    rows: np.ndarray,
    context: Any,
    seen: dict[str, Any],
    continues: bool,
    holds_out: bool,
    one_epoch: bool = False,
    **how: Any,
) -> None:
    """Train the members of an ensemble, one after another.

    Parameters
    ----------
    estimator : LSTMImageClassifier or LSTMDefectDetector
        The ensemble. Its attributes `_members`, `estimators_samples_` and `history_`
        are set.
    samples : object
        What its method `_train` takes, with a method ``take(rows)``, and with the
        classes `codes` and the `groups` for resampling.
    watched : object or None
        Validation data, as `_train` takes them.
    rows : ndarray of int
        Rows of the samples to train on, or to draw from with `bootstrap`.
    context : object
        Context of scikit-learn's callbacks.
    seen : dict
        What these callbacks are shown: the data as `fit` got them.
    continues : bool
        If True, train the present members further, with the present parameters of the
        ensemble, and then those that the last fit did not reach.
    holds_out : bool
        Whether each member holds out a part of its samples.
    one_epoch : bool
        If True, train for one epoch. Each call then draws other rows. Otherwise a fit
        that continues draws the same rows, because the rows that a member lacks are
        used for calibration.
    **how
        Further arguments of `_train`.
    """
    # If a member fails, the ensemble keeps those that it has.
    members = copy_members(estimator._members) if continues else []
    n_trained = len(members)
    for member in members:
        _update_params(member, estimator)
    # A callback may have stopped the last fit before it trained all.
    missing = estimator._member_seeds[n_trained:]
    members += [_new_member(estimator, seed) for seed in missing]
    estimator._objects_of_fit = {
        name: value
        for name, value in _params_of_members(estimator).items()
        if not _is_plain(value)
    }
    estimator.__dict__.pop("_mean_model", None)
    estimator.__dict__.pop("temperature_", None)
    drawn = [rows] * len(members)
    if estimator.bootstrap:
        drawn = [
            draw_rows(samples, rows, _draw_seed(member, one_epoch), 1 + holds_out)
            for member in members
        ]
    # A clone of a member plans its epochs by these rows too.
    planned = [1 if one_epoch else estimator._plan_epochs(own) for own in drawn]
    estimator._planned_epochs = sum(planned)
    if one_epoch:
        how["one_epoch"] = True
    present = members[:n_trained]
    chosen = list(estimator.estimators_samples_) if continues else []
    for i, member in enumerate(members):
        member.__dict__.update(
            {n: v for n, v in vars(estimator).items() if n in _READ_FROM_DATA}
        )
        # Each member runs the user's own callbacks, and not copies of them.
        member.callbacks = estimator.callbacks
        own = samples if _is_all(drawn[i], samples) else samples.take(drawn[i])
        if estimator.bootstrap and own.groups is None:
            # A member that holds samples out must not train on their copies.
            own = replace(own, groups=drawn[i])
        task = context.subcontext(task_name="member", max_subtasks=planned[i])
        # Before the member is one of the ensemble, because it has no network yet.
        task.call_on_fit_task_begin(estimator=estimator, **seen)
        present[i : i + 1] = [member]
        chosen[i : i + 1] = [drawn[i]]
        estimator._members = list(present)
        estimator.estimators_samples_ = list(chosen)
        if estimator.verbose:
            print(f"member {i + 1}/{len(members)}")
        member._train(
            own,
            watched,
            context=task,
            seen=seen,
            continues=i < n_trained,
            epochs=planned[i],
            shown=Shown(estimator, estimator._snapshot, first_epoch=sum(planned[:i])),
            **how,
        )
        share_graph(one._fitted_network for one in estimator._members)
        _summarize(estimator)
        stop = task.call_on_fit_task_end(
            estimator=estimator,
            **seen,
            reconstruction_attributes=estimator._snapshot,
        )
        if stop:
            break


def copy_members(members: list[Any]) -> list[Any]:
    """Return copies of the fitted members of an ensemble, with a graph of their own."""
    # A copy of a pretrained model would cost seconds and memory.
    shared = {id(one): one for member in members for one in _models_of(member)}
    copies = copy.deepcopy(members, shared)
    share_graph(member._fitted_network for member in copies)
    return copies


def _models_of(estimator: Any) -> list[Any]:
    backbone = getattr(estimator, "backbone", None)
    model = getattr(backbone, "backbone", backbone)
    return [] if model is None else [model]


def _draw_seeds(estimator: Any) -> None:
    """Draw a seed for the split and one for each member.

    The first seeds do not depend on the number of members.
    """
    drawn = [
        int(seed.generate_state(1)[0])
        for seed in estimator._seed_sequence().spawn(1 + n_members(estimator))
    ]
    # A fit that continues must hold out the same samples.
    estimator._split_seed, *estimator._member_seeds = drawn


def _new_member(estimator: Any, seed: int) -> Any:
    member = clone(estimator)
    known = member.get_params(deep=False)
    member.set_params(**{n: v for n, v in _SINGLE.items() if n in known})
    member.set_params(random_state=seed)
    # The ensemble calls these itself.
    member.__dict__.pop("_skl_callbacks", None)
    return member


def _update_params(member: Any, estimator: Any) -> None:
    """Give a member that trains on what has changed in the ensemble since its fit."""
    before = estimator._objects_of_fit
    changed = {
        name: clone(value, safe=False)
        for name, value in _params_of_members(estimator).items()
        if name not in before or value is not before[name] or _is_provable(name, value)
    }
    member.set_params(**changed)


def _is_provable(name: str, value: Any) -> bool:
    """Return whether a copy of the user's object gives a graph that is proven equal.

    If not, a member that is given a new copy could not go on with its graph.
    """
    # Here and not above: this loads Keras.
    from sklstm.training._graph_key import configuration_is_whole, freeze

    if name == "optimizer":
        return configuration_is_whole(value)
    return unproven_part(freeze(value)) is None


def _params_of_members(estimator: Any) -> dict[str, Any]:
    """Return the parameters that members have in common with their ensemble."""
    own = {*_SINGLE, "random_state"}
    return {
        name: value
        for name, value in estimator.get_params(deep=False).items()
        if name not in own and not name.startswith("callbacks")
    }


def _is_plain(value: Any) -> bool:
    """Return whether a copy of a parameter surely equals it."""
    if isinstance(value, dict):
        return all(map(_is_plain, value.values()))
    if isinstance(value, list | tuple):
        return all(map(_is_plain, value))
    return value is None or isinstance(value, str | Number | np.generic | type)


def _draw_seed(member: Any, one_epoch: bool) -> np.random.SeedSequence:
    n_before = 0
    if one_epoch:
        n_before = len(getattr(member, "history_", {}).get("loss", []))
    return np.random.SeedSequence([member.random_state, n_before])


def _is_all(rows: np.ndarray, samples: Any) -> bool:
    return len(rows) == len(samples) and bool((np.diff(rows) == 1).all())


def _summarize(estimator: Any) -> None:
    """Set the attributes of an ensemble that are those of its members on average."""
    members = [m for m in estimator._members if hasattr(m, "n_iter_")]
    estimator.history_ = {
        name: [
            float(np.mean([value for value in values if value is not None]))
            for values in zip_longest(*(m.history_.get(name, []) for m in members))
        ]
        for name in members[0].history_
    }
    estimator.n_iter_ = max(member.n_iter_ for member in members)
    estimator.best_epoch_ = int(np.median([member.best_epoch_ for member in members]))


def mean_of_members(
    estimator: Any, of_network: Callable[[Any], np.ndarray]
) -> np.ndarray:
    """Return the mean over the networks of an estimator, float32.

    Parameters
    ----------
    estimator : LSTMImageClassifier or LSTMDefectDetector
        The fitted estimator. If it is no ensemble, the result is that of its network.
    of_network : callable
        Function of a fitted network that returns an array.
    """
    found = [of_network(network) for network in estimator._networks()]
    if len(found) == 1:
        return found[0]
    return np.asarray(np.mean(found, axis=0, dtype=np.float64), np.float32)


def mean_model_of(estimator: Any) -> Any:
    """Return the `keras.Model` of an ensemble. It is made at the first call."""
    # Here and not above: these load Keras.
    from sklstm.training._compiled import CompiledNetwork
    from sklstm.training._mean_model import mean_model

    if not hasattr(estimator, "_mean_model"):
        models = []
        for network in estimator._networks():
            compiled = CompiledNetwork(network.spec)
            compiled.set_weights(network.get_state())
            models.append(compiled.model)
        temperature = getattr(estimator, "temperature_", None)
        estimator._mean_model = mean_model(models, temperature, SMALLEST_PROBABILITY)
    return estimator._mean_model
