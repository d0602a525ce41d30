"""Defects in two days of real telemetry: each is caught by a check that names it, and sound data by none."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from alert_assets.contracts import BRONZE_EVENTS, BRONZE_QUARANTINE
from alert_assets_tests.oracle import reference

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from alert_assets_tests.checks.lake import Lake

TELEMETRY = Path(__file__).resolve().parents[3] / "shared" / "telemetry"

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not TELEMETRY.exists(), reason=f"the telemetry is not at {TELEMETRY}"),
]

#: The checks that the defects below are caught by.
CATCHERS = (
    (BRONZE_EVENTS, "frozen_metric"),
    (BRONZE_EVENTS, "event_time"),
    (BRONZE_EVENTS, "duplicates"),
    (BRONZE_QUARANTINE, "invalid_timestamps"),
)

#: Three years later: an epoch that is off by 200,000,000 seconds, six years, into the future is noticed there.
NOW = datetime(2026, 1, 1, tzinfo=UTC)

Json = dict[str, Any]


def telemetry(day: str) -> list[bytes]:
    return reference.read_lines(sorted((TELEMETRY / day).glob("*.gz")))


def caught(lake: Lake, lines: Iterable[bytes]) -> dict[str, Any]:
    """The findings of the catchers that failed once these lines have landed, by name."""
    lake.now = NOW
    lake.land(*lines)
    findings = {name: lake.check(contract, name) for contract, name in CATCHERS}
    return {name: finding for name, finding in findings.items() if not finding.passed}


def changed(lines: Iterable[bytes], wanted: Callable[[int, Json], bool], change: Callable[[Json], Json]) -> list[bytes]:
    """The lines, with a change to those that are wanted by their number and content."""
    found = []
    for number, raw in enumerate(lines):
        event = json.loads(raw)
        found.append(json.dumps(change(event)).encode() if wanted(number, event) else raw)
    return found


def moved(event: Json, seconds: int) -> Json:
    at = datetime.fromisoformat(event["timestamp"].replace("Z", "+00:00")) + timedelta(seconds=seconds)
    return {**event, "timestamp": at.isoformat()}


@pytest.fixture(scope="module")
def august() -> list[bytes]:
    return telemetry("nezha-2022-08-22")


def test_the_day_as_it_was_recorded_is_sound(lake: Lake, august: list[bytes]):
    assert caught(lake, august) == {}


def test_the_other_day_has_frozen_metrics_of_its_own(lake: Lake):
    """Nobody injected these: four services report one value of processor or memory from morning to night."""
    found = caught(lake, telemetry("nezha-2023-01-30"))
    assert set(found) == {"frozen_metric"}
    assert {(s["application_id"], s["metric"], s["value"]) for s in found["frozen_metric"].samples} == {
        ("ts-avatar-service", "cpu_percent", 0.0),
        ("ts-avatar-service", "memory_percent", 0.0),
        ("ts-security-service", "cpu_percent", 0.0),
        ("ts-security-service", "memory_percent", 0.0),
        ("ts-ui-dashboard", "memory_percent", 0.2172),
        ("ts-voucher-service", "cpu_percent", 0.0),
        ("ts-voucher-service", "memory_percent", 0.8705),
    }


@pytest.mark.parametrize("column", ["cpu_percent", "memory_percent", "workload_ops"])
def test_a_frozen_metric(lake: Lake, august: list[bytes], column: str):
    def freeze(event: Json) -> Json:
        if column in event:
            return {**event, column: 37.25}
        return {**event, "metrics": {**event["metrics"], column: 37.25}}

    lines = changed(august, lambda _, e: e["event_type"] == "metric" and e["application_id"] == "adservice", freeze)
    found = caught(lake, lines)
    assert set(found) == {"frozen_metric"}
    named = {(s["application_id"], s["metric"], s["value"]) for s in found["frozen_metric"].samples}
    assert ("adservice", column, 37.25) in named


@pytest.mark.parametrize("share", [1, 100], ids=["all of it", "every hundredth event"])
def test_an_epoch_that_is_off(lake: Lake, august: list[bytes], share: int):
    """200,000,000 seconds too early: a valid time, and the contract lets it pass."""
    half = len(august) // 2
    assert caught(lake, august[:half]) == {}
    found = caught(lake, changed(august[half:], lambda n, _: n % share == 0, lambda e: moved(e, -200_000_000)))
    assert set(found) == {"event_time"}
    assert found["event_time"].numbers["jumping_batches" if share == 1 else "far_from_the_rest"] > 0


def test_an_epoch_that_is_off_into_the_future_is_caught_in_quarantine(lake: Lake, august: list[bytes]):
    found = caught(lake, changed(august, lambda n, _: n % 100 == 0, lambda e: moved(e, 200_000_000)))
    assert set(found) == {"invalid_timestamps"}


@pytest.mark.parametrize("timestamp", [-62135596800, "-0022-08-22T03:51:19Z"], ids=["number", "text"])
def test_negative_timestamps(lake: Lake, august: list[bytes], timestamp: int | str):
    found = caught(lake, changed(august, lambda n, _: n in (5, 17, 9_000), lambda e: {**e, "timestamp": timestamp}))
    assert set(found) == {"invalid_timestamps"}
    assert found["invalid_timestamps"].numbers["negative_timestamps"] == 3


def test_exact_duplicates(lake: Lake, august: list[bytes]):
    found = caught(lake, [*august, *august[::50]])
    assert set(found) == {"duplicates"}
    assert found["duplicates"].numbers["exact_duplicates"] == len(august[::50])
    assert found["duplicates"].numbers["conflicting_deliveries"] == 0
