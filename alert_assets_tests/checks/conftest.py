"""A lake of its own for each test; no Spark anywhere."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from alert_assets_tests.checks.lake import Lake
from alert_assets_tests.checks.lake import healthy as fill
from alert_assets_tests.conftest import settings_in

if TYPE_CHECKING:
    from alert_assets.settings import Settings


@pytest.fixture
def lake(settings: Settings) -> Lake:
    """Empty: no table is there yet."""
    return Lake(settings)


@pytest.fixture(scope="session")
def healthy_once(tmp_path_factory: pytest.TempPathFactory) -> Lake:
    """What each test has a copy of: writing it anew takes most of a test's time."""
    return fill(Lake(settings_in(tmp_path_factory.mktemp("healthy"))))


@pytest.fixture
def healthy(healthy_once: Lake, settings: Settings) -> Lake:
    """Filled up to platinum, with nothing to complain about."""
    return healthy_once.copy(settings)
