import numpy as np
import pytest
from sklearn.utils.class_weight import compute_class_weight

from sklstm.estimators._labels import sample_weights, stratified_split

CLASSES = np.array(["bolt", "nut", "washer"])


def codes_of(*counts):
    """Samples of each class, mixed."""
    codes = np.repeat(np.arange(len(counts), dtype=np.int32), counts)
    return np.random.default_rng(0).permutation(codes)


# --- weights ------------------------------------------------------------------------


@pytest.mark.parametrize("counts", [(5, 5, 5), (1, 10, 100), (7, 0, 2), (0, 0, 3)])
def test_balanced_is_scikit_learns(counts):
    codes = codes_of(*counts)
    present = np.unique(codes)
    per_class = compute_class_weight("balanced", classes=present, y=codes)
    weights = sample_weights(codes, CLASSES, None, "balanced")
    assert weights.dtype == np.float32
    expected = per_class[np.searchsorted(present, codes)]
    np.testing.assert_allclose(weights, expected, rtol=1e-6)
    # Every class that occurs weighs the same.
    totals = np.bincount(codes, weights)[present]
    np.testing.assert_allclose(totals, len(codes) / len(present), rtol=1e-5)


def test_a_dict_is_1_where_it_is_silent():
    codes = codes_of(2, 3, 4)
    weights = sample_weights(codes, CLASSES, None, {"nut": 2.5})
    np.testing.assert_array_equal(weights, np.array([1, 2.5, 1])[codes])


def test_a_dict_may_name_classes_that_are_absent():
    codes = codes_of(3, 4)
    given = {"nut": 2, "washer": 9, "screw": 7}  # of another fold, or of none
    weights = sample_weights(codes, CLASSES, None, given)
    np.testing.assert_array_equal(weights, np.array([1, 2])[codes])
    weights = sample_weights(codes, CLASSES[:2], None, given)
    np.testing.assert_array_equal(weights, np.array([1, 2])[codes])


@pytest.mark.parametrize("class_weight", [{"bolt": 0.5, "washer": 4}, "balanced"])
def test_weights_of_samples_and_classes_multiply(class_weight):
    codes = codes_of(2, 3, 4)
    own = np.random.default_rng(1).uniform(0.1, 2, len(codes))
    by_class = sample_weights(codes, CLASSES, None, class_weight)
    weights = sample_weights(codes, CLASSES, own, class_weight)
    np.testing.assert_allclose(weights, own * by_class, rtol=1e-6)


def test_no_weights_are_ones():
    codes = codes_of(2, 3, 4)
    np.testing.assert_array_equal(sample_weights(codes, CLASSES, None, None), 1)
    np.testing.assert_array_equal(sample_weights(codes, CLASSES, 3, None), 3)


@pytest.mark.parametrize(
    ("sample_weight", "class_weight", "message"),
    [
        (None, {"nut": -0.5}, r"class_weight has negative values, down to -0\.5"),
        (
            np.r_[-2.0, np.ones(8)],
            None,
            "sample_weight has negative values, down to -2",
        ),
        (-1.0, None, "sample_weight has negative values"),
        (None, dict.fromkeys(CLASSES, 0), "Every sample has weight zero"),
    ],
)
def test_bad_weights(sample_weight, class_weight, message):
    with pytest.raises(ValueError, match=message):
        sample_weights(codes_of(2, 3, 4), CLASSES, sample_weight, class_weight)


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
