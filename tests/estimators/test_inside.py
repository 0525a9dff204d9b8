"""Across modules: sequencer, augmentation and attention maps inside the classifier."""

import copy
import gc
import pickle

from sklstm._keras import keras

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline

from sklstm import (
    LSTMImageClassifier,
    PatchSequencer,
    RowSequencer,
    VolumeSequencer,
)
from sklstm.estimators import clear_pool
from sklstm.networks import (
    AttentionPooling,
    SelfAttention,
    Standardize,
    cnn,
    lstm,
    lstm_transformer,
)
from sklstm.networks.initialize import initialize
from sklstm.training import _pool
from sklstm.training._attention_map import has_attention, step_weights
from sklstm.training._compiled import batch_within_memory
from sklstm.training._spec import NetworkSpec

SMALL = {
    "units": 3,
    "bidirectional": False,
    "epochs": 2,
    "learning_rate": 0.02,
    "random_state": 0,
}
# Rows read inside: most tests here share this graph.
ROWS = {"sequencer": RowSequencer()}


def make(network="lstm", **params):
    return LSTMImageClassifier(network, **SMALL | params)


def averages(input_shape, n_classes):
    """A network as a user writes it."""
    inputs = keras.Input(input_shape)
    x = keras.layers.GlobalAveragePooling1D()(inputs)
    x = keras.layers.BatchNormalization()(x)
    x = keras.layers.Dense(n_classes, activation="softmax")(x)
    return keras.Model(inputs, x)


@pytest.fixture(scope="module")
def data(digits):
    return digits[0][:60], digits[1][:60]


@pytest.fixture(scope="module")
def fitted(data):
    """Rows read inside, no attention; no test may change it."""
    return make(**ROWS).fit(*data)


def assert_same(a, b, X):
    np.testing.assert_array_equal(a.predict_proba(X), b.predict_proba(X))
    assert a.history_ == b.history_


# --- a sequencer inside -------------------------------------------------------------


@pytest.mark.parametrize(
    "dtype", [pytest.param("float64", marks=pytest.mark.slow), "uint8"]
)
def test_a_scan_inside_predicts_as_the_scan_before(data, dtype):
    X, y = data
    X = X.astype(dtype)
    params = {"input_noise": 0.4, "dropout": 0.3, "early_stopping": True}
    params["validation_fraction"] = 0.3
    sequencer = PatchSequencer(4, 2)  # windows overlap
    inside = make(**params, sequencer=sequencer).fit(X, y)
    before = make_pipeline(sequencer, make(**params)).fit(X, y)
    np.testing.assert_array_equal(inside.predict_proba(X), before.predict_proba(X))
    assert inside.history_ == before[-1].history_
    assert inside.image_shape_ == (8, 8)


def test_the_given_sequencer_stays_unfitted(data):
    sequencer = PatchSequencer(4, 4)
    before = dict(vars(sequencer))
    classifier = make(averages, sequencer=sequencer).fit(*data)
    assert vars(sequencer) == before
    assert classifier.sequencer is sequencer
    assert classifier.sequencer_ is not sequencer
    assert classifier.sequencer_.index_map_.shape == (4, 16)
    # Without it, a new fit forgets it.
    assert not hasattr(classifier.set_params(sequencer=None).fit(*data), "sequencer_")


def test_parameters_of_the_sequencer_are_searched(data):
    classifier = make(averages, sequencer=PatchSequencer(4, 4), epochs=1)
    assert classifier.get_params()["sequencer__stride"] == 4
    classifier.set_params(sequencer__stride=2, sequencer__order="snake")
    assert classifier.sequencer.stride == 2
    search = GridSearchCV(classifier, {"sequencer__stride": [1, 4]}, cv=2)
    search.fit(*data)
    assert np.isfinite(search.cv_results_["mean_test_score"]).all()
    assert classifier.sequencer.stride == 2
    best = search.best_estimator_
    assert best.sequencer_.stride == search.best_params_["sequencer__stride"]
    steps = {1: 25, 4: 4}[search.best_params_["sequencer__stride"]]
    assert best.sequencer_.n_steps_ == steps


