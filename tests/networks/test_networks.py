"""All networks: outputs, saving and loading, precision, and accuracy.

The accuracies were measured with Keras 3.15 on TensorFlow 2.21. The floors are .05
lower.
"""

import gc

from sklstm._keras import keras

import numpy as np
import pytest

from sklstm import LSTMImageClassifier, PatchSequencer, VolumeSequencer
from sklstm.networks import (
    NETWORKS,
    AttentionPooling,
    DropPath,
    FusedBatchNormalization,
    HarmonicConv2D,
    MultiScaleAttention,
    PositionEncoding,
    RandomNoise,
    Scan,
    SelfAttention,
    get_network,
    lstm,
    read_input,
)
from sklstm.networks.initialize import initialize

SHAPES = {
    "sequences": [(None, 5), (7, 5)],
    "images": [(8, 8, 1), (9, 12, 3)],
    "volumes": [(3, 8, 8, 1), (2, 5, 6, 3)],
}
TINY = {
    "lstm": {"units": 3},
    "lstm_transformer": {"units": 2, "n_heads": 2},
    "bilstm2d": {"units": 3},
    "renet": {"units": 3},
    "cnn_lstm": {"units": 3},
    "cnn": {},
    "sequencer": {"widths": (8,), "depths": (1,), "patch_size": 2},
    "vil": {"units": 4, "n_heads": 2, "n_blocks": 2},
    "conv_lstm": {"filters": 2},
    "bilstm3d": {"units": 2, "filters": 2, "bidirectional": False},
    "cnn3d": {"units": 2, "filters": 2},
}
STEMS = {
    "harmonic": {"stem_kernels": "harmonic"},
    "residual": {"stem_blocks": "residual", "stem_size": 5},
    "deep": {
        "stem_kernels": "harmonic",
        "stem_blocks": "residual",
        "stem_depth": 3,
        "stem_dropout": 0.2,
        "drop_path": 0.1,
    },
    "fine": {"stem_depth": 1, "stem_size": 20},
}
ALL = [
    (name, shape)
    for name, network in NETWORKS.items()
    for shape in SHAPES[network.takes]
]


def to_numpy(x):
    return keras.ops.convert_to_numpy(x)


def samples(shape, n=3, n_steps=6):
    rng = np.random.default_rng(0)
    shape = tuple(n_steps if length is None else length for length in shape)
    return rng.uniform(0, 255, (n, *shape)).astype("float32")


def output(model, x):
    return to_numpy(model(x, training=False))


def same_after_loading(model, x, path, mean=127.0):
    """Save and load a model, compare both, and return the loaded one."""
    initialize(model, np.random.SeedSequence(0))
    model.get_layer("standardize").set(mean, 70.0)
    expected = output(model, x)
    assert len(np.unique(expected, axis=0)) == len(x)  # the output depends on the input
    model.save(path / "network.keras")
    loaded = keras.models.load_model(path / "network.keras")
    np.testing.assert_array_equal(output(loaded, x), expected)
    assert [type(layer) for layer in loaded.layers] == [
        type(layer) for layer in model.layers
    ]
    losses = float(sum(model.losses)), float(sum(loaded.losses))
    assert losses[0] == pytest.approx(losses[1])
    return loaded


# --- what they give -----------------------------------------------------------------


def test_every_network_is_tested_here():
    assert set(TINY) == set(NETWORKS)


@pytest.mark.parametrize(("name", "shape"), ALL)
def test_gives_probabilities_and_loads_the_same(name, shape, tmp_path):
    model = NETWORKS[name].build(shape, 4, **TINY[name])
    assert model.name == name
    assert not model.compiled
    assert model.input_shape == (None, *shape)
    assert model.output_shape == (None, 4)
    x = samples(shape)
    same_after_loading(model, x, tmp_path)
    out = output(model, x)
    assert out.dtype == np.float32
    np.testing.assert_allclose(out.sum(axis=1), 1, rtol=1e-6)


