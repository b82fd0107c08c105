"""Sphinx's settings for the site. Nothing here reaches for the network, and neither does the site."""

import sys
from configparser import ConfigParser
from importlib.resources import files
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent)]  # the reader, the docstrings, and the library beside them

settings = ConfigParser(delimiters=["="], interpolation=None)
settings.read(HERE.parent / "settings.ini", encoding="utf-8")

project = html_title = settings["DEFAULT"]["title"]
author = settings["DEFAULT"]["author"]
project_copyright = settings["DEFAULT"]["copyright"]
version = release = settings["DEFAULT"]["version"]
extensions = [
    "myst_nb",
    "sphinx.ext.autodoc",
    "sphinx.ext.viewcode",
    "sphinx.ext.mathjax",
    "sphinx_copybutton",
    "docstrings",
]

# Notebooks: what they store is what is shown.
nb_custom_formats = {".ipynb": ["reader.read", {}, False]}
nb_execution_mode = "off"
nb_merge_streams = True
nb_ipywidgets_js = {}  # a published page has no kernel, and the scripts would come from another host
nb_mime_priority_overrides = [
    ("html", "application/vnd.jupyter.widget-view+json", None)
]  # an explorer's HTML moves without a kernel
myst_enable_extensions = ["amsmath", "dollarmath"]
myst_heading_anchors = 3

# Docstrings: prose without sections, so no napoleon, which reads "tau: the share of ..." as a type and its description.
autodoc_default_options = {
    "members": True,
    "undoc-members": True,
    "member-order": "bysource",
    "inherited-members": "Module, Function, FunctionCtx, _SingleLevelFunction, _FunctionBase, _HookMixin, Wrapper, CartPoleEnv, Env, BaseException, tuple, str, object",  # what the library's classes inherit from each other, not from these
    "exclude-members": "training",  # a field of every torch module
}
autodoc_preserve_defaults = True
autodoc_typehints_format = "short"
python_maximum_signature_line_length = 100
viewcode_follow_imported_members = False  # a constant lives where it is listed, not where its type does
add_module_names = False
smartquotes = False  # quotes in docstrings are often Python

# Mathematics: one self-contained file. Its menu would fetch further files, and remember choices that need them.
mathjax_path = "tex-svg-full.js"
mathjax3_config = {"options": {"enableMenu": False}}

html_theme = "sphinx_book_theme"
html_theme_options = {
    "show_toc_level": 2,
    "use_fullscreen_button": False,
    "navbar_persistent": [],
}  # one search box: the side bar's
html_context = {"default_mode": "auto"}
html_favicon = "icon.svg"
html_static_path = [
    "site.css",
    "site.js",
    "explorers.js",
    "curves.js",
    str(files("mathjax") / "static" / "mathjax" / "es5" / mathjax_path),
]
html_css_files = ["site.css"]
html_js_files = ["site.js", "explorers.js", "curves.js"]
html_sourcelink_suffix = ""
