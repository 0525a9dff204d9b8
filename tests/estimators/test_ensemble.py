"""Ensembles of LSTMImageClassifier: members, bootstrap, uncertainty, callbacks."""

import copy
import io
import multiprocessing
import os
import pickle
import warnings
from concurrent.futures import ThreadPoolExecutor

from sklstm._keras import keras

import numpy as np
import pytest
from sklearn.base import clone

from sklstm import LSTMImageClassifier, OptunaSearchCV, load, save
from sklstm.estimators import _base, _fitting, _resampling, clear_pool
from sklstm.estimators._samples import LabelledSamples
from sklstm.model_selection._study import FOLDS
from sklstm.training import _compiled

try:
    from sklearn.callback import ProgressBar
except ImportError:
    ProgressBar = None

needs_callbacks = pytest.mark.skipif(
    ProgressBar is None, reason="scikit-learn has callbacks from 1.9 on"
)


def make(**params):
    settings = {
        "n_estimators": 2,
        "units": 8,
        "epochs": 3,
        "learning_rate": 0.02,
        "random_state": 0,
    }
    return LSTMImageClassifier(**{**settings, **params})


@pytest.fixture(scope="module")
def four(digits):
    images, y = digits
    images, y = images[y < 4], y[y < 4]
    return images[:120], y[:120], images[120:200], y[120:200]


@pytest.fixture(scope="module")
def ensemble(four):
    """Fitted; tests leave it as it is."""
    return make(n_estimators=3).fit(*four[:2])


@pytest.mark.parametrize(
    "params",
    [
        pytest.param({}, marks=pytest.mark.backend),
        {"bootstrap": True, "class_weight": "balanced", "early_stopping": True},
        {"calibration": "temperature", "early_stopping": True},
    ],
)
def test_a_clone_of_a_member_predicts_the_same(four, params):
    X, y, X_test, _ = four
    weights = 1.0 + np.arange(len(X)) % 3
    fitted = make(**params).fit(X, y, weights)
    rows = fitted.estimators_samples_
    assert len(fitted.estimators_) == len(rows) == 2
    members = [member.predict_proba(X_test) for member in fitted.estimators_]
    assert not np.allclose(*members, atol=0.01)
    for member, own, found in zip(fitted.estimators_, rows, members, strict=True):
        groups = own if fitted.bootstrap else None
        alone = clone(member).fit(X[own], y[own], weights[own], groups=groups)
        np.testing.assert_array_equal(alone.predict_proba(X_test), found)
    if "calibration" not in params:
        mean = np.mean(members, axis=0)
        np.testing.assert_allclose(fitted.predict_proba(X_test), mean, atol=1e-6)


def test_more_members_begin_with_the_same(four, ensemble):
    two = make().fit(*four[:2])
    seeds = [member.random_state for member in ensemble.estimators_]
    assert [member.random_state for member in two.estimators_] == seeds[:2]
    assert len(set(seeds)) == 3


def test_a_single_network_is_its_only_member(four):
    single = make(n_estimators=1).fit(*four[:2])
    assert single.estimators_ == [single]
    uncertainty = single.predict_uncertainty(four[2])
    np.testing.assert_array_equal(uncertainty.model, 0)
    with pytest.raises(AttributeError, match="not fitted yet"):
        make().estimators_  # noqa: B018


def test_members_share_one_graph(four, monkeypatch):
    built = []
    own = _compiled.CompiledNetwork._build

    def build(self):
        built.append(self)
        return own(self)

    monkeypatch.setattr(_compiled.CompiledNetwork, "_build", build)
    clear_pool()
    fitted = make(n_estimators=4).fit(*four[:2])
    X = four[2]
    expected = fitted.predict_proba(X)
    for member in fitted.estimators_:
        member.predict_proba(X)
    assert len(built) == 1
    # Neither does a copy make a graph for each member.
    twin = pickle.loads(pickle.dumps(fitted))
    np.testing.assert_array_equal(twin.predict_proba(X), expected)
    assert len(built) == 2
    del fitted, twin
    make(n_estimators=2).fit(*four[:2])
    assert len(built) == 2  # both went back to the pool


