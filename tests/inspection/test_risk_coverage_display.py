import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer

from sklstm import LSTMImageClassifier
from sklstm.inspection import RiskCoverageDisplay


@pytest.fixture(autouse=True)
def close_figures():
    yield
    plt.close("all")


def test_points_of_the_curve():
    display = RiskCoverageDisplay.from_predictions(
        ["a", "b", "a", "b", "b"], ["a", "b", "b", "b", "a"], [0.1, 0.3, 0.3, 0.2, 0.9]
    )
    # Two samples of equal uncertainty are kept together.
    np.testing.assert_allclose(display.coverage, [0.2, 0.4, 0.8, 1])
    np.testing.assert_allclose(display.risk, [0, 0, 0.25, 0.4])
    assert display.area == pytest.approx(0.4 * 0.25 + 0.2 * 0.4)
    assert display.ax_.get_xlabel().startswith("coverage")
    np.testing.assert_allclose(display.line_.get_ydata(), display.risk)


def test_without_information_the_area_is_the_error_rate():
    rng = np.random.default_rng(0)
    wrong = rng.uniform(size=5000) < 0.2
    uncertain = rng.uniform(size=5000)
    blind = RiskCoverageDisplay.from_predictions(wrong, ~wrong & wrong, uncertain)
    assert blind.area == pytest.approx(wrong.mean(), abs=0.03)
    knows = RiskCoverageDisplay.from_predictions(wrong, ~wrong & wrong, wrong + 0.0)
    assert knows.area < 0.05


def test_from_estimator(digits):
    images, y = digits
    X, y = images[y < 3], y[y < 3]
    fitted = LSTMImageClassifier(n_estimators=2, units=4, epochs=1, random_state=0)
    fitted.fit(X[:60], y[:60])
    wrong = (fitted.predict(X) != y).mean()
    axes = plt.subplots()[1]
    for kind in ("total", "model", "max_probability"):
        display = RiskCoverageDisplay.from_estimator(
            fitted, X, y, uncertainty=kind, ax=axes
        )
        assert display.risk[-1] == pytest.approx(wrong)
        assert display.name == kind
        assert display.ax_ is axes
    # A Pipeline and a search lead X to the classifier.
    steps = make_pipeline(FunctionTransformer(np.negative), fitted)
    search = GridSearchCV(steps, {})
    search.best_estimator_ = steps
    for whole in (steps, search):
        found = RiskCoverageDisplay.from_estimator(whole, -X, y)
        again = RiskCoverageDisplay.from_estimator(fitted, X, y)
        np.testing.assert_array_equal(found.risk, again.risk)
    with pytest.raises(ValueError, match="uncertainty='entropy' must be"):
        RiskCoverageDisplay.from_estimator(fitted, X, y, uncertainty="entropy")
    other = LogisticRegression().fit(X.reshape(len(X), -1)[:60] / 16, y[:60])
    with pytest.raises(TypeError, match="has no predict_uncertainty"):
        RiskCoverageDisplay.from_estimator(other, X, y)
