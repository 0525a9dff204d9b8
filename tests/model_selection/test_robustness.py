"""The accuracy on changed images: which images, which classifiers, which intervals."""

import numpy as np
import pytest
from numpy.testing import assert_array_equal
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.datasets import load_digits
from sklearn.exceptions import NotFittedError
from sklearn.linear_model import LinearRegression
from sklearn.model_selection import GroupKFold, KFold, ShuffleSplit
from sklearn.naive_bayes import GaussianNB
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer
from sklearn.svm import SVC

from sklstm.model_selection import change_images, robustness
from sklstm.model_selection._proportions import accuracy_interval

DIGITS = load_digits(n_class=4)
IMAGES, Y = DIGITS.images, DIGITS.target
SOME = {"rotation": [20, 45], "noise": [0.5]}


def flat(X):
    return X.reshape(len(X), -1)


@pytest.fixture(scope="module")
def model():
    return make_pipeline(FunctionTransformer(flat), SVC()).fit(IMAGES[:300], Y[:300])


def rows_of(found):
    table = found.table()
    return table if isinstance(table, list) else table.to_dict("records")


@pytest.mark.parametrize("layout", ["images", "flat"])
def test_the_accuracy_is_that_on_the_changed_images(model, layout):
    X, y = IMAGES[300:], Y[300:]
    if layout == "flat":
        X, model = flat(X), model[-1]
    found = robustness(model, X, y, changes=SOME, random_state=4)
    seen = []
    for row in rows_of(found):
        changed = change_images(X, row["change"], row["severity"], random_state=4)
        right = model.predict(changed) == y
        assert row["accuracy"] == pytest.approx(right.mean())
        interval = accuracy_interval(right.astype(float), None, 0.95)
        assert (row["low"], row["high"]) == pytest.approx(interval)
        assert row["loss"] == pytest.approx(model.score(X, y) - right.mean())
        assert row["loss_low"] <= row["loss"] <= row["loss_high"]
        seen.append((row["change"], row["severity"]))
    rotations = [("rotation", severity) for severity in (0, 20, 45)]
    assert seen == [*rotations, ("noise", 0), ("noise", 0.5)]


def test_the_area_is_the_mean_along_the_curve(model):
    found = robustness(
        model, IMAGES[300:], Y[300:], changes={"rotation": [10, 40]}, random_state=0
    )
    at0, at10, at40 = (row["accuracy"] for row in rows_of(found))
    areas = found.areas()
    row = areas[0] if isinstance(areas, list) else areas.to_dict("records")[0]
    assert row["area"] == pytest.approx((at0 + at10) / 8 + 3 * (at10 + at40) / 8)
    assert row["low"] < row["area"] < row["high"]
    assert found.area("rotation") == row["area"]


class Recording(ClassifierMixin, BaseEstimator):
    """Knows each image that it was trained on, and fails if one is tested."""

    def __init__(self, random_state=None):
        self.random_state = random_state

    def fit(self, X, y, groups=None):
        assert np.isin(X[:, 0, 0], np.arange(len(X) * 9)).all()  # as they were given
        self.seen_ = set(X[:, 0, 0].tolist())
        self.groups_ = groups
        self.classes_ = np.unique(y)
        return self

    def predict(self, X):
        assert not self.seen_ & set(np.round(X[:, 0, 0]).tolist())
        return np.zeros(len(X), int)


def numbered(n):
    """Images whose pixels are all the number of the image, but for one."""
    X = np.repeat(np.arange(n, dtype=float), 64).reshape(n, 8, 8)
    X[:, 7, 7] += 0.25
    return X


@pytest.mark.parametrize(
    "cv", [3, KFold(3), ShuffleSplit(4, test_size=0.2, random_state=0)]
)
def test_folds_never_test_what_they_trained_on(cv):
    X, y = numbered(30), np.arange(30) % 2
    found = robustness(Recording(), X, y, changes={"blur": [0.1]}, cv=cv)
    right = found.right["blur"]
    tested = 30 if not isinstance(cv, ShuffleSplit) else None
    if tested is not None:
        assert right.shape == (2, 30)
        assert_array_equal(right[0], y == 0)
    else:
        rows = np.unique(np.concatenate([test for _, test in cv.split(X)]))
        assert right.shape == (2, len(rows))
        assert len(rows) < 30
        assert_array_equal(right[0], y[rows] == 0)


def test_groups_stay_together_and_widen_the_intervals():
    X, y = numbered(40), np.arange(40) % 2
    groups = np.array([f"patient {i // 4}" for i in range(40)])
    how = {"changes": {"blur": [0.1]}, "random_state": 0}
    found = robustness(Recording(), X, y, cv=5, groups=groups, **how)
    assert found.groups.max() == 9
    with pytest.raises(ValueError, match="cv puts samples of a group on both sides"):
        robustness(Recording(), X, y, cv=KFold(3), groups=groups, **how)
    robustness(Recording(), X, y, cv=GroupKFold(3), groups=groups, **how)
    # All images of a group are right or wrong together.
    together = np.repeat([0, 1], 20)
    alone = robustness(Recording(), X, together, cv=5, **how)
    grouped = robustness(Recording(), X, together, cv=5, groups=groups, **how)
    wide, narrow = (rows_of(one)[0] for one in (grouped, alone))
    assert wide["high"] - wide["low"] > 1.5 * (narrow["high"] - narrow["low"])


