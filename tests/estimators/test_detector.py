"""LSTMDefectDetector: masks in and out, chains, the threshold, what cannot be used."""

import gc
import pickle
from pathlib import Path

from sklstm._keras import keras

import cv2
import numpy as np
import optuna
import pandas as pd
import pytest
from scipy import sparse
from sklearn.base import clone
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import (
    GridSearchCV,
    KFold,
    cross_val_predict,
)
from sklearn.pipeline import make_pipeline
from sklearn.utils import estimator_checks

from sklstm import (
    ImageReader,
    LSTMDefectDetector,
    LSTMImageClassifier,
    OptunaSearchCV,
    PatchSequencer,
    RowSequencer,
)
from sklstm.estimators import (
    _fitting,
    _masks,
    _window_outputs,
    clear_pool,
)
from sklstm.estimators._labels import hold_out_defective
from sklstm.estimators._threshold import THRESHOLDS, best_threshold
from sklstm.estimators._window_outputs import WindowOutputs
from sklstm.images._ragged import check_images
from sklstm.metrics import (
    image_auroc_scorer,
    pixel_f1_scorer,
    region_overlap,
    region_overlap_scorer,
)
from sklstm.networks import (
    WindowLoss,
    marginals,
    max_marginals,
    shift_labels,
    split_outputs,
    split_pixels,
    viterbi,
)
from sklstm.training._pool import POOL


