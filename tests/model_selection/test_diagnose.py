"""diagnose: controls, tests, training, memory, and advice that helps."""

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np
import pytest
from sklearn.cluster import KMeans
from sklearn.datasets import load_digits
from sklearn.linear_model import LinearRegression
from sklearn.metrics import log_loss
from sklearn.naive_bayes import GaussianNB
from sklearn.pipeline import make_pipeline
from sklearn.tree import DecisionTreeClassifier

from sklstm import LSTMDefectDetector, LSTMImageClassifier, RowSequencer
from sklstm.model_selection import _diagnose as module
from sklstm.model_selection import diagnose
from sklstm.model_selection._diagnose import _permuted

DIGITS = load_digits(n_class=4)
IMAGES, X, y = DIGITS.images[:160], DIGITS.data[:160], DIGITS.target[:160]
TRAINING = ["loss oscillates", "validation stalls", "gradients", "memory"]


def verdicts(found):
    return {finding.check: finding.verdict for finding in found.findings}


def test_an_estimator_without_history_gets_the_checks_that_apply():
    model = DecisionTreeClassifier(random_state=0)
    found = diagnose(model, X, y, random_state=0)
    assert not hasattr(model, "classes_")
    assert verdicts(found) == {
        "majority class": "good",
        "shuffled labels": "good",
        "shuffled steps": "not checked",
        "under- or overfitting": "good",
        **dict.fromkeys(TRAINING, "not checked"),
    }
    assert "DecisionTreeClassifier reads no steps" in found["shuffled steps"].advice
    assert len(found.scores) == 5
    assert len(found.permuted_scores) == 5
    # A tree knows its training samples, under shuffled labels as well.
    assert found.train_scores.tolist() == [1.0] * 5
    assert found["majority class"].figures["score"] == found.scores.mean()
    assert found.permuted_scores.max() < 0.4
    table = found.to_frame()
    rows = table if isinstance(table, list) else table.to_dict("records")
    assert [row["check"] for row in rows] == [one.check for one in found.findings]
    assert len(str(found).splitlines()) == 8
    assert "<b>not checked</b>" in found._repr_html_()
    with pytest.raises(KeyError, match="'memori' is not a check: use 'majority class'"):
        found["memori"]
    with pytest.raises(ValueError, match="There is no history to plot"):
        found.plot()


def test_the_seed_decides_alone(generators_stay):
    np.random.seed(3)  # noqa: NPY002
    before = np.random.get_state()[1].copy()  # noqa: NPY002
    one, two, other = (
        diagnose(GaussianNB(), X, y, random_state=seed) for seed in (0, 0, 1)
    )
    np.testing.assert_array_equal(one.scores, two.scores)
    np.testing.assert_array_equal(one.permuted_scores, two.permuted_scores)
    assert not np.array_equal(one.permuted_scores, other.permuted_scores)
    np.testing.assert_array_equal(np.random.get_state()[1], before)  # noqa: NPY002


def test_labels_without_information_are_found_out():
    noise = np.random.default_rng(0).permutation(y)
    for how in ({}, {"cv": 0.25, "n_permutations": 19}):
        found = diagnose(
            DecisionTreeClassifier(random_state=0), X, noise, random_state=0, **how
        )
        assert found["majority class"].verdict != "good"
        assert found["shuffled labels"].verdict != "good"
        # It knows its training samples, and nothing else.
        assert found["under- or overfitting"].verdict == "problem"
        assert "overfits" in found["under- or overfitting"].advice


@pytest.mark.slow
def test_the_test_of_shuffled_labels_keeps_its_level():
    rng = np.random.default_rng(0)
    found = []
    for seed in range(50):
        noise, labels = rng.normal(size=(40, 5)), np.arange(40) % 2
        how = {"cv": 4, "n_permutations": 5, "random_state": seed}
        result = diagnose(GaussianNB(), noise, labels, **how)
        found.append([result[c].verdict for c in ("majority class", "shuffled labels")])
    rates = (np.array(found) == "good").mean(axis=0)
    # Nominally .05. Twice the standard error of a rate is .062 here.
    assert rates.max() < 0.12


def test_one_held_out_part_has_a_sign_test():
    found = diagnose(
        DecisionTreeClassifier(random_state=0), X, y, cv=0.25, random_state=0
    )
    assert len(found.scores) == 1
    assert found["majority class"].verdict == "good"
    assert "p < 0.001" in found["majority class"].advice
    few = diagnose(
        DecisionTreeClassifier(random_state=0), X[:12], y[:12], cv=0.5, random_state=0
    )
    assert few["majority class"].verdict == "warning"


