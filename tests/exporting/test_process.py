"""Work in another process: what comes back of its end."""

import os

import pytest

from sklstm.exporting._process import run

MODULES = {
    "fine": "from pathlib import Path\nPath(folder, 'made').write_text('here')",
    "warning": "import warnings\nwarnings.warn('of a converter')",
    "failing": "print('W0000 chatter')\nraise KeyError('the reason')",
    "crashing": "print('the last line', flush=True)\nos.kill(os.getpid(), 11)",
}


@pytest.fixture
def module(request, tmp_path, monkeypatch):
    body = MODULES[request.param].replace("\n", "\n    ")
    text = f"import os\n\ndef main(folder):\n    {body}\n"
    (tmp_path / f"{request.param}_module.py").write_text(text)
    monkeypatch.syspath_prepend(str(tmp_path))
    return f"{request.param}_module"


@pytest.mark.parametrize("module", ["fine"], indirect=True)
def test_it_works(module, tmp_path):
    run(module, tmp_path, "The work")
    assert (tmp_path / "made").read_text() == "here"


@pytest.mark.parametrize("module", ["warning"], indirect=True)
def test_a_warning_is_no_error_there(module, tmp_path, monkeypatch):
    monkeypatch.setenv("PYTHONWARNINGS", "error")
    run(module, tmp_path, "The work")


@pytest.mark.parametrize("module", ["failing"], indirect=True)
def test_it_fails(module, tmp_path):
    with pytest.raises(
        RuntimeError, match=r"^The work failed: KeyError: 'the reason'$"
    ):
        run(module, tmp_path, "The work")


@pytest.mark.skipif(os.name == "nt", reason="signals are POSIX")
@pytest.mark.parametrize("module", ["crashing"], indirect=True)
def test_it_crashes(module, tmp_path):
    with pytest.raises(RuntimeError, match=r"crashed \(SIGSEGV\).*: the last line$"):
        run(module, tmp_path, "The work")
