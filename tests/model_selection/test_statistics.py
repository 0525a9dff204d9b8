"""The statistics of a comparison against formulas and simulations."""

import numpy as np
import pytest
from scipy import stats
from sklearn.model_selection import RepeatedStratifiedKFold

from sklstm.model_selection._statistics import corrected_mean, holm, variances


def test_the_formula_of_nadeau_and_bengio():
    values = np.array([0.1, 0.3, 0.2, 0.4])
    mean = corrected_mean(values, 0.25)
    assert mean.value == pytest.approx(0.25)
    assert mean.scale == pytest.approx(np.sqrt((1 / 4 + 1 / 4) * values.var(ddof=1)))
    low, high = mean.interval()
    assert (low + high) / 2 == pytest.approx(0.25)
    assert high - low == pytest.approx(2 * stats.t.ppf(0.975, 3) * mean.scale)
    # Without overlap, this is the usual t-test.
    plain = corrected_mean(values, 0.0)
    assert plain.p_value() == pytest.approx(stats.ttest_1samp(values, 0).pvalue)


def test_p_values_and_posterior_agree():
    mean = corrected_mean(np.array([0.02, 0.05, -0.01, 0.03, 0.04]), 0.25)
    below, equal, above = mean.probabilities(0.0)
    assert equal == pytest.approx(0)
    assert 2 * below == pytest.approx(mean.p_value())
    below, equal, above = mean.probabilities(0.01)
    assert below + equal + above == pytest.approx(1)
    assert above > equal > below


def test_equal_scores_and_single_splits():
    same = corrected_mean(np.full(5, 0.3), 0.25)
    assert same.interval() == (pytest.approx(0.3), pytest.approx(0.3))
    assert same.p_value() == 0
    assert same.probabilities(0.5) == (0.0, 1.0, 0.0)
    assert corrected_mean(np.zeros(5), 0.25).p_value() == 1
    single = corrected_mean(np.array([0.3]), 0.25)
    assert single.value == 0.3
    assert np.isnan(
        [*single.interval(), single.p_value(), *single.probabilities(1)]
    ).all()


def test_holm():
    # Worked by hand: .01 * 4, max(.04, .02 * 3), max(.06, .03 * 2), .5.
    found = holm(np.array([0.03, 0.01, 0.5, 0.02]))
    np.testing.assert_allclose(found, [0.06, 0.04, 0.5, 0.06])
    np.testing.assert_allclose(holm(np.array([0.4, np.nan, 0.9])), [0.8, np.nan, 0.9])


def test_the_variance_of_seeds_is_apart_from_that_of_splits():
    rng = np.random.default_rng(0)
    scores = rng.normal(0, 3, (4000, 1)) + rng.normal(0, 2, (4000, 5))
    between, within = variances(scores)
    assert between == pytest.approx(9, rel=0.1)
    assert within == pytest.approx(4, rel=0.05)
    assert np.isnan(variances(scores[:, :1])[1])
    assert np.isnan(variances(scores[:1])[0])


def test_what_does_not_vary_on_few_samples_is_not_certain():
    # Two folds of 20 samples: a score has steps of .05.
    same = corrected_mean(np.array([0.05, 0.05]), 1.0, resolution=0.05)
    assert same.p_value() > 0.05
    assert same.probabilities(0.01)[1] < 0.95
    # More and larger splits show that there is no difference.
    none = corrected_mean(np.zeros(20), 0.25, resolution=1 / 500)
    assert none.probabilities(0.01)[1] > 0.999


def test_missing_scores_are_left_out():
    mean = corrected_mean(np.array([0.1, np.nan, 0.3]), 0.5)
    assert mean.value == pytest.approx(0.2)
    assert mean.df == 1
    nothing = corrected_mean(np.full(3, np.nan), 0.5)
    assert np.isnan(
        [nothing.value, *nothing.interval(), *nothing.probabilities(1)]
    ).all()


def nearest_centroid(X, y, X_test):
    centres = np.stack([X[y == k].mean(axis=0) for k in (0, 1)])
    distances = ((X_test[:, None] - centres) ** 2).sum(axis=2)
    return distances.argmin(axis=1)


def drawn(rng, n, dimension, gap):
    y = np.arange(n) % 2
    X = rng.normal(size=(n, dimension))
    X[:, 0] += gap * y
    return X, y


def cross_validated(rng, n, gap, *columns, size=None):
    """Scores on ten splits of nearest centroids that see some of the columns.

    They are trained on the first `size` samples of each training part.
    """
    X, y = drawn(rng, n, 12, gap)
    folds = RepeatedStratifiedKFold(
        n_splits=5, n_repeats=2, random_state=int(rng.integers(2**31))
    )
    return np.array(
        [
            [
                (nearest_centroid(X[a][:, c], y[a], X[b][:, c]) == y[b]).mean()
                for c in columns
            ]
            for a, b in ((a[:size], b) for a, b in folds.split(X, y))
        ]
    )


def test_intervals_cover_the_accuracy_of_a_cross_validation():
    rng = np.random.default_rng(0)
    n, gap = 60, 1.2
    # The accuracy of a classifier that was trained on 48 samples.
    X_test, y_test = drawn(rng, 4000, 12, gap)
    true = np.mean(
        [
            (nearest_centroid(*drawn(rng, 48, 12, gap), X_test) == y_test).mean()
            for _ in range(400)
        ]
    )
    n_runs, covered, too_short = 500, 0, 0
    for _ in range(n_runs):
        scores = cross_validated(rng, n, gap, slice(None))[:, 0]
        low, high = corrected_mean(scores, 0.25).interval()
        covered += low <= true <= high
        low, high = corrected_mean(scores, 0.0).interval()
        too_short += low <= true <= high
    print(covered / n_runs, too_short / n_runs)
    assert 0.92 <= covered / n_runs <= 0.98
    # The usual interval is too short, so the correction is needed.
    assert too_short / n_runs < 0.9


@pytest.mark.parametrize("size", [None, 16])
def test_tests_rarely_find_a_difference_that_is_not_there(size):
    rng = np.random.default_rng(1)
    n_runs, found, plain = 600, 0, 0
    for _ in range(n_runs):
        # Both see the column that counts, and as many others without information.
        both = [0, 1, 2, 3, 4, 5], [0, 6, 7, 8, 9, 10]
        scores = cross_validated(rng, 60, 1.2, *both, size=size)
        differences = scores[:, 0] - scores[:, 1]
        found += corrected_mean(differences, 0.25).p_value() < 0.05
        plain += corrected_mean(differences, 0.0).p_value() < 0.05
    print(found / n_runs, plain / n_runs)
    assert found / n_runs <= 0.06
    if size is None:
        assert plain / n_runs > 0.07


def test_small_training_parts_show_large_differences():
    rng = np.random.default_rng(2)
    found = 0
    for _ in range(100):
        # The second sees no column that counts.
        scores = cross_validated(rng, 200, 2.0, [0, 1], [2, 3], size=20)
        difference = scores[:, 0] - scores[:, 1]
        found += corrected_mean(difference, 0.25).p_value() < 0.05
    assert found >= 95
