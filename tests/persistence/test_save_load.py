"""What is saved comes back to the bit, through all modules of the package."""

import copy
import importlib
import io
import math
import pickle
import warnings
import zipfile
from pathlib import Path

from sklstm._keras import keras

import numpy as np
import pytest
from sklearn.base import BaseEstimator, TransformerMixin, clone
from sklearn.compose import ColumnTransformer
from sklearn.decomposition import PCA
from sklearn.ensemble import VotingClassifier
from sklearn.feature_selection import SelectKBest, f_classif
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import (
    FunctionTransformer,
    LabelEncoder,
    OneHotEncoder,
    OrdinalEncoder,
    PowerTransformer,
    QuantileTransformer,
    StandardScaler,
)

import sklstm
from sklstm import (
    FundusPreprocessor,
    ImageReader,
    LSTMDefectDetector,
    LSTMImageClassifier,
    OptunaSearchCV,
    PatchSequencer,
    RowSequencer,
    VolumeSequencer,
)
from sklstm.networks import NETWORKS

FIXTURES = Path(__file__).parents[1] / "fixtures" / "release_0_1"
# One direction: half of what a trace takes.
TINY = {"units": 2, "bidirectional": False, "epochs": 1, "random_state": 0}


def saved(estimator):
    file = io.BytesIO()
    sklstm.save(estimator, file)
    return file.getvalue()


def loaded(data, **kwargs):
    return sklstm.load(io.BytesIO(data), **kwargs)


def round_trip(estimator, **kwargs):
    return loaded(saved(estimator), **kwargs)


@pytest.fixture(scope="module")
def data(digits):
    images, y = digits
    return images[:40].astype("uint8"), np.array(["none", "one", "two"])[y[:40] % 3]


@pytest.fixture(scope="module")
def fitted(data):
    """A classifier that nothing may train on."""
    return LSTMImageClassifier(**TINY, sequencer=PatchSequencer(4, 4)).fit(*data)


def net(input_shape, n_classes, units=2):
    inputs = keras.Input(input_shape)
    x = keras.layers.LSTM(units, return_sequences=True)(inputs)
    x = keras.ops.relu(keras.layers.Dropout(0.2)(x)[:, -1]) * 2.0
    return keras.Model(inputs, keras.layers.Dense(n_classes, activation="softmax")(x))


def stacked(input_shape, n_classes):
    return keras.Sequential(
        [
            keras.Input(input_shape),
            keras.layers.Bidirectional(keras.layers.GRU(2)),
            keras.layers.Dense(3, activation="gelu"),
            keras.layers.Dense(n_classes, activation="softmax"),
        ]
    )


class Halve(keras.layers.Layer):
    def call(self, inputs):
        return inputs / 2


def with_own_layer(input_shape, n_classes):
    inputs = keras.Input(input_shape)
    x = Halve()(keras.layers.LSTM(2)(inputs))
    return keras.Model(inputs, keras.layers.Dense(n_classes, activation="softmax")(x))


class Doubler(TransformerMixin, BaseEstimator):
    def fit(self, X, y=None):
        self.seen_ = len(X)
        return self

    def transform(self, X):
        return 2 * X


def double(X):
    return 2 * X


# What comes back


def assert_same(one, other):
    """Equal in type and to the bit, nested values too."""
    assert type(one) is type(other)
    if isinstance(one, np.ndarray):
        assert one.dtype == other.dtype
        assert one.shape == other.shape
        assert one.flags.f_contiguous == other.flags.f_contiguous
        if one.dtype == object:
            assert_same(one.tolist(), other.tolist())
        else:
            assert one.tobytes() == other.tobytes()
    elif isinstance(one, dict):
        assert_same(list(one), list(other))
        assert_same(list(one.values()), list(other.values()))
    elif isinstance(one, list | tuple):
        assert len(one) == len(other)
        for a, b in zip(one, other, strict=True):
            assert_same(a, b)
    elif isinstance(one, np.generic):
        assert_same(np.asarray(one), np.asarray(other))
    elif isinstance(one, float) and math.isnan(one):
        assert math.isnan(other)
    elif isinstance(one, np.random.RandomState):
        assert_same(one.get_state(), other.get_state())
    elif isinstance(one, BaseEstimator):
        assert_same(one.get_params(deep=False), other.get_params(deep=False))
    elif hasattr(one, "get_config") and not isinstance(one, type):
        assert one.get_config() == other.get_config()
    else:
        assert repr(one) == repr(other)
        assert one == other


