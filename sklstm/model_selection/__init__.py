"""Hyperparameter search with Optuna, in the form of a scikit-learn search."""

from sklstm.model_selection._optuna_search import OptunaSearchCV
from sklstm.model_selection._space import suggest_space

__all__ = ["OptunaSearchCV", "suggest_space"]
