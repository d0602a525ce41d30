"""The tables that watch, over real Delta tables, a real state database and real runs; no Spark in any of it."""

import os
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import dagster as dg
import pyarrow as pa
import pytest

from alert_assets.breaker.store import CircuitBreakers, circuit_breakers
from alert_assets.contracts import (
    BRONZE_EVENTS,
    GOLD_INCIDENTS,
    PIPELINE_HEALTH,
    PIPELINE_LATENCY,
    QUALITY_SCORES,
    SLO_STATUS,
    Contract,
)
from alert_assets.defs.reliability.assets import ASSETS
from alert_assets.kernel.clock import utc_now
from alert_assets.lake.lakehouse import Lakehouse, cursor_app, records
from alert_assets.quality.runs import run_records
from alert_assets.settings import Settings
from alert_assets.slo.commit_latency import measure_latency
from alert_assets_tests.commands.lake import event, incident
from alert_assets_tests.conftest import settings_in

HOUR = timedelta(hours=1)


class Lake:
    """Tables that rows are added to, and the assets over them."""

    def __init__(self, settings: Settings, instance: dg.DagsterInstance) -> None:
        self.settings = settings
        self.instance = instance
        self.lakehouse = Lakehouse(settings, run_id="run-7")
        self.breakers: CircuitBreakers = circuit_breakers(settings)

    def arrow(self, contract: Contract, *rows: dict[str, Any]) -> pa.Table:
        schema = pa.schema(self.lakehouse.create(contract).schema().to_arrow())
        return pa.Table.from_pylist(list(rows), pa.schema([field for field in schema if field.name != "_batch_id"]))

    def add(self, contract: Contract, *rows: dict[str, Any]) -> None:
        self.lakehouse.append(contract, self.arrow(contract, *rows))

    def merge_gold(self, *rows: dict[str, Any], cursor: int) -> None:
        key = ("fingerprint", "window_start")
        transactions = {cursor_app(BRONZE_EVENTS): cursor}
        self.lakehouse.merge(GOLD_INCIDENTS, key, self.arrow(GOLD_INCIDENTS, *rows), transactions)

    def rows(self, contract: Contract, order: str) -> list[dict[str, Any]]:
        return records(self.lakehouse.rows(contract, f"SELECT * FROM t ORDER BY {order}"))

    def committed_at(self, contract: Contract) -> list[datetime]:
        return [commit["committed_at"] for commit in self.lakehouse.commits(contract)]

    def materialize(self, *names: str) -> dg.ExecuteInProcessResult:
        result = dg.materialize(
            ASSETS,
            instance=self.instance,
            selection=dg.AssetSelection.assets(*names),
            resources={"settings": self.settings, "lakehouse": self.lakehouse, "breakers": self.breakers},
            raise_on_error=False,
        )
        assert result.success, [e.step_failure_data.error for e in result.get_step_failure_events()]
        return result


@pytest.fixture
def lake(tmp_path: Path) -> Iterator[Lake]:
    with dg.DagsterInstance.ephemeral() as instance:
        yield Lake(settings_in(tmp_path / "data"), instance)


# pipeline_latency


def test_each_commit_is_measured_once_and_by_stage(lake: Lake) -> None:
    now = utc_now().replace(microsecond=0)
    ages = [1, 2, 4, 400]
    lake.add(
        BRONZE_EVENTS,
        *(
            event(
                n,
                timestamp=now - timedelta(seconds=age),
                _landed_at=now - timedelta(seconds=3),
                _ingested_at=now - timedelta(seconds=9),
            )
            for n, age in enumerate(ages)
        ),
    )

    lake.materialize("pipeline_latency")

    (committed,) = lake.committed_at(BRONZE_EVENTS)
    delay = (committed - now).total_seconds()
    from_event, from_batch, from_landing = lake.rows(PIPELINE_LATENCY, "stage")
    assert [row["stage"] for row in (from_event, from_batch, from_landing)] == [
        "event_to_bronze",
        "ingested_to_bronze",
        "landed_to_bronze",
    ]
    assert (from_event["row_count"], from_event["run_id"], from_event["committed_at"]) == (4, "run-7", committed)
    assert from_event["newest_event_at"] == now - timedelta(seconds=1)
    assert from_event["p50_seconds"] == pytest.approx(2 + delay)
    assert from_event["p95_seconds"] == from_event["max_seconds"] == pytest.approx(400 + delay)
    # The thresholds are those of the SLOs: 5 minutes, 5 seconds for a batch, 2 minutes from landing.
    assert (from_event["threshold_seconds"], from_event["over_threshold"]) == (300.0, 1)
    assert (from_batch["threshold_seconds"], from_batch["over_threshold"]) == (5.0, 4)
    assert (from_landing["threshold_seconds"], from_landing["over_threshold"]) == (120.0, 0)
    assert from_landing["p99_seconds"] == pytest.approx(3 + delay)

    lake.materialize("pipeline_latency")
    assert len(lake.rows(PIPELINE_LATENCY, "stage")) == 3
    lake.add(BRONZE_EVENTS, event(9, timestamp=now))
    lake.materialize("pipeline_latency")
    assert [row["row_count"] for row in lake.rows(PIPELINE_LATENCY, "stage, table_version")] == [4, 1] * 3