def test_flat_images_of_a_shape_that_the_sequencer_knows(data):
    images, y = data
    images = images.reshape(-1, 4, 16)
    flat = images.reshape(-1, 64)
    shaped = make(averages, sequencer=RowSequencer()).fit(images, y)
    known = make(averages, sequencer=RowSequencer(image_shape=(4, 16))).fit(flat, y)
    assert known.image_shape_ == (4, 16)
    assert known.sequencer_.n_steps_ == 4
    assert_same(shaped, known, images)
    assert_same(shaped, known, flat)
    # Nobody says what they are: square images.
    square = make(averages, sequencer=RowSequencer()).fit(flat, y)
    assert square.image_shape_ == (8, 8)


def test_volumes_and_videos(data):
    X, y = data
    volumes = np.stack([X, X[:, ::-1], X * 2], axis=1)
    sequencer = VolumeSequencer()
    classifier = make(averages, sequencer=sequencer).fit(volumes, y)
    assert classifier.image_shape_ == (3, 8, 8)
    assert classifier.sequencer_.n_steps_ == 3
    in_color = make(averages, sequencer=sequencer, augmentation={"rotation": 5})
    in_color.fit(np.repeat(volumes[..., None], 2, axis=4), y)
    assert in_color.sequencer_.index_map_.shape == (3, 64)
    known = VolumeSequencer(volume_shape=(3, 8, 8))
    flat = make(averages, sequencer=known).fit(volumes.reshape(60, -1), y)
    assert_same(flat, classifier, volumes)


def test_validation_samples_are_read_as_well(data):
    X, y = data
    classifier = make(averages, sequencer=RowSequencer(), epochs=3)
    classifier.fit(X[:40], y[:40], X_val=X[40:].astype("uint8"), y_val=y[40:])
    assert len(classifier.history_["val_loss"]) == 3
    with pytest.raises(ValueError, match=r"^X_val cannot be used"):
        classifier.fit(X, y, X_val=X[:, :4], y_val=y)


def test_bytes_predict_as_floats_do(data, fitted):
    X = data[0]
    expected = fitted.predict_proba(X)
    np.testing.assert_array_equal(fitted.predict_proba(X.astype("uint8")), expected)
    with pytest.raises(ValueError, match="resize them to that shape"):
        fitted.predict(X[:, :4])


# --- augmentation -------------------------------------------------------------------

AUGMENTATIONS = {
    "str": "light",
    "dict": {"rotation": 10, "noise": 0.2, "fill": "constant"},
    "layer": keras.layers.RandomFlip("vertical", name="own"),
}


@pytest.mark.parametrize("kind", AUGMENTATIONS)
def test_clone_pickle_and_parameters(data, kind):
    X, y = data
    augmentation = AUGMENTATIONS[kind]
    sequencer = PatchSequencer(4, 4)
    classifier = make(averages, sequencer=sequencer, augmentation=augmentation)
    params = classifier.get_params()
    assert params["sequencer"] is sequencer
    assert params["augmentation"] is augmentation
    copies = [
        clone(classifier),
        copy.deepcopy(classifier),
        pickle.loads(pickle.dumps(classifier)),
    ]
    expected = classifier.fit(X, y).predict_proba(X)
    fitted = pickle.loads(pickle.dumps(classifier))
    np.testing.assert_array_equal(fitted.predict_proba(X), expected)
    for one in [*copies, fitted]:
        assert one.sequencer is not sequencer
        assert one.sequencer.get_params() == sequencer.get_params()
        if kind == "layer":
            assert one.augmentation is not augmentation
            assert one.augmentation.get_config() == augmentation.get_config()
        else:
            assert one.augmentation == augmentation
    again = copies[0].fit(X, y).predict_proba(X)
    np.testing.assert_array_equal(again, expected)
    assert "augmentation=" in repr(classifier)


def test_augmentation_is_for_training_alone(data, fitted):
    X, y = data
    classifier = make(**ROWS, augmentation={"rotation": 90}).fit(X, y)
    assert classifier.history_["loss"] != fitted.history_["loss"]
    once = classifier.predict_proba(X)
    np.testing.assert_array_equal(classifier.predict_proba(X), once)
    # The scaling is that of the images as they are.
    weights = {w.name: float(w) for w in scaling(classifier).weights}
    assert weights["mean"] == pytest.approx(X.mean(), rel=1e-6)
    assert weights["scale"] == pytest.approx(X.std(), rel=1e-6)