VALUES = {
    "numbers": [0, -1, 10**30, 0.1, -0.0, 5e-324, math.nan, math.inf, -math.inf],
    "words": ["", "é\ud800\0", None, True, False],
    "nested": ((1, [2, (3,)]), [], (), {}, {"tuple": [1], "a": {"array": 0}}),
    "keys": {0.0: 1.0, None: 2, (1, "a"): [3], True: 4, np.int64(7): 5, math.nan: 6},
    "scalars": [
        np.float32(0.1),
        np.float64(0.1),
        np.int8(-3),
        np.uint64(2**64 - 1),
        np.bool_(True),
        np.str_("a"),
        np.str_(""),
        np.bytes_(b"a\xff"),
        np.complex64(1 + 2j),
        np.datetime64("2026-01-02T03"),
        np.float16("nan"),
    ],
    "arrays": [
        np.arange(6.0).reshape(2, 3),
        np.asfortranarray(np.arange(6).reshape(2, 3)),
        np.array(3.5),
        np.zeros((0, 3), "float32"),
        np.array([1, 2], ">i4"),
        np.array(["b", "aé"]),
        np.array([b"x", b"yz"]),
        np.array([True, False]),
        np.array([math.nan, -0.0], "float16"),
        np.array(["2026-01-02"], "M8[D]"),
    ],
    "objects": np.array([["a", 1, None], [2.5, np.int8(1), (1, 2)]], object),
    "an array of pairs": np.fromiter([(1, "a"), (2, "b")], object),
    "an array of arrays": np.fromiter([np.ones(2), np.ones(2)], object),
    "types": [np.dtype("<f4"), np.dtype(">i2"), np.float64, np.uint8],
    "slices": [slice(1, None, 2), slice(None)],
    "random": np.random.RandomState(3),
}


@pytest.mark.parametrize("value", VALUES.values(), ids=VALUES)
def test_values_keep_type_and_bits(value):
    holder = FunctionTransformer(kw_args={"value": value})
    assert_same(round_trip(holder).kw_args["value"], value)


def test_a_part_of_an_array_keeps_its_order():
    # Else a product with it would be another in its last bits.
    columns = np.asfortranarray(np.arange(12.0).reshape(4, 3))[:2]
    again = round_trip(FunctionTransformer(kw_args={"a": columns})).kw_args["a"]
    np.testing.assert_array_equal(again, columns)
    assert again.flags.f_contiguous


def test_a_random_state_goes_on_where_it_was():
    state = np.random.RandomState(3)
    state.standard_normal()  # of a pair: the other is kept for the next call
    again = round_trip(FunctionTransformer(kw_args={"a": state})).kw_args["a"]
    assert_same(again.standard_normal(5), state.standard_normal(5))


def test_arrays_come_back_writable_and_shared_ones_are_held_once():
    array = np.arange(10_000.0)
    data = saved(FunctionTransformer(kw_args={"a": array, "b": array}))
    assert len(data) < 1.2 * array.nbytes
    values = loaded(data).kw_args
    values["a"][0] = 5.0
    assert values["b"][0] == 5.0


TRANSFORMERS = {
    "rows": (RowSequencer(sequence_length=3), (4, 8, 8)),
    "patches": (PatchSequencer(3, 2, order="hilbert"), (4, 8, 8, 3)),
    "volumes": (VolumeSequencer(), (4, 5, 6, 7)),
    "scaler": (StandardScaler(), (9, 4)),
    "ordinal": (OrdinalEncoder(), (9, 4)),
    "quantiles": (QuantileTransformer(n_quantiles=5), (9, 4)),
    "power": (PowerTransformer(), (9, 4)),
    "labels": (LabelEncoder(), (9,)),
    "columns": (
        ColumnTransformer([("a", StandardScaler(), [0, 2]), ("b", "drop", [1])]),
        (9, 4),
    ),
    "pipeline": (make_pipeline(StandardScaler(), PCA(2, random_state=0)), (9, 4)),
}