def test_an_incident_counts_when_it_is_new_and_gold_is_as_fresh_as_what_it_has_seen(lake: Lake) -> None:
    now = utc_now().replace(microsecond=0)

    def alert(number: int, at: datetime) -> dict[str, Any]:
        return event(number, event_type="alert", alert_id=f"a{number}", timestamp=at, _landed_at=at)

    lake.add(BRONZE_EVENTS, alert(1, now - HOUR))
    first, second = (
        incident(n, first_seen_timestamp=at, window_start=at) for n, at in ((1, now - HOUR), (2, now - 2 * HOUR))
    )
    lake.merge_gold(first, cursor=1)
    lake.add(BRONZE_EVENTS, alert(2, now - 2 * HOUR), event(3, timestamp=now))
    lake.merge_gold({**first, "evidence_count": 9}, second, cursor=2)
    lake.lakehouse.move_cursors(GOLD_INCIDENTS, {cursor_app(BRONZE_EVENTS): 2})

    rows = [
        row for row in measure_latency(lake.lakehouse, {"event_to_gold": 5400.0}) if row["stage"] == "event_to_gold"
    ]

    assert [row["row_count"] for row in rows] == [1, 1, 0], "the first incident is not new in the second commit"
    assert [row["over_threshold"] for row in rows] == [0, 1, 0]
    assert [row["newest_event_at"] for row in rows] == [now - HOUR, now, now]
    assert rows[0]["p50_seconds"] == pytest.approx((rows[0]["committed_at"] - (now - HOUR)).total_seconds())
    assert rows[2]["p50_seconds"] is None


# pipeline_health


@dg.op(config_schema={"fails": bool})
def work(context: dg.OpExecutionContext) -> None:
    if context.op_config["fails"]:
        raise dg.Failure("no")


@dg.job(name="bronze_to_gold")
def job() -> None:
    work()


def test_health_is_told_from_dagsters_runs_and_from_runs_only_the_breakers_know(lake: Lake) -> None:
    for fails in (False, True, False, False):
        config = {"ops": {"work": {"config": {"fails": fails}}}}
        job.execute_in_process(run_config=config, instance=lake.instance, raise_on_error=False)
    # Refused by the gate: says nothing about the pipeline.
    refused = {"alert_assets/breaker": "refused"}
    config = {"ops": {"work": {"config": {"fails": True}}}}
    job.execute_in_process(run_config=config, instance=lake.instance, raise_on_error=False, tags=refused)
    for n in range(2):
        lake.breakers.record(
            f"terminal-{n}",
            "failure",
            ["pipeline"],
            reported_by="executor",
            job="bronze_to_gold",
            started_at=utc_now() - timedelta(seconds=9),
            cpu_peak_percent=97.0,
            memory_peak_percent=40.0,
        )

    result = lake.materialize("pipeline_health")

    found = {(row["metric"], row["subject"]): row for row in lake.rows(PIPELINE_HEALTH, "metric")}
    success = found["success_rate_percent", "bronze_to_gold"]
    assert (success["value"], success["samples"], success["healthy"]) == (50.0, 6, False)
    assert "terminal-0" in success["detail"]
    assert "terminal-1" in success["detail"]
    (materialization,) = result.get_asset_materialization_events()
    metadata = materialization.step_materialization_data.materialization.metadata
    assert metadata["unhealthy"].value == sum(not row["healthy"] for row in found.values()) >= 1
    records_ = {record.run_id: record for record in run_records(lake.instance, lake.breakers, utc_now())}
    assert records_["terminal-0"].cpu_peak_percent == 97.0
    assert sum(record.refused for record in records_.values()) == 1


# slo_status


