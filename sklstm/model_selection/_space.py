"""Search spaces: checking them, drawing from them and suggesting them."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import numpy as np
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)
from optuna.trial import Trial

from sklstm.estimators import LSTMImageClassifier
from sklstm.estimators._auto import CHOSEN, is_auto
from sklstm.preprocessing import PatchSequencer, RowSequencer
from sklstm.training._hyperparameters import (
    GRAPH,
    TABLE,
    PatchSizes,
    Range,
    search_range,
)

Space = dict[str, Any] | Callable[[Trial], dict[str, Any]]

_PLAIN = (bool, int, float, str, type(None))


def suggest(space: Space, trial: Any) -> dict[str, Any]:
    """Draw one set of parameters from a search space.

    Parameters
    ----------
    space : dict or callable
        The search space, as `OptunaSearchCV` takes it.
    trial : optuna.trial.Trial or optuna.trial.FixedTrial
        The trial that draws. A fixed trial returns the parameters of a finished trial.

    Returns
    -------
    dict
        Parameter names to values.

    Raises
    ------
    TypeError
        If the space is a function that does not return a dict.
    """
    if callable(space):
        params = space(trial)
        if not isinstance(params, dict):
            raise TypeError(
                f"param_distributions returned {params!r}: it must return a dict of "
                "parameter names and values."
            )
        return params
    return {name: _suggest_one(trial, name, space[name]) for name in space}


def check_space(space: Any) -> None:
    """Raise if a search space holds something that cannot be searched."""
    if callable(space):
        return
    if not isinstance(space, dict) or not space:
        raise TypeError(
            f"param_distributions={space!r} must be a dict of parameter names and "
            "distributions, or a function trial -> params."
        )
    for name, choice in space.items():
        if not isinstance(name, str):
            raise TypeError(
                f"param_distributions has the key {name!r}, which is no str: keys are "
                "names of parameters."
            )
        if isinstance(choice, BaseDistribution) or hasattr(choice, "dist"):
            continue
        if isinstance(choice, str | bytes | dict) or not hasattr(choice, "__len__"):
            raise TypeError(
                f"param_distributions[{name!r}]={choice!r} must be a list of values, "
                "an Optuna distribution or a frozen scipy.stats distribution."
            )
        if len(choice) == 0:
            raise ValueError(f"param_distributions[{name!r}] is empty.")


def _suggest_one(trial: Any, name: str, choice: Any) -> Any:
    if isinstance(choice, FloatDistribution):
        return trial.suggest_float(
            name, choice.low, choice.high, step=choice.step, log=choice.log
        )
    if isinstance(choice, IntDistribution):
        return trial.suggest_int(
            name, choice.low, choice.high, step=choice.step, log=choice.log
        )
    if hasattr(choice, "ppf"):
        return _suggest_scipy(trial, name, choice)
    values, labels = _choices(choice)
    return values[labels.index(trial.suggest_categorical(name, labels))]


def _choices(choice: Any) -> tuple[list, list]:
    """Return the values of a list, and the labels that the study stores for them."""
    values = list(getattr(choice, "choices", choice))
    if all(isinstance(value, np.generic) for value in values):
        values = [value.item() for value in values]
    if all(isinstance(value, _PLAIN) for value in values):
        return values, values
    # Optuna stores only plain values. For other values it stores their place in the
    # list and their type. Their repr may hold an address, which differs between
    # processes.
    kinds = [getattr(v, "__name__", type(v).__name__) for v in values]
    return values, [f"{i}: {kind}" for i, kind in enumerate(kinds)]


def check_choices(space: Space, study: Any) -> None:
    """Raise if a study has searched a list of other values or a range of another kind.

    The bounds of a range may change within a study. A list may not, because Optuna
    keeps the values of the first trial.
    """
    if callable(space):
        return
    for trial in study.get_trials(deepcopy=False):
        for name, known in trial.distributions.items():
            choice = space.get(name)
            if choice is None:
                continue
            ours = _range(choice)
            if ours is not None and ours != _range(known):
                raise ValueError(
                    f"The study {study.study_name!r} searched {name!r} over {known}: "
                    "the bounds of a range may change within a study, but not whether "
                    "it is a range of integers or logarithmic; keep that, or give "
                    "another study_name."
                )
            if hasattr(choice, "dist"):
                continue
            is_list = not isinstance(choice, BaseDistribution) or isinstance(
                choice, CategoricalDistribution
            )
            before = list(getattr(known, "choices", ()))
            if is_list and _choices(choice)[1] != before:
                raise ValueError(
                    f"The study {study.study_name!r} searched {name!r} over "
                    f"{before or known}, not over {_choices(choice)[1]}: the values of "
                    "a list cannot change within a study; keep them, or give another "
                    "study_name."
                )


def _range(choice: Any) -> tuple[type, bool] | None:
    """Return the type of Optuna's distribution, and whether it is logarithmic.

    Return None for lists, and for distributions that are drawn by their quantiles.
    """
    if isinstance(choice, FloatDistribution | IntDistribution):
        return type(choice), choice.log
    kind = getattr(getattr(choice, "dist", None), "name", None)
    if kind == "randint":
        return IntDistribution, False
    if kind in ("uniform", "loguniform", "reciprocal"):
        return FloatDistribution, kind != "uniform"
    return None


def plain_params(params: dict[str, Any]) -> dict[str, Any] | None:
    """Return parameters as a study stores them, or None if it cannot store one."""
    plain = {
        name: value.item() if isinstance(value, np.generic) else value
        for name, value in params.items()
    }
    return plain if all(isinstance(v, _PLAIN) for v in plain.values()) else None


def _suggest_scipy(trial: Any, name: str, frozen: Any) -> Any:
    """Draw a value from a frozen scipy.stats distribution.

    Uniform distributions become distributions of Optuna, which its samplers can model.
    For all others, Optuna draws the quantile, and scipy turns it into a value, so that
    likely values are tried more often.
    """
    kind = frozen.dist.name
    if kind in ("uniform", "loguniform", "reciprocal", "randint"):
        low, high = (value.item() for value in np.asarray(frozen.support()))
        if kind == "randint":
            return trial.suggest_int(name, int(low), int(high))
        return trial.suggest_float(name, low, high, log=kind != "uniform")
    value = frozen.ppf(trial.suggest_float(f"quantile of {name}", 1e-6, 1 - 1e-6))
    return int(value) if hasattr(frozen.dist, "pmf") else float(value)


def suggest_space(
    estimator: Any, level: str = "basic", image_shape: tuple[int, ...] | None = None
) -> dict[str, Any]:
    """Suggest a search space for an estimator, according to its steps.

    Parameters
    ----------
    estimator : estimator or Pipeline
        An `LSTMImageClassifier`, or a Pipeline with one. The space includes parameters
        of a `RowSequencer` or `PatchSequencer` that comes before it or inside it.
    level : {"basic", "recipe", "architecture"}, default="basic"
        Size of the space. "basic" searches the sequence length of rows or the stride of
        patches, the dropout rate and the learning rate. "recipe" adds the weight decay,
        the warm-up, the label smoothing, mixup and the kernels of the stem.
        "architecture" adds to "basic" the structure of the network (its kind, layers,
        units, directions, attention, pooling, patch size and embedding), the axis of a
        scan by rows and the order of patches.
    image_shape : tuple of int, default=None
        Height and width of the images in pixels. The range of the sequence length and
        the patch sizes follow from it. If None, use the `image_shape` of the sequencer,
        or else (28, 28).

    Returns
    -------
    dict of str to optuna.distributions.BaseDistribution
        The search space, for the parameter `param_distributions` of `OptunaSearchCV`.
        You can change it before the search.

    Raises
    ------
    ValueError
        If `level` is unknown, or if no step is a sequencer or an
        `LSTMImageClassifier`.

    See Also
    --------
    sklstm.OptunaSearchCV : The search.

    Examples
    --------
    >>> from sklearn.pipeline import make_pipeline
    >>> from sklstm import LSTMImageClassifier, RowSequencer
    >>> from sklstm.model_selection import suggest_space
    >>> pipeline = make_pipeline(RowSequencer(), LSTMImageClassifier())
    >>> for name in suggest_space(pipeline, image_shape=(28, 28)):
    ...     print(name)
    rowsequencer__sequence_length
    lstmimageclassifier__dropout
    lstmimageclassifier__learning_rate
    """
    if level not in ("basic", "recipe", "architecture"):
        raise ValueError(
            f"level={level!r} is not known: use 'basic', 'recipe' or 'architecture'."
        )
    steps = getattr(estimator, "steps", None)
    named = [("", estimator)] if steps is None else [(f"{n}__", s) for n, s in steps]
    space: dict[str, Any] = {}
    for prefix, step in named:
        found = _space_of(step, level, image_shape)
        space.update({prefix + name: choice for name, choice in found.items()})
    if not space:
        raise ValueError(
            f"No step of {type(estimator).__name__} is a sequencer or an "
            "LSTMImageClassifier: write param_distributions yourself."
        )
    return space


def _space_of(step: Any, level: str, image_shape: tuple | None) -> dict:
    space: dict[str, Any] = {}
    architecture = level == "architecture"
    if isinstance(step, RowSequencer):
        shape = image_shape or step.image_shape or (28, 28)
        extent = max(shape[:2]) if architecture else shape[step.axis == "columns"]
        low, high = (max(1, round(part * extent / 28)) for part in (16, 32))
        space["sequence_length"] = IntDistribution(low, high)
        if architecture:
            space["axis"] = CategoricalDistribution(("rows", "columns"))
    elif isinstance(step, PatchSequencer):
        size = int(np.min(step.patch_size))
        strides = sorted({max(1, size // 4), max(1, size // 2), size})
        space["stride"] = CategoricalDistribution(tuple(strides))
        if architecture:
            space["order"] = CategoricalDistribution(("raster", "snake", "hilbert"))
    elif isinstance(step, LSTMImageClassifier):
        if step.sequencer is not None:
            inner = _space_of(step.sequencer, level, image_shape)
            space.update({f"sequencer__{name}": inner[name] for name in inner})
        if is_auto(step) and architecture:
            raise ValueError(
                "network='auto' chooses the architecture by itself: name a network, or "
                "use level='basic'."
            )
        network = "cnn_lstm" if is_auto(step) else step.network
        for row in TABLE:
            if is_auto(step) and row.name in CHOSEN:
                continue
            over = search_range(row, level, network)
            if row.name == "network" and over is not None:
                over = _that_take_what_is_set(step, over)
            if over is not None:
                shape = image_shape or (28, 28)
                space[row.name] = _distribution(over, shape)
    return space


def _that_take_what_is_set(
    classifier: LSTMImageClassifier, networks: tuple[str, ...]
) -> tuple[str, ...] | None:
    """Return the networks that take all parameters with values other than defaults.

    Return None if there are less than two.
    """
    defaults = inspect.signature(LSTMImageClassifier).parameters
    needed = [
        row.networks
        for row in TABLE
        if row.networks
        and row.role == GRAPH
        and row.name in defaults
        and getattr(classifier, row.name) != defaults[row.name].default
    ]
    found = tuple(name for name in networks if all(name in some for some in needed))
    return found if len(found) > 1 else None


def _distribution(over: Range | tuple | PatchSizes, shape: tuple[int, ...]) -> Any:
    """Return Optuna's distribution of what the table of hyperparameters suggests.

    Patch sizes are those for images of a `shape` (height, width).
    """
    if isinstance(over, PatchSizes):
        # Here and not above: this loads Keras.
        from sklstm.networks.layers._patches import default_patch_size

        sizes = [factor * default_patch_size(*shape[:2]) for factor in over.factors]
        return CategoricalDistribution([s for s in sizes if s <= min(shape[:2])])
    if isinstance(over, tuple):
        return CategoricalDistribution(over)
    if isinstance(over.low, int):
        return IntDistribution(over.low, over.high, log=over.log)
    return FloatDistribution(over.low, over.high, log=over.log)
