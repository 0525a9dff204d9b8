"""What people give as `network`: it works, or a sentence says what would."""

from sklstm._keras import keras

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from sklstm import LSTMImageClassifier, RowSequencer
from sklstm.networks import Probabilities
from sklstm.training._own_network import (
    check_sample_shape,
    completed,
    parameters_of,
)

LAYERS = keras.layers
SHAPE, N_CLASSES = (None, 8), 3


def head(n_classes, activation="softmax"):
    return [LAYERS.GlobalAveragePooling1D(), LAYERS.Dense(n_classes, activation)]


def without_input(input_shape, n_classes):
    return keras.Sequential(head(n_classes))


class OwnModel(keras.Model):
    def __init__(self, input_shape, n_classes, units=4, **kwargs):
        super().__init__(**kwargs)
        self.step = LAYERS.Dense(units, "relu")
        self.pooling, self.dense = head(n_classes)

    def call(self, inputs):
        return self.dense(self.pooling(self.step(inputs)))


class OwnStep(OwnModel):
    def train_step(self, data):
        return super().train_step(data)


def an_instance_of_an_own_model(input_shape, n_classes):
    return OwnModel(input_shape, n_classes)


def functional(outputs):
    def build(input_shape, n_classes):
        inputs = keras.Input(input_shape)
        x = keras.Sequential(head(n_classes))(inputs)
        return keras.Model(inputs, outputs(x))

    return build


def of_input(*shapes, **batch):
    def build(input_shape, n_classes):
        inputs = [keras.Input(shape, **batch) for shape in shapes]
        x = sum(keras.Sequential(head(n_classes))(one) for one in inputs)
        return keras.Model(inputs, x / len(shapes))

    return build


def compiled(input_shape, n_classes):
    model = without_input(input_shape, n_classes)
    model.compile("adam", "mse")
    return model


WORKING = {
    "without_input": without_input,
    "class": OwnModel,
    "instance_of_class": an_instance_of_an_own_model,
    "dict": functional(lambda x: {"p": x}),
    "list": functional(lambda x: [x]),
    "list of inputs": of_input(SHAPE),
}


@pytest.mark.backend
@pytest.mark.parametrize("name", WORKING)
def test_network_becomes_a_functional_model_with_one_tensor(name):
    model = completed(WORKING[name])(input_shape=SHAPE, n_classes=N_CLASSES)
    assert [tuple(one.shape) for one in model.inputs] == [(None, *SHAPE)]
    assert tuple(model.output_shape) == (None, N_CLASSES)
    p = keras.ops.convert_to_numpy(model(np.ones((2, 5, 8), "float32")))
    np.testing.assert_allclose(p.sum(1), 1, rtol=1e-6)
    assert not model.compiled


REFUSED = {
    "two outputs": (
        functional(lambda x: [x, x]),
        ValueError,
        r"gives outputs of shape \[\(None, 3\), \(None, 3\)\]: it must give one of",
    ),
    "two inputs": (
        of_input(SHAPE, SHAPE),
        ValueError,
        "has 2 inputs: it must have one",
    ),
    "another input": (
        of_input((None, 28)),
        ValueError,
        r"takes inputs of shape \(None, None, 28\), but X has samples of shape "
        r"\(None, 8\)",
    ),
    "a batch": (
        of_input(SHAPE, batch_size=32),
        ValueError,
        r"takes inputs of shape \(32, None, 8\)",
    ),
    "a layer": (
        lambda input_shape, n_classes: LAYERS.Dense(n_classes),
        TypeError,
        "returned a Dense: it must return a keras.Model",
    ),
    "a class": (
        lambda input_shape, n_classes: OwnModel,
        TypeError,
        "returned a type: it must return a keras.Model",
    ),
    "compiled": (compiled, ValueError, "returned a compiled model: return it without"),
    "own step": (OwnStep, ValueError, "returned a OwnStep, whose own train_step would"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_network_that_cannot_be_trained_is_refused(name):
    build, error, message = REFUSED[name]
    with pytest.raises(error, match=f"^The network (function )?{message}"):
        completed(build)(input_shape=SHAPE, n_classes=N_CLASSES)


def test_network_of_other_steps_than_those_of_X_is_refused(digits):
    model = completed(of_input((9, 8)))(input_shape=SHAPE, n_classes=N_CLASSES)
    check_sample_shape(model, (9, 8))
    with pytest.raises(ValueError, match=r"samples of shape \(9, 8\), but those of X "):
        LSTMImageClassifier(of_input((9, 8))).fit(digits[0][:9], digits[1][:9])


@pytest.mark.parametrize(
    ("network", "kind"),
    [
        (keras.Sequential(head(3)), "Sequential"),
        (keras.Sequential([keras.Input(SHAPE), *head(3)]), "Sequential"),
        (OwnModel((8, 8), 3), "OwnModel"),
        (LAYERS.Dense(3), "Dense"),
    ],
)
def test_model_that_exists_already_is_refused(digits, network, kind):
    message = f"^network is a {kind} that exists already, but every fit needs a new one"
    with pytest.raises(ValueError, match=message):
        LSTMImageClassifier(network).fit(digits[0][:9], digits[1][:9])


@pytest.mark.parametrize("network", [LAYERS.Dense, keras.Sequential, keras.Model])
def test_class_of_Keras_is_refused(digits, network):
    message = f"The network class '{network.__name__}' must have parameters named input"
    with pytest.raises(TypeError, match=message):
        LSTMImageClassifier(network).fit(digits[0][:9], digits[1][:9])


def test_class_is_given_the_parameters_that_it_names(digits):
    assert list(parameters_of(OwnModel)) == ["input_shape", "n_classes", "units"]
    X, y = digits[0][:40], digits[1][:40] % 3
    classifier = LSTMImageClassifier(
        OwnModel, units=7, epochs=1, sequencer=RowSequencer(), random_state=0
    ).fit(X, y)
    weights = 7 * (8 + 1) + 3 * (7 + 1)
    assert classifier.model_.count_params() == weights
    again = LSTMImageClassifier(
        OwnModel, network__units=7, epochs=1, random_state=0
    ).fit(X, y)
    assert again.model_.count_params() == weights
    np.testing.assert_array_equal(again.predict_proba(X), classifier.predict_proba(X))


@pytest.mark.parametrize("policy", ["mixed_float16", "mixed_bfloat16"])
def test_own_network_in_half_precision_gives_probabilities_in_float32(digits, policy):
    X, y = digits[0][:40], digits[1][:40] % 3
    classifier = LSTMImageClassifier(
        without_input, epochs=1, dtype_policy=policy, random_state=0
    ).fit(X, y)
    p = classifier.predict_proba(X)
    assert p.dtype == np.float32
    np.testing.assert_allclose(p.sum(axis=1), 1, atol=1e-6)
    assert 0 < roc_auc_score(y, p, multi_class="ovr") <= 1
    kinds = {type(one) for values in classifier.history_.values() for one in values}
    assert kinds == {float}


def test_only_rounding_is_put_right():
    rows = np.array([[0.5, 0.25, 0.252], [0.5, 0.5, 0.5], [-1, 1, 1]], "float32")
    found = keras.ops.convert_to_numpy(Probabilities()(rows))
    np.testing.assert_allclose(found[0], rows[0] / rows[0].sum(), rtol=1e-6)
    np.testing.assert_allclose(found[0].sum(), 1, rtol=1e-6)
    np.testing.assert_array_equal(found[1], rows[1])