def plates(n, seed=0, shape=(32, 40)):
    """Noisy plates; every other one has a dark spot of 8 x 8 on the windows' grid."""
    rng = np.random.default_rng(seed)
    X = rng.normal(100, 5, (n, *shape))
    Y = np.zeros((n, *shape), bool)
    for image, mask in zip(X[::2], Y[::2], strict=True):
        row, column = 8 * rng.integers(0, 4), 8 * rng.integers(0, shape[1] // 8)
        mask[row : row + 8, column : column + 8] = True
        image[mask] -= 40
    return np.clip(X, 0, 255).astype(np.uint8), Y


def make(**params):
    settings = {
        "size": (32, 40),
        "units": 8,
        "epochs": 25,
        "batch_size": 8,
        "random_state": 0,
        "network__filters": 4,
        # Half the graph to trace; `fitted` has all of it.
        "attention": None,
        "bidirectional": False,
        "decoder": False,
    }
    return LSTMDefectDetector(**{**settings, **params})


@pytest.fixture(scope="module")
def data():
    return (*plates(60), *plates(20, seed=1))


@pytest.fixture(scope="module")
def fitted(data):
    """A fitted detector; tests read it and do not fit it again."""
    return make(attention="multihead", bidirectional=True, decoder=None).fit(*data[:2])


# --- what comes out -----------------------------------------------------------------


def test_spots_are_found(data, fitted):
    X, Y = data[2:]
    masks = fitted.predict(X)
    assert masks.shape == Y.shape
    assert masks.dtype == bool
    assert fitted.score(X, Y) > 0.85
    assert fitted.score(X, Y) == _masks.pixel_f1(list(Y), list(masks))
    probabilities = fitted.predict_proba(X)
    assert probabilities.dtype == np.float32
    assert probabilities.min() >= 0
    assert probabilities.max() <= 1
    assert probabilities[Y].mean() > probabilities[~Y].mean() + 0.6
    scores = fitted.decision_function(X)
    assert scores.shape == (20,)
    assert scores[::2].min() > scores[1::2].max()
    assert 0 < fitted.threshold_ < 1
    assert fitted.grid_ == (4, 5)
    assert fitted.predict_windows(X).shape == (20, 20)


@pytest.mark.parametrize(
    "params",
    [
        {"crf": False},
        pytest.param(
            {"augmentation": {"flip": "both", "contrast": 0.1}, "focal_gamma": 1.0},
            marks=pytest.mark.slow,
        ),
        pytest.param({"stem": False, "network__filters": 16}, marks=pytest.mark.slow),
        pytest.param(
            {"sequencer": PatchSequencer(8, 4), "attention": "self"},
            marks=pytest.mark.slow,
        ),
        pytest.param({"dtype_policy": "mixed_bfloat16"}, marks=pytest.mark.slow),
        pytest.param(
            {"sampling": "balanced", "early_stopping": True, "positive_weight": 2.0},
            marks=pytest.mark.slow,
        ),
    ],
    ids=[
        "no chains",
        "augmented",
        "no stem",
        "overlapping windows",
        "half",
        "balanced",
    ],
)
def test_other_ways(data, params):
    model = make(**params).fit(*data[:2])
    X, Y = data[2:]
    assert model.score(X, Y) > 0.6
    scores = model.decision_function(X)
    assert scores[::2].mean() > scores[1::2].mean() + 1


def scratches(n, seed=0):
    """Plates of 32 x 32; every other one has a thin slanted scratch."""
    rng = np.random.default_rng(seed)
    X = rng.normal(100, 5, (n, 32, 32)).astype("float32")
    Y = np.zeros((n, 32, 32), np.uint8)
    for image, mask in zip(X[::2], Y[::2], strict=True):
        start, slope = rng.integers(4, 16), rng.uniform(0.2, 0.8)
        end = round(start + 20 * slope)
        cv2.line(mask, (4, int(start)), (26, end), 1, 2)
        image[mask > 0] -= 40
    return X, Y


def test_a_decoder_draws_what_windows_cannot():
    X, Y = scratches(60)
    X_test, Y_test = scratches(20, seed=1)
    params = {"size": 32, "network__filters": 8, "units": 4, "epochs": 20}
    model = make(**params, decoder=True).fit(X, Y)
    assert model.decoder_
    # The best that masks made of whole windows can do.
    windows = Y_test.reshape(20, 4, 8, 4, 8).any(axis=(2, 4))
    best = np.repeat(np.repeat(windows, 8, axis=1), 8, axis=2)
    best = _masks.pixel_f1(list(Y_test > 0), list(best))
    assert best < 0.4
    assert model.score(X_test, Y_test) > 0.7
    probabilities = model.predict_proba(X_test)
    np.testing.assert_array_equal(
        model.predict(X_test), probabilities >= model.threshold_
    )
    scores = model.decision_function(X_test)
    assert scores[::2].min() > scores[1::2].max()


def test_a_pixel_needs_the_decoder_and_its_windows(data, fitted):
    x = fitted._resized(check_images(data[2][:3]))
    outputs = fitted._fitted_network.compiled.predict(x)
    read = WindowOutputs(outputs, (4, 5), (8, 8))
    decoded = keras.ops.convert_to_numpy(split_pixels(outputs, (8, 8))).astype(float)
    windows = np.stack(
        [
            cv2.resize(one, (40, 32), interpolation=cv2.INTER_LINEAR)
            for one in read.probabilities()
        ]
    )
    expected = np.sqrt(windows / (1 + np.exp(-decoded)))
    assert np.abs(expected - windows).max() > 0.01
    np.testing.assert_allclose(read.pixel_probabilities(), expected, atol=1e-6)
    np.testing.assert_allclose(fitted.predict_proba(data[2][:3]), expected, atol=1e-6)


@pytest.mark.parametrize(
    ("params", "by_window", "message"),
    [
        ({"stem": False}, False, "but stem is False"),
        ({"sequencer": PatchSequencer(8, 4)}, False, "but the windows overlap"),
        ({"size": (36, 40)}, False, "but the windows overlap, leave"),
        ({}, True, "but Y holds labels of windows"),
    ],
    ids=["no stem", "overlap", "gaps", "windows"],
)
def test_where_no_decoder_can_be(data, params, by_window, message):
    X, Y = data[0][:12], data[1][:12]
    if by_window:
        Y = Y.reshape(12, 4, 8, 5, 8).any(axis=(2, 4)).reshape(12, 20)
    with pytest.raises(ValueError, match=message):
        make(decoder=True, **params).fit(X, Y)
    model = make(decoder=None, **params)
    monitored = model.set_params(epochs=1)
    if "size" not in params:  # a stem refuses these windows as well
        assert not monitored.fit(X, Y).decoder_


def test_images_of_different_sizes(data, fitted):
    X, Y = list(data[0]), list(data[1])
    for i in range(0, 60, 3):  # some are cut at the right, and their spots with them
        X[i], Y[i] = X[i][:, :24], Y[i][:, :24]
    model = make().fit(X, Y)
    masks = model.predict(X[:4])
    assert isinstance(masks, list)
    assert [m.shape for m in masks] == [(32, 24), (32, 40), (32, 40), (32, 24)]
    assert [m.shape for m in model.predict_proba(X[:2])] == [(32, 24), (32, 40)]
    cut, whole = range(0, 60, 3), [i for i in range(60) if i % 3]
    for rows in (cut, whole):
        assert model.score([X[i] for i in rows], [Y[i] for i in rows]) > 0.6
    # Much smaller than what the network reads: no window is passed over.
    small = np.zeros((1, 32, 40), np.float32)
    small[0, 8:16, 8:16] = 1
    (shrunk,) = model._own_sizes([np.zeros((4, 5, 1))], small)
    assert shrunk[1, 1] == 1
    assert shrunk.sum() == 1
    # One at a time it is the same.
    alone = fitted.predict_proba(data[2][3:4])
    np.testing.assert_allclose(alone[0], fitted.predict_proba(data[2])[3], atol=1e-5)


def test_labels_of_windows(data):
    X, Y = data[:2]
    labels = Y.reshape(60, 4, 8, 5, 8).mean(axis=(2, 4)).reshape(60, 20) > 0.5
    model = make().fit(X, labels)
    # What cross_val_predict asks of targets of several outputs.
    assert len(model.classes_) == labels.shape[1]
    truth = data[3].reshape(20, 4, 8, 5, 8).mean(axis=(2, 4)).reshape(20, 20) > 0.5
    assert model.score(data[2], truth) > 0.85
    assert model.predict(data[2]).shape == (20, 32, 40)
    with pytest.raises(ValueError, match=r"Y has the shape \(60, 19\): labels of win"):
        make().fit(X, labels[:, :19])
    with pytest.raises(ValueError, match="augmentation moves pixels"):
        make(augmentation="light").fit(X, labels)


@pytest.mark.slow
def test_rows_as_windows():
    X, Y = plates(40, shape=(32, 8))  # a spot is as wide as the plate
    model = make(size=(32, 8), sequencer=RowSequencer(8), stem=False).fit(X, Y)
    assert model.grid_ == (8, 1)
    assert model.score(*plates(20, seed=1, shape=(32, 8))) > 0.8


# --- chains and thresholds ----------------------------------------------------------


def test_decoding_is_that_of_the_chains(data, fitted):
    x = fitted._resized(check_images(data[2][:3]))
    outputs = fitted._fitted_network.compiled.predict(x)
    _, chains = split_outputs(keras.ops.convert_to_tensor(outputs), (4, 5), 64)
    assert {axis: tuple(c.shape) for axis, c in chains.items()} == {
        "rows": (12, 5, 2, 2),
        "columns": (15, 4, 2, 2),
    }
    one_axis = outputs[..., :5].reshape(12, 1, 5, 5)  # a row is a grid of its own
    margins = WindowOutputs(one_axis, (1, 5)).margins(0.5)
    best = keras.ops.convert_to_numpy(viterbi(chains["rows"])[0])
    np.testing.assert_array_equal(margins[:, 0] > 0, best == 1)
    probabilities = WindowOutputs(one_axis, (1, 5)).probabilities()
    expected = keras.ops.convert_to_numpy(marginals(chains["rows"]))[..., 1]
    np.testing.assert_allclose(probabilities[:, 0], expected, atol=1e-5)
    # A lower threshold finds no less.
    decoded = WindowOutputs(outputs, (4, 5), (8, 8))
    found = [decoded.margins(t) > 0 for t in (0.1, 0.5, 0.9)]
    assert (found[0] >= found[1]).all()
    assert (found[1] >= found[2]).all()


def test_thresholds_decoded_together_are_those_decoded_one_by_one(monkeypatch):
    rng = np.random.default_rng(0)
    for n_numbers in (1, 9):  # without chains, and with
        outputs = rng.normal(size=(3, 4, 5, n_numbers)).astype("float32")
        decoded = WindowOutputs(outputs, (4, 5))
        expected = [decoded.margins(threshold) for threshold in THRESHOLDS]
        for at_once in (2**24, 2 * outputs.size):
            monkeypatch.setattr(_window_outputs, "_AT_ONCE", at_once)
            found = list(decoded.margins_at(THRESHOLDS))
            np.testing.assert_array_equal(found, expected)


def test_a_threshold_shifts_the_log_odds_of_a_defect():
    outputs = np.random.default_rng(0).normal(size=(3, 1, 5, 5)).astype("float32")
    _, chains = split_outputs(keras.ops.convert_to_tensor(outputs), (1, 5))
    shifted = shift_labels(chains["rows"], [0.0, -np.log(0.2 / 0.8)])
    scores = keras.ops.convert_to_numpy(max_marginals(shifted))
    margins = WindowOutputs(outputs, (1, 5)).margins(0.2)
    np.testing.assert_allclose(margins[:, 0], scores[..., 1] - scores[..., 0], 1e-5)


def test_without_chains_a_threshold_is_one_on_probabilities():
    outputs = np.array([-2.0, -0.1, 0.3, 4.0], "float32").reshape(1, 2, 2, 1)
    for threshold in (0.2, 0.5, 0.7):
        decoded = WindowOutputs(outputs, (2, 2))
        probabilities, margins = decoded.probabilities(), decoded.margins(threshold)
        np.testing.assert_array_equal(margins > 0, probabilities > threshold)


def test_the_best_threshold_by_trying_all():
    rng = np.random.default_rng(0)
    truth = [rng.random(size) < 0.1 for size in (500, 50, 80)]
    scores = [np.clip(rng.normal(0.3 + 0.3 * t, 0.15), 0, 1) for t in truth]

    def f1(threshold, weights=(1, 1, 1)):
        found = [s >= threshold for s in scores]
        hits, total = (
            sum(w * n for w, n in zip(weights, numbers, strict=True))
            for numbers in (
                [(f & t).sum() for f, t in zip(found, truth, strict=True)],
                [f.sum() + t.sum() for f, t in zip(found, truth, strict=True)],
            )
        )
        return 2 * hits / total

    decisions = [[s >= threshold for s in scores] for threshold in THRESHOLDS]
    plain = best_threshold(truth, decisions, n_draws=0)
    assert f1(plain) == pytest.approx(max(map(f1, THRESHOLDS)))
    draws = [(1, 1, 1), *np.random.default_rng(0).exponential(size=(200, 3))]

    def mean(threshold):
        return np.mean([f1(threshold, draw) for draw in draws])

    found = best_threshold(truth, decisions)
    assert mean(found) == pytest.approx(max(map(mean, THRESHOLDS)))
    assert found == best_threshold(truth, decisions)


def test_the_middle_one_of_equally_good_thresholds():
    truth = [np.array([True, False, False])]
    score = np.array([0.705, 0.295, 0.1])  # all from .3 to .7 are perfect
    decisions = [[score >= threshold] for threshold in THRESHOLDS]
    assert best_threshold(truth, decisions) == pytest.approx(0.5)


@pytest.mark.parametrize("stride", [8, pytest.param(4, marks=pytest.mark.slow)])
def test_the_threshold_is_the_best_for_what_predict_does(data, stride):
    """Chains add up what shifts their odds: a threshold on marginals is another."""
    X, Y = data[:2]
    held_out = X[40:], Y[40:]
    model = make(sequencer=PatchSequencer(8, stride), epochs=6)
    model.fit(X[:40], Y[:40], *held_out)
    chosen = model.threshold_
    draws = np.random.default_rng(0).exponential(size=(200, 20))
    draws = np.concatenate([np.ones((1, 20)), draws])

    def mean(threshold):
        model.threshold_ = threshold
        found = model.predict(held_out[0])
        hits = (found & held_out[1]).sum((1, 2))
        total = found.sum((1, 2)) + held_out[1].sum((1, 2))
        return np.mean(2 * (draws @ hits) / (draws @ total + 1e-9))

    tried = {t: mean(t) for t in THRESHOLDS[::4]}
    assert mean(chosen) >= max(tried.values()) - 1e-6
    assert max(tried.values()) > min(tried.values()) + 0.02


def test_no_threshold_of_pixels_is_below_a_seventh(data, monkeypatch):
    X, Y = data[:2]
    model = make(decoder=True, epochs=1).fit(X, Y)
    outputs = model._read(X[..., None])
    low = np.where(Y, 0.05, 0.01).astype("float32")  # .03 would be perfect
    monkeypatch.setattr(type(outputs), "pixel_probabilities", lambda self: low)
    y = Y.astype(np.uint8) * 255
    assert 0.15 < model._best_threshold(X[..., None], y, by_window=False) < 1
    high = np.where(Y, 0.9, 0.7).astype("float32")
    monkeypatch.setattr(type(outputs), "pixel_probabilities", lambda self: high)
    assert 0.7 < model._best_threshold(X[..., None], y, by_window=False) <= 0.9


def test_defects_smaller_than_a_window(data):
    loss = WindowLoss((4, 5), PatchSequencer(8, 8).get_index_map((32, 40)))
    masks = np.zeros((3, 32, 40), "uint8")
    masks[0, 9, 17] = 255  # one pixel of 64, and of coverage * 64
    masks[1, 8:16, 16:24] = 255
    masks[1, 0, 0] = 255  # beside a large one it does not count
    labels = keras.ops.convert_to_numpy(loss.labels(masks))
    assert labels[0].sum() == labels[1].sum() == 1
    assert labels[0, 1, 2] == labels[1, 1, 2] == 1
    assert labels[2].sum() == 0
    # Small ones are found, where images are made smaller besides.
    rng = np.random.default_rng(0)
    X = rng.normal(100, 3, (80, 64, 80)).astype("float32")
    Y = np.zeros(X.shape, bool)
    for image, mask in zip(X[::2], Y[::2], strict=True):
        row, column = rng.integers(0, 60), rng.integers(0, 76)
        mask[row : row + 3, column : column + 3] = True
        image[mask] -= 60
    model = make(epochs=60, network__filters=8).fit(X[:60], Y[:60])
    scores = model.decision_function(X[60:])
    assert roc_auc_score([True, False] * 10, scores) > 0.9
    probabilities = model.predict_proba(X[60:])
    assert probabilities[Y[60:]].mean() > 5 * probabilities[~Y[60:]].mean()


def test_masks_are_resized_by_areas_along_what_shrinks():
    mask = np.zeros((400, 50), bool)
    mask[201] = True  # one row of eight, in images that become wider
    (resized,) = _masks.resize_masks([mask], (50, 100))
    assert resized.sum(axis=0).tolist() == [32] * 100
    assert resized.shape == (50, 100)


# --- as an estimator ----------------------------------------------------------------


def test_the_same_seed_is_the_same_detector(data, fitted):
    again = clone(fitted).fit(*data[:2])
    np.testing.assert_array_equal(
        again.predict_proba(data[2]), fitted.predict_proba(data[2])
    )
    assert again.threshold_ == fitted.threshold_
    assert again.history_ == fitted.history_
    copy = pickle.loads(pickle.dumps(fitted))
    np.testing.assert_array_equal(
        copy.predict_proba(data[2]), fitted.predict_proba(data[2])
    )
    np.testing.assert_array_equal(copy.predict(data[2]), fitted.predict(data[2]))


@pytest.mark.slow
def test_another_rate_needs_no_new_network(data):
    clear_pool()
    model = make(epochs=1).fit(*data[:2])
    del model
    gc.collect()
    assert len(POOL) == 1
    make(epochs=1, dropout=0.4, learning_rate=1e-4).fit(*data[:2])
    gc.collect()
    assert len(POOL) == 1


def test_folds_share_a_network(data):
    # Their defects are not equally rare: the balanced weight differs by a fraction.
    X, Y = data[:2]
    clear_pool()
    for rows in (slice(0, 50), slice(8, 60), slice(1, 56, 3)):
        make(epochs=1).fit(X[rows], Y[rows])
        gc.collect()
    assert len(POOL) == 1


def test_clone_params_and_search(data):
    model = make(network__n_heads=2, optimizer__beta_1=0.8)
    assert clone(model).get_params() == model.get_params()
    model.set_params(network__n_heads=4, sequencer=PatchSequencer(8, 8))
    assert model.set_params(sequencer__stride=4).sequencer.stride == 4
    with pytest.raises(TypeError, match="unexpected keyword argument 'loss__gamma'"):
        LSTMDefectDetector(loss__gamma=2)
    search = GridSearchCV(
        make(epochs=2), {"crf": [True, False]}, cv=KFold(2), error_score="raise"
    ).fit(list(data[0]), list(data[1]))
    assert np.isfinite(search.cv_results_["mean_test_score"]).all()


def test_optuna_searches_and_prunes_it(data):
    space = {
        "dropout": optuna.distributions.FloatDistribution(0, 0.5),
        "learning_rate": optuna.distributions.FloatDistribution(1e-6, 1e-2, log=True),
    }
    # Every trial but the best so far is stopped after an epoch.
    pruner = optuna.pruners.PercentilePruner(1, n_startup_trials=1, n_warmup_steps=0)
    search = OptunaSearchCV(
        make(epochs=3), space, n_trials=5, cv=KFold(2), pruner=pruner, random_state=0
    ).fit(data[0][:24], data[1][:24])
    states = [trial.state.name for trial in search.study_.trials]
    assert set(states) == {"COMPLETE", "PRUNED"}
    assert search.predict(data[2][:2]).shape == (2, 32, 40)


@pytest.mark.parametrize(
    "check",
    [
        "check_estimator_cloneable",
        "check_estimator_repr",
        "check_estimator_tags_renamed",
        "check_get_params_invariance",
        "check_mixin_order",
        "check_no_attributes_set_in_init",
        "check_parameters_default_constructible",
        "check_set_params",
        "check_valid_tag_types",
    ],
)
def test_checks_of_scikit_learn_that_need_no_flat_data(check):
    """check_estimator runs none where X cannot be flat; these it would run first."""
    getattr(estimator_checks, check)("LSTMDefectDetector", LSTMDefectDetector())


def test_a_monitor_of_scikit_learn_scores_epochs(data):
    callback = pytest.importorskip("sklearn.callback")
    monitor = callback.ScoringMonitor(scoring={"f1": LSTMDefectDetector.score})
    make(epochs=3).set_callbacks(monitor).fit(data[0][:24], data[1][:24])
    scores = [row["f1"] for row in monitor.get_logs().data if "f1" in row]
    assert len(scores) >= 3
    assert all(0 <= score <= 1 for score in scores)


def test_groups_stay_together_where_the_threshold_is_chosen(data, group_splits):
    X, Y = data[:2]
    groups = np.arange(60) // 6
    model = make(epochs=1).fit(X, Y, groups=groups)
    ((kept, held_out),) = group_splits
    assert kept.isdisjoint(held_out)
    assert kept | held_out == set(groups)
    assert "val_loss" not in model.history_
    with pytest.raises(ValueError, match="groups has 3 entries, but X has 60"):
        make().fit(X, Y, groups=[1, 2, 3])


def test_one_pixel_of_a_large_image_is_a_defect():
    mask = np.zeros((3000, 3000), bool)
    mask[1000, 2000] = True
    assert _masks.resize_masks([mask], (32, 32)).sum() == 1


@pytest.mark.parametrize("grouped", [False, True])
def test_few_images_of_a_kind(data, grouped):
    X, Y = data[:2]
    groups = np.arange(12) // 2 if grouped else None
    mostly_defective = np.r_[0:22:2, 1]
    make(epochs=1).fit(X[mostly_defective], Y[mostly_defective], groups=groups)
    mostly_clean = np.r_[0:4, 5:20:2]
    groups = np.r_[0, 1, 2, 2, 3:11] if grouped else None
    fraction = make().validation_fraction
    rows, held = hold_out_defective(
        Y[mostly_clean].any(axis=(1, 2)), fraction, np.random.SeedSequence(0), groups
    )
    assert sorted([*rows, *held]) == list(range(12))
    for part in (rows, held):
        assert Y[mostly_clean[part]].any()
    if grouped:
        assert (2 in held) == (3 in held)
    else:  # all images without defects are trained on
        assert held.tolist() in ([0], [2])


def test_images_with_defects_are_drawn_as_often_as_others(data, monkeypatch):
    X, Y = data[:2]
    Y = Y & (np.arange(60) % 6 == 0)[:, None, None]
    seen = []
    own = _fitting.train_network

    def spy(detector, training, *args, chances, **kwargs):
        seen.append((training, chances))
        return own(detector, training, *args, chances=chances, **kwargs)

    monkeypatch.setattr(_fitting, "train_network", spy)
    make(epochs=1, sampling="balanced").fit(X, Y)
    ((training, chances),) = seen
    defective = training.y.reshape(len(training.y), -1).any(axis=1)
    assert 0 < defective.mean() < 0.3
    assert chances[defective].sum() == pytest.approx(0.5)
    assert chances.sum() == pytest.approx(1)


def test_given_validation(data):
    X, Y = data[:2]
    model = make(epochs=2).fit(X[:40], Y[:40], X_val=X[40:], Y_val=Y[40:])
    assert len(model.history_["val_loss"]) == 2
    with pytest.raises(ValueError, match="X_val is given without Y_val"):
        make().fit(X, Y, X_val=X)
    with pytest.raises(ValueError, match="Y_val has no positive pixel in any of 2"):
        make().fit(X, Y, X[:2], np.zeros_like(Y[:2]))
    with pytest.raises(ValueError, match=r"X_val\[0\] has 1 pixels that are NaN"):
        make().fit(X, Y, np.full((1, 1, 1), np.nan), Y[:1])


def test_a_failed_fit_leaves_it_as_it_was(data, fitted):
    before = fitted.predict_proba(data[2])
    with pytest.raises(ValueError, match="no positive pixel"):
        fitted.fit(data[0], np.zeros_like(data[1]))
    np.testing.assert_array_equal(fitted.predict_proba(data[2]), before)


# --- masks and images as people have them -------------------------------------------


def test_none_is_the_mask_of_an_image_without_defects(data, fitted):
    X, Y = data[2:]
    with_none = [mask if mask.any() else None for mask in Y]
    assert sum(mask is None for mask in with_none) == 10
    images = check_images(X)
    np.testing.assert_array_equal(_masks.check_masks(with_none, images), Y)
    assert fitted.score(X, with_none) == fitted.score(X, Y)


@pytest.mark.parametrize(
    "change",
    [
        lambda Y: Y.astype(float),
        lambda Y: Y.astype(">i4"),
        lambda Y: Y.astype(object),
        lambda Y: Y[..., None],
        lambda Y: np.stack([Y] * 3, axis=-1).astype(np.uint8),
        lambda Y: (mask.tolist() for mask in Y),
    ],
    ids=["float", "big-endian", "objects", "one channel", "colour", "generator"],
)
def test_ways_to_write_a_mask(change):
    X, Y = plates(4)
    found = _masks.check_masks(change(Y), check_images(X))
    assert all(mask.dtype == bool for mask in found)
    np.testing.assert_array_equal(found, Y)


def test_inverted_masks_are_told(monkeypatch):
    class Enough(Exception):
        pass

    def stop(*args, **kwargs):
        raise Enough

    monkeypatch.setattr(_fitting, "start_network", stop)
    X, Y = plates(12)
    # Only images with defects may have a mask.
    some = [~mask if mask.any() else None for mask in Y]
    for inverted, message in (
        (~Y, "Y calls most pixels defective in 12 of 12 images"),
        (some, "Y calls most pixels defective in 6 of 6 images"),
        (np.ones((12, 20), bool), "Y calls most windows defective in 12 of 12 images"),
    ):
        with pytest.raises(Enough), pytest.warns(UserWarning, match=message) as told:
            make().fit(X, inverted)
        assert told[0].filename == __file__
    # Large defects in a few images are no reason to warn, nor is `score`.
    few = [~mask if i < 6 else mask for i, mask in enumerate(Y)]
    with pytest.raises(Enough):
        make().fit(X, few)
    _masks.check_masks(~Y, check_images(X))


# --- in scikit-learn ----------------------------------------------------------------


@pytest.fixture
def quick():
    # Of the network of "no chains" above. With chains, to choose a threshold takes
    # longer than to train.
    return make(crf=False, epochs=1)


@pytest.mark.parametrize("method", ["decision_function", "predict_proba", "predict"])
def test_cross_val_predict(data, quick, method):
    X, Y, cv = data[0][:24], data[1][:24], KFold(2)
    expected = [
        getattr(clone(quick).fit(X[train], Y[train]), method)(X[test])
        for train, test in cv.split(X)
    ]
    found = cross_val_predict(quick, X, Y, cv=cv, method=method)
    np.testing.assert_array_equal(found, np.concatenate(expected))
    again = cross_val_predict(quick, list(X), list(Y), cv=cv, method=method)
    np.testing.assert_array_equal(again, found)


def test_scorers_of_masks(data, fitted):
    X, Y = data[2], data[3]
    assert pixel_f1_scorer(fitted, X, Y) == fitted.score(X, Y)
    defective = Y.any(axis=(1, 2))
    assert image_auroc_scorer(fitted, X, Y) == pytest.approx(
        roc_auc_score(defective, fitted.decision_function(X))
    )
    # Images that differ in size have lists of maps, and good images no mask.
    sizes = [X[0], X[1], X[2][:24]]
    masks = [Y[0], None, Y[2][:24]]
    assert pixel_f1_scorer(fitted, sizes, masks) == fitted.score(sizes, masks)
    assert region_overlap_scorer(fitted, sizes, masks) == region_overlap(
        masks, fitted.predict_proba(sizes)
    )


def test_cross_val_predict_from_files(data, quick, tmp_path):
    X, Y = data[0][:24], data[1][:24]
    paths = [str(tmp_path / f"{i}.png") for i in range(len(X))]
    for path, image in zip(paths, X, strict=True):
        cv2.imwrite(path, image)
    found, expected = (
        cross_val_predict(estimator, images, Y, cv=2, method="decision_function")
        for estimator, images in (
            (make_pipeline(ImageReader(), quick), paths),
            (quick, X),
        )
    )
    np.testing.assert_array_equal(found, expected)


# --- what cannot be used ------------------------------------------------------------


def with_value(value):
    X, Y = plates(10)
    X = X.astype(float)
    X[3, 2, 5] = value
    return X, Y


BAD = {
    "masks of another shape": (
        lambda X, Y: (X, Y[:, :30]),
        {},
        r"Y\[0\] has the shape \(30, 40\), but its image is \(32, 40\)",
    ),
    "masks of 0 and 255": (
        lambda X, Y: (X, Y * np.uint8(255)),
        {},
        r"Y\[0\] has the values 0, 255: a mask is 0 and 1. Masks of 0 and 255 become",
    ),
    "too few masks": (lambda X, Y: (X, Y[:3]), {}, "Y has 3 masks, but there are 10"),
    "nothing to find": (lambda X, Y: (X, Y * 0), {}, "Y has no positive pixel in any"),
    "NaN": (lambda X, Y: with_value(np.nan), {}, r"X\[3\] has 1 pixels that are NaN"),
    "beyond float32": (
        lambda X, Y: with_value(1e300),
        {},
        r"X\[3\] has values beyond what float32 can hold",
    ),
    "no masks": (
        lambda X, Y: (X, None),
        {},
        "Y must hold a mask for every .* NoneType",
    ),
    "a label for each image": (
        lambda X, Y: (X, [0, 1] * 5),
        {},
        r"Y\[0\] is 0 and no mask, .*: one label for an image is what LSTMImageClassif",
    ),
    "halves": (
        lambda X, Y: (X, Y * 0.5),
        {},
        r"Y\[0\] has the values 0\.0, 0\.5: a mask is 0 and 1\.$",
    ),
    "a size that windows do not fill": (
        lambda X, Y: (X, Y),
        {"size": 20},
        "those of 8 x 8 do not fill 20 x 20 pixels: make size a multiple",
    ),
    "a list of labels": (
        lambda X, Y: (X, [[0] * 20] * 10),
        {},
        r"Y\[0\] has the shape \(20,\), .* Labels of windows are one array",
    ),
    "paths": (
        lambda X, Y: (["a.png"] * 10, Y),
        {},
        r"X\[0\] is the path 'a.png' and no image: .* ImageReader\(size=..., color=",
    ),
    "an array of paths": (
        lambda X, Y: (np.array([Path("a.png")] * 10), Y),
        {},
        r"X\[0\] is the path 'a.png' and no image",
    ),
    "paths of masks": (
        lambda X, Y: (X, ["a.png"] * 10),
        {},
        r"Y\[0\] is the path 'a.png' and no mask: .* ImageReader\(color=.gray.\).*127",
    ),
    "NaN for a mask": (
        lambda X, Y: (X, [*Y[:9], np.nan]),
        {},
        r"Y\[9\] is nan and no mask, .* None stands for an image without defects",
    ),
    "kinds of defects": (
        lambda X, Y: (X, Y * 2 + np.roll(Y, 1, axis=1)),
        {},
        r"Y\[0\] has the values 0, 1, 2, 3: a mask is 0 and 1\. Kinds .* mask > 0\.$",
    ),
    "masks of text": (lambda X, Y: (X, Y.astype(str)), {}, r"Y\[0\] is <U5: a mask is"),
    "channels of masks": (
        lambda X, Y: (X, np.stack([Y, Y, ~Y], axis=-1)),
        {},
        r"Y\[0\] has three channels that differ",
    ),
    "one mask": (lambda X, Y: (X, "mask.png"), {}, "Y is a str: give masks"),
    "images without pixels": (
        lambda X, Y: (X[:, :0], Y[:, :0]),
        {},
        r"X\[0\] must be an image, .* it has shape \(0, 40\)",
    ),
    "flat": (lambda X, Y: (X.reshape(10, -1), Y), {}, "X must hold images, .* shape"),
    "channels": (
        lambda X, Y: ([X[0], np.dstack([X[1]] * 3), *X[2:]], Y),
        {},
        "X mixes images of 1 and 3 channels",
    ),
    "none": (lambda X, Y: ([], []), {}, "X holds no images"),
    "size": (lambda X, Y: (X, Y), {"size": 0}, "size must be"),
    "windows that do not fit": (
        lambda X, Y: (X, Y),
        {"sequencer": PatchSequencer(6, 6)},
        "stem=True needs windows whose sides and strides are multiples of 4",
    ),
    "a curve of windows": (
        lambda X, Y: (X, Y),
        {"sequencer": PatchSequencer(8, 8, "snake")},
        "sequencer must read windows on a grid, row by row",
    ),
    "one image with a defect": (
        lambda X, Y: (X[:2], Y[:2]),
        {},
        "1 of 2 images have defects, of 1 groups .*: at least two are needed",
    ),
}


@pytest.mark.parametrize("case", BAD)
def test_what_cannot_be_used(case):
    change, params, message = BAD[case]
    with pytest.raises(ValueError, match=message) as error:
        make(**params).fit(*change(*plates(10)))
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("X", "message"),
    [
        (sparse.csr_array(np.eye(4)), "X is sparse, but images must be dense"),
        (pd.DataFrame(np.eye(4)), r"X is a DataFrame: give images, an array \(n, heig"),
        ("a.png", "X is a str: give images"),
        (None, "X must hold images; got NoneType"),
    ],
    ids=["sparse", "table", "path", "nothing"],
)
def test_what_holds_no_images(X, message):
    with pytest.raises(TypeError, match=message):
        make().fit(X, np.zeros((4, 4)))


