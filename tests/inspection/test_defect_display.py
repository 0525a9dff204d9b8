import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np
import pytest
from sklearn.base import BaseEstimator
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer

from sklstm.inspection import DefectDisplay


@pytest.fixture(autouse=True)
def close_figures():
    yield
    plt.close("all")


@pytest.fixture
def plates():
    """Images, masks and probabilities. The images 1 and 3 have a defect."""
    rng = np.random.default_rng(0)
    masks = np.zeros((5, 8, 10), bool)
    masks[1, 2:5, 3:7] = masks[3, :2, :4] = True
    images = rng.uniform(size=masks.shape)
    return images, masks, 0.6 * masks + 0.3 * rng.uniform(size=masks.shape)


class Detector(BaseEstimator):
    threshold_ = 0.2

    def fit(self, X, y):
        return self

    def __sklearn_is_fitted__(self):
        return True

    def predict_proba(self, X):
        return X / 2

    def predict(self, X):
        return X > 0.9  # not the probabilities at the threshold: chains decide

    def decision_function(self, X):
        return X.mean(axis=(1, 2))


def drawn(ax):
    return ax.images[0].get_array()


def test_views_of_masks(plates):
    X, Y, P = plates
    predicted = np.zeros(Y.shape, bool)
    predicted[1, 4:7, 5:9] = predicted[3, 5:, 7:] = True
    display = DefectDisplay.from_predictions(X, Y, P, predicted=predicted)
    assert display.rows_.tolist() == [1, 3]  # those with a defect
    for column, i in enumerate(display.rows_):
        image, truth, probability = display.axes_[:, column]
        assert image.get_title() == f"no. {i}"
        np.testing.assert_array_equal(drawn(truth), Y[i])
        np.testing.assert_array_equal(drawn(probability), P[i])
        assert drawn(probability).shape == drawn(image).shape
        assert probability.images[0].get_clim() == (0, 1)
        # The outline encloses the mask, also at the edge of the image.
        for ax in (image, probability):
            (outline,) = ax.collections
            (path,) = outline.get_paths()
            assert len(path.to_polygons()) == 1
            inside = [path.contains_point((x, y)) for y in range(8) for x in range(10)]
            np.testing.assert_array_equal(np.reshape(inside, (8, 10)), predicted[i])
            assert ax.get_xlim() == (-0.5, 9.5)
        assert not truth.collections
    assert [ax.get_ylabel() for ax in display.axes_[:, 0]] == [
        "image", "truth", "probability"
    ]  # fmt: skip


def test_rows(plates):
    X, Y, P = plates
    axes = plt.subplots(1, 2)[1]
    display = DefectDisplay.from_predictions(X, Y, P, rows=[4, 0], ax=axes[1])
    assert display.ax_ is axes[1]
    assert display.axes_.shape == (3, 2)
    np.testing.assert_array_equal(drawn(display.axes_[1, 0]), Y[4])
    assert not display.axes_[0, 0].collections  # nothing is predicted
    found = DefectDisplay.from_predictions(X, Y, P, threshold=0.7).predicted
    np.testing.assert_array_equal(found, P >= 0.7)
    good = DefectDisplay.from_predictions(X[:1], [None], P[:1])
    assert good.rows_.tolist() == [0]
    for wrong in ([5], [-1], [0.5], [], [True]):
        with pytest.raises(ValueError, match="must hold whole numbers from 0 to 4"):
            display.plot(rows=wrong)


def test_images_that_differ_in_size(plates):
    X, Y, P = plates
    colours = np.repeat(X[3][..., None], 3, axis=2)[:5]
    display = DefectDisplay.from_predictions(
        [X[1], colours], [Y[1], Y[3][:5]], [P[1], P[3][:5]]
    )
    assert drawn(display.axes_[0, 1]).shape == (5, 10, 3)
    assert drawn(display.axes_[2, 1]).shape == (5, 10)


def test_histogram_of_scores(plates):
    X, Y, P = plates
    scores = [-2.0, 1.0, -1.5, 2.0, 0.5]
    display = DefectDisplay.from_predictions(X, Y, P, scores=scores, view="scores")
    good, defect = display.ax_.patches
    for steps, expected in ((good, [-2, -1.5, 0.5]), (defect, [1, 2])):
        counts, edges, _ = steps.get_data()
        np.testing.assert_array_equal(counts, np.histogram(expected, edges)[0])
        assert counts.sum() == len(expected)
    assert good.get_label() == "good (3)"
    assert defect.get_label() == "with a defect (2)"
    # Nobody knows the threshold of scores that are given.
    assert not display.ax_.lines
    own = DefectDisplay.from_predictions(X, Y, P, threshold=0.4, view="scores")
    np.testing.assert_array_equal(own.scores, P.max(axis=(1, 2)))
    assert own.ax_.lines[0].get_xdata()[0] == 0.4
    same = DefectDisplay.from_predictions(X, Y, P, scores=[1.0] * 5, view="scores")
    assert same.ax_.patches[0].get_data()[0].sum() == 3


def test_from_estimator(plates):
    X, Y, _ = plates
    display = DefectDisplay.from_estimator(Detector(), X, Y, view="scores")
    np.testing.assert_array_equal(display.predicted, X > 0.9)
    np.testing.assert_array_equal(display.probabilities, X / 2)
    np.testing.assert_array_equal(display.scores, X.mean(axis=(1, 2)))
    assert display.ax_.lines[0].get_xdata()[0] == pytest.approx(np.log(0.2 / 0.8))
    assert display.ax_.get_xlabel() == "decision_function (log-odds)"
    # A Pipeline and a search lead X to the detector.
    steps = make_pipeline(FunctionTransformer(lambda X: 1 - X), Detector())
    search = GridSearchCV(steps, {})
    search.best_estimator_ = steps
    for whole in (steps, search):
        again = DefectDisplay.from_estimator(whole, 1 - X, Y)
        np.testing.assert_allclose(again.images, X)
        np.testing.assert_allclose(again.scores, display.scores)
    with pytest.raises(TypeError, match="must be a fitted LSTMDefectDetector"):
        DefectDisplay.from_estimator(LogisticRegression(), X, Y)


def test_what_cannot_be_drawn(plates):
    X, Y, P = plates
    for args, params, message in [
        ((X[:3], Y, P), {}, "X has 3 entries, but probabilities has 5"),
        ((X[:, 1:], Y, P), {}, r"X\[0\] has the shape \(7, 10\), but probabilities"),
        ((X, Y[:, 1:], P), {}, r"y\[0\] has the shape \(7, 10\), but prob"),
        ((X, Y, np.nan * P), {}, r"probabilities\[0\] contains NaN"),
        ((X, Y, 2 * P), {}, r"probabilities\[1\] has values from .* between 0 and 1"),
        ((X, Y, P), {"predicted": P}, r"predicted\[0\] has values from"),
        ((X, Y, P), {"scores": [1.0]}, "scores must be 5 finite numbers"),
        ((X, Y, P), {"threshold": 2}, "threshold=2 must be between 0 and 1"),
        ((X, Y, P), {"view": "roc"}, "view='roc' must be 'masks' or 'scores'"),
    ]:
        with pytest.raises(ValueError, match=message):
            DefectDisplay.from_predictions(*args, **params)
