"""The table of hyperparameters against networks, estimators and their docstrings."""

import inspect
import re

from sklstm._keras import keras

import pytest
from numpydoc.docscrape import FunctionDoc
from sklearn.utils._param_validation import validate_parameter_constraints

from sklstm import LSTMDefectDetector, LSTMImageClassifier, networks
from sklstm.networks import NETWORKS
from sklstm.networks._registry import WINDOW_NETWORKS
from sklstm.training._hyperparameters import (
    FROM_DATA,
    GRAPH,
    NETWORK_PARAMS,
    READ_FROM,
    READING,
    TABLE,
    TRAINING,
    VARIABLE,
    VARIABLES,
    Choice,
    Number,
    PatchSizes,
    Range,
    search_range,
)

ESTIMATORS = [LSTMImageClassifier, LSTMDefectDetector]
EVERY_NETWORK = {**NETWORKS, **WINDOW_NETWORKS}
ROWS = {row.name: row for row in TABLE}
# Settings of an estimator, which no search varies.
NO_HYPERPARAMETERS = {
    "callbacks",
    "dtype_policy",
    "metrics",
    "op_determinism",
    "random_state",
    "routed",
    "size",
    "verbose",
    "warm_start",
}


def own_parameters(estimator):
    return inspect.signature(estimator).parameters


def test_every_row_has_its_own_name_and_a_role():
    assert len(ROWS) == len(TABLE)
    assert {row.role for row in TABLE} == {GRAPH, VARIABLE, READING, TRAINING}
    for row in TABLE:
        assert (row.role == VARIABLE) == (row.held_by is not None), row.name
        assert (row.role == READING) == (row.given_as is not None), row.name
        assert bool(row.networks) == (row.role != TRAINING and row.name != "network")


@pytest.mark.parametrize("name", EVERY_NETWORK)
def test_a_network_takes_what_the_table_says(name):
    takes = set(inspect.signature(EVERY_NETWORK[name].build).parameters)
    listed = {row.given_as or row.name for row in TABLE if name in row.networks}
    given = {*NETWORK_PARAMS, *READ_FROM}
    assert takes & given == listed
    assert takes & set(FROM_DATA)


@pytest.mark.parametrize("name", VARIABLES)
def test_a_layer_holds_every_variable(name):
    kind, variable = VARIABLES[name]
    layer = getattr(networks, kind)(0.1)
    layer.build((None, 4))
    assert isinstance(getattr(layer, variable), keras.Variable)


@pytest.mark.parametrize("estimator", ESTIMATORS)
def test_the_table_lists_all_that_an_estimator_has(estimator):
    assert set(own_parameters(estimator)) - set(ROWS) <= NO_HYPERPARAMETERS
    assert not set(ROWS) & NO_HYPERPARAMETERS


def test_an_estimator_has_every_row():
    assert {name for e in ESTIMATORS for name in own_parameters(e)} >= set(ROWS)


@pytest.mark.parametrize("estimator", ESTIMATORS)
def test_constraints_hold_every_parameter_and_its_default(estimator):
    constraints = estimator._parameter_constraints
    params = estimator().get_params(deep=False)
    assert set(constraints) == set(params)
    validate_parameter_constraints(constraints, params, estimator.__name__)


@pytest.mark.parametrize(
    ("estimator", "name"),
    [(e, name) for e in ESTIMATORS for name in own_parameters(e) if name in ROWS],
)
def test_the_docstring_says_what_the_table_says(estimator, name):
    documented = {p.name: p.type for p in FunctionDoc(estimator)["Parameters"]}
    text, _, default = documented[name].partition(", default=")
    row = ROWS[name]
    values = row.values_in.get(estimator.__name__, row.values)
    choices = {c for v in values if isinstance(v, Choice) for c in v.values}
    assert set(re.findall(r'"(\w+)"', text)) == choices or not values
    for value in values:
        if isinstance(value, Number):
            assert value.kind.__name__ in {"Integral", "Real"}
            assert ("int" if value.kind.__name__ == "Integral" else "float") in text
        elif value == "boolean":
            assert text == ("bool or None" if None in values else "bool")
    assert ("None" in text) <= (None in values or not values)
    shown = own_parameters(estimator)[name].default
    assert eval(default) == shown


@pytest.mark.parametrize("level", ["recipe", "architecture"])
@pytest.mark.parametrize("network", NETWORKS)
def test_what_is_searched_is_what_a_parameter_may_be(network, level):
    constraints = LSTMImageClassifier._parameter_constraints
    suggested = []
    for row in TABLE:
        over = search_range(row, level, network)
        basic = search_range(row, "basic", network)
        assert basic is None or basic == over
        if over is None:
            continue
        suggested.append(row.name)
        ends = over
        if isinstance(over, Range):
            ends = (over.low, over.high)
        elif isinstance(over, PatchSizes):
            ends = over.factors
        for value in ends:
            validate_parameter_constraints(
                {row.name: constraints[row.name]}, {row.name: value}, "it"
            )
        if row.role == GRAPH and row.name != "network":
            assert network in row.networks
    always = ["dropout", "learning_rate"]
    if level == "architecture":
        always += ["n_layers", "bidirectional"]
    if network in ("sequencer", "vil"):  # its stages or blocks have other parameters
        always = [name for name in always if name != "n_layers"]
    assert suggested[: len(always)] == always
