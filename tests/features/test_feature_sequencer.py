"""FeatureSequencer: exact features, one computation for each image, what is refused."""

import gc
import os
import pickle
import subprocess
import sys
import textwrap
import time
import warnings
import weakref
from concurrent.futures import ThreadPoolExecutor

from sklstm._keras import keras

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import FeatureUnion, make_pipeline
from sklearn.utils.estimator_checks import parametrize_with_checks

import sklstm
from sklstm import FeatureSequencer, LSTMImageClassifier
from sklstm.features import (
    _cache,
    _feature_sequencer,
    _features,
    clear_feature_cache,
    set_feature_cache_size,
)

pytestmark = pytest.mark.filterwarnings(
    # The check of array libraries is skipped, because SCIPY_ARRAY_API is not set.
    "ignore::sklearn.exceptions.SkipTestWarning"
)


def small_network(size=(None, None), channels=3, seed=0):
    """A network of two convolutions and a top, with weights from a seed."""
    layers = keras.layers
    x = inputs = keras.Input((*size, channels))
    x = layers.Conv2D(6, 3, strides=2, activation="relu")(x)
    x = layers.BatchNormalization()(x)
    x = layers.Conv2D(5, 3, strides=2, name="map")(x)
    x = layers.GlobalAveragePooling2D(name="pool")(x)
    network = keras.Model(inputs, layers.Dense(2, name="top")(x))
    rng = np.random.default_rng(seed)
    network.set_weights(
        [rng.uniform(0.01, 0.2, w.shape) for w in network.get_weights()]
    )
    return network


@pytest.fixture(scope="module")
def backbone():
    return small_network()


def photographs(n=20, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (n, 22, 27, 3), np.uint8)


def make(backbone, **params):
    return FeatureSequencer(backbone, **{"preprocessing": None, **params})


@pytest.fixture(autouse=True)
def empty_cache():
    clear_feature_cache()
    yield
    clear_feature_cache()


@pytest.fixture
def computed(monkeypatch):
    """The number of images of each batch that the backbone computes."""
    counts = []
    own = _features._compute

    def spy(batch, how, backbone):
        counts.append(len(batch))
        return own(batch, how, backbone)

    monkeypatch.setattr(_features, "_compute", spy)
    return counts


@parametrize_with_checks(
    [
        FeatureSequencer(
            keras.Sequential([keras.Input((None, None, 1)), keras.layers.Conv2D(2, 1)]),
            preprocessing=None,
            value_range=(-1e6, 1e6),
            cache=False,
        )
    ],
    expected_failed_checks=lambda estimator: {
        "check_estimators_overwrite_params": "it compares pickles of the parameters, "
        "and Keras writes the time into that of a model"
    },
)
def test_common_checks(estimator, check):
    check(estimator)


@pytest.mark.backend
def test_features_are_those_of_the_layer(backbone):
    X = photographs()
    part = keras.Model(backbone.inputs[0], backbone.get_layer("map").output)
    expected = keras.ops.convert_to_numpy(part(X.astype("float32"), training=False))
    sequencer = make(backbone).fit(X)
    assert sequencer.grid_ == expected.shape[1:3]
    assert (sequencer.n_steps_, sequencer.n_channels_) == (4 * 6, 5)
    found = sequencer.transform(X)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, expected.reshape(20, 24, 5), rtol=1e-5, atol=1e-3)
    # They are an array of the caller's own.
    found[:] = 0
    np.testing.assert_allclose(
        sequencer.transform(X), expected.reshape(20, 24, 5), rtol=1e-5, atol=1e-3
    )
    for pooling in ("mean", "max"):
        pooled = make(backbone, pooling=pooling).fit(X)
        np.testing.assert_allclose(
            pooled.transform(X),
            getattr(expected, pooling)(axis=(1, 2)),
            rtol=1e-5,
            atol=1e-3,
        )
        assert pooled.get_feature_names_out().tolist() == [
            f"channel{c}" for c in range(5)
        ]
    names = sequencer.get_feature_names_out()
    assert len(set(names)) == len(names) == 120
    earlier = make(backbone, layer=backbone.layers[1].name).fit(X)
    assert earlier.transform(X).shape == (20, 10 * 13, 6)


