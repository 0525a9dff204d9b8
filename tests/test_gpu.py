"""What only a GPU can show, on the present Keras backend: `pytest -m gpu tests`.

Each test skips where the backend sees no GPU. SKLSTM_TEST_GPU=cpu runs what can run on
the CPU, to see that the tests themselves work. The tests marked `backend` run on a GPU
as well.
"""

import hashlib
import os
import shutil
import subprocess
import sys

from sklstm._keras import keras

import numpy as np
import pytest
from sklearn.model_selection import cross_val_score

import sklstm
from sklstm import LSTMDefectDetector, LSTMImageClassifier
from sklstm.networks import FusedBidirectional, FusedLSTM
from sklstm.training._devices import list_devices, share_memory
from sklstm.training._settings import full_float32

BACKEND = keras.backend.backend()
ON_CPU = os.environ.get("SKLSTM_TEST_GPU") == "cpu"

pytestmark = pytest.mark.gpu


@pytest.fixture(autouse=True)
def gpu():
    """Skip the test if the backend sees no GPU."""
    share_memory()  # before the first operation
    if not ON_CPU and not any(name.startswith("GPU") for name in list_devices()):
        pytest.skip(f"{BACKEND} sees no GPU")


@pytest.fixture
def no_cpu():
    """Skip the test where the others run on the CPU."""
    if ON_CPU:
        pytest.skip("needs a GPU in any case")


def run_python(code, **environment):
    """Run code in a fresh interpreter; return what it prints."""
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def memory():
    """MiB in use and MiB in total, over all cards."""
    if shutil.which("nvidia-smi") is None:
        pytest.skip("nvidia-smi, which tells the memory in use, is not there")
    done = subprocess.run(
        ["nvidia-smi", "--query-gpu=memory.used,memory.total", "--format=csv,noheader"],
        capture_output=True,
        text=True,
        check=True,
    )
    rows = [line.replace("MiB", "").split(",") for line in done.stdout.splitlines()]
    return tuple(np.array(rows, float).sum(axis=0))


# Layers: cuDNN against the plain loop.


def pair(both, **params):
    """Return a layer as networks have it, and the plain loop with the same weights."""
    layers = []
    for plain in (False, True):
        layer = FusedLSTM(
            16, bias_initializer="random_normal", fused=not plain, **params
        )
        parts = [layer]
        if both:
            layer = FusedBidirectional(layer)
            parts = [layer.forward_layer, layer.backward_layer]
        for part in parts:
            part.use_cudnn = "auto" if not plain else False
        layer.build((None, 12, 5))
        layers.append(layer)
    layers[1].set_weights(layers[0].get_weights())
    return layers


def outputs_and_gradients(layer, x, upstream):
    """Return outputs, and gradients of input and weights, for one batch."""
    if BACKEND == "tensorflow":
        import tensorflow as tf

        x = tf.constant(x)
        with tf.GradientTape() as tape:
            tape.watch(x)
            y = layer(x)
            loss = tf.reduce_sum(y * upstream)
        sources = [x, *(variable.value for variable in layer.trainable_variables)]
        found = [y, *tape.gradient(loss, sources)]
    elif BACKEND == "jax":
        import jax

        others = [variable.value for variable in layer.non_trainable_variables]

        def loss(x, weights):
            y, _ = layer.stateless_call(weights, others, x)
            return (y * upstream).sum(), y

        weights = [variable.value for variable in layer.trainable_variables]
        differentiate = jax.jit(jax.value_and_grad(loss, (0, 1), has_aux=True))
        (_, y), (of_x, of_weights) = differentiate(x, weights)
        found = [y, of_x, *of_weights]
    else:
        x = keras.ops.convert_to_tensor(x).requires_grad_()
        y = layer(x)
        (y * keras.ops.convert_to_tensor(upstream)).sum().backward()
        weights = [variable.value for variable in layer.trainable_variables]
        found = [y.detach(), x.grad, *(weight.grad for weight in weights)]
    return [keras.ops.convert_to_numpy(array) for array in found]


