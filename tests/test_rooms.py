"""How the package is arranged, beyond what import-linter checks. Reads all modules."""

import ast
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parent.parent / "sklstm"
MODULES = sorted(PACKAGE.rglob("*.py"))
HEAVY = ("Keras", "TensorFlow", "JAX", "PyTorch", "Optuna", "OpenCV", "matplotlib")


def imports_in_functions(tree):
    """Yield the imports that stand inside a function, and whether of the package."""
    for function in ast.walk(tree):
        if not isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef):
            continue
        for node in ast.walk(function):
            if isinstance(node, ast.ImportFrom):
                names = [node.module or ""]
            elif isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            else:
                continue
            yield node, any(name.partition(".")[0] == "sklstm" for name in names)


def comment_above(lines, number):
    """Return the comment before a block of imports, "" if there is none."""
    above = number - 2
    while not lines[above] or lines[above].strip().startswith(
        ("from ", "import ", ")")
    ):
        above -= 1
    comment = ""
    while lines[above].strip().startswith("#"):
        comment = lines[above] + comment
        above -= 1
    return comment


@pytest.mark.parametrize("module", MODULES, ids=lambda path: path.stem)
def test_an_import_inside_a_function_keeps_something_heavy_out_and_says_so(module):
    text = module.read_text(encoding="utf-8")
    for node, of_the_package in imports_in_functions(ast.parse(text)):
        comment = comment_above(text.splitlines(), node.lineno)
        assert comment, f"line {node.lineno} gives no reason"
        if of_the_package:
            assert any(name in comment for name in HEAVY), f"line {node.lineno}"


def test_one_module_touches_scikeras():
    touch = [
        module.name
        for module in MODULES
        if "scikeras.wrappers" in module.read_text(encoding="utf-8")
    ]
    assert touch == ["_scikeras.py"]


def test_no_two_classes_share_a_name():
    places = {}
    for module in MODULES:
        for node in ast.walk(ast.parse(module.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ClassDef):
                places.setdefault(node.name, []).append(str(module))
    assert {name: found for name, found in places.items() if len(found) > 1} == {}


# Test files that cut across modules; their first line says what they test.
ACROSS = {
    "estimators/test_bad_input.py",
    "estimators/test_grading.py",
    "estimators/test_inside.py",
    "estimators/test_larger_than_memory.py",
    "estimators/test_sklearn.py",
    "estimators/test_backbone.py",
    "estimators/test_stem.py",
    "exporting/test_networks.py",
    "model_selection/test_sklearn_search.py",
    "networks/crf/test_crf.py",
    "networks/test_networks.py",
    "persistence/test_forged_files.py",
    "test_accuracy.py",
    "test_backends.py",
    "test_benchmarks.py",
    "test_changelog.py",
    "test_docs.py",
    "test_docstrings.py",
    "test_examples.py",
    "test_gpu.py",
    "test_import.py",
    "test_readme.py",
    "test_rooms.py",
    "test_same_outputs.py",
}


def test_tests_mirror_modules():
    tests = PACKAGE.parent / "tests"
    found = {path.relative_to(tests) for path in tests.rglob("test_*.py")}
    without_module = set()
    for path in found:
        name = path.name.removeprefix("test_")
        folder = PACKAGE / path.parent
        if not any((folder / module).exists() for module in (name, f"_{name}")):
            without_module.add(path.as_posix())
    assert without_module == ACROSS


def test_nothing_downloads():
    downloads = {"get_file", "urlopen", "urlretrieve", "load_state_dict_from_url"}
    for module in MODULES:
        names = {
            getattr(node, "attr", getattr(node, "id", None))
            for node in ast.walk(ast.parse(module.read_text(encoding="utf-8")))
        }
        assert not names & downloads, module
