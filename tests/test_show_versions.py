import json
import os
import re
import subprocess
import sys

import numpy as np
import pytest

import sklstm
from sklstm import LSTMImageClassifier, _show_versions

pytestmark = pytest.mark.backend
CODE = """
import json, sys
import sklstm
sklstm.show_versions()
print(json.dumps(sorted({"jax", "tensorflow", "torch"} & set(sys.modules))))
"""


@pytest.fixture
def rows(capsys):
    """What `show_versions` prints, as a dict."""
    sklstm.show_versions()
    lines = capsys.readouterr().out.splitlines()
    assert {"System:", "Python dependencies:", "Keras:"} <= set(lines)
    return dict(line.strip().split(": ", 1) for line in lines if ": " in line)


def test_versions_are_those_of_the_modules(rows):
    import cv2
    import keras
    import sklearn

    assert rows["sklstm"] == sklstm.__version__
    assert rows["scikit-learn"] == sklearn.__version__
    assert rows["keras"] == keras.__version__
    assert cv2.__version__.startswith(".".join(rows["opencv"].split(".")[:3]))
    assert rows["executable"] == sys.executable


def test_a_package_that_is_not_installed_has_no_version(rows, monkeypatch, capsys):
    wanted = {"nowhere": (), "either": ("nowhere", "numpy")}
    monkeypatch.setattr(_show_versions, "_DEPENDENCIES", wanted)
    found = _show_versions._versions()
    assert found["nowhere"] is None
    assert found["either"] == np.__version__


def test_backend_and_engine_are_those_of_a_fit(rows):
    import keras

    assert rows["backend"] == keras.backend.backend()
    assert "CPU:0" in rows["devices"]
    X = np.random.default_rng(0).normal(size=(12, 4, 3)).astype("float32")
    model = LSTMImageClassifier(units=2, epochs=1).fit(X, np.arange(12) % 2)
    engine = type(model._fitted_network.compiled.engine).__name__
    assert rows["engine"].split(",")[0] == engine
    assert rows["dtype policy"] == keras.config.dtype_policy().name


def test_cards_and_what_hides_them(monkeypatch, capsys):
    from sklstm.training import _devices

    monkeypatch.setattr(_devices, "find_cards", lambda: ["/dev/nvidia0"])
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "-1")
    sklstm.show_versions()
    out = capsys.readouterr().out
    assert "NVIDIA cards: /dev/nvidia0 (hidden by a setting)\n" in out
    assert "CUDA_VISIBLE_DEVICES: -1\n" in out


def test_a_backend_that_cannot_start_is_reported(monkeypatch, capsys):
    from sklstm.training import _devices

    def fail():
        raise AssertionError("no platform")

    monkeypatch.setattr(_devices, "share_memory", fail)
    sklstm.show_versions()
    out = capsys.readouterr().out
    assert "devices: none (AssertionError('no platform'))\n" in out
    assert "LSTM layers: none\n" in out


def test_a_backend_that_is_unknown_is_reported():
    done = subprocess.run(
        [sys.executable, "-c", CODE],
        capture_output=True,
        text=True,
        env={**os.environ, "KERAS_BACKEND": "pytorch"},
    )
    assert done.returncode == 0, done.stderr
    assert " backend: none (ValueError(\"KERAS_BACKEND='pytorch' is no" in done.stdout
    assert "CUDA_VISIBLE_DEVICES: " in done.stdout


def test_no_line_ends_the_output(monkeypatch, capsys):
    import keras

    from sklstm.training import _devices

    def fail(*args):
        raise RuntimeError("broken")

    monkeypatch.setattr(_show_versions, "version", fail)
    monkeypatch.setattr(_devices, "find_cards", fail)
    monkeypatch.setattr(keras.config, "dtype_policy", fail)
    sklstm.show_versions()
    out = capsys.readouterr().out
    for name in ("numpy", "NVIDIA cards", "dtype policy"):
        assert f" {name}: none (RuntimeError('broken'))\n" in out
    assert "LSTM layers: " in out


@pytest.mark.slow
def test_only_keras_and_its_backend_are_loaded():
    done = subprocess.run(
        [sys.executable, "-c", CODE], capture_output=True, text=True, env=os.environ
    )
    assert done.returncode == 0, done.stderr
    loaded = json.loads(done.stdout.splitlines()[-1])
    backend = re.search(r" backend: (\w+)", done.stdout)[1]
    # Keras itself imports other backends where they are installed.
    code = CODE.replace("sklstm.show_versions()", "import keras")
    plain = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env=os.environ
    )
    by_keras = json.loads(plain.stdout.splitlines()[-1])
    assert {backend} <= set(loaded) <= {backend, *by_keras}
