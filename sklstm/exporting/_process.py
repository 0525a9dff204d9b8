"""Running code that may crash in a process of its own."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from pathlib import Path

# Lines that do not explain an error: logs of TensorFlow and frames of a traceback.
_CHATTER = re.compile(r"[WIE]\d{4} |WARNING|INFO|\d{4}-\d\d-\d\d |\s|$")


def run(module: str, folder: Path, what: str) -> None:
    """Call ``main(folder)`` of a module in a Python process of its own.

    The process sees no GPU, because graphs that are traced on a GPU contain operators
    that only cuDNN has. It uses TensorFlow as the backend of Keras, whatever this
    process uses.

    Parameters
    ----------
    module : str
        Name of the module.
    folder : Path
        Folder with the input of the module, to which it writes its output.
    what : str
        Subject of the error message, such as "The conversion to ONNX".

    Raises
    ------
    RuntimeError
        If the process fails or crashes. The message contains its last line of output.
    """
    environment = {
        **os.environ,
        "CUDA_VISIBLE_DEVICES": "-1",
        "KERAS_BACKEND": "tensorflow",
        "TF_CPP_MIN_LOG_LEVEL": "3",
        # Nobody sees the warnings of the converters, and they must not become errors if
        # the caller turns warnings into errors.
        "PYTHONWARNINGS": "ignore",
        # The process must find the modules of the user's own network.
        "PYTHONPATH": os.pathsep.join(filter(None, sys.path)),
    }
    code = f"import sys; from {module} import main; main(sys.argv[1])"
    done = subprocess.run(
        [sys.executable, "-c", code, str(folder)],
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
    )
    if done.returncode == 0:
        return
    lines = [line for line in done.stdout.splitlines() if not _CHATTER.match(line)]
    last = f": {lines[-1]}" if lines else "."
    if done.returncode < 0:
        name = signal.Signals(-done.returncode).name
        raise RuntimeError(f"{what} crashed ({name}) in a process of its own{last}")
    raise RuntimeError(f"{what} failed{last}")
