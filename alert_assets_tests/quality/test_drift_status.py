"""Drift over a real bronze: the simulator's hours, one of them tampered with.

What is put into the last hour is found by the time that hour is over, and nothing else is.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest
from deltalake import Field
from deltalake.schema import PrimitiveType
from sqlalchemy import select

from alert_assets.breaker.store import circuit_breakers
from alert_assets.checks.drift import drift_checks
from alert_assets.checks.evaluate import evaluate, record
from alert_assets.contracts import BRONZE_EVENTS, COLUMN_PROFILES, DRIFT_STATUS
from alert_assets.kernel.clock import utc_now
from alert_assets.lake.lakehouse import Lakehouse, append, rows_in
from alert_assets.quality.drift_status import refresh_drift_status, refresh_profiles
from alert_assets.simulator.timeline import Timeline
from alert_assets.state.tables import outbox
from alert_assets_tests.conftest import settings_in

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from alert_assets.settings import Settings

START = datetime(2026, 2, 2, tzinfo=UTC)
HOUR = timedelta(hours=1)

Event = dict[str, Any]


def events(hours: int, first: int = 0) -> list[Event]:
    """What the simulator lands in these hours."""
    timeline = Timeline(17, START)
    return [
        moment.stamped(timeline.when(moment), timeline.run)
        for number in range(first, first + hours)
        for moment in timeline.hour(number)
    ]


def write(settings: Settings, found: list[Event]) -> None:
    """Append events to bronze, as landing does with lines that are well."""
    lakehouse = Lakehouse(settings)
    columns = [name for name in BRONZE_EVENTS.columns if name != "_batch_id"]
    rows = [{name: event.get(name) for name in columns} | _judged(event) for event in found]
    append(lakehouse, BRONZE_EVENTS, rows)


def _judged(event: Event) -> Event:
    at = datetime.fromisoformat(event["timestamp"])
    came = {"timestamp": at, "_landed_at": at, "_ingested_at": at, "_source_file": "f"}
    maps = {name: list(event[name].items()) for name in ("labels", "metrics") if event.get(name)}
    texts = {name: event[name].upper() for name in ("severity", "log_level") if event.get(name)}
    return came | maps | texts


def settings_of(folder: Path, **given: Any) -> Settings:
    return settings_in(folder, drift_baseline_days=2, **given)


def drifted(settings: Settings) -> dict[str, set[str]]:
    """Kinds of drift by column."""
    rows = rows_in(Lakehouse(settings), DRIFT_STATUS, "SELECT * FROM t WHERE state = 'drifted'")
    return {row["column_name"]: set(row["kinds"]) for row in rows}


def look(settings: Settings) -> dict[str, set[str]]:
    lakehouse = Lakehouse(settings)
    refresh_profiles(lakehouse, settings)
    refresh_drift_status(lakehouse, settings, utc_now())
    return drifted(settings)


def milliseconds(event: Event) -> None:
    """What a sender does whose library counts in milliseconds now."""
    for name in event.get("metrics", {}):
        event["metrics"][name] *= 1000


def shifted(event: Event) -> None:
    if "cpu_percent" in event:
        event["cpu_percent"] += 12


def frozen(event: Event) -> None:
    if "memory_percent" in event:
        event["memory_percent"] = 61.7


def new_category(event: Event) -> None:
    if event["event_type"] == "log" and event["message"] == "Health check passed":
        event["log_level"] = "TRACE"


@pytest.fixture(scope="module")
def two_days(tmp_path_factory: pytest.TempPathFactory) -> list[Event]:
    return events(30)


@pytest.mark.parametrize(
    ("tamper", "expected"),
    [
        (milliseconds, {"metrics.latency_ms_p95": {"unit"}}),
        (shifted, {"cpu_percent": {"shifted"}}),
        (frozen, {"memory_percent": {"frozen"}}),
        (new_category, {"log_level": {"category", "shifted"}}),
        (lambda event: None, {}),
    ],
    ids=["unit", "shifted", "frozen", "category", "untouched"],
)
def test_what_changes_in_an_hour_is_found_when_it_is_over(
    tmp_path: Path, two_days: list[Event], tamper: Callable[[Event], object], expected: dict[str, set[str]]
) -> None:
    settings = settings_of(tmp_path)
    last = events(1, 30)
    for event in last:
        tamper(event)
    write(settings, [*two_days, *last, *events(1, 31)])
    found = look(settings)
    assert {column: kinds for column, kinds in found.items() if column in expected} == expected
    assert found == expected


def test_drift_is_an_alert_once_and_over_with_the_next_hour(tmp_path: Path, two_days: list[Event]) -> None:
    settings = settings_of(tmp_path)
    breakers = circuit_breakers(settings)

    def checked() -> list[str]:
        """Titles of the alerts so far, after the checks have been evaluated again."""
        now, lakehouse = utc_now(), Lakehouse(settings)
        done = list(evaluate(lakehouse, settings, breakers, DRIFT_STATUS, drift_checks(), now=now))
        assert [evaluation.finding for evaluation in done if "error" in evaluation.finding.facts] == []
        record(breakers.state, DRIFT_STATUS, done, at=now, run_id="r")
        with breakers.state.reading() as connection:
            return [row.subject for row in connection.execute(select(outbox).order_by(outbox.c.id))]

    frozen_hour = events(1, 31)
    for event in frozen_hour:
        frozen(event)
    write(settings, [*two_days, *events(1, 30)])
    look(settings)
    assert checked() == []
    write(settings, [*frozen_hour, *events(1, 32)])
    look(settings)
    failed = "Check drift_of_bronze_events of drift_status failed"
    assert checked() == [failed]
    assert checked() == [failed]
    write(settings, events(1, 33))
    look(settings)
    assert checked() == [failed, "Check drift_of_bronze_events of drift_status passes again"]


def test_a_column_that_the_contract_does_not_know_is_drift_too(tmp_path: Path, two_days: list[Event]) -> None:
    settings = settings_of(tmp_path)
    write(settings, two_days)
    table = Lakehouse(settings).table(BRONZE_EVENTS)
    assert table is not None
    table.alter.add_columns(Field("tenant", PrimitiveType("string")))
    assert look(settings) == {"tenant (schema)": {"unexpected"}}


def test_each_hour_is_profiled_and_judged_once(tmp_path: Path, two_days: list[Event]) -> None:
    settings = settings_of(tmp_path)
    lakehouse = Lakehouse(settings)
    write(settings, two_days)
    assert len(refresh_profiles(lakehouse, settings)) > 0
    assert refresh_profiles(lakehouse, settings) == []
    # Twenty-nine hours are over; of those the last day is judged.
    judged = refresh_drift_status(lakehouse, settings, utc_now())
    assert {row["hour"] for row in judged} == {START + hour * HOUR for hour in range(5, 29)}
    assert refresh_drift_status(lakehouse, settings, utc_now()) == []
    for contract in (COLUMN_PROFILES, DRIFT_STATUS):
        keys = [tuple(row[name] for name in contract.key) for row in rows_in(lakehouse, contract)]
        assert len(keys) == len(set(keys))