@pytest.mark.parametrize(
    ("transformer", "shape"), TRANSFORMERS.values(), ids=TRANSFORMERS
)
def test_transformers(transformer, shape):
    X = np.random.default_rng(0).integers(0, 255, shape, "uint8")
    if len(shape) == 2:
        X = X.astype(float)
    transformer = clone(transformer)
    unfitted = round_trip(transformer)
    assert_same(unfitted.get_params(), transformer.get_params())
    expected = transformer.fit(X).transform(X)
    again = round_trip(transformer)
    assert_same(again.transform(X), expected)
    assert set(vars(again)) == set(vars(transformer))


def test_functions_that_every_file_may_name():
    X, y = np.random.default_rng(0).random((9, 4)), np.arange(9) % 2
    pipeline = make_pipeline(FunctionTransformer(np.log1p), SelectKBest(k=2)).fit(X, y)
    assert_same(round_trip(pipeline).transform(X), pipeline.transform(X))


def test_functions_that_nobody_could_give_again():
    def scale(by):
        def scaled(X):
            return X * by

        return FunctionTransformer(scaled)

    with pytest.raises(TypeError, match=r"FunctionTransformer.func is a lambda, which"):
        saved(FunctionTransformer(lambda X: X / 16))
    with pytest.raises(TypeError, match=r"one of two functions called '.*scaled'"):
        saved(make_pipeline(scale(2), scale(3)))
    saved(make_pipeline(FunctionTransformer(double), FunctionTransformer(double)))


def test_compiled_code_that_trusts_what_was_fitted_is_asked_for():
    encoder = OneHotEncoder(sparse_output=False).fit([["a"], ["b"]])
    data = saved(encoder)
    name = "sklearn.preprocessing.OneHotEncoder"
    with pytest.raises(ValueError, match=f"needs the class '{name}'"):
        loaded(data)
    again = loaded(data, trusted={name: OneHotEncoder})
    assert_same(again.transform([["b"]]), encoder.transform([["b"]]))


@pytest.mark.parametrize(
    "transformer",
    [
        ImageReader(size=(4, 4), color="rgb"),
        FundusPreprocessor("stack", tile_grid_size=(4, 4), clip_limit=np.float64(3)),
    ],
)
def test_transformers_that_learn_nothing(transformer):
    again = round_trip(transformer)
    assert type(again) is type(transformer)
    assert_same(again.get_params(), transformer.get_params())


def test_table_columns_and_set_output_come_back(data):
    pandas = pytest.importorskip("pandas")
    table = pandas.DataFrame(data[0].reshape(40, -1)).add_prefix("pixel")
    scaler = StandardScaler().set_output(transform="pandas").fit(table)
    pandas.testing.assert_frame_equal(
        round_trip(scaler).transform(table), scaler.transform(table)
    )
    classifier = LSTMImageClassifier(**TINY).fit(table, data[1])
    again = round_trip(classifier)
    assert_same(again.feature_names_in_, classifier.feature_names_in_)
    assert_same(again.classes_, classifier.classes_)


def samples_for(takes, images):
    return np.stack([images, images[:, ::-1]], 1) if takes == "volumes" else images


# Attributes of a fit, the parameters aside.
FITTED = ("classes_", "history_", "n_iter_", "best_epoch_", "image_shape_")


def results_of_training_on(classifier, X, y):
    """Probabilities before, after one epoch more and after another fit."""
    results = [classifier.predict_proba(X)]
    for train in ("partial_fit", "fit"):
        getattr(classifier.set_params(warm_start=True), train)(X, y)
        results += [classifier.predict_proba(X), classifier.history_]
    return results


