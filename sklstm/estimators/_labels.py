"""Labels, groups and validation splits. Loads no Keras."""

import itertools
from contextlib import suppress
from numbers import Real
from typing import Any

import numpy as np
from scipy.sparse import issparse
from sklearn.model_selection import train_test_split
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import column_or_1d

from sklstm.images._validate import to_numpy


def check_labels(
    y: Any, n_samples: int, name: str = "y", samples: str = "X"
) -> np.ndarray:
    """Return `y` as a vector of class labels.

    Parameters
    ----------
    y : array-like of shape (n_samples,)
        Numbers, strings, bool or dates. None may be missing. A column (n_samples, 1)
        is accepted with a warning.
    n_samples : int
        Required number of labels.
    name, samples : str
        Names of the labels and of their samples in messages.

    Returns
    -------
    ndarray of shape (n_samples,)
        The labels.

    Raises
    ------
    ValueError
        If labels are missing, mixed, continuous, not one-dimensional, too few or too
        many.
    TypeError
        If they are sparse or cannot be converted to an array.
    """
    if y is None:
        raise ValueError(
            "This classifier requires y to be passed, but the target y is None."
        )
    y = _as_vector(y, name)
    if len(y) != n_samples:
        raise ValueError(
            f"Found input variables with inconsistent numbers of samples: {samples} "
            f"has {n_samples}, {name} has {len(y)}; every sample needs one label."
        )
    try:
        with np.errstate(invalid="ignore"):  # numbers that int64 cannot hold
            check_classification_targets(y)
    except (TypeError, ValueError):
        kind = type(y.tolist()[0]).__name__
        if y.dtype.kind == "f":
            kind, fractions = "continuous", y[y != np.round(y)]
            y = fractions if len(fractions) else y
        raise ValueError(
            f"Unknown label type: {kind}; {name} has {y.tolist()[0]!r} among its "
            "labels, but classes are whole numbers, strings or bool."
        ) from None
    return y


def check_classes(classes: Any) -> np.ndarray:
    """Return the sorted labels of all classes.

    Raises
    ------
    ValueError
        If a label is missing, or if the labels are not a vector of one kind.
    """
    return np.unique(_as_vector(classes, "classes"))


def check_both_given(**pair: Any) -> None:
    """Raise ValueError if one of two arguments is None, and name both."""
    for given, missing in itertools.permutations(pair):
        if pair[missing] is None:
            raise ValueError(
                f"{given} is given without {missing}: give both, or neither."
            )


def check_groups(groups: Any, n_samples: int) -> np.ndarray:
    """Return `groups` as a vector with an entry for each sample.

    Raises
    ------
    ValueError
        If a group is missing, or if they are not a vector of one kind and this length.
    """
    groups = _as_vector(groups, "groups")
    if len(groups) != n_samples:
        raise ValueError(
            f"groups has {len(groups)} entries, but X has {n_samples} samples: give "
            "one for each."
        )
    return groups


def _as_vector(given: Any, name: str) -> np.ndarray:
    """Return a vector of one kind without missing entries, or raise."""
    if issparse(given):
        raise TypeError(f"{name} is sparse, but must be dense: use {name}.toarray().")
    # In a list of numbers and strings, NumPy would turn the numbers into strings and
    # NaN into "nan".
    plain = isinstance(given, list | tuple)
    values = to_numpy(given, name, dtype=object if plain else None)
    if values.dtype.kind == "T":
        values = values.astype(object)
    if values.ndim == 2 and values.shape[1] == 1:
        values = column_or_1d(values, warn=True)
    if values.ndim != 1:
        hint = "give one entry for each sample"
        if values.ndim == 2 and name in ("y", "y_val"):
            hint += f"; for one-hot rows that is np.argmax({name}, axis=1)"
        raise ValueError(
            f"{name} should be a 1d array, got an array of shape {values.shape} "
            f"instead: {hint}."
        )
    _refuse_missing(values, np.ma.getmask(given), name)
    if values.dtype == object and len(values):
        kinds = {_kind_of_label(value) for value in values}
        if len(kinds) > 1:
            raise ValueError(
                f"{name} mixes {' and '.join(sorted(kinds))}, which have no order: "
                "give all as strings or all as numbers."
            )
        if plain or kinds == {"numbers"}:
            with suppress(ValueError):  # lists of different lengths stay objects
                values = np.asarray(values.tolist())
    return values


