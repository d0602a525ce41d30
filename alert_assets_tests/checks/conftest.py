"""A lake of its own for each test; no Spark anywhere."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from alert_assets_tests.checks.lake import Lake
from alert_assets_tests.checks.lake import healthy as fill

if TYPE_CHECKING:
    from alert_assets.settings import Settings


@pytest.fixture
def lake(settings: Settings) -> Lake:
    """Empty: no table is there yet."""
    return Lake(settings)


@pytest.fixture
def healthy(lake: Lake) -> Lake:
    """Filled up to platinum, with nothing to complain about."""
    fill(lake)
    return lake
