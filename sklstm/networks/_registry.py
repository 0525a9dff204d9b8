"""The table of networks that can be asked for by name."""

from collections.abc import Callable
from dataclasses import dataclass

from sklstm._keras import keras

from sklstm.networks._cnn import cnn
from sklstm.networks._cnn_lstm import cnn_lstm
from sklstm.networks._conv_lstm import conv_lstm
from sklstm.networks._lstm import lstm
from sklstm.networks._lstm_transformer import lstm_transformer
from sklstm.networks._reading import SAMPLES
from sklstm.networks.windows._window_lstm import window_lstm


@dataclass(frozen=True)
class Network:
    """A function that builds a network, and what the network reads.

    Parameters
    ----------
    build : callable
        ``build(input_shape, n_classes, **params) -> keras.Model``; of a network that
        gives windows, ``grid`` in the place of ``n_classes``.
    takes : {"sequences", "images", "volumes"}
        What one sample is.
    gives : {"classes", "windows"}
        What is predicted: the class of a sample, or a label for each of its windows.
    """

    build: Callable[..., keras.Model]
    takes: str
    gives: str = "classes"


NETWORKS = {
    build.__name__: Network(build, takes=getattr(build, "takes"))  # noqa: B009
    for build in (lstm, lstm_transformer, cnn_lstm, cnn, conv_lstm)
}
WINDOW_NETWORKS = {
    "window_lstm": Network(window_lstm, takes="images", gives="windows"),
}


def get_network(network: str | Callable[..., keras.Model]) -> Network:
    """Return the network of that name, or wrap the user's own function.

    Parameters
    ----------
    network : str or callable
        A key of `NETWORKS`, or a function that builds a network; such a function
        takes whatever shape of sample it is given.

    Returns
    -------
    Network
        The function and what it takes.

    Raises
    ------
    ValueError
        If the name is not known, or a model or layer is given.
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
