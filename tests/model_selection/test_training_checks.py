import numpy as np
import pytest

from sklstm import LSTMImageClassifier
from sklstm.model_selection._training_checks import (
    check_fit,
    check_gradients,
    check_loss,
    check_validation,
    roughness,
)

PARAMS = LSTMImageClassifier().get_params(deep=False)
FALL = np.exp(-np.arange(40) / 10) * 2


def history(**values):
    flat = np.ones(len(FALL))
    return {"loss": FALL, "val_loss": FALL, "gradient_norm": flat, **values}


def test_roughness_is_the_spread_of_the_noise():
    rng = np.random.default_rng(0)
    line = np.linspace(10, 0, 4000)
    assert roughness(line) == pytest.approx(0, abs=1e-9)
    noisy = line + rng.normal(0, 0.2, 4000)
    assert roughness(noisy) * np.ptp(noisy) == pytest.approx(0.2, rel=0.05)
    assert roughness(np.ones(9)) == 0


def test_an_oscillating_loss():
    assert check_loss(history(), PARAMS).verdict == "good"
    zigzag = FALL + 0.05 * (-1) ** np.arange(40)
    found = check_loss(history(loss=zigzag), PARAMS)
    assert found.verdict == "warning"
    assert found.params == {"learning_rate": 0.001}
    wild = FALL + 0.5 * (-1) ** np.arange(40)
    constant = PARAMS | {"lr_schedule": "constant"}
    found = check_loss(history(loss=wild), constant)
    assert found.verdict == "problem"
    assert found.params == {"learning_rate": 3e-4, "lr_schedule": "cosine"}
    assert "set learning_rate=0.0003 and lr_schedule='cosine'" in found.advice
    assert check_loss(history(loss=FALL[:7]), PARAMS).verdict == "not checked"


def test_a_validation_that_stalls():
    assert check_validation(history(), PARAMS, 40).verdict == "good"
    rising = np.r_[FALL[:10], FALL[9] + np.linspace(0, 1, 30)]
    found = check_validation(history(val_loss=rising), PARAMS, 40)
    assert found.verdict == "problem"
    assert found.figures["best_epoch"] == 10
    assert found.params == {"early_stopping": True}
    # Early stopping has kept the best weights.
    stops = PARAMS | {"early_stopping": True}
    kept = check_validation(history(val_loss=rising), stops, 10)
    assert kept.verdict == "good"
    never = check_validation(history(val_loss=FALL[::-1]), PARAMS, 40)
    assert never.verdict == "problem"
    assert never.advice.startswith("The validation loss never falls: set dropout=0.5")
    assert check_validation({"loss": FALL}, PARAMS, 40).verdict == "not checked"


def test_gradients():
    assert check_gradients(history(), PARAMS).verdict == "good"
    big = np.ones(40)
    big[3] = 5e3
    found = check_gradients(history(gradient_norm=big), PARAMS)
    assert (found.verdict, found.params) == ("problem", {"learning_rate": 3e-4})
    found = check_gradients(history(gradient_norm=big), PARAMS | {"clipvalue": None})
    assert found.params == {"clipvalue": 1.0}
    found = check_gradients(history(gradient_norm=np.full(40, 1e-8)), PARAMS)
    assert (found.verdict, found.params) == ("problem", {"pooling": "mean"})
    pooled = PARAMS | {"pooling": "mean"}
    found = check_gradients(history(gradient_norm=np.full(40, 1e-5)), pooled)
    assert (found.verdict, found.params) == ("warning", {"batch_norm": True})
    # A gradient that fades at the end of a training that succeeded is no problem.
    fading = np.r_[1.0, np.full(39, 1e-7)]
    assert check_gradients(history(gradient_norm=fading), PARAMS).verdict == "good"
    nothing = check_gradients(history(gradient_norm=[np.nan]), PARAMS)
    assert nothing.verdict == "not checked"


def test_under_and_overfitting():
    def check(train, test, certain=True, **params):
        return check_fit(train, test, 0.5, 1.0, certain, PARAMS | params)

    assert check(0.95, 0.93).verdict == "good"
    under = check(0.6, 0.6, epochs=30)
    assert (under.verdict, under.params) == ("problem", {"epochs": 60})
    assert check(0.8, 0.8).params == {"dropout": 0.0, "input_noise": 0.0}
    bare = {"dropout": 0.0, "input_noise": 0.0}
    assert check(0.8, 0.8, **bare).params == {"units": 128}
    assert check(0.8, 0.8, learning_rate=1e-5).params == {"learning_rate": 3e-3}
    over = check(1.0, 0.6)
    assert (over.verdict, over.params) == ("problem", {"dropout": 0.5})
    assert check(1.0, 0.9, takes="images").params == {"augmentation": "light"}
    assert check(1.0, 0.9, **bare).params == {"input_noise": None, "dropout": 0.3}
    # A gap that may be chance is no overfitting.
    assert check(1.0, 0.9, certain=False).verdict == "good"
    none = check_fit(1.0, 1.0, 1.0, 1.0, True, PARAMS)
    assert none.verdict == "not checked"
    assert check_fit(1.0, 0.6, 0.5, 1.0, True, {}).params == {}
    # A score below zero, such as neg_log_loss, is best at zero.
    assert check_fit(-0.1, -0.2, -1.4, 0.0, True, PARAMS).verdict == "good"