def test_ranks_decide_with_enough_permutations():
    found = diagnose(GaussianNB(), X, y, cv=0.3, n_permutations=19, random_state=0)
    assert found["shuffled labels"].figures["p_value"] == pytest.approx(1 / 20)
    none = diagnose(GaussianNB(), X, y, cv=0.3, n_permutations=0, random_state=0)
    assert none["shuffled labels"].verdict == "not checked"


def test_a_regressor_has_the_mean_as_its_baseline():
    target = X @ np.linspace(0, 1, 64)
    found = diagnose(LinearRegression(), X, target, random_state=0)
    assert found["majority class"].verdict == "good"
    assert found.baseline_scores.max() <= 0
    assert verdicts(found)["shuffled labels"] == "good"
    one = diagnose(LinearRegression(), X, target, cv=0.2, random_state=0)
    assert one["majority class"].verdict == "good"


def test_groups_exchange_their_labels():
    groups = np.repeat(np.arange(10), 4)
    labels = np.repeat(np.arange(10) % 2, 4)
    rng = np.random.default_rng(0)
    drawn = np.array([_permuted(labels, groups, rng) for _ in range(50)])
    assert (np.ptp(drawn.reshape(50, 10, 4), axis=2) == 0).all()
    assert len(np.unique(drawn, axis=0)) > 20
    mixed = np.tile([0, 0, 1, 2], 10)
    drawn = _permuted(mixed, groups, rng)
    assert drawn.reshape(10, 4).tolist() == mixed.reshape(10, 4).tolist()
    assert sorted(_permuted(mixed, None, rng)) == sorted(mixed)


def test_classes_that_shuffling_would_lose():
    labels = np.r_[np.arange(8), np.zeros(32, int)]
    split = [(np.arange(8), np.arange(8, 40))]
    found = diagnose(GaussianNB(), X[:40], labels, cv=split, random_state=0)
    assert found["shuffled labels"].verdict == "not checked"
    assert "raise the number of samples" in found["shuffled labels"].advice


@pytest.fixture(scope="module")
def small_network():
    network = LSTMImageClassifier(units=4, epochs=8, random_state=0)
    pipeline = make_pipeline(RowSequencer(), network)
    found = diagnose(
        pipeline, IMAGES[:80], y[:80], cv=0.3, n_permutations=0, random_state=0
    )
    return pipeline, found


def test_a_pipeline_with_a_network(small_network):
    pipeline, found = small_network
    assert not hasattr(pipeline[-1], "history_")
    assert len(found.shuffled_scores) == 1
    assert len(found.history["val_loss"]) == 8
    assert "not checked" not in [found[name].verdict for name in TRAINING]
    assert "shuffled steps (" in found["shuffled steps"].advice
    # The advice names the parameters as the Pipeline does.
    found_fit = found["under- or overfitting"]
    assert found_fit.verdict in ("warning", "problem")
    assert found_fit.params == {"lstmimageclassifier__epochs": 16}
    pipeline.set_params(**found_fit.params)
    pipeline.set_params(lstmimageclassifier__epochs=8)
    assert found.memory.total == found["memory"].figures["total"]


def test_the_plot_has_the_verdicts(small_network):
    display = small_network[1].plot()
    title = display.axes_["gradient_norm"].get_title()
    assert title == "gradient norm: good"
    assert "under- or overfitting" in display.axes_["score"].get_title()
    assert len(display.lines_["loss"]) == 2
    plt.close("all")


def fails_above(batch_size, error):
    own = LSTMImageClassifier.fit

    def fit(self, *args, **kwargs):
        if self.batch_size > batch_size:
            raise error
        return own(self, *args, **kwargs)

    return fit


def test_memory_that_runs_out_is_a_finding(monkeypatch):
    error = RuntimeError("RESOURCE_EXHAUSTED: out of memory while allocating")
    monkeypatch.setattr(LSTMImageClassifier, "fit", fails_above(16, error))
    network = LSTMImageClassifier(units=4, epochs=1)
    found = diagnose(network, IMAGES, y, random_state=0)
    assert found["memory"].verdict == "problem"
    assert found["memory"].params == {
        "batch_size": 16,
        "gradient_accumulation_steps": 2,
    }
    assert found["gradients"].verdict == "not checked"
    # Other errors are not hidden.
    monkeypatch.setattr(LSTMImageClassifier, "fit", fails_above(0, OSError("no disk")))
    with pytest.raises(OSError, match="no disk"):
        diagnose(network, IMAGES, y)


