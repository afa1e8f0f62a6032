"""Sphinx: MyST pages and notebooks, executed at every build; formulas as MathML, so that pages read offline."""

import os
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

from bayesnu import __version__

project = "bayesnu"
author = "the bayesnu authors"
copyright = "the bayesnu authors"
version = release = __version__

extensions = ["myst_nb", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "mathml", "generated"]
exclude_patterns = ["_build", "_generated/*.md"]
templates_path: list[str] = []

html_theme = "furo"
html_title = "bayesnu"
html_static_path = ["_static"]
html_css_files = ["pages.css"]
html_math_renderer = "mathml"
html_show_sourcelink = False
html_copy_source = False

myst_enable_extensions = ["dollarmath", "amsmath", "deflist"]
myst_heading_anchors = 3

# Kernels take nobody's own settings, and do not warn that they talk to Sphinx over TCP without encryption.
PROFILE = Path(__file__).parent / "_build" / "ipython" / "profile_default"
PROFILE.mkdir(parents=True, exist_ok=True)
(PROFILE / "ipython_kernel_config.py").write_text("get_config().IPKernelApp.log_level = 'ERROR'\n", encoding="utf-8")
os.environ["IPYTHONDIR"] = str(PROFILE.parent)

# Notebooks run anew at every build. What one writes to stderr, warnings among it, fails the build.
nb_execution_mode = "force"
nb_execution_raise_on_error = True
nb_execution_timeout = 300
nb_execution_show_tb = True
nb_output_stderr = "error"
nb_merge_streams = True
nb_render_markdown_format = "gfm"

autodoc_typehints = "none"
autodoc_member_order = "bysource"
autodoc_preserve_defaults = True
autodoc_default_options = {"members": True, "no-value": True}
napoleon_google_docstring = False
napoleon_use_ivar = True
napoleon_use_rtype = False
default_role = "py:obj"
# One name in several rooms (limit, coverage) is no error in a docstring that mentions it.
suppress_warnings = ["ref.python"]
