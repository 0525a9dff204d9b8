"""Labels, groups, and the split for early stopping."""

import decimal
import warnings

import numpy as np
import pandas as pd
import pytest
from sklearn.exceptions import DataConversionWarning

from sklstm.estimators._labels import (
    check_classes,
    check_groups,
    check_labels,
    encode,
    stratified_split,
)


def codes_of(*counts):
    """Samples of each class, mixed."""
    codes = np.repeat(np.arange(len(counts), dtype=np.int32), counts)
    return np.random.default_rng(0).permutation(codes)


# --- labels -------------------------------------------------------------------------

NAMES = ["a", "b", "a", "b"]


def without(values, missing=(1, 3), **kwargs):
    """A pandas Series in which two entries are missing."""
    return pd.Series(values, **kwargs).mask(np.isin(range(len(values)), missing))


MISSING = {
    "None in a list": ["a", None, "b", None],
    "NaN in a list": ["a", np.nan, "b", np.nan],
    "NA in a list": ["a", pd.NA, "b", pd.NA],
    "numbers and None": [1, None, 2, None],
    "objects": np.array(["a", None, 1.5, np.nan], dtype=object),
    "decimals": [decimal.Decimal(1), decimal.Decimal("NaN")] * 2,
    "floats": np.array([0, np.nan, 1, np.nan]),
    "dates": np.array(["2020", "NaT", "2021", "NaT"], "M8[D]"),
    "masked": np.ma.array([0, 1, 2, 3], mask=[0, 1, 0, 1]),
    "infinite": [0, np.inf, 1, -np.inf],
    "Series of str": without(NAMES),
    "Series of objects": without(NAMES, dtype=object),
    "Series of string": without(NAMES, dtype="string"),
    "Series of Int64": without([0, 1, 0, 1], dtype="Int64"),
    "Series of boolean": without([True] * 4, dtype="boolean"),
    "Series of dates": without(pd.to_datetime(["2020-01-01"] * 4)),
    "Categorical": pd.Categorical(["a", None, "b", None]),
    "Series of categories": pd.Series(pd.Categorical([1, None, 2, None])),
    "column": pd.DataFrame({"y": without(NAMES)}),
}


@pytest.mark.parametrize("kind", MISSING)
def test_missing_labels_are_refused_and_counted(kind):
    message = (
        r"^Input y_val contains NaN, None or infinity: 2 of 4 entries, the first is "
        r"y_val\[1\]; leave these out, or fill them in\.$"
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DataConversionWarning)
        with pytest.raises(ValueError, match=message):
            check_labels(MISSING[kind], 4, "y_val", "X_val")
    if kind != "column":
        with pytest.raises(ValueError, match="Input classes contains NaN"):
            check_classes(MISSING[kind])
        with pytest.raises(ValueError, match="Input groups contains NaN"):
            check_groups(MISSING[kind], 4)


@pytest.mark.parametrize(
    "y",
    [
        [0, "a", 1, "b"],  # NumPy would make strings of the numbers
        [True, "a", False, "b"],
        np.array([0, "a", 1.5, "b"], dtype=object),
        pd.Series([0, "a", 1, "b"]),
    ],
)
def test_numbers_among_strings_are_refused(y):
    message = r"^y mixes numbers and strings, which have no order: give all as strings"
    with pytest.raises(ValueError, match=message):
        check_labels(y, 4)


