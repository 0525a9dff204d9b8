"""What a file cannot hold is named, and no file is written."""

import io
import os

from sklstm._keras import keras

import numpy as np
import pytest
from sklearn.ensemble import RandomForestClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler

import sklstm
from sklstm import LSTMImageClassifier


def with_lambda(input_shape, n_classes):
    inputs = keras.Input(input_shape)
    x = keras.layers.Lambda(lambda x: x[:, -1])(inputs)
    return keras.Model(inputs, keras.layers.Dense(n_classes, activation="softmax")(x))


class Odd:
    def __call__(self, X):
        return X


REFUSED = {
    "not an estimator": ([1, 2], "estimator is a list: give an estimator or a Pipe"),
    "a class": (StandardScaler, "estimator is a ABCMeta|estimator is a type"),
    "trees": (
        RandomForestClassifier(1).fit([[0.0], [1.0]], [0, 1]),
        r"RandomForestClassifier.estimators_\[0\]: DecisionTreeClassifier.tree_ is a "
        "sklearn.tree._tree.Tree, which a file cannot hold",
    ),
    "a step": (
        make_pipeline(StandardScaler(), FunctionTransformer(Odd())),
        r"Pipeline.steps\['functiontransformer'\]: FunctionTransformer.func is a .*Odd",
    ),
    "a masked array": (
        FunctionTransformer(kw_args={"a": np.ma.zeros(3)}),
        r"FunctionTransformer.kw_args\['a'\] is a numpy.ma.*MaskedArray",
    ),
    "a structured array": (
        FunctionTransformer(kw_args={"a": np.zeros(3, "f4,i4")}),
        r"kw_args\['a'\] is a numpy.ndarray of dtype \[\('f0', '<f4'\)",
    ),
    "another generator": (
        LSTMImageClassifier(random_state=np.random.RandomState(np.random.PCG64(0))),
        "LSTMImageClassifier.random_state is a numpy.random.mtrand.RandomState",
    ),
    "an open file": (
        FunctionTransformer(kw_args={"a": [io.StringIO()]}),
        r"kw_args\['a'\]\[0\] is a _io.StringIO",
    ),
    "a cache": (
        make_pipeline(StandardScaler(), memory="/tmp/cache"),
        "Pipeline.memory='/tmp/cache' is a cache on this machine, .*: set memory=None",
    ),
    "a callback": (
        LSTMImageClassifier(callbacks=[keras.callbacks.TerminateOnNaN()]),
        r"LSTMImageClassifier.callbacks\[0\] is a .*TerminateOnNaN, which a file",
    ),
    "a lambda in a layer": (
        LSTMImageClassifier(augmentation=keras.layers.Lambda(lambda x: x)),
        "LSTMImageClassifier.augmentation cannot be saved: it holds a Lambda layer",
    ),
}


@pytest.mark.parametrize(("estimator", "message"), REFUSED.values(), ids=REFUSED)
def test_what_a_file_cannot_hold_is_named(estimator, message, tmp_path):
    path = tmp_path / "old.sklstm"
    path.write_bytes(b"old")
    with pytest.raises(TypeError, match=message):
        sklstm.save(estimator, path)
    assert path.read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["old.sklstm"]


def test_a_lambda_layer_in_a_network_is_refused(digits):
    classifier = LSTMImageClassifier(with_lambda, epochs=1).fit(
        digits[0][:40], digits[1][:40] % 3
    )
    with pytest.raises(TypeError, match="its network holds a Lambda layer or a lambda"):
        sklstm.save(classifier, io.BytesIO())