@pytest.mark.parametrize("name", NETWORKS)
def test_loads_the_same_with_all_layers_for_training(name, tmp_path):
    network = NETWORKS[name]
    shape = SHAPES[network.takes][0]
    more = {"dropout": 0.3, "input_noise": 0.4, "l2": 0.02}
    if network.takes != "sequences":
        more["augmentation"] = "medium"
    model = network.build(shape, 4, **TINY[name], **more)
    loaded = same_after_loading(model, samples(shape), tmp_path)
    assert float(loaded.get_layer("l2").l2) == pytest.approx(0.02)
    assert float(loaded.get_layer("input_noise").stddev) == pytest.approx(0.4)
    assert float(sum(loaded.losses)) > 0
    # The layers for training have an effect in training.
    x = samples(shape)
    first, second = (to_numpy(loaded(x, training=True)) for _ in range(2))
    assert np.abs(first - second).max() > 1e-4


@pytest.mark.parametrize("policy", ["mixed_float16", "mixed_bfloat16"])
@pytest.mark.parametrize("name", NETWORKS)
def test_loads_the_same_in_half_precision(half, name, policy, tmp_path):
    half(policy)
    network = NETWORKS[name]
    shape = SHAPES[network.takes][0]
    model = network.build(shape, 4, **TINY[name])
    half("float32")  # the policy of the process that loads
    # Half precision would change this mean by ten.
    same_after_loading(model, samples(shape) + 3373, tmp_path, mean=3500.0)


@pytest.mark.parametrize(
    ("units", "shape"),
    [
        (8, (20, 33, 3)),
        pytest.param(16, (8, 8, 1), marks=pytest.mark.slow),
        pytest.param(64, (28, 28, 1), marks=pytest.mark.slow),
    ],
)
def test_the_control_has_as_many_weights(shape, units):
    for params in (
        {},
        {"n_layers": 2},
        {"bidirectional": False},
        {"filters": 16, "squeezed_filters": 24},
        {"scan": "positions", "n_layers": 2},
        {"scan": "positions", "bidirectional": False, "pooling": "attention"},
        *STEMS.values(),
    ):
        hybrid = NETWORKS["cnn_lstm"].build(shape, 10, units=units, **params)
        control = NETWORKS["cnn"].build(shape, 10, units=units, **params)
        assert control.count_params() == pytest.approx(hybrid.count_params(), rel=0.05)


@pytest.mark.parametrize("name", ["cnn_lstm", "cnn"])
@pytest.mark.parametrize("stem", STEMS)
def test_every_stem_loads_the_same(stem, name, tmp_path):
    params = {"filters": 4, "l2": 0.1, **TINY[name], **STEMS[stem]}
    model = NETWORKS[name].build((9, 12, 3), 4, **params)
    same_after_loading(model, samples((9, 12, 3)), tmp_path)


@pytest.mark.parametrize("name", ["cnn_lstm", "cnn"])
def test_a_harmonic_stem_first_reads_normalized_frequencies(name):
    model = NETWORKS[name].build((20, 20, 3), 4, filters=4, stem_kernels="harmonic")
    waves = model.get_layer("stem_0_0_waves")
    norm = model.get_layer("stem_0_0_waves_norm")
    assert norm.input is waves.output
    assert norm.output.shape == (None, 20, 20, 27)
    assert [v.name for v in norm.weights] == ["moving_mean", "moving_variance"]
    first = model.get_layer("stem_0_0")
    assert first.input is norm.output
    assert first.kernel.shape == (1, 1, 27, 4)
    for name in ("stem_0_1", "stem_1_0", "stem_2_1"):
        assert isinstance(model.get_layer(name), HarmonicConv2D)


def kinds(model, kind):
    return [layer for layer in model.layers if type(layer) is kind]


@pytest.mark.parametrize(("size", "depth", "sizes", "n_each"), [
    (8, None, (28, 14, 7), 2),
    (7, 1, (28, 14, 7), 1),
    (6, 3, (28, 14, 7, 3), 3),
    (28, None, (28,), 4),
])  # fmt: skip
def test_depth_and_size_of_plain_blocks(size, depth, sizes, n_each):
    model = NETWORKS["cnn"].build(
        (28, 28, 1), 3, filters=2, stem_depth=depth, stem_size=size
    )
    stem = [layer for layer in model.layers if layer.name.startswith("stem")]
    convolutions = [layer for layer in stem if type(layer) is keras.layers.Conv2D]
    assert [layer.output.shape[1:] for layer in convolutions] == [
        (side, side, 2 * min(2**i, 4))
        for i, side in enumerate(sizes)
        for _ in range(n_each)
    ]