@pytest.mark.parametrize("order", ["snake", "hilbert"])
def test_orders_are_those_of_patches(backbone, order):
    X = photographs(3)
    raster = make(backbone).fit(X)
    places = np.arange(24).reshape(4, 6)
    path = _feature_sequencer.PATHS[order](places)
    other = make(backbone, order=order).fit(X)
    np.testing.assert_array_equal(other.transform(X), raster.transform(X)[:, path])
    # A value of a step goes to where the step looks.
    values = np.zeros((1, 24))
    values[0, list(path).index(3 * 6 + 1)] = 1
    image = other.steps_to_image(values)[0]
    assert image.shape == (22, 27)
    row, column = np.unravel_index(image.argmax(), image.shape)
    assert row >= 0.75 * 22
    assert 27 / 6 <= column < 2 * 27 / 6


@pytest.mark.backend
def test_the_company_of_an_image_makes_no_difference(backbone):
    X = photographs(23)
    together = make(backbone, batch_size=8, cache=False).fit(X).transform(X)
    for rows in (np.arange(23)[::-1], np.array([7]), np.arange(3, 20), [5, 5, 1]):
        for cache in (False, None):
            alone = make(backbone, batch_size=8, cache=cache).fit(X).transform(X[rows])
            np.testing.assert_array_equal(alone, together[rows])


def test_each_image_is_computed_once_in_a_cross_validation(backbone, computed):
    X, y = photographs(40), np.arange(40) % 2
    model = make_pipeline(
        make(backbone, pooling="mean"), LogisticRegression(max_iter=2000)
    )
    cross_val_score(model, X, y, cv=5)
    assert sum(computed) == 40
    # Nor are they in a search, in another order, or with the images twice.
    GridSearchCV(model, {"logisticregression__C": [0.1, 1, 10]}, cv=3).fit(X, y)
    model.fit(np.concatenate([X, X])[::-1], np.tile(y, 2)[::-1])
    assert sum(computed) == 40
    clear_feature_cache()
    model[0].transform(np.concatenate([X, X]))
    assert sum(computed) == 80


@pytest.mark.backend
def test_threads_compute_each_image_once(backbone, computed):
    X = photographs(40)
    layers = ["map", backbone.layers[1].name] * 3

    def features(layer):
        return make(backbone, layer=layer, batch_size=4).fit_transform(X)

    with ThreadPoolExecutor(6) as pool:
        found = list(pool.map(features, layers))
    assert sum(computed) == 80
    for one, layer in zip(found, layers, strict=True):
        np.testing.assert_array_equal(one, features(layer))
    assert np.isfinite(backbone.predict(X.astype("float32"), verbose=0)).all()


@pytest.mark.slow
def test_a_search_in_two_processes(backbone, tmp_path):
    X, y = photographs(40), np.arange(40) % 2
    model = make_pipeline(
        make(backbone, pooling="mean", cache=tmp_path),
        LogisticRegression(max_iter=2000),
    )
    grid = {"logisticregression__C": [0.1, 1, 10]}
    search = GridSearchCV(model, grid, cv=4, n_jobs=2).fit(X, y)
    assert np.isfinite(search.cv_results_["mean_test_score"]).all()
    assert sum(path.is_file() for path in tmp_path.rglob("*")) == 40


def test_two_transformers_that_do_not_fit_into_memory_say_so(backbone):
    X = photographs(20)
    union = FeatureUnion(
        [
            ("map", make(backbone, pooling="mean")),
            ("first", make(backbone, layer=backbone.layers[1].name, pooling="mean")),
        ]
    )
    before = _cache.MEMORY.max_bytes
    set_feature_cache_size(20 * 4 * 7)
    try:
        expected = union.fit_transform(X)
        with warnings.catch_warnings(record=True) as found:
            warnings.simplefilter("always", UserWarning)
            np.testing.assert_array_equal(union.fit_transform(X), expected)
        assert any("cache of features is full" in str(one.message) for one in found)
    finally:
        set_feature_cache_size(before)


def test_an_lstm_reads_the_features(backbone):
    X = photographs(40)
    y = np.arange(40) % 2
    X[y == 1, :8] //= 4
    model = make_pipeline(
        make(backbone),
        LSTMImageClassifier(units=4, epochs=60, learning_rate=0.02, random_state=0),
    )
    assert cross_val_score(model, X, y, cv=2).mean() > 0.9


