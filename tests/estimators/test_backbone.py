"""A pretrained model in place of the stem: its features, and what trains in it."""

import importlib
import pickle
from dataclasses import replace

from sklstm._keras import keras

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.model_selection import GridSearchCV

import sklstm
from sklstm import FeatureSequencer, LSTMImageClassifier
from sklstm.estimators import clear_pool

SMALL = {"units": 3, "epochs": 2, "batch_size": 10, "random_state": 0}


def pretrained(seed=0, channels=3, name="small", dropout=0.5):
    """A model of three convolutions, with weights and statistics from a seed."""
    layers = keras.layers
    model = keras.Sequential(
        [
            keras.Input((None, None, channels)),
            layers.Conv2D(4, 3, strides=2, activation="relu", name="first"),
            layers.BatchNormalization(name="norm"),
            layers.Dropout(dropout),
            layers.Conv2D(5, 3, strides=2, padding="same", name="second"),
            layers.BatchNormalization(name="norm_2"),
            layers.Conv2D(6, 1, name="third"),
        ],
        name=name,
    )
    rng = np.random.default_rng(seed)
    model.set_weights([rng.uniform(0.01, 0.2, w.shape) for w in model.get_weights()])
    return model


def as_bytes(n=30, shape=(16, 20, 3), seed=0):
    return np.random.default_rng(seed).integers(0, 256, (n, *shape), np.uint8)


X = as_bytes()
y = np.arange(30) % 3


@pytest.fixture(scope="module")
def model():
    return pretrained()


def make(backbone, **params):
    if isinstance(backbone, keras.Model):
        backbone = FeatureSequencer(backbone, preprocessing=None)
    params = {"network": "cnn_lstm", **SMALL, **params}
    return LSTMImageClassifier(backbone=backbone, **params)


def weights_of(network):
    return {
        "/".join(w.path.split("/")[-2:]): np.asarray(keras.ops.convert_to_numpy(w))
        for w in network.weights
    }


def inside(classifier):
    return weights_of(classifier.model_.get_layer("backbone").model)


def changed(classifier, model):
    before, after = weights_of(model), inside(classifier)
    return {name for name in after if not np.array_equal(before[name], after[name])}


def map_of(classifier, images):
    """The feature map that the network reads."""
    network = classifier.model_
    found = keras.Model(network.inputs[0], network.get_layer("squeeze").input)
    images = images.reshape(len(images), *network.input_shape[1:])
    result = found(keras.ops.convert_to_tensor(images.astype("float32")))
    return np.asarray(keras.ops.convert_to_numpy(result))


@pytest.mark.parametrize(
    "network", [pytest.param("cnn_lstm", marks=pytest.mark.backend), "cnn"]
)
@pytest.mark.parametrize(
    ("images", "params"),
    [
        (X, {}),
        (X, {"size": (24, 9), "layer": "second"}),
        pytest.param(as_bytes(shape=(16, 16)), {"size": 20}, marks=pytest.mark.slow),
        (X / 255 * 3 - 1, {"value_range": (-1, 2), "size": 12}),
    ],
    ids=["as they are", "resized", "grey", "floats"],
)
def test_frozen_features_are_those_of_the_transformer(model, network, images, params):
    sequencer = FeatureSequencer(model, preprocessing=None, cache=False, **params)
    classifier = make(sequencer, network=network, backbone_layers=0, epochs=1)
    classifier.fit(images, y)
    assert not changed(classifier, model)
    expected = sequencer.fit_transform(images)
    if network == "cnn_lstm":
        found = map_of(classifier, images).reshape(expected.shape)
        np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-4)


@pytest.mark.parametrize("kind", ["resnet50", "resnet50v2", "densenet121", "vgg16"])
def test_pixels_are_prepared_as_the_model_asks(kind):
    model = pretrained(name=kind)
    classifier = make(FeatureSequencer(model, size=12), backbone_layers=0, epochs=1)
    expected = FeatureSequencer(model, size=12, cache=False).fit_transform(X)
    found = map_of(classifier.fit(X, y), X).reshape(expected.shape)
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-4)


