import os
import re
import sys
import types
import warnings

from sklstm._keras import keras

import numpy as np
import pytest

from sklstm import LSTMImageClassifier
from sklstm.training import _compiled, _devices

pytestmark = pytest.mark.backend
BACKEND = keras.backend.backend()


@pytest.fixture(autouse=True)
def settings(monkeypatch):
    """No setting of the user, and a process that has not looked for cards yet."""
    names = ("CUDA_VISIBLE_DEVICES", "KERAS_TORCH_DEVICE", "TF_FORCE_GPU_ALLOW_GROWTH")
    for name in (*names, "JAX_PLATFORM_NAME", *_devices._JAX_MEMORY):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(_devices, "_looked_for_cards", False)


@pytest.fixture
def card(monkeypatch):
    """A card of which the backend knows nothing."""
    monkeypatch.setattr(_devices, "find_cards", lambda: ["/dev/nvidia0"])
    monkeypatch.setattr(_devices, "list_devices", lambda: ["CPU:0"])


def messages():
    """Return what `warn_of_idle_card` warns."""
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        _devices.warn_of_idle_card()
    return [str(one.message) for one in seen]


def fit():
    X = np.random.default_rng(0).normal(size=(12, 4, 3)).astype("float32")
    classifier = LSTMImageClassifier(units=2, epochs=1, random_state=0)
    return classifier.fit(X, np.arange(12) % 2)


def test_the_first_fit_warns_of_an_idle_card_and_names_what_to_install(card):
    with warnings.catch_warnings(record=True) as seen:
        warnings.filterwarnings("always", "This machine has a GPU", UserWarning)
        fit()
        fit()
    [warning] = seen
    assert warning.filename == __file__  # the line that calls fit
    wanted = {
        "tensorflow": 'TensorFlow does not see it.* pip install "sklstm\\[gpu\\]"',
        "jax": 'JAX does not see it.* pip install "sklstm\\[gpu-jax\\]"',
        "torch": "PyTorch does not see it.*https://pytorch.org",
    }
    assert re.search(wanted[BACKEND], str(warning.message))


def test_a_card_that_the_backend_sees_gives_no_warning(card, monkeypatch):
    monkeypatch.setattr(_devices, "list_devices", lambda: ["CPU:0", "GPU:0"])
    assert messages() == []


def test_a_machine_without_a_card_gives_no_warning(monkeypatch):
    monkeypatch.setattr(_devices, "find_cards", list)
    monkeypatch.setattr(_devices, "list_devices", lambda: ["CPU:0"])
    assert messages() == []


@pytest.mark.parametrize("value", ["", "-1", "-1,0", "NoDevFiles", " "])
def test_cards_hidden_from_cuda_give_no_warning(card, monkeypatch, value):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", value)
    assert messages() == []


@pytest.mark.parametrize("value", ["0", "1,0", "GPU-8932f937", "MIG-b21b2ab8", " 0 "])
def test_cards_chosen_for_cuda_give_a_warning(card, monkeypatch, value):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", value)
    assert len(messages()) == 1


@pytest.mark.skipif(BACKEND != "jax", reason="a setting of JAX")
@pytest.mark.parametrize(
    ("value", "warns"), [("cpu", False), ("cuda,cpu", True), (None, True)]
)
def test_platforms_chosen_for_jax(card, value, warns):
    import jax

    jax.devices()  # later changes of the setting start no other platform
    before = jax.config.jax_platforms
    try:
        jax.config.update("jax_platforms", value)
        assert bool(messages()) is warns
    finally:
        jax.config.update("jax_platforms", before)


@pytest.mark.skipif(BACKEND != "jax", reason="a setting of JAX")
def test_cpu_chosen_for_jax_by_the_older_variable(card, monkeypatch):
    monkeypatch.setenv("JAX_PLATFORM_NAME", "cpu")
    assert messages() == []


@pytest.mark.skipif(BACKEND != "torch", reason="a setting for PyTorch")
def test_cpu_chosen_for_torch(card, monkeypatch):
    monkeypatch.setenv("KERAS_TORCH_DEVICE", "cpu")
    assert messages() == []


@pytest.mark.skipif(sys.platform == "win32", reason="device files")
def test_cards_are_device_files_that_the_process_may_use(tmp_path, monkeypatch):
    device_files = tmp_path / "dev"
    device_files.mkdir()
    assert _devices.find_cards(tmp_path) == []
    # The module of the driver and its control device are there without any card.
    for name in ("nvidia0", "nvidia1", "nvidiactl", "nvidia-uvm"):
        (device_files / name).touch()
    expected = [str(device_files / name) for name in ("nvidia0", "nvidia1")]
    assert _devices.find_cards(tmp_path) == expected
    refused = device_files / "nvidia0"
    monkeypatch.setattr(os, "access", lambda file, mode: file != refused)
    assert _devices.find_cards(tmp_path) == expected[1:]


