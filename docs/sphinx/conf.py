"""Sphinx configuration of the site; `build.py` puts the pages together and calls it."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

from bayesmm import __version__

project = "bayesmm"
author = "the bayesmm authors"
copyright = "the bayesmm authors, MIT licence"
version = release = __version__

extensions = ["myst_nb", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "mathml"]
exclude_patterns = ["files"]
nitpicky = False  # types in docstrings are words, as "array, shape (n, p)"
suppress_warnings = ["myst.header"]  # of pages that begin below the first level

myst_enable_extensions = ["amsmath", "dollarmath"]
myst_heading_anchors = 4
nb_custom_formats = {".py": ["jupytext.reads", {"fmt": "py:percent"}]}
nb_execution_mode = "force"
nb_execution_raise_on_error = True
nb_execution_timeout = 300
nb_merge_streams = True

add_module_names = False
autodoc_member_order = "bysource"
autodoc_typehints = "none"  # the docstrings have them in words
napoleon_google_docstring = False
napoleon_use_rtype = False
html_math_renderer = "mathml"

html_theme = "furo"
html_title = "bayesmm"
html_show_sourcelink = False
html_copy_source = False
html_static_path = ["static"]
html_css_files = ["style.css"]
pygments_style = "friendly"
pygments_dark_style = "github-dark"