def _kind_of_label(value: Any) -> str:
    if isinstance(value, str):
        return "strings"
    if isinstance(value, Real | np.bool_):
        return "numbers"
    return f"objects of type {type(value).__name__}"


def _refuse_missing(values: np.ndarray, masked: Any, name: str) -> None:
    """Raise if entries are None, NaN, NaT, NA, infinite or masked."""
    missing = np.zeros(len(values), bool) | np.ravel(masked)
    if values.dtype.kind == "f":
        missing = missing | ~np.isfinite(values)
    elif values.dtype.kind in "mM":
        missing = missing | np.isnat(values)
    elif values.dtype == object:
        missing = missing | np.array([is_missing(value) for value in values], bool)
    if missing.any():
        raise ValueError(
            f"Input {name} contains NaN, None or infinity: {np.count_nonzero(missing)} "
            f"of {len(values)} entries, the first is {name}[{missing.argmax()}]; leave "
            "these out, or fill them in."
        )


def is_missing(value: Any) -> bool:
    """Return whether a single value is None, NaN, NaT, NA or infinite."""
    if value is None:
        return True
    if isinstance(value, Real):
        return bool(value != value) or value in (np.inf, -np.inf)
    try:
        return bool(value != value)
    except TypeError:  # pandas' NA is neither equal nor unequal to itself
        return True
    except ValueError:  # an array
        return False


def encode(y: np.ndarray, classes: np.ndarray, name: str = "y") -> np.ndarray:
    """Return the index of each label in the sorted `classes`, int32.

    Raises
    ------
    ValueError
        If a label is not among the classes.
    """
    unknown = np.setdiff1d(y, classes)
    if unknown.size:
        raise ValueError(
            f"{name} has the classes {unknown.tolist()}, which are not among "
            f"{classes.tolist()}: all classes must be known from the first fit on."
        )
    return np.searchsorted(classes, y).astype(np.int32)


def stratified_split(
    codes: np.ndarray,
    fraction: float,
    seed: np.random.SeedSequence,
    groups: np.ndarray | None = None,
    instead: str = "set early_stopping=False",
) -> tuple[np.ndarray, np.ndarray]:
    """Split rows into a training part and a validation part with all classes in each.

    Parameters
    ----------
    codes : ndarray of shape (n,)
        Classes.
    fraction : float
        Fraction of the validation part, in (0, 1).
    seed : numpy.random.SeedSequence
        Source of the split.
    groups : ndarray of shape (n,), optional
        Groups that are not split. In total and in each class, the validation part is
        then as near to the fraction as the groups allow.
    instead : str
        What a message names as the way to do without the split.

    Returns
    -------
    train, watched : ndarray
        Sorted row numbers of the two parts.

    Raises
    ------
    ValueError
        If a class would be missing in one of the parts.
    """
    rows = np.arange(len(codes))
    state = np.random.RandomState(seed.generate_state(1)[0])
    remedy = f"raise validation_fraction, give X_val and y_val to fit, or {instead}."
    try:
        if groups is None:
            train, watched = train_test_split(
                rows, test_size=fraction, stratify=codes, random_state=state
            )
        else:
            train, watched = _split_groups(codes, fraction, groups, state)
    except ValueError as error:
        raise ValueError(
            f"validation_fraction={fraction} of {len(codes)} samples leaves a class "
            f"out ({error}): {remedy}"
        ) from error
    classes = np.unique(codes)
    for part, name in ((train, "training"), (watched, "validation")):
        if len(np.unique(codes[part])) < len(classes):
            raise ValueError(
                f"validation_fraction={fraction} of {len(codes)} samples leaves a "
                f"class out of the {name} part: {remedy}"
            )
    return np.sort(train), np.sort(watched)


# Numbers of random orders in which groups are tried, and of groups tried in total. One
# order is enough for many groups.
_N_ORDERS, _N_GROUPS_TRIED = 20, 2000


