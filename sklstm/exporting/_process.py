"""Work that may crash a process, done in another one."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from pathlib import Path

# Lines that say nothing about an error: what TensorFlow logs, and Python's frames.
_CHATTER = re.compile(r"[WIE]\d{4} |WARNING|INFO|\d{4}-\d\d-\d\d |\s|$")


def run(module: str, folder: Path, what: str) -> None:
    """Call ``main(folder)`` of a module in a Python process of its own.

    It sees no GPU: graphs traced there hold operators that only cuDNN has. Keras runs
    on TensorFlow in it, whatever this process has.

    Parameters
    ----------
    module : str
        Name of the module.
    folder : Path
        Where it finds what it needs and leaves what it makes.
    what : str
        What it does, for the message: "The conversion to ONNX".

    Raises
    ------
    RuntimeError
        If it fails or crashes, with the last line it wrote.
    """
    environment = {
        **os.environ,
        "CUDA_VISIBLE_DEVICES": "-1",
        "KERAS_BACKEND": "tensorflow",
        "TF_CPP_MIN_LOG_LEVEL": "3",
        # The converters warn of themselves, which nobody sees here and which must not
        # be an error where the caller makes errors of warnings.
        "PYTHONWARNINGS": "ignore",
        # A network of the user's may live wherever this process found it.
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
