"""Sphinx configuration: ``python -m sphinx -W -b html docs docs/_build/html``."""

import os
import re
import sys
from pathlib import Path

import sklstm

sys.path.insert(0, str(Path(__file__).parent))  # for gallery.py

project = "sklstm"
author = "sklstm developers"
copyright = "2026, sklstm developers"
release = sklstm.__version__
version = release

extensions = [
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx.ext.mathjax",
    "numpydoc",
    "myst_parser",
    "sphinx_design",
    "sphinx_gallery.gen_gallery",
]
# No intersphinx: the build needs no network and does not change with other sites.

exclude_patterns = ["_build", "auto_examples/*.ipynb", "auto_examples/*.py.md5"]
templates_path = ["_templates"]

autodoc_inherit_docstrings = False  # Keras documents what each of its layers has
default_role = "py:obj"  # single backticks: code, and a link where it is a known name
smartquotes = False  # "lstm" is a value: it must be copied as it is
autosummary_generate = True
toc_object_entries_show_parents = "hide"
autodoc_typehints = "none"  # numpydoc states the types
numpydoc_show_class_members = False  # _templates/autosummary/class.rst does it

# -- Gallery ----------------------------------------------------------------------

# The build runs the examples that take a few seconds and need no data folder. For the
# others it shows the output that `python docs/gallery.py` has stored.
os.environ.pop("SKLSTM_DATA", None)
sphinx_gallery_conf = {
    "examples_dirs": "../examples",
    "gallery_dirs": "auto_examples",
    "filename_pattern": r"(quickstart|moving_digits)\.py$",
    "within_subsection_order": "gallery.Order",
    "ignore_pattern": r"__init__\.py|[\\/]_",
    "abort_on_example_error": True,
    "capture_repr": ("_repr_html_", "__repr__"),
    "download_all_examples": False,
    # The scripts read command lines, which a notebook does not have.
    "notebook_extensions": set(),
    "matplotlib_animations": False,
    "remove_config_comments": True,
    "show_memory": False,
    "show_signature": False,
    "write_computation_times": False,
}

# -- HTML -------------------------------------------------------------------------

html_theme = "pydata_sphinx_theme"
html_title = f"sklstm {release}"
html_show_sourcelink = False
html_context = {"default_mode": "auto"}  # light or dark, as the browser asks
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_theme_options = {
    "header_links_before_dropdown": 6,
    "navbar_align": "left",
    "navigation_with_keys": False,
    "show_nav_level": 2,  # the sidebar shows the pages of every chapter
    "show_prev_next": False,
    "footer_end": [],
}
html_sidebars = {
    "index": [],
    "changelog": [],
    "development": [],
}  # pages without pages below them

# -- What the API pages leave out -------------------------------------------------

# scikit-learn generates these on every estimator; their docstrings refer to labels
# of its own user guide, which do not exist here.
_GENERATED = re.compile(r"set_\w+_request|get_metadata_routing")


def skip_member(app, what, name, obj, skip, options):
    """Leave out members that scikit-learn defines."""
    if _GENERATED.fullmatch(name):
        return True
    inner = getattr(obj, "fget", None) or getattr(obj, "__wrapped__", obj)
    module = getattr(inner, "__module__", None) or ""
    if what == "class" and module and not module.startswith("sklstm"):
        return True
    return None


def setup(app):
    app.connect("autodoc-skip-member", skip_member)
