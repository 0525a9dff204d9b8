"""Scikit-learn estimators that read an image as a sequence.

The public names are imported on first use (PEP 562): ``import sklstm`` and the
transformers load neither TensorFlow nor Keras.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from sklstm._version import __version__ as __version__

if TYPE_CHECKING:
    from sklstm._show_versions import show_versions
    from sklstm.datasets import (
        load_image_folder,
        load_image_table,
        load_mask_folder,
    )
    from sklstm.estimators import LSTMDefectDetector, LSTMImageClassifier
    from sklstm.exporting import export
    from sklstm.features import FeatureSequencer
    from sklstm.model_selection import OptunaSearchCV
    from sklstm.persistence import load, save
    from sklstm.predictor import load_exported
    from sklstm.preprocessing import (
        FundusPreprocessor,
        ImageReader,
        PatchSequencer,
        RowSequencer,
        VolumeSequencer,
    )

# Where each public name lives. A new one is added here, in `__all__` and above;
# tests/test_import.py compares the three.
_HOME = {
    "FeatureSequencer": "sklstm.features",
    "FundusPreprocessor": "sklstm.preprocessing",
    "ImageReader": "sklstm.preprocessing",
    "LSTMDefectDetector": "sklstm.estimators",
    "LSTMImageClassifier": "sklstm.estimators",
    "OptunaSearchCV": "sklstm.model_selection",
    "PatchSequencer": "sklstm.preprocessing",
    "RowSequencer": "sklstm.preprocessing",
    "VolumeSequencer": "sklstm.preprocessing",
    "load_image_folder": "sklstm.datasets",
    "load_image_table": "sklstm.datasets",
    "load_mask_folder": "sklstm.datasets",
    "load": "sklstm.persistence",
    "save": "sklstm.persistence",
    "show_versions": "sklstm._show_versions",
    "export": "sklstm.exporting",
    "load_exported": "sklstm.predictor",
}

# Spelled out, because type checkers do not follow a computed `__all__`.
__all__ = [
    "FeatureSequencer",
    "FundusPreprocessor",
    "ImageReader",
    "LSTMDefectDetector",
    "LSTMImageClassifier",
    "OptunaSearchCV",
    "PatchSequencer",
    "RowSequencer",
    "VolumeSequencer",
    "export",
    "load",
    "load_exported",
    "load_image_folder",
    "load_image_table",
    "load_mask_folder",
    "save",
    "show_versions",
]


def __getattr__(name: str) -> Any:
    try:
        home = _HOME[name]
    except KeyError:
        raise AttributeError(f"module 'sklstm' has no attribute {name!r}") from None
    value = getattr(import_module(home), name)
    globals()[name] = value  # the next access does not come here
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
