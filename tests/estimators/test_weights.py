"""Weights of samples and classes."""

import numpy as np
import pandas as pd
import pytest
from scipy.sparse import csr_array
from sklearn.utils.class_weight import compute_class_weight

from sklstm.estimators._weights import (
    check_sample_weight,
    class_weights,
    mean_weight,
    multiply,
    rescale,
)

CLASSES = np.array(["bolt", "nut", "washer"])


def codes_of(*counts):
    """Samples of each class, mixed."""
    codes = np.repeat(np.arange(len(counts), dtype=np.int32), counts)
    return np.random.default_rng(0).permutation(codes)


def per_class(class_weight, classes=CLASSES, codes=None, own=None):
    codes = codes_of(2, 3, 4) if codes is None else codes
    own = np.ones(len(codes)) if own is None else own
    return class_weights(class_weight, np.asarray(classes), codes, own)


# --- classes ------------------------------------------------------------------------


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("counts", [(5, 5, 5), (1, 10, 100), (7, 0, 2), (0, 0, 3)])
def test_balanced_is_scikit_learns(counts, weighted):
    codes = codes_of(*counts)
    own = np.random.default_rng(1).uniform(0.1, 2, len(codes))
    own = own if weighted else np.ones(len(codes))
    present = np.unique(codes)
    weights = per_class("balanced", CLASSES, codes, own)
    expected = compute_class_weight(
        "balanced", classes=present, y=codes, sample_weight=own
    )
    np.testing.assert_allclose(weights[present], expected)
    assert (np.delete(weights, present) == 0).all()
    # Every class that occurs weighs the same.
    totals = np.bincount(codes, own * weights[codes])[present]
    np.testing.assert_allclose(totals, own.sum() / len(present))


def test_balanced_counts_no_sample_of_weight_zero():
    codes, own = codes_of(4, 4, 8), np.ones(16)
    own[np.flatnonzero(codes == 2)[:4]] = 0
    np.testing.assert_allclose(per_class("balanced", CLASSES, codes, own), 1)


def test_a_dict_is_1_where_it_is_silent():
    np.testing.assert_array_equal(per_class({"nut": 2.5}), [1, 2.5, 1])
    np.testing.assert_array_equal(per_class({}), 1)


def test_a_dict_of_all_classes_may_name_more():
    # A fold lacks "washer", and "screw" is of another data set.
    given = {"bolt": 3, "nut": 2, "washer": 9, "screw": 7}
    np.testing.assert_array_equal(per_class(given, CLASSES[:2]), [3, 2])
    np.testing.assert_array_equal(per_class(given), [3, 2, 9])


@pytest.mark.parametrize(
    ("given", "classes", "unknown", "silent"),
    [
        ({"bolt": 1, "nut": 1, "wascher": 5}, CLASSES, ["wascher"], ["washer"]),
        ({0: 0.4, 1: 2.2, 2: 4.3}, [1, 2, 3], [0], [3]),  # places for labels
        ({"0": 1, "1": 5}, [0, 1], ["0", "1"], [0, 1]),
        ({0: 1, 1: 5}, ["0", "1"], [0, 1], ["0", "1"]),
        ({np.int64(5): 2}, [0, 1], [5], [0, 1]),
        ({"nut": 2, "screw": 7}, CLASSES, ["screw"], ["bolt", "washer"]),
    ],
)
def test_keys_that_are_no_labels_are_named(given, classes, unknown, silent):
    with pytest.raises(ValueError, match=r"^class_weight has the keys") as info:
        per_class(given, classes)
    assert f"the keys {unknown}, which are not among the" in str(info.value)
    assert f"none for {silent}: use the labels of y as keys" in str(info.value)
    # scikit-learn's own rule refuses the same, but for "0", which it takes for 0.
    classes = np.asarray(classes)
    if classes.tolist() == ["0", "1"]:
        return
    with pytest.raises(ValueError, match="are not in class_weight"):
        compute_class_weight(given, classes=classes, y=classes)


@pytest.mark.parametrize(
    ("given", "classes"),
    [
        ({np.int64(0): 2, np.int8(1): 3}, [0, 1]),
        ({0: np.float32(2), 1: np.int64(3)}, [0, 1]),
        ({0.0: 2, 1.0: 3}, [0, 1]),
        ({False: 2, True: 3}, [False, True]),
        ({np.str_("a"): 2, "b": 3}, ["a", "b"]),
    ],
)
def test_keys_and_weights_of_numpy_are_those_of_python(given, classes):
    np.testing.assert_array_equal(per_class(given, classes), [2, 3])


@pytest.mark.parametrize(
    "weight", [None, np.nan, np.inf, "2", "much", 1j, [1], 10**400]
)
def test_a_weight_that_is_no_number_is_refused(weight):
    message = r"^class_weight has the weights \[.*\]: each must be a finite number\.$"
    with pytest.raises(ValueError, match=message):
        per_class({"nut": weight})


def test_a_negative_class_weight_is_refused():
    message = r"^class_weight has negative values, down to -0\.5: use 0 to leave a cl"
    with pytest.raises(ValueError, match=message):
        per_class({"nut": -0.5})