def scaling(classifier):
    # Not by `model_`: a network that was looked at would not serve the next test.
    return classifier._fitted_network.compiled.model.get_layer("standardize")


@pytest.mark.parametrize(
    ("network", "kind"),
    [("lstm", "layer"), *((averages, kind) for kind in AUGMENTATIONS)],
)
def test_the_seed_decides_also_of_a_network_from_the_pool(data, network, kind):
    X, y = data

    def fit(seed):
        classifier = make(network, **ROWS, augmentation=AUGMENTATIONS[kind])
        return classifier.set_params(random_state=seed).fit(X, y)

    clear_pool()
    try:
        first = fit(0)
        expected, history = first.predict_proba(X), first.history_
        for seed in (1, 0):
            del first
            gc.collect()
            assert len(_pool.POOL) == 1
            first = fit(seed)  # by the network that the fit before has left
            assert len(_pool.POOL) == 0
            same = np.array_equal(first.predict_proba(X), expected)
            assert same == (first.history_ == history) == (seed == 0)
    finally:
        clear_pool()


@pytest.mark.parametrize(
    ("kind", "seed"), [("str", 0), ("dict", 0), ("layer", 0), ("layer", None)]
)
def test_nobodys_random_state_is_moved(data, kind, seed, generators_stay):
    X, y = data
    classifier = make(
        averages, **ROWS, augmentation=AUGMENTATIONS[kind], random_state=seed
    )
    with generators_stay():
        for _ in range(2):  # one that is built and one that is reused
            classifier.fit(X, y).predict(X)


# --- a network of one's own ---------------------------------------------------------


def test_an_own_network_reads_what_the_sequencer_makes(data):
    X, y = data
    shapes = []

    def own(input_shape, n_classes, units):
        shapes.append(input_shape)
        assert units == 3
        return averages(input_shape, n_classes)

    sequencer = PatchSequencer(4, 2)
    classifier = make(own, sequencer=sequencer, augmentation="medium").fit(X, y)
    assert set(shapes) == {(9, 16)}
    probabilities = classifier.predict_proba(X)
    assert probabilities.shape == (60, 10)
    # It is given pixels as they are, its own layers after scan and augmentation.
    inner = [
        layer for layer in classifier.model_.layers if isinstance(layer, keras.Model)
    ]
    assert len(inner) == 1
    sequences = sequencer.fit_transform(X.astype("float32"))
    expected = inner[0].predict_on_batch(sequences)
    np.testing.assert_allclose(probabilities, expected, rtol=1e-5, atol=1e-6)
    plain = make(own, sequencer=sequencer).fit(X, y)
    assert plain.history_["loss"] != classifier.history_["loss"]


def test_an_own_network_is_standardized_by_what_it_reads(data):
    X, y = data

    def own(input_shape, n_classes):
        inputs = keras.Input(input_shape)
        x = keras.layers.GlobalAveragePooling1D()(Standardize()(inputs))
        return keras.Model(inputs, keras.layers.Dense(n_classes, "softmax")(x))

    sequencer = PatchSequencer(4, 2)
    inside = make(own, sequencer=sequencer).fit(X, y)
    before = make_pipeline(sequencer, make(own)).fit(X, y)
    np.testing.assert_allclose(
        inside.predict_proba(X), before.predict_proba(X), rtol=1e-5
    )
    network = inside._fitted_network.compiled.model.layers[-1]
    (layer,) = [one for one in network.layers if isinstance(one, Standardize)]
    assert float(layer.mean) == pytest.approx(sequencer.transform(X).mean(), rel=1e-6)