def test_threads_predict_what_one_predicts(four, ensemble):
    X = four[2]
    expected = [one.predict_proba(X) for one in [ensemble, *ensemble.estimators_]]
    with ThreadPoolExecutor(4) as pool:
        for _ in range(10):
            found = pool.map(
                lambda one: one.predict_proba(X), [ensemble, *ensemble.estimators_]
            )
            for one, other in zip(found, expected, strict=True):
                np.testing.assert_array_equal(one, other)


@pytest.mark.backend
def test_files_and_pickles_keep_all_members(four):
    X, y, X_test, _ = four
    fitted = make(warm_start=True, calibration="temperature", attention="self")
    fitted.fit(X, y)
    expected = fitted.predict_proba(X_test)
    file = io.BytesIO()
    save(fitted, file)
    file.seek(0)
    for twin in (load(file), pickle.loads(pickle.dumps(fitted))):
        np.testing.assert_array_equal(twin.predict_proba(X_test), expected)
        maps = [member.attention_map(X_test) for member in twin.estimators_]
        mean = np.mean(maps, axis=0)
        np.testing.assert_allclose(twin.attention_map(X_test), mean, atol=1e-6)
    # The copy can be trained further, and the other is as it was.
    twin.fit(X, y)
    assert twin.n_iter_ == 6
    np.testing.assert_array_equal(fitted.predict_proba(X_test), expected)


def own_network(input_shape, n_classes):
    inputs = keras.Input(input_shape)
    x = keras.layers.LSTM(4)(inputs)
    return keras.Model(inputs, keras.layers.Dense(n_classes, "softmax")(x))


def test_a_file_keeps_members_of_an_own_network(four):
    X, y, X_test, _ = four
    fitted = make(network=own_network, epochs=1).fit(X, y)
    file = io.BytesIO()
    save(fitted, file)
    file.seek(0)
    twin = load(file)
    np.testing.assert_array_equal(
        twin.predict_proba(X_test), fitted.predict_proba(X_test)
    )


@pytest.mark.backend
def test_the_model_gives_the_mean(four):
    X, y, X_test, _ = four
    fitted = make(calibration="temperature").fit(X, y)
    assert fitted.temperature_ != 1
    found = keras.ops.convert_to_numpy(fitted.model_(X_test.astype("float32")))
    expected = fitted.predict_proba(X_test)
    np.testing.assert_allclose(found, expected, atol=1e-6)
    assert fitted.model_ is fitted.model_
    fitted.fit(X[::-1], y[::-1])
    found = keras.ops.convert_to_numpy(fitted.model_(X_test.astype("float32")))
    assert np.abs(found - expected).max() > 1e-3


def test_the_display_makes_no_model(four, ensemble, monkeypatch):
    monkeypatch.delattr(_compiled.CompiledNetwork, "_build")
    assert "model_" in ensemble._repr_html_()


def test_warm_start_trains_all_members_further(four):
    X, y, X_test, _ = four
    fitted = make(warm_start=True, bootstrap=True).fit(X, y)
    before = fitted.predict_proba(X_test)
    rows, losses = fitted.estimators_samples_, fitted.history_["loss"]
    with pytest.raises(ValueError, match="n_estimators changed since the last fit"):
        copy.copy(fitted).set_params(n_estimators=3).fit(X, y)
    # A failure leaves all members as they were.
    fitted.set_params(callbacks=FailInMember(1))
    with pytest.raises(RuntimeError, match="member 1"):
        fitted.fit(X, y)
    np.testing.assert_array_equal(fitted.predict_proba(X_test), before)
    fitted.set_params(callbacks=None).fit(X, y)
    assert [member.n_iter_ for member in fitted.estimators_] == [6, 6]
    # A member is an estimator of its own, which trains on too.
    assert copy.deepcopy(fitted.estimators_[0]).fit(X, y).n_iter_ == 9
    assert fitted.history_["loss"][:3] == losses
    # What the out-of-bag samples calibrate must not have been trained on before.
    for now, then in zip(fitted.estimators_samples_, rows, strict=True):
        np.testing.assert_array_equal(now, then)
    with pytest.raises(ValueError, match="bootstrap changed since the last fit"):
        copy.copy(fitted).set_params(bootstrap=False).fit(X, y)
    with pytest.raises(ValueError, match="calibration changed since the last fit"):
        copy.copy(fitted).set_params(calibration="temperature").fit(X, y)
    single = make(n_estimators=1, warm_start=True).fit(X, y)
    with pytest.raises(ValueError, match="n_estimators changed"):
        single.set_params(n_estimators=2).fit(X, y)


