"""Across modules: the options of the convolutional stem, as parameters of a search."""

import numpy as np
import pytest
from sklearn.model_selection import GridSearchCV

from sklstm import LSTMImageClassifier
from sklstm.estimators import clear_pool
from sklstm.networks import DropPath, HarmonicConv2D, StemDropout

SMALL = {
    "network": "cnn_lstm",
    "network__filters": 2,
    "units": 2,
    "stem_blocks": "residual",
    "epochs": 1,
    "random_state": 0,
}


@pytest.fixture(scope="module")
def data():
    rng = np.random.default_rng(0)
    return rng.integers(0, 255, (24, 8, 8)).astype(np.uint8), np.arange(24) % 2


def rates(classifier, kind):
    # A network that was seen as `model_` does not go back to the pool.
    layers = classifier._fitted_network.compiled.model.layers
    return [float(layer.rate) for layer in layers if type(layer) is kind]


def test_rates_of_the_stem_share_a_graph(data):
    clear_pool()
    base = LSTMImageClassifier(**SMALL, dropout=0.3, stem_dropout=0.1, drop_path=0.2)
    engines = set()
    for drop_path, stem_dropout in ((0.2, 0.1), (0.6, 0.4)):
        base.set_params(drop_path=drop_path, stem_dropout=stem_dropout).fit(*data)
        engines.add(base._fitted_network.compiled.engine)
        assert rates(base, DropPath) == pytest.approx([drop_path] * 2)
        assert rates(base, StemDropout) == pytest.approx([stem_dropout] * 2)
        base = LSTMImageClassifier(**base.get_params())
    assert len(engines) == 1
    base.set_params(drop_path=0.0, stem_dropout=0.0).fit(*data)
    assert base._fitted_network.compiled.engine not in engines
    assert rates(base, DropPath) == rates(base, StemDropout) == []


@pytest.mark.slow
def test_a_search_varies_the_stem(data):
    grid = {
        "stem_kernels": ["plain", "harmonic"],
        "stem_depth": [1, None],
        "stem_size": [4],
        "network__filters": [3],
    }
    search = GridSearchCV(LSTMImageClassifier(**SMALL), grid, cv=2, refit=False)
    search.fit(*data)
    assert np.isfinite(search.cv_results_["mean_test_score"]).all()
    last = search.cv_results_["params"][-1]
    model = LSTMImageClassifier(**{**SMALL, **last}).fit(*data).model_
    kernels = [layer for layer in model.layers if type(layer) is HarmonicConv2D]
    # Two stages of one block, of two convolutions.
    assert [layer.filters for layer in kernels] == [3, 3, 6, 6]


@pytest.mark.parametrize("network", ["lstm", "cnn_lstm"])
@pytest.mark.parametrize("params", [{"drop_path": 0.1}, {"stem_dropout": 0.1}])
def test_rates_without_residual_blocks_are_refused(data, network, params):
    name = next(iter(params))
    message = f"{name}=0.1 has no effect on (network='lstm'|stem_blocks='plain')"
    with pytest.raises(ValueError, match=message):
        LSTMImageClassifier(network, **params).fit(*data)


@pytest.mark.parametrize(
    "params",
    [
        {"stem_kernels": "harmonic"},
        {"stem_blocks": "residual"},
        {"stem_depth": 2},
        {"stem_size": 4},
    ],
)
def test_networks_without_a_stem_refuse_its_options(data, params):
    name, value = next(iter(params.items()))
    with pytest.raises(ValueError, match=f"{name}={value!r} has no effect on netw"):
        LSTMImageClassifier("lstm", **params).fit(*data)
