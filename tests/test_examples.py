"""The examples that need a data folder; the docs build runs the others."""

import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

EXAMPLES = Path(__file__).resolve().parent.parent / "examples"


def run(name, *arguments):
    env = {key: value for key, value in os.environ.items() if key != "SKLSTM_DATA"}
    return subprocess.run(
        [sys.executable, EXAMPLES / name, *map(str, arguments)],
        env=env,
        capture_output=True,
        text=True,
    )


@pytest.mark.slow
@pytest.mark.data
def test_mnist(data_dir):
    if not (data_dir / "mnist.npz").is_file():
        pytest.skip(f"no mnist.npz in {data_dir}")
    done = run("mnist.py", "--data", data_dir, "--n-train", 500, "--epochs", 1)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("epoch 1/1  ")
    accuracy = re.search(
        r"^test accuracy (0\.\d{4}) on 10000 images", done.stdout, re.M
    )
    assert accuracy is not None, done.stdout
    assert float(accuracy[1]) > 0.2
    assert re.search(r"^seed 0, \d+ cores, Python 3.*, sklstm ", done.stdout, re.M)


@pytest.mark.slow
@pytest.mark.data
def test_moving_digits_of_mnist(data_dir, tmp_path):
    if not (data_dir / "mnist.npz").is_file():
        pytest.skip(f"no mnist.npz in {data_dir}")
    done = run("moving_digits.py", "--data", data_dir, "--out", tmp_path / "m.png")
    assert done.returncode == 0, done.stderr
    for name in ("conv_lstm", "lstm"):
        accuracy = re.search(rf"^{name} +test accuracy ([01]\.\d+)", done.stdout, re.M)
        assert accuracy is not None, done.stdout
        assert float(accuracy[1]) > 0.95
    assert (tmp_path / "m.png").is_file()


@pytest.mark.slow
@pytest.mark.data
def test_fundus_on_few_photographs(data_dir, tmp_path):
    if not (data_dir / "drive.npz").is_file():
        pytest.skip(f"no drive.npz in {data_dir}")
    picture = tmp_path / "f.png"
    done = run("fundus.py", "--data", data_dir, "--quick", "--out", picture)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("314 windows of 8 photographs, grades [52, 71, 59, 1")
    kappas = dict(re.findall(r"^(\w.*?) {2,}(-?0\.\d{3}) ", done.stdout, re.M))
    assert len(kappas) == 5
    assert float(kappas["mean vesselness"]) > 0.7
    assert float(kappas["LSTM, patches, attention"]) > 0.3
    assert picture.is_file()


@pytest.mark.slow
@pytest.mark.data
def test_defects_on_few_tiles(data_dir, tmp_path):
    if not (data_dir / "magnetic_tile").is_dir():
        pytest.skip(f"no magnetic_tile in {data_dir}")
    picture = tmp_path / "d.png"
    done = run("defects.py", "--data", data_dir, "--quick", "--out", picture)
    assert done.returncode == 0, done.stderr
    assert re.match(r"\d+ images of 56 tiles, ", done.stdout)
    rows = re.findall(r"^(no CRF|CRF) +(0\.\d{3}) +(0\.\d{3}) ", done.stdout, re.M)
    assert [name for name, *_ in rows] == ["no CRF", "CRF"]
    assert picture.is_file()


def test_mnist_that_is_missing_is_named_in_one_line(tmp_path):
    done = run("mnist.py", "--data", tmp_path)
    assert done.returncode == 2
    assert done.stdout == ""
    usage, error, message = done.stderr.partition("mnist.py: error: ")
    assert usage.startswith("usage: ")
    assert error
    assert message == f"looked for {tmp_path / 'mnist.npz'}, which is not there\n"


def test_mnist_asks_for_the_folder():
    done = run("mnist.py")
    assert done.returncode == 2
    assert done.stderr.endswith(
        "error: give --data FOLDER, the folder that holds mnist.npz\n"
    )


@pytest.mark.slow
def test_dask_example_on_two_workers(tmp_path):
    done = run(
        "optuna_dask.py", "--n-trials", 2, "--storage", f"sqlite:///{tmp_path}/d.db"
    )
    assert done.returncode == 0, done.stderr
    assert re.match(r"2 trials on 2 workers in \d+ s, best 0\.\d{3} with", done.stdout)