@pytest.mark.parametrize(("size", "depth", "sizes", "n_each"), [
    (8, None, (28, 14, 7), 1),
    (5, 2, (28, 14, 7, 4), 2),
    (28, None, (28,), 2),
])  # fmt: skip
def test_depth_and_size_of_residual_blocks(size, depth, sizes, n_each):
    model = NETWORKS["cnn"].build(
        (28, 28, 1), 3, filters=2, stem_blocks="residual", stem_depth=depth,
        stem_size=size, drop_path=0.3,
    )  # fmt: skip
    blocks = kinds(model, keras.layers.Add)
    assert [layer.output.shape[1:] for layer in blocks] == [
        (side, side, 2 * min(2**i, 4))
        for i, side in enumerate(sizes)
        for _ in range(n_each)
    ]
    assert not kinds(model, keras.layers.MaxPooling2D)
    shares = [layer.share for layer in kinds(model, DropPath)]
    n_blocks = len(sizes) * n_each
    np.testing.assert_allclose(shares, np.arange(1, n_blocks + 1) / n_blocks)


def test_a_residual_block_by_its_definition():
    model = NETWORKS["cnn"].build((10, 12, 3), 3, filters=4, stem_blocks="residual")
    initialize(model, np.random.SeedSequence(0))
    rng = np.random.default_rng(0)
    for layer in kinds(model, FusedBatchNormalization):
        layer.set_weights([rng.uniform(0.5, 2, w.shape) for w in layer.get_weights()])

    def rectified(x, name):
        return np.maximum(output(model.get_layer(f"{name}_norm"), x), 0)

    def layer(name, x):
        return output(model.get_layer(name), x)

    x = layer("stem", rng.normal(size=(2, 10, 12, 3)).astype("float32"))
    found = output(
        keras.Model(
            model.get_layer("stem").output, model.get_layer("stem_relu").output
        ),
        x,
    )
    for name in ("stem_0_0", "stem_1_0"):
        y = rectified(x, f"{name}_in")
        shortcut = x if name == "stem_0_0" else layer(f"{name}_shortcut", y)
        y = rectified(layer(f"{name}_first", y), f"{name}_middle")
        x = shortcut + layer(f"{name}_second", y)
    assert x.shape == (2, 5, 6, 8)
    np.testing.assert_allclose(found, rectified(x, "stem"), atol=1e-4)
    for name in ("shortcut", "first"):
        assert model.get_layer(f"stem_1_0_{name}").strides == (2, 2)


@pytest.mark.parametrize("name", ["cnn_lstm", "cnn"])
@pytest.mark.parametrize(("params", "message"), [
    ({"stem_kernels": "wave"}, "stem_kernels='wave' is neither 'plain' nor 'harmonic'"),
    ({"stem_blocks": "wide"}, "stem_blocks='wide' is neither 'plain' nor 'residual'"),
    ({"stem_depth": 0}, "stem_depth=0 must be at least 1, or None"),
    ({"stem_size": 0}, "stem_size=0 must be at least 1"),
    ({"drop_path": 0.1}, "drop_path=0.1 has no effect on stem_blocks='plain'"),
    ({"stem_dropout": 0.1}, "stem_dropout=0.1 has no effect on stem_blocks='plain'"),
])  # fmt: skip
def test_options_of_the_stem_that_do_not_exist(name, params, message):
    with pytest.raises(ValueError, match=message):
        NETWORKS[name].build((8, 8, 1), 3, **params)


@pytest.mark.parametrize("name", ["cnn_lstm", "cnn"])
def test_pooling_that_image_networks_do_not_have(name):
    with pytest.raises(ValueError, match=r"'attention' needs .* set scan='positions'"):
        NETWORKS[name].build((8, 8, 1), 3, pooling="attention")
    with pytest.raises(ValueError, match="'flatten' is none of 'max', 'mean' and 'l"):
        NETWORKS[name].build((8, 8, 1), 3, pooling="flatten")


@pytest.mark.parametrize("name", NETWORKS)
def test_the_function_gives_the_results_of_its_name(name):
    network = NETWORKS[name]
    small = {
        "sequencer": {"network__widths": (8,), "network__depths": (1,)},
        "vil": {"units": 2, "network__n_blocks": 1},
        "conv_lstm": {"network__filters": 2},
        "bilstm3d": {"units": 2, "bidirectional": False},
    }.get(name, {"units": 2})
    shape = {"sequences": (6, 3), "images": (8, 8), "volumes": (2, 8, 8)}
    X = samples(shape[network.takes], n=12)
    classifier = LSTMImageClassifier(network.build, epochs=1, **small)
    assert classifier.fit(X, np.arange(12) % 3).predict(X).shape == (12,)


