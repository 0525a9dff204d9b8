"""What the figures of `benchmarks/engines.py` leave out."""

import json
import os
import subprocess
import sys
from pathlib import Path

from sklstm._keras import keras

import pytest

pytestmark = pytest.mark.backend
ENGINES = Path(__file__).resolve().parent.parent / "benchmarks" / "engines.py"


def serve(*jobs):
    """Return the answers of a process of this backend's peer."""
    done = subprocess.run(
        [sys.executable, ENGINES, "--serve", keras.backend.backend()],
        input="".join(json.dumps(job) + "\n" for job in jobs),
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ENGINES.parents[1])},
    )
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()[1:]]


@pytest.mark.slow
def test_imports_come_before_the_first_figure():
    loaded = {"work": "modules", "what": None}
    folds = {"work": "folds", "what": "first", "cpu": False}
    _, modules = serve(folds, loaded)
    _, before, _, after = serve(
        {"work": "import", "what": modules}, loaded, folds, loaded
    )
    heavy = {"jax", "keras", "scikeras", "sklstm", "tensorflow", "torch"}
    late = set(after) - set(before)
    assert not [name for name in late if name.partition(".")[0] in heavy]
