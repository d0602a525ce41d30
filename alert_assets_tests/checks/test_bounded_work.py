"""What checks, sensors and platinum read depends on what is new. Files that hold only old rows are taken away, and
nobody may miss them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from deltalake import DeltaTable

from alert_assets.analysis.refresh import refresh_platinum
from alert_assets.checks.new_rows import NewRows
from alert_assets.contracts import (
    BRONZE_EVENTS,
    BRONZE_QUARANTINE,
    GOLD_INCIDENTS,
    PLATINUM_INCIDENTS,
    PLATINUM_PROBLEMS,
    SILVER_ALERTS,
    Contract,
)
from alert_assets.lake.rows import file_statistics
from alert_assets.notify.sources import IncidentsSeen, changed_incidents
from alert_assets.slo.commit_latency import measure_latency
from alert_assets_tests.checks.lake import DAY, HOUR, MINUTE, T0, Lake, alert, line, metric
from alert_assets_tests.conftest import settings_in

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

    import pyarrow as pa

    from alert_assets.settings import Settings

TIMES = {
    BRONZE_EVENTS: "timestamp",
    BRONZE_QUARANTINE: "_ingested_at",
    SILVER_ALERTS: "window_start",
    GOLD_INCIDENTS: "alert_timestamp",
    PLATINUM_INCIDENTS: "alert_timestamp",
}
NEW = T0 + 10 * DAY


@pytest.fixture(scope="module")
def grown_once(healthy_once: Lake, tmp_path_factory: pytest.TempPathFactory) -> Lake:
    lake = healthy_once.copy(settings_in(tmp_path_factory.mktemp("grown")))
    next_hour(lake, NEW - DAY)
    for contract in TIMES:
        lake.evaluate(contract)
    return next_hour(lake, NEW)


@pytest.fixture
def grown(grown_once: Lake, settings: Settings) -> Lake:
    """A lake of two hours, days apart, that was checked, and then got a third."""
    return grown_once.copy(settings)


def next_hour(lake: Lake, start: datetime) -> Lake:
    lake.now = start + 41 * MINUTE
    lake.land(
        *[line(f"{start}l{i}", start + i * MINUTE, error_code="Timeout", host="host-a") for i in range(40)],
        *[metric(f"{start}m{i}", start + i * MINUTE, cpu_percent=50.0 + i % 7) for i in range(40)],
        *[alert(f"{start}a{i}", start + 30 * MINUTE + i * MINUTE) for i in range(8)],
        line(f"{start}bad", start, log_level="LOUD"),
    )
    lake.refresh()
    return lake


def take_old_files_away(lake: Lake, *contracts: Contract) -> int:
    """Remove the files of the first hour: the hour before the new one may be looked at, as what comes before it."""
    removed = 0
    for contract in contracts:
        table, newest = lake.lakehouse.table(contract), f"max.{TIMES[contract]}"
        assert table is not None
        for file in file_statistics(table, "path", newest):
            if file[newest] < NEW - 2 * DAY:
                Path(lake.settings.lake_dir, contract.name, file["path"]).unlink()
                removed += 1
    return removed


@pytest.mark.parametrize("contract", [c for c in TIMES if c is not BRONZE_QUARANTINE], ids=lambda c: c.name)
def test_checks_read_only_files_near_the_new_rows(grown: Lake, contract: Contract):
    assert take_old_files_away(grown, *TIMES) >= len(TIMES)
    done = grown.evaluate(contract)
    assert {name: e.finding.facts["error"] for name, e in done.items() if "error" in e.finding.facts} == {}
    # Days without a single event are missed, and nothing else is wrong.
    assert {name for name, e in done.items() if not e.finding.passed} <= {"missing_hours"}
    counts = {e.finding.numbers["rows"] for e in done.values() if "rows" in e.finding.numbers}
    assert counts == {{BRONZE_EVENTS: 88, SILVER_ALERTS: 2}.get(contract, 2)}


def test_the_checks_of_quarantine_read_old_lines_only_for_a_file_that_came_twice(grown: Lake):
    others = (c for c in TIMES if c is not BRONZE_QUARANTINE)
    assert take_old_files_away(grown, *others)
    done = grown.evaluate(BRONZE_QUARANTINE)
    assert {name: e.finding.description for name, e in done.items() if not e.finding.passed} == {}


def test_all_measures_are_computed_in_one_query(grown: Lake, monkeypatch: pytest.MonkeyPatch):
    asked: list[int] = []
    aggregate = NewRows._aggregate

    def counted(rows: NewRows, wanted: Mapping[str, str]) -> dict[str, Any]:
        asked.append(len(wanted))
        return aggregate(rows, wanted)

    monkeypatch.setattr(NewRows, "_aggregate", counted)
    for contract in TIMES:
        asked.clear()
        grown.evaluate(contract, full=True)
        assert len(asked) == 1, (contract.name, asked)


def test_new_analyses_are_told_apart_after_compaction_and_vacuum(grown: Lake):
    table = DeltaTable(grown.lakehouse.uri(PLATINUM_INCIDENTS))
    assert table.optimize.compact()["numFilesAdded"] == 1
    assert grown.check(PLATINUM_INCIDENTS, "required_not_null").numbers["rows"] == 2
    grown.evaluate(PLATINUM_INCIDENTS)
    next_hour(grown, NEW + DAY)
    table.update_incremental()
    table.optimize.compact()
    table.vacuum(0, dry_run=False, enforce_retention_duration=False)
    finding = grown.check(PLATINUM_INCIDENTS, "required_not_null")
    assert finding.passed
    assert finding.numbers["rows"] == 2


def test_platinum_reads_of_gold_what_is_new(grown: Lake):
    next_hour(grown, NEW + DAY)
    stored = len(grown.rows(PLATINUM_INCIDENTS))
    grown.lakehouse.delete(PLATINUM_INCIDENTS, f"alert_timestamp >= '{NEW + DAY:%Y-%m-%dT%H:%M:%S}Z'")
    grown.lakehouse.move_cursors(
        PLATINUM_INCIDENTS, {"alert_assets/cursor/gold_incidents": grown.batch(GOLD_INCIDENTS) - 1}
    )
    assert take_old_files_away(grown, GOLD_INCIDENTS)
    assert refresh_platinum(grown.lakehouse, grown.settings).written == 2
    assert len(grown.rows(PLATINUM_INCIDENTS)) == stored
    assert grown.lakehouse.cursor(PLATINUM_INCIDENTS, GOLD_INCIDENTS) == grown.batch(GOLD_INCIDENTS)
    before = grown.lakehouse.snapshot(PLATINUM_INCIDENTS).version
    refresh_platinum(grown.lakehouse, grown.settings)
    assert grown.lakehouse.snapshot(PLATINUM_INCIDENTS).version == before, "nothing new, no commit"


def test_platinum_heals_what_was_removed_by_hand(healthy: Lake):
    """The row counts in the two logs give it away."""
    whole = healthy.rows(PLATINUM_INCIDENTS)
    healthy.lakehouse.delete(PLATINUM_INCIDENTS, "alert_timestamp = '2026-02-14T10:20:00.000000Z'")
    assert refresh_platinum(healthy.lakehouse, healthy.settings).written == 1
    assert len(healthy.rows(PLATINUM_INCIDENTS)) == len(whole)


def test_the_incident_sensor_reads_the_hours_of_what_changed(grown: Lake):
    seen = max(row["_batch_id"] for row in grown.rows(PLATINUM_INCIDENTS) if row["alert_timestamp"] < NEW)
    assert take_old_files_away(grown, SILVER_ALERTS, GOLD_INCIDENTS, PLATINUM_INCIDENTS)
    gold, silver = grown.batch(GOLD_INCIDENTS), grown.batch(SILVER_ALERTS)
    explained = max(row["_batch_id"] for row in grown.rows(PLATINUM_PROBLEMS))
    before = IncidentsSeen(gold - 1, seen, silver - 1, explained)
    found = changed_incidents(grown.lakehouse, before, since=NEW)
    assert (len(found.recent), found.seen) == (2, IncidentsSeen(gold, seen + 1, silver, explained))
    assert all(window["window_start"] >= NEW - HOUR and window["summary"] for window in found.recent)
    later = changed_incidents(grown.lakehouse, before, since=NEW + DAY)
    assert (later.recent, later.number, later.seen.silver) == ([], found.number, silver)


def test_latency_reads_each_commit_once_and_tells_freshness_from_the_log(grown: Lake, monkeypatch: pytest.MonkeyPatch):
    read: list[str] = []
    rows = grown.lakehouse.rows

    def noted(contract: Contract, sql: str) -> pa.Table:
        read.append(contract.name)
        return rows(contract, sql)

    monkeypatch.setattr(grown.lakehouse, "rows", noted)
    measured = measure_latency(grown.lakehouse, {})
    assert read.count(BRONZE_EVENTS.name) == 3, "three commits, three stages"
    gold = [row for row in measured if row["stage"] == "event_to_gold"]
    assert [row["newest_event_at"] for row in gold] == [at + 39 * MINUTE for at in (T0, NEW - DAY, NEW)]
    assert [row["row_count"] for row in gold] == [3, 2, 2]


def test_gold_is_as_fresh_as_the_batches_it_has_seen_when_files_hold_several(grown: Lake):
    """Compaction puts rows of several batches into one file."""
    apart = measure_latency(grown.lakehouse, {})
    assert DeltaTable(grown.lakehouse.uri(BRONZE_EVENTS)).optimize.compact()["numFilesAdded"] == 1
    together = measure_latency(grown.lakehouse, {})
    assert [row["newest_event_at"] for row in together] == [row["newest_event_at"] for row in apart]
