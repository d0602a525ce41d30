"""Scores of real tables."""

from __future__ import annotations

from typing import Any

import pyarrow as pa
import pytest

from alert_assets.checks.scores import table_scores
from alert_assets.contracts import BRONZE_EVENTS, CONTRACTS, QUALITY_SCORES, SILVER_ALERTS
from alert_assets.contracts.vocabulary import DIMENSIONS
from alert_assets_tests.checks.lake import DAY, MINUTE, T0, Lake, line


def scores(lake: Lake, **options: Any) -> dict[tuple[str, str], dict[str, Any]]:
    rows = table_scores(lake.lakehouse, lake.settings, lake.breakers, "r1", lake.now, **options)
    return {(row["table_name"], row["dimension"]): row for row in rows}


def store(lake: Lake, *rows: dict[str, Any]) -> None:
    schema = pa.schema(lake.lakehouse.create(QUALITY_SCORES).schema().to_arrow())
    fields = pa.schema([field for field in schema if field.name != "_batch_id"])
    lake.lakehouse.append(QUALITY_SCORES, pa.Table.from_pylist(list(rows), fields))


def test_no_table_no_score(lake: Lake):
    assert scores(lake) == {}


def test_healthy_tables_are_worth_a_hundred(healthy: Lake):
    found = scores(healthy)
    assert {table for table, _ in found} == set(CONTRACTS)
    below = {key: row["score"] for key, row in found.items() if row["score"] < 100}
    # One of 92 lines is in quarantine.
    assert set(below) == {("bronze_events", "validity"), ("bronze_events", "overall")}
    validity = found["bronze_events", "validity"]
    assert (validity["good"], validity["total"]) == (91, 92)
    assert found["bronze_events", "overall"]["score"] == pytest.approx(30 + 30 + 30 * 91 / 92 + 10)
    assert {dimension for table, dimension in found if table == "bronze_events"} == {*DIMENSIONS, "overall"}


def test_each_dimension_falls_for_its_reason(healthy: Lake):
    healthy.change(BRONZE_EVENTS, "event_id = 'l1'", application_id="NULL")
    healthy.change(BRONZE_EVENTS, "event_id = 'l2'", event_id="'l3'", timestamp="timestamp + INTERVAL '1 minute'")
    healthy.change(BRONZE_EVENTS, "event_id = 'l4'", timestamp="timestamp - INTERVAL '100 days'")
    healthy.change(SILVER_ALERTS, "host = 'host-b'", suppressed_count="5")
    healthy.lakehouse.delete(BRONZE_EVENTS, "event_id = 'l5'")
    healthy.now += DAY
    found = scores(healthy)
    assert found["bronze_events", "completeness"]["good"] == found["bronze_events", "completeness"]["total"] - 1
    assert found["bronze_events", "uniqueness"]["good"] == 89
    assert found["bronze_events", "accuracy"]["good"] == 89
    assert found["bronze_events", "consistency"]["score"] == 0
    assert found["bronze_events", "timeliness"]["score"] == 0
    assert found["silver_alerts", "consistency"]["score"] < 100


def test_weights_are_a_parameter(healthy: Lake):
    found = scores(healthy, weights={"accuracy": 1.0})
    assert found["bronze_events", "overall"]["score"] == 100
    assert found["bronze_events", "accuracy"]["weight"] == 1
    assert ("silver_alerts", "overall") not in found


def test_only_rows_since_the_last_scores_count(healthy: Lake):
    first = scores(healthy)
    # The commits were made by the clock of this machine, so the scores were too.
    made = max(healthy.committed_at(contract) for contract in CONTRACTS.values())
    store(healthy, *[{**row, "evaluated_at": made} for row in first.values()])
    again = scores(healthy)
    kept = again["bronze_events", "uniqueness"]
    assert kept["score"] == first["bronze_events", "uniqueness"]["score"], "nothing came since, the last commit counts"
    # A sum over the rows of quality_scores counts a line once.
    assert (kept["good"], kept["total"]) == (None, None)
    assert again["bronze_events", "timeliness"]["total"] == 1
    healthy.land(*[line(f"n{i}", T0 + i * MINUTE) for i in range(5)])
    assert scores(healthy)["bronze_events", "uniqueness"]["total"] == 5
