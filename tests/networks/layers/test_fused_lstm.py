"""FusedLSTM against keras.layers.LSTM: results, gradients, fallbacks, saving."""

from sklstm._keras import keras

import numpy as np
import pytest

from sklstm.networks import FusedLSTM
from sklstm.networks.layers import _fused_lstm as module

tf = pytest.importorskip("tensorflow")
pytestmark = pytest.mark.skipif(
    keras.backend.backend() != "tensorflow", reason="the operator is TensorFlow's"
)


def pair(n_features, units, **params):
    """Return Keras' layer and ours with the same weights."""
    own = params.pop("own", {})
    theirs = keras.layers.LSTM(units, bias_initializer="random_normal", **params)
    ours = FusedLSTM(units, **params, **own)
    for layer in (theirs, ours):
        layer.build((None, None, n_features))
    ours.set_weights(theirs.get_weights())
    return theirs, ours


def outputs_and_gradients(layer, x, upstream, **call):
    x = tf.constant(x)
    with tf.GradientTape() as tape:
        tape.watch(x)
        y = layer(x, **call)
        y = y[0] if isinstance(y, list | tuple) else y
        loss = tf.reduce_sum(y * upstream)
    weights = [variable.value for variable in layer.trainable_variables]
    return [y.numpy(), *(g.numpy() for g in tape.gradient(loss, [x, *weights]))]


# With units=3 the layer uses the operator's own gradient, with 100 the collected one. A
# batch of 9 is above the bound of 8 sequences, so Keras' code runs.
@pytest.mark.parametrize("units", [3, 100])
@pytest.mark.parametrize("halves", [False, True])
@pytest.mark.parametrize("n", [1, 2, 5, 9])
@pytest.mark.parametrize("params", [
    {},
    {"return_sequences": True},
    {"go_backwards": True},
    {"return_sequences": True, "go_backwards": True},
])  # fmt: skip
def test_same_outputs_and_gradients_as_keras(monkeypatch, units, halves, n, params):
    monkeypatch.setattr(module, "_FEW_PRODUCTS", 8 * 4 * 3 * (3 + 5))
    theirs, ours = pair(5, units, own={"halves": halves}, **params)
    rng = np.random.default_rng(0)
    x = rng.standard_normal((n, 6, 5), dtype="float32")
    shape = (n, 6, units) if params.get("return_sequences") else (n, units)
    upstream = rng.standard_normal(shape, dtype="float32")
    expected = outputs_and_gradients(theirs, x, upstream)
    for got, want in zip(
        outputs_and_gradients(ours, x, upstream), expected, strict=True
    ):
        np.testing.assert_allclose(got, want, rtol=2e-4, atol=2e-5)


@pytest.mark.parametrize("halves", [False, True])
@pytest.mark.parametrize("go_backwards", [False, True])
@pytest.mark.parametrize("return_sequences", [False, True])
def test_wide_steps_enter_the_operator_as_gates(halves, go_backwards, return_sequences):
    # Eleven features are more than twice the four gates of one unit.
    params = {"go_backwards": go_backwards, "return_sequences": return_sequences}
    theirs, ours = pair(11, 1, own={"halves": halves}, **params)
    rng = np.random.default_rng(0)
    x = rng.standard_normal((5, 6, 11), dtype="float32")
    upstream = rng.standard_normal((5, 6, 1) if return_sequences else (5, 1))
    expected = outputs_and_gradients(theirs, x, upstream.astype("float32"))
    found = outputs_and_gradients(ours, x, upstream.astype("float32"))
    for got, want in zip(found, expected, strict=True):
        np.testing.assert_allclose(got, want, rtol=2e-4, atol=2e-5)

    with module.known_batch_size(5):
        graph = tf.function(lambda x: ours(x)).get_concrete_function(
            tf.TensorSpec((None, 6, 11))
        )
    operations = graph.graph.get_operations()
    inputs = [one.inputs[1] for one in operations if one.type == "BlockLSTM"]
    assert inputs
    assert all(x.shape[-1] == 4 for x in inputs)