NO_LABELS = {
    "one-hot": (
        np.eye(4),
        r"^y should be a 1d array, got an array of shape \(4, 4\) instead: .* for "
        r"one-hot rows that is np\.argmax\(y, axis=1\)\.$",
    ),
    "a number": (5, r"^y should be a 1d array, got an array of shape \(\) instead"),
    "a generator": ((i for i in range(4)), r"^y should be a 1d array"),
    "fractions": (
        [0.0, 1.5, 2.0, 1.5],
        r"^Unknown label type: continuous; y has 1\.5 among its labels, but classes "
        r"are whole numbers, strings or bool\.$",
    ),
    "beyond int64": ([1e30, 1.0] * 2, r"^Unknown label type: continuous; y has 1e\+30"),
    "bytes": ([b"a", b"b"] * 2, r"^Unknown label type: bytes; y has b'a' among"),
    "complex": ([1j, 2, 1j, 2], r"^y mixes numbers and objects of type complex"),
    "lists": ([[1], [1, 2]] * 2, r"^Unknown label type: list; y has \[1\] among"),
    "decimals": ([decimal.Decimal(1)] * 4, r"^Unknown label type: Decimal; y has"),
    "too few": ([0, 1], r"numbers of samples: X has 4, y has 2; every sample needs"),
}


@pytest.mark.parametrize("kind", NO_LABELS)
def test_what_is_no_vector_of_labels_is_refused(kind):
    y, message = NO_LABELS[kind]
    with pytest.raises(ValueError, match=message):
        check_labels(y, 4)


LABELS = {
    "list": (NAMES, "U1"),
    "objects": (np.array(NAMES, dtype=object), "O"),
    "Series": (pd.Series(NAMES, dtype=object), "O"),
    "Categorical": (pd.Categorical(NAMES), "O"),
    "string": (pd.Series(NAMES, dtype="string"), "O"),
    "StringDType": (np.array(NAMES, dtype=np.dtypes.StringDType()), "O"),
    "the word nan": (["nan", "b", "nan", "b"], "U3"),
    "int": ([3, 7, 3, 7], "int64"),
    "Int64": (pd.Series([3, 7, 3, 7], dtype="Int64"), "int64"),
    "int objects": (np.array([3, 7, 3, 7], dtype=object), "int64"),
    "bool": ([True, False, True, False], "bool"),
    "whole floats": (np.array([0.0, 1.0, 0.0, 1.0]), "float64"),
    "dates": (np.array(["2020", "2021"] * 2, "M8[D]"), "M8[D]"),
    "a list of dates": (list(np.array(["2020", "2021"] * 2, "M8[D]")), "M8[D]"),
}


@pytest.mark.parametrize("kind", LABELS)
def test_labels_keep_values_and_kind(kind):
    y, dtype = LABELS[kind]
    labels = check_labels(y, 4)
    assert labels.dtype == dtype
    assert labels.tolist() == np.asarray(y).tolist()
    classes = check_classes(y)
    np.testing.assert_array_equal(classes[encode(labels, classes)], labels)


def test_a_tensor_that_is_trained_is_refused():
    torch = pytest.importorskip("torch")
    assert check_labels(torch.tensor([1, 0]), 2).tolist() == [1, 0]
    message = r"^y is a Tensor that NumPy cannot read: pass y\.detach\(\)\.cpu"
    with pytest.raises(TypeError, match=message):
        check_labels(torch.tensor([1.0, 0.0], requires_grad=True), 2)


# --- the split ----------------------------------------------------------------------


def split(codes, fraction=0.2, seed=0):
    return stratified_split(codes, fraction, np.random.SeedSequence(seed))


@pytest.mark.parametrize("fraction", [0.1, 0.25, 0.5])
def test_split_is_stratified(fraction):
    counts = np.array([200, 60, 20])
    codes = codes_of(*counts)
    train, watched = split(codes, fraction)
    # Every sample on one side, each side sorted.
    np.testing.assert_array_equal(np.sort(np.r_[train, watched]), np.arange(len(codes)))
    assert (np.diff(train) > 0).all()
    assert (np.diff(watched) > 0).all()
    # Of every class the same part: to the sample, as these counts allow it.
    np.testing.assert_array_equal(np.bincount(codes[watched]), fraction * counts)


@pytest.mark.parametrize("seed", range(5))
def test_every_class_is_on_both_sides(seed):
    codes = codes_of(50, 7, 4)
    for rows in split(codes, 0.25, seed):
        assert set(codes[rows]) == {0, 1, 2}


