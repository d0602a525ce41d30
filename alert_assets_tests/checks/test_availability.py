"""Whether tables are available: looked at as a reader would, over real tables that go stale, break and come back."""

from __future__ import annotations

import shutil
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest

from alert_assets.breaker.store import circuit_breakers
from alert_assets.checks.availability import table_availability
from alert_assets.contracts import BRONZE_EVENTS, TABLE_AVAILABILITY
from alert_assets.kernel.clock import utc_now
from alert_assets.lake.lakehouse import append_rows
from alert_assets_tests.checks.lake import MINUTE, T0, Lake, alert

if TYPE_CHECKING:
    from datetime import datetime

    from alert_assets.settings import Settings


@pytest.fixture
def lake(settings: Settings) -> Lake:
    return Lake(settings)


def look(lake: Lake, at: datetime) -> dict[str, dict[str, Any]]:
    """Rows of one look, by table; they are written down."""
    breakers = circuit_breakers(lake.settings)
    rows = list(table_availability(lake.lakehouse, lake.settings, breakers, at))
    append_rows(lake.lakehouse, TABLE_AVAILABILITY, rows)
    return {row["table_name"]: row for row in rows}


def test_a_table_that_never_was_is_not_looked_at(lake: Lake) -> None:
    assert look(lake, T0) == {}


def test_a_table_is_available_stale_unreadable_and_gone(lake: Lake) -> None:
    lake.land(alert("a1", T0))
    lake.refresh()
    # A table waits from the commit that it has not seen, which is made by the clock of this machine.
    now = utc_now()
    found = look(lake, now)
    assert {"bronze_events", "silver_alerts", "gold_incidents"} <= set(found)
    assert {(row["readable"], row["fresh"], row["problem"]) for row in found.values()} == {(True, True, None)}

    # What bronze has got and silver has not is waited for.
    lake.land(alert("a2", T0 + MINUTE))
    later = look(lake, now + timedelta(hours=1))
    assert (later["silver_alerts"]["readable"], later["silver_alerts"]["fresh"]) == (True, False)
    assert later["silver_alerts"]["behind_minutes"] > 15

    folder = lake.lakehouse.uri(BRONZE_EVENTS)
    for file in lake.lakehouse.snapshot(BRONZE_EVENTS).files():
        with open(file, "r+b") as damaged:
            damaged.truncate(10)
    broken = look(lake, now + timedelta(hours=2))["bronze_events"]
    assert (broken["readable"], broken["fresh"]) == (False, False)
    assert broken["problem"]

    shutil.rmtree(folder)
    gone = look(lake, now + timedelta(hours=3))["bronze_events"]
    assert (gone["readable"], gone["problem"]) == (False, f"There is no table at {folder} any more.")
