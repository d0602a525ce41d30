"""Sphinx configuration; `make docs` builds the pages into docs/_build/html, with VERSIONS=... those of tags."""

from __future__ import annotations

import os
import sys
from importlib.metadata import version as installed_version
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent / "_ext"))

project = "alert_assets"
author = "the alert_assets authors"
copyright = "2026, the alert_assets authors"
# Of tags that are built side by side (.ci/docs), the tag.
release = version = os.environ.get("DOCS_VERSION") or installed_version("alert-assets")

extensions = ["myst_parser", "sphinxcontrib.mermaid", "code_reference"]
myst_enable_extensions = ["deflist", "attrs_inline"]
myst_heading_anchors = 3
exclude_patterns = ["_build"]
templates_path = ["_templates"]

html_theme = "furo"
html_title = f"alert_assets {release}"
html_context = {"versions": os.environ.get("DOCS_VERSIONS", "").split()}
html_sidebars = {
    "**": [
        "sidebar/brand.html",
        "sidebar/search.html",
        "sidebar/scroll-start.html",
        "sidebar/navigation.html",
        "versions.html",
        "sidebar/scroll-end.html",
        "sidebar/variant-selector.html",
    ]
}

nitpicky = True
linkcheck_anchors = False
