"""Keras layers that the networks are made of."""

from sklstm.networks.layers._attention import (
    AttentionPooling,
    MultiScaleAttention,
    PositionEncoding,
    SelfAttention,
)
from sklstm.networks.layers._augmentation import Augmentation, RandomNoise
from sklstm.networks.layers._fused_lstm import FusedLSTM
from sklstm.networks.layers._hyperparameters import (
    L2,
    HyperDropout,
    HyperNoise,
    PenaltyStrength,
    PixelEmbedding,
    Probabilities,
    Standardize,
)
from sklstm.networks.layers._local_contrast import LocalContrast
from sklstm.networks.layers._ordinal import CumulativeLink

__all__ = [
    "L2",
    "AttentionPooling",
    "Augmentation",
    "CumulativeLink",
    "FusedLSTM",
    "HyperDropout",
    "HyperNoise",
    "LocalContrast",
    "MultiScaleAttention",
    "PenaltyStrength",
    "PixelEmbedding",
    "PositionEncoding",
    "Probabilities",
    "RandomNoise",
    "SelfAttention",
    "Standardize",
]
