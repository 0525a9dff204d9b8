import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np
import pytest
from sklearn.calibration import calibration_curve
from sklearn.datasets import load_digits
from sklearn.model_selection import GridSearchCV
from sklearn.naive_bayes import GaussianNB
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import LinearSVC

from sklstm.inspection import ReliabilityDisplay
from sklstm.metrics import expected_calibration_error


@pytest.fixture(autouse=True)
def close_figures():
    yield
    plt.close("all")


@pytest.fixture(scope="module")
def predictions():
    X, y = load_digits(n_class=4, return_X_y=True)
    names = np.array(["zero", "one", "two", "three"])[y]
    model = make_pipeline(StandardScaler(with_std=False), GaussianNB(var_smoothing=0.5))
    model.fit(X[:100], names[:100])
    return model, X[100:], names[100:]


@pytest.mark.parametrize("strategy", ["quantile", "uniform"])
@pytest.mark.parametrize("pos_label", [None, "two"])
def test_the_error_in_the_legend_is_that_of_the_metric_and_of_the_bins(
    predictions, strategy, pos_label
):
    model, X, y = predictions
    how = {"strategy": strategy, "pos_label": pos_label, "n_bins": 9}
    display = ReliabilityDisplay.from_estimator(model, X, y, **how)
    error = expected_calibration_error(
        y, model.predict_proba(X), labels=model.classes_, **how
    )
    assert error > 0
    assert display.calibration_error == error
    assert f"(ECE {error:.3f})" in display.line_.axes.get_legend_handles_labels()[1][1]
    gaps = np.abs(display.prob_true - display.prob_pred)
    assert display.counts.sum() == len(y)
    assert display.counts @ gaps / len(y) == pytest.approx(error, abs=1e-12)
    np.testing.assert_array_equal(display.line_.get_xdata(), display.prob_pred)
    np.testing.assert_array_equal(display.line_.get_ydata(), display.prob_true)


def test_one_class_in_uniform_bins_is_the_curve_of_scikit_learn(predictions):
    model, X, y = predictions
    display = ReliabilityDisplay.from_estimator(
        model, X, y, pos_label="three", strategy="uniform", n_bins=6
    )
    place = model.classes_.tolist().index("three")
    expected = calibration_curve(
        y == "three", model.predict_proba(X)[:, place], n_bins=6
    )
    np.testing.assert_allclose(display.prob_true, expected[0])
    np.testing.assert_allclose(display.prob_pred, expected[1])
    assert display.ax_.get_ylabel() == "frequency of class three"


def test_intervals_cover_the_truth():
    # Of outcomes that are drawn with p itself, 95 % of the intervals contain p.
    p, n = np.array([0.55, 0.7, 0.98]), 40
    drawn = np.random.default_rng(0).binomial(n, p, (2000, 3)) / n
    display = ReliabilityDisplay(
        prob_true=drawn,
        prob_pred=p,
        counts=np.full(3, n),
        y_prob=p,
        calibration_error=0.0,
    )
    low, high = display.interval
    assert ((low <= p) & (p <= high)).mean() == pytest.approx(0.95, abs=0.015)


def test_wilsons_interval_as_published():
    # 81 of 263 and 15 of 148: Newcombe, Statistics in Medicine 17, 1998, table I.
    y = np.repeat([0, 1, 0, 1], [81, 182, 15, 133])
    p = np.repeat([0.9, 0.6], [263, 148])
    display = ReliabilityDisplay.from_predictions(
        y, np.column_stack([p, 1 - p]), pos_label=0, n_bins=2
    )
    np.testing.assert_allclose(display.interval[:, 1], [0.2553, 0.3662], atol=5e-5)
    np.testing.assert_allclose(display.interval[:, 0], [0.0624, 0.1605], atol=5e-5)


def test_several_curves_share_axes_and_one_diagonal(predictions):
    model, X, y = predictions
    proba = model.predict_proba(X)
    softer = proba**0.5 / (proba**0.5).sum(axis=1, keepdims=True)
    axes = plt.subplots()[1]
    for name, values in (("before", proba), ("after", softer)):
        display = ReliabilityDisplay.from_predictions(
            y, values, labels=model.classes_, name=name, ax=axes
        )
        assert display.ax_ is axes
    labels = [text.get_text() for text in axes.get_legend().get_texts()]
    assert [text.split(" (")[0] for text in labels] == ["calibrated", "before", "after"]
    colors = {line.get_color() for line in axes.lines if line.get_gid()}
    assert len(colors) == 2


def test_searches_and_what_cannot_be_drawn(predictions):
    model, X, y = predictions
    search = GridSearchCV(GaussianNB(), {"var_smoothing": [0.5]}, cv=2).fit(X, y)
    display = ReliabilityDisplay.from_estimator(search, X, y, n_bins=5)
    assert display.name == "GaussianNB"
    with pytest.raises(TypeError, match="A LinearSVC has no predict_proba"):
        ReliabilityDisplay.from_estimator(LinearSVC().fit(X, y), X, y)
    with pytest.raises(ValueError, match="pos_label='four' must be one of the labels"):
        ReliabilityDisplay.from_estimator(model, X, y, pos_label="four")
    with pytest.raises(ValueError, match="strategy='width' must be 'quantile'"):
        ReliabilityDisplay.from_estimator(model, X, y, strategy="width")
    with pytest.raises(ValueError, match=r"y_proba has values from -?\d.* between 0"):
        ReliabilityDisplay.from_predictions([0, 1], [[-3.0, 1.0], [2.0, 4.0]])
