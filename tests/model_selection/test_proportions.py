"""Intervals of accuracies: their coverage, by simulation, and their limits."""

import numpy as np
import pytest
from scipy.stats import binomtest

from sklstm.model_selection._proportions import (
    accuracy_interval,
    area_interval,
    difference_interval,
)


def test_the_interval_of_an_accuracy_is_that_of_wilson():
    for right, n in ((0, 20), (13, 20), (20, 20)):
        values = np.repeat([1.0, 0.0], [right, n - right])
        found = accuracy_interval(values, None, 0.95)
        expected = binomtest(right, n).proportion_ci(0.95, method="wilson")
        np.testing.assert_allclose(found, (expected.low, expected.high), atol=1e-9)


def covered(draw, interval, truth, groups, n_times=2000):
    """Return the part of the intervals that hold the truth."""
    rng = np.random.default_rng(0)
    hits = 0
    for _ in range(n_times):
        low, high = interval(draw(rng), groups, 0.95)
        hits += low <= truth <= high
    return hits / n_times


@pytest.mark.parametrize("p", [0.7, 0.95])
def test_independent_images_are_covered(p):
    def right(rng):
        return 1.0 * (rng.random(60) < p)

    assert covered(right, accuracy_interval, p, None) > 0.92

    def difference(rng):
        before = rng.random(60) < p
        return before - 1.0 * (before & (rng.random(60) < 0.8))

    assert covered(difference, difference_interval, 0.2 * p, None) > 0.92

    def areas(rng):
        return (rng.random((60, 5)) < p).mean(axis=1)

    assert covered(areas, area_interval, p, None) > 0.92


def test_groups_are_covered_and_ignoring_them_is_not():
    groups = np.repeat(np.arange(30), 5)

    def draw(rng):
        each = rng.beta(2, 1, 30)  # groups differ: mean 2/3
        return 1.0 * (rng.random(150) < each[groups])

    for interval in (accuracy_interval, area_interval):
        assert 0.92 < covered(draw, interval, 2 / 3, groups) < 0.985
        assert covered(draw, interval, 2 / 3, None) < 0.9


def test_no_interval_has_length_zero():
    groups = np.repeat(np.arange(5), 4)
    for interval in (accuracy_interval, area_interval):
        for values in (np.zeros(20), np.ones(20)):
            low, high = interval(values, None, 0.95)
            wide = interval(values, groups, 0.95)
            assert 0 <= low <= values[0] <= high <= 1
            assert high - low > 0.05
            # Five groups tell less than twenty images.
            assert wide[1] - wide[0] > high - low
    low, high = difference_interval(np.zeros(20), None, 0.95)
    assert low < 0 < high