def test_takes_something_else():
    def build(input_shape, n_classes):
        raise AssertionError

    build.takes = "image"
    with pytest.raises(ValueError, match="takes='image' must be 'sequences', 'images'"):
        get_network(build)


@pytest.mark.parametrize("n_heads", [0, 3])
@pytest.mark.parametrize("name", ["lstm", "lstm_transformer"])
def test_invalid_numbers_of_heads(name, n_heads):
    if (name, n_heads) == ("lstm_transformer", 3):
        return  # its heads can be narrower
    with pytest.raises(ValueError, match=rf"n_heads={n_heads} (must|does)"):
        NETWORKS[name].build((6, 3), 3, units=4, n_heads=n_heads, attention="multihead")


def test_channels_last_whatever_keras_is_set_to():
    before = keras.config.image_data_format()
    try:
        keras.config.set_image_data_format("channels_first")
        first = NETWORKS["cnn"].build((12, 8, 1), 3)
    finally:
        keras.config.set_image_data_format(before)
    assert first.get_layer("stem_0_0").output.shape == (None, 12, 8, 32)


ATTENTION = {
    "self": ("attention", SelfAttention),
    "multihead": ("attention", SelfAttention),
    "multiscale": ("attention", MultiScaleAttention),
    "additive": ("pooling", AttentionPooling),
}


@pytest.mark.parametrize("attention", ATTENTION)
def test_lstm_with_everything_loads_the_same(attention, tmp_path):
    index_map = PatchSequencer(4, 2).get_index_map((8, 8))
    model = lstm(
        (8, 8, 2), 3, units=2, n_layers=2, embedding="pixel", embedding_units=3,
        attention=attention, pooling="max", input_noise=0.2, dropout=0.2, l2=0.05,
        batch_norm=True, index_map=index_map,
        augmentation={"rotation": 10, "noise": 0.1},
    )  # fmt: skip
    model.get_layer("embedding").set(-1.0, 1.5)
    loaded = same_after_loading(model, samples((8, 8, 2)), tmp_path)
    name, kind = ATTENTION[attention]
    assert type(loaded.get_layer(name)) is kind
    assert isinstance(loaded.get_layer("scan"), Scan)
    embedding = loaded.get_layer("embedding")
    assert (float(embedding.low), float(embedding.high)) == (-1.0, 1.5)
    assert embedding.output.shape == (None, 9, 16 * 2 * 3)


# --- what the parameters of the new parts build -------------------------------------


@pytest.mark.parametrize("pooling", ["last", "mean", "max", "attention"])
@pytest.mark.parametrize("attention", ATTENTION)
def test_attention_comes_before_pooling(attention, pooling):
    model = lstm(
        (7, 5), 3, units=2, attention=attention, pooling=pooling, n_heads=2, dropout=0.0
    )  # fmt: skip
    names = [layer.name for layer in model.layers]
    steps = model.get_layer("bidirectional_0").output
    assert steps.shape == (None, 7, 4)
    if attention == "additive":  # replaces the pooling
        assert "attention" not in names
        assert type(model.get_layer("pooling")) is AttentionPooling
        return
    layer = model.get_layer("attention")
    assert layer.input is steps
    assert layer.output.shape == (None, 7, 4)
    if attention == "multiscale":
        assert layer.windows == [4, 16, 64]
    else:
        assert layer.n_heads == (2 if attention == "multihead" else 1)
    assert model.get_layer("probabilities").input.shape == (None, 4)