def test_a_function_sees_one_image_at_a_time(backbone, computed):
    X = photographs(12)
    X[0] //= 8

    def stretch(image):
        return image * (255 / image.max())

    sequencer = make(backbone, preprocessing=stretch).fit(X)
    before = sequencer.transform(X[1:])
    with_dark = sequencer.transform(X)
    assert sum(computed) == 12
    np.testing.assert_array_equal(with_dark[1:], before)
    clear_feature_cache()
    np.testing.assert_array_equal(sequencer.transform(X[:1]), with_dark[:1])


def test_what_a_random_function_made_is_not_taken_for_another_image(backbone):
    rng = np.random.default_rng(0)
    sequencer = make(backbone, preprocessing=lambda x: x * rng.uniform(0.5, 1))
    X = photographs(1)
    sequencer.fit(X).transform(X)
    plain = make(backbone).fit(X)
    for key, array in _cache.MEMORY._arrays.popitem()[1].items():
        # Find the image of which the cache says that these are its features.
        rng = np.random.default_rng(0)
        images = [X * rng.uniform(0.5, 1) for _ in range(9)]
        keys = [_features._key(x[0].astype("float32")) for x in images]
        image = images[keys.index(key)]
        float_plain = make(backbone, value_range=(0, 255)).fit(image)
        np.testing.assert_allclose(
            array.reshape(1, 24, 5), float_plain.transform(image), rtol=1e-4
        )
    assert plain.n_steps_ == 24


def test_whatever_changes_the_features_changes_the_key(backbone, computed):
    X = photographs(4)
    ways = [
        {},
        {"layer": backbone.layers[1].name},
        {"size": 32},
        {"pooling": "mean"},
        {"pooling": "max"},
        {"batch_size": 3},
        {"dtype": "float16"},
        {"value_range": (0, 256)},
        {"preprocessing": lambda x: x / 255},
        {"preprocessing": lambda x: x / 128},
    ]
    found = [make(backbone, **params).fit_transform(X) for params in ways]
    assert sum(computed) == 4 * len(ways)
    for params, before in zip(ways, found, strict=True):
        again = make(backbone, **params).fit_transform(X)
        np.testing.assert_array_equal(again, before)
    assert sum(computed) == 4 * len(ways)
    # The order of the steps and other images do not.
    make(backbone, order="snake").fit_transform(X)
    assert sum(computed) == 4 * len(ways)
    make(backbone).fit_transform(X ^ 1)
    assert sum(computed) == 4 * len(ways) + 4
    # An array of other numbers is another one, though its bytes are the same.
    make(backbone, value_range=(-128, 127)).fit_transform(X.view(np.int8))
    assert sum(computed) == 4 * len(ways) + 8


def test_other_weights_give_other_features(computed):
    X = photographs(4)
    model = small_network()
    sequencer = make(model).fit(X)
    before = sequencer.transform(X)
    kernel = model.get_layer("map").kernel
    kernel.assign(np.asarray(keras.ops.convert_to_numpy(kernel)) * 2)
    after = sequencer.transform(X)
    assert sum(computed) == 8
    assert not np.allclose(before, after)
    kernel.assign(np.asarray(keras.ops.convert_to_numpy(kernel)) / 2)
    np.testing.assert_array_equal(sequencer.transform(X), before)
    assert sum(computed) == 8


def test_a_network_that_is_made_again_finds_its_features(computed):
    # Keras gives its layers other names.
    X = photographs(4)
    make(small_network()).fit_transform(X)
    make(small_network()).fit_transform(X)
    assert sum(computed) == 4
    make(small_network(seed=1)).fit_transform(X)
    assert sum(computed) == 8


def test_clones_share_the_backbone_and_nothing_keeps_it():
    model = small_network()
    sequencer = make(model)
    copy = clone(sequencer)
    assert copy.backbone is model
    copy.fit(photographs(3)).transform(photographs(3))
    gone = weakref.ref(model)
    del model, sequencer, copy
    gc.collect()
    assert gone() is None