@pytest.mark.slow
def test_features_of_a_folder(tmp_path):
    keras = pytest.importorskip("keras")
    cv2 = pytest.importorskip("cv2")
    rng = np.random.default_rng(0)
    for name, level in (("dark", 60), ("light", 180)):
        (tmp_path / "data" / name).mkdir(parents=True)
        for i in range(12):
            image = rng.integers(level, level + 40, (24, 24, 3), np.uint8)
            cv2.imwrite(str(tmp_path / "data" / name / f"{i}.png"), image)
    layers = keras.layers
    backbone = keras.Sequential(
        [
            keras.Input((None, None, 3)),
            layers.Rescaling(1 / 255),
            layers.Conv2D(4, 3, strides=4),
        ]
    )
    backbone.save(tmp_path / "backbone.keras")
    picture = tmp_path / "f.png"
    arguments = ("--data", tmp_path / "data", "--backbone", tmp_path / "backbone.keras")
    done = run("features.py", *arguments, "--size", 24, "--out", picture)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("24 photographs of 2 classes\n")
    scores = re.findall(r"^(\w.*?) {2,}([01]\.\d{3}) \+- ", done.stdout, re.M)
    assert len(scores) == 3
    assert all(float(score) > 0.9 for _, score in scores)
    assert picture.is_file()


def test_features_asks_for_the_folder():
    done = run("features.py")
    assert done.returncode == 2
    assert "give --data FOLDER, a folder with a folder of photographs" in done.stderr


@pytest.mark.slow
def test_prediction_sets(tmp_path):
    picture = tmp_path / "p.png"
    done = run("prediction_sets.py", "--epochs", 3, "--out", picture)
    assert done.returncode == 0, done.stderr
    rows = re.findall(r"^confidence (\S+): .* in (\S+) of the sets", done.stdout, re.M)
    assert len(rows) == 4
    for confidence, coverage in rows:
        assert float(coverage) == pytest.approx(float(confidence), abs=0.06)
    assert picture.is_file()


@pytest.mark.slow
def test_diagnosis(tmp_path):
    picture = tmp_path / "d.png"
    quick = ("--epochs", 8, "--permutations", 0)
    done = run("diagnosis.py", *quick, "--out", picture)
    assert done.returncode == 0, done.stderr
    verdicts = re.findall(r"^(good|warning|problem|not checked) +\w", done.stdout, re.M)
    assert len(verdicts) == 16
    assert picture.is_file()


@pytest.mark.slow
def test_robustness(tmp_path):
    picture = tmp_path / "r.png"
    done = run("robustness.py", "--epochs", 2, "--train", 100, "--out", picture)
    assert done.returncode == 0, done.stderr
    rows = re.findall(
        r"^(row LSTM.*?|CNN|SVC) +((?: +\d\.\d{3}){6})$", done.stdout, re.M
    )
    areas = {name: [float(area) for area in cells.split()] for name, cells in rows}
    assert set(areas) == {"row LSTM", "row LSTM, augmented", "CNN", "SVC"}
    assert min(areas["SVC"]) > 0.4
    assert picture.is_file()


@pytest.mark.slow
def test_comparison_of_networks(tmp_path):
    picture = tmp_path / "c.png"
    store = tmp_path / "scores.jsonl"
    quick = ("--epochs", 1, "--folds", 3, "--repeats", 1)
    done = run("comparison.py", *quick, "--store", store, "--out", picture)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("accuracy, 3 splits, means with 95 % intervals\n")
    names = "CNN + LSTM", "LSTM over rows", "tuned SVC", "matched CNN"
    for name in names:
        assert (
            len(re.findall(rf"^{re.escape(name)} +(?:40|200)  0\.", done.stdout, re.M))
            == 2
        )
    assert re.search(r"^With 200 training samples: .*CNN \+ LSTM", done.stdout, re.M)
    assert picture.is_file()
    assert len(store.read_text().splitlines()) == 36


@pytest.mark.slow
def test_attribution_of_digits(tmp_path):
    picture = tmp_path / "a.png"
    quick = ("--epochs", 10, "--images", 30, "--points", 48)
    done = run("attribution.py", *quick, "--out", picture)
    assert done.returncode == 0, done.stderr
    error = re.search(r"^largest error of a sum of gradients (\S+)$", done.stdout, re.M)
    assert float(error.group(1)) < 0.2
    gains = re.findall(r"^(\w+) +deletion better by (\S+) \+-", done.stdout, re.M)
    assert [name for name, _ in gains] == ["occlusion", "gradients", "attention"]
    assert all(float(gain) > 0.1 for _, gain in gains[:2])
    assert picture.is_file()
