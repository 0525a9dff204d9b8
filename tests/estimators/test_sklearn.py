"""Across modules: scikit-learn's checks and tools on LSTMImageClassifier."""

import copy
import gc
import pickle
import subprocess
import sys

import joblib
import numpy as np
import pytest
from sklearn import config_context
from sklearn.base import clone, is_classifier
from sklearn.calibration import CalibratedClassifierCV
from sklearn.ensemble import StackingClassifier
from sklearn.experimental import enable_halving_search_cv  # noqa: F401
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import accuracy_score, make_scorer
from sklearn.model_selection import (
    GridSearchCV,
    HalvingGridSearchCV,
    StratifiedKFold,
    cross_val_predict,
    cross_val_score,
    cross_validate,
)
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import FunctionTransformer
from sklearn.utils.estimator_checks import parametrize_with_checks

from sklstm import LSTMImageClassifier, RowSequencer

try:
    from sklearn.callback import ProgressBar, ScoringMonitor
except ImportError:
    ProgressBar = None

needs_callbacks = pytest.mark.skipif(
    ProgressBar is None, reason="scikit-learn has callbacks from 1.9 on"
)

# At most two rows.
EXPECTED_FAILURES = {
    "check_sample_weight_equivalence_on_dense_data": (
        "a sample of weight 2 is in one minibatch, two copies of it are in two: the "
        "order of the batches and the number of updates differ"
    ),
    "check_do_not_raise_errors_in_init_or_set_params": (
        "the check reads **routed in the signature as a parameter named 'routed'; a "
        "name that begins with no known prefix is a TypeError, as in any function"
    ),
}
ORDERED_ONLY = {
    "check_classifiers_classes": (
        "the check fits strings as classes; the order of grades is that of numbers"
    ),
}


def make(**params):
    """A classifier that learns four digits in a second; one graph serves them all."""
    settings = {
        "units": 16,
        "epochs": 10,
        "learning_rate": 0.02,
        "batch_size": 16,
        "random_state": 0,
    }
    return LSTMImageClassifier(**{**settings, **params})


def make_pipeline(**params):
    return Pipeline([("seq", RowSequencer()), ("clf", make(**params))])


GRID = {
    "seq__sequence_length": [4, 8],
    "clf__dropout": [0.1, 0.4],
    "clf__learning_rate": [1e-5, 0.02],
}


@pytest.fixture(scope="module")
def four(digits):
    """The digits 0 to 3: 240 to train on, 120 to test on."""
    images, y = digits
    images, y = images[y < 4], y[y < 4]
    return images[:240], y[:240], images[240:360], y[240:360]


@pytest.fixture(scope="module")
def fitted(four):
    """A fitted classifier; tests read it and do not fit it again."""
    return make().fit(*four[:2])


# No dropout: the checks' toy sets are smaller than what it is for.
CHECKED = {
    "units": 8,
    "epochs": 10,
    "learning_rate": 0.01,
    "batch_size": 16,
    "dropout": 0,
    "random_state": 0,
}


@parametrize_with_checks(
    [LSTMImageClassifier(**CHECKED)],
    expected_failed_checks=lambda estimator: EXPECTED_FAILURES,
)
def test_sklearn_check(estimator, check):
    check(estimator)


@pytest.mark.slow
@parametrize_with_checks(
    [
        LSTMImageClassifier(sequencer=RowSequencer(), **CHECKED),
        LSTMImageClassifier(ordinal=True, **CHECKED),
    ],
    expected_failed_checks=lambda estimator: {
        **EXPECTED_FAILURES,
        **(ORDERED_ONLY if estimator.ordinal else {}),
    },
)
def test_sklearn_check_of_a_scan_inside_and_of_grades(estimator, check):
    check(estimator)


@pytest.mark.slow
# A check weighs one class a thousand times the others: the gradient is large, and said.
@pytest.mark.filterwarnings("ignore:.*gradient")
@parametrize_with_checks(
    [
        LSTMImageClassifier(
            "cnn_lstm",
            units=4,
            epochs=10,
            learning_rate=0.01,
            batch_size=16,
            dropout=0,
            random_state=0,
        )
    ],
    expected_failed_checks=lambda estimator: EXPECTED_FAILURES,
)
def test_sklearn_check_of_a_network_that_takes_images(estimator, check):
    check(estimator)