@pytest.mark.parametrize("halves", [False, True])
def test_the_operator_runs_where_it_can(halves):
    ours = FusedLSTM(4, halves=halves)
    graph = tf.function(lambda x: ours(x)).get_concrete_function(
        tf.TensorSpec((None, None, 3))
    )
    definitions = str(graph.graph.as_graph_def())
    assert definitions.count('op: "BlockLSTM"') == 1 + halves


@pytest.mark.parametrize(("batch_size", "operator"), [(8, True), (9, False)])
def test_a_known_batch_size_traces_one_way_and_no_condition(
    monkeypatch, batch_size, operator
):
    monkeypatch.setattr(module, "_FEW_PRODUCTS", 8 * 4 * 3 * (3 + 5))
    _, ours = pair(5, 3)

    @tf.function(input_signature=[tf.TensorSpec((None, 6, 5))], autograph=False)
    def gradient(x):
        with tf.GradientTape() as tape:
            loss = tf.reduce_sum(ours(x))
        return tape.gradient(loss, ours.trainable_variables[0].value)

    with module.known_batch_size(batch_size):
        graph = gradient.get_concrete_function().graph
    definitions = str(graph.as_graph_def())
    assert ('op: "BlockLSTM"' in definitions) == operator
    # TensorFlow logs "Type inference failed" about the gradient of a condition.
    assert "OptionalFromValue" not in definitions
    x = np.random.default_rng(0).standard_normal((5, 6, 5), dtype="float32")
    _, _, expected, *_ = outputs_and_gradients(ours, x, np.ones((5, 3), "float32"))
    np.testing.assert_allclose(gradient(x), expected, rtol=2e-4, atol=2e-5)


@pytest.mark.parametrize("params", [
    {"activation": "relu"},
    {"recurrent_activation": "hard_sigmoid"},
    {"use_bias": False},
    {"unroll": True},
    {"return_state": True},
    {"recurrent_dropout": 0.1},
    {"dropout": 0.1},
    {"dtype": "mixed_float16"},
    {"fused": False},
])  # fmt: skip
def test_keras_runs_where_it_cannot(params):
    ours = FusedLSTM(4, **params)
    graph = tf.function(lambda x: ours(x)).get_concrete_function(
        tf.TensorSpec((None, 6, 3))
    )
    assert "BlockLSTM" not in str(graph.graph.as_graph_def())


def test_mask_and_initial_state_give_what_keras_gives():
    theirs, ours = pair(5, 3)
    rng = np.random.default_rng(0)
    x = rng.standard_normal((4, 6, 5), dtype="float32")
    mask = np.arange(6) < np.array([[6], [2], [3], [1]])
    np.testing.assert_array_equal(ours(x, mask=mask), theirs(x, mask=mask))
    state = [rng.standard_normal((4, 3), dtype="float32") for _ in range(2)]
    np.testing.assert_array_equal(
        ours(x, initial_state=state), theirs(x, initial_state=state)
    )


def test_bidirectional_keeps_the_order_of_the_steps():
    theirs, ours = (
        keras.layers.Bidirectional(kind(3, return_sequences=True))
        for kind in (keras.layers.LSTM, FusedLSTM)
    )
    x = np.random.default_rng(0).standard_normal((4, 6, 5), dtype="float32")
    theirs(x), ours(x)
    ours.set_weights(theirs.get_weights())
    np.testing.assert_allclose(ours(x), theirs(x), atol=1e-6)


def test_saved_and_loaded(tmp_path):
    inputs = keras.Input((6, 5))
    model = keras.Model(inputs, FusedLSTM(3, halves=True, name="lstm")(inputs))
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    assert loaded.get_layer("lstm").halves
    x = np.ones((2, 6, 5), "float32")
    np.testing.assert_array_equal(model(x), loaded(x))