# --- samples ------------------------------------------------------------------------


@pytest.mark.parametrize(
    "given",
    [
        [2.0, 3.0],
        (2, 3),
        np.array([2, 3], "uint8"),
        pd.Series([2, 3], dtype="Int64"),
        np.array([2, 3.0], dtype=object),
    ],
)
def test_weights_of_samples(given):
    weights = check_sample_weight(given, 2)
    assert weights.dtype == np.float64
    np.testing.assert_array_equal(weights, [2, 3])


def test_one_weight_for_all_samples():
    np.testing.assert_array_equal(check_sample_weight(None, 3), 1)
    np.testing.assert_array_equal(check_sample_weight(3, 3), 3)


NO_WEIGHTS = {
    "balanced": (
        "balanced",
        r"^sample_weight='balanced' is a string, .*: set class_weight='balanced' to",
    ),
    "a string": ("auto", r"^sample_weight='auto' is a string, but weights are numbers"),
    "strings": (
        ["1", "2"],
        r"^sample_weight has '1' among its entries, but weights are numbers: give one",
    ),
    "string objects": (
        np.array(["1", 2.0], dtype=object),
        r"^sample_weight has '1' among its entries, but weights are numbers: give one",
    ),
    "an array of strings": (np.array(["1", "2"]), r"^sample_weight has '1' among its"),
    "complex": ([1j, 2], r"^sample_weight has 1j among its entries, but weights are"),
    "lists": (
        [[1], [1, 2]],
        r"^sample_weight has \[1\] among its entries",
    ),
    "beyond float64": ([10**400, 1], r"^Input sample_weight contains NaN or infinity"),
    "too many": (
        np.ones(3),
        r"^sample_weight has the shape \(3,\), but X has 2 samples: .*\(2,\)\.$",
    ),
    "a column": (np.ones((2, 1)), r"^sample_weight has the shape \(2, 1\), but X"),
    "NaN": (
        [1, np.nan],
        r"^Input sample_weight contains NaN or infinity: 1 of 2 weights, the first is "
        r"sample_weight\[1\]\.$",
    ),
    "None": ([1, None], r"^Input sample_weight contains NaN or infinity: 1 of 2"),
    "NA": (
        pd.Series([1, None], dtype="Int64"),
        r"^Input sample_weight contains NaN or infinity: 1 of 2",
    ),
    "infinite": ([1, np.inf], r"^Input sample_weight contains NaN or infinity: 1 of"),
    "negative": ([1, -2], r"^sample_weight has negative values, down to -2: use 0 to"),
    "negative for all": (-1.0, r"^sample_weight has negative values, down to -1"),
}


@pytest.mark.parametrize("kind", NO_WEIGHTS)
def test_what_is_no_weight_is_refused(kind):
    given, message = NO_WEIGHTS[kind]
    with pytest.raises(ValueError, match=message):
        check_sample_weight(given, 2)


def test_sparse_weights_are_refused():
    with pytest.raises(TypeError, match=r"^sample_weight is sparse, but must be dense"):
        check_sample_weight(csr_array([[1.0, 2.0]]), 2)


# --- products and their scale -------------------------------------------------------


def test_weights_of_samples_and_classes_multiply():
    own, of_classes = np.array([1, 0.5, 3]), np.array([2, 4, 0])
    np.testing.assert_array_equal(multiply(own, of_classes), [2, 2, 0])
    with pytest.raises(ValueError, match=r"^Every sample has weight zero, by sample_w"):
        multiply(own, np.zeros(3))
    with pytest.raises(ValueError, match=r"is beyond what float64 can hold: only the"):
        multiply(np.full(3, 1e200), np.full(3, 1e200))


@pytest.mark.parametrize(
    "size", [1.0, 10, 0.1, 1 / 3, 1e-6, 1e-46, 5e-324, 1e300, np.finfo(float).max]
)
def test_equal_weights_of_any_size_are_ones_to_the_bit(size):
    weights = rescale(np.full(1000, size))
    assert weights.dtype == np.float32
    np.testing.assert_array_equal(weights, 1)


@pytest.mark.parametrize("size", [1, 1e-46, 1e300])
def test_the_mean_of_weights_is_one_and_their_proportions_stay(size):
    own = np.random.default_rng(0).uniform(0, 1, 500)
    weights = rescale(own * size)
    assert weights.mean() == pytest.approx(1, rel=1e-5)
    np.testing.assert_allclose(weights / weights[0], own / own[0], rtol=1e-5)


def test_samples_of_weight_zero_do_not_count_in_the_mean():
    np.testing.assert_array_equal(rescale(np.array([0, 2, 2, 0])), [0, 1, 1, 0])
    assert mean_weight(np.array([0, 1, 3])) == 2


def test_weights_on_the_scale_of_others():
    np.testing.assert_array_equal(rescale(np.array([4, 6]), 2.0), [2, 3])
    message = r"is 1e-50 at most, nothing beside the 2 of the first call of partial_fit"
    with pytest.raises(ValueError, match=message):
        rescale(np.array([1e-50]), 2.0)