def own_loss(y_true, y_pred):
    return keras.losses.categorical_crossentropy(y_true, y_pred)


class OwnLoss(keras.losses.Loss):
    def __init__(self):
        super().__init__()
        self.scale = object()  # a copy cannot be proven equal

    def call(self, y_true, y_pred):
        return keras.losses.categorical_crossentropy(y_true, y_pred)


def test_members_that_train_on_take_over_new_parameters(four):
    X, y = four[:2]
    fitted = make(warm_start=True, lr_schedule="constant", loss=OwnLoss()).fit(X, y)
    seeds = [member.random_state for member in fitted.estimators_]
    fitted.set_params(learning_rate=1e-4, epochs=2, random_state=5).fit(X, y)
    for member, seed in zip(fitted.estimators_, seeds, strict=True):
        assert member.history_["learning_rate"] == pytest.approx(
            [0.02] * 3 + [1e-4] * 2
        )
        assert (member.n_estimators, member.random_state) == (1, seed)
    # An object that the user changes is noticed, as by a single network.
    optimizer = keras.optimizers.Adam(0.01)
    other = make(warm_start=True, epochs=1, optimizer=optimizer).fit(X, y)
    optimizer.learning_rate = 0.001
    rates = other.set_params(lr_schedule="constant").fit(X, y).history_["learning_rate"]
    assert rates[1] == pytest.approx(0.001)
    for name, value in {"units": 16, "loss": own_loss}.items():
        changed = copy.copy(fitted).set_params(**{name: value})
        with pytest.raises(ValueError, match=f"{name} changed since the last fit"):
            changed.fit(X, y)


@pytest.mark.parametrize("way", ["weights", "calibration", "groups"])
def test_a_clone_of_a_member_plans_the_same_epochs(four, way, monkeypatch):
    monkeypatch.setattr(_base, "_FEWEST_UPDATES", 360)
    X, y = four[0][:96], four[1][:96]
    how, params = {}, {"n_estimators": 2}
    if way == "weights":
        how["sample_weight"] = np.arange(len(X)) % 3 > 0
    elif way == "groups":
        how["groups"] = np.repeat(np.arange(6), [4, 28, 4, 28, 4, 28])
        params["bootstrap"] = True
    else:
        params = {"calibration": "temperature", "validation_fraction": 0.4}
    fitted = make(epochs="auto", units=1, batch_size=16, **params).fit(X, y, **how)
    planned = [member.n_iter_ for member in fitted.estimators_]
    assert planned != [fitted._plan_epochs(X)] * len(planned)
    for n_epochs, member, rows in zip(
        planned, fitted.estimators_, fitted.estimators_samples_, strict=True
    ):
        assert clone(member)._plan_epochs(X[rows]) == n_epochs
    assert fitted._planned_epochs == sum(planned)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
@pytest.mark.skipif(
    keras.backend.backend() == "torch", reason="PyTorch can be used after a fork"
)
def test_a_forked_child_says_what_to_do(four, ensemble):
    X = four[2]
    ensemble.predict(X[:1])
    results = multiprocessing.get_context("fork").SimpleQueue()

    def work():
        try:
            ensemble.predict(X[:1])
        except RuntimeError as error:
            results.put(str(error))

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Python and JAX warn of forks, too
        child = multiprocessing.get_context("fork").Process(target=work)
        child.start()
    child.join(20)
    hangs = child.is_alive()
    child.kill()
    assert not hangs
    assert not results.empty()
    assert "start processes by 'spawn' or 'forkserver'" in results.get()


def test_a_warning_is_about_the_line_that_calls_fit(four, monkeypatch):
    monkeypatch.setattr(_fitting, "_EXPLODED", 0.0)
    with warnings.catch_warnings(record=True) as seen:
        warnings.filterwarnings("always", "The gradient exploded")
        make(epochs=1).fit(*four[:2])
    assert [warning.filename for warning in seen] == [__file__] * 2