def test_pickles_give_the_same_features(backbone, computed):
    X = photographs(4)
    sequencer = make(backbone, size=40).fit(X)
    before = sequencer.transform(X)
    other = pickle.loads(pickle.dumps(sequencer))
    assert other.backbone is not backbone
    np.testing.assert_array_equal(other.transform(X), before)
    assert sum(computed) == 4


def test_files_give_the_same_features(backbone, computed, tmp_path):
    X = photographs(4)
    sequencer = make(backbone, order="snake").fit(X)
    before = sequencer.transform(X)
    sklstm.save(sequencer, tmp_path / "features.sklstm")
    loaded = sklstm.load(tmp_path / "features.sklstm")
    np.testing.assert_array_equal(loaded.transform(X), before)
    assert sum(computed) == 4
    assert loaded._how.backbone is loaded.backbone  # and in the file once
    with pytest.raises(TypeError, match=r"cache=.* is a folder of this machine"):
        sklstm.save(make(backbone, cache=tmp_path), tmp_path / "no.sklstm")
    sklstm.save(make(backbone, cache=False), tmp_path / "no_cache.sklstm")
    assert sklstm.load(tmp_path / "no_cache.sklstm").cache is False
    with pytest.raises(TypeError, match="lambda"):
        sklstm.save(make(backbone, preprocessing=lambda x: x), tmp_path / "no.sklstm")
    other = clone(loaded).fit(X)
    np.testing.assert_array_equal(other.transform(X), before)


def test_transform_does_what_was_fitted(backbone):
    X = photographs(4)
    sequencer = make(backbone, cache=False).fit(X)
    before = sequencer.transform(X)
    sequencer.set_params(
        backbone=small_network(seed=1),
        size=64,
        layer="pool",
        pooling="mean",
        batch_size=1,
        order="snake",
        preprocessing=lambda x: x / 2,
        value_range=(0, 1),
        dtype="float16",
    )
    np.testing.assert_array_equal(sequencer.transform(X), before)


# --- the folder ---------------------------------------------------------------------


def test_a_folder_serves_later_runs(backbone, computed, tmp_path):
    X = photographs(10)
    before = make(backbone, cache=tmp_path).fit_transform(X)
    clear_feature_cache()
    np.testing.assert_array_equal(
        make(backbone, cache=tmp_path).fit_transform(X[::-1]), before[::-1]
    )
    assert sum(computed) == 10
    # What a file lacks is computed again, and the file is whole afterwards.
    files = sorted(path for path in tmp_path.rglob("*") if path.is_file())
    assert len(files) == 10
    for path in files[:3]:
        path.write_bytes(path.read_bytes()[:50])
    for _ in range(2):
        clear_feature_cache()
        np.testing.assert_array_equal(
            make(backbone, cache=tmp_path).fit_transform(X), before
        )
        assert sum(computed) == 13


def test_a_folder_that_is_full_is_said_and_harms_nothing(
    backbone, monkeypatch, tmp_path
):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(_cache.os, "replace", full)
    X = photographs(4)
    with warnings.catch_warnings(record=True) as found:
        warnings.simplefilter("always", UserWarning)
        features = make(backbone, batch_size=2, cache=tmp_path).fit_transform(X)
    (message,) = (str(one.message) for one in found if one.category is UserWarning)
    assert "No space left on device" in message
    monkeypatch.undo()
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []
    np.testing.assert_array_equal(
        features, make(backbone, batch_size=2, cache=False).fit_transform(X)
    )


def test_a_folder_that_is_gone_is_said_and_harms_nothing(backbone, tmp_path):
    X = photographs(4)
    folder = tmp_path / "cache"
    folder.mkdir()
    sequencer = make(backbone, cache=folder).fit(X)
    folder.rmdir()
    with warnings.catch_warnings(record=True) as found:
        warnings.simplefilter("always", UserWarning)
        features = sequencer.transform(X)
    (message,) = (str(one.message) for one in found if one.category is UserWarning)
    assert "No such file or directory" in message
    expected = make(backbone, cache=False).fit_transform(X)
    np.testing.assert_array_equal(features, expected)