def runs_cudnn(layer, x):
    """Return whether a layer computes its steps in cuDNN."""
    if BACKEND == "tensorflow":
        import tensorflow as tf

        graph = tf.function(layer).get_concrete_function(tf.constant(x)).graph
        return "CudnnRNN" in str(graph.as_graph_def())
    if BACKEND == "jax":
        import jax

        return "cudnn_rnn" in jax.jit(layer).lower(x).as_text()
    import torch

    with torch.autograd.profiler.profile() as profile:
        layer(x)
    return any("cudnn_rnn" in event.key for event in profile.key_averages())


LAYERS = [
    (False, {}),
    (False, {"return_sequences": True}),
    (False, {"go_backwards": True}),
    (False, {"go_backwards": True, "return_sequences": True}),
    (True, {}),
    (True, {"return_sequences": True}),
]


@pytest.mark.parametrize(("both", "params"), LAYERS)
def test_lstm_gives_the_outputs_and_gradients_of_the_plain_loop(both, params):
    fused, plain = pair(both, **params)
    rng = np.random.default_rng(0)
    x = rng.standard_normal((7, 12, 5), dtype="float32")
    with full_float32():
        shape = keras.ops.convert_to_numpy(plain(x)).shape
        upstream = rng.standard_normal(shape, dtype="float32")
        got = outputs_and_gradients(fused, x, upstream)
        expected = outputs_and_gradients(plain, x, upstream)
    for one, other in zip(got, expected, strict=True):
        assert np.abs(other).max() > 0.01
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(("both", "params"), LAYERS)
def test_lstm_runs_in_cudnn(no_cpu, both, params):
    x = np.ones((7, 12, 5), "float32")
    fused, plain = pair(both, **params)
    assert runs_cudnn(fused, x)
    assert not runs_cudnn(plain, x)


# Estimators.


@pytest.fixture(scope="module")
def fitted(digits):
    """A classifier that has learned, for each network, when first asked for."""
    images, y = digits
    known = {}

    def fit(network, **params):
        key = (network, *params.items())
        if key not in known:
            known[key] = LSTMImageClassifier(
                network, epochs=8, learning_rate=3e-3, random_state=0, **params
            ).fit(images[:600], y[:600])
        return known[key]

    return fit


def test_show_versions_names_the_gpu_and_cudnn(no_cpu, capsys):
    sklstm.show_versions()
    printed = capsys.readouterr().out
    assert "GPU:0" in printed
    assert "cuDNN" in printed


ON_THE_CPU = """
import sys
import numpy as np
import sklstm
from sklstm.training._devices import list_devices
assert all(name.startswith("CPU") for name in list_devices()), list_devices()
X = np.load(FOLDER + "/X.npy")
np.save(FOLDER + "/found.npy", sklstm.load(FOLDER + "/model").predict_proba(X))
"""


@pytest.mark.parametrize("network", ["lstm", "cnn_lstm"])
def test_a_model_of_the_gpu_predicts_the_same_on_the_cpu(
    digits, fitted, tmp_path, network
):
    images, y = digits
    classifier = fitted(network)
    assert classifier.score(images[600:], y[600:]) > 0.75
    with full_float32():
        expected = classifier.predict_proba(images[600:700])
    sklstm.save(classifier, tmp_path / "model")
    np.save(tmp_path / "X.npy", images[600:700])
    run_python(
        f"FOLDER = {str(tmp_path)!r}\n" + ON_THE_CPU,
        CUDA_VISIBLE_DEVICES="-1",
        JAX_PLATFORMS="cpu",
    )
    np.testing.assert_allclose(np.load(tmp_path / "found.npy"), expected, atol=1e-4)


@pytest.mark.parametrize("network", ["lstm", "cnn_lstm"])
@pytest.mark.parametrize("policy", ["mixed_float16", "mixed_bfloat16"])
def test_mixed_precision_learns_what_float32_learns(digits, fitted, network, policy):
    if ON_CPU and (network, policy) == ("cnn_lstm", "mixed_float16"):
        pytest.skip("convolutions in float16 take minutes on a CPU")
    images, y = digits
    whole, half = fitted(network), fitted(network, dtype_policy=policy)
    scores = [one.score(images[600:], y[600:]) for one in (whole, half)]
    assert abs(scores[0] - scores[1]) < 0.05
    # Both start from the same weights and see the same batches.
    first = [one.history_["loss"][0] for one in (whole, half)]
    assert first[1] == pytest.approx(first[0], rel=0.05)


