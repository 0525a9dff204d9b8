"""`sklstm._compat` is the one module that imports what scikit-learn keeps private."""

import ast
from pathlib import Path

import pytest

import sklstm

PACKAGE = Path(sklstm.__file__).parent


def private_imports(source):
    """The private names of scikit-learn that a module imports, with their lines."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        else:
            continue
        for name in names:
            package, *parts = name.split(".")
            # `__version__` and the like are public.
            if package == "sklearn" and any(
                part.startswith("_") and not part.startswith("__") for part in parts
            ):
                yield node.lineno, name


@pytest.mark.parametrize(
    ("source", "names"),
    [
        ("from sklearn.utils._tags import get_tags", ["sklearn.utils._tags.get_tags"]),
        ("from sklearn.utils import _safe_indexing", ["sklearn.utils._safe_indexing"]),
        ("import sklearn.tree._tree as tree", ["sklearn.tree._tree"]),
        ("def f():\n    from sklearn import _config", ["sklearn._config"]),
        ("from sklearn import __version__, clone", []),
        ("import numpy._core", []),
    ],
)
def test_private_imports_are_found(source, names):
    assert [name for _, name in private_imports(source)] == names


def test_private_imports_of_scikit_learn_are_in_compat_alone():
    found = {
        f"{path.relative_to(PACKAGE)}:{line}: {name}"
        for path in PACKAGE.rglob("*.py")
        for line, name in private_imports(path.read_text(encoding="utf-8"))
        if path != PACKAGE / "_compat.py"
    }
    assert not found
    assert list(private_imports((PACKAGE / "_compat.py").read_text(encoding="utf-8")))
