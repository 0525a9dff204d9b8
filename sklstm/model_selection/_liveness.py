"""Finding out whether a process of this machine is running, without a signal."""

from __future__ import annotations

import ctypes
import os
from typing import Any

_ON_WINDOWS = os.name == "nt"
# Constants of the Windows API.
_PROCESS_QUERY_LIMITED_INFORMATION = 0x1000
_ERROR_ACCESS_DENIED = 5
_STILL_ACTIVE = 259


def is_alive(pid: int) -> bool:
    """Tell whether a process with this number is running.

    Parameters
    ----------
    pid : int
        Number of the process, which may belong to another user.

    Returns
    -------
    bool
        Whether it is running.
    """
    if _ON_WINDOWS:
        # On Windows, os.kill(pid, 0) would send Ctrl+C to the process.
        return _is_alive_on_windows(pid)
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def _is_alive_on_windows(pid: int) -> bool:
    windows: Any = ctypes  # it has these names on Windows only
    kernel = windows.WinDLL("kernel32", use_last_error=True)
    kernel.OpenProcess.restype = ctypes.c_void_p
    kernel.OpenProcess.argtypes = (ctypes.c_uint32, ctypes.c_int, ctypes.c_uint32)
    kernel.GetExitCodeProcess.argtypes = (ctypes.c_void_p, ctypes.c_void_p)
    kernel.CloseHandle.argtypes = (ctypes.c_void_p,)
    handle = kernel.OpenProcess(_PROCESS_QUERY_LIMITED_INFORMATION, False, pid)
    if not handle:
        return windows.get_last_error() == _ERROR_ACCESS_DENIED
    try:
        code = ctypes.c_uint32()
        # A process that has ended still exists while anybody holds a handle to it.
        if not kernel.GetExitCodeProcess(handle, ctypes.byref(code)):
            return True
        return code.value == _STILL_ACTIVE
    finally:
        kernel.CloseHandle(handle)
