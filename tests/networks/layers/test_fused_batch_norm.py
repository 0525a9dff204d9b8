"""FusedBatchNormalization against keras.layers.BatchNormalization."""

from sklstm._keras import keras

import numpy as np
import pytest

from sklstm.networks import FusedBatchNormalization
from sklstm.networks.layers._fused_batch_norm import _BACKEND

IMAGES = (4, 6, 5, 3)


def pair(shape=IMAGES, **params):
    """Return Keras' layer and ours with the same weights."""
    layers = []
    for kind in (keras.layers.BatchNormalization, FusedBatchNormalization):
        layer = kind(momentum=0.8, **params)
        layer.build(shape)
        rng = np.random.default_rng(0)
        layer.set_weights([rng.uniform(0.5, 2, w.shape) for w in layer.get_weights()])
        layers.append(layer)
    return layers


def images(shape=IMAGES):
    return np.random.default_rng(1).normal(3, 2, shape).astype("float32")


@pytest.mark.backend
@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("params", [
    {}, {"axis": 1}, {"scale": False}, {"center": False}, {"trainable": False},
])  # fmt: skip
@pytest.mark.parametrize("shape", [IMAGES, (1, 1, 1, 3), (7, 4, 3)])
def test_same_outputs_and_moments_as_keras(shape, params, training):
    theirs, ours = pair(shape, **params)
    x = keras.ops.convert_to_tensor(images(shape))
    for _ in range(2):
        expected, found = theirs(x, training=training), ours(x, training=training)
        np.testing.assert_allclose(
            keras.ops.convert_to_numpy(found),
            keras.ops.convert_to_numpy(expected),
            atol=1e-5,
        )
    for a, b in zip(theirs.get_weights(), ours.get_weights(), strict=True):
        np.testing.assert_allclose(b, a, rtol=1e-5)


@pytest.mark.backend
def test_same_output_as_keras_with_a_mask():
    theirs, ours = pair((7, 4, 3))
    x = images((7, 4, 3))
    mask = np.arange(4) < np.arange(7)[:, None] % 4 + 1
    expected = theirs(x, training=True, mask=mask)
    found = ours(x, training=True, mask=mask)
    np.testing.assert_allclose(*map(keras.ops.convert_to_numpy, (expected, found)))


@pytest.mark.backend
def test_saved_network_keeps_the_layer(tmp_path):
    inputs = keras.Input(IMAGES[1:])
    model = keras.Model(inputs, FusedBatchNormalization(momentum=0.7)(inputs))
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    assert isinstance(loaded.layers[1], FusedBatchNormalization)
    assert loaded.layers[1].momentum == 0.7


@pytest.mark.skipif(_BACKEND != "tensorflow", reason="the operator is TensorFlow's")
class TestOperator:
    def gradients(self, layer, x, upstream):
        import tensorflow as tf

        x = tf.constant(x)
        with tf.GradientTape() as tape:
            tape.watch(x)
            loss = tf.reduce_sum(layer(x, training=True) * upstream)
        return tape.gradient(loss, [x, *(v.value for v in layer.trainable_variables)])

    @pytest.mark.parametrize("params", [{}, {"scale": False}, {"center": False}])
    def test_same_gradients_as_keras(self, params):
        theirs, ours = pair(**params)
        upstream = np.random.default_rng(2).normal(size=IMAGES).astype("float32")
        x = images()
        for a, b in zip(
            self.gradients(theirs, x, upstream),
            self.gradients(ours, x, upstream),
            strict=True,
        ):
            np.testing.assert_allclose(b, a, atol=2e-5)

    @pytest.mark.parametrize(("params", "dtype", "shape", "fuses"), [
        ({}, "float32", IMAGES, True),
        ({"center": False, "scale": False}, "float32", IMAGES, True),
        ({"axis": 1}, "float32", IMAGES, False),
        ({"trainable": False}, "float32", IMAGES, False),
        ({}, "float32", (7, 4, 3), False),
        ({"dtype": "mixed_float16"}, "float16", IMAGES, False),
    ])  # fmt: skip
    def test_the_operator_runs_where_it_can(self, params, dtype, shape, fuses):
        import tensorflow as tf

        _, ours = pair(shape, **params)
        graph = tf.function(lambda x: ours(x, training=True)).get_concrete_function(
            tf.TensorSpec(shape, dtype)
        )
        kinds = [operation.type for operation in graph.graph.get_operations()]
        assert ("FusedBatchNormV3" in kinds) == fuses

    def test_predictions_run_keras_own_code(self):
        import tensorflow as tf

        _, ours = pair()
        graph = tf.function(lambda x: ours(x)).get_concrete_function(
            tf.TensorSpec((None, *IMAGES[1:]))
        )
        kinds = [operation.type for operation in graph.graph.get_operations()]
        assert "FusedBatchNormV3" not in kinds
