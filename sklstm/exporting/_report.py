from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class ExportReport:
    """Report of an export, measured on the file that was written.

    Parameters
    ----------
    path : Path
        Path of the file, or of the folder for a SavedModel.
    format : {"onnx", "litert", "saved_model"}
        Format of the file.
    quantize : {"int8"} or None
        Type of the stored weights; None for float32.
    size_before : int
        Size of the network's weights in Keras, in bytes.
    size_after : int
        Size of the file, or of all files in the folder, in bytes.
    operators : dict of str to int
        Number of operators of each kind in the graph.
    in_float : dict of str to int or None
        Operators that remain in float, for ``format="litert"`` with
        ``quantize="int8"``. With `calibration`, these are the operators that compute
        with floats because LiteRT has no version for integers. Without it, these are
        the LSTMs whose weights are not bytes. None for other exports.
    largest_difference : float
        Largest absolute difference between a probability of the file and of the
        estimator. For a detector, the probabilities are those of all pixels.
    n_samples : int
        Number of samples on which the difference was measured.
    accuracy_lost : float or None
        Accuracy of the estimator minus that of the file, on the `X` and `y` of
        `export`; for a detector, the F1 over all pixels. None without `y`.
    latency_ms : float
        Median time for one sample in milliseconds, after a warm-up.
    metric : {"accuracy", "F1"}, default="accuracy"
        What `accuracy_lost` is a difference of.

    See Also
    --------
    sklstm.export : Export a fitted classifier.

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
    metric: str = "accuracy"

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
            lines.append(f"  {self.metric} lost: {100 * self.accuracy_lost:.2f} points")
        lines.append(f"  latency: {self.latency_ms:.2f} ms a sample")
        return "\n".join(lines)


def _listed(operators: dict[str, int]) -> str:
    counted = sorted(operators.items(), key=lambda item: -item[1])
    return ", ".join(f"{n} {name}" for name, n in counted)
