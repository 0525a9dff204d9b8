"""compare: the same splits for all, seeds, groups, sizes, the store, the sentences."""

import json

import numpy as np
import pytest
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.datasets import load_digits
from sklearn.dummy import DummyClassifier
from sklearn.exceptions import FitFailedWarning
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import accuracy_score, log_loss, make_scorer
from sklearn.model_selection import GridSearchCV, GroupKFold, KFold, ShuffleSplit
from sklearn.naive_bayes import GaussianNB
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler

from sklstm import LSTMImageClassifier, RowSequencer
from sklstm.inspection import ComparisonDisplay
from sklstm.model_selection import compare
from sklstm.model_selection._controls import default_controls
from sklstm.model_selection._score_file import _digest

DIGITS = load_digits(n_class=4)
IMAGES, X, y = DIGITS.images[:240], DIGITS.data[:240], DIGITS.target[:240]


class Noted(ClassifierMixin, BaseEstimator):
    """A classifier that notes what it is given. Samples are their own numbers."""

    seen: list = []

    def __init__(self, tag="a", random_state=None):
        self.tag = tag
        self.random_state = random_state

    def fit(self, X, y, groups=None):
        self.classes_ = np.unique(y)
        self.fitted_ = self.tag, self.random_state, np.ravel(X).tolist(), groups
        return self

    def predict(self, X):
        type(self).seen.append((*self.fitted_, np.ravel(X).tolist()))
        return np.full(len(X), self.classes_[0])


@pytest.fixture
def seen():
    Noted.seen = []
    return Noted.seen


def rows(table):
    return table if isinstance(table, list) else table.to_dict("records")


def test_all_see_the_same_splits_and_seeds(seen):
    numbers = np.arange(60)[:, None]
    labels = np.arange(60) % 3
    both = {"one": Noted("a"), "two": Noted("b")}
    found = compare(both, numbers, labels, controls=None, n_seeds=2, random_state=0)
    assert found.scores.shape == (2, 1, 10, 2)
    first = [fit[1:] for fit in seen if fit[0] == "a"]
    second = [fit[1:] for fit in seen if fit[0] == "b"]
    assert first == second
    assert len({seed for seed, *_ in first}) == 20
    for _, train, groups, test in first:
        assert groups is None
        assert sorted(train + test) == list(range(60))
        # Folds are stratified.
        assert np.bincount(np.array(test) % 3).tolist() == [4, 4, 4]
    # Each repetition tests each sample once, in other folds.
    tests = [tuple(test) for *_, test in first[::2]]
    assert sorted(np.concatenate(tests[:5])) == list(range(60))
    assert set(tests[:5]).isdisjoint(tests[5:])


def test_groups_stay_together_and_reach_the_fits(seen):
    numbers = np.arange(80)[:, None]
    labels, groups = np.arange(80) % 2, np.arange(80) // 4
    grid = {"noted__tag": ["s"]}
    by_group = GridSearchCV(make_pipeline(Noted()), grid, cv=GroupKFold(2))
    others = GridSearchCV(make_pipeline(Noted()), grid, cv=2)
    pipeline = make_pipeline(StandardScaler(), Noted("p"))
    compare(
        {"plain": Noted("a"), "pipeline": pipeline, "by group": by_group, "o": others},
        numbers, labels, groups=groups, controls=None, random_state=0, n_repeats=1,
    )  # fmt: skip
    plain = [fit for fit in seen if fit[0] == "a"]
    assert len(plain) == 5
    for _, _, train, own, test in plain:
        assert own.tolist() == groups[train].tolist()
        assert not set(groups[train]) & set(groups[test])
    assert all(fit[3] is not None for fit in seen if fit[0] == "p")


def test_training_sizes_are_nested_and_stratified(seen):
    numbers = np.arange(90)[:, None]
    labels = np.repeat([0, 1, 2], [45, 30, 15])
    found = compare(
        Noted(), numbers, labels, controls=None, train_sizes=[12, 0.5, 1.0], cv=3,
        n_repeats=1, random_state=0,
    )  # fmt: skip
    assert found.train_sizes.tolist() == [12, 30, 60]
    # The overlap of the splits is that of their whole training parts.
    assert found.ratio == pytest.approx(0.5)
    for split in range(3):
        parts = [set(seen[3 * size + split][2]) for size in range(3)]
        assert parts[0] < parts[1] < parts[2]
        assert np.bincount(labels[list(parts[0])]).tolist() == [6, 4, 2]
        assert not parts[2] & set(seen[split][4])


