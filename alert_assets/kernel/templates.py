"""Jinja2 as pages and reports use it: what is not there is an error, and everything is escaped."""

from __future__ import annotations

from jinja2 import Environment, PackageLoader, StrictUndefined

from alert_assets.kernel.wording import figure


def environment(package: str) -> Environment:
    """Return the environment of the templates in a package's folder `templates`."""
    made = Environment(
        loader=PackageLoader(package), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    made.filters["figure"] = figure
    return made
