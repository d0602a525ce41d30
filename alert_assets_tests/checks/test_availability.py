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
from alert_assets.lake.lakehouse import append
from alert_assets.notify.round import notify
from alert_assets.notify.stack import NotificationStack
from alert_assets.slo.evaluate import refresh_slo_status
from alert_assets_tests.checks.lake import MINUTE, T0, Lake, alert
from alert_assets_tests.notify.channels.service import running

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
    append(lake.lakehouse, TABLE_AVAILABILITY, rows)
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


@pytest.mark.slow
def test_a_table_that_stays_stale_reaches_a_person_and_so_does_its_end(
    lake: Lake, monkeypatch: pytest.MonkeyPatch
) -> None:
    lake.land(alert("a1", T0))
    lake.refresh()
    settings = lake.settings.model_copy(update={"allowed_hosts": "127.0.0.1"})
    # A table waits from the commit that it has not seen, which is made by the clock of this machine.
    now = utc_now()

    def measure(first: int, *, until: int) -> None:
        """Look half an hour after half an hour, and do at the last what a run of `reliability` does."""
        for half in range(first, until):
            look(lake, at := now + half * 30 * MINUTE)
        refresh_slo_status(lake.lakehouse, settings, circuit_breakers(settings), [], at)
        notify(NotificationStack(settings), settings, budget_seconds=20)

    def said() -> list[tuple[str, str]]:
        return [(action, title) for action, title in service.told if "silver-alerts-availability" in title]

    with running() as service:
        for name, value in service.variables.items():
            monkeypatch.setenv(name, value)
        measure(0, until=4)
        assert service.requests == []
        lake.land(alert("a2", T0 + MINUTE))
        measure(4, until=7)
        opened = ("open", "SLO silver-alerts-availability burns its error budget")
        assert said() == [opened]
        lake.refresh()
        measure(7, until=9)
        assert said() == [opened], "most of its budget of six hours is spent"
        measure(9, until=21)
        assert said() == [opened, ("resolve", "SLO silver-alerts-availability no longer burns too fast")]
