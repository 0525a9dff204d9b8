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
    with pytest.raises(ValueError, match="'lsmt' is not known: use 'bilstm3d', 'cnn'"):
        get_network("lsmt")


@pytest.mark.parametrize("name", [*NETWORKS, *WINDOW_NETWORKS])
def test_defaults_are_those_of_the_estimator(name):
    network = get_network(name)
    of_windows = network.gives == "windows"
    estimator = LSTMDefectDetector if of_windows else LSTMImageClassifier
    own = inspect.signature(estimator).parameters
    for parameter in inspect.signature(network.build).parameters.values():
        # The detector's `stem` is a bool, the network's is the geometry of windows.
        if parameter.name not in own or parameter.name == "stem":
            continue
        default = own[parameter.name].default
        if default is None and parameter.name in ("input_noise", "pooling"):
            default = {
                ("input_noise", "sequences"): 0.5,
                ("input_noise", "images"): 0.2,
                ("input_noise", "volumes"): 0.2,
                ("pooling", "sequences"): "last",
                ("pooling", "images"): "max",
            }[parameter.name, network.takes]
            if (name, parameter.name) == ("vil", "pooling"):  # as in its paper
                default = "last"
        assert parameter.default == default, parameter.name