def test_an_own_network_of_images_is_augmented(data):
    X, y = data

    def own(input_shape, n_classes):
        assert input_shape == (8, 8, 1)
        inputs = keras.Input(input_shape)
        x = keras.layers.Flatten()(inputs)
        return keras.Model(inputs, keras.layers.Dense(n_classes, "softmax")(x))

    own.takes = "images"
    plain = make(own).fit(X, y)
    classifier = make(own, augmentation={"rotation": 30}).fit(X, y)
    assert plain.history_["loss"] != classifier.history_["loss"]
    with pytest.raises(ValueError, match="network='own' takes images as they are"):
        make(own, **ROWS).fit(X, y)


# --- going on -----------------------------------------------------------------------


def test_partial_fit_goes_on_with_the_sequencer(data):
    X, y = data
    classifier = make(averages, **ROWS, augmentation="light", learning_rate=0.1)
    for i in range(1, 5):
        classifier.partial_fit(X, y)
        assert classifier.n_iter_ == i
    assert classifier.history_["loss"][3] < classifier.history_["loss"][0]
    expected = classifier.predict_proba(X)
    for change in ({"sequencer__axis": "columns"}, {"augmentation": None}):
        before = clone(classifier).get_params()
        with pytest.raises(ValueError, match="changed since the last fit"):
            classifier.set_params(**change).partial_fit(X, y)
        assert classifier.n_iter_ == 4
        assert classifier.sequencer_.axis == "rows"
        np.testing.assert_array_equal(classifier.predict_proba(X), expected)
        classifier.set_params(
            sequencer__axis="rows", augmentation=before["augmentation"]
        )
    assert classifier.partial_fit(X, y).n_iter_ == 5


def test_warm_start_goes_on_with_the_sequencer(data):
    X, y = data
    sequencer = PatchSequencer(4, 4)
    classifier = make(averages, sequencer=sequencer, warm_start=True).fit(X, y)
    first = classifier.history_["loss"]
    classifier.fit(X, y)
    assert classifier.history_["loss"][:2] == first
    assert classifier.n_iter_ == 4
    expected = classifier.predict_proba(X)
    for change in (
        {"sequencer__stride": 2},
        {"sequencer": RowSequencer()},
        {"sequencer": None},
    ):
        with pytest.raises(ValueError, match="changed since the last fit"):
            classifier.set_params(**change).fit(X, y)
        classifier.set_params(sequencer=PatchSequencer(4, 4))
        assert classifier.sequencer_.stride == 4
        np.testing.assert_array_equal(classifier.predict_proba(X), expected)
    classifier.set_params(sequencer__stride=2, warm_start=False).fit(X, y)
    assert classifier.sequencer_.n_steps_ == 9


# --- what is refused ----------------------------------------------------------------

REFUSED = {
    "augmentation of rows": (
        {"augmentation": "light"},
        ValueError,
        "without a sequencer network='lstm' takes X for sequences: give sequencer=",
    ),
    "augmentation for an own network": (
        {"network": averages, "augmentation": "light"},
        ValueError,
        "without a sequencer network='averages' takes X for sequences",
    ),
    "augmentation of a wrong name": (
        {"augmentation": {"rotate": 5}, **ROWS},
        ValueError,
        "augmentation has no 'rotate'",
    ),
    "augmentation of a wrong kind": (
        {"network": "cnn", "augmentation": 15},
        TypeError,
        "augmentation=15 must be 'light'",
    ),
    "sequencer for images": (
        {"network": "cnn_lstm", **ROWS},
        ValueError,
        "network='cnn_lstm' takes images as they are: leave sequencer out",
    ),
    "sequencer for volumes": (
        {"network": "conv_lstm", "sequencer": VolumeSequencer()},
        ValueError,
        "network='conv_lstm' takes volumes as they are: leave sequencer out",
    ),
    "sequencer that is none": (
        {"sequencer": "rows"},
        TypeError,
        "sequencer='rows' is no sequencer: give RowSequencer",
    ),
    "sequencer's class": (
        {"sequencer": RowSequencer},
        TypeError,
        "is no sequencer: give RowSequencer()",
    ),
    "sequencer that does not fit": (
        {"sequencer": PatchSequencer(16, 8)},
        ValueError,
        "patch_size=16 is larger than the images, which are",
    ),
    "sequencer for volumes, and images": (
        {"sequencer": VolumeSequencer()},
        ValueError,
        "X must be volumes of",
    ),
    "volumes wanted, images given": (
        {"network": "conv_lstm"},
        ValueError,
        "X must be volumes of",
    ),
    "embedding of a CNN": (
        {"network": "cnn_lstm", "embedding": "dense"},
        ValueError,
        "embedding='dense' has no effect on network='cnn_lstm'",
    ),
    "attention of a CNN": (
        {"network": "cnn", "attention": "self"},
        ValueError,
        "attention='self' has no effect on network='cnn'",
    ),
    "embedding of volumes": (
        {"network": "conv_lstm", "embedding": "pixel", "volumes": True},
        ValueError,
        "embedding='pixel' has no effect on network='conv_lstm'",
    ),
    "batch_norm of a CNN": (
        {"network": "cnn_lstm", "batch_norm": True},
        ValueError,
        "batch_norm=True has no effect on network='cnn_lstm'",
    ),
    "units of volumes": (
        {"network": "conv_lstm", "units": 3, "volumes": True},
        ValueError,
        "units=3 has no effect on network='conv_lstm'",
    ),
    "an attention that is none": (
        {"attention": "global"},
        ValueError,
        "The 'attention' parameter of LSTMImageClassifier must be",
    ),
    "a policy that is none": (
        {"dtype_policy": "float17"},
        ValueError,
        "float17",
    ),
}


