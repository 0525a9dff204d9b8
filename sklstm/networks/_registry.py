"""The networks that have a name."""

from collections.abc import Callable
from dataclasses import dataclass

from sklstm._keras import keras

from sklstm.networks._bilstm2d import bilstm2d
from sklstm.networks._bilstm3d import bilstm3d
from sklstm.networks._cnn import cnn
from sklstm.networks._cnn3d import cnn3d
from sklstm.networks._cnn_lstm import cnn_lstm
from sklstm.networks._conv_lstm import conv_lstm
from sklstm.networks._lstm import lstm
from sklstm.networks._lstm_transformer import lstm_transformer
from sklstm.networks._reading import SAMPLES
from sklstm.networks._renet import renet
from sklstm.networks._sequencer import sequencer
from sklstm.networks._vil import vil
from sklstm.networks.windows._window_lstm import window_lstm


@dataclass(frozen=True)
class Network:
    """A function that builds a network, with its kind of samples and predictions.

    Parameters
    ----------
    build : callable
        Function ``build(input_shape, n_classes, **params) -> keras.Model``. If `gives`
        is "windows", it takes ``grid`` instead of ``n_classes``.
    takes : {"sequences", "images", "volumes"}
        Kind of the samples.
    gives : {"classes", "windows"}
        Whether the network predicts the class of a sample, or a label for each of its
        windows.
    """

    build: Callable[..., keras.Model]
    takes: str
    gives: str = "classes"


NETWORKS = {
    build.__name__: Network(build, takes=getattr(build, "takes"))  # noqa: B009
    for build in (
        lstm,
        lstm_transformer,
        bilstm2d,
        renet,
        cnn_lstm,
        cnn,
        sequencer,
        vil,
        conv_lstm,
        bilstm3d,
        cnn3d,
    )
}
WINDOW_NETWORKS = {
    "window_lstm": Network(window_lstm, takes="images", gives="windows"),
}


def get_network(network: str | Callable[..., keras.Model]) -> Network:
    """Return a network by its name, or wrap the user's own function.

    Parameters
    ----------
    network : str or callable
        Name of a network, or a function ``(input_shape, n_classes, **params) ->
        keras.Model``. An attribute `takes` of the function names its kind of samples;
        without it, the function takes sequences.

    Returns
    -------
    Network
        Function with its kind of samples and predictions.

    Raises
    ------
    ValueError
        If the name is unknown, if `takes` is invalid, or if `network` is a model or a
        layer.

    Examples
    --------
    >>> from sklstm.networks import get_network
    >>> get_network("cnn_lstm").takes
    'images'
    """
    if isinstance(network, keras.layers.Layer):
        raise ValueError(
            f"network is a {type(network).__name__} that exists already, but every fit "
            "needs a new one: give a function (input_shape, n_classes, **params) that "
            "builds and returns it."
        )
    if callable(network):
        kind = getattr(network, "takes", "sequences")
        if kind not in SAMPLES:
            raise ValueError(
                f"network.takes={kind!r} must be 'sequences', 'images' or 'volumes'."
            )
        return Network(network, takes=kind)
    if network in WINDOW_NETWORKS:
        return WINDOW_NETWORKS[network]
    if network not in NETWORKS:
        known = ", ".join(repr(name) for name in sorted(NETWORKS))
        raise ValueError(
            f"network={network!r} is not known: use {known}, or a function "
            "(input_shape, n_classes, **params) that returns a Keras model."
        )
    return NETWORKS[network]
