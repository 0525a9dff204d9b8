"""Public docstrings follow numpydoc. Their examples run too: pytest doctests sklstm."""

import inspect

import pytest
from numpydoc.validate import validate

import sklstm

# What is not asked for anywhere, and why. All other codes of numpydoc are.
IGNORED = {
    "GL01": "a summary may start on the line of the opening quotes",
    "GL02": "a one-line docstring closes on its own line",
    "ES01": "an extended summary is for what the summary does not say",
    "SA01": "'See Also' is for where there is something to see",
    "RT02": "a returned value may be named, as scikit-learn does",
}
# What is not asked for in methods and properties.
IGNORED_IN_MEMBERS = {
    "EX01": "the example of the class shows them",
}


def own_members(cls):
    """Names of the public methods and properties of a class that sklstm defines."""
    for name, member in inspect.getmembers_static(cls):
        function = getattr(member, "__func__", getattr(member, "fget", member))
        if (
            not name.startswith("_")
            and callable(function)
            and str(getattr(function, "__module__", "")).startswith("sklstm")
        ):
            yield name


def documented():
    """Dotted names of the public classes, and of their public members."""
    for public in sklstm.__all__:
        value = getattr(sklstm, public)
        home = f"{value.__module__}.{value.__name__}"
        yield home
        if inspect.isclass(value):
            yield from (f"{home}.{name}" for name in own_members(value))


@pytest.mark.parametrize("name", list(documented()))
def test_numpydoc(name):
    report = validate(name)
    ignored = set(IGNORED)
    if name.rpartition(".")[2] not in sklstm.__all__:
        ignored |= set(IGNORED_IN_MEMBERS)
    errors = [error for error in report["errors"] if error[0] not in ignored]
    assert not errors, "\n".join([name, *map(" ".join, errors)])


def test_members_are_found():
    # The control: an empty list of members would pass everything.
    assert {"fit", "transform"} <= set(own_members(sklstm.RowSequencer))
    assert {"fit", "predict"} <= set(own_members(sklstm.LSTMImageClassifier))