@pytest.mark.slow
@parametrize_with_checks(
    [LSTMImageClassifier(n_estimators=2, bootstrap=True, **CHECKED)],
    expected_failed_checks=lambda estimator: EXPECTED_FAILURES,
)
def test_sklearn_check_of_an_ensemble(estimator, check):
    check(estimator)


def test_logarithms_of_probabilities(fitted, four):
    logarithms = fitted.predict_log_proba(four[2])
    assert logarithms.dtype == np.float32
    np.testing.assert_allclose(
        np.exp(logarithms), fitted.predict_proba(four[2]), rtol=1e-6
    )
    search = GridSearchCV(fitted, {"units": [4]}, cv=2)
    assert hasattr(search, "predict_log_proba")


def test_table_of_expected_failures_is_short():
    assert len(EXPECTED_FAILURES) <= 2


def test_is_classifier():
    assert is_classifier(make())
    assert is_classifier(make_pipeline())


def test_cross_val_score_on_data_sorted_by_class(four):
    X, y = four[:2]
    order = np.argsort(y, kind="stable")
    scores = cross_val_score(make(), X[order], y[order], cv=3)
    assert scores.mean() > 0.85
    # The control: folds that are not stratified cannot learn the class left out.
    bare = cross_val_score(make(), X[order], y[order], cv=np_folds(len(y), 4))
    assert bare.mean() < 0.2


def np_folds(n, k):
    """Contiguous folds, as KFold makes them."""
    folds = np.array_split(np.arange(n), k)
    return [(np.setdiff1d(np.arange(n), fold), fold) for fold in folds]