def test_one_file_that_cannot_be_written_does_not_stop_the_others(backbone, tmp_path):
    X = photographs(6)
    make(backbone, cache=tmp_path).fit_transform(X)
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    for path in files:
        path.unlink()
    files[2].mkdir()
    clear_feature_cache()
    with warnings.catch_warnings(record=True) as found:
        warnings.simplefilter("always", UserWarning)
        make(backbone, cache=tmp_path).fit_transform(X)
    assert [one.category for one in found].count(UserWarning) == 1
    assert sum(path.is_file() for path in files) == 5


SCRIPT = """
import os, sys
sys.path.insert(0, {tests!r})
import numpy as np
from test_feature_sequencer import make, photographs, small_network
print("ready", flush=True)
sys.stdin.readline()
features = make(small_network(), batch_size=2, cache={folder!r}).fit_transform(
    photographs(60)
)
np.save({out!r} + str(os.getpid()), features)
"""


@pytest.mark.slow
def test_two_processes_and_a_killed_one(backbone, tmp_path):
    folder, out = tmp_path / "cache", tmp_path / "out"
    folder.mkdir()
    out.mkdir()
    code = textwrap.dedent(SCRIPT).format(
        tests=os.path.dirname(__file__), folder=str(folder), out=f"{out}/"
    )
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    others = [subprocess.Popen([sys.executable, "-c", code], **pipes) for _ in range(3)]
    for other in others:
        assert other.stdout.readline() == b"ready\n"
    for other in others:
        other.stdin.write(b"\n")
        other.stdin.flush()
    end = time.monotonic() + 60
    while sum(len(path.name) == 32 for path in folder.glob("*/*")) < 4:
        assert time.monotonic() < end
    assert others[0].poll() is None
    others[0].kill()
    for other in others:
        other.communicate()
    assert [other.returncode for other in others[1:]] == [0, 0]
    expected = make(backbone, batch_size=2, cache=False).fit_transform(photographs(60))
    for path in out.iterdir():
        # Another process may sum in another order.
        np.testing.assert_allclose(np.load(path), expected, rtol=1e-5, atol=1e-3)
    a, b = (np.load(path) for path in sorted(out.iterdir())[-2:])
    np.testing.assert_array_equal(a, b)


# --- preparing images ---------------------------------------------------------------


def test_values_and_channels(backbone):
    X = photographs(4)
    expected = make(backbone).fit_transform(X)
    unit = make(backbone, value_range=(0, 1)).fit_transform(X / 255)
    np.testing.assert_allclose(unit, expected, rtol=1e-4, atol=1e-2)
    grey = X[..., 0]
    found = make(backbone).fit_transform(grey)
    np.testing.assert_array_equal(
        found, make(backbone).fit_transform(np.stack([grey] * 3, axis=-1))
    )
    np.testing.assert_array_equal(found, make(backbone).fit_transform(grey[..., None]))
    truth = grey > 99
    np.testing.assert_array_equal(
        make(backbone).fit_transform(truth),
        make(backbone).fit_transform(truth.astype(np.uint8) * 255),
    )


def test_resizing_and_fixed_sizes(backbone):
    X = photographs(4)
    assert make(backbone, size=(44, 30)).fit(X).grid_ == (10, 6)
    fixed = small_network(size=(40, 40))
    assert make(fixed).fit(X).grid_ == make(fixed, size=40).fit(X).grid_ == (9, 9)
    with pytest.raises(ValueError, match=r"size=30 does not suit the backbone .*40, 4"):
        make(fixed, size=30).fit(X)


def test_float16_rounds_and_says_what_is_too_large(backbone):
    X = photographs(4)
    exact = make(backbone).fit_transform(X)
    for _ in range(2):  # computed, then from the cache
        half = make(backbone, dtype="float16").fit_transform(X)
        assert half.dtype == np.float16
        np.testing.assert_array_equal(half, exact.astype(np.float16))
    with pytest.raises(ValueError, match=r"more than dtype='float16' can hold"):
        make(backbone, dtype="float16", preprocessing=lambda x: x * 1e4).fit_transform(
            X
        )
    broken = small_network()
    broken.get_layer("map").kernel.assign(np.full((3, 3, 6, 5), np.nan))
    with pytest.raises(ValueError, match="gives features that are NaN or infinite"):
        make(broken).fit_transform(X)