def test_the_same_seed_gives_the_same_predictions(digits):
    images, y = digits
    classifier = LSTMImageClassifier(units=16, epochs=3, random_state=1)
    once = classifier.fit(images[:200], y[:200]).predict_proba(images[:50])
    twice = classifier.fit(images[:200], y[:200]).predict_proba(images[:50])
    # Kernels may add in another order each time.
    np.testing.assert_allclose(once, twice, atol=1e-3)


TWICE = """
import hashlib
from sklearn.datasets import load_digits
from sklstm import LSTMImageClassifier
digits = load_digits()
X, y = digits.images[:200], digits.target[:200]
classifier = LSTMImageClassifier(
    units=16, epochs=3, random_state=1, op_determinism=True
)
for _ in range(2):
    found = classifier.fit(X, y).predict_proba(X)
    print(hashlib.sha256(found.tobytes()).hexdigest())
"""


def test_determinism_gives_the_same_bits():
    # The variables that the documentation names, for PyTorch and for JAX.
    flags = os.environ.get("XLA_FLAGS", "") + " --xla_gpu_deterministic_ops=true"
    printed = run_python(TWICE, CUBLAS_WORKSPACE_CONFIG=":16:8", XLA_FLAGS=flags)
    once, twice = printed.split()
    assert len(once) == hashlib.sha256().digest_size * 2
    assert once == twice


def test_the_detector_learns(plates):
    X, Y = plates
    detector = LSTMDefectDetector(
        (16, 24), units=4, network__filters=4, epochs=25, batch_size=8, random_state=0
    ).fit(X[:40], Y[:40])
    assert detector.score(X[40:], Y[40:]) > 0.9


def test_export_to_onnx(digits, fitted, tmp_path):
    for package in ("tensorflow", "tf2onnx", "onnx", "onnxruntime"):
        pytest.importorskip(package)
    images, _ = digits
    for network in ("lstm", "cnn_lstm"):
        classifier = fitted(network)
        # It compares the file with the estimator itself, and refuses to write.
        report = sklstm.export(classifier, tmp_path / "model.onnx", X=images[:50])
        assert report.operators["LSTM"] >= 1
        with full_float32():
            expected = classifier.predict_proba(images[600:650])
        predictor = sklstm.load_exported(tmp_path / "model.onnx")
        np.testing.assert_allclose(
            predictor.predict_proba(images[600:650]), expected, atol=1e-4
        )


# Memory.

FIT = """
from sklearn.datasets import load_digits
from sklstm import LSTMImageClassifier
digits = load_digits()
LSTMImageClassifier(units=16, epochs=1, random_state=0).fit(
    digits.images[:64], digits.target[:64]
)
"""
THEN_MEMORY = """
import subprocess
print(subprocess.run(
    ["nvidia-smi", "--query-gpu=memory.used", "--format=csv,noheader,nounits"],
    capture_output=True, text=True, check=True,
).stdout)
"""


def test_a_small_fit_leaves_most_of_the_memory_of_the_card(no_cpu):
    before, total = memory()
    printed = run_python(FIT + THEN_MEMORY)
    used = sum(map(float, printed.split())) - before
    assert 0 < used < min(4096, total / 4)


def test_two_processes_share_a_card(digits):
    images, y = digits
    classifier = LSTMImageClassifier(units=16, epochs=4, random_state=0)
    alone = cross_val_score(classifier, images[:300], y[:300], cv=2)
    before = None if ON_CPU else memory()
    together = cross_val_score(classifier, images[:300], y[:300], cv=2, n_jobs=2)
    np.testing.assert_allclose(together, alone, atol=0.05)
    if before is not None:
        # The workers wait for further work and still hold their memory.
        after, total = memory()
        assert after - before[0] < total / 2