@pytest.mark.parametrize("why", REFUSED)
def test_what_is_refused(data, why):
    params, error, message = REFUSED[why]
    params = {"epochs": 2} | params
    X, y = data
    if params.pop("volumes", False):
        X = np.stack([X, X], axis=1)
    classifier = LSTMImageClassifier(**params)
    before, policy = dict(vars(classifier)), keras.config.dtype_policy()
    with pytest.raises(error, match=message):
        classifier.fit(X, y)
    assert vars(classifier) == before
    assert keras.config.dtype_policy() is policy
    with pytest.raises(NotFittedError):
        classifier.predict(X)


@pytest.mark.parametrize(
    ("params", "message"),
    [
        (
            {"sequencer__stride": 2},
            "'sequencer__stride' .*sequencer=None has no parameters",
        ),
        (
            {"augmentation": {"noise": 0.1}, "augmentation__noise": 0.2},
            "'augmentation__noise' .* has no parameters of its own; set aug",
        ),
    ],
)
def test_nested_in_nothing_is_refused(params, message):
    with pytest.raises(ValueError, match=message):
        make().set_params(**params)


@pytest.mark.parametrize(
    ("params", "error", "message"),
    [
        (
            {"attention": "multiscale", "network__windows": 4},
            ValueError,
            r"windows=4 must be a tuple of numbers of steps, such as \(4, 16\)",
        ),
        (
            {"attention": "multihead", "network__n_heads": 5},
            ValueError,
            "n_heads=5 does not divide the 8 features .* set network__n_heads",
        ),
        (
            {"network__foo": 3},
            TypeError,
            r"'lstm': it takes network__embedding_units, network__n_heads, "
            r"network__windows; units, .* are set without network__\.$",
        ),
        (
            {"network": lambda shape, n_classes: None},
            TypeError,
            "must have parameters named input_shape and n_classes; it has shape, n_",
        ),
        (
            {"dtype_policy": "float_16"},
            ValueError,
            "'dtype_policy' .* a str among .*'mixed_float16'",
        ),
        (
            {"network__augmentation": "light"},
            ValueError,
            "network__augmentation is given: set augmentation instead",
        ),
        (
            {"network__input_shape": (8, 8)},
            ValueError,
            "network__input_shape is given: it follows from X and y",
        ),
    ],
)
def test_network_parameters_that_cannot_be(data, params, error, message):
    with pytest.raises(error, match=message):
        make(**{"units": 8, **ROWS, **params}).fit(*data)