class FailInMember(keras.callbacks.Callback):
    """Counts the fits that it sees, and fails in one of them."""

    def __init__(self, member):
        super().__init__()
        self.member = member
        self.seen = -1

    def on_train_begin(self, logs=None):
        self.seen += 1

    def on_epoch_end(self, epoch, logs=None):
        if self.seen == self.member:
            raise RuntimeError(f"member {self.member}")


def test_partial_fit_trains_all_members(four):
    X, y = four[:2]
    fitted = make(bootstrap=True)
    for start in (0, 60):
        part = slice(start, start + 60)
        fitted.partial_fit(X[part], y[part], classes=range(4))
    rows = fitted.estimators_samples_[0]
    fitted.partial_fit(X[part], y[part])
    assert not np.array_equal(fitted.estimators_samples_[0], rows)
    assert [member.n_iter_ for member in fitted.estimators_] == [3, 3]
    with pytest.raises(ValueError, match="calibration='temperature' needs"):
        make(calibration="temperature").partial_fit(X, y)


def test_a_resample_keeps_classes_and_groups(four, monkeypatch):
    X, y = four[:2]
    fitted = make(bootstrap=True, epochs=1).fit(X, y)
    first, second = fitted.estimators_samples_
    assert not np.array_equal(first, second)
    for rows in (first, second):
        assert len(np.unique(rows)) < 0.75 * len(X)
        np.testing.assert_array_equal(np.bincount(y[rows]), np.bincount(y))
    groups = np.arange(len(X)) // 6
    fitted.fit(X, y, groups=groups)
    for rows in fitted.estimators_samples_:
        times = np.bincount(rows, minlength=len(X)).reshape(-1, 6)
        assert (times == times[:, :1]).all()
        assert times[:, 0].sum() == 20
    monkeypatch.setattr(_resampling, "_MOST_DRAWS", 1)
    with pytest.raises(ValueError, match="no draw had all classes"):
        fitted.fit(X, y, groups=y)


