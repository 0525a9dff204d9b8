"""The HTML report: what it tells, that it stands alone, that it is never half there."""

import re

import numpy as np
import pytest
from sklearn.datasets import load_digits
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer
from sklearn.svm import SVC

from sklstm import LSTMImageClassifier, RowSequencer
from sklstm.inspection import _report as report_module
from sklstm.inspection import report

pytest.importorskip("matplotlib")

DIGITS = load_digits(n_class=3)
X, Y = 15.0 * DIGITS.images[:90], DIGITS.target[:90]


def flat(images):
    return images.reshape(len(images), -1)


def make(classifier):
    return make_pipeline(FunctionTransformer(flat), classifier)


def text_of(path):
    page = path.read_text(encoding="utf-8")
    return re.sub(r"data:image/png;base64,[^\"]+", "", page)


def test_one_file_tells_it_all(tmp_path):
    names = np.array(["a <b>", "c & d", "e"])
    # Two photographs of one object, in different rows.
    images = np.concatenate([X, 0.8 * X[:3]])
    labels = names[np.concatenate([Y, Y[:3]])]
    model = make(LogisticRegression(C=1e-6, max_iter=200))
    path = report(
        model, images, labels, tmp_path / "r.html",
        cv=3, n_repeats=1, controls=None, random_state=0,
    )  # fmt: skip
    assert path == tmp_path / "r.html"
    assert [file.name for file in tmp_path.iterdir()] == ["r.html"]
    page = path.read_text(encoding="utf-8")
    # It stands alone, and nothing that the user named is read as HTML.
    assert not re.search(r"(src|href)=\"(?!data:|#)", page)
    assert "a &lt;b&gt;" in page
    assert "a <b>" not in page
    places = [page.index(f'<section id="{name}">') for name in report_module.SECTIONS]
    assert places == sorted(places)
    text = text_of(path)
    assert "X has the shape 93 x 8 x 8 and the type float64." in text
    assert "3 near-duplicate pairs" in text
    # Wrong predictions are those of the folds, and drawn.
    n_wrong = int(re.search(r"(\d+) of 93 predictions are wrong", text)[1])
    assert 0 < n_wrong < 93
    assert "most confident mistakes" in text
    assert "LogisticRegression keeps no history of its training." in text
    assert "rotation: the accuracy falls" in text
    assert page.count("data:image/png") == 7


@pytest.mark.slow
def test_a_network_has_a_training(tmp_path):
    model = LSTMImageClassifier(
        sequencer=RowSequencer(), units=8, epochs=3, random_state=0
    )
    sections = ["training", "mistakes"]
    path = report(model, X, Y, tmp_path / "r.html", cv=2, sections=sections)
    text = text_of(path)
    assert "Training on the first fold." in text
    assert "by occlusion" in text
    assert 'id="robustness"' not in text


def test_groups_stay_together(tmp_path):
    seen = []

    class Knowing(LogisticRegression):
        def fit(self, X, y):
            seen.append(X[:, 0])
            return super().fit(X, y)

    numbered = X.copy()
    numbered[:, 0, 0] = np.arange(90)
    groups = np.arange(90) // 6
    how = {"cv": 3, "groups": groups, "random_state": 0, "sections": "mistakes"}
    report(make(Knowing(max_iter=5000)), numbered, Y, tmp_path / "r.html", **how)
    assert len(seen) == 3
    for rows in seen:
        counts = np.bincount(groups[rows.astype(int)], minlength=15)
        assert set(counts) == {0, 6}


def test_no_probabilities_and_no_pictures(tmp_path):
    table = np.random.default_rng(0).normal(size=(60, 5))
    y = np.arange(60) % 2
    path = report(
        SVC(), table, y, tmp_path / "r.html",
        sections=["data", "mistakes", "reliability", "robustness"], cv=2,
    )  # fmt: skip
    text = text_of(path)
    assert "SVC gives no probabilities." in text
    assert "This was not measured: X is flat with 5 features" in text


def test_a_report_that_fails_leaves_the_old_one(tmp_path, monkeypatch):
    path = tmp_path / "r.html"
    path.write_text("old")

    class Broken(LogisticRegression):
        def predict(self, X):
            raise RuntimeError("no")

    with pytest.raises(RuntimeError, match="no"):
        report(make(Broken()), X, Y, path, sections="mistakes")
    monkeypatch.setattr(report_module.os, "replace", _no_room)
    with pytest.raises(OSError, match="no room"):
        report(make(SVC()), X, Y, path, sections="data")
    assert path.read_text() == "old"
    assert [file.name for file in tmp_path.iterdir()] == ["r.html"]


def _no_room(*args):
    raise OSError("no room")


def test_what_is_refused(tmp_path):
    path = tmp_path / "r.html"
    with pytest.raises(FileNotFoundError, match="in a folder that does not exist"):
        report(SVC(), X, Y, tmp_path / "none" / "r.html")
    with pytest.raises(TypeError, match="LinearRegression is no classifier"):
        report(LinearRegression(), X, Y, path)
    with pytest.raises(ValueError, match="sections has 'all': it knows 'data'"):
        report(SVC(), X, Y, path, sections="all")
    with pytest.raises(ValueError, match="sections is empty"):
        report(SVC(), X, Y, path, sections=[])
    assert not path.exists()