# What keeps the test short; a network that is not here is tested as it is.
SMALLER = {
    "lstm": {"units": 2, "bidirectional": False},
    "lstm_transformer": {"units": 4, "bidirectional": False},
    "cnn_lstm": {"units": 2, "bidirectional": False, "network__filters": 2},
    "cnn": {"network__filters": 2},
    "bilstm2d": {"units": 2, "scan": "positions"},
    "renet": {"units": 2},
    "sequencer": {"network__widths": (8,), "network__depths": (1,)},
    "vil": {"units": 4, "network__n_heads": 2, "network__n_blocks": 2},
    "conv_lstm": {"network__filters": 2},
    "bilstm3d": {"units": 2, "bidirectional": False},
    "cnn3d": {"units": 2, "network__filters": 2},
}


def test_a_detector_comes_back_to_the_bit(plates):
    X, Y = (part[:12] for part in plates)
    detector = LSTMDefectDetector(
        (16, 24), units=4, network__filters=4, epochs=2, random_state=0
    ).fit(X, Y)
    again = round_trip(detector)
    assert_same(again.get_params(), detector.get_params())
    assert again.threshold_ == detector.threshold_
    assert_same(again.predict_proba(X), detector.predict_proba(X))
    assert_same(again.predict(X), detector.predict(X))
    assert_same(again.decision_function(X), detector.decision_function(X))


# JAX compiles each of the others for ten seconds and more. tests/test_same_outputs.py
# compares their outputs on all backends.
ON_EVERY_BACKEND = {"lstm", "cnn_lstm"}


@pytest.mark.parametrize(
    "network",
    [
        pytest.param(
            name,
            marks=pytest.mark.backend if name in ON_EVERY_BACKEND else pytest.mark.slow,
        )
        for name in NETWORKS
    ],
)
def test_every_network_comes_back_and_trains_on(network, data):
    images, y = data
    X = samples_for(NETWORKS[network].takes, images)
    classifier = LSTMImageClassifier(
        network,
        **SMALLER.get(network, {}),
        epochs=1,
        random_state=np.random.RandomState(0),
        l2=1e-4,
        class_weight={"one": 2.0},
        optimizer__beta_1=0.8,
    ).fit(X, y)
    written = saved(classifier)
    again = loaded(written)
    for one in (again, clone(again)):
        assert_same(one.get_params(), classifier.get_params())
    for name in FITTED:
        assert_same(getattr(again, name), getattr(classifier, name))
    assert set(vars(again)) == set(vars(classifier))

    # Optimizer, seeds of dropout and order of the samples are where they were. One
    # after the other: they take over the same traced network.
    expected = results_of_training_on(classifier, X, y)
    del classifier
    assert_same(results_of_training_on(again, X, y), expected)
    del again
    file_of_a_file = saved(loaded(written))
    assert_same(results_of_training_on(loaded(file_of_a_file), X, y), expected)


LAYERS = {
    "ordinal": {"ordinal": True},
    "pixel": {"embedding": "pixel"},
    "dense": {"embedding": "dense", "pooling": "mean"},
    "additive": {"attention": "additive"},
    "self": {"attention": "self"},
    "multihead": {"attention": "multihead", "network__n_heads": 2},
    "multiscale": {"attention": "multiscale", "batch_norm": True},
}


@pytest.mark.parametrize("params", LAYERS.values(), ids=LAYERS)
def test_every_kind_of_layer_comes_back(params, data):
    images, y = data
    grades = np.unique(y, return_inverse=True)[1]  # ordinal takes no strings
    classifier = LSTMImageClassifier(**TINY, **params).fit(images, grades)
    again = round_trip(classifier)
    assert_same(again.predict_proba(images), classifier.predict_proba(images))


@pytest.mark.backend
def test_a_file_comes_back_on_every_backend(data, tmp_path):
    images, y = data
    pipeline = make_pipeline(RowSequencer(), LSTMImageClassifier(**TINY)).fit(images, y)
    sklstm.save(pipeline, tmp_path / "rows.sklstm")
    again = sklstm.load(tmp_path / "rows.sklstm")
    assert_same(again.predict_proba(images), pipeline.predict_proba(images))
    again[-1].partial_fit(again[0].transform(images), y)
    assert again[-1].n_iter_ == 2


