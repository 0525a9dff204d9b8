"""Exporting fitted classifiers to ONNX, LiteRT and SavedModel.

This package imports no Keras by itself; the conversion runs in another process.
"""

from sklstm.exporting._export import export
from sklstm.exporting._report import ExportReport
from sklstm.exporting._skl2onnx import register_skl2onnx

__all__ = ["ExportReport", "export", "register_skl2onnx"]
