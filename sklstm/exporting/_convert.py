"""Converting the plan of an export to a file.

`export` runs this module in a process of its own, which may import Keras and crash.
"""

from __future__ import annotations

import json
import pickle
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np

from sklstm.exporting._graph import build_model, count_lstms
from sklstm.exporting._measure import measure
from sklstm.exporting._plan import Conversion

# The operator that runs all steps of an LSTM layer.
FUSED = {
    ("onnx", None): "LSTM",
    ("onnx", "int8"): "DynamicQuantizeLSTM",
    ("litert", None): "UNIDIRECTIONAL_SEQUENCE_LSTM",
    ("litert", "int8"): "UNIDIRECTIONAL_SEQUENCE_LSTM",
    ("saved_model", None): "BlockLSTM",
}


def convert(
    conversion: Conversion, path: Path
) -> tuple[dict[str, int], dict[str, int] | None]:
    """Write the file.

    Parameters
    ----------
    conversion : Conversion
        The plan and the format.
    path : Path
        Path of the file, or of the folder for a SavedModel.

    Returns
    -------
    operators : dict of str to int
        Number of operators of each kind in the file.
    in_float : dict of str to int or None
        Operators that ``quantize="int8"`` left in float, as in `ExportReport`.

    Raises
    ------
    RuntimeError
        If the converter left an LSTM as a loop.
    """
    model = build_model(conversion.plan)
    writer: Any = import_module(f"sklstm.exporting._{conversion.format}")
    operators, in_float = writer.write(conversion, model, path)
    wanted = count_lstms(model, joined=conversion.format == "onnx")
    name = FUSED[conversion.format, conversion.quantize]
    found = operators.get(name, 0)
    if found < wanted:
        raise RuntimeError(
            f"{wanted} LSTM layers became {found} {name} operators: the converter left "
            "the others as loops or in float, which run slower."
        )
    return operators, in_float


def main(folder: str) -> None:
    """Convert the plan in a folder, try the result, and write both to the folder."""
    conversion = pickle.loads(Path(folder, "conversion").read_bytes())
    result = Path(folder, "result")
    operators, in_float = convert(conversion, result)
    outputs, latency = measure(result, conversion.samples)
    np.savez(Path(folder, "outputs.npz"), **outputs)  # type: ignore[arg-type]
    facts = {"operators": operators, "in_float": in_float, "latency_ms": latency}
    Path(folder, "facts").write_text(json.dumps(facts))