def test_attention_map_is_refused(data, fitted):
    X, y = data
    with pytest.raises(ValueError, match="does not weigh its steps: of the named"):
        fitted.attention_map(X)
    with pytest.raises(ValueError, match="per='x' must be 'step' or 'pixel'"):
        fitted.attention_map(X, per="x")
    with pytest.raises(NotFittedError):
        make(attention="self").attention_map(X)
    rows = make(pooling="attention").fit(X, y)
    assert rows.attention_map(X).shape == (60, 8)
    with pytest.raises(ValueError, match="per='pixel' needs a sequencer inside"):
        rows.attention_map(X, per="pixel")
    with pytest.raises(ValueError, match="fitted on images of"):
        rows.attention_map(X[:, :4])


@pytest.mark.parametrize("sequencer", [None, PatchSequencer(4, 4)])
def test_attention_map_of_the_transformer(data, sequencer):
    X, y = data
    model = make("lstm_transformer", sequencer=sequencer, units=4).fit(X, y)
    weights = model.attention_map(X[:2])
    np.testing.assert_allclose(weights.sum(axis=1), 1, rtol=1e-5)
    assert weights.shape == (2, 8 if sequencer is None else 4)
    if sequencer is not None:
        of_pixels = model.attention_map(X[:2], per="pixel")
        expected = np.kron(weights.reshape(2, 2, 2), np.ones((4, 4)))
        np.testing.assert_allclose(of_pixels, expected, rtol=1e-6)


def test_own_network_keeps_its_defaults(data):
    given = {}

    def build(input_shape, n_classes, patch_size=4, scan="spiral", pooling="mine"):
        given.update(patch_size=patch_size, scan=scan, pooling=pooling)
        return cnn(input_shape, n_classes)

    build.takes = "images"
    make(build, epochs=1).fit(*data)
    assert given == {"patch_size": 4, "scan": "spiral", "pooling": "mine"}
    make(build, epochs=1, patch_size=2, scan="lines", pooling="max").fit(*data)
    assert given == {"patch_size": 2, "scan": "lines", "pooling": "max"}


# --- where it looks -----------------------------------------------------------------

N_STEPS = 9


@pytest.fixture(scope="module")
def sequences():
    return np.random.default_rng(0).normal(size=(5, N_STEPS, 4)).astype("float32")


def network_of(attention, pooling, bidirectional=True):
    model = lstm(
        (N_STEPS, 4), 3, units=4, attention=attention, pooling=pooling, n_heads=2,
        windows=(2, 4), bidirectional=bidirectional,
    )  # fmt: skip
    initialize(model, np.random.SeedSequence(0))
    for weight in model.trainable_weights:  # as after training: less alike
        weight.assign(weight * 3)
    return model


def layer_steps(model, name, x):
    layer = model.get_layer(name)
    read = keras.tree.flatten(layer.input)[0]
    return layer, keras.Model(model.inputs[0], read)(x, training=False)


def to_numpy(x):
    return keras.ops.convert_to_numpy(x)


@pytest.mark.parametrize("bidirectional", [True, False])
@pytest.mark.parametrize("pooling", ["last", "mean", "max", "attention"])
@pytest.mark.parametrize(
    "attention", [None, "self", "multihead", "multiscale", "additive"]
)
def test_weights_are_pooling_times_attention(
    sequences, attention, pooling, bidirectional
):
    model = network_of(attention, pooling, bidirectional)
    if attention is None and pooling != "attention":
        assert not has_attention(model, spec_of())
        return
    last = pooling == "last"
    spec = spec_of(pooling=pooling, bidirectional=bidirectional)
    assert has_attention(model, spec)
    weights = step_weights(model, sequences, 2, spec)
    assert weights.shape == (5, N_STEPS)
    assert weights.dtype == np.float32
    assert weights.min() >= 0
    np.testing.assert_allclose(weights.sum(axis=1), 1, rtol=1e-5)
    np.testing.assert_allclose(
        step_weights(model, sequences, 100, spec), weights, atol=1e-6
    )
    # Every sample has its own; but the last window is the last step alone.
    if (attention, last, bidirectional) != ("multiscale", True, False):
        assert np.abs(weights[0] - weights[1]).max() > 1e-4

    reading = np.zeros((5, N_STEPS))
    if pooling == "attention" or attention == "additive":
        layer, steps = layer_steps(model, "pooling", sequences)
        reading[:] = to_numpy(layer.step_weights(steps))[..., 0]
    elif last:
        reading[:, [-1, 0] if bidirectional else -1] = 0.5 if bidirectional else 1
    else:
        reading[:] = 1 / N_STEPS
    looks = np.eye(N_STEPS)[None].repeat(5, axis=0)
    if attention in ("self", "multihead", "multiscale"):
        layer, steps = layer_steps(model, "attention", sequences)
        for i in range(N_STEPS):  # who is looked at by step i alone
            one = np.eye(N_STEPS, dtype="float32")[[i] * 5]
            looks[:, i] = to_numpy(layer.step_weights(steps, one))
    expected = np.einsum("nq,nqk->nk", reading, looks)
    np.testing.assert_allclose(weights, expected, atol=1e-5)


