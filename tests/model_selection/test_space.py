"""Search spaces: distributions, functions of the trial, and the suggested ones."""

import pytest
from optuna.distributions import CategoricalDistribution, FloatDistribution
from scipy.stats import norm, randint, uniform
from sklearn.datasets import load_iris
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler
from sklearn.svm import SVC

from sklstm import LSTMImageClassifier, OptunaSearchCV, PatchSequencer, RowSequencer
from sklstm.model_selection import suggest_space

X_IRIS, Y_IRIS = load_iris(return_X_y=True)


def test_every_kind_of_distribution():
    scaler = StandardScaler()
    space = {
        "logisticregression__C": FloatDistribution(0.1, 10, log=True),
        "logisticregression__max_iter": randint(200, 300),
        "logisticregression__tol": uniform(1e-4, 1e-3),
        "logisticregression__intercept_scaling": norm(10, 1),
        "logisticregression__fit_intercept": CategoricalDistribution((True, False)),
        "standardscaler": [scaler, "passthrough"],
    }
    pipeline = make_pipeline(StandardScaler(), LogisticRegression())
    search = OptunaSearchCV(pipeline, space, n_trials=8, cv=3, random_state=0)
    search.fit(X_IRIS, Y_IRIS)
    for params in search.cv_results_["params"]:
        assert set(params) == set(space)
        assert 0.1 <= params["logisticregression__C"] <= 10
        assert 200 <= params["logisticregression__max_iter"] < 300
        assert 1e-4 <= params["logisticregression__tol"] <= 1.1e-3
        assert abs(params["logisticregression__intercept_scaling"] - 10) < 5
        assert params["standardscaler"] in (scaler, "passthrough")
    assert not hasattr(scaler, "mean_")  # a value in the space is not fitted


def test_a_function_makes_conditional_spaces(svc_search):
    def space(trial):
        kernel = trial.suggest_categorical("kernel", ["linear", "rbf"])
        params = {"kernel": kernel, "C": trial.suggest_float("C", 0.1, 10, log=True)}
        if kernel == "rbf":
            params["gamma"] = trial.suggest_float("gamma", 0.01, 1, log=True)
        return params

    search = svc_search(space=space, n_trials=10).fit(X_IRIS, Y_IRIS)
    kinds = {
        params["kernel"]: "gamma" in params for params in search.cv_results_["params"]
    }
    assert kinds == {"linear": False, "rbf": True}
    assert "param_gamma" in search.cv_results_


def test_ready_spaces():
    rows = make_pipeline(RowSequencer(), LSTMImageClassifier())
    basic = suggest_space(rows, image_shape=(56, 28))
    length = basic["rowsequencer__sequence_length"]
    assert (length.low, length.high) == (32, 64)
    assert set(basic) == {
        "rowsequencer__sequence_length",
        "lstmimageclassifier__dropout",
        "lstmimageclassifier__learning_rate",
    }
    columns = make_pipeline(RowSequencer(axis="columns"), LSTMImageClassifier())
    length = suggest_space(columns, image_shape=(56, 28))[
        "rowsequencer__sequence_length"
    ]
    assert (length.low, length.high) == (16, 32)
    patches = make_pipeline(PatchSequencer(patch_size=8), LSTMImageClassifier())
    deep = suggest_space(patches, "architecture")
    assert deep["patchsequencer__stride"].choices == (2, 4, 8)
    for pipeline in (rows, patches):
        names = set(suggest_space(pipeline, "architecture"))
        assert names <= set(pipeline.get_params())
        assert {"lstmimageclassifier__units", "lstmimageclassifier__n_layers"} <= names
    with pytest.raises(ValueError, match="level='all' is not known"):
        suggest_space(rows, "all")
    with pytest.raises(ValueError, match="No step of SVC"):
        suggest_space(SVC())


def test_suggests_the_parts_of_a_recipe():
    parts = {"dropout", "learning_rate"}
    parts |= {"weight_decay", "warmup", "label_smoothing", "mixup"}
    for name, stem in (("cnn_lstm", {"stem_kernels"}), ("lstm", set()), ("vil", set())):
        model = LSTMImageClassifier(name)
        space = suggest_space(model, "recipe")
        assert set(space) - {"dropout"} == (parts | stem) - {"dropout"}
        # None of them is a question of the architecture.
        assert not set(suggest_space(model, "architecture")) & (
            (parts | stem) - {"dropout", "learning_rate"}
        )
    # "auto" has its own weight decay and kernels.
    space = suggest_space(LSTMImageClassifier("auto"), "recipe")
    assert set(space) == parts - {"weight_decay"}


def test_suggests_only_what_fits_together():
    model = LSTMImageClassifier("bilstm2d")
    space = suggest_space(model, "architecture", image_shape=(28, 28))
    assert space["network"].choices == ("bilstm2d", "renet")
    assert space["patch_size"].choices == (2, 4)
    space = suggest_space(model, "architecture", image_shape=(224, 224))
    assert space["patch_size"].choices == (14, 28)
    # "renet" has no scan, so the search must not draw it.
    model = LSTMImageClassifier("bilstm2d", scan="positions")
    assert "network" not in suggest_space(model, "architecture")
    for name in ("sequencer", "vil"):
        space = suggest_space(LSTMImageClassifier(name), "architecture")
        assert "patch_size" in space


def test_searches_a_sequencer_inside_the_classifier(few_digits):
    inside = LSTMImageClassifier(
        sequencer=PatchSequencer((4, 3)), units=4, epochs=1, random_state=0
    )
    model = Pipeline([("same", FunctionTransformer()), ("clf", inside)])
    space = suggest_space(model)
    assert space["clf__sequencer__stride"].choices == (1, 3)
    order = suggest_space(model, "architecture")["clf__sequencer__order"]
    assert set(order.choices) == {"raster", "snake", "hilbert"}
    search = OptunaSearchCV(model, space, n_trials=4, cv=2, random_state=2)
    search.fit(*few_digits)
    assert set(search.cv_results_["trial_state"]) == {"COMPLETE"}
    strides = [
        params["clf__sequencer__stride"] for params in search.cv_results_["params"]
    ]
    assert set(strides) == {1, 3}
    best = search.best_estimator_["clf"]
    assert best.sequencer_.stride == search.best_params_["clf__sequencer__stride"]
    params = {name: [value] for name, value in search.best_params_.items()}
    grid = GridSearchCV(model, params, cv=2).fit(*few_digits)
    assert grid.best_score_ == search.best_score_


def test_a_range_keeps_its_kind_within_a_study(tmp_path, svc_search):
    kept = {"storage": f"sqlite:///{tmp_path}/s.db", "study_name": "s", "n_trials": 1}
    svc_search(**kept).fit(X_IRIS, Y_IRIS)
    kept["n_trials"] = 2
    for other in (uniform(0.1, 1), randint(1, 9), FloatDistribution(0.1, 1)):
        with pytest.raises(ValueError, match="searched 'C' over FloatDistribution"):
            svc_search(space={"C": other}, **kept).fit(X_IRIS, Y_IRIS)
    svc_search(space={"C": FloatDistribution(0.1, 1, log=True)}, **kept).fit(
        X_IRIS, Y_IRIS
    )
