"""Search, comparison, prediction sets, diagnosis, leakage and robustness."""

from sklstm.model_selection._compare import compare
from sklstm.model_selection._comparison import Comparison
from sklstm.model_selection._conformal import ConformalClassifier
from sklstm.model_selection._diagnose import diagnose
from sklstm.model_selection._diagnosis import Diagnosis
from sklstm.model_selection._findings import Finding
from sklstm.model_selection._image_changes import change_images
from sklstm.model_selection._leakage import Leakage, check_leakage
from sklstm.model_selection._optuna_search import OptunaSearchCV
from sklstm.model_selection._robustness import Robustness, robustness
from sklstm.model_selection._space import suggest_space

__all__ = [
    "Comparison",
    "ConformalClassifier",
    "Diagnosis",
    "Finding",
    "Leakage",
    "OptunaSearchCV",
    "Robustness",
    "change_images",
    "check_leakage",
    "compare",
    "diagnose",
    "robustness",
    "suggest_space",
]
