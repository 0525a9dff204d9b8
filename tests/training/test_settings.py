"""Global settings of Keras and TensorFlow: without effect, obeyed, or refused."""

import threading

from sklstm._keras import keras

import numpy as np
import pytest

from sklstm import LSTMImageClassifier, RowSequencer
from sklstm.estimators import clear_pool
from sklstm.networks import CRFLoss, WindowLoss, lstm
from sklstm.networks.initialize import reseed
from sklstm.networks.layers._augmentation import make_augmentation
from sklstm.training._settings import (
    full_float32,
    own_settings,
    policy_name,
    refuse_scopes,
)
from sklstm.training._spec import NetworkSpec

CONFIG = keras.config


@pytest.fixture
def unusual():
    """Keras computes in float64 and expects channels first."""
    policy = CONFIG.dtype_policy()
    CONFIG.set_floatx("float64")
    CONFIG.set_image_data_format("channels_first")
    CONFIG.set_dtype_policy("float64")
    yield
    CONFIG.set_floatx("float32")
    CONFIG.set_image_data_format("channels_last")
    CONFIG.set_dtype_policy(policy)


LAYERS = keras.layers
AUGMENTATIONS = {
    "flip": lambda: {"flip": "both"},
    "erasing": lambda: {"erasing": 1.0},
    "contrast": lambda: {"contrast": 0.5},
    "rotation": lambda: {"rotation": 90},
    "zoom": lambda: {"zoom": 0.3},
    "translation": lambda: {"translation": 0.4},
    "noise": lambda: {"noise": 1.0},
    "moves": lambda: {"rotation": 90, "flip": "both", "resampling": "once"},
    "color": lambda: {"color": 0.5},
    "brightness": lambda: {"brightness": 0.5},
    "RandomFlip": lambda: LAYERS.RandomFlip(dtype="float32"),
    "RandomErasing": lambda: LAYERS.RandomErasing(1.0, dtype="float32"),
    "RandomTranslation": lambda: LAYERS.RandomTranslation(0.4, 0.4, dtype="float32"),
    "chain": lambda: keras.Sequential(
        [LAYERS.RandomFlip(dtype="float32"), LAYERS.RandomZoom(0.3, dtype="float32")]
    ),
}


def augmented(make, images, made=None):
    with own_settings():
        layer = make_augmentation(make() if made is None else made)
        layer.build(images.shape)
        reseed(layer, np.random.default_rng(0))
        return np.asarray(layer(images, training=True))


@pytest.mark.parametrize("name", AUGMENTATIONS)
def test_augmentation_does_not_depend_on_the_image_format(name, request):
    images = np.random.default_rng(0).uniform(0, 200, (6, 8, 10, 3)).astype("float32")
    make = AUGMENTATIONS[name]
    usual = augmented(make, images)
    assert not np.array_equal(usual, images)
    request.getfixturevalue("unusual")
    # A user's layer is made while Keras expects channels first.
    np.testing.assert_array_equal(augmented(make, images, make()), usual)


def test_chain_that_moves_channels_itself_is_left_alone():
    images = np.random.default_rng(0).uniform(0, 200, (6, 8, 10, 3)).astype("float32")
    chain = keras.Sequential(
        [
            LAYERS.Permute((3, 1, 2)),
            LAYERS.RandomFlip("vertical", data_format="channels_first"),
            LAYERS.Permute((2, 3, 1)),
        ]
    )
    found = augmented(None, images, chain)
    turned = [np.array_equal(a, b[::-1]) for a, b in zip(found, images, strict=True)]
    assert any(turned)


def test_a_fit_does_not_depend_on_float_type_and_image_format(digits, request):
    X, y = digits[0][:50], digits[1][:50] % 3
    histories, probabilities = [], []
    for _ in range(2):
        clear_pool()
        classifier = LSTMImageClassifier(
            sequencer=RowSequencer(),
            augmentation={"flip": "horizontal", "rotation": 10},
            ordinal=True,
            units=4,
            bidirectional=False,
            epochs=1,
            random_state=0,
            optimizer=keras.optimizers.Adam(0.01),
            metrics=[keras.metrics.AUC(name="auc")],
        ).fit(X, y)
        histories.append(classifier.history_)
        probabilities.append(classifier.predict_proba(X))
        if len(histories) == 1:
            request.getfixturevalue("unusual")
    assert CONFIG.floatx() == "float64"
    assert CONFIG.image_data_format() == "channels_first"
    assert CONFIG.dtype_policy().name == "float64"
    assert probabilities[1].dtype == np.float32
    np.testing.assert_array_equal(*probabilities)
    assert histories[0].pop("auc") == pytest.approx(histories[1].pop("auc"), rel=1e-6)
    assert histories[0] == histories[1]
    clear_pool()