def test_repeats_average_directions_and_leave_the_rest():
    model = GaussianNB().fit(flat(IMAGES[:300]), Y[:300])
    X, y = flat(IMAGES[300:]), Y[300:]
    how = {"changes": {"rotation": [30], "blur": [0.1]}, "random_state": 0}
    once, twice = (robustness(model, X, y, n_repeats=n, **how) for n in (1, 3))
    assert_array_equal(once.right["blur"], twice.right["blur"])
    assert_array_equal(once.right["rotation"][0], twice.right["rotation"][0])
    thirds = 3 * twice.right["rotation"][1]
    np.testing.assert_allclose(thirds, np.round(thirds), atol=1e-9)
    assert set(np.round(thirds)) == {0, 1, 2, 3}


def test_it_repeats_and_jobs_change_nothing(model):
    X, y = IMAGES[300:360], Y[300:360]
    first = robustness(model, X, y, changes=SOME, random_state=1)
    for how in ({}, {"n_jobs": 2}):
        again = robustness(model, X, y, changes=SOME, random_state=1, **how)
        for name in SOME:
            assert_array_equal(first.right[name], again.right[name])
    folds = [
        robustness(SVC(), flat(IMAGES[:90]), Y[:90], changes=SOME, cv=3,
                   random_state=1, n_jobs=n)
        for n in (1, 2)
    ]  # fmt: skip
    for name in SOME:
        assert_array_equal(folds[0].right[name], folds[1].right[name])


def test_labels_may_be_strings(model):
    names = np.array(["zero", "one", "two", "three"])
    model = SVC().fit(flat(IMAGES[:300]), names[Y[:300]])
    X = flat(IMAGES[300:])
    found = robustness(model, X, names[Y[300:]], changes="blur")
    assert found.right["blur"][0].mean() == model.score(X, names[Y[300:]])


def test_sentences_and_displays(model):
    plt = pytest.importorskip("matplotlib.pyplot")
    how = {"random_state": 0, "changes": {"rotation": [20, 45], "jpeg": [10]}}
    found = robustness(model, IMAGES[300:], Y[300:], **how)
    lost, kept = found.sentences()
    assert lost.startswith("rotation: the accuracy falls to 0.")
    assert "It has lost 0.1 at" in lost
    assert kept.startswith("jpeg: the accuracy falls by 0.0")
    assert str(found).startswith("accuracy 0.9")
    assert "<table>" in found._repr_html_()
    display = found.plot()
    assert list(display.axes_) == ["rotation", "jpeg"]
    line = display.lines_["rotation"][0]
    assert_array_equal(line.get_xdata(), [0, 20, 45])
    means = [r["accuracy"] for r in rows_of(found) if r["change"] == "rotation"]
    np.testing.assert_allclose(line.get_ydata(), means)
    other = robustness(GaussianNB().fit(flat(IMAGES[:300]), Y[:300]),
                       flat(IMAGES[300:]), Y[300:], **how)  # fmt: skip
    _, ax = plt.subplots()
    both = type(display).from_robustness(
        {"SVC": found, "Bayes": other}, baseline=0.25, ax=ax
    )
    legend = both.axes_["rotation"].get_legend()
    texts = [text.get_text() for text in legend.get_texts()]
    assert texts == ["SVC", "Bayes", "commonest class"]
    less = robustness(model, IMAGES[300:], Y[300:], changes="blur")
    with pytest.raises(ValueError, match="different changes or severities"):
        type(display).from_robustness({"a": found, "b": less})
    with pytest.raises(ValueError, match="results must be what robustness returns"):
        type(display).from_robustness([found])
    plt.close("all")


def test_what_is_refused(model):
    X, y = IMAGES[:40], Y[:40]
    with pytest.raises(NotFittedError):
        robustness(SVC(), X, y)
    with pytest.raises(TypeError, match="LinearRegression is no classifier"):
        robustness(LinearRegression(), X, y)
    for how, message in (
        ({"n_repeats": 0}, "n_repeats must be a whole number"),
        ({"confidence": 1}, "confidence=1 must be above 0 and below 1"),
        ({"groups": np.zeros(40)}, "groups has one group"),
        ({"changes": "tilt"}, "'tilt' is unknown"),
        ({"y": y[:5]}, "inconsistent numbers of samples"),
    ):
        with pytest.raises(ValueError, match=message):
            robustness(model, X, **{"y": y, **how})
