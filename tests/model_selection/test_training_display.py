import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np
import pytest
from sklearn.exceptions import NotFittedError
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline

from sklstm import LSTMDefectDetector, LSTMImageClassifier, RowSequencer
from sklstm.inspection import TrainingDisplay

HISTORY = {
    "loss": [2.0, 1.0, 0.5],
    "accuracy": [0.2, 0.4, 0.8],
    "val_loss": [2.1, 1.2, 1.1],
    "val_accuracy": [0.1, 0.3, 0.5],
    "gradient_norm": [100.0, 1.0, 0.01],
    "learning_rate": [0.1, 0.05, 0.0],
}


@pytest.fixture(autouse=True)
def close_figures():
    yield
    plt.close("all")


def test_each_panel_draws_what_the_history_holds():
    display = TrainingDisplay([HISTORY], best_epoch=2).plot()
    assert list(display.axes_) == ["loss", "score", "gradient_norm", "learning_rate"]
    assert display.notes_ == {}
    for panel, keys in (
        ("loss", ["loss", "val_loss"]),
        ("score", ["accuracy", "val_accuracy"]),
        ("gradient_norm", ["gradient_norm"]),
        ("learning_rate", ["learning_rate"]),
    ):
        lines = display.lines_[panel]
        assert [list(line.get_ydata()) for line in lines] == [HISTORY[k] for k in keys]
        assert all(list(line.get_xdata()) == [1, 2, 3] for line in lines)
    styles = [line.get_linestyle() for line in display.lines_["loss"]]
    assert styles == ["-", "--"]
    kept = display.axes_["loss"].lines[-1]
    assert kept.get_label() == "kept weights: epoch 2"
    assert list(kept.get_xdata()) == [2, 2]
    assert display.axes_["gradient_norm"].get_yscale() == "log"
    assert display.axes_["score"].get_title() == "accuracy"


def test_a_pipeline_with_an_ensemble(digits):
    images, y = digits
    ensemble = LSTMImageClassifier(
        units=4, epochs=2, n_estimators=2, metrics=["sparse_top_k_categorical_accuracy"]
    )
    pipeline = make_pipeline(RowSequencer(), ensemble).fit(images[:60], y[:60])
    fitted = pipeline[-1]
    search = GridSearchCV(pipeline, {})
    search.best_estimator_ = pipeline
    for whole in (pipeline, search):
        display = TrainingDisplay.from_estimator(whole)
        *members, mean = display.lines_["loss"]
        drawn = [list(line.get_ydata()) for line in members]
        assert drawn == [one.history_["loss"] for one in fitted.estimators_]
        assert list(mean.get_ydata()) == fitted.history_["loss"]
        assert mean.get_linewidth() > 2 * members[0].get_linewidth()
        labels = display.axes_["loss"].get_legend_handles_labels()[1]
        assert labels == ["training, mean of 2"]
    metric = "sparse_top_k_categorical_accuracy"
    display = TrainingDisplay.from_estimator(pipeline, panels="score", score=metric)
    assert list(display.lines_["score"][-1].get_ydata()) == fitted.history_[metric]
    # The epoch is marked if training stopped early or kept earlier weights.
    single = fitted.estimators_[0]
    assert TrainingDisplay.from_estimator(single).best_epoch is None
    single.best_epoch_ = 1
    assert TrainingDisplay.from_estimator(single).best_epoch == 1


def test_what_was_not_recorded_is_said():
    history = {"loss": [2.0, 1.0], "learning_rate": [0.1, 0.1]}
    display = TrainingDisplay([history]).plot()
    assert display.notes_["loss"].startswith("No validation: set early_stopping=True")
    assert display.notes_["gradient_norm"].startswith("No gradient norm: the history l")
    assert display.notes_["score"].startswith("No score: the history holds none")
    assert "learning_rate" not in display.notes_
    texts = [t.get_text() for t in display.axes_["score"].texts]
    assert "".join(texts).startswith("No score")
    # Loss scaling can skip all steps of an epoch.
    history = {**HISTORY, "gradient_norm": [float("nan")] * 3}
    assert "gradient_norm" in TrainingDisplay([history]).plot().notes_


def test_validation_of_some_epochs_is_not_drawn_at_the_wrong_ones():
    history = {**HISTORY, "val_loss": [1.2, 1.1]}
    display = TrainingDisplay([history]).plot()
    assert len(display.lines_["loss"]) == 1
    assert display.notes_["loss"].startswith("No validation: 2 of 3 epochs had some")
    assert len(display.lines_["score"]) == 2


def test_axes_of_the_user():
    axes = plt.subplots(1, 2)[1]
    display = TrainingDisplay([HISTORY]).plot(
        panels=["loss", "learning_rate"], ax=axes, linewidth=5
    )
    assert list(display.axes_.values()) == list(axes)
    assert display.lines_["loss"][0].get_linewidth() == 5
    # One axes is the frame of several panels.
    figure, frame = plt.subplots()
    display = TrainingDisplay([HISTORY]).plot(ax=frame)
    assert display.figure_ is figure
    assert frame not in display.axes_.values()
    inside = frame.get_position()
    for axis in display.axes_.values():
        assert inside.contains(*axis.get_position().p0 + 1e-6)
    alone = plt.subplots()[1]
    display = TrainingDisplay([HISTORY]).plot(panels="loss", ax=alone)
    assert display.axes_["loss"] is alone


@pytest.mark.slow
def test_a_detector_has_no_score(plates):
    X, Y = plates
    detector = LSTMDefectDetector(size=(16, 24), units=4, epochs=1, early_stopping=True)
    display = TrainingDisplay.from_estimator(detector.fit(X[:16], Y[:16]))
    assert display.score_name_ is None
    assert len(display.lines_["loss"]) == 2


def test_what_is_refused():
    fitted = LogisticRegression().fit(np.eye(2), [0, 1])
    with pytest.raises(TypeError, match="A LogisticRegression records no history"):
        TrainingDisplay.from_estimator(make_pipeline(fitted))
    with pytest.raises(NotFittedError):
        TrainingDisplay.from_estimator(LSTMImageClassifier())
    display = TrainingDisplay([HISTORY])
    for panels in (["loss", "loss"], ["val_loss"], []):
        with pytest.raises(ValueError, match=r"panels=.* must be different names"):
            display.plot(panels=panels)
    with pytest.raises(ValueError, match="ax holds 3 axes, but there are 4 panels"):
        display.plot(ax=plt.subplots(1, 3)[1])
    with pytest.raises(ValueError, match="score='f1' is not in the history, which has"):
        TrainingDisplay([HISTORY], score="f1").plot()