def test_losses_of_windows_and_chains_compute_in_float32(unusual):
    assert WindowLoss((2, 2)).dtype == CRFLoss().dtype == "float32"
    outputs = np.zeros((1, 2, 2, 1), "float32")
    labels = np.array([[255, 0, 0, 0]], "uint8")
    assert float(WindowLoss((2, 2))(labels, outputs)) == pytest.approx(np.log(2))


def test_settings_come_back_when_the_last_thread_leaves(unusual):
    inside, leave = threading.Event(), threading.Event()

    def stay():
        with own_settings():
            inside.set()
            leave.wait(10)

    thread = threading.Thread(target=stay)
    with own_settings():
        thread.start()
        inside.wait(10)
        assert (CONFIG.floatx(), CONFIG.image_data_format()) == (
            "float32",
            "channels_last",
        )
    assert CONFIG.floatx() == "float32", "the other thread is still inside"
    leave.set()
    thread.join(10)
    assert (CONFIG.floatx(), CONFIG.image_data_format()) == (
        "float64",
        "channels_first",
    )


@pytest.mark.parametrize(
    ("name", "network", "refused"),
    [
        ("bfloat16", "lstm", True),
        ("bfloat16", "conv_lstm", True),
        ("bfloat16", "cnn", False),
        ("bfloat16", "cnn3d", False),
        ("float16", "lstm", False),
        ("int8_from_float32", "cnn", True),
    ],
)
def test_policies_in_which_a_network_cannot_be_made_are_refused(name, network, refused):
    before = CONFIG.dtype_policy()
    CONFIG.set_dtype_policy(name)
    try:
        if refused:
            with pytest.raises(ValueError, match=f"policy is '{name}', in which netw"):
                policy_name(None, network)
        else:
            assert policy_name(None, network) == name
        assert policy_name("mixed_float16", network) == "mixed_float16"
    finally:
        CONFIG.set_dtype_policy(before)


def test_a_graph_serves_one_epsilon_only():
    spec = NetworkSpec(lstm, (None, 8), 3, "float32", {})
    before, epsilon = spec.key(), CONFIG.epsilon()
    CONFIG.set_epsilon(1e-3)
    try:
        assert spec.key() != before
    finally:
        CONFIG.set_epsilon(epsilon)
    assert spec.key() == before


@pytest.mark.parametrize("kind", ["MirroredStrategy", "OneDeviceStrategy"])
def test_a_fit_within_a_distribution_strategy_is_refused(kind):
    tf = pytest.importorskip("tensorflow")
    refuse_scopes()
    device = "/cpu:0" if kind == "OneDeviceStrategy" else ["/cpu:0"]
    strategy = getattr(tf.distribute, kind)(device)
    with (
        strategy.scope(),
        pytest.raises(RuntimeError, match=f"the scope of tf.distribute.{kind}, but"),
    ):
        LSTMImageClassifier(epochs=1).fit(np.ones((4, 3, 3)), [0, 1, 0, 1])


def test_a_fit_within_a_graph_is_refused():
    tf = pytest.importorskip("tensorflow")
    with (
        tf.Graph().as_default(),
        pytest.raises(RuntimeError, match="while TensorFlow builds a graph"),
    ):
        LSTMImageClassifier(epochs=1).fit(np.ones((4, 3, 3)), [0, 1, 0, 1])


def tf32_allowed():
    """Return the settings that allow TensorFloat-32 on the backend."""
    backend = keras.backend.backend()
    if backend == "tensorflow":
        import tensorflow as tf

        return [tf.config.experimental.tensor_float_32_execution_enabled()]
    if backend == "torch":
        import torch

        cudnn = torch.backends.cudnn
        if not hasattr(cudnn, "rnn"):
            return [torch.backends.cuda.matmul.allow_tf32, cudnn.allow_tf32]
        places = (torch.backends.cuda.matmul, cudnn.conv, cudnn.rnn)
        return [place.fp32_precision for place in places]
    import jax

    return [jax.config.jax_default_matmul_precision]


@pytest.mark.backend
def test_full_float32_ends_with_its_block():
    before = tf32_allowed()
    with full_float32():
        inside = tf32_allowed()
    assert set(inside) <= {False, "ieee", "highest"}
    assert tf32_allowed() == before != inside
