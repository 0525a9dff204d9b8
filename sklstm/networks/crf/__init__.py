"""Linear-chain conditional random fields: the layer, its loss and inference."""

from sklstm.networks.crf._inference import (
    log_likelihood,
    log_partition,
    marginals,
    max_marginals,
    path_score,
    shift_labels,
    viterbi,
)
from sklstm.networks.crf._layer import LinearChainCRF
from sklstm.networks.crf._loss import CRFLoss

__all__ = [
    "CRFLoss",
    "LinearChainCRF",
    "log_likelihood",
    "log_partition",
    "marginals",
    "max_marginals",
    "path_score",
    "shift_labels",
    "viterbi",
]