@pytest.mark.parametrize("bidirectional", [True, False])
def test_last_steps_after_attention(bidirectional):
    model = lstm((7, 5), 3, units=2, attention="self", bidirectional=bidirectional)
    looked = keras.Model(model.inputs[0], model.get_layer("attention").output)
    x = samples((7, 5))
    steps = output(looked, x)
    # The backward direction reads the first step last.
    last = steps[:, -1]
    if bidirectional:
        last = np.concatenate([steps[:, -1, :2], steps[:, 0, 2:]], axis=1)
    kernel, bias = model.get_layer("probabilities").get_weights()
    exp = np.exp(last @ kernel + bias)
    expected = exp / exp.sum(axis=1, keepdims=True)
    np.testing.assert_allclose(output(model, x), expected, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize(("n_blocks", "width"), [(1, 4), (3, 4)])
def test_blocks_of_the_transformer(n_blocks, width):
    model = NETWORKS["lstm_transformer"].build(
        (7, 5), 3, units=2, n_blocks=n_blocks, n_heads=2, dropout=0.1
    )
    kinds = [type(layer) for layer in model.layers]
    assert kinds.count(keras.layers.MultiHeadAttention) == n_blocks
    assert kinds.count(keras.layers.LayerNormalization) == 2 * n_blocks + 1
    assert kinds.count(PositionEncoding) == 1
    for i in range(n_blocks):
        assert model.get_layer(f"block_{i}_mlp_in").units == 2 * width
        assert model.get_layer(f"block_{i}_mlp_out").output.shape == (None, 7, width)


def test_blocks_of_the_transformer_by_their_definition():
    model = NETWORKS["lstm_transformer"].build(
        (7, 5), 3, units=2, n_heads=2, pooling="mean"
    )
    initialize(model, np.random.SeedSequence(1))

    def layer(name, *x):
        return output(model.get_layer(name), *x)

    x = output(
        keras.Model(model.inputs[0], model.get_layer("positions").output),
        samples((7, 5)),
    )
    y = layer("block_0_norm_0", x)
    attention = model.get_layer("block_0_attention")
    x = x + to_numpy(attention(y, y, training=False))
    y = layer("block_0_norm_1", x)
    x = x + layer("block_0_mlp_out", layer("block_0_mlp_in", y))
    expected = layer("probabilities", layer("norm", x).mean(axis=1))
    np.testing.assert_allclose(output(model, samples((7, 5))), expected, rtol=1e-4)


def test_conv_lstm_reads_the_slices_in_both_directions():
    model = NETWORKS["conv_lstm"].build((4, 8, 9, 2), 3, filters=2, n_layers=2, l2=0.1)
    assert model.get_layer("stem").output.shape == (None, 4, 4, 5, 2)
    assert model.get_layer("bidirectional_0").output.shape == (None, 4, 4, 5, 4)
    assert model.get_layer("bidirectional_1").output.shape == (None, 4, 5, 4)
    assert model.get_layer("pooling").output.shape == (None, 8)
    kernels = [w for w in model.trainable_weights if w.name.endswith("kernel")]
    assert len(kernels) == 1 + 2 * 2 * 2 + 1
    expected = 0.1 * sum(np.sum(np.square(k.numpy())) for k in kernels)
    assert float(sum(model.losses)) == pytest.approx(expected, rel=1e-5)
    model.get_layer("l2").l2.assign(0.0)
    assert float(sum(model.losses)) == 0
    one_way = NETWORKS["conv_lstm"].build(
        (4, 8, 9, 2), 3, filters=2, bidirectional=False
    )
    assert one_way.get_layer("conv_lstm_0").output.shape == (None, 4, 5, 2)


# --- half precision -----------------------------------------------------------------


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(
            name,
            marks=[pytest.mark.slow] * (name not in ("lstm", "cnn_lstm", "conv_lstm")),
        )
        for name in NETWORKS
    ],
)
def test_half_precision_inside_and_float32_at_the_ends(name):
    before = keras.config.dtype_policy()
    shape = {"sequences": (8, 8), "images": (8, 8), "volumes": (2, 8, 8)}
    X = samples(shape[NETWORKS[name].takes], n=12)
    small = {
        "lstm": {"units": 2, "attention": "multiscale", "l2": 1e-3},
        "lstm_transformer": {"units": 2},
        "bilstm2d": {"units": 2, "scan": "positions", "pooling": "last"},
        "renet": {"units": 2, "pooling": "attention"},
        "cnn_lstm": {"units": 2},
        "cnn": {},
        "sequencer": {"network__widths": (8,), "network__depths": (1,)},
        "vil": {"units": 4, "network__n_blocks": 2},
        "conv_lstm": {"network__filters": 2},
        "bilstm3d": {"units": 2, "bidirectional": False},
        "cnn3d": {"units": 2},
    }
    classifier = LSTMImageClassifier(
        name, dtype_policy="mixed_bfloat16", epochs=1, random_state=0, **small[name]
    ).fit(X, np.arange(12) % 3)
    assert keras.config.dtype_policy() is before
    probabilities = classifier.predict_proba(X)
    assert probabilities.dtype == np.float32
    np.testing.assert_allclose(probabilities.sum(axis=1), 1, rtol=1e-6)
    hidden = [
        layer
        for layer in classifier.model_.layers
        if not isinstance(layer, keras.layers.InputLayer)
        and layer.name != "probabilities"
    ]
    assert len(hidden) >= 3
    for layer in hidden:
        assert layer.compute_dtype == "bfloat16", layer.name
        assert layer.variable_dtype == "float32", layer.name
        assert layer.output.dtype == "bfloat16", layer.name
    assert classifier.model_.get_layer("probabilities").compute_dtype == "float32"
    for weight in classifier.model_.trainable_weights:
        assert weight.dtype == "float32"
    assert keras.layers.Dense(1).compute_dtype == "float32"


