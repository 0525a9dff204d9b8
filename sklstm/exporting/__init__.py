"""Fitted classifiers to files of other runtimes. Loads no Keras itself."""

from sklstm.exporting._export import export
from sklstm.exporting._report import ExportReport
from sklstm.exporting._skl2onnx import register_skl2onnx

__all__ = ["ExportReport", "export", "register_skl2onnx"]