def test_grid_search_over_pipeline(four):
    X, y, X_test, y_test = four
    search = GridSearchCV(make_pipeline(), GRID, cv=2).fit(X, y)
    assert len(search.cv_results_["params"]) == 8
    assert search.best_params_["clf__learning_rate"] == 0.02
    assert search.score(X_test, y_test) > 0.85
    best = search.best_estimator_
    assert best["clf"].learning_rate == 0.02
    length = search.best_params_["seq__sequence_length"]
    assert best["seq"].transform(X_test).shape == (len(X_test), length, 64 // length)


def test_halving_grid_search_over_pipeline(four):
    X, y, X_test, y_test = four
    search = HalvingGridSearchCV(
        make_pipeline(), GRID, cv=2, factor=3, min_resources=60, random_state=0
    ).fit(X, y)
    assert search.n_candidates_ == [8, 3]
    assert search.best_params_["clf__learning_rate"] == 0.02
    assert search.score(X_test, y_test) > 0.85


def test_calibrated_classifier(four):
    X, y, X_test, y_test = four
    calibrated = CalibratedClassifierCV(make(), method="sigmoid", cv=3).fit(X, y)
    assert len(calibrated.calibrated_classifiers_) == 3
    probabilities = calibrated.predict_proba(X_test)
    np.testing.assert_allclose(probabilities.sum(axis=1), 1, rtol=1e-5)
    assert calibrated.score(X_test, y_test) > 0.85


def test_stacking_classifier(four):
    X, y, X_test, y_test = four
    flatten = FunctionTransformer(lambda images: images.reshape(len(images), -1))
    stack = StackingClassifier(
        [
            ("rows", make_pipeline()),
            (
                "pixels",
                Pipeline([("flat", flatten), ("lr", LogisticRegression(C=1e-3))]),
            ),
        ],
        cv=2,
    ).fit(X, y)
    assert stack.final_estimator_.coef_.shape == (4, 8)  # four probabilities of each
    assert stack.score(X_test, y_test) > 0.85


def test_cross_val_predict_proba(four):
    X, y = four[:2]
    out_of_fold = cross_val_predict(make(), X, y, cv=2, method="predict_proba")
    assert out_of_fold.shape == (len(X), 4)
    np.testing.assert_allclose(out_of_fold.sum(axis=1), 1, rtol=1e-5)
    assert (out_of_fold.argmax(axis=1) == y).mean() > 0.75
    # Row by row, what the model of the other fold says.
    train, test = next(StratifiedKFold(2).split(X, y))
    other = make().fit(X[train], y[train])
    np.testing.assert_allclose(
        out_of_fold[test], other.predict_proba(X[test]), rtol=1e-5, atol=1e-6
    )


def test_sample_weight_is_routed_through_searches(four):
    X, y, X_test, y_test = four
    weights = np.where(y == 3, 0.0, 1.0)
    accuracy = make_scorer(accuracy_score)
    with config_context(enable_metadata_routing=True):
        pipeline = make_pipeline()
        pipeline["clf"].set_fit_request(sample_weight=True)
        accuracy.set_score_request(sample_weight=False)
        grid = {"clf__learning_rate": [0.02]}
        search = GridSearchCV(pipeline, grid, cv=2, scoring=accuracy)
        search.fit(X, y, sample_weight=weights)
        assert list(search.best_estimator_.classes_) == [0, 1, 2, 3]
        assert 3 not in search.predict(X_test)

        folds = cross_validate(
            pipeline,
            X,
            y,
            cv=2,
            scoring=accuracy,
            params={"sample_weight": weights},
            return_estimator=True,
        )
        for model in folds["estimator"]:
            assert 3 not in model.predict(X_test)

        # The control: the same search finds the class where nothing is routed to it.
        pipeline["clf"].set_fit_request(sample_weight=False)
        search = GridSearchCV(pipeline, grid, cv=2, scoring=accuracy)
        assert search.fit(X, y).score(X_test, y_test) > 0.85


def test_validation_set_goes_through_the_pipeline(four):
    X, y, X_val, y_val = four
    with config_context(enable_metadata_routing=True):
        pipeline = Pipeline(
            [
                ("seq", RowSequencer(sequence_length=4)),
                ("clf", make(epochs=3).set_fit_request(X_val=True, y_val=True)),
            ],
            transform_input=["X_val"],
        )
        # Raw images of (8, 8), where the classifier is trained on sequences of (4, 16).
        pipeline.fit(X, y, X_val=X_val, y_val=y_val)
        history = pipeline["clf"].history_
        assert len(history["val_loss"]) == 3
        expected = (pipeline.predict(X_val) == y_val).mean()
        assert history["val_accuracy"][-1] == pytest.approx(expected, abs=1e-6)


@needs_callbacks
def test_progress_bar(four, capsys):
    X, y = four[:2]
    bar = make(epochs=2).set_callbacks(ProgressBar())
    bar.fit(X, y)
    shown = capsys.readouterr().out
    assert "LSTMImageClassifier" in shown
    assert "100%" in shown
    # It watches and does not take part.
    np.testing.assert_array_equal(
        bar.predict_proba(X), make(epochs=2).fit(X, y).predict_proba(X)
    )


@needs_callbacks
def test_progress_bar_on_grid_search_over_pipeline(four, capsys):
    X, y = four[:2]
    search = GridSearchCV(
        make_pipeline(epochs=2), {"clf__learning_rate": [0.01, 0.02]}, cv=2
    )
    search.set_callbacks(ProgressBar(max_propagation_depth=None)).fit(X, y)
    shown = capsys.readouterr().out
    assert "GridSearchCV" in shown
    assert "LSTMImageClassifier" in shown
    assert "100%" in shown


class Recorder:
    """Keeps what it is shown of each epoch; says stop after some."""

    def __init__(self, stop_after=None, shown=None):
        self.stop_after = stop_after
        self.shown = shown or {}
        self.begun = []
        self.tasks = []
        self.models = []
        self.set_up = self.torn_down = 0

    def setup(self, estimator, context):
        self.set_up += 1

    def teardown(self, estimator, context):
        self.torn_down += 1

    def on_fit_task_begin(self, estimator, context):
        self.begun.append((context.task_name, context.task_id))

    def on_fit_task_end(self, estimator, context, *, X, y, metadata, fitted_estimator):
        self.tasks.append((context.task_name, context.task_id))
        self.models.append(fitted_estimator)
        if context.task_name == "epoch":
            assert len(X) == len(y)
            assert metadata == self.shown
            return self.stop_after == context.task_id + 1
        return None


@needs_callbacks
def test_callback_sees_one_task_per_epoch(four):
    X, y, X_test, _ = four
    recorder = Recorder()
    model = make(epochs=3).set_callbacks(recorder).fit(X, y)
    epochs = [("epoch", 0), ("epoch", 1), ("epoch", 2)]
    assert recorder.begun == [("fit", 0), *epochs]
    assert recorder.tasks == [*epochs, ("fit", 0)]
    assert recorder.set_up == recorder.torn_down == 1
    assert model.n_iter_ == 3
    # Each is the model as it was after its epoch, and stays so.
    *seen, last = [m.predict_proba(X_test) for m in recorder.models]
    at_the_end = recorder.models[-1]
    assert [m.n_iter_ for m in recorder.models] == [1, 2, 3, 3]
    assert [len(m.history_["loss"]) for m in recorder.models] == [1, 2, 3, 3]
    final = model.predict_proba(X_test)
    np.testing.assert_array_equal(seen[2], final)
    np.testing.assert_array_equal(last, final)
    assert np.abs(seen[0] - seen[1]).max() > 0.01
    model.partial_fit(X, y)
    assert np.abs(model.predict_proba(X_test) - final).max() > 0
    np.testing.assert_array_equal(at_the_end.predict_proba(X_test), final)


@needs_callbacks
@pytest.mark.parametrize(
    ("relabel", "shape", "weighted", "early"),
    [
        (lambda y: np.array(["zero", "one", "two", "three"])[y], (8, 8), False, False),
        (lambda y: y + 1, (64,), True, True),
    ],
)
def test_scoring_monitor_scores_what_fit_was_given(
    four, relabel, shape, weighted, early
):
    X, y = four[:2]
    X, y = X.reshape(-1, *shape), relabel(y)
    weights = np.random.default_rng(0).uniform(0, 2, len(y))
    metadata = {"sample_weight": weights} if weighted else {}

    monitor = ScoringMonitor(scoring="accuracy")
    recorder = Recorder(shown=metadata)
    model = make(epochs=3, early_stopping=early, validation_fraction=0.2)
    model.set_callbacks(monitor, recorder).fit(X, y, **metadata)
    found = [row["accuracy"] for row in monitor.get_logs().data]
    expected = [seen.score(X, y, **metadata) for seen in recorder.models]
    assert sorted(found) == sorted(expected)
    assert len(found) == 4  # three epochs and the whole
    assert model.score(X, y, **metadata) == expected[-1]
    assert set(model.predict(X)) <= set(y)


@needs_callbacks
def test_scoring_monitor_in_a_pipeline(four):
    X, y = four[0], four[1] + 1
    monitor = ScoringMonitor(scoring="accuracy")
    pipeline = make_pipeline(epochs=2)
    pipeline[-1].set_callbacks(monitor)
    pipeline.fit(X, y)
    assert monitor.get_logs().data[-1]["accuracy"] == pipeline.score(X, y)


@needs_callbacks
def test_callback_stops_training(four):
    X, y, X_test, _ = four
    recorder = Recorder(stop_after=2)
    model = make(epochs=5).set_callbacks(recorder).fit(X, y)
    assert model.n_iter_ == len(model.history_["loss"]) == 2
    np.testing.assert_array_equal(
        model.predict_proba(X_test), recorder.models[1].predict_proba(X_test)
    )


@needs_callbacks
def test_callback_is_let_go_when_fit_fails(four):
    X, y = four[:2]
    recorder = Recorder()
    model = make().set_callbacks(recorder)
    before = dict(vars(model))
    with pytest.raises(ValueError, match="y has 239"):
        model.fit(X, y[:-1])
    assert recorder.set_up == recorder.torn_down == 1
    assert vars(model) == before


@pytest.mark.slow
def test_loky_workers_agree_with_this_process(four):
    X, y = four[:2]
    with joblib.parallel_config(backend="loky"):
        apart = cross_val_predict(make(), X, y, cv=2, n_jobs=2, method="predict_proba")
    here = cross_val_predict(make(), X, y, cv=2, n_jobs=1, method="predict_proba")
    # Another process may split sums over another number of threads.
    np.testing.assert_allclose(apart, here, rtol=1e-3, atol=1e-5)


def test_clone_and_get_params():
    model = make(optimizer__beta_1=0.8, network__embedding_units=4)
    copied = clone(model)
    assert copied.get_params() == model.get_params()
    assert copied.get_params()["optimizer__beta_1"] == 0.8
    assert copied is not model
    assert not hasattr(copied, "classes_")
    copied.set_params(optimizer__beta_1=0.7)
    assert model.optimizer__beta_1 == 0.8


def test_clone_of_a_fitted_one_is_not_fitted(fitted):
    assert not clone(fitted).__sklearn_is_fitted__()
    assert fitted.__sklearn_is_fitted__()


def test_set_params_reaches_the_parts(four):
    keras = pytest.importorskip("keras")
    X, y = four[:2]
    model = make(epochs=4)
    model.set_params(
        units=8,
        embedding="dense",
        network__embedding_units=5,
        optimizer="adamw",
        optimizer__beta_1=0.75,
        optimizer__weight_decay=0.01,
        callbacks=keras.callbacks.EarlyStopping,
        callbacks__monitor="loss",
        callbacks__patience=1,
        callbacks__min_delta=100.0,
    )
    model.fit(X, y)
    assert model.n_iter_ == 2  # no loss falls by 100
    network = model.model_
    assert network.get_layer("embedding").units == 5
    assert network.optimizer.beta_1 == 0.75
    assert network.optimizer.weight_decay == 0.01
    # Through a Pipeline and a search's names, too.
    pipeline = Pipeline([("clf", make())]).set_params(clf__optimizer__beta_1=0.6)
    assert pipeline["clf"].get_params()["optimizer__beta_1"] == 0.6


def test_pickle_opens_in_another_process(fitted, four, tmp_path):
    X_test = four[2]
    path = tmp_path / "model.pickle"
    path.write_bytes(pickle.dumps((fitted, X_test)))
    code = (
        "import pickle, sys, numpy as np\n"
        "model, X = pickle.load(open(sys.argv[1], 'rb'))\n"
        "np.save(sys.argv[2], model.predict_proba(X))\n"
        "print(model.predict(X[:1])[0], model.n_iter_)\n"
    )
    answer = tmp_path / "answer.npy"
    done = subprocess.run(
        [sys.executable, "-c", code, str(path), str(answer)],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    np.testing.assert_allclose(
        np.load(answer), fitted.predict_proba(X_test), rtol=1e-4, atol=1e-6
    )
    assert done.stdout.split() == [str(fitted.predict(X_test[:1])[0]), "10"]


def test_deepcopy_is_independent(fitted, four):
    X, y, X_test, _ = four
    before = fitted.predict_proba(X_test)
    copied = copy.deepcopy(fitted)
    np.testing.assert_array_equal(copied.predict_proba(X_test), before)
    copied.partial_fit(X, y)
    assert np.abs(copied.predict_proba(X_test) - before).max() > 0
    np.testing.assert_array_equal(fitted.predict_proba(X_test), before)
    assert fitted.n_iter_ == 10
    assert copied.n_iter_ == 11


def test_joblib_dump(fitted, four, tmp_path):
    joblib.dump(fitted, tmp_path / "model.joblib")
    loaded = joblib.load(tmp_path / "model.joblib")
    np.testing.assert_array_equal(
        loaded.predict_proba(four[2]), fitted.predict_proba(four[2])
    )
    # And it trains on from there.
    assert loaded.partial_fit(*four[:2]).n_iter_ == 11


def test_html_and_text_repr(fitted):
    pipeline = Pipeline([("seq", RowSequencer()), ("clf", fitted)])
    html = pipeline._repr_html_()
    assert "LSTMImageClassifier" in html
    assert "RowSequencer" in html
    text = repr(make(optimizer__beta_1=0.8))
    assert "optimizer__beta_1=0.8" in text
    assert "units=16" in text
    assert "verbose" not in text


@pytest.mark.parametrize(
    "labels",
    [
        np.array(["two", "one", "zero", "three"]),
        np.array(["two", "one", "zero", "three"], dtype=object),
        np.array([30, -7, 1000, 4]),
        np.array([2.0, 5.0, 1.0, -3.0]),
    ],
    ids=["str", "object", "int", "float"],
)
def test_labels_of_any_kind(labels, four):
    X, y, X_test, y_test = four
    model = make().fit(X, labels[y])
    np.testing.assert_array_equal(model.classes_, np.sort(labels))
    predicted = model.predict(X_test)
    assert predicted.dtype == labels.dtype
    assert (predicted == labels[y_test]).mean() > 0.85
    assert model.score(X_test, labels[y_test]) > 0.85
    probabilities = model.predict_proba(X_test)
    np.testing.assert_array_equal(
        model.classes_[probabilities.argmax(axis=1)], predicted
    )


def test_two_classes(four):
    X, y, X_test, y_test = four
    model = make().fit(X[y < 2], y[y < 2] == 1)
    np.testing.assert_array_equal(model.classes_, [False, True])
    two = y_test < 2
    assert model.predict_proba(X_test[two]).shape == (two.sum(), 2)
    assert model.score(X_test[two], y_test[two] == 1) > 0.95


@pytest.mark.parametrize("kind", ["float32", "uint8", "float16", "int64", "list"])
def test_equal_values_give_equal_results(kind, fitted, four):
    X, y, X_test, _ = four

    def convert(images):
        return images.tolist() if kind == "list" else images.astype(kind)

    expected = fitted.predict_proba(X_test)
    np.testing.assert_array_equal(fitted.predict_proba(convert(X_test)), expected)
    model = make().fit(convert(X), y)
    np.testing.assert_allclose(model.predict_proba(X_test), expected, atol=1e-4)


def test_flat_images_are_the_same_images(fitted, four):
    X, y, X_test, _ = four
    flat = make().fit(X.reshape(len(X), -1), y)
    assert flat.n_features_in_ == fitted.n_features_in_ == 64
    np.testing.assert_array_equal(
        flat.predict_proba(X_test.reshape(len(X_test), -1)),
        fitted.predict_proba(X_test),
    )


def test_bytes_first_and_floats_later(four):
    X, y, X_test, _ = four
    bytes_ = X.astype("uint8")
    model = make().fit(bytes_, y).partial_fit(X, y)
    expected = make().fit(X, y).partial_fit(X, y)
    np.testing.assert_allclose(
        model.predict_proba(X_test), expected.predict_proba(X_test), atol=1e-4
    )
    model.partial_fit(bytes_, y)
    assert model.n_iter_ == 12


def test_one_image(fitted, four):
    X_test = four[2]
    together = fitted.predict_proba(X_test)
    for i in range(3):
        alone = fitted.predict_proba(X_test[i : i + 1])
        assert alone.shape == (1, 4)
        np.testing.assert_allclose(alone[0], together[i], rtol=1e-4, atol=1e-6)
    assert fitted.predict(X_test[:1]).shape == (1,)


@pytest.mark.parametrize("top", [1, 255, 65535])
def test_the_scale_of_pixels_does_not_matter(top, fitted, four):
    X, y, X_test, _ = four
    model = make().fit(X * (top / 16), y)
    np.testing.assert_allclose(
        model.predict_proba(X_test * (top / 16)),
        fitted.predict_proba(X_test),
        atol=1e-3,
    )


def test_data_frame(four):
    pandas = pytest.importorskip("pandas")
    X, y, X_test, _ = four
    names = [f"pixel_{i}" for i in range(64)]
    frame = pandas.DataFrame(X.reshape(len(X), -1), columns=names)
    model = make(epochs=1).fit(frame, pandas.Series(y))
    np.testing.assert_array_equal(model.feature_names_in_, names)
    test = pandas.DataFrame(X_test.reshape(len(X_test), -1), columns=names)
    np.testing.assert_array_equal(
        model.predict(test), make(epochs=1).fit(X, y).predict(X_test)
    )
    with pytest.raises(ValueError, match="feature names should match"):
        model.predict(test.rename(columns={"pixel_0": "other"}))


def test_a_model_that_ends_in_a_reference_cycle_leaves_the_next_one_working(four):
    # The garbage collector finalizes all parts of a cycle, TensorFlow's functions too.
    X, y, X_test, _ = four
    model = make(epochs=1).fit(X, y)
    expected = model.predict_proba(X_test)
    model.myself = model
    del model
    gc.collect()
    again = make(epochs=1).fit(X, y)
    np.testing.assert_array_equal(again.predict_proba(X_test), expected)