def test_other_things_that_cannot_be_used(data, fitted):
    with pytest.raises(TypeError, match="of a layer nobody knows how the mask"):
        make(augmentation=keras.layers.RandomFlip()).fit(*data[:2])
    with pytest.raises(ValueError, match=r"contrast=\(0,\) must be None or a tuple"):
        make(contrast=(0,)).fit(*plates(8))
    with pytest.raises(ValueError, match="network__stem is given: set stem instead"):
        make(network__stem=False).fit(*plates(8))
    with pytest.raises(ValueError, match="augmentation erases parts of images"):
        make(augmentation={"erasing": 0.5}).fit(*plates(8))
    with pytest.raises(TypeError, match="sequencer='rows' reads no windows"):
        make(sequencer="rows").fit(*data[:2])
    with pytest.raises(ValueError, match="X holds images of 3 channels, but"):
        fitted.predict(np.zeros((2, 32, 40, 3)))
    with pytest.raises(ValueError, match="X_val holds images of 3 channels, but"):
        make().fit(*data[:2], X_val=np.zeros((60, 32, 40, 3)), Y_val=data[1])
    with pytest.raises(ValueError, match="gives a label for every window and no class"):
        LSTMImageClassifier("window_lstm").fit(data[0], np.arange(60) % 2)