KERAS_PARAMS = {
    "instances": {
        "optimizer": keras.optimizers.SGD(0.05, momentum=0.9),
        "loss": keras.losses.CategoricalFocalCrossentropy(gamma=1.5),
        "metrics": [keras.metrics.TopKCategoricalAccuracy(2)],
    },
    "classes": {
        "optimizer": keras.optimizers.RMSprop,
        "optimizer__rho": 0.8,
        "lr_schedule": keras.optimizers.schedules.ExponentialDecay(0.01, 10, 0.5),
        "callbacks": [keras.callbacks.TerminateOnNaN],
    },
    "layers": {
        "augmentation": keras.Sequential(
            [
                keras.layers.RandomFlip("horizontal"),
                keras.layers.RandomBrightness((-0.1, 0.2)),
            ]
        ),
        "sequencer": RowSequencer(),
    },
    "mixed_float16": {"dtype_policy": "mixed_float16"},
}


@pytest.mark.parametrize("params", KERAS_PARAMS.values(), ids=KERAS_PARAMS)
def test_keras_objects_as_parameters(params, data):
    images, y = data
    classifier = LSTMImageClassifier(**TINY, **params).fit(images, y)
    again = round_trip(classifier)
    for name in params:
        assert_same(getattr(again, name), getattr(classifier, name))
    expected = results_of_training_on(classifier, images, y)
    del classifier
    assert_same(results_of_training_on(again, images, y), expected)


def test_pure_half_precision(data):
    # NumPy's own file format does not know bfloat16.
    images, y = data
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy("bfloat16")
    try:
        classifier = LSTMImageClassifier("cnn", epochs=1, network__filters=2)
        expected = classifier.fit(images, y).predict_proba(images)
    finally:
        keras.config.set_dtype_policy(before)
    assert_same(round_trip(classifier).predict_proba(images), expected)


def test_several_networks_in_one_file(data):
    images, y = data
    vote = VotingClassifier(
        [
            (str(seed), LSTMImageClassifier(**{**TINY, "random_state": seed}))
            for seed in range(2)
        ],
        voting="soft",
    ).fit(images.reshape(40, -1), y)
    written = saved(vote)
    assert (
        sum(
            ".keras" in name for name in zipfile.ZipFile(io.BytesIO(written)).namelist()
        )
        == 2
    )
    again = loaded(written)
    assert again.named_estimators_["0"] is again.estimators_[0]
    assert_same(
        again.predict_proba(images.reshape(40, -1)),
        vote.predict_proba(images.reshape(40, -1)),
    )


def test_metadata_requests_come_back():
    import sklearn

    with sklearn.config_context(enable_metadata_routing=True):
        classifier = LSTMImageClassifier().set_fit_request(X_val=True, y_val="labels")
        requests = round_trip(classifier).get_metadata_routing()
        assert repr(requests) == repr(classifier.get_metadata_routing())


def test_scikit_learn_callbacks_stay_behind():
    callback = pytest.importorskip("sklearn.callback")
    classifier = LSTMImageClassifier().set_callbacks(callback.ProgressBar())
    assert set(vars(round_trip(classifier))) == set(vars(LSTMImageClassifier()))


@pytest.mark.parametrize("search", ["grid", "optuna"])
def test_of_a_search_the_best_estimator_is_saved(search, data):
    images, y = data
    pipeline = make_pipeline(RowSequencer(), LSTMImageClassifier(**TINY))
    space = {"lstmimageclassifier__learning_rate": [1e-3, 1e-2]}
    if search == "grid":
        search = GridSearchCV(pipeline, space, cv=2)
    else:
        search = OptunaSearchCV(pipeline, space, n_trials=1, cv=2, random_state=0)
    search.fit(images, y)
    again = round_trip(search.best_estimator_)
    assert_same(again.get_params(), search.best_estimator_.get_params())
    assert_same(again.predict_proba(images), search.predict_proba(images))
    kind = type(search).__name__
    with pytest.raises(TypeError, match=f"{kind} is a search, .*: save its best_est"):
        saved(search)


# A network of the user's own


