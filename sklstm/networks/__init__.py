"""Networks written in Keras layers: from plain parameters to a `keras.Model`.

A network is one file and one function. Importing this package loads Keras.
"""

from sklstm.networks._augmentation import Augmentation, RandomNoise, check_augmentation
from sklstm.networks._cnn import cnn
from sklstm.networks._cnn_lstm import cnn_lstm
from sklstm.networks._conv_lstm import conv_lstm
from sklstm.networks._fused_lstm import FusedLSTM
from sklstm.networks._lstm import lstm
from sklstm.networks._lstm_transformer import lstm_transformer
from sklstm.networks._reading import Scan, read_input
from sklstm.networks._registry import NETWORKS, Network, get_network
from sklstm.networks._saved import SavedNetwork
from sklstm.networks.attention import (
    AttentionPooling,
    MultiScaleAttention,
    PositionEncoding,
    SelfAttention,
)
from sklstm.networks.layers import (
    HyperDropout,
    HyperNoise,
    PenaltyStrength,
    PixelEmbedding,
    Standardize,
)

__all__ = [
    "NETWORKS",
    "AttentionPooling",
    "Augmentation",
    "FusedLSTM",
    "HyperDropout",
    "HyperNoise",
    "MultiScaleAttention",
    "Network",
    "PenaltyStrength",
    "PixelEmbedding",
    "PositionEncoding",
    "RandomNoise",
    "SavedNetwork",
    "Scan",
    "SelfAttention",
    "Standardize",
    "check_augmentation",
    "cnn",
    "cnn_lstm",
    "conv_lstm",
    "get_network",
    "lstm",
    "lstm_transformer",
    "read_input",
]