# --- what is refused ----------------------------------------------------------------


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"layer": "none"}, "layer='none' is no layer of the backbone .* pool, top"),
        ({"layer": "pool"}, r"layer='pool' gives no feature map, .* \(None, 5\)"),
        ({"size": 0}, "size must be a whole number of at least 1"),
        ({"size": 4}, "Images of 4 x 4 do not suit the backbone .* give another size="),
        ({"order": "spiral"}, "order must be one of 'raster', 'snake', 'hilbert'"),
        ({"pooling": "sum"}, "pooling must be one of None, 'mean', 'max'"),
        ({"batch_size": 0}, "batch_size must be a whole number of at least 1; got 0"),
        ({"cache": "no/such"}, "cache must be None or a folder that exists"),
        ({"preprocessing": "tf"}, "preprocessing must be 'auto', a function or None"),
        ({"preprocessing": "auto"}, "does not know what images the model .* takes"),
        ({"value_range": (1, 0)}, "value_range must be two numbers"),
        ({"value_range": 1}, "value_range must be two numbers"),
        ({"dtype": "float64"}, "dtype must be one of 'float32', 'float16'"),
    ],
)
def test_parameters_that_are_refused(backbone, params, message):
    sequencer = make(backbone, **params)
    with pytest.raises(ValueError, match=message):
        sequencer.fit(photographs(4))
    assert not hasattr(sequencer, "image_shape_")


def test_images_and_models_that_are_refused(backbone):
    X = photographs(4)
    with pytest.raises(TypeError, match="backbone must be a Keras model"):
        make("resnet50").fit(X)
    with pytest.raises(ValueError, match=r"X is float64, whose black and white"):
        make(backbone).fit(X / 255)
    # The range of bytes is not that of other dtypes.
    bytes_ = make(backbone).fit(X)
    for other in (X / 255, X > 99, X.astype("uint16")):
        with pytest.raises(
            ValueError, match="but FeatureSequencer was fitted on uint8"
        ):
            bytes_.transform(other)
    with pytest.raises(ValueError, match=r"X is uint8, but .* was fitted on bool"):
        make(backbone).fit(X > 99).transform(X)
    with pytest.raises(ValueError, match=r"outside value_range=\(0.0, 1.0\)"):
        make(backbone, value_range=(0, 1)).fit(X / 255).transform(X / 1.0)
    with pytest.raises(ValueError, match=r"4 channels, but the backbone .* takes 3"):
        make(backbone).fit(np.zeros((2, 30, 30, 4), np.uint8))
    with pytest.raises(ValueError, match="preprocessing must return an array of the s"):
        make(backbone, preprocessing=lambda x: x[:, 1:]).fit_transform(X)
    dense = keras.Sequential([keras.Input((5,)), keras.layers.Dense(2)])
    with pytest.raises(ValueError, match=r"must take one batch of images.*\(None, 5\)"):
        make(dense).fit(X)
    flat = keras.Sequential([keras.Input((22, 27, 3)), keras.layers.Flatten()])
    with pytest.raises(ValueError, match="has no layer that gives an image"):
        make(flat).fit(X)
    unbuilt = keras.Sequential([keras.layers.Conv2D(2, 3)])
    with pytest.raises(ValueError, match="has no known input"):
        make(unbuilt).fit(X)
    pooled = make(backbone, pooling="max").fit(X)
    with pytest.raises(ValueError, match="pooling='max' leaves no steps"):
        pooled.steps_to_image(np.ones((1, 24)))
    with pytest.raises(ValueError, match=r"one entry for each of the 24 steps"):
        make(backbone).fit(X).steps_to_image(np.ones((1, 25)))


@pytest.mark.skipif(
    not hasattr(FeatureSequencer, "set_callbacks"),
    reason="scikit-learn has no callbacks before version 1.9",
)
def test_clones_keep_callbacks(backbone):
    callback = pytest.importorskip("sklearn.callback").ProgressBar()
    sequencer = make(backbone, preprocessing=np.asarray).set_callbacks(callback)
    copy = clone(sequencer)
    assert copy.backbone is backbone
    assert copy.preprocessing is np.asarray
    assert copy._skl_callbacks == [callback]