@pytest.mark.parametrize(("function", "inside"), [(net, True), (stacked, False)])
def test_without_its_function_a_network_predicts(function, inside, data):
    images, y = data
    params = {"augmentation": {"noise": 0.1}, "sequencer": RowSequencer()}
    classifier = LSTMImageClassifier(
        function, epochs=1, random_state=0, **(params if inside else {})
    ).fit(images, y)
    expected = classifier.predict_proba(images)
    again = round_trip(classifier)
    assert_same(again.predict_proba(images), expected)
    name = f"{function.__module__}.{function.__name__}"
    for one in (again, clone(again)):
        with pytest.raises(
            ValueError, match=f"network='{name}' was loaded without its"
        ):
            one.fit(images, y)
    with pytest.raises(ValueError, match="was loaded without its function"):
        again.partial_fit(images, y)
    assert_same(again.predict_proba(images), expected)

    # Its file, its pickle and its copy bring all of it as well.
    brought = pickle.loads(pickle.dumps(again))
    del again
    assert_same(brought.predict_proba(images), expected)
    written = saved(copy.deepcopy(brought))
    expected = results_of_training_on(classifier, images, y)
    del classifier
    trained = loaded(written, trusted={name: function})
    assert_same(results_of_training_on(trained, images, y), expected)


def test_a_model_that_was_pickled_before_changes_no_names(data):
    importlib.import_module("scikeras.wrappers")
    model = net((None, 8), 3)
    pickle.dumps(model)  # scikeras registers its class then, which is Keras' own
    assert keras.saving.get_registered_name(type(model)) == ">Functional"
    test_without_its_function_a_network_predicts(net, True, data)


def test_images_of_an_own_network(data):
    images, y = data

    def pixels(input_shape, n_classes):
        inputs = keras.Input(input_shape)
        x = keras.layers.Flatten()(inputs)
        return keras.Model(
            inputs, keras.layers.Dense(n_classes, activation="softmax")(x)
        )

    pixels.takes = "images"
    classifier = LSTMImageClassifier(pixels, epochs=1).fit(images, y)
    expected = classifier.predict_proba(images)
    assert_same(round_trip(classifier).predict_proba(images), expected)


def test_a_network_with_layers_of_its_own_needs_its_function(data):
    images, y = data
    classifier = LSTMImageClassifier(with_own_layer, epochs=1).fit(images, y)
    written = saved(classifier)
    name = f"{net.__module__}.with_own_layer"
    with pytest.raises(ValueError, match=f"needs the function '{name}'.*trusted="):
        loaded(written)
    again = loaded(written, trusted={name: with_own_layer})
    assert_same(again.predict_proba(images), classifier.predict_proba(images))


def test_own_classes_and_functions_are_trusted_by_name(data):
    X, y = data[0].reshape(40, -1)[:, 18:22], data[1]
    here = net.__module__
    pipeline = make_pipeline(
        FunctionTransformer(double),
        Doubler(),
        FunctionTransformer(np.log1p),
        SelectKBest(f_classif, k=2),
    ).fit(X, y)
    trusted = {
        f"{here}.double": double,
        f"{here}.Doubler": Doubler,
    }
    written = saved(pipeline)
    again = loaded(written, trusted=trusted)
    assert_same(again.transform(X), pipeline.transform(X))
    for name in trusted:
        rest = {key: value for key, value in trusted.items() if key != name}
        with pytest.raises(ValueError, match=f"'{name}', which is not on the list"):
            loaded(written, trusted=rest)
    with pytest.raises(TypeError, match=r"trusted=.* must be a dict of names"):
        loaded(written, trusted=[double])


def test_own_keras_objects_are_trusted_by_name(data):
    images, y = data
    classifier = LSTMImageClassifier(
        **TINY, sequencer=RowSequencer(), augmentation=Halve()
    ).fit(images, y)
    name = f"{net.__module__}.Halve"
    written = saved(classifier)
    with pytest.raises(ValueError, match=f"needs the Keras object '{name}'"):
        loaded(written)
    again = loaded(written, trusted={name: Halve})
    assert_same(again.predict_proba(images), classifier.predict_proba(images))