def _split_groups(
    codes: np.ndarray, fraction: float, groups: np.ndarray, state: Any
) -> tuple[np.ndarray, np.ndarray]:
    """Split by groups, as near to the fraction in each class as the groups allow."""
    names, places = np.unique(groups, return_inverse=True)
    if len(names) < 2:
        raise ValueError("all samples are of one group")
    counts = np.zeros((len(names), codes.max() + 1))
    np.add.at(counts, (places, codes), 1)
    counts = counts[:, counts.any(axis=0)]
    n_orders = max(1, min(_N_ORDERS, _N_GROUPS_TRIED // len(names)))
    orders = [state.permutation(len(names)) for _ in range(n_orders)]
    choices = [_choose_groups(counts, fraction, order) for order in orders]
    _, _, watched = min(choices, key=lambda choice: choice[:2])
    rows = np.arange(len(codes))
    return rows[~watched[places]], rows[watched[places]]


def _choose_groups(
    counts: np.ndarray, fraction: float, order: np.ndarray
) -> tuple[int, float, np.ndarray]:
    """Choose groups for validation, in an order, as long as they improve the split.

    Parameters
    ----------
    counts : ndarray of shape (n_groups, n_classes)
        Samples of each class in each group.
    fraction : float
        Wanted fraction of each class and of all samples.
    order : ndarray of shape (n_groups,)
        Order in which the groups are tried.

    Returns
    -------
    n_missing : int
        Number of classes without a chosen group.
    distance : float
        Sum of the squared errors of the sizes of all classes and of the total. Each
        error is divided by the size of the class, or of all samples.
    chosen : ndarray of shape (n_groups,), bool
        The chosen groups. Some groups of each class are left for training.
    """
    sizes = np.column_stack([counts, counts.sum(axis=1)])
    whole = sizes.sum(axis=0)
    held, chosen = np.zeros_like(whole), np.zeros(len(counts), bool)

    def distance(part: np.ndarray) -> float:
        return float(np.sum((part - fraction * whole) ** 2 / whole))

    def add(group: int) -> None:
        chosen[group] = True
        held[:] += sizes[group]

    for group in order:
        more = held + sizes[group]
        if (more < whole).all() and distance(more) < distance(held):
            add(group)
    for k in np.flatnonzero(held[:-1] == 0):  # each group of the class was too large
        able = [
            group
            for group in order
            if sizes[group, k] and (held + sizes[group] < whole).all()
        ]
        if able and held[k] == 0:
            add(min(able, key=lambda group: distance(held + sizes[group])))
    return int(np.count_nonzero(held == 0)), distance(held), chosen


def hold_out_defective(
    defective: np.ndarray, fraction: float, seed: np.random.SeedSequence, groups: Any
) -> tuple[np.ndarray, np.ndarray]:
    """Split images so that both parts show defects.

    Parameters
    ----------
    defective : ndarray of bool, shape (n,)
        Images with defects.
    fraction : float
        Part of the images to hold out.
    seed : numpy.random.SeedSequence
        Source of the split.
    groups : ndarray of shape (n,) or None
        Images of one group stay together.

    Returns
    -------
    rows, held : ndarray of int
        Images to train on, and images held out.

    Raises
    ------
    ValueError
        If too few images or groups have defects.
    """
    codes = defective.astype(np.int32)
    with suppress(ValueError):
        return stratified_split(codes, fraction, seed, groups)
    # There are too few images of one kind for both parts. All images without defects
    # may be in the training part.
    rows = np.flatnonzero(defective)
    if groups is None:
        groups = np.arange(len(codes))
    try:
        _, held_out = stratified_split(codes[rows], fraction, seed, groups[rows])
    except ValueError:
        raise ValueError(
            f"{len(rows)} of {len(codes)} images have defects, of "
            f"{len(np.unique(groups[rows]))} groups (without groups, every image "
            "is one): at least two are needed, one to train on and one to choose "
            "the threshold by. Give more, or X_val and Y_val."
        ) from None
    held = np.isin(groups, groups[rows[held_out]])
    return np.flatnonzero(~held), np.flatnonzero(held)