def test_sizes_with_groups_take_whole_groups(seen):
    numbers, groups = np.arange(80)[:, None], np.arange(80) // 4
    compare(
        Noted(), numbers, np.arange(80) % 2, groups=groups, controls=None,
        train_sizes=[18, 40], cv=4, n_repeats=1, random_state=0,
    )  # fmt: skip
    assert {len(fit[2]) for fit in seen} == {16, 40}
    for fit in seen:
        assert np.bincount(groups[fit[2]]).max() == 4
        assert set(np.bincount(groups[fit[2]])) <= {0, 4}


def test_scores_tables_and_sentences():
    found = compare(
        {"neighbours": KNeighborsClassifier(), "Bayes": GaussianNB()},
        X, y, controls={"guess": DummyClassifier()}, random_state=0,
    )  # fmt: skip
    assert found.names == ["neighbours", "Bayes", "guess"]
    table = rows(found.table())
    assert [row["estimator"] for row in table] == found.names
    for row, scores in zip(table, found.scores[:, 0, :, 0], strict=True):
        assert row["mean"] == pytest.approx(scores.mean())
        assert row["low"] < row["mean"] < row["high"]
        assert row["train_size"] == 192
        assert np.isnan(row["std_seeds"])
    pairs = rows(found.pairs())
    assert [(row["a"], row["b"]) for row in pairs] == [
        ("neighbours", "Bayes"),
        ("neighbours", "guess"),
        ("Bayes", "guess"),
    ]
    for row in pairs:
        probabilities = [row[f"p_{name}"] for name in ("better", "equivalent", "worse")]
        assert sum(probabilities) == pytest.approx(1)
        assert row["p_holm"] >= row["p_value"]
    verdicts = found.verdicts()
    assert " Bayes" in verdicts[0]
    assert verdicts[1].startswith("neighbours is better than guess by 0.7")
    assert "after Holm" in verdicts[2]
    assert verdicts[0] in str(found)
    assert "<td>neighbours</td>" in found._repr_html_()


def test_equivalent_and_undecided():
    same = {"one": GaussianNB(), "two": GaussianNB()}
    found = compare(same, X, y, controls=None, random_state=0, rope=0.02)
    (verdict,) = found.verdicts()
    assert verdict.startswith(
        "one and two are practically equivalent: they differ by +0"
    )
    near = {"five": KNeighborsClassifier(5), "six": KNeighborsClassifier(6)}
    found = compare(near, X, y, controls=None, random_state=0, rope=0.0, cv=2)
    assert found.verdicts()[0].startswith("The scores do not tell five from six: they")
    single = compare(
        near, X, y, controls=None, cv=ShuffleSplit(1, random_state=0), random_state=0
    )
    assert single.verdicts()[0].startswith("One split cannot tell five from six")


def test_controls_of_networks():
    network = LSTMImageClassifier("cnn_lstm", units=4, network__filters=4, epochs=1)
    found = compare(
        {"hybrid": network}, IMAGES[:60], y[:60], cv=2, n_repeats=1, random_state=0
    )
    assert found.names == [
        "hybrid",
        "majority class",
        "logistic regression",
        "tuned SVC",
        "matched CNN",
    ]
    assert found.n_controls == 4
    scores = dict(zip(found.names, found.scores[:, 0, :, 0].mean(axis=1), strict=True))
    assert scores["tuned SVC"] > 0.9
    assert scores["majority class"] < 0.4


