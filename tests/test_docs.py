"""The API page lists every public name, and nothing that does not exist."""

import re
from importlib import import_module
from pathlib import Path

import pytest

import sklstm

PAGE = Path(__file__).resolve().parent.parent / "docs" / "api.rst"
ROOMS = (
    "datasets",
    "estimators",
    "exporting",
    "inspection",
    "metrics",
    "model_selection",
    "networks",
    "persistence",
    "predictor",
    "preprocessing",
)


def listed():
    """Names on the API page, as they follow `sklstm.`."""
    text = PAGE.read_text(encoding="utf-8")
    entries = re.findall(r"^   ([\w.]+)$", text, flags=re.M)
    return entries + re.findall(r"^\.\. data:: ([\w.]+)$", text, flags=re.M)


def resolve(name):
    *room, name = name.split(".")
    return getattr(import_module(".".join(["sklstm", *room])), name)


@pytest.mark.parametrize("name", listed())
def test_listed_name_exists(name):
    resolve(name)


def test_no_name_is_listed_twice():
    assert len(listed()) == len(set(listed()))


@pytest.mark.parametrize("room", ["", *ROOMS])
def test_public_names_are_listed(room):
    module = import_module(f"sklstm.{room}") if room else sklstm
    known = listed()
    for name in module.__all__:
        # What `sklstm` exports is listed under its short name.
        assert name in known or f"{room}.{name}" in known, name