def entropy(p):
    p = np.clip(p.astype(float), 1e-300, 1 - 1e-16)
    return -p * np.log(p) - (1 - p) * np.log(1 - p)


@pytest.mark.backend
def test_an_ensemble_averages_probabilities_and_margins(data, quick):
    (X, Y), (X_test, Y_test) = (part[:24] for part in data[:2]), data[2:]
    ensemble = quick.set_params(n_estimators=2, bootstrap=True).fit(X, Y)
    members = ensemble.estimators_
    for rows in ensemble.estimators_samples_:
        # Every other image has a defect, and half of each resample.
        assert (rows % 2 == 0).mean() == 0.5
    # The images held out have no copy among those trained on.
    alone = clone(members[1]).fit(X[rows], Y[rows], groups=rows)
    np.testing.assert_array_equal(
        alone.predict_windows(X_test), members[1].predict_windows(X_test)
    )
    for method in ("predict_proba", "predict_windows"):
        each = [getattr(member, method)(X_test) for member in members]
        assert np.abs(each[0] - each[1]).max() > 1e-3
        np.testing.assert_allclose(
            getattr(ensemble, method)(X_test), np.mean(each, axis=0), atol=1e-6
        )
    # Images of two sizes: a list of maps, and each is that of its own size.
    smaller = [X_test[0, :24], *X_test[1:4]]
    mixed = ensemble.predict_uncertainty(smaller)
    probabilities = ensemble.predict_proba(smaller)
    each = [member.predict_proba(smaller) for member in members]
    for k, p in enumerate(probabilities):
        total, parts, model = (part[k] for part in mixed)
        assert total.shape == smaller[k].shape
        np.testing.assert_allclose(total, entropy(p), atol=1e-5)
        mean = np.mean([entropy(one[k]) for one in each], axis=0)
        np.testing.assert_allclose(parts, mean, atol=1e-5)
        np.testing.assert_allclose(parts + model, total, atol=1e-12)
        assert model.max() > 1e-6
    assert ensemble.predict_uncertainty(X_test).total.shape == X_test.shape
    alone = members[0].predict_uncertainty(X_test)
    assert alone.total.max() > 0.01
    assert alone.model.max() == 0
    low, high = sorted(member.threshold_ for member in members)
    assert low <= ensemble.threshold_ <= high
    p = np.sort(ensemble.predict_windows(X_test).astype(float), axis=1)[:, -2:]
    np.testing.assert_allclose(
        ensemble.decision_function(X_test), np.log(p / (1 - p)).mean(axis=1), atol=1e-3
    )
    # Without chains and with each pixel in one window, the margins decide as a mean.
    margins = np.mean(
        [
            np.log(p / (1 - p))
            for p in (m.predict_windows(X_test).astype(float) for m in members)
        ],
        axis=0,
    )
    decided = margins > np.log(ensemble.threshold_ / (1 - ensemble.threshold_))
    expected = ensemble.sequencer_.steps_to_image(decided.astype("float32")) > 0
    np.testing.assert_array_equal(ensemble.predict(X_test), expected)
    assert not hasattr(ensemble, "model_")
    assert "model_" not in ensemble._repr_html_()
    ensemble.fit(X, Y, X_val=X_test, Y_val=Y_test)
    assert ensemble.threshold_ in THRESHOLDS
