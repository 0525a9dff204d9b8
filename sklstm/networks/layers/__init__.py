"""Keras layers that the networks are made of."""

from sklstm.networks.layers._attention import (
    AttentionPooling,
    MultiScaleAttention,
    PositionEncoding,
    SelfAttention,
)
from sklstm.networks.layers._augmentation import (
    Augmentation,
    RandomNoise,
    check_augmentation,
)
from sklstm.networks.layers._fused_batch_norm import FusedBatchNormalization
from sklstm.networks.layers._fused_lstm import FusedBidirectional, FusedLSTM
from sklstm.networks.layers._grid_convolution import GridConvolution
from sklstm.networks.layers._harmonic import CosineTransform, HarmonicConv2D
from sklstm.networks.layers._hyperparameters import (
    L2,
    DropPath,
    HyperDropout,
    HyperNoise,
    PenaltyStrength,
    StemDropout,
)
from sklstm.networks.layers._joint_augmentation import (
    JointAugmentation,
    split_augmentation,
)
from sklstm.networks.layers._lines import GridToLines, LinesToGrid
from sklstm.networks.layers._local_contrast import LocalContrast
from sklstm.networks.layers._matrix_lstm import MatrixLSTM
from sklstm.networks.layers._mixing import MixedPairs, Mixing
from sklstm.networks.layers._ordinal import CumulativeLink
from sklstm.networks.layers._patches import Patches
from sklstm.networks.layers._pixel_embedding import PixelEmbedding
from sklstm.networks.layers._position_embedding import PositionEmbedding
from sklstm.networks.layers._prepare_images import PrepareImages
from sklstm.networks.layers._pretrained_model import PretrainedModel
from sklstm.networks.layers._probabilities import Probabilities
from sklstm.networks.layers._random_colors import RandomBrightness, RandomColor
from sklstm.networks.layers._random_moves import RandomMoves
from sklstm.networks.layers._scan import Scan
from sklstm.networks.layers._standardize import Standardize

__all__ = [
    "L2",
    "AttentionPooling",
    "Augmentation",
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
    "LinesToGrid",
    "LocalContrast",
    "MatrixLSTM",
    "MixedPairs",
    "Mixing",
    "MultiScaleAttention",
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
    "Scan",
    "SelfAttention",
    "Standardize",
    "StemDropout",
    "check_augmentation",
    "split_augmentation",
]
