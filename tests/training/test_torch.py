"""The engine on PyTorch, beyond what every engine must do."""

from sklstm._keras import keras

import numpy as np
import pytest

pytestmark = [
    pytest.mark.backend,
    pytest.mark.skipif(
        keras.backend.backend() != "torch", reason="this engine runs on PyTorch alone"
    ),
]


@pytest.fixture
def engine():
    from sklstm.training._torch import EagerEngine

    inputs = keras.Input((3,))
    model = keras.Model(inputs, keras.layers.Dense(2, activation="softmax")(inputs))
    model.compile("sgd", "sparse_categorical_crossentropy")
    model.optimizer.build(model.trainable_variables)
    return EagerEngine(model)


def test_the_callers_arrays_are_copied(engine):
    x = np.zeros((4, 3), dtype=np.float32)
    data = engine.load(x, np.zeros(4, np.int32), np.ones(4, np.float32))
    x[:] = np.nan
    assert np.isfinite(engine.evaluate(data, 2)["loss"])
    predicted = engine.predict(np.zeros((2, 3), np.float32), 8)
    predicted[:] = 7
    assert (engine.predict(np.zeros((2, 3), np.float32), 8) != 7).all()


def test_nothing_keeps_the_graph_of_the_last_batch(engine):
    data = engine.load(
        np.ones((4, 3), np.float32), np.zeros(4, np.int32), np.ones(4, np.float32)
    )
    engine.train_epoch(data, np.arange(4, dtype=np.int32), 2)
    for variable in engine._model.metrics_variables:
        assert variable.value.grad_fn is None


def test_images_in_reverse_order_are_read(engine):
    x = np.arange(12, dtype=np.float32).reshape(4, 3)
    np.testing.assert_array_equal(
        engine.predict(x[::-1], 8), engine.predict(x, 8)[::-1]
    )
