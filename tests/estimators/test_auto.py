"""network="auto": what it chooses, why, and that the choice is all it does."""

import pickle

from sklstm._keras import keras

import cv2
import numpy as np
import pytest
from numpy.testing import assert_array_equal
from sklearn.base import clone
from sklearn.model_selection import cross_val_score
from sklearn.utils import estimator_checks

from sklstm import LSTMImageClassifier, RowSequencer, load, save
from sklstm.estimators._auto import choose, kind_of
from sklstm.model_selection import suggest_space

# Two members of one epoch: what is trained does not matter here.
QUICK = {"units": 4, "epochs": 1, "n_estimators": 2, "random_state": 0}


def figures(n, size=28, low=0, high=255):
    """Rings and bars on a background of one value, uint8."""
    rng = np.random.default_rng(n)
    images = np.full((n, size, size), low, np.uint8)
    for i, image in enumerate(images):
        x, y = (int(v) for v in rng.integers(size // 3, 2 * size // 3, 2))
        if i % 2:
            cv2.circle(image, (x, y), size // 5, high, 2)
        else:
            cv2.line(image, (x, y - size // 5), (x, y + size // 5), high, 2)
    return images


def textures(n, size=32):
    rng = np.random.default_rng(n)
    return np.stack(
        [
            cv2.GaussianBlur(rng.normal(size=(size, size)), (0, 0), sigma)
            for sigma in rng.uniform(0.5, 3, n)
        ]
    )


def scenes(n, size=32):
    """Coloured noise below a brighter sky, with values in 0..1."""
    rng = np.random.default_rng(n)
    images = rng.uniform(0, 0.6, (n, size, size, 3))
    images[:, : size // 3] += 0.4
    return images


def retinas(n, size=32):
    """A reddish disc with some structure on black."""
    rng = np.random.default_rng(n)
    rows, columns = np.mgrid[:size, :size] - (size - 1) / 2
    disc = np.hypot(rows, columns) < size / 2
    images = np.zeros((n, size, size, 3), np.uint8)
    images[:, disc] = rng.integers((120, 60, 20), (200, 120, 60), (n, disc.sum(), 3))
    return images


class StopAtOnce(keras.callbacks.Callback):
    def on_epoch_end(self, epoch, logs=None):
        self.model.stop_training = True


@pytest.mark.parametrize(
    ("images", "kind"),
    [
        (figures(40), "characters"),
        (figures(40, low=255, high=0), "characters"),
        (figures(40).astype(float) / 255, "characters"),
        (textures(40), "surface"),
        (1000 + 50 * textures(200), "surface"),
        (scenes(40), "photo"),
        (scenes(40).mean(axis=-1), "light"),  # the sky is up
        (scenes(40)[..., :2], "light"),
        (retinas(40), "fundus"),
        (np.zeros((5, 16, 16)), "characters"),
    ],
)
def test_the_kind_of_images(images, kind):
    assert kind_of(images) == kind
    # Neither scale nor offset of the values matter, nor which images are seen.
    assert kind_of(3.0 * images.astype(float) - 7) == kind
    assert kind_of(images[::-1]) == kind


def test_grey_photographs_stored_in_colour_are_grey():
    grey = np.repeat(textures(40)[..., None], 3, axis=-1)
    assert kind_of(grey) == "light"


def test_the_choice_follows_from_the_number_the_size_and_the_kind():
    auto = LSTMImageClassifier("auto")
    assert choose(auto, figures(40)).recipe == {
        "network": "cnn_lstm",
        "augmentation": "characters",
        "stem_kernels": "harmonic",
        "weight_decay": 0.3,
        "n_estimators": 5,
    }
    # The number of values decides how many networks are worth their time.
    many = np.broadcast_to(figures(2), (2, 28, 28))
    assert choose(auto, np.tile(many, (3500, 1, 1))).recipe["n_estimators"] == 3
    assert choose(auto, np.tile(many, (14000, 1, 1))).recipe["n_estimators"] == 1
    # A pixel is too large a step for tiny images.
    assert "augmentation" not in choose(auto, figures(40)[:, :7, :7]).recipe
    assert choose(auto, retinas(40)).recipe == {
        "network": "cnn_lstm",
        "augmentation": "fundus",
        "n_estimators": 5,
    }
    # Photographs get 3,000 updates, at least 60 epochs and at most 400.
    for n, size, epochs in ((40, 32, 400), (400, 32, 231), (400, 4, 60)):
        X = np.tile(scenes(4, 16), (n // 4, 1, 1, 1))
        model = LSTMImageClassifier("auto", batch_size=size)
        assert choose(model, X).recipe["epochs"] == epochs
    assert "epochs" not in choose(auto, scenes(40).mean(axis=-1)).recipe
    flat = figures(40).reshape(40, -1)
    assert choose(auto, flat).recipe == choose(auto, figures(40)).recipe
    volumes = np.zeros((4, 9, 9, 9))
    for X in (volumes, volumes[..., None]):
        assert choose(auto, X).recipe == {"network": "bilstm3d", "n_estimators": 5}


def test_a_sequencer_makes_it_an_lstm_that_is_augmented():
    auto = LSTMImageClassifier("auto", sequencer=RowSequencer())
    assert choose(auto, figures(40)).recipe == {
        "network": "lstm",
        "augmentation": "characters",
        "n_estimators": 5,
    }


@pytest.mark.parametrize(
    "own",
    [
        {"augmentation": {}},
        {"augmentation": "light", "weight_decay": 0.0},
        {"n_estimators": 1, "stem_kernels": "plain", "epochs": 7},
    ],
)
def test_what_the_user_sets_is_kept(own):
    recipe = choose(LSTMImageClassifier("auto", **own), figures(40)).recipe
    assert not set(recipe) & set(own)
    whole = choose(LSTMImageClassifier("auto"), figures(40)).recipe
    assert recipe == {n: v for n, v in whole.items() if n not in own}


@pytest.fixture(scope="module")
def data():
    return figures(24, 16), np.arange(24) % 2


@pytest.fixture(scope="module")
def fitted(data):
    """Fitted; tests leave it as it is."""
    return LSTMImageClassifier("auto", **QUICK).fit(*data)


@pytest.mark.parametrize(
    "own", [{}, pytest.param({"n_estimators": 1}, marks=pytest.mark.slow)]
)
def test_fit_is_that_of_the_recipe(data, fitted, own):
    X, y = data
    auto = clone(fitted).set_params(**own).fit(X, y) if own else fitted
    assert auto.network_ == auto.recipe_["network"] == "cnn_lstm"
    assert auto.recipe_["augmentation"] == "characters"
    # The parameters are as given.
    assert auto.get_params()["network"] == "auto"
    assert auto.augmentation is auto.weight_decay is auto.stem_kernels is None
    by_hand = clone(auto).set_params(**auto.recipe_).fit(X, y)
    assert not hasattr(by_hand, "recipe_")
    assert_array_equal(auto.predict_proba(X), by_hand.predict_proba(X))
    plain = clone(by_hand).set_params(stem_kernels="plain").fit(X, y)
    assert (plain.predict_proba(X) != auto.predict_proba(X)).any()


def test_it_lives_on_in_files_and_pickles(data, fitted, tmp_path):
    X, auto = data[0], fitted
    save(auto, tmp_path / "auto.sklstm")
    for twin in (load(tmp_path / "auto.sklstm"), pickle.loads(pickle.dumps(auto))):
        assert twin.recipe_ == auto.recipe_
        assert twin.network == "auto"
        assert_array_equal(twin.predict_proba(X), auto.predict_proba(X))


def test_photographs_with_batches_that_fit_into_memory():
    X, y = scenes(24, 8), np.arange(24) % 2
    auto = LSTMImageClassifier(
        "auto", batch_size="auto", **(QUICK | {"epochs": "auto"})
    )
    auto.set_params(n_estimators=1, callbacks=[StopAtOnce]).fit(X, y)
    assert auto.recipe_["epochs"] == 400
    assert auto.batch_size_ == 32
    assert auto.batch_size == auto.epochs == "auto"


@pytest.mark.slow
def test_training_on_keeps_the_recipe(data):
    X, y = data
    auto = LSTMImageClassifier("auto", warm_start=True, **QUICK).fit(X, y)
    recipe = dict(auto.recipe_)
    # These images alone would be augmented as photographs of a surface.
    noise = (255 * np.random.default_rng(0).random((24, 16, 16))).astype(np.uint8)
    auto.fit(noise, y)
    assert auto.recipe_ == recipe
    assert auto.n_iter_ == 2
    auto.partial_fit(X, y)
    assert auto.recipe_ == recipe
    auto.set_params(warm_start=False).fit(noise, y)
    assert auto.recipe_["augmentation"] == "surface"
    auto.set_params(network="cnn_lstm").fit(X, y)
    assert not hasattr(auto, "recipe_")
    assert not hasattr(auto, "network_")


def test_a_fit_that_fails_changes_nothing(data, fitted):
    X, y = data
    auto = pickle.loads(pickle.dumps(fitted))
    before = auto.predict_proba(X)
    for bad in (X[:5], X.astype(float) * np.nan):
        with pytest.raises(ValueError):
            auto.fit(bad, y)
        assert auto.get_params()["network"] == "auto"
        assert auto.augmentation is None
        assert_array_equal(auto.predict_proba(X), before)


def test_an_error_names_the_classifier():
    strings = [["a", "b"], ["c", "d"]]
    with pytest.raises(ValueError, match="X holds strings, not pixels"):
        LSTMImageClassifier("auto").fit(strings, [0, 1])
    with pytest.raises(ValueError, match="required by LSTMImageClassifier"):
        LSTMImageClassifier("auto").fit(np.zeros((0, 64)), [])


def test_verbose_says_why(data, capsys):
    X, y = data
    LSTMImageClassifier("auto", weight_decay=0.1, verbose=1, **QUICK).fit(X, y)
    lines = [li for li in capsys.readouterr().out.splitlines() if "auto:" in li]
    assert lines == [
        "auto: X has 24 samples of 16 x 16 pixels with one channel. 'cnn_lstm' reads "
        "images.",
        "auto: They look like figures on an even background, so the augmentation is "
        "'characters'.",
        "auto: Cosine waves make its kernels.",
        "auto: What you set is kept: weight_decay, epochs, n_estimators.",
    ]


def test_each_fold_makes_its_own_choice(monkeypatch):
    X = np.concatenate([figures(20, 16), np.tile(figures(20, 16), (20, 1, 1))])
    y = np.arange(len(X)) % 2
    seen = []
    from sklstm.estimators import _auto

    own = _auto.choose

    def choose_and_tell(estimator, X):
        seen.append(len(X))
        return own(estimator, X)

    monkeypatch.setattr(_auto, "choose", choose_and_tell)
    auto = LSTMImageClassifier("auto", **QUICK)
    scores = cross_val_score(auto, X[:40], y[:40], cv=2, error_score="raise")
    assert np.isfinite(scores).all()
    assert seen == [20, 20]


def test_compare_gives_the_control_the_same_recipe():
    from sklstm.model_selection._controls import default_controls

    X = figures(40)
    auto = LSTMImageClassifier("auto", random_state=3)
    cnn = default_controls({"auto": auto}, X, False)["matched CNN"]
    recipe = choose(auto, X).recipe | {"network": "cnn"}
    assert cnn.get_params() == auto.get_params() | recipe


def test_suggest_space():
    auto = LSTMImageClassifier("auto")
    assert set(suggest_space(auto)) == set(suggest_space(LSTMImageClassifier("cnn")))
    with pytest.raises(ValueError, match="network='auto' chooses the architecture"):
        suggest_space(auto, level="architecture")


@pytest.mark.slow
@pytest.mark.parametrize(
    "check",
    [
        estimator_checks.check_estimators_overwrite_params,
        estimator_checks.check_classifier_data_not_an_array,
        estimator_checks.check_fit2d_1feature,
        estimator_checks.check_n_features_in,
        estimator_checks.check_fit_idempotent,
    ],
)
def test_sklearn_check(check):
    check("LSTMImageClassifier", LSTMImageClassifier("auto", dropout=0, **QUICK))
