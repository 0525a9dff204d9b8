"""Fixtures and settings that all tests share."""

import gc
import os
import random
from contextlib import contextmanager
from pathlib import Path

# The processes of pytest-xdist share the cores: one thread each. TensorFlow and OpenMP
# read these variables when they are first imported, so they are set before all else.
if "PYTEST_XDIST_WORKER" in os.environ:
    for variable in (
        "TF_NUM_INTRAOP_THREADS",
        "TF_NUM_INTEROP_THREADS",
        "OMP_NUM_THREADS",
        "OPENBLAS_NUM_THREADS",
    ):
        os.environ.setdefault(variable, "1")

import numpy as np
import pytest
from hypothesis import settings
from sklearn.datasets import load_digits

# Derandomized: a run either passes everywhere or fails everywhere. No deadline: the
# first call of a compiled function is many times slower than the second.
settings.register_profile("sklstm", derandomize=True, deadline=None)
settings.load_profile("sklstm")

REPOSITORY = Path(__file__).resolve().parent.parent


def pytest_collection_finish():
    """Keep what is imported out of garbage collections, which tests call for often."""
    gc.collect()
    gc.freeze()


@pytest.fixture(scope="session")
def digits():
    """The 1,797 digits of scikit-learn: images (n, 8, 8), float64 0..16, and labels.

    Shared by all tests, so both arrays are read-only.
    """
    bunch = load_digits()
    images, y = bunch.images, bunch.target
    images.flags.writeable = False
    y.flags.writeable = False
    return images, y


@pytest.fixture
def generators_stay():
    """A context in which nobody may move the global generators, which it restores."""

    @contextmanager
    def stay():
        from sklstm._keras import keras

        def draw():
            return (
                random.random(),
                np.random.rand(),  # noqa: NPY002
                np.asarray(keras.random.uniform((3,))).tolist(),
            )

        before = random.getstate(), np.random.get_state()  # noqa: NPY002
        try:
            keras.utils.set_random_seed(5)
            draw()
            expected = draw()
            keras.utils.set_random_seed(5)
            draw()
            yield
            assert draw() == expected
        finally:
            random.setstate(before[0])
            np.random.set_state(before[1])  # noqa: NPY002

    return stay


@pytest.fixture(scope="session")
def data_dir():
    """The folder of real image sets; the test is skipped where there is none."""
    folder = Path(os.environ.get("SKLSTM_DATA", REPOSITORY.parent / "shared" / "data"))
    if not folder.is_dir():
        pytest.skip(f"no data folder at {folder}; SKLSTM_DATA can name one")
    return folder


@pytest.fixture
def group_splits(monkeypatch):
    """Of every split by groups inside a fit, the groups of either side."""
    from sklstm.estimators import _labels

    seen = []
    own = _labels._split_groups

    def spy(codes, fraction, groups, state):
        train, watched = own(codes, fraction, groups, state)
        seen.append((set(groups[train]), set(groups[watched])))
        return train, watched

    monkeypatch.setattr(_labels, "_split_groups", spy)
    return seen


@pytest.fixture(scope="session")
def plates():
    """Noisy plates (n, 16, 24), float32, and masks: half of them have a dark spot."""
    X = np.random.default_rng(0).normal(100, 5, (56, 16, 24)).astype("float32")
    Y = np.zeros(X.shape, bool)
    Y[::2, 8:, 8:16] = True
    X[Y] -= 40
    X.flags.writeable = False
    Y.flags.writeable = False
    return X, Y
