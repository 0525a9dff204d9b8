"""A small fitted Pipeline, and conversions without a process of their own."""

import importlib

import pytest
from sklearn.pipeline import Pipeline

from sklstm import LSTMImageClassifier, RowSequencer
from sklstm.exporting import _export

NAMES = ["zero", "one", "two"]


@pytest.fixture(scope="session")
def few_digits(digits):
    """Images of three digits and their names."""
    images, y = digits
    images, y = images[y < 3][:200], y[y < 3][:200]
    return images, [NAMES[digit] for digit in y]


@pytest.fixture(scope="session")
def pipeline(few_digits):
    """Fitted on `few_digits`. Shared by all tests, which leave it as it is."""
    steps = [
        ("scan", RowSequencer(sequence_length=4)),
        ("clf", LSTMImageClassifier(units=64, epochs=10, random_state=0)),
    ]
    return Pipeline(steps).fit(*few_digits)


@pytest.fixture
def at_home(monkeypatch):
    """Let `export` convert in this process, which has TensorFlow loaded already."""

    def run(module, folder, what):
        importlib.import_module(module).main(str(folder))

    monkeypatch.setattr(_export, "run", run)
