"""Hyperparameter search with Optuna, comparison and diagnosis of classifiers."""

from sklstm.model_selection._compare import compare
from sklstm.model_selection._comparison import Comparison
from sklstm.model_selection._diagnose import diagnose
from sklstm.model_selection._diagnosis import Diagnosis
from sklstm.model_selection._findings import Finding
from sklstm.model_selection._optuna_search import OptunaSearchCV
from sklstm.model_selection._space import suggest_space

__all__ = [
    "Comparison",
    "Diagnosis",
    "Finding",
    "OptunaSearchCV",
    "compare",
    "diagnose",
    "suggest_space",
]
