import numpy as np
import pytest

from sklstm import LSTMImageClassifier
from sklstm.estimators import _calibration
from sklstm.estimators._calibration import fit_temperature, with_temperature
from sklstm.training._fitted_network import FittedNetwork


def softmax(logits):
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    return powers / powers.sum(axis=1, keepdims=True)


def test_the_temperature_of_drawn_classes_is_found():
    rng = np.random.default_rng(0)
    logits = rng.normal(0, 2, (4000, 3))
    truth = softmax(logits)
    codes = np.array([rng.choice(3, p=row) for row in truth])
    for temperature in (0.5, 1, 3):
        given = softmax(logits * temperature)
        found = fit_temperature(given, codes, np.ones(4000))
        assert found == pytest.approx(temperature, rel=0.1)
        np.testing.assert_allclose(with_temperature(given, found), truth, atol=0.05)


def test_a_few_correct_samples_do_not_make_probabilities_extreme():
    probabilities = np.full((5, 2), [0.9, 0.1])
    found = fit_temperature(probabilities, np.zeros(5, int), np.ones(5))
    assert 0.7 < found < 1
    # Zeros neither divide nor give NaN.
    sure = np.eye(2, dtype="float32")
    np.testing.assert_allclose(with_temperature(sure, 1.5), sure, atol=1e-15)


@pytest.fixture(scope="module")
def three(digits):
    images, y = digits
    return images[y < 3][:150], y[y < 3][:150]


def make(**params):
    return LSTMImageClassifier(
        units=8,
        epochs=2,
        calibration="temperature",
        random_state=0,
        **params,
    )


@pytest.mark.parametrize("source", ["held out", "given", "out of bag"])
def test_no_sample_of_the_calibration_was_trained_on(three, source, monkeypatch):
    X, y = three
    seen = []

    def spy(probabilities, codes, weights):
        seen.append((probabilities, codes))
        return fit_temperature(probabilities, codes, weights)

    monkeypatch.setattr(_calibration, "fit_temperature", spy)
    groups = np.arange(len(X)) // 3
    fit_params = {"groups": groups}
    if source == "given":
        fit_params = {"X_val": X[100:], "y_val": y[100:]}
        X, y = X[:100], y[:100]
    fitted = make(bootstrap=source == "out of bag", n_estimators=2)
    fitted.fit(X, y, **fit_params)
    ((probabilities, codes),) = seen
    rows = fitted.estimators_samples_
    if source == "given":
        np.testing.assert_array_equal(codes, three[1][100:])
        assert [len(own) for own in rows] == [100, 100]
    elif source == "held out":
        np.testing.assert_array_equal(*rows)
        held = np.setdiff1d(np.arange(len(X)), rows[0])
        assert not set(groups[held]) & set(groups[rows[0]])
        np.testing.assert_array_equal(codes, y[held])
    else:
        out = [np.setdiff1d(np.arange(len(X)), own) for own in rows]
        known = np.union1d(*out)
        np.testing.assert_array_equal(codes, y[known])
        only = np.setdiff1d(out[0], out[1])[0]
        np.testing.assert_allclose(
            probabilities[np.searchsorted(known, only)],
            fitted.estimators_[0].predict_proba(X[[only]])[0],
            atol=1e-6,
        )


def test_the_temperature_changes_probabilities_and_no_class(three):
    X, y = three
    fitted = make().fit(X, y)
    (member,) = fitted.estimators_
    assert member.calibration is None
    before, after = member.predict_proba(X), fitted.predict_proba(X)
    assert np.abs(before - after).max() > 1e-3
    np.testing.assert_array_equal(before.argmax(axis=1), after.argmax(axis=1))
    np.testing.assert_allclose(
        after, with_temperature(before, fitted.temperature_), atol=1e-6
    )
    fitted.set_params(calibration=None).fit(X, y)
    assert not hasattr(fitted, "temperature_")


def test_a_class_too_small_to_hold_out_is_refused(three):
    X, y = three
    with pytest.raises(ValueError, match="or set calibration=None"):
        make().fit(X[:60], np.where(np.arange(60) == 0, 7, y[:60]))


@pytest.mark.parametrize("source", ["held out", "given", "out of bag"])
def test_the_temperature_skips_classes_of_weight_zero(three, source, monkeypatch):
    X, y = three
    seen, sizes = [], []
    predict = FittedNetwork.predict

    def count(self, x):
        sizes.append(len(x))
        return predict(self, x)

    def spy(probabilities, codes, weights):
        seen.append(codes)
        return fit_temperature(probabilities, codes, weights)

    monkeypatch.setattr(FittedNetwork, "predict", count)
    monkeypatch.setattr(_calibration, "fit_temperature", spy)
    # Samples that are larger than memory must not be read at once.
    monkeypatch.setattr(_calibration, "AT_ONCE", 4 * X[0].size * 4)
    fit_params = {"X_val": X[100:], "y_val": y[100:]} if source == "given" else {}
    fitted = make(bootstrap=source == "out of bag", class_weight={2: 0})
    fitted.fit(X[:100], y[:100], **fit_params)
    assert set(np.concatenate(seen)) == {0, 1}
    assert max(sizes) == 4
    assert sum(sizes) == len(seen[0])
