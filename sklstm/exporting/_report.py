from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class ExportReport:
    """What an export came to, measured on the file that was written.

    Parameters
    ----------
    path : Path
        The file, or the folder of a SavedModel.
    format : {"onnx", "litert", "saved_model"}
        Its format.
    quantize : {"int8"} or None
        How its weights are held.
    size_before : int
        Bytes of the network's weights in Keras.
    size_after : int
        Bytes of the file, or of all files of the folder.
    operators : dict of str to int
        How many of each operator the graph has.
    in_float : dict of str to int or None
        Of ``format="litert"`` with ``quantize="int8"``, the operators left in float:
        with ``calibration`` those that compute in it, since LiteRT has none on bytes;
        without, the LSTMs whose weights are not bytes. Otherwise None.
    largest_difference : float
        Largest absolute difference of a probability from the estimator's.
    n_samples : int
        Samples on which it was found.
    accuracy_lost : float or None
        Accuracy of the estimator less that of the file, on the samples and labels that
        `export` was given.
    latency_ms : float
        Milliseconds for one sample: median, after the first few.

    Examples
    --------
    >>> from sklstm.exporting import ExportReport
    >>> ExportReport(
    ...     "a.onnx", "onnx", quantize=None, size_before=5000, size_after=7000,
    ...     operators={"LSTM": 1, "MatMul": 1}, in_float=None, largest_difference=3e-8,
    ...     n_samples=32, accuracy_lost=None, latency_ms=0.2,
    ... )
    Exported to a.onnx (onnx, float32)
      size: 5.0 kB of weights in Keras, 7.0 kB in the file
      operators: 1 LSTM, 1 MatMul
      largest difference of a probability: 3.0e-08 on 32 samples
      latency: 0.20 ms a sample
    """

    path: Path
    format: str
    quantize: str | None
    size_before: int
    size_after: int
    operators: dict[str, int]
    in_float: dict[str, int] | None
    largest_difference: float
    n_samples: int
    accuracy_lost: float | None
    latency_ms: float

    def __repr__(self) -> str:
        lines = [
            f"Exported to {self.path} ({self.format}, {self.quantize or 'float32'})",
            f"  size: {self.size_before / 1e3:.1f} kB of weights in Keras, "
            f"{self.size_after / 1e3:.1f} kB in the file",
            f"  operators: {_listed(self.operators)}",
            f"  largest difference of a probability: {self.largest_difference:.1e} on "
            f"{self.n_samples} samples",
        ]
        if self.in_float is not None:
            lines.insert(3, f"  in float: {_listed(self.in_float) or 'none'}")
        if self.accuracy_lost is not None:
            lines.append(f"  accuracy lost: {100 * self.accuracy_lost:.2f} points")
        lines.append(f"  latency: {self.latency_ms:.2f} ms a sample")
        return "\n".join(lines)


def _listed(operators: dict[str, int]) -> str:
    counted = sorted(operators.items(), key=lambda item: -item[1])
    return ", ".join(f"{n} {name}" for name, n in counted)
