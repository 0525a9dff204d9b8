"""The same weights give the same outputs on every backend, for all networks.

A process has one backend. So the test compares its own with TensorFlow, which computes
the outputs in a process of its own: that process runs this file as a script.
"""

import importlib.util
import inspect
import os
import subprocess
import sys

from sklstm._keras import keras

import numpy as np
import pytest

from sklstm.networks import NETWORKS
from sklstm.networks.initialize import initialize

pytestmark = pytest.mark.backend
REFERENCE = "tensorflow"
SHAPES = {"sequences": (7, 5), "images": (9, 12, 3), "volumes": (3, 8, 8, 1)}
# A network is given those of these that it takes, so that a new one needs no line here.
SMALL = {
    "units": 4,
    "filters": 4,
    "n_heads": 2,
    "n_blocks": 2,
    "depths": (1, 1),
    "widths": (8, 16),
    "patch_size": 3,
}


def outputs(name):
    """Probabilities of a network whose weights and samples NumPy draws."""
    network = NETWORKS[name]
    takes = inspect.signature(network.build).parameters
    small = {key: value for key, value in SMALL.items() if key in takes}
    shape = SHAPES[network.takes]
    model = network.build(shape, 4, **small)
    initialize(model, np.random.SeedSequence(0))
    rng = np.random.default_rng(0)
    for weight in model.trainable_weights:  # none stays at a zero that hides a part
        value = keras.ops.convert_to_numpy(weight)
        weight.assign(value + rng.normal(0, 0.05, value.shape).astype("float32"))
    x = rng.normal(size=(6, *shape)).astype("float32")
    return model.predict_on_batch(x)


@pytest.fixture(scope="module")
def expected(tmp_path_factory):
    """Outputs of all networks on TensorFlow."""
    if keras.backend.backend() == REFERENCE:
        pytest.skip("the runs on JAX and PyTorch compare with TensorFlow")
    if importlib.util.find_spec(REFERENCE) is None:
        pytest.skip("TensorFlow, to compare with, is not installed")
    path = tmp_path_factory.mktemp("outputs") / "expected.npz"
    done = subprocess.run(
        [sys.executable, __file__, path],
        env={**os.environ, "KERAS_BACKEND": REFERENCE},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    with np.load(path) as arrays:
        return dict(arrays)


@pytest.mark.parametrize("name", NETWORKS)
def test_the_same_weights_give_the_same_outputs(expected, name):
    found = outputs(name)
    assert np.ptp(found, axis=0).max() > 1e-2  # the output depends on the input
    np.testing.assert_allclose(found, expected[name], rtol=0, atol=1e-4)


if __name__ == "__main__":
    assert keras.backend.backend() == REFERENCE
    np.savez(sys.argv[1], **{name: outputs(name) for name in NETWORKS})
