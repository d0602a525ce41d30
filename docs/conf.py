"""Sphinx configuration; `make docs` builds the pages into docs/_build/html."""

from __future__ import annotations

import sys
from importlib.metadata import version as installed_version
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent / "_ext"))

project = "alert_assets"
author = "the alert_assets authors"
copyright = "2026, the alert_assets authors"
release = version = installed_version("alert-assets")

extensions = ["myst_parser", "sphinxcontrib.mermaid", "code_reference"]
myst_enable_extensions = ["deflist", "attrs_inline"]
myst_heading_anchors = 3
exclude_patterns = ["_build"]

html_theme = "furo"
html_title = f"alert_assets {release}"

nitpicky = True
linkcheck_anchors = False
