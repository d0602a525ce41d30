"""The lake that the checks are run over as Dagster runs them; no Spark."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from alert_assets_tests.checks.lake import Lake
from alert_assets_tests.checks.lake import healthy as fill

if TYPE_CHECKING:
    from alert_assets.settings import Settings


@pytest.fixture
def healthy(settings: Settings) -> Lake:
    """Filled up to platinum, with nothing to complain about."""
    lake = Lake(settings)
    fill(lake)
    return lake