@pytest.mark.backend
@pytest.mark.parametrize(
    ("n_layers", "expected"),
    [
        (1, {"third/kernel", "third/bias"}),
        (2, {"second/kernel", "second/bias", "third/kernel", "third/bias"}),
    ],
)
def test_the_last_layers_train_and_no_statistics(n_layers, expected):
    model = pretrained()
    before = weights_of(model)
    classifier = make(model, backbone_layers=n_layers).fit(X, y)
    # A bias before a normalization by fixed statistics trains as well.
    assert changed(classifier, model) == expected
    after = weights_of(model)
    assert all(np.array_equal(before[name], after[name]) for name in before)


@pytest.mark.backend
@pytest.mark.parametrize("n_layers", [0, 2])
def test_the_dropout_of_the_backbone_is_off(model, n_layers):
    def losses(backbone):
        params = {"dropout": 0.0, "backbone_layers": n_layers}
        return make(backbone, **params).fit(X, y).history_["loss"]

    without = pretrained(dropout=0.0)
    np.testing.assert_allclose(losses(model), losses(without), rtol=1e-6)


def test_all_layers_can_train(model):
    classifier = make(model, backbone_layers=99).fit(X, y)
    kernels = {f"{name}/{w}" for name in ("first", "second", "third") for w in
               ("kernel", "bias")}  # fmt: skip
    assert changed(classifier, model) == kernels


