import numpy as np
import pytest

from sklstm import LSTMImageClassifier


@pytest.fixture(scope="module")
def classifier():
    X = np.random.default_rng(0).normal(size=(20, 8, 8)).astype("float32")
    # An LSTM of this size runs one operator for few samples and Keras' code for many.
    return LSTMImageClassifier(units=64, epochs=1, random_state=0).fit(
        X, X[:, 0, 0] > 0
    )


@pytest.fixture
def engine(classifier):
    return classifier._fitted_network.compiled.engine


def test_predictions_run_without_a_condition_on_their_number(classifier, engine):
    X = np.random.default_rng(1).normal(size=(200, 8, 8)).astype("float32")
    many = classifier.predict_proba(X)
    few = [classifier.predict_proba(X[i : i + 3]) for i in range(0, 6, 3)]
    np.testing.assert_allclose(np.concatenate(few), many[:6], atol=1e-6)
    traced = engine._predict.traced.values()
    assert len(traced) == 2
    for function in traced:
        assert function.experimental_get_tracing_count() == 1
        graph = function.get_concrete_function().graph
        kinds = {operation.type for operation in graph.get_operations()}
        assert not kinds & {"If", "StatelessIf"}


def test_samples_of_another_shape_are_refused(engine):
    with pytest.raises(ValueError, match=r"\(3, 8, 9\) were given .* reads \(None"):
        engine.predict(np.zeros((3, 8, 9), "float32"), 8)
