"""The command that compares classifiers on image files."""

import csv
import re
import subprocess
import sys

import cv2
import numpy as np
import pytest
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer

from sklstm import compare as command
from sklstm.model_selection import compare


def flat(X):
    return X.reshape(len(X), -1)


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    """In place of networks, a classifier that takes no time."""

    def make(**params):
        return make_pipeline(FunctionTransformer(flat), LogisticRegression(C=0.1))

    monkeypatch.setattr(command, "LSTMImageClassifier", make)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Twenty digits each of two classes, and a copy of one."""
    folder = tmp_path_factory.mktemp("set")
    digits = load_digits(n_class=2)
    for label in (0, 1):
        (folder / "images" / f"digit {label}").mkdir(parents=True)
        for k, image in enumerate(digits.images[digits.target == label][:20]):
            path = folder / "images" / f"digit {label}" / f"p{k // 2}_{k}.png"
            big = cv2.resize(15 * image.astype(np.uint8), (24, 24))
            assert cv2.imwrite(str(path), big)
    return folder


QUICK = ["--estimators", "lstm", "--folds", "2", "--repeats", "1", "--size", "12"]


def test_a_folder(folder, capsys, tmp_path):
    out = tmp_path / "out"
    assert command.main([str(folder / "images"), *QUICK, "--output", str(out)]) == 0
    text = capsys.readouterr().out
    assert text.startswith("40 images of 12 x 12 pixels: 20 digit 0, 20 digit 1\n")
    assert "accuracy, 2 splits" in text
    for name in ("lstm", "majority class", "logistic regression", "tuned SVC"):
        assert re.search(rf"^{name} +20 ", text, re.M), name
    assert "lstm from majority class: they differ by +0." in text
    with open(out / "comparison.csv", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert rows[0]["estimator"] == "lstm"
    assert float(rows[0]["mean"]) > 0.9
    assert "<table>" in (out / "comparison.html").read_text(encoding="utf-8")
    assert {f.name for f in out.iterdir()} - {"comparison.png"} == {
        "comparison.csv",
        "comparison.html",
    }


def test_without_output_nothing_is_written(folder, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert command.main([str(folder / "images"), *QUICK]) == 0
    assert not list(tmp_path.iterdir())


def test_a_table_with_groups(folder, capsys, tmp_path, monkeypatch):
    lines = ["file,class,patient"]
    for path in sorted((folder / "images").rglob("*.png")):
        name = path.relative_to(folder)
        lines.append(f"{name},{path.parent.name},{path.parent.name}{path.name[:2]}")
    table = folder / "table.csv"
    table.write_text("\n".join(lines), encoding="utf-8")
    seen = {}

    def watched(*args, **kwargs):
        seen.update(kwargs)
        return compare(*args, **kwargs)

    monkeypatch.setattr(command, "compare", watched)
    columns = ["--path-column", "file", "--label-column", "class"]
    more = ["--group-column", "patient", "--train-sizes", "0.5,1.0", "--seed", "3"]
    assert command.main([str(table), *columns, *more, *QUICK]) == 0
    assert len(np.unique(seen["groups"])) == 20
    assert seen["train_sizes"] == [0.5, 1.0]
    assert seen["random_state"] == 3


def test_near_duplicates_are_told_and_can_stay_together(folder, capsys, tmp_path):
    twins = tmp_path / "twins"
    for k, path in enumerate(sorted((folder / "images").rglob("*.png"))):
        target = twins / path.parent.name
        target.mkdir(parents=True, exist_ok=True)
        image = cv2.imread(str(path), cv2.IMREAD_GRAYSCALE)
        cv2.imwrite(str(target / f"{k}.png"), image)
        if k % 10 == 0:
            image[0, 0] += 1  # not a copy of the file
            cv2.imwrite(str(target / f"{k}b.png"), image)
    assert command.main([str(twins), *QUICK]) == 0
    assert "add --groups-by-similarity" in capsys.readouterr().out
    assert command.main([str(twins), *QUICK, "--groups-by-similarity"]) == 0
    assert re.search(
        r"Near duplicates stay together: \d+ groups", capsys.readouterr().out
    )


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nowhere"], "'nowhere' does not exist."),
        ([".", "--estimators", "rnn"], "--estimators has 'rnn': it knows lstm, "),
        ([".", "--estimators", ""], "--estimators is empty: name some of lstm"),
        ([".", "--train-sizes", "few"], "--train-sizes 'few' must be numbers"),
        ([".", "--output", "none/out"], "in a folder that does not exist"),
    ],
)
def test_errors_are_one_sentence(arguments, message, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert command.main(arguments) == 2
    shown = capsys.readouterr()
    assert shown.out == ""
    assert message in shown.err
    assert shown.err.startswith("python -m sklstm.compare: error: ")
    assert len(shown.err.splitlines()) == 1


def test_the_function_is_still_the_function():
    import sklstm.compare  # noqa: F401
    from sklstm import model_selection

    assert callable(model_selection.compare)


@pytest.mark.slow
def test_the_command_runs(folder, tmp_path):
    done = subprocess.run(
        [sys.executable, "-m", "sklstm.compare", folder / "images", *QUICK,
         "--epochs", "2"],
        capture_output=True, text=True, timeout=240, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "matched CNN" in done.stdout
    assert "Traceback" not in done.stderr