def test_the_cnn_is_matched_to_the_first_network():
    hybrid = make_pipeline(LSTMImageClassifier("cnn_lstm", units=7, mixup=0.2))
    cnn = default_controls({"h": hybrid}, IMAGES, False)["matched CNN"][-1]
    assert (cnn.network, cnn.units, cnn.mixup) == ("cnn", 7, 0.2)
    # It gets what the network gets: the steps before it, and the search around it.
    steps = make_pipeline(FunctionTransformer(np.negative), hybrid[-1])
    search = GridSearchCV(steps, {"lstmimageclassifier__units": [4, 8]})
    control = default_controls({"s": search}, IMAGES, False)["matched CNN"]
    assert control.estimator[-1].network == "cnn"
    assert control.estimator[0].func is np.negative
    assert search.estimator[-1].network == "cnn_lstm"
    rows_only = make_pipeline(RowSequencer(), LSTMImageClassifier(epochs=9))
    cnn = default_controls({"rows": rows_only}, IMAGES, False)["matched CNN"]
    assert (cnn.network, cnn.epochs) == ("cnn", 9)
    own = {"mine": LSTMImageClassifier("cnn"), "lstm": LSTMImageClassifier()}
    assert "matched CNN" not in default_controls(own, IMAGES, False)
    assert "matched CNN" not in default_controls({"g": GaussianNB()}, X, False)


def test_the_same_seed_gives_the_same_scores_in_any_number_of_processes():
    models = [LogisticRegression(max_iter=300), GaussianNB()]
    one = compare(models, X, y, controls=None, random_state=3)
    two = compare(models, X, y, controls=None, random_state=3, n_jobs=2)
    np.testing.assert_array_equal(one.scores, two.scores)
    assert one.names == ["LogisticRegression", "GaussianNB"]
    other = compare(models, X, y, controls=None, random_state=4)
    assert not np.array_equal(one.scores, other.scores)


class Breaks(Noted):
    """Fails in the fit of that number."""

    left = 99

    def fit(self, X, y, groups=None):
        type(self).left -= 1
        if type(self).left < 0:
            raise KeyboardInterrupt
        return super().fit(X, y, groups)


def test_a_comparison_goes_on_where_it_stopped(seen, tmp_path):
    numbers, labels = np.arange(60)[:, None], np.arange(60) % 3
    store = tmp_path / "scores.jsonl"

    def run(**params):
        return compare(
            {"one": Breaks("a"), "two": Breaks("b")}, numbers, labels, controls=None,
            store=store, **{"random_state": 0, **params},
        )  # fmt: skip

    Breaks.left = 7
    with pytest.raises(KeyboardInterrupt):
        run()
    lines = store.read_text().splitlines()
    assert len(lines) == 7
    assert json.loads(lines[0])["fit"] == "one, 48 training samples, split 0, seed 0"
    # The machine stopped in the middle of a line.
    store.write_text("\n".join(lines[:6]) + "\n" + lines[6][:20])
    Breaks.left = 99
    Breaks.seen = seen
    seen.clear()
    found = run()
    assert len(seen) == 20 - 6
    assert not np.isnan(found.scores).any()
    seen.clear()
    np.testing.assert_array_equal(run().scores, found.scores)
    assert seen == []
    # Other seeds, parameters and data are other fits.
    run(random_state=1)
    assert len(seen) == 20
    seen.clear()
    compare({"one": Breaks("c")}, numbers, labels, controls=None, random_state=0,
            store=store)  # fmt: skip
    assert len(seen) == 10
    seen.clear()
    compare({"one": Breaks("a")}, numbers + 1, labels, controls=None, random_state=0,
            store=store)  # fmt: skip
    assert len(seen) == 10


