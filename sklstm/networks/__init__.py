"""Networks: functions that build a `keras.Model` from plain parameters.

Each network is one file with one function. `layers` holds the layers, `crf` the
linear-chain conditional random field, and `windows` the network of the defect detector.
Importing this package loads Keras.
"""

from sklstm.networks._bilstm2d import bilstm2d
from sklstm.networks._bilstm3d import bilstm3d
from sklstm.networks._cnn import cnn
from sklstm.networks._cnn3d import cnn3d
from sklstm.networks._cnn_lstm import cnn_lstm
from sklstm.networks._conv_lstm import conv_lstm
from sklstm.networks._lstm import lstm
from sklstm.networks._lstm_transformer import lstm_transformer
from sklstm.networks._reading import read_input
from sklstm.networks._registry import NETWORKS, Network, get_network
from sklstm.networks._renet import renet
from sklstm.networks._saved import SavedNetwork
from sklstm.networks._sequencer import sequencer
from sklstm.networks._vil import vil
from sklstm.networks.crf import (
    CRFLoss,
    LinearChainCRF,
    log_likelihood,
    log_partition,
    marginals,
    max_marginals,
    path_score,
    shift_labels,
    viterbi,
)
from sklstm.networks.layers import (
    AttentionPooling,
    Augmentation,
    CosineTransform,
    CumulativeLink,
    DropPath,
    FusedBatchNormalization,
    FusedBidirectional,
    FusedLSTM,
    GridConvolution,
    GridToLines,
    HarmonicConv2D,
    HyperDropout,
    HyperNoise,
    JointAugmentation,
    LinesToGrid,
    LocalContrast,
    MatrixLSTM,
    MixedPairs,
    Mixing,
    MultiScaleAttention,
    Patches,
    PenaltyStrength,
    PixelEmbedding,
    PositionEmbedding,
    PositionEncoding,
    PrepareImages,
    PretrainedModel,
    Probabilities,
    RandomBrightness,
    RandomColor,
    RandomMoves,
    RandomNoise,
    Scan,
    SelfAttention,
    Standardize,
    StemDropout,
    check_augmentation,
    split_augmentation,
)
from sklstm.networks.windows import (
    WindowLoss,
    split_outputs,
    split_pixels,
    window_lstm,
)

__all__ = [
    "NETWORKS",
    "AttentionPooling",
    "Augmentation",
    "CRFLoss",
    "CosineTransform",
    "CumulativeLink",
    "DropPath",
    "FusedBatchNormalization",
    "FusedBidirectional",
    "FusedLSTM",
    "GridConvolution",
    "GridToLines",
    "HarmonicConv2D",
    "HyperDropout",
    "HyperNoise",
    "JointAugmentation",
    "LinearChainCRF",
    "LinesToGrid",
    "LocalContrast",
    "MatrixLSTM",
    "MixedPairs",
    "Mixing",
    "MultiScaleAttention",
    "Network",
    "Patches",
    "PenaltyStrength",
    "PixelEmbedding",
    "PositionEmbedding",
    "PositionEncoding",
    "PrepareImages",
    "PretrainedModel",
    "Probabilities",
    "RandomBrightness",
    "RandomColor",
    "RandomMoves",
    "RandomNoise",
    "SavedNetwork",
    "Scan",
    "SelfAttention",
    "Standardize",
    "StemDropout",
    "WindowLoss",
    "bilstm2d",
    "bilstm3d",
    "check_augmentation",
    "cnn",
    "cnn3d",
    "cnn_lstm",
    "conv_lstm",
    "get_network",
    "log_likelihood",
    "log_partition",
    "lstm",
    "lstm_transformer",
    "marginals",
    "max_marginals",
    "path_score",
    "read_input",
    "renet",
    "sequencer",
    "shift_labels",
    "split_augmentation",
    "split_outputs",
    "split_pixels",
    "vil",
    "viterbi",
    "window_lstm",
]
