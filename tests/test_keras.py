import os
import subprocess
import sys
import warnings

import sklstm._keras

import numpy as np
import pytest

from sklstm import LSTMImageClassifier

pytestmark = pytest.mark.backend
BACKEND = sklstm._keras.keras.backend.backend()
OTHER = "torch" if BACKEND == "jax" else "jax"

IMPORT = """
import importlib.util, sys
if len(sys.argv) > 1:
    class Missing:
        def find_spec(self, name, path=None, target=None):
            if name == sys.argv[1]:
                raise ModuleNotFoundError(f"No module named {name!r}", name=name)
    sys.modules.pop(sys.argv[1], None)
    sys.meta_path.insert(0, Missing())
    find_spec = importlib.util.find_spec
    importlib.util.find_spec = lambda n, *a: None if n == sys.argv[1] else find_spec(n)
for attempt in range(2):  # the second import finds what the first one has left
    try:
        from sklstm._keras import keras
        print(keras.backend.backend())
    except Exception as error:
        assert error.__context__ is None  # nor the traceback of Keras
        print(type(error).__name__, error)
"""


def run(code, *arguments, **environment):
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


@pytest.mark.parametrize("name", ["pytorch", "Jax", " jax"])
def test_an_unknown_backend_gives_one_sentence(name):
    expected = (
        f"ValueError KERAS_BACKEND={name!r} is no backend of sklstm: set it to "
        "'tensorflow', 'jax' or 'torch' (PyTorch) before Keras is imported."
    )
    assert run(IMPORT, KERAS_BACKEND=name) == [expected, expected]


@pytest.mark.parametrize("name", ["jax", "torch"])
def test_a_backend_that_is_not_installed_gives_one_sentence(name):
    expected = (
        f"ModuleNotFoundError KERAS_BACKEND={name!r} needs the package {name}, which "
        f'is not installed: run pip install "sklstm[{name}]", or choose another '
        "backend."
    )
    assert run(IMPORT, name, KERAS_BACKEND=name) == [expected, expected]


@pytest.mark.slow
def test_keras_json_chooses_the_backend(tmp_path):
    (tmp_path / "keras.json").write_text(f'{{"backend": "{BACKEND}"}}')
    found = run(IMPORT, KERAS_BACKEND="", KERAS_HOME=str(tmp_path))
    assert found == [BACKEND, BACKEND]


def test_a_keras_that_is_loaded_keeps_its_backend():
    code = f"import os, keras\nos.environ['KERAS_BACKEND'] = 'pytorch'\n{IMPORT}"
    assert run(code) == [BACKEND, BACKEND]


@pytest.fixture
def not_warned(monkeypatch):
    monkeypatch.setattr(sklstm._keras, "_warned_of_variable", False)


def late_warnings():
    X = np.random.default_rng(0).normal(size=(12, 4, 3)).astype("float32")
    classifier = LSTMImageClassifier(units=2, epochs=1, random_state=0)
    with warnings.catch_warnings(record=True) as seen:
        warnings.filterwarnings("always", "KERAS_BACKEND is", UserWarning)
        classifier.fit(X, np.arange(12) % 2)
        classifier.fit(X, np.arange(12) % 2)
    return seen


def test_a_fit_warns_once_of_a_variable_that_is_set_too_late(not_warned, monkeypatch):
    monkeypatch.setenv("KERAS_BACKEND", OTHER)
    [warning] = late_warnings()
    assert warning.filename == __file__  # the line that calls fit
    message = str(warning.message)
    assert message.startswith(f"KERAS_BACKEND is {OTHER!r}, but Keras was imported")
    assert f"runs on {BACKEND!r}: restart Python" in message


@pytest.mark.parametrize("value", [None, "", BACKEND])
def test_no_variable_or_the_right_one_gives_no_warning(not_warned, monkeypatch, value):
    if value is None:
        monkeypatch.delenv("KERAS_BACKEND", raising=False)
    else:
        monkeypatch.setenv("KERAS_BACKEND", value)
    assert late_warnings() == []
