"""The probe that tells whether the process of a trial is still there."""

import ctypes
import os
import subprocess
import sys

import pytest

from sklstm.model_selection import _liveness


def test_processes_of_this_machine():
    process = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    assert _liveness.is_alive(process.pid)
    assert process.poll() is None  # the question did nothing to it
    process.communicate()
    assert not _liveness.is_alive(process.pid)
    assert _liveness.is_alive(os.getpid())


class Kernel:
    """Stands in for kernel32, of which the probe uses three functions."""

    def __init__(self, handle, exit_code):
        self.closed = []

        def open_process(access, inherit, pid):
            assert access == 0x1000  # no right to end or to signal it
            return handle

        def get_exit_code(process, code):
            code._obj.value = exit_code
            return True

        # Plain functions, because the probe sets attributes of them.
        self.OpenProcess = open_process
        self.GetExitCodeProcess = get_exit_code
        self.CloseHandle = lambda process: self.closed.append(process)


@pytest.mark.parametrize(
    ("handle", "exit_code", "error", "alive"),
    [
        (7, 259, 0, True),  # STILL_ACTIVE
        (7, 0, 0, False),  # ended, and somebody holds a handle
        (None, 0, 87, False),  # ERROR_INVALID_PARAMETER: there is none
        (None, 0, 5, True),  # ERROR_ACCESS_DENIED: another user's
    ],
    ids=["running", "ended", "unknown", "of another user"],
)
def test_windows_is_asked_without_a_signal(
    monkeypatch, handle, exit_code, error, alive
):
    def kill(*args):
        raise AssertionError("on Windows os.kill interrupts the other process")

    kernel = Kernel(handle, exit_code)
    monkeypatch.setattr(_liveness, "_ON_WINDOWS", True)
    monkeypatch.setattr(os, "kill", kill)
    monkeypatch.setattr(ctypes, "WinDLL", lambda *a, **k: kernel, raising=False)
    monkeypatch.setattr(ctypes, "get_last_error", lambda: error, raising=False)
    assert _liveness.is_alive(1234) is alive
    assert kernel.closed == ([] if handle is None else [handle])