@pytest.mark.backend
def test_the_backbone_waits_and_then_learns_slowly(model):
    seen = []

    class Watch(keras.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            layer = self.model.get_layer("backbone").model.get_layer("third")
            head = self.model.get_layer("probabilities")
            seen.append([np.array(one.get_weights()[0]) for one in (layer, head)])

    params = {"epochs": 4, "backbone_warmup": 0.5, "lr_schedule": "constant"}
    make(model, callbacks=[Watch()], **params).fit(X, y)
    start = model.get_layer("third").get_weights()[0]
    for own, _ in seen[:2]:
        np.testing.assert_array_equal(own, start)
    assert not np.array_equal(seen[2][0], start)
    assert not np.array_equal(seen[0][1], seen[1][1])


@pytest.mark.backend
def test_the_rate_of_the_backbone_is_a_share_of_the_rate(model):
    start = model.get_layer("third").get_weights()[0]

    def step(rate):
        classifier = make(
            model, backbone_rate=rate, backbone_warmup=0.0, epochs=1, batch_size=30,
            optimizer="sgd", lr_schedule="constant", dropout=0.0,
        ).fit(X, y)  # fmt: skip
        return inside(classifier)["third/kernel"] - start

    whole = step(1.0)
    assert np.abs(whole).max() > 1e-5
    np.testing.assert_allclose(step(0.25), whole / 4, rtol=1e-2, atol=1e-7)


def test_weight_decay_waits_as_well(model):
    classifier = make(model, weight_decay=10.0).partial_fit(X, y)
    assert not changed(classifier, model)


@pytest.mark.backend
def test_the_same_seed_gives_the_same_bits_with_and_without_the_pool(model):
    clear_pool()
    first = make(model).fit(X, y).predict_proba(X)
    second = make(model).fit(X, y).predict_proba(X)  # takes the graph of the first
    clear_pool()
    np.testing.assert_array_equal(make(model).fit(X, y).predict_proba(X), first)
    np.testing.assert_array_equal(second, first)


def test_models_of_one_structure_share_a_graph_and_keep_their_weights():
    one = pretrained(0)
    other = keras.models.clone_model(one)
    other.set_weights(pretrained(1).get_weights())
    clear_pool()
    first = make(one, backbone_layers=0).fit(X, y)
    graph = id(first._fitted_network.compiled)
    del first
    second = make(other, backbone_layers=0).fit(X, y)
    assert id(second._fitted_network.compiled) == graph
    assert not changed(second, other)


def test_clones_share_the_model_and_searches_work(model):
    classifier = make(model)
    assert clone(classifier).backbone.backbone is model
    plain = LSTMImageClassifier("cnn_lstm", backbone=model)
    assert clone(plain).backbone is model
    assert clone(plain.set_params(callbacks=[])).backbone is model
    grid = {"backbone_layers": [0, 1], "backbone__size": [10]}
    search = GridSearchCV(make(model, epochs=1), grid, cv=2).fit(X, y)
    assert search.best_estimator_.backbone.backbone is model
    assert np.isfinite(search.cv_results_["mean_test_score"]).all()


@pytest.mark.backend
def test_files_and_pickles_predict_the_same(model, tmp_path):
    importlib.import_module("scikeras.wrappers")
    functional = keras.Model(model.inputs, model.outputs)
    pickle.dumps(
        functional
    )  # scikeras registers its class then under a name of its own
    classifier = make(model, backbone_layers=1).fit(X, y)
    expected = classifier.predict_proba(X)
    sklstm.save(classifier, tmp_path / "file.sklstm")
    for again in (
        sklstm.load(tmp_path / "file.sklstm"),
        pickle.loads(pickle.dumps(classifier)),
    ):
        np.testing.assert_array_equal(again.predict_proba(X), expected)
        # It still knows what it started from.
        assert changed(again, model) == {"third/kernel", "third/bias"}
        refitted = clone(again).fit(X, y)
        np.testing.assert_array_equal(refitted.predict_proba(X), expected)
        with pytest.raises(ValueError, match="X is float64, but the backbone was"):
            again.predict(X / 255)


def test_ensembles_and_attention(model):
    params = {"scan": "positions", "pooling": "attention", "n_estimators": 2}
    classifier = make(model, **params).fit(X, y)
    maps = classifier.attention_map(X[:4], per="pixel")
    assert maps.shape == (4, 16, 20)
    member = classifier.estimators_[1]
    alone = clone(member).fit(X, y)
    np.testing.assert_array_equal(alone.predict_proba(X), member.predict_proba(X))


def test_a_warm_start_goes_on(model):
    classifier = make(model, warm_start=True, backbone_warmup=0.0).fit(X, y)
    before = inside(classifier)["third/kernel"]
    classifier.fit(X, y)
    assert not np.array_equal(inside(classifier)["third/kernel"], before)
    with pytest.raises(ValueError, match="backbone changed since the last fit"):
        classifier.set_params(backbone__layer="second").fit(X, y)


@pytest.mark.slow
@pytest.mark.parametrize(("format", "suffix"), [("onnx", "onnx"), ("litert", "tflite")])
def test_exports(model, format, suffix, tmp_path):
    classifier = make(model).fit(X, y)
    path = tmp_path / f"network.{suffix}"
    sklstm.export(classifier, path, format=format)
    found = sklstm.load_exported(path).predict_proba(X)
    np.testing.assert_allclose(found, classifier.predict_proba(X), atol=1e-5)


def trained_by(backbone, n_layers):
    classifier = make(backbone, backbone_layers=n_layers).fit(X, y)
    layer = classifier.model_.get_layer("backbone")
    return ["/".join(v.path.split("/")[-2:]) for v in layer.trainable_variables]


def test_the_last_layers_of_a_model_in_the_model_train():
    layers = keras.layers
    first, second, third = (layers.Conv2D(3, 1, name=name) for name in "abc")
    inner = keras.Sequential([keras.Input((None, None, 3)), first, second])
    outer = keras.Sequential([keras.Input((None, None, 3)), inner, third])
    assert trained_by(outer, 1) == ["c/kernel", "c/bias"]
    assert trained_by(outer, 2) == ["b/kernel", "b/bias", "c/kernel", "c/bias"]


@keras.saving.register_keras_serializable("tests_of_backbones")
class Shifted(keras.layers.Layer):
    """A convolution, and a weight of the layer itself."""

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.inner = keras.layers.Conv2D(3, 1, name="inner")

    def build(self, shape):
        self.inner.build(shape)
        self.shift = self.add_weight(shape=(3,), name="shift")

    def call(self, x):
        return self.inner(x) + self.shift


def test_weights_of_a_layer_with_parts_stay_too():
    model = keras.Sequential([keras.Input((None, None, 3)), Shifted(name="shifted")])
    assert trained_by(model, 0) == []
    assert trained_by(model, 1) == ["shifted/shift"]
    assert len(trained_by(model, 2)) == 3


def scaled_by(factor):
    """A model with a class whose name stays and whose code does not."""

    @keras.saving.register_keras_serializable("tests_of_backbones")
    class Scaled(keras.layers.Layer):
        if factor == 1:

            def call(self, x):
                return x / 255

        else:

            def call(self, x):
                return 5 - x / 50

    model = keras.Sequential([keras.Input((None, None, 3)), Scaled(name="scaled")])
    return keras.Model(model.inputs, model.outputs, name="model")


def test_a_class_that_changes_its_code_gets_a_graph_of_its_own():
    first, second = (
        make(scaled_by(factor), backbone_layers=0).fit(X, y).predict_proba(X)
        for factor in (1, 2)
    )
    clear_pool()
    alone = make(scaled_by(2), backbone_layers=0).fit(X, y).predict_proba(X)
    np.testing.assert_array_equal(second, alone)
    assert not np.array_equal(first, second)


@keras.saving.register_keras_serializable("tests_of_backbones")
class Forgetful(keras.layers.Layer):
    """A layer whose configuration lacks its factor."""

    def __init__(self, factor=1.0, **kwargs):
        super().__init__(**kwargs)
        self.factor = factor

    def call(self, x):
        return x * self.factor

    def get_config(self):
        return {"name": self.name}


def test_a_configuration_that_is_not_whole_is_refused():
    model = keras.Sequential([keras.Input((None, None, 3)), Forgetful(50.0)])
    with pytest.raises(ValueError, match="computes something else after it is built"):
        make(model).fit(X, y)


def test_backbones_in_half_precision_are_refused():
    model = keras.Sequential(
        [keras.Input((None, None, 3)), keras.layers.Conv2D(3, 1, dtype="mixed_float16")]
    )
    with pytest.raises(ValueError, match="does not compute in float32"):
        make(model).fit(X, y)


@pytest.mark.filterwarnings("ignore:.*:sklearn.exceptions.ConvergenceWarning")
def test_a_network_in_half_precision_keeps_its_backbone_in_float32(model):
    classifier = make(model, dtype_policy="mixed_bfloat16", backbone_layers=1).fit(X, y)
    assert changed(classifier, model) == {"third/kernel", "third/bias"}
    inner = classifier.model_.get_layer("backbone").model
    assert {layer.compute_dtype for layer in inner.layers[1:]} == {"float32"}


def test_early_stopping_does_not_end_before_the_backbone_trains(model):
    classifier = make(
        model, early_stopping=True, patience=1, epochs=20, learning_rate=1e-9
    ).fit(X, y)
    # 27 of 30 images make 3 updates in an epoch; 18 of 60 updates are 6 epochs.
    assert classifier.n_iter_ > 6
    assert changed(make(model, backbone_warmup=0.99).fit(X, y), model)


@pytest.mark.parametrize(
    "params", [{"average_epochs": 2}, {"gradient_accumulation_steps": 2}]
)
def test_other_parts_of_the_training(model, params):
    expected = {"third/kernel", "third/bias"}
    fitted = make(model, backbone_layers=1, **params).fit(X, y)
    assert changed(fitted, model) == expected


def test_partial_fit_begins_with_the_rest_of_the_network(model):
    classifier = make(model).partial_fit(X, y)
    assert not changed(classifier, model)
    classifier = pickle.loads(pickle.dumps(classifier)).partial_fit(X, y)
    assert "third/kernel" in changed(classifier, model)


def test_an_ensemble_that_goes_on_copies_no_model(model):
    ensemble = make(model, n_estimators=2, warm_start=True).fit(X, y).fit(X, y)
    assert all(member.backbone.backbone is model for member in ensemble.estimators_)


def test_a_fit_leaves_the_global_generators(generators_stay):
    model = pretrained(seed=5)
    with generators_stay():
        make(model).fit(X, y)


def test_the_batches_of_a_prediction_know_the_size_of_the_maps():
    layers = keras.layers
    model = keras.Sequential(
        [keras.Input((None, None, 3)), layers.Conv2D(64, 3, padding="same")]
    )
    sequencer = FeatureSequencer(model, preprocessing=None, size=128)
    small = make(sequencer, epochs=1).fit(X, y)
    # 128 MiB hold 2**25 numbers.
    compiled = small._fitted_network.compiled
    assert compiled.predict_batch(X) == 2**25 // (128 * 128 * 64)


def test_a_forged_backbone_in_a_file_is_refused(model, tmp_path):
    classifier = make(model).fit(X, y)
    # A copy, because the network goes back to the pool with its specification.
    fitted = classifier._fitted_network
    inside = dict(fitted.spec.reading_params["backbone"])
    fitted.spec = replace(fitted.spec, reading_params={"backbone": inside})
    lambda_layer = keras.layers.Lambda(abs, name="third")
    forged = keras.Sequential([keras.Input((16, 20, 3)), lambda_layer]).to_json()
    classifier.backbone = None
    for text, message in ((forged, "Lambda"), ("{", "backbone that is no model")):
        inside["model"] = text
        sklstm.save(classifier, tmp_path / "forged.sklstm")
        with pytest.raises(ValueError, match=message):
            sklstm.load(tmp_path / "forged.sklstm")


FLOATS = X / np.float32(255)


@pytest.mark.parametrize(
    ("params", "images", "message"),
    [
        ({"network": "bilstm2d"}, X, "backbone has no effect on network='bilstm2d'"),
        ({"stem_depth": 2}, X, "stem_depth=2 has no effect on a network with a backb"),
        ({"network__filters": 8}, X, "filters=8 has no effect on a network with"),
        ({"backbone__pooling": "mean"}, X, "pooling='mean' has no effect inside"),
        ({"backbone__preprocessing": np.abs}, X, "preprocessing is a function, which"),
        ({"backbone__layer": "fourth"}, X, "layer='fourth' is no layer of the backb"),
        ({"backbone__value_range": (0, 0.5)}, FLOATS, "outside value_range=.0.0, 0.5"),
        ({"optimizer__use_ema": True}, X, "use_ema averages the weights of the back"),
        ({"network__backbone": 1}, X, "network__backbone is given: set backbone inst"),
        ({"input_noise": 0.1}, X, "input_noise=0.1 has no effect on a network with a"),
        ({"backbone_layers": -1}, X, "'backbone_layers' parameter .* must be an int"),
    ],
)
def test_what_has_no_effect_is_refused(model, params, images, message):
    with pytest.raises(ValueError, match=message):
        make(model).set_params(**params).fit(images, y)


def test_a_model_takes_bytes(model):
    plain = LSTMImageClassifier("cnn_lstm", backbone=pretrained(name="vgg16"), **SMALL)
    assert plain.fit(X, y).predict(X).shape == (30,)
    with pytest.raises(ValueError, match="X must be uint8 for a backbone, whose black"):
        plain.fit(X / 255, y)
    with pytest.raises(TypeError, match="backbone must be a Keras model"):
        plain.set_params(backbone="vgg16").fit(X, y)
    with pytest.raises(ValueError, match="has no parameters of its own"):
        plain.set_params(backbone__size=3)
    plain.set_params(backbone=None).fit(X / 255, y)
    assert plain.predict(X / 255).shape == (30,)