@pytest.fixture
def half():
    """Set a dtype policy in a test, and the previous one after it."""
    before = keras.config.dtype_policy()
    yield keras.config.set_dtype_policy
    keras.config.set_dtype_policy(before)


@pytest.mark.parametrize("augmentation", [{"flip": "vertical"}, {"noise": 0.1}])
def test_pixels_are_standardized_before_half_precision(half, augmentation):
    half("mixed_bfloat16")
    inputs, x = read_input((8, 8, 1), augmentation=augmentation)
    model = keras.Model(inputs, x)
    model.get_layer("standardize").set(3500.0, 300.0)
    images = np.random.default_rng(0).uniform(3000, 4000, (5, 8, 8, 1)).astype("f")
    out = to_numpy(keras.ops.cast(model(images, training=False), "float32"))
    # bfloat16 has eight bits, so values below two are rounded to 1/256.
    np.testing.assert_allclose(out, (images - 3500) / 300, atol=1 / 200)


def test_noise_in_half_precision_is_finite(half):
    half("mixed_float16")
    layer = RandomNoise(0.1)
    images = np.random.default_rng(0).uniform(0, 255, (5, 28, 28, 1)).astype("f")
    out = to_numpy(keras.ops.cast(layer(images, training=True), "float32"))
    assert np.isfinite(out).all()


# --- what they learn ----------------------------------------------------------------


def accuracies(classifier, X, y, X_test, y_test):
    """Return the accuracy on the test samples for two seeds, with one graph."""
    found = []
    for seed in range(2):
        classifier.set_params(random_state=seed).fit(X, y)
        found.append(classifier.score(X_test, y_test))
        del classifier.__dict__["_fitted_network"]
        gc.collect()
    print(found)
    return min(found)


@pytest.mark.parametrize(
    ("name", "params", "floor"),
    [
        ("lstm", {"units": 16, "epochs": 12}, 0.75),  # .835, .808
        pytest.param(  # .860, .788
            "lstm_transformer",
            {"units": 8, "epochs": 15, "input_noise": 0.2, "dropout": 0.1},
            0.73,
            marks=pytest.mark.slow,
        ),
        ("bilstm2d", {"units": 8, "epochs": 12}, 0.79),  # .855, .840
        pytest.param(  # .888, .870
            "renet",
            {"units": 16, "epochs": 12, "patch_size": 2},
            0.82,
            marks=pytest.mark.slow,
        ),
        ("cnn_lstm", {"units": 8, "epochs": 4}, 0.81),  # .875, .863
        ("cnn", {"epochs": 4}, 0.85),  # .900, .913
        pytest.param(  # .660, .655
            "sequencer",
            {
                "network__widths": (32,),
                "network__depths": (1,),
                "patch_size": 2,
                "input_noise": 0.1,
                "epochs": 8,
            },
            0.60,
            marks=pytest.mark.slow,
        ),
        pytest.param(  # .808, .813
            "vil",
            {
                "units": 32,
                "patch_size": 2,
                "network__n_blocks": 2,
                "input_noise": 0.1,
                "dropout": 0.1,
                "epochs": 6,
            },
            0.75,
            marks=pytest.mark.slow,
        ),
    ],
)
def test_learns_digits(digits, name, params, floor):
    images, y = digits
    classifier = LSTMImageClassifier(name, batch_size=16, learning_rate=0.01, **params)
    found = accuracies(classifier, images[:300], y[:300], images[900:1300], y[900:1300])
    assert found > floor


DIRECTIONS = [(0, 1), (0, -1), (1, 0), (-1, 0)]