@pytest.mark.parametrize("groups", [None, np.arange(9) // 2])
def test_a_member_that_holds_out_has_two_of_each_class(groups):
    codes = np.array([0, 0, 0, 0, 0, 0, 1, 1, 1])
    names = np.arange(9) if groups is None else groups
    samples = LabelledSamples(np.zeros((9, 2)), codes, np.ones(9), groups)
    found = {1: [], 2: []}
    for at_least, fewest in found.items():
        for seed in range(30):
            sequence = np.random.SeedSequence(seed)
            rows = _resampling.draw_rows(samples, np.arange(9), sequence, at_least)
            fewest.append(
                min(len(np.unique(names[rows[codes[rows] == c]])) for c in (0, 1))
            )
    assert min(found[1]) == 1
    assert min(found[2]) == 2
    # A class that has one row, or group, at all keeps it.
    codes = np.array([0] * 8 + [1])
    samples = LabelledSamples(np.zeros((9, 2)), codes, np.ones(9), groups)
    rows = _resampling.draw_rows(samples, np.arange(9), np.random.SeedSequence(0), 2)
    assert 8 in rows


def test_members_that_hold_out_can_do_so(four):
    X, y = four[0][:20], np.arange(20) > 17
    for seed in range(3):
        fitted = make(
            bootstrap=True,
            early_stopping=True,
            validation_fraction=0.4,
            epochs=1,
            units=1,
            n_estimators=3,
            random_state=seed,
        ).fit(X, y)
        for member, rows in zip(
            fitted.estimators_, fitted.estimators_samples_, strict=True
        ):
            assert len(np.unique(rows[y[rows]])) == 2
            assert "val_loss" in member.history_


def test_uncertainty_is_that_of_the_members(four, ensemble):
    X = four[2]
    p = np.stack([one.predict_proba(X) for one in ensemble.estimators_]).astype(float)
    mean = p.mean(axis=0)
    total, data, model = ensemble.predict_uncertainty(X)
    np.testing.assert_allclose(total, -(mean * np.log(mean)).sum(axis=1))
    np.testing.assert_allclose(data, -(p * np.log(p)).sum(axis=2).mean(axis=0))
    # The mutual information is the mean divergence of a member from the mean.
    divergence = (p * np.log(p / mean)).sum(axis=2).mean(axis=0)
    np.testing.assert_allclose(model, divergence, atol=1e-9)
    assert (model > 0).all()


class Recorder:
    """A callback of scikit-learn that keeps what it is shown."""

    def __init__(self):
        self.tasks = []
        self.models = []

    def setup(self, estimator, context):
        pass

    def teardown(self, estimator, context):
        pass

    def on_fit_task_begin(self, estimator, context):
        pass

    def on_fit_task_end(self, estimator, context, *, X, fitted_estimator):
        self.tasks.append(context.task_name)
        self.models.append((estimator, fitted_estimator.predict_proba(X)))


@needs_callbacks
def test_callbacks_see_members_and_their_epochs(four):
    X, y = four[:2]
    recorder = Recorder()
    fitted = make(epochs=2).set_callbacks(recorder).fit(X, y)
    member = ["epoch", "epoch", "member"]
    assert recorder.tasks == [*member, *member, "fit"]
    assert all(estimator is fitted for estimator, _ in recorder.models)
    first = fitted.estimators_[0].predict_proba(X)
    np.testing.assert_array_equal(recorder.models[1][1], first)
    np.testing.assert_array_equal(recorder.models[2][1], first)
    np.testing.assert_array_equal(recorder.models[-2][1], fitted.predict_proba(X))
    # To be seen changes nothing.
    again = make(epochs=2).fit(X, y)
    np.testing.assert_array_equal(again.predict_proba(X), fitted.predict_proba(X))


class StopAfterMember(Recorder):
    """Predicts when a member begins, and stops when the second ends."""

    def __init__(self):
        super().__init__()
        self.known = []

    def on_fit_task_begin(self, estimator, context):
        if context.task_name == "member":
            known = estimator.__sklearn_is_fitted__()
            self.known.append(known and len(estimator.predict_proba(self.X)))

    def on_fit_task_end(self, estimator, context):
        return context.task_name == "member" and context.task_id == 1


@needs_callbacks
def test_an_ensemble_that_was_stopped_trains_on(four):
    X, y = four[:2]
    callback = StopAfterMember()
    callback.X = X[:4]
    fitted = make(n_estimators=4, epochs=1, warm_start=True).set_callbacks(callback)
    fitted.fit(X, y)
    # Before the first member, nothing is there to predict with.
    assert callback.known == [False, 4]
    assert len(fitted.estimators_) == len(fitted.estimators_samples_) == 2
    fitted.set_callbacks()
    fitted.fit(X, y)
    assert [member.n_iter_ for member in fitted.estimators_] == [2, 2, 1, 1]
    assert len({member.random_state for member in fitted.estimators_}) == 4
    with pytest.raises(ValueError, match="n_estimators changed"):
        fitted.set_params(n_estimators=2).fit(X, y)


class StopAtOnce(keras.callbacks.Callback):
    def __init__(self):
        super().__init__()
        self.n_fits = 0

    def on_epoch_end(self, epoch, logs=None):
        self.n_fits += 1
        self.model.stop_training = True


def test_members_run_the_callbacks_of_the_user(four):
    callback = StopAtOnce()
    fitted = make(callbacks=callback).fit(*four[:2])
    assert callback.n_fits == 2
    assert fitted.n_iter_ == 1


def test_a_search_prunes_by_the_ensemble_so_far(four):
    optuna = pytest.importorskip("optuna")
    seen = []

    class Pruner(optuna.pruners.BasePruner):
        def __deepcopy__(self, memo):
            return self

        def prune(self, study, trial):
            seen.append(trial.last_step)
            return trial.number > 0 and trial.last_step >= 4

    search = OptunaSearchCV(
        make(n_estimators=3, epochs=10),
        {"learning_rate": [0.01, 0.02]},
        n_trials=2,
        cv=2,
        refit=False,
        pruner=Pruner(),
        random_state=0,
    )
    search.fit(*four[:2])
    assert seen[:10] == list(range(1, 11))
    assert search.cv_results_["trial_state"].tolist() == ["COMPLETE", "PRUNED"]
    (fold,) = search.study_.trials[1].user_attrs[FOLDS]["folds"]
    # The second of three members stops after two epochs, and the third after one.
    assert fold["n_epochs"] == 10 + 2 + 1