# Keras alone, and no Keras


def test_keras_alone_opens_the_network(fitted, data, tmp_path):
    with zipfile.ZipFile(io.BytesIO(saved(fitted))) as archive:
        path = archive.extract("networks/0.keras", tmp_path)
    model = keras.models.load_model(path)
    assert not model.compiled
    X = data[0][..., None].astype("float32")
    np.testing.assert_allclose(
        keras.ops.convert_to_numpy(model(X)), fitted.predict_proba(data[0]), atol=1e-6
    )


def test_a_file_without_network_loads_no_keras(tmp_path):
    import subprocess
    import sys

    path = tmp_path / "rows.sklstm"
    sklstm.save(make_pipeline(StandardScaler(), RowSequencer()), path)
    code = (
        "import sys, sklstm\n"
        f"sklstm.save(sklstm.load({str(path)!r}), {str(path)!r})\n"
        "print([m for m in ('keras', 'tensorflow', 'optuna') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout == "[]\n", done.stderr


# Files of earlier releases


@pytest.mark.parametrize(
    "name",
    [
        "attention",
        "cnn",
        pytest.param("cnn_lstm", marks=pytest.mark.backend),
        "conv_lstm",
        pytest.param("detector", marks=pytest.mark.backend),
        pytest.param("lstm", marks=pytest.mark.backend),
        "lstm_transformer",
        "pipeline",
    ],
)
def test_files_of_release_0_1_load_for_ever(name):
    with np.load(FIXTURES / f"{name}.npz") as arrays:
        X, expected = arrays["X"], arrays["expected"]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # of the versions
        estimator = sklstm.load(FIXTURES / f"{name}.sklstm")
    np.testing.assert_allclose(estimator.predict_proba(X), expected, atol=1e-6)
    if name == "lstm":
        assert_same(estimator.classes_, np.array(["none", "one", "two"]))
        assert estimator.get_params()["class_weight"] == {"one": 2.0}
        estimator.partial_fit(X, ["none", "one", "two", "one", "none"])
        assert estimator.n_iter_ == 3
    if name.startswith("cnn"):  # has parameters that the file does not name
        n_before = estimator.n_iter_
        estimator.partial_fit(X, estimator.predict(X))
        assert estimator.n_iter_ == n_before + 1


# Where to and where from


def test_saves_and_loads_where_warnings_are_errors(fitted, data):
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # of Keras' modules, too
        again = round_trip(fitted)
    np.testing.assert_array_equal(
        again.predict_proba(data[0]), fitted.predict_proba(data[0])
    )


def test_weights_of_layers_that_are_parameters():
    adapted = keras.layers.Normalization()
    adapted.adapt(np.arange(40.0).reshape(10, 4))
    layers = keras.Sequential([keras.Input((4,)), adapted])
    found = round_trip(FunctionTransformer(inv_kw_args={"layers": layers})).inv_kw_args
    X = np.ones((2, 4))
    np.testing.assert_array_equal(found["layers"].predict(X), layers.predict(X))
    with pytest.raises(TypeError, match="A file keeps the weights of a keras"):
        round_trip(FunctionTransformer(inv_kw_args={"layer": adapted}))


def adapted_network(input_shape, n_classes):
    normalization = keras.layers.Normalization()
    normalization.adapt(np.linspace(-3, 50, 64, dtype="float32").reshape(8, 8))
    inputs = keras.Input(input_shape)
    x = keras.layers.LSTM(2)(normalization(inputs))
    outputs = keras.layers.Dense(n_classes, activation="softmax")(x)
    return keras.Model(inputs, outputs)


def test_an_adapted_layer_needs_its_function(data):
    model = LSTMImageClassifier(adapted_network, epochs=1, random_state=0).fit(*data)
    file = saved(model)
    name = f"{adapted_network.__module__}.adapted_network"
    found = loaded(file, trusted={name: adapted_network})
    np.testing.assert_array_equal(
        found.predict_proba(data[0]), model.predict_proba(data[0])
    )
    with pytest.raises(ValueError, match="has a Normalization layer without mean="):
        loaded(file)