@pytest.mark.slow
def test_advice_against_memory_that_runs_out_helps(monkeypatch):
    monkeypatch.setattr(LSTMImageClassifier, "fit", fails_above(16, MemoryError()))
    network = LSTMImageClassifier(units=4, epochs=1)
    found = diagnose(network, IMAGES, y, random_state=0)
    network.set_params(**found["memory"].params)
    found = diagnose(network, IMAGES, y, cv=0.3, n_permutations=0, random_state=0)
    assert found["memory"].verdict == "good"


def test_a_loss_of_nan_is_a_finding(monkeypatch):
    error = FloatingPointError("The training loss became nan in epoch 1")
    monkeypatch.setattr(LSTMImageClassifier, "fit", fails_above(0, error))
    found = diagnose(LSTMImageClassifier(clipvalue=None), IMAGES, y)
    assert found["gradients"].verdict == "problem"
    assert found["gradients"].params == {"clipvalue": 1.0, "learning_rate": 3e-4}


def test_little_free_memory_is_told(monkeypatch, small_network):
    memory = small_network[1].memory
    params = {"batch_size": 32, "gradient_accumulation_steps": 2, "units": 4}
    for part, verdict in ((0.4, "good"), (0.7, "warning"), (1.5, "problem")):
        free = int(memory.total / part)
        monkeypatch.setattr(module, "available_memory", lambda free=free: free)
        finding = module._memory_finding(memory, params)
        assert finding.verdict == verdict
        if verdict != "good":
            assert finding.params == {
                "batch_size": 16,
                "gradient_accumulation_steps": 4,
            }
    monkeypatch.setattr(module, "available_memory", lambda: None)
    assert module._memory_finding(memory, params).verdict == "good"


def follow(problem, name):
    """Diagnose a network, follow the advice of a check once, and diagnose again."""
    how = {"cv": 0.4, "n_permutations": 0, "random_state": 0}
    before = diagnose(problem, IMAGES, y, **how)
    assert before[name].verdict != "good"
    better = problem.set_params(**before[name].params)
    return before, diagnose(better, IMAGES, y, **how)


@pytest.mark.slow
def test_advice_against_an_oscillating_loss_helps():
    problem = LSTMImageClassifier(
        units=8, epochs=30, learning_rate=0.4, lr_schedule="constant"
    )
    before, after = follow(problem, "loss oscillates")
    figures = [found["loss oscillates"].figures for found in (before, after)]
    assert figures[1]["roughness"] < 0.5 * figures[0]["roughness"]
    assert figures[1]["last_loss"] < figures[0]["last_loss"]
    assert after.scores.mean() >= before.scores.mean()
    assert after["loss oscillates"].verdict != "problem"


@pytest.mark.slow
def test_advice_against_a_validation_that_stalls_helps():
    digits = load_digits()
    rng = np.random.default_rng(0)
    labels = digits.target[:240].copy()
    wrong = rng.random(240) < 0.3  # what is learned by heart is wrong elsewhere
    labels[wrong] = rng.integers(0, 10, wrong.sum())
    images = digits.images[:240]
    problem = LSTMImageClassifier(
        units=32, epochs=100, learning_rate=0.01, lr_schedule="constant",
        dropout=0.0, input_noise=0.0, random_state=0,
    )  # fmt: skip
    how = {"cv": 0.4, "n_permutations": 0, "random_state": 0}
    finding = diagnose(problem, images, labels, **how)["validation stalls"]
    assert finding.verdict == "problem"
    assert finding.params == {"early_stopping": True}
    fresh = digits.images[240:], digits.target[240:]

    def loss(model):
        model.fit(images, labels)
        return log_loss(fresh[1], model.predict_proba(fresh[0]))

    before = loss(problem)
    assert loss(problem.set_params(**finding.params)) < 0.8 * before


@pytest.mark.parametrize(
    ("params", "error", "message"),
    [
        ({"estimator": KMeans()}, TypeError, "must be a classifier or a regressor"),
        ({"estimator": LSTMDefectDetector()}, TypeError, "TrainingDisplay plots"),
        ({"n_permutations": 1}, ValueError, "n_permutations=1 must be 0, or a whole"),
        ({"n_permutations": 2.5}, ValueError, "n_permutations=2.5 must be 0"),
        ({"cv": 0.7}, ValueError, r"cv=0.7 must be a part of the samples in \(0, 0.5"),
        ({"scoring": "acuracy"}, ValueError, "acuracy"),
    ],
)
def test_what_is_refused(params, error, message):
    given = {"estimator": GaussianNB(), "X": X, "y": y} | params
    with pytest.raises(error, match=message):
        diagnose(given.pop("estimator"), given.pop("X"), given.pop("y"), **given)