@pytest.mark.parametrize(
    "params",
    [
        {"attention": "self", "sequencer": PatchSequencer(4, 2)},
        {"attention": "additive", "sequencer": PatchSequencer(4, 2, order="snake")},
    ],
    ids=["self", "additive"],
)
def test_attention_map(data, params):
    X, y = data
    classifier = make(**params, augmentation="light").fit(X, y)
    sequencer = classifier.sequencer_
    weights = classifier.attention_map(X)
    assert weights.shape == (60, sequencer.n_steps_)
    assert weights.dtype == np.float32
    np.testing.assert_allclose(weights.sum(axis=1), 1, rtol=1e-5)
    assert weights.min() >= 0
    np.testing.assert_array_equal(classifier.attention_map(X), weights)
    painted = classifier.attention_map(X, per="pixel")
    assert painted.shape == (60, 8, 8)
    np.testing.assert_array_equal(painted, sequencer.steps_to_image(weights))
    # The flat and the bytes are the same images.
    for same in (X.reshape(60, 64), X.astype("uint8")):
        np.testing.assert_array_equal(classifier.attention_map(same), weights)
    # It has not changed what it looked at.
    again = pickle.loads(pickle.dumps(classifier))
    np.testing.assert_array_equal(again.attention_map(X), weights)


def test_attention_map_of_volumes(data):
    X, y = data
    volumes = np.stack([X, X[:, ::-1], X * 2], axis=1)
    classifier = make(sequencer=VolumeSequencer(), attention="additive", epochs=1)
    classifier.fit(volumes, y)
    assert classifier.attention_map(volumes[:4]).shape == (4, 3)
    assert classifier.attention_map(volumes[:4], per="pixel").shape == (4, 3, 8, 8)


def test_the_mean_over_windows_of_a_transformer_can_be_mapped(sequences):
    model = lstm_transformer(
        (N_STEPS, 4), 3, units=2, attention="multiscale", pooling="attention"
    )
    spec = spec_of("lstm_transformer", pooling="attention")
    weights = step_weights(model, sequences, 5, spec)
    np.testing.assert_allclose(weights.sum(axis=1), 1, rtol=1e-5)


def spec_of(network="lstm", **params):
    return NetworkSpec(network, (N_STEPS, 4), 3, "float32", network_params=params)


def own_attention(input_shape, n_classes):
    inputs = keras.Input(input_shape)
    x = keras.layers.MultiHeadAttention(1, 2)(inputs, inputs)  # not followed
    x = AttentionPooling(name="mine")(inputs + x)
    outputs = keras.layers.Dense(n_classes, activation="softmax")(x)
    return keras.Model(inputs, outputs)


def own_heads(input_shape, n_classes):
    inputs = keras.Input(input_shape)
    x = keras.layers.MultiHeadAttention(1, 2, name="my_attention")(inputs, inputs)
    x = keras.layers.GlobalAveragePooling1D()(x)
    outputs = keras.layers.Dense(n_classes, activation="softmax")(x)
    return keras.Model(inputs, outputs)


@pytest.mark.parametrize("inside", [True, False])
def test_attention_of_a_users_own_network(data, inside):
    X, y = data
    sequencer = RowSequencer() if inside else None
    classifier = make(own_attention, sequencer=sequencer).fit(X, y)
    weights = classifier.attention_map(X)
    network = classifier.model_.layers[-1] if inside else classifier.model_
    layer, steps = layer_steps(network, "mine", X.astype("float32"))
    expected = to_numpy(layer.step_weights(steps))[..., 0]
    np.testing.assert_allclose(weights, expected, atol=1e-5)
    with pytest.raises(ValueError, match="does not weigh its steps"):
        make(own_heads, sequencer=sequencer).fit(X, y).attention_map(X)