def moving(images, seed):
    """Return videos of digits that move in four directions: six frames of 16 x 16.

    Two pixels from frame to frame; what leaves the frame comes in on the other side,
    so that of every frame each place is equally likely whatever the direction. The four
    begin with the same frame.
    """
    rng = np.random.default_rng(seed)
    videos = []
    for image in images:
        frame = np.zeros((16, 16), "float32")
        frame[:8, :8] = image
        frame = np.roll(frame, rng.integers(0, 16, 2), axis=(0, 1))
        for down, right in DIRECTIONS:
            videos.append(
                [
                    np.roll(frame, (2 * t * down, 2 * t * right), axis=(0, 1))
                    for t in range(6)
                ]
            )
    return np.array(videos), np.tile(np.arange(4), len(images))


@pytest.mark.parametrize(
    ("params", "floor"),
    [
        (  # .996, 1.000
            {
                "network": "conv_lstm",
                "network__filters": 8,
                "bidirectional": False,
                "learning_rate": 0.02,
                "epochs": 3,
            },
            0.94,
        ),
        (  # .988, .979
            {
                "sequencer": VolumeSequencer(),
                "units": 16,
                "learning_rate": 0.01,
                "epochs": 12,
            },
            0.92,
        ),
        pytest.param(  # 1.000, 1.000
            {"network": "bilstm3d", "units": 8, "learning_rate": 0.01, "epochs": 4},
            0.9,
            marks=pytest.mark.slow,
        ),
        pytest.param(  # .996, 1.000
            {"network": "cnn3d", "units": 8, "learning_rate": 0.01, "epochs": 4},
            0.9,
            marks=pytest.mark.slow,
        ),
    ],
    ids=["conv_lstm", "lstm", "bilstm3d", "cnn3d"],
)
def test_learns_which_way_digits_move(digits, params, floor):
    videos, y = moving(digits[0][:80], seed=0)
    assert videos.shape == (320, 6, 16, 16)
    for first in range(0, len(videos), 4):
        assert all(
            np.array_equal(videos[first + i, 0], videos[first, 0]) for i in range(4)
        )
    classifier = LSTMImageClassifier(batch_size=16, **params)
    unseen = moving(digits[0][900:960], seed=1)
    assert accuracies(classifier, videos, y, *unseen) > floor


def test_a_network_of_all_layers_saves_and_loads(tmp_path):
    sequences = np.random.default_rng(0).normal(3.0, 2.0, (5, 4, 3)).astype("float32")
    model = lstm(
        (None, 3), 4, units=3, pooling="attention", input_noise=0.1, dropout=0.3,
        l2=0.01, batch_norm=True, embedding="dense",
    )  # fmt: skip
    model.get_layer("standardize").set(3.0, 2.0)
    model.get_layer("dropout_0").rate.assign(0.4)
    model.get_layer("input_noise").stddev.assign(0.5)
    model.save(tmp_path / "network.keras")
    loaded = keras.models.load_model(tmp_path / "network.keras")
    np.testing.assert_array_equal(
        to_numpy(loaded(sequences)), to_numpy(model(sequences))
    )
    assert float(loaded.get_layer("dropout_0").rate) == pytest.approx(0.4)
    assert float(loaded.get_layer("input_noise").stddev) == pytest.approx(0.5)
    assert float(sum(loaded.losses)) == pytest.approx(float(sum(model.losses)))


def test_a_fitted_model_loads_with_the_plain_optimizer(digits, tmp_path):
    X, y = digits[0][:60], digits[1][:60]
    classifier = LSTMImageClassifier(
        units=4, bidirectional=False, epochs=2, random_state=0
    ).fit(X, y)
    classifier.model_.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")  # without a warning
    # Both predict the same batch, because the rounding depends on the batch.
    x = X.astype("float32")
    np.testing.assert_array_equal(to_numpy(loaded(x)), to_numpy(classifier.model_(x)))
    assert type(loaded.optimizer) is keras.optimizers.Adam
    assert int(loaded.optimizer.iterations) == 2 * 2  # ceil(60 / 32) batches, 2 epochs
    own = classifier.model_.optimizer
    for saved, variable in zip(
        loaded.optimizer.variables, own.variables[: len(loaded.optimizer.variables)],
        strict=True,
    ):  # fmt: skip
        np.testing.assert_array_equal(saved.numpy(), variable.numpy())
    loaded.train_on_batch(X[:8].astype("float32"), y[:8])  # training can continue
