"""Check that CHANGELOG.md changed if sklstm/ did.

The changes are those since the branch left main, with what is not committed yet. On
main itself they are those of the last commit. A commit that users do not notice says so
in its message, in a line that begins with "No changelog entry:" and gives the reason.

    python3 .ci/changelog.py
"""

import subprocess
import sys

EXEMPT = "No changelog entry:"


def git(*arguments):
    """Output of a git command, or None if the command fails."""
    try:
        done = subprocess.run(["git", *arguments], capture_output=True, text=True)
    except FileNotFoundError:
        return None
    return done.stdout.strip() if done.returncode == 0 else None


def find_base():
    """Commit to compare with, or None in a clone that does not hold one."""
    head = git("rev-parse", "HEAD")
    for main in ("origin/main", "main"):
        base = git("merge-base", main, "HEAD")
        if base and base != head:
            return base
    return git("rev-parse", "--verify", "HEAD^")


def check():
    """Exit status, and a sentence that explains it."""
    base = find_base()
    if base is None:
        return 0, "There is no earlier commit to compare with."
    changed = git("diff", "--name-only", base).splitlines()
    package = [name for name in changed if name.startswith("sklstm/")]
    since = f"since {base[:10]}"
    if not package:
        return 0, f"sklstm/ did not change {since}."
    if "CHANGELOG.md" in changed:
        return 0, f"CHANGELOG.md changed {since}."
    subjects = [
        git("show", "-s", "--format=%h %s", commit)
        for commit in git("rev-list", f"{base}..HEAD", "--", "sklstm").splitlines()
        if not any(
            line.startswith(EXEMPT)
            for line in git("show", "-s", "--format=%B", commit).splitlines()
        )
    ]
    uncommitted = git("diff", "--name-only", "HEAD", "--", "sklstm")
    if uncommitted:
        subjects.append("changes that are not committed yet")
    if not subjects:
        return 0, f"No commit {since} needs a changelog entry."
    return 1, (
        f"sklstm/ changed {since}, and CHANGELOG.md did not. Add a line to "
        f'"Unreleased" for what users notice, or a line "{EXEMPT} REASON" to the '
        "message of each of these commits:\n  " + "\n  ".join(subjects)
    )


if __name__ == "__main__":
    status, message = check()
    print(message, file=sys.stderr if status else sys.stdout)
    sys.exit(status)