def test_a_store_knows_the_score_and_the_groups(tmp_path):
    def run(scoring, groups=None, **params):
        params = {"random_state": 0, "cv": 3, "n_repeats": 1, "controls": None} | params
        store = tmp_path / "scores.jsonl"
        return compare(
            {"one": GaussianNB()}, X, y, scoring=scoring, groups=groups, store=store,
            **params,
        ).scores  # fmt: skip

    accuracy = run(make_scorer(accuracy_score))
    loss = make_scorer(
        log_loss, greater_is_better=False, response_method="predict_proba"
    )
    assert (run(loss) < 0).all()
    np.testing.assert_array_equal(run(make_scorer(accuracy_score)), accuracy)
    with pytest.raises(ValueError, match="store= cannot tell scoring from others"):
        run(lambda estimator, X, y: 0.0)
    n_lines = len((tmp_path / "scores.jsonl").read_text().splitlines())
    folds = list(KFold(3).split(X))
    run("accuracy", np.arange(240) // 80, cv=folds)
    run("accuracy", np.arange(240), cv=folds)
    lines = (tmp_path / "scores.jsonl").read_text().splitlines()
    assert len(lines) == n_lines + 6


def test_a_store_knows_keras_objects_again(tmp_path):
    keras = pytest.importorskip("keras")

    def digest(**params):
        return _digest(LSTMImageClassifier(**params), "one")

    first = digest(optimizer=keras.optimizers.Adam(1e-3))
    assert digest(optimizer=keras.optimizers.Adam(1e-3)) == first
    assert digest(optimizer=keras.optimizers.Adam(1e-2)) != first
    assert digest(random_state=1) == digest(random_state=2)
    assert digest(units=8) != digest(units=9)
    grids = [GridSearchCV(GaussianNB(), {}, cv=KFold(n)) for n in (3, 5)]
    assert _digest(grids[0], "a") != _digest(grids[1], "a")


def test_accuracy_is_the_score_of_searches_too():
    search = GridSearchCV(GaussianNB(), {"var_smoothing": [1e-9]}, scoring="f1_macro")
    both = {"plain": GaussianNB(), "search": search}
    found = compare(both, X, y, controls=None, random_state=0, cv=3)
    np.testing.assert_array_equal(found.scores[0], found.scores[1])
    assert found.scoring == "accuracy"


class Fails(Noted):
    """Fails where the first sample is even, or always."""

    def fit(self, X, y, groups=None):
        if self.tag == "always" or X[0, 0] % 2 == 0:
            raise RuntimeError("no such thing")
        return super().fit(X, y, groups)


def test_a_fit_that_fails_loses_no_other(seen):
    numbers, labels = np.arange(60)[:, None], np.arange(60) % 3
    both = {"fails": Fails("some"), "works": Noted("a")}
    how = {"controls": None, "random_state": 0, "n_repeats": 2}
    with pytest.warns(FitFailedWarning, match="fits of fails failed. fails, 48 train"):
        found = compare(both, numbers, labels, **how)
    missing = np.isnan(found.scores[0]).sum()
    assert 0 < missing < 10
    assert not np.isnan(found.scores[1]).any()
    assert f"{missing} of 10 scores of fails are missing" in str(found)
    (row,) = rows(found.pairs())
    # Both predict the first class on the splits that are there.
    assert row["difference"] == 0
    with pytest.raises(ValueError, match=r"10 of 10 fits of fails failed\. .* no such"):
        compare({"fails": Fails("always")}, numbers, labels, **how)


def test_groups_of_one_class_are_stratified(seen):
    numbers, groups = np.arange(200)[:, None], np.arange(200) // 10
    labels = groups % 2
    for state in range(5):
        compare(
            Noted(), numbers, labels, groups=groups, controls=None, random_state=state,
            train_sizes=[20], cv=4, n_repeats=1,
        )  # fmt: skip
    assert {tuple(np.bincount(labels[fit[2]])) for fit in seen} == {(10, 10)}


def test_splits_of_a_group_are_refused():
    groups = np.arange(240) % 7
    for cv in (KFold(3), list(KFold(3).split(X))):
        with pytest.raises(
            ValueError, match="cv puts samples of a group on both sides"
        ):
            compare({"one": GaussianNB()}, X, y, groups=groups, cv=cv, controls=None)


def test_splitters_inside_are_seeded():
    inner = KFold(3, shuffle=True)
    search = GridSearchCV(KNeighborsClassifier(), {"n_neighbors": [1, 5, 9]}, cv=inner)
    how = {"controls": None, "cv": 3, "n_repeats": 1, "train_sizes": [20]}
    one, two = (
        compare({"s": search}, X, y, random_state=0, **how).scores for _ in range(2)
    )
    np.testing.assert_array_equal(one, two)
    assert inner.random_state is None


def test_controls_on_few_samples_and_other_scores():
    found = compare(
        {"one": GaussianNB()}, X, y, train_sizes=[4], cv=2, n_repeats=1, random_state=0,
        scoring="neg_log_loss", controls="default",
    )  # fmt: skip
    # An SVC gives no probabilities.
    assert "tuned SVC" not in found.names
    assert not np.isnan(found.scores).any()
    found = compare(
        {"one": GaussianNB()}, X, y, train_sizes=[4, 40], cv=2, n_repeats=1,
        random_state=0, scoring="balanced_accuracy",
    )  # fmt: skip
    assert not np.isnan(found.scores).any()
    svc = default_controls({}, X, False, "balanced_accuracy")["tuned SVC"]
    assert svc.scoring == "balanced_accuracy"


def test_plots_of_rows_and_of_lines():
    plt = pytest.importorskip("matplotlib.pyplot")
    models = {"neighbours": KNeighborsClassifier(), "Bayes": GaussianNB()}
    how = {"controls": {"guess": DummyClassifier()}, "random_state": 0, "cv": 3}
    found = compare(models, X, y, **how)
    axes = found.plot().ax_
    assert [text.get_text() for text in axes.get_yticklabels()] == found.names
    for place, line in enumerate(axes.containers):
        assert line.lines[0].get_xdata() == found.mean_of(place, 0).value
        (bar,) = line.lines[2][0].get_segments()
        ends = found.within_bounds(found.mean_of(place, 0).interval())
        np.testing.assert_allclose(bar[:, 0], ends)
    sizes = compare(models, X, y, train_sizes=[20, 80], **how)
    display = ComparisonDisplay.from_comparison(sizes)
    assert len(display.ax_.containers) == 3
    assert [text.get_text() for text in display.ax_.get_xticklabels()] == ["20", "80"]
    plt.close("all")


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"n_repeats": 0}, "n_repeats must be a whole number of at least 1; got 0"),
        ({"n_seeds": 1.5}, "n_seeds must be a whole number of at least 1; got 1.5"),
        ({"n_seeds": None}, "n_seeds must be a whole number of at least 1; got None"),
        ({"rope": -1}, "rope must be a number of at least 0"),
        ({"train_sizes": [1.5]}, "train_sizes: 1.5 must be a part of at most 1.0"),
        ({"train_sizes": [500]}, "train_sizes: 500 must be .* from 2 to 192"),
        ({"controls": "none"}, "controls='none' must be 'default', a dict or None"),
        ({"controls": {"one": GaussianNB()}}, "share the name 'one'"),
        ({"store": "scores.jsonl"}, "give an int as random_state"),
        ({"store": "no/scores", "random_state": 0}, "a folder that does not exist"),
        ({"train_sizes": 40}, "train_sizes=40 must be a list of numbers"),
        ({"train_sizes": []}, r"train_sizes=\[\] must be a list of numbers"),
        (
            {"scoring": ["accuracy"]},
            "scoring must be the name of one score or a sco",
        ),
        ({"scoring": "acuracy"}, "acuracy"),
        ({"cv": 2.5}, "cv=2.5 must be a number of folds, a splitter, or pairs"),
        ({"estimators": ["lstm"]}, "'str' is no classifier"),
        ({"cv": ShuffleSplit(2), "n_repeats": 3}, "n_repeats=3 needs a number of fol"),
        ({"estimators": {}}, "estimators is empty"),
        ({"estimators": {"s": StandardScaler()}}, "'s' is no classifier"),
        ({"estimators": "lstm"}, "estimators must be classifiers by name, or a list"),
    ],
)
def test_what_is_refused(params, message):
    with pytest.raises(ValueError, match=message):
        compare(
            **{"estimators": {"one": GaussianNB()}, "X": X, "y": y, "controls": None}
            | params
        )


def test_controls_need_pixels():
    paths = np.array(["a.png", "b.png"] * 20)
    with pytest.raises(ValueError, match="controls='default' read pixels, and X holds"):
        compare({"one": DummyClassifier()}, paths, np.arange(40) % 2)


def test_intervals_of_an_accuracy_end_at_one():
    X, y = load_digits(n_class=3, return_X_y=True)
    X, y = X[:90], y[:90]
    how = {"controls": None, "cv": 3, "n_repeats": 1, "random_state": 0}
    model = {"neighbours": KNeighborsClassifier()}
    for scoring, bounded in (("accuracy", True), (make_scorer(accuracy_score), False)):
        found = compare(model, X, y, scoring=scoring, **how)
        row = found._rows()[0]
        low, high = found.mean_of(0, 0).interval()
        assert high > 1
        assert row["low"] == low
        assert row["high"] == (1.0 if bounded else high)
