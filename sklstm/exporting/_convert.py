"""The process that converts: a plan to a file, and what is in it."""

from __future__ import annotations

import json
import pickle
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np

from sklstm.exporting._measure import measure
from sklstm.exporting._plan import ExportPlan

# What a layer's steps are in one piece.
FUSED = {
    ("onnx", None): "LSTM",
    ("onnx", "int8"): "DynamicQuantizeLSTM",
    ("litert", None): "UNIDIRECTIONAL_SEQUENCE_LSTM",
    ("litert", "int8"): "UNIDIRECTIONAL_SEQUENCE_LSTM",
    ("saved_model", None): "BlockLSTM",
}


@dataclass
class Conversion:
    """What to convert, and to what.

    Parameters
    ----------
    plan : ExportPlan
        The graph.
    format : {"onnx", "litert", "saved_model"}
        What to write.
    quantize : {"int8"} or None
        How to hold the weights.
    calibration : ndarray or None
        Samples by which ranges are found.
    metadata : str
        To be kept in the file.
    samples : ndarray
        To try the result on.
    """

    plan: ExportPlan
    format: str
    quantize: str | None
    calibration: np.ndarray | None
    metadata: str
    samples: np.ndarray


def convert(
    job: Conversion, path: Path
) -> tuple[dict[str, int], dict[str, int] | None]:
    """Write the file.

    Parameters
    ----------
    job : Conversion
        What to convert.
    path : Path
        Where to.

    Returns
    -------
    operators : dict of str to int
        How many of each operator it has.
    in_float : dict of str to int or None
        Those that "int8" left in float, see `ExportReport`.

    Raises
    ------
    RuntimeError
        If an LSTM was left as a loop.
    """
    from sklstm.exporting._graph import build_model, count_lstms

    model = build_model(job.plan)
    writer: Any = import_module(f"sklstm.exporting._{job.format}")
    operators, in_float = writer.write(job, model, path)
    wanted = count_lstms(model, joined=job.format == "onnx")
    name = FUSED[job.format, job.quantize]
    found = operators.get(name, 0)
    if found < wanted:
        raise RuntimeError(
            f"{wanted} LSTM layers became {found} {name} operators: the converter left "
            "the others as loops or in float, which run slower."
        )
    return operators, in_float


def main(folder: str) -> None:
    """Convert the job in a folder, try the result, and leave there what came of it."""
    job = pickle.loads(Path(folder, "job").read_bytes())
    result = Path(folder, "result")
    operators, in_float = convert(job, result)
    probabilities, latency = measure(result, job.samples)
    np.save(Path(folder, "probabilities.npy"), probabilities)
    facts = {"operators": operators, "in_float": in_float, "latency_ms": latency}
    Path(folder, "facts").write_text(json.dumps(facts))
