"""Names of classes and functions in files, and the list of names that are allowed."""

from __future__ import annotations

import sys
from importlib import import_module
from typing import Any

import numpy as np
from sklearn.base import BaseEstimator

import sklstm
from sklstm._compat import BaseSearchCV

# Estimators whose fitted state consists of plain values and arrays, by their public
# module. They pass this state only to NumPy, which checks it. Compiled code that does
# not check it (one-hot encoding, coordinate descent, averaged stochastic gradients,
# trees, NMF, splines) would read and write wherever a forged file says.
_SKLEARN = {
    "compose": "ColumnTransformer TransformedTargetRegressor",
    "decomposition": "FactorAnalysis FastICA IncrementalPCA PCA TruncatedSVD",
    "discriminant_analysis": "LinearDiscriminantAnalysis QuadraticDiscriminantAnalysis",
    "dummy": "DummyClassifier DummyRegressor",
    "ensemble": """
        BaggingClassifier BaggingRegressor StackingClassifier StackingRegressor
        VotingClassifier VotingRegressor
        """,
    "feature_selection": """
        GenericUnivariateSelect SelectFdr SelectFpr SelectFromModel SelectFwe
        SelectKBest SelectPercentile VarianceThreshold
        """,
    "impute": "MissingIndicator SimpleImputer",
    "kernel_approximation": "Nystroem RBFSampler",
    "linear_model": """
        ARDRegression BayesianRidge HuberRegressor LinearRegression LogisticRegression
        Ridge RidgeCV RidgeClassifier RidgeClassifierCV
        """,
    "multiclass": "OneVsOneClassifier OneVsRestClassifier",
    "multioutput": "MultiOutputClassifier MultiOutputRegressor",
    "naive_bayes": "BernoulliNB ComplementNB GaussianNB MultinomialNB",
    "pipeline": "FeatureUnion Pipeline",
    "preprocessing": """
        Binarizer FunctionTransformer LabelBinarizer LabelEncoder MaxAbsScaler
        MinMaxScaler Normalizer OrdinalEncoder PowerTransformer QuantileTransformer
        RobustScaler StandardScaler
        """,
    "random_projection": "GaussianRandomProjection",
}
_CLASSES = {
    f"sklearn.{module}": frozenset(classes.split())
    for module, classes in _SKLEARN.items()
}

# Score functions of the feature selectors.
_FUNCTIONS = frozenset(
    """
    chi2 f_classif f_regression mutual_info_classif mutual_info_regression r_regression
    """.split()
)

# Parameters that name a folder on one machine, with the words for messages of `save`
# and of `load`.
FOLDERS = {
    "cache": ("a folder of this machine", "a folder to write features to"),
    "memory": ("a cache on this machine", "a folder to keep a cache in"),
    "on_disk": ("a folder of this machine", "a folder to write images to"),
}


# The code has renamed these attributes since the first file was saved. The format of
# files keeps the old names.
NAMES_IN_FILES = {"_fitted_network": "_lease", "joint_augmentation": "turning"}
NAMES_IN_CODE = {old: new for new, old in NAMES_IN_FILES.items()}


def qualified_name(value: Any) -> str:
    """Return the name of a class or function with its module, public if possible."""
    name = getattr(value, "__qualname__", value.__name__)
    if isinstance(value, np.ufunc):
        return f"numpy.{name}"
    if name in sklstm.__all__ and getattr(sklstm, name) is value:
        return f"sklstm.{name}"
    for module in _CLASSES:
        # The next version may define it in another private module.
        shown = sys.modules.get(module)
        # A module also contains names that it imports from others.
        if name in getattr(shown, "__all__", ()) and getattr(shown, name) is value:
            return f"{module}.{name}"
    return f"{value.__module__}.{name}"


def estimator_class(name: str) -> type | None:
    """Return the estimator with a public name, or None if it is not on the list."""
    module, _, class_name = name.rpartition(".")
    if module == "sklstm" and class_name in sklstm.__all__:
        value = getattr(sklstm, class_name)
    elif class_name in _CLASSES.get(module, ()):
        value = getattr(import_module(module), class_name, None)
    else:
        return None
    allowed = (
        isinstance(value, type)
        and issubclass(value, BaseEstimator)
        and not issubclass(value, BaseSearchCV)
    )
    return value if allowed else None


def function(name: str) -> Any:
    """Return the function with a public name, or None if it is not on the list."""
    module, _, own = name.rpartition(".")
    if module == "sklearn.feature_selection" and own in _FUNCTIONS:
        return getattr(import_module(module), own)
    value = getattr(np, own, None) if module == "numpy" else None
    return value if isinstance(value, np.ufunc) else None


def numpy_class(name: str) -> type | None:
    """Return the NumPy scalar type with this name, or None if there is none."""
    module, _, class_name = name.rpartition(".")
    value = getattr(np, class_name, None) if module == "numpy" else None
    is_kind = isinstance(value, type) and issubclass(value, np.generic)
    return value if is_kind else None
