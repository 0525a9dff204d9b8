"""The scikit-learn face: estimators over Keras networks. Loads no Keras itself."""

from sklstm.estimators._classifier import LSTMImageClassifier
from sklstm.estimators._detector import LSTMDefectDetector
from sklstm.estimators._watch import watch_epochs
from sklstm.training._compilation_cache import set_compilation_cache
from sklstm.training._pool import clear_pool, set_pool_size

__all__ = [
    "LSTMDefectDetector",
    "LSTMImageClassifier",
    "clear_pool",
    "set_compilation_cache",
    "set_pool_size",
    "watch_epochs",
]