@pytest.mark.parametrize(
    ("counts", "fraction"),
    [
        ((50, 50, 1), 0.2),  # one sample cannot be on both sides
        ((90, 90, 2), 0.05),  # the part to watch has none of the third
        ((5, 5, 5), 0.1),  # it has fewer samples than there are classes
    ],
)
def test_a_class_that_would_be_missing_is_an_error(counts, fraction):
    with pytest.raises(ValueError, match=r"leaves a class out.*raise validation_"):
        split(codes_of(*counts), fraction)


def test_split_is_a_function_of_its_seed():
    codes = codes_of(40, 40, 40)
    first, second, other = split(codes), split(codes), split(codes, seed=1)
    for a, b in zip(first, second, strict=True):
        np.testing.assert_array_equal(a, b)
    assert not np.array_equal(first[1], other[1])
    # Nobody's global generator is read.
    before = np.random.get_state()  # noqa: NPY002
    try:
        np.random.seed(3)  # noqa: NPY002
        np.testing.assert_array_equal(split(codes)[1], first[1])
    finally:
        np.random.set_state(before)  # noqa: NPY002


# --- groups -------------------------------------------------------------------------


def held_out(codes, groups, fraction, seed=0):
    """Parts of each class, and of all, that are watched; groups stay together."""
    train, watched = stratified_split(
        codes, fraction, np.random.SeedSequence(seed), groups
    )
    np.testing.assert_array_equal(np.sort(np.r_[train, watched]), np.arange(len(codes)))
    assert set(groups[train]).isdisjoint(groups[watched])
    parts = np.bincount(codes[watched]) / np.bincount(codes)
    return np.r_[parts, len(watched) / len(codes)]


@pytest.mark.parametrize("fraction", [0.1, 0.3, 0.4, 0.5, 0.6, 0.9])
@pytest.mark.parametrize("seed", range(3))
def test_the_fraction_asked_for_is_held_out_by_groups(fraction, seed):
    rng = np.random.default_rng(seed)
    codes = rng.integers(0, 3, 600)
    # Two photographs of each patient.
    pairs = np.arange(600) // 2
    np.testing.assert_allclose(
        held_out(codes, pairs, fraction, seed), fraction, atol=0.02
    )
    # A few to a few dozen.
    sizes = rng.integers(0, 60, 600)
    np.testing.assert_allclose(
        held_out(codes, sizes, fraction, seed), fraction, atol=0.05
    )


@pytest.mark.parametrize("fraction", [0.1, 0.9])
def test_a_group_that_dominates_stays_where_the_fraction_wants_it(fraction):
    codes = np.tile([0, 1], 50)
    groups = np.maximum(np.arange(100) - 59, 0)  # one of 60, 40 of one
    *_, part = held_out(codes, groups, fraction)
    assert part == pytest.approx(fraction, abs=0.02)


def test_few_groups_are_split_as_near_as_they_allow():
    codes, groups = np.tile([0, 1], 20), np.repeat([0, 1, 2], [10, 14, 16])
    for fraction, held in [(0.1, 10), (0.35, 14), (0.6, 24), (0.9, 30)]:
        *_, part = held_out(codes, groups, fraction)
        assert part * 40 == held


def test_a_class_whose_groups_are_large_is_on_both_sides():
    # Two groups of the rare class, each larger than the part of it asked for.
    codes = np.repeat([0, 1], [80, 20])
    groups = np.r_[np.arange(80), np.repeat([80, 81], 10)]
    first, second, _ = held_out(codes, groups, 0.1)
    assert first == pytest.approx(0.1, abs=0.05)
    assert second == 0.5


def test_a_split_by_groups_is_a_function_of_its_seed():
    codes, groups = codes_of(100, 100), np.arange(200) // 4
    parts = [
        stratified_split(codes, 0.2, np.random.SeedSequence(seed), groups)[1]
        for seed in (0, 0, 1)
    ]
    np.testing.assert_array_equal(parts[0], parts[1])
    assert not np.array_equal(parts[0], parts[2])