def test_attention_is_predicted_within_memory():
    inputs = keras.Input((None, 4))
    x = SelfAttention(2)(inputs)
    model = keras.Model(inputs, x)
    assert batch_within_memory(model, 9) == 512
    # Scores of 2 heads, 2,000 x 2,000 steps: four samples make 128 MiB.
    assert batch_within_memory(model, 2000) == 2**25 // (2 * 2000**2)
    heads = keras.layers.MultiHeadAttention(2, 2)
    model = keras.Model(inputs, heads(inputs, inputs))
    assert batch_within_memory(model, 2000) == 2**25 // (2 * 2000**2)


def test_a_pickle_keeps_the_policy_it_was_trained_under(data):
    X, y = data
    before = keras.config.dtype_policy()
    try:
        keras.config.set_dtype_policy("mixed_bfloat16")
        fitted = make(**ROWS).fit(X, y)
        expected = fitted.predict_proba(X)
        pickled = pickle.dumps(fitted)
    finally:
        keras.config.set_dtype_policy(before)
    np.testing.assert_array_equal(pickle.loads(pickled).predict_proba(X), expected)
    map_of = make(**ROWS, dtype_policy="mixed_float16", pooling="attention")
    weights = map_of.fit(X * 1000 + 70_000, y).attention_map(X * 1000 + 70_000)
    assert np.isfinite(weights).all()


def test_attention_map_is_that_of_the_fit(data):
    X, y = data
    settings = {"attention": "self", **ROWS}
    fitted = make(**settings, pooling="mean").fit(X, y)
    routed = make(**settings, network__pooling="mean").fit(X, y)
    weights = fitted.attention_map(X)
    np.testing.assert_array_equal(routed.attention_map(X), weights)
    fitted.set_params(pooling="last", bidirectional=True)
    np.testing.assert_array_equal(fitted.attention_map(X), weights)


@pytest.mark.parametrize("attention", [None, "self", "multiscale", "additive"])
def test_blocks_of_a_transformer_are_followed_back(sequences, attention):
    model = lstm_transformer(
        (N_STEPS, 4), 3, units=2, attention=attention, n_blocks=2, windows=(2, 4)
    )
    weights = step_weights(model, sequences, 2, spec_of("lstm_transformer"))
    expected = np.zeros((5, N_STEPS))
    expected[:, [0, -1]] = 0.5
    if attention == "additive":
        layer, steps = layer_steps(model, "pooling", sequences)
        expected = to_numpy(layer.step_weights(steps))[..., 0]
    for i in (1, 0):
        layer, steps = layer_steps(model, f"block_{i}_attention", sequences)
        if attention == "multiscale":
            expected = to_numpy(layer.step_weights(steps, expected.astype("float32")))
        else:
            _, looks = layer(steps, steps, return_attention_scores=True)
            expected = np.einsum("nq,nqk->nk", expected, to_numpy(looks).mean(axis=1))
    np.testing.assert_allclose(weights, expected, atol=1e-5)
    np.testing.assert_allclose(weights.sum(axis=1), 1, rtol=1e-5)


# --- grey levels --------------------------------------------------------------------


def test_levels_cover_what_training_saw(data):
    X, y = data[0] * 15, data[1]
    classifier = make(**ROWS, embedding="pixel", epochs=1).fit(X.astype("uint8"), y)
    layer = classifier._fitted_network.compiled.model.get_layer("embedding")
    assert float(layer.low) == pytest.approx(-X.mean() / X.std(), rel=1e-5)
    assert float(layer.high) == pytest.approx((240 - X.mean()) / X.std(), rel=1e-5)
    # What lies beyond belongs to the nearest level.
    beyond = classifier.predict_proba(np.stack([X[0] * 0, X[0] * 0 - 99]))
    np.testing.assert_array_equal(beyond[0], beyond[1])
