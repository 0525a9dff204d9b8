"""Hyperparameter search with Optuna, and comparison of classifiers."""

from sklstm.model_selection._compare import compare
from sklstm.model_selection._comparison import Comparison
from sklstm.model_selection._optuna_search import OptunaSearchCV
from sklstm.model_selection._space import suggest_space

__all__ = ["Comparison", "OptunaSearchCV", "compare", "suggest_space"]
