import json
import os
import subprocess
import sys
from pathlib import Path

from sklstm._keras import keras

import pytest

from sklstm.estimators import set_compilation_cache
from sklstm.training import _compilation_cache

pytestmark = pytest.mark.backend
ON_JAX = keras.backend.backend() == "jax"

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


WORKERS = """
import json, os, sys
import numpy as np
from sklearn.model_selection import cross_val_score
from sklstm import LSTMImageClassifier
from sklstm.estimators import set_compilation_cache

set_compilation_cache(sys.argv[1])
X = np.random.default_rng(0).uniform(size=(20, 4, 4))
classifier = LSTMImageClassifier(units=2, bidirectional=False, epochs=1, random_state=0)
cross_val_score(classifier, X, np.arange(20) % 2, cv=2, n_jobs=2, error_score="raise")
print(json.dumps(os.listdir(sys.argv[1])))
"""


@pytest.fixture
def no_folder():
    """A process without a folder, before and after."""
    set_compilation_cache(None)
    yield
    set_compilation_cache(None)


def run(code, *arguments):
    result = subprocess.run(
        [sys.executable, "-c", code, *map(str, arguments)],
        capture_output=True,
        text=True,
        cwd=arguments[0].parent,
        check=False,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    assert result.returncode == 0, result.stderr
    return json.loads(result.stdout.splitlines()[-1])


@pytest.mark.skipif(not ON_JAX, reason="only JAX has the folder")
def test_a_second_process_reads_what_the_first_one_compiled(tmp_path):
    ours, theirs = tmp_path / "made" / "here", tmp_path / "theirs"
    ours.parent.mkdir()
    hits, restored, expected = run(FIT, ours, "")
    assert hits == 0
    assert restored
    files = sorted(os.listdir(ours))
    assert any("train_batches" in name for name in files)
    assert not any("lambda" in name for name in files)
    assert len([name for name in files if "train_batches" in name]) == 1

    hits, restored, again = run(FIT, ours, theirs)
    assert hits == len(files)
    assert restored
    assert again == expected
    assert sorted(os.listdir(ours)) == files
    assert os.listdir(ours.parent) == ["here"]


@pytest.mark.skipif(ON_JAX, reason="JAX has the folder")
def test_other_backends_refuse_a_folder(tmp_path):
    with pytest.raises(ValueError, match="only JAX stores compiled functions"):
        set_compilation_cache(tmp_path / "folder")
    assert not list(tmp_path.iterdir())
    set_compilation_cache(None)


@pytest.mark.slow
@pytest.mark.skipif(not ON_JAX, reason="only JAX has the folder")
def test_workers_that_start_later_write_to_the_folder(tmp_path):
    # The process itself fits nothing, so only its workers can have written.
    files = run(WORKERS, tmp_path / "folder")
    assert any("train_batches" in name for name in files)


@pytest.mark.skipif(not ON_JAX, reason="only JAX has the folder")
def test_none_restores_the_environment(tmp_path, monkeypatch, no_folder):
    monkeypatch.setenv("JAX_COMPILATION_CACHE_DIR", "theirs")
    monkeypatch.delenv("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", raising=False)
    before = dict(os.environ)
    for folder in (tmp_path / "a", tmp_path / "b"):
        set_compilation_cache(folder)
        assert os.environ["JAX_COMPILATION_CACHE_DIR"] == str(folder)
    assert float(os.environ["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"]) == 0
    assert int(os.environ["JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES"]) == -1
    set_compilation_cache(None)
    assert dict(os.environ) == before


def refuse(*args, **kwargs):
    raise PermissionError(13, "Permission denied")


@pytest.mark.skipif(not ON_JAX, reason="only JAX has the folder")
@pytest.mark.parametrize(
    ("folder", "error", "message"),
    [
        (5, TypeError, "^folder=5 must be a str, a path or None, not of type int.$"),
        (b"a", TypeError, "^folder=b'a' must be a str, a path or None"),
        ("", ValueError, "^folder='' names no folder"),
        ("gs://bucket/x", ValueError, "^folder='gs://bucket/x' is a URL"),
        (Path("gs://bucket/x"), ValueError, "^folder='gs:/bucket/x' is a URL"),
        ("file", ValueError, "^folder='file' is a file"),
        ("file/below", OSError, "^folder='file/below' cannot be made or written"),
        ("a\0b", OSError, "^folder='a.*b' cannot be made or written"),
        ("sealed", OSError, "^folder='sealed' cannot be .* .Permission denied.: give"),
    ],
)
def test_a_wrong_folder_is_named_and_the_last_one_stays(
    tmp_path, monkeypatch, no_folder, folder, error, message
):
    monkeypatch.chdir(tmp_path)
    set_compilation_cache("last")
    (tmp_path / "file").touch()
    if folder == "sealed":  # root may write everywhere
        monkeypatch.setattr(_compilation_cache.tempfile, "TemporaryFile", refuse)
    before = dict(os.environ)
    with pytest.raises(error, match=message):
        set_compilation_cache(folder)
    assert _compilation_cache._folder == str(tmp_path / "last")
    assert dict(os.environ) == before
    assert {path.name for path in tmp_path.iterdir()} <= {"last", "file", "sealed"}


@pytest.mark.skipif(not ON_JAX, reason="only JAX has the folder")
def test_the_check_leaves_no_file(tmp_path, no_folder):
    set_compilation_cache(tmp_path)
    assert list(tmp_path.iterdir()) == []
