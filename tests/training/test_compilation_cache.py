import json
import os
import subprocess
import sys

from sklstm._keras import keras

import pytest

from sklstm.estimators import set_compilation_cache

pytestmark = pytest.mark.backend

FIT = """
import json, logging, os, sys
import jax
import numpy as np
from sklstm import LSTMImageClassifier
from sklstm.estimators import set_compilation_cache

ours, theirs = sys.argv[1:]
events = []
jax.monitoring.register_event_listener(lambda event, **kwargs: events.append(event))
if theirs:
    jax.config.update("jax_compilation_cache_dir", theirs)
set_compilation_cache(ours)
before = dict(jax.config.values)
X = np.random.default_rng(0).uniform(size=(20, 4, 4))
classifier = LSTMImageClassifier(units=2, bidirectional=False, epochs=1, random_state=0)
probabilities = classifier.fit(X, np.arange(20) % 2).predict_proba(X)
restored = dict(jax.config.values) == before
hits = events.count("/jax/compilation_cache/cache_hits")
jax.jit(lambda x: x + 17)(1.0)  # not ours
set_compilation_cache(None)
classifier.set_params(units=3).fit(X, np.arange(20) % 2)
print(json.dumps([hits, restored, probabilities.tolist()]))
"""


def run(ours, theirs=""):
    result = subprocess.run(
        [sys.executable, "-c", FIT, str(ours), str(theirs)],
        capture_output=True,
        text=True,
        cwd=ours.parent,
        check=False,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    assert result.returncode == 0, result.stderr
    return json.loads(result.stdout.splitlines()[-1])


@pytest.mark.skipif(keras.backend.backend() != "jax", reason="only JAX has the folder")
def test_a_second_process_reads_what_the_first_one_compiled(tmp_path):
    ours, theirs = tmp_path / "made" / "here", tmp_path / "theirs"
    ours.parent.mkdir()
    hits, restored, expected = run(ours)
    assert hits == 0
    assert restored
    files = sorted(os.listdir(ours))
    assert any("train_batches" in name for name in files)
    assert not any("lambda" in name for name in files)
    assert len([name for name in files if "train_batches" in name]) == 1

    hits, restored, again = run(ours, theirs)
    assert hits == len(files)
    assert restored
    assert again == expected
    assert sorted(os.listdir(ours)) == files
    assert os.listdir(ours.parent) == ["here"]


@pytest.mark.skipif(keras.backend.backend() == "jax", reason="JAX has the folder")
def test_other_backends_refuse_a_folder(tmp_path):
    with pytest.raises(ValueError, match="only JAX stores compiled functions"):
        set_compilation_cache(tmp_path / "folder")
    assert not list(tmp_path.iterdir())
    set_compilation_cache(None)
