"""Networks written in Keras layers: from plain parameters to a `keras.Model`.

A network is one file and one function. Importing this package loads Keras.
"""

from sklstm.networks._fused_lstm import FusedLSTM
from sklstm.networks._lstm import lstm
from sklstm.networks._registry import NETWORKS, Network, get_network
from sklstm.networks.layers import (
    AttentionPooling,
    HyperDropout,
    HyperNoise,
    PenaltyStrength,
    Standardize,
)

__all__ = [
    "NETWORKS",
    "AttentionPooling",
    "FusedLSTM",
    "HyperDropout",
    "HyperNoise",
    "Network",
    "PenaltyStrength",
    "Standardize",
    "get_network",
    "lstm",
]
