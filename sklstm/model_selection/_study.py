"""Opening an Optuna study, and what this package stores in its trials."""

from __future__ import annotations

import copy
import logging
import re
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import joblib
import optuna
from optuna.trial import FrozenTrial, TrialState

FINISHED = (TrialState.COMPLETE, TrialState.PRUNED, TrialState.FAIL)

# Keys of the user attributes that this package adds to a trial. Stored studies contain
# them, so they must not change.
FOLDS = "sklstm_folds"  # {"folds": the results of the folds, "ends": their mean scores}
FAILURE = "sklstm_failure"  # the message of the error
PARAMS = "sklstm_params"  # the parameters that the estimator got
LOST = "sklstm_lost"  # the process died, or the trial was one too many
# Keys of the user attributes that this package adds to a study.
DATA = "sklstm_data"
ESTIMATOR = "sklstm_estimator"


def open_study(
    storage: Any,
    name: str | None,
    sampler: Any,
    pruner: Any,
    data: tuple,
    estimator: tuple,
) -> optuna.Study:
    """Create a study, or continue the study of that name in the storage.

    Parameters
    ----------
    storage : str, optuna.storages.BaseStorage or None
        Storage for the trials. If None, Optuna keeps them in memory.
    name : str or None
        Name of the study. If None, create a new study and let Optuna name it.
    sampler, pruner : optuna objects
        They are copied, so that one search does not change the state of another.
    data : tuple
        Data, folds and scoring of the search. A study of other data is refused.
    estimator : tuple
        The estimator, as `describe` returns it. A study of another estimator is
        refused.

    Returns
    -------
    optuna.Study
        A study that maximizes one score.

    Raises
    ------
    TypeError, ValueError
        If the storage cannot be opened, or if the study has another direction, other
        data or another estimator.
    """
    study = optuna.create_study(
        storage=_connect(storage),
        study_name=name,
        sampler=copy.deepcopy(sampler),
        pruner=copy.deepcopy(pruner),
        direction="maximize",
        load_if_exists=True,
    )
    if [direction.name for direction in study.directions] != ["MAXIMIZE"]:
        directions = " and ".join(one.name.lower() for one in study.directions)
        raise ValueError(
            f"The study {name!r} has the direction {directions}, but a search "
            "maximizes one score: give another study_name, or make the study with "
            "direction='maximize'."
        )
    if storage is not None:
        _compare(
            study,
            DATA,
            joblib.hash(data),
            f"The study {name!r} was made on other data, other folds or another "
            "scoring, so its scores say nothing here: give another study_name (None "
            "for a new study every time, as nested cross-validation needs). Folds that "
            "are shuffled are the same again only with a random_state.",
        )
        _compare(
            study,
            ESTIMATOR,
            joblib.hash(estimator),
            f"The study {name!r} was made with another estimator, or other parameters "
            "of it, so its scores say nothing here: give another study_name.",
        )
    return study


def _compare(study: optuna.Study, key: str, fingerprint: str, message: str) -> None:
    """Store a fingerprint in a new study; raise if a stored study has another."""
    known = study.user_attrs.get(key)
    if known is None:
        study.set_user_attr(key, fingerprint)
    elif known != fingerprint:
        raise ValueError(message)


def _connect(storage: Any) -> Any:
    """Open a storage, even while another process creates its tables."""
    if not isinstance(storage, str):
        if not isinstance(storage, optuna.storages.BaseStorage | None):
            raise TypeError(
                f"storage={storage!r} must be the address of a database, such as "
                "'sqlite:///study.db', a storage of Optuna, or None."
            )
        return storage
    if "://" not in storage:
        raise ValueError(
            f"storage={storage!r} is no address of a database: for a file of that "
            f"name give storage='sqlite:///{storage}'."
        )
    shown = re.sub(r":[^:@/]*@", ":***@", storage)  # hides the password
    # Optuna loads SQLAlchemy only for databases, and so does this module.
    from sqlalchemy.exc import ArgumentError, DBAPIError, NoSuchModuleError

    for attempt in range(6):
        try:
            return optuna.storages.get_storage(storage)
        except (ArgumentError, NoSuchModuleError, ImportError) as error:
            raise ValueError(
                f"storage={shown!r} cannot be opened, because its database is not "
                f"known or the driver of it not installed: {error}"
            ) from error
        except DBAPIError as error:
            if attempt == 5:
                raise ValueError(
                    f"storage={shown!r} cannot be opened; its folder must exist, or "
                    f"its server run and let you in: {error.orig}"
                ) from error
            time.sleep(0.1 * 2**attempt)


def counts(trial: FrozenTrial) -> bool:
    """Tell whether a trial counts towards `n_trials`."""
    return LOST not in trial.user_attrs


def finished_trials(study: optuna.Study) -> list[FrozenTrial]:
    """Return the finished trials that count, in the order of their numbers."""
    return list(filter(counts, study.get_trials(deepcopy=False, states=FINISHED)))


_quiet_lock = threading.Lock()
_quiet: dict[str, int] = {"depth": 0, "before": logging.NOTSET}


@contextmanager
def quiet_optuna() -> Iterator[None]:
    """Suppress the messages that Optuna logs for every study and every trial."""
    logger = logging.getLogger("optuna")
    with _quiet_lock:
        if _quiet["depth"] == 0:
            _quiet["before"] = logger.level
            logger.setLevel(max(logger.level, logging.WARNING))
        _quiet["depth"] += 1
    try:
        yield
    finally:
        with _quiet_lock:
            _quiet["depth"] -= 1
            if _quiet["depth"] == 0:
                logger.setLevel(_quiet["before"])