@pytest.mark.skipif(sys.platform == "win32", reason="device files")
def test_linux_inside_windows_has_a_card_if_the_driver_of_nvidia_is_there(tmp_path):
    (tmp_path / "dev").mkdir()
    (tmp_path / "dev/dxg").touch()
    assert _devices.find_cards(tmp_path) == []  # a card of another maker
    library = tmp_path / "usr/lib/wsl/lib/libcuda.so.1"
    library.parent.mkdir(parents=True)
    library.touch()
    assert _devices.find_cards(tmp_path) == [str(tmp_path / "dev/dxg")]


@pytest.mark.parametrize(
    ("backend", "system", "machine", "advice"),
    [
        ("tensorflow", "linux", "x86_64", r"sklstm\[gpu\]"),
        ("tensorflow", "linux", "aarch64", "use JAX or PyTorch"),
        ("tensorflow", "win32", "AMD64", "WSL2"),
        ("jax", "linux", "aarch64", r"sklstm\[gpu-jax\]"),
        ("jax", "win32", "AMD64", "WSL2"),
        ("torch", "win32", "AMD64", "pytorch.org"),
    ],
)
def test_advice_is_possible_on_the_system(
    monkeypatch, backend, system, machine, advice
):
    monkeypatch.setattr(_devices.sys, "platform", system)
    monkeypatch.setattr(_devices.platform, "machine", lambda: machine)
    assert re.search(advice, _devices._advice(backend))


def test_devices_are_those_of_the_backend():
    assert "CPU:0" in _devices.list_devices()
    has_card = any("GPU" in device for device in _devices.list_devices())
    assert ("cuDNN needs" not in _devices.lstm_on_device()) is has_card


class Cards:
    """The part of `tf.config` that sets the memory of cards, for two cards."""

    def __init__(self, growth=(None, None), virtual=None, started=False):
        self.growth = dict(zip("ab", growth, strict=True))
        self.virtual = virtual
        self.started = started
        self.experimental = self

    def list_physical_devices(self, kind):
        return ["a", "b"]

    def get_memory_growth(self, card):
        return self.growth[card]

    def get_logical_device_configuration(self, card):
        return self.virtual

    def set_memory_growth(self, card, enable):
        if self.started:
            raise RuntimeError("Physical devices cannot be modified")
        self.growth[card] = enable


@pytest.fixture
def cards_of_tensorflow(monkeypatch):
    if BACKEND != "tensorflow":
        pytest.skip("a setting of TensorFlow")
    import tensorflow as tf

    def use(**state):
        cards = Cards(**state)
        monkeypatch.setattr(tf, "config", cards)
        monkeypatch.setattr(_devices, "_memory_is_shared", False)
        _devices.share_memory()
        return list(cards.growth.values())

    return use


def test_tensorflow_takes_the_memory_of_cards_as_it_needs_it(cards_of_tensorflow):
    assert cards_of_tensorflow() == [True, True]


def test_tensorflow_keeps_the_memory_that_the_user_set(
    cards_of_tensorflow, monkeypatch
):
    assert cards_of_tensorflow(growth=(None, False)) == [None, False]
    assert cards_of_tensorflow(virtual=["1 GB"]) == [None, None]
    assert cards_of_tensorflow(started=True) == [None, None]
    monkeypatch.setenv("TF_FORCE_GPU_ALLOW_GROWTH", "false")
    assert cards_of_tensorflow() == [None, None]


@pytest.fixture
def start_of_jax(monkeypatch):
    """Return the setting that JAX sees when it starts."""
    if BACKEND != "jax":
        pytest.skip("a setting of JAX")
    import jax

    def start(runs=False):
        seen = []
        monkeypatch.setattr(
            jax, "devices", lambda: seen.append(dict(os.environ).get(PREALLOCATE))
        )
        monkeypatch.setattr(_devices, "jax_runs", lambda: runs)
        monkeypatch.setattr(_devices, "_memory_is_shared", False)
        _devices.share_memory()
        return seen

    return start


PREALLOCATE = "XLA_PYTHON_CLIENT_PREALLOCATE"


def test_jax_takes_the_memory_of_a_card_as_it_needs_it(start_of_jax):
    assert start_of_jax() == ["false"]
    assert PREALLOCATE not in os.environ


def test_jax_keeps_the_memory_that_the_user_set(start_of_jax, monkeypatch):
    assert start_of_jax(runs=True) == []
    monkeypatch.setenv("XLA_PYTHON_CLIENT_MEM_FRACTION", "0.5")
    assert start_of_jax() == []


def test_a_network_shares_memory_before_the_backend_computes(monkeypatch):
    calls = []
    monkeypatch.setattr(_compiled, "share_memory", lambda: calls.append("share"))
    monkeypatch.setattr(
        _compiled.CompiledNetwork, "_build_seeded", lambda *_: calls.append("build")
    )
    spec = types.SimpleNamespace(key=lambda: None, joint_augmentation=None)
    with pytest.raises(AttributeError):
        _compiled.CompiledNetwork(spec)
    assert calls == ["share", "build"]
