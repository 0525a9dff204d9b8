"""What importing the package loads, prints and leaves behind."""

import ast
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

import sklstm

HEAVY = ("jax", "keras", "optuna", "scikeras", "tensorflow", "torch")
TRANSFORMERS = (
    "FundusPreprocessor",
    "ImageReader",
    "PatchSequencer",
    "RowSequencer",
    "VolumeSequencer",
)


def run_python(code, **environment):
    """Run code in a fresh interpreter; a value of None removes the variable."""
    env = dict(os.environ)
    for name, value in environment.items():
        if value is None:
            env.pop(name, None)
        else:
            env[name] = value
    done = subprocess.run(
        [sys.executable, "-c", code], env=env, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return done


def loaded_after(code):
    """Top-level names of the modules that a fresh interpreter has after the code."""
    code += "\nimport json, sys\nprint(json.dumps(sorted(sys.modules)))"
    modules = json.loads(run_python(code).stdout)
    return {name.partition(".")[0] for name in modules}


def test_import_loads_only_the_standard_library():
    loaded = loaded_after("import sklstm; dir(sklstm); sklstm.__version__")
    assert loaded.isdisjoint({*HEAVY, "cv2", "matplotlib", "numpy", "sklearn"})


def test_transformers_load_no_keras():
    loaded = loaded_after(f"from sklstm import {', '.join(TRANSFORMERS)}")
    assert loaded.isdisjoint({*HEAVY, "matplotlib"})


def test_loaders_of_files_load_no_keras():
    loaded = loaded_after(
        "from sklstm import load_image_folder, load_image_table, load_mask_folder"
    )
    assert loaded.isdisjoint({*HEAVY, "cv2", "matplotlib"})


def test_working_transformers_load_no_keras():
    loaded = loaded_after(
        "import numpy as np\n"
        "from sklstm import PatchSequencer, RowSequencer, VolumeSequencer\n"
        "images = np.zeros((2, 8, 8))\n"
        "RowSequencer().fit_transform(images)\n"
        "PatchSequencer(patch_size=4, stride=2).fit_transform(images)\n"
        "VolumeSequencer().fit_transform(np.zeros((2, 3, 8, 8)))\n"
    )
    assert loaded.isdisjoint({*HEAVY, "matplotlib"})


CONSTRUCT_THEN_FIT = """
import json, pickle, sys
import numpy as np
from sklearn.base import clone
from sklearn.pipeline import make_pipeline
from sklstm import LSTMImageClassifier, RowSequencer

model = LSTMImageClassifier(units=2, epochs=1, random_state=0, optimizer__beta_1=0.8)
copied = clone(model).set_params(units=3, optimizer__beta_2=0.9)
pipeline = make_pipeline(RowSequencer(), copied)
repr(model), str(pipeline), pipeline._repr_html_(), pipeline.get_params()
pickle.loads(pickle.dumps(pipeline))
before = sorted(sys.modules)
X = np.random.default_rng(0).normal(size=(20, 4, 3)).astype("float32")
copied.fit(X, np.arange(20) % 2)
print(json.dumps([before, sorted(sys.modules)]))
"""


def test_the_classifier_loads_keras_at_its_first_fit():
    done = run_python(CONSTRUCT_THEN_FIT)
    constructed, fitted = (
        {name.partition(".")[0] for name in modules}
        for modules in json.loads(done.stdout)
    )
    assert constructed.isdisjoint({*HEAVY, "matplotlib"})
    # Also the control of the tests above, which might look for the wrong names.
    assert {"keras", "scikeras", "tensorflow"} <= fitted


def test_all_and_dir_and_table_agree():
    assert sorted(sklstm.__all__) == list(sklstm.__all__)
    assert set(sklstm.__all__) == set(sklstm._HOME)
    assert {*sklstm.__all__, "__version__"} <= set(dir(sklstm))


def test_type_checkers_see_the_same_names():
    tree = ast.parse(Path(sklstm.__file__).read_text(encoding="utf-8"))
    block = next(node for node in tree.body if isinstance(node, ast.If))
    seen = {
        alias.name: node.module
        for node in block.body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }
    assert seen == sklstm._HOME


@pytest.mark.parametrize("name", sklstm.__all__)
def test_public_name(name):
    value = getattr(sklstm, name)
    assert value.__name__ == name
    assert name in vars(sklstm)  # kept, so the next access is an ordinary one


def test_star_import_brings_all():
    namespace = {}
    exec("from sklstm import *", namespace)
    assert set(sklstm.__all__) <= set(namespace)


def test_unknown_name():
    with pytest.raises(AttributeError, match="'sklstm' has no attribute 'LSTM'"):
        sklstm.LSTM  # noqa: B018
    with pytest.raises(ImportError, match="cannot import name 'LSTM'"):
        from sklstm import LSTM  # noqa: F401


def test_version_matches_the_installed_package():
    from importlib.metadata import PackageNotFoundError, version

    try:
        installed = version("sklstm")
    except PackageNotFoundError:
        pytest.skip("sklstm is on the path but not installed")
    assert installed == sklstm.__version__


FIRST_FIT = """
import os
before = dict(os.environ)
import numpy as np
from sklstm import LSTMImageClassifier
X = np.random.default_rng(0).normal(size=(20, 4, 3)).astype("float32")
y = np.arange(20) % 2
LSTMImageClassifier(units=2, epochs=1, random_state=0).fit(X, y).predict(X)
after = dict(os.environ)
changed = {k for k in before.keys() | after.keys() if before.get(k) != after.get(k)}
print(sorted(k for k in changed if k.startswith(("TF_", "KERAS", "PYTHON"))))
"""


@pytest.mark.backend
def test_first_fit_is_quiet_and_leaves_the_environment():
    # The machine may have a card that the backend has no libraries for.
    no_card = "ignore:This machine has a GPU:UserWarning"
    done = run_python(FIRST_FIT, TF_CPP_MIN_LOG_LEVEL=None, PYTHONWARNINGS=no_card)
    assert done.stderr == ""
    assert done.stdout == "[]\n"


@pytest.mark.slow
def test_first_fit_leaves_the_users_log_level():
    # At level 0 TensorFlow talks, and what somebody asked for is what they get.
    code = FIRST_FIT + "\nprint(os.environ['TF_CPP_MIN_LOG_LEVEL'])"
    done = run_python(code, TF_CPP_MIN_LOG_LEVEL="0", KERAS_BACKEND="tensorflow")
    assert done.stdout == "[]\n0\n"
    assert done.stderr != ""
