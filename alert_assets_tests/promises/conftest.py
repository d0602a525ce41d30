"""A machine of its own for each promise, driven by the commands that people type."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from alert_assets_tests.support.dagster_site import Site
from alert_assets_tests.support.pipeline import Pipeline

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return site_in(tmp_path)


def site_in(folder: Path, **variables: str) -> Site:
    """A site whose gate lets generated lines through: they may be worse than what people allow."""
    folder.mkdir(exist_ok=True)
    return Site(folder, ALERTS_GATE_MAX_QUARANTINE_PERCENT="100", ALERTS_MAX_FILES_PER_TRIGGER="3", **variables)


def tables(site: Site, **settings: Any) -> Pipeline:
    """The site's tables; reading them needs no Spark.

    Args:
        settings: those that are others than the site's, where more is done with it than reading.
    """

    def no_session() -> Any:
        raise AssertionError("the tables are read without Spark")

    return Pipeline(site.settings.model_copy(update=settings), no_session)
