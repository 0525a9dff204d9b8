"""Ensembles: several networks of one estimator, whose probabilities are averaged."""

from __future__ import annotations

import copy
from collections.abc import Callable
from itertools import zip_longest
from typing import Any

import numpy as np
from sklearn.base import clone

from sklstm.estimators._resampling import draw_rows
from sklstm.estimators._watch import Shown
from sklstm.training._shared_graph import share_graph

# What `fit` learns from X and y before it trains. Each member is given it.
_READ_FROM_DATA = (
    "classes_",
    "n_features_in_",
    "feature_names_in_",
    "image_shape_",
    "sequencer_",
    "grid_",
    "_fitted_flat",
    "_fitted_depth",
)
# What a fit of the other kind, a single network or an ensemble, leaves behind.
_FITTED = (
    "_fitted_network",
    "_members",
    "_mean_model",
    "_member_seeds",
    "_split_seed",
    "estimators_samples_",
    "temperature_",
)


def is_ensemble(estimator: Any) -> bool:
    """Return whether the parameters of an estimator make `fit` train members."""
    calibrates = getattr(estimator, "calibration", None) is not None
    return estimator.n_estimators > 1 or estimator.bootstrap or calibrates


def begin_fit(estimator: Any, continues: bool) -> None:
    """Delete what the last fit left, or check that a fit can continue it.

    Raises
    ------
    ValueError
        If the fit continues, and the number of networks has changed.
    """
    if not continues:
        for name in _FITTED:
            estimator.__dict__.pop(name, None)
        if is_ensemble(estimator):
            _draw_seeds(estimator)
        return
    before, now = len(estimator.estimators_), estimator.n_estimators
    if before != now or is_ensemble(estimator) != hasattr(estimator, "_members"):
        name = "n_estimators"
        if before == now:
            name = "bootstrap or calibration"
        raise ValueError(
            f"{name} changed since the last fit, which trained {before} networks, and "
            f"now n_estimators={now}: set it back, or fit with warm_start=False."
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
    epochs: int,
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
        If True, train the present members further.
    epochs : int
        Maximum number of epochs of a member.
    **how
        Further arguments of `_train`.
    """
    if continues:
        # If a member fails, the ensemble keeps those that it has.
        members = copy.deepcopy(estimator._members)
    else:
        members = [_new_member(estimator, seed) for seed in estimator._member_seeds]
    estimator.__dict__.pop("_mean_model", None)
    estimator.__dict__.pop("temperature_", None)
    estimator._planned_epochs = len(members) * epochs
    estimator.estimators_samples_ = []
    present = list(members) if continues else []
    for i, member in enumerate(members):
        member.__dict__.update(
            {n: v for n, v in vars(estimator).items() if n in _READ_FROM_DATA}
        )
        # Each member runs the user's own callbacks, and not copies of them.
        member.callbacks = estimator.callbacks
        chosen, own = rows, samples
        if estimator.bootstrap:
            chosen = draw_rows(samples, rows, _draw_seed(member))
        if not _is_all(chosen, samples):
            own = samples.take(chosen)
        if estimator.bootstrap and own.groups is None:
            # A member that holds samples out must not train on their copies.
            own.groups = chosen
        estimator.estimators_samples_.append(chosen)
        present[i : i + 1] = [member]
        estimator._members = list(present)
        task = context.subcontext(task_name="member", max_subtasks=epochs)
        task.call_on_fit_task_begin(estimator=estimator, **seen)
        if estimator.verbose:
            print(f"member {i + 1}/{len(members)}")
        member._train(
            own,
            watched,
            context=task,
            seen=seen,
            continues=continues,
            epochs=epochs,
            shown=Shown(estimator, estimator._snapshot, first_epoch=i * epochs),
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


def _draw_seeds(estimator: Any) -> None:
    """Draw the seeds of split and members. More members have the same first seeds."""
    drawn = [
        int(seed.generate_state(1)[0])
        for seed in estimator._seed_sequence().spawn(1 + estimator.n_estimators)
    ]
    # A fit that continues must hold out the same samples.
    estimator._split_seed, *estimator._member_seeds = drawn


def _new_member(estimator: Any, seed: int) -> Any:
    member = clone(estimator)
    single = {"n_estimators": 1, "bootstrap": False, "calibration": None}
    known = member.get_params(deep=False)
    member.set_params(**{n: v for n, v in single.items() if n in known})
    member.set_params(random_state=seed)
    # The ensemble calls these itself.
    member.__dict__.pop("_skl_callbacks", None)
    return member


def _draw_seed(member: Any) -> np.random.SeedSequence:
    # A later call of partial_fit draws other rows.
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
    """Return the `keras.Model` of an ensemble. It is made at the first call.

    Raises
    ------
    AttributeError
        If the estimator averages what comes after its networks.
    """
    if not hasattr(estimator, "predict_uncertainty"):
        raise AttributeError(
            f"An ensemble of {type(estimator).__name__} decodes the output of each "
            "network before the mean, so no model gives it: use "
            "estimators_[i].model_."
        )
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
        estimator._mean_model = mean_model(models, temperature)
    return estimator._mean_model
