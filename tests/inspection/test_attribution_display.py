import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np
import pytest
from sklearn.datasets import load_digits
from sklearn.naive_bayes import GaussianNB

from sklstm.inspection import AttributionDisplay, attribute


@pytest.fixture(autouse=True)
def close_figures():
    yield
    plt.close("all")


def test_from_estimator_draws_what_attribute_returns():
    X, y = load_digits(n_class=3, return_X_y=True)
    classifier = GaussianNB(var_smoothing=0.1).fit(X, y)
    how = {"target": 1, "baseline": 0, "occlude": 2}
    display = AttributionDisplay.from_estimator(classifier, X[:7], **how)
    expected = attribute(classifier, X[:7], **how)
    np.testing.assert_array_equal(display.attributions, expected)
    assert len(display.ax_) == 7
    proba = classifier.predict_proba(X[:7])[:, 1]
    for ax, values, p in zip(display.ax_, expected, proba, strict=True):
        assert ax.get_title() == f"1: {p:.2f}"
        drawn = ax.images[1]
        np.testing.assert_allclose(
            drawn.get_array() * np.abs(values).max(), values, atol=1e-12
        )
        assert drawn.get_clim() == (-1, 1)
    predicted = AttributionDisplay.from_estimator(classifier, X[:1], occlude=2)
    assert predicted.ax_[0].get_title().startswith(f"{classifier.predict(X[:1])[0]}: ")


def test_the_most_important_slice_of_a_volume():
    volume = np.arange(2 * 3 * 4 * 4.0).reshape(2, 3, 4, 4)
    values = np.zeros((2, 3, 4, 4))
    values[0, 2, 1, 1], values[1, 1, 0, 0] = -3, 2
    axes = plt.subplots(1, 3)[1]
    display = AttributionDisplay.from_attributions(
        volume, values, titles=["one", "two"], ax=axes
    )
    assert [ax.get_title() for ax in display.ax_] == ["one, slice 2", "two, slice 1"]
    assert display.ax_[0].images[1].get_array()[1, 1] == -1
    assert display.figure_ is axes[0].figure


def test_what_cannot_be_drawn():
    images = np.zeros((2, 4, 4))
    with pytest.raises(ValueError, match="one value for each pixel"):
        AttributionDisplay.from_attributions(images, np.zeros((2, 4, 5)))
    with pytest.raises(ValueError, match="titles has 1 entries for 2 images"):
        AttributionDisplay.from_attributions(images, images, titles=["one"])
    with pytest.raises(ValueError, match="must be finite"):
        AttributionDisplay.from_attributions(images, images + np.nan)
    with pytest.raises(ValueError, match="ax holds 1 axes for 2 images"):
        AttributionDisplay.from_attributions(images, images, ax=plt.subplots()[1])
