"""The registry: names, the user's own functions, and defaults."""

import inspect

import pytest

from sklstm import LSTMDefectDetector, LSTMImageClassifier
from sklstm.networks import NETWORKS, get_network, lstm
from sklstm.networks._registry import WINDOW_NETWORKS


def test_get_network():
    assert get_network("lstm") is NETWORKS["lstm"]
    assert get_network("lstm").build is lstm

    def own(input_shape, n_classes):
        pass

    assert get_network(own).build is own
    assert get_network(own).takes == "sequences"
    own.takes = "images"
    assert get_network(own).takes == "images"
    with pytest.raises(ValueError, match="'lsmt' is not known: use 'bilstm2d', 'bi"):
        get_network("lsmt")


# What None stands for in the estimator.
OF_THE_NETWORK = {
    "lstm": {"input_noise": 0.5, "pooling": "last"},
    "lstm_transformer": {"input_noise": 0.5, "pooling": "last"},
    "bilstm2d": {"input_noise": 0.5, "pooling": "max"},
    "renet": {"input_noise": 0.5, "pooling": "flatten"},
    "cnn_lstm": {"input_noise": 0.2, "pooling": "max"},
    "cnn": {"input_noise": 0.2, "pooling": "max"},
    "sequencer": {"input_noise": 0.2},
    "vil": {"input_noise": 0.2, "pooling": "mean"},
    "conv_lstm": {"input_noise": 0.2},
    "bilstm3d": {"input_noise": 0.2},
    "cnn3d": {"input_noise": 0.2},
}


@pytest.mark.parametrize("name", [*NETWORKS, *WINDOW_NETWORKS])
def test_defaults_are_those_of_the_estimator(name):
    network = get_network(name)
    of_windows = network.gives == "windows"
    estimator = LSTMDefectDetector if of_windows else LSTMImageClassifier
    own = inspect.signature(estimator).parameters
    for parameter in inspect.signature(network.build).parameters.values():
        # The detector's `stem` is a bool, the network's is the geometry of windows. The
        # detector's `decoder` may be None.
        if parameter.name not in own or parameter.name in ("stem", "decoder"):
            continue
        default = own[parameter.name].default
        chosen = ("input_noise", "pooling", "scan", "stem_kernels")
        if parameter.name in chosen and not of_windows:
            assert default is None
            same = {"scan": "lines", "stem_kernels": "plain"}
            default = {**same, **OF_THE_NETWORK[name]}[parameter.name]
        assert parameter.default == default, parameter.name
