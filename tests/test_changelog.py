"""The check of .ci/run that a change of the package comes with a changelog entry."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).resolve().parent.parent / ".ci" / "changelog.py"

pytestmark = pytest.mark.skipif(shutil.which("git") is None, reason="git is missing")


class Repository:
    """A repository whose first commit, on main, holds the package and a changelog."""

    def __init__(self, folder):
        self.folder = folder
        folder.mkdir()
        self.git("init", "-q", "-b", "main")
        self.commit("Start", "sklstm/a.py", "CHANGELOG.md", "README.md")

    def git(self, *arguments):
        own = {"GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_NOSYSTEM": "1"}
        for role in ("AUTHOR", "COMMITTER"):
            own |= {f"GIT_{role}_NAME": "a", f"GIT_{role}_EMAIL": "a@example.org"}
        subprocess.run(
            ["git", *arguments], cwd=self.folder, env=os.environ | own, check=True
        )

    def change(self, *names):
        for name in names:
            path = self.folder / name
            path.parent.mkdir(exist_ok=True)
            with path.open("a") as file:
                file.write("more\n")
            self.git("add", name)

    def commit(self, message, *names):
        self.change(*names)
        self.git("commit", "-q", "-m", message)

    def check(self, folder=None):
        return subprocess.run(
            [sys.executable, SCRIPT],
            cwd=folder or self.folder,
            capture_output=True,
            text=True,
        )


@pytest.fixture
def repository(tmp_path):
    return Repository(tmp_path / "repository")


def test_the_first_commit_passes(repository):
    done = repository.check()
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize(("names", "passes"), [
    (["sklstm/a.py"], False),
    (["sklstm/new.py", "README.md"], False),
    (["sklstm/a.py", "CHANGELOG.md"], True),
    (["README.md"], True),
])  # fmt: skip
@pytest.mark.parametrize("branch", ["main", "topic"])
@pytest.mark.parametrize("committed", [True, False])
def test_a_change_needs_an_entry(repository, names, passes, branch, committed):
    if branch != "main":
        repository.git("switch", "-q", "-c", branch)
    repository.commit("Change another file", "README.md")
    repository.change(*names)
    if committed:
        repository.commit("Change")
    done = repository.check()
    assert (done.returncode == 0) == passes, done.stdout + done.stderr
    if not passes:
        last = "Change" if committed else "changes that are not committed yet"
        assert done.stderr.endswith(f"{last}\n")


def test_one_entry_serves_a_whole_branch(repository):
    repository.git("switch", "-q", "-c", "topic")
    repository.commit("Add", "sklstm/a.py", "CHANGELOG.md")
    repository.commit("Mend", "sklstm/a.py")
    assert repository.check().returncode == 0


def test_what_main_did_since_does_not_count(repository):
    repository.git("switch", "-q", "-c", "topic")
    repository.commit("Write", "README.md")
    repository.git("switch", "-q", "main")
    repository.commit("Add", "sklstm/b.py", "CHANGELOG.md")
    repository.git("switch", "-q", "topic")
    assert repository.check().returncode == 0
    repository.commit("Change", "sklstm/a.py")
    assert repository.check().returncode == 1


def test_a_commit_can_say_that_it_needs_none(repository):
    repository.git("switch", "-q", "-c", "topic")
    exempt = "Move\n\nNo changelog entry: only names of the package's own change."
    repository.commit(exempt, "sklstm/a.py")
    assert repository.check().returncode == 0
    repository.commit("Change", "sklstm/a.py")
    done = repository.check()
    assert done.returncode == 1
    assert "Change" in done.stderr
    assert "Move" not in done.stderr


@pytest.mark.parametrize(("depth", "status"), [(1, 0), (2, 1)])
def test_in_a_shallow_clone_of_one_branch(repository, tmp_path, depth, status):
    repository.git("switch", "-q", "-c", "topic")
    repository.commit("Change", "sklstm/a.py")
    clone = tmp_path / "clone"
    repository.git(
        "clone", "-q", "--single-branch", "--branch=topic", f"--depth={depth}",
        repository.folder.as_uri(), str(clone),
    )  # fmt: skip
    assert repository.check(clone).returncode == status


def test_outside_a_repository(repository, tmp_path):
    assert repository.check(tmp_path).returncode == 0