FRESHNESS = """
apiVersion: openslo/v1
kind: DataSource
metadata: {name: lakehouse}
spec: {type: alert-assets, connectionDetails: {}}
---
apiVersion: openslo/v1
kind: Service
metadata: {name: pipeline}
spec: {}
---
apiVersion: openslo/v1
kind: SLO
metadata:
  name: freshness
  annotations: {alert-assets.internal/min-events: "20", alert-assets.internal/opens-breaker: analysis}
spec:
  service: pipeline
  indicator:
    metadata: {name: freshness}
    spec:
      thresholdMetric:
        metricSource: {metricSourceRef: lakehouse, spec: {measure: freshness, table: bronze_events}}
  timeWindow: [{duration: 30d, isRolling: true}]
  budgetingMethod: Occurrences
  objectives: [{op: lte, value: 600, target: 0.99}]
"""


def latency(at: datetime, stage: str = "event_to_bronze") -> dict[str, Any]:
    return {
        "stage": stage,
        "table_version": int(at.timestamp()),
        "committed_at": at,
        "newest_event_at": at,
        "row_count": 1,
        "p50_seconds": 0.0,
        "p95_seconds": 0.0,
        "p99_seconds": 0.0,
        "max_seconds": 0.0,
        "threshold_seconds": 300.0,
        "over_threshold": 0,
    }


@pytest.mark.parametrize("breaker_is_open", [False, True])
def test_what_an_open_breaker_makes_stale_opens_nothing_else(lake: Lake, tmp_path: Path, breaker_is_open: bool) -> None:
    """A file has waited for two hours. Alone, that burns the budget fast and opens `analysis`."""
    folder = tmp_path / "slos"
    folder.mkdir()
    (folder / "freshness.yaml").write_text(FRESHNESS)
    lake.settings = lake.settings.model_copy(update={"slo_dir": str(folder)})
    now = utc_now()
    commits = [now - timedelta(hours=2, minutes=m) for m in range(0, 600, 5)]
    stages = ("event_to_bronze", "landed_to_bronze")
    lake.add(PIPELINE_LATENCY, *(latency(at, stage) for at in commits for stage in stages))
    waiting = Path(lake.settings.landing_dir) / "waiting.jsonl"
    waiting.touch()
    os.utime(waiting, (commits[0].timestamp(),) * 2)
    if breaker_is_open:
        two_hours_ago = CircuitBreakers(lake.breakers.state, lake.breakers.rules, clock=lambda: now - 2 * HOUR)
        two_hours_ago.trip("pipeline", "the data is bad")

    lake.materialize("slo_status")

    (row,) = lake.rows(SLO_STATUS, "slo")
    states = {breaker.name: breaker.state for breaker in lake.breakers.all()}
    if breaker_is_open:
        assert states == {"pipeline": "OPEN", "analysis": "CLOSED"}
        assert (row["state"], row["severity"]) == ("ok", None)
        # Two hours less the ten minutes in which the last commit was fresh enough anyway.
        assert row["excluded"] == pytest.approx(110, abs=1)
        assert row["budget_left_percent"] == pytest.approx(100, abs=0.1)
    else:
        assert states == {"pipeline": "CLOSED", "analysis": "OPEN"}
        assert (row["state"], row["severity"], row["excluded"]) == ("burning", "CRITICAL", 0.0)
        # 110 bad minutes of the 432 that 30 days allow.
        assert row["budget_left_percent"] == pytest.approx(100 - 100 * 110 / 432, abs=0.5)
        (trip,) = lake.breakers.history()
        assert trip.cause == "trip"
        assert "SLO freshness burns its error budget at" in trip.reason


def validity(at: datetime, good: int, total: int) -> dict[str, Any]:
    return {
        "table_name": "bronze_events",
        "dimension": "validity",
        "evaluated_at": at,
        "score": 100 * good / total,
        "good": good,
        "total": total,
        "weight": 0.3,
    }


def test_a_fast_burn_opens_the_breaker_and_a_reset_is_not_undone_by_what_burned_before(lake: Lake) -> None:
    now = utc_now()
    lake.add(QUALITY_SCORES, *(validity(now - timedelta(minutes=m), 50, 100) for m in range(1, 70)))
    lake.materialize("slo_status")
    assert {b.name: b.state for b in lake.breakers.all()} == {"pipeline": "OPEN", "analysis": "CLOSED"}

    lake.breakers.reset("pipeline", "ann", "the producer is mended")
    lake.materialize("slo_status")
    assert {b.name: b.state for b in lake.breakers.all()} == {"pipeline": "CLOSED", "analysis": "CLOSED"}
    assert len(lake.rows(SLO_STATUS, "slo")) == 2 * 20


def test_with_a_handful_of_lines_nothing_fires(lake: Lake) -> None:
    lake.add(QUALITY_SCORES, validity(utc_now() - timedelta(minutes=1), 1, 4))
    lake.materialize("slo_status")
    assert {b.state for b in lake.breakers.all()} == {"CLOSED"}
    assert {row["severity"] for row in lake.rows(SLO_STATUS, "slo")} == {None}
