"""Ordered grades across modules: ordinal=True, weights of rare grades, groups."""

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.metrics import recall_score
from sklearn.model_selection import GridSearchCV, GroupKFold, cross_val_score
from sklearn.pipeline import Pipeline

from sklstm import LSTMImageClassifier, RowSequencer
from sklstm.estimators import _labels
from sklstm.metrics import quadratic_kappa_scorer, quadratic_weighted_kappa


def bars(n, seed=0, counts=(1, 1, 1, 1)):
    """Noisy images of 6 x 6 whose bar is as long as their grade, 0 to 3."""
    rng = np.random.default_rng(seed)
    shares = np.array(counts) / np.sum(counts)
    grades = np.repeat(np.arange(4), np.round(shares * n).astype(int))
    images = rng.normal(0, 0.5, (len(grades), 6, 6))
    for image, grade in zip(images, grades, strict=True):
        image[:, 2] += np.arange(6) < 2 * grade
    order = rng.permutation(len(grades))
    return images[order].astype("float32"), grades[order]


def make(**params):
    settings = {"units": 8, "epochs": 40, "learning_rate": 0.02, "random_state": 0}
    return LSTMImageClassifier(**{**settings, "ordinal": True, **params})


def test_grades_are_learned_and_ordered():
    X, y = bars(240)
    labels = np.array([10, 15, 40, 90])  # only their order counts
    model = make().fit(X[:160], labels[y[:160]])
    assert model.classes_.tolist() == labels.tolist()
    found = np.searchsorted(labels, model.predict(X[160:]))
    assert quadratic_weighted_kappa(y[160:], found) > 0.8
    probabilities = model.predict_proba(X[160:])
    np.testing.assert_allclose(probabilities.sum(axis=1), 1, rtol=1e-5)
    # One score orders all samples, whichever threshold is asked.
    above = np.cumsum(probabilities[:, ::-1], axis=1)[:, ::-1]
    order = np.argsort(above[:, 2])
    for k in (1, 3):
        assert (np.diff(above[order, k]) > -1e-5).all()


@pytest.mark.parametrize("network", ["lstm_transformer", "cnn_lstm", "cnn"])
def test_every_network_can_be_ordinal(network):
    X, y = bars(40)
    model = make(network=network, epochs=2).fit(X, y)
    name = model.model_.get_layer("probabilities").__class__.__name__
    assert name == "CumulativeLink"
    assert clone(model).get_params()["ordinal"] is True


def test_ordinal_and_its_control_in_a_search_by_patients():
    X, y = bars(120)
    patients = np.arange(120) // 4
    search = GridSearchCV(
        Pipeline([("seq", RowSequencer()), ("clf", make(epochs=4))]),
        {"clf__ordinal": [False, True]},
        cv=GroupKFold(2),
        scoring=quadratic_kappa_scorer,
    ).fit(X, y, groups=patients)
    assert np.isfinite(search.cv_results_["mean_test_score"]).all()
    scores = cross_val_score(
        make(), X, y, cv=GroupKFold(2), groups=patients, scoring=quadratic_kappa_scorer
    )
    assert scores.mean() > 0.7


def test_balanced_weights_find_a_rare_grade():
    X, y = bars(300, counts=(10, 10, 10, 1))
    X_test, y_test = bars(200, seed=1)

    def rare(**params):
        model = make(epochs=8, **params).fit(X, y)
        recalls = recall_score(y_test, model.predict(X_test), average=None)
        return recalls[3]

    assert rare(class_weight="balanced") > rare() + 0.1


def test_what_has_no_order_is_refused():
    X, y = bars(40)
    with pytest.raises(ValueError, match="must be numbers; y has 'mild'") as error:
        make().fit(X, np.array(["mild", "none"])[y % 2])
    assert "\n" not in str(error.value)

    def own(input_shape, n_classes):
        raise AssertionError("not asked")

    with pytest.raises(ValueError, match="ordinal=True has no effect on network="):
        make(network=own).fit(X, y)


# --- patients in the split of early stopping ----------------------------------------


def split(codes, groups, fraction=0.2, seed=0):
    return _labels.stratified_split(
        codes, fraction, np.random.SeedSequence(seed), groups
    )


@pytest.mark.parametrize("fraction", [0.1, 0.25, 0.5])
def test_a_group_is_on_one_side(fraction):
    rng = np.random.default_rng(0)
    codes, groups = rng.integers(0, 3, 200), rng.integers(0, 40, 200)
    train, watched = split(codes, groups, fraction)
    assert set(groups[train]).isdisjoint(groups[watched])
    assert sorted([*train, *watched]) == list(range(200))
    assert len(watched) == pytest.approx(fraction * 200, abs=12)
    again = split(codes, groups, fraction)
    np.testing.assert_array_equal(watched, again[1])
    other = split(codes, groups, fraction, seed=1)
    assert not np.array_equal(watched, other[1])


def test_few_groups_and_none_that_will_do():
    codes, groups = np.tile([0, 1], 10), np.repeat([0, 1, 2], [8, 6, 6])
    train, watched = split(codes, groups, 0.1)  # 3 groups cannot make 10 parts
    assert len(set(groups[watched])) == 1
    assert len(set(groups[train])) == 2
    with pytest.raises(ValueError, match="all samples are of one group"):
        split(codes, np.zeros(20))
    with pytest.raises(ValueError, match="leaves a class out of the"):
        split(np.repeat([0, 1], 10), np.repeat([0, 1], 10))


def test_fit_keeps_patients_together(group_splits):
    X, y = bars(120)
    patients = np.arange(120) // 4
    weights = np.ones(120)
    weights[:8] = 0  # they are left out before the split
    make(early_stopping=True, epochs=2).fit(X, y, weights, groups=patients)
    ((train, watched),) = group_splits
    assert train.isdisjoint(watched)
    assert train | watched == set(patients[8:])
    with pytest.raises(ValueError, match="groups has 3 entries, but X has 120"):
        make().fit(X, y, groups=[1, 2, 3])
