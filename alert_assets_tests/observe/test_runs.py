"""A run by the real command, as an OTLP endpoint and a DogStatsD agent get it."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

import pytest

from alert_assets_tests.observe.collector import Collector, collecting
from alert_assets_tests.observe.test_statsd import listening
from alert_assets_tests.support.dagster_site import Site

if TYPE_CHECKING:
    from pathlib import Path

    from alert_assets_tests.observe.collector import Received

pytestmark = pytest.mark.slow


def tree(collector: Collector) -> tuple[Received, dict[str, Received]]:
    """The run's span, and those of its steps; every other span is below one of them."""
    [run] = collector.named("run ")
    steps = {step.name.removeprefix("step "): step for step in collector.below(run)}
    assert run.parent == ""
    assert {span.trace for span in collector.spans} == {run.trace}
    for span in collector.spans:
        names = collector.path(span)
        assert names[0] == run.name
        assert span is run or names[1].startswith("step ")
        [*_, above] = [run, *(one for one in collector.spans if one.id == span.parent)]
        assert above.began <= span.began <= span.ended <= above.ended or above is run
    return run, steps


def said_in(log: str, event: str, **fields: str) -> dict[str, Any]:
    """The line of the log for an event."""
    lines = [json.loads(line) for line in log.splitlines() if line.startswith("{")]
    [found] = [line for line in lines if line["event"] == event and fields.items() <= line.items()]
    return found


def test_a_run_in_several_processes_is_one_tree_and_counted_once(tmp_path: Path) -> None:
    with collecting() as collector, listening() as server:
        site = Site(
            tmp_path,
            ALERTS_EXECUTOR="multiprocess",
            ALERTS_LANDING_ENGINE="arrow",
            ALERTS_STATSD_URL=f"dogstatsd://127.0.0.1:{server.port}",
            **collector.environment,
        )
        site.land_sample()
        told = json.loads(site.command("run", "--select", "bronze_events,quality_scores", "--json"))
        said = server.lines()
    run, steps = tree(collector)
    assert run.trace == told["run_id"].replace("-", "")
    assert {"bronze", "bronze_events_checks", "quality_scores"} <= steps.keys()
    assert steps["bronze"].events == ("materialized",)
    assert steps["bronze"].attributes["dagster.step_key"] == "bronze"
    for step in ("bronze_events_checks", "quality_scores"):
        queries = collector.below(steps[step])
        assert {query.name for query in queries} == {"datafusion query"}
        assert all(query.attributes["db.system.name"] == "datafusion" for query in queries)
    assert not [span for span in collector.spans if span.failed]
    assert {span.service for span in collector.spans} == {"alert-assets"}

    log = (site.home / "last-run.log").read_text()
    refreshed = [json.loads(line) for line in log.splitlines() if line.startswith("{") and "table_refreshed" in line]
    assert refreshed
    assert {line["trace_id"] for line in refreshed} == {run.trace}
    assert {line["span_id"] for line in refreshed} <= {step.id for step in steps.values()}

    ended = said_in(log, "run_ended")
    assert ended["outcome"] == "success"
    assert ended["seconds"] > 1
    assert ended["rows_out"]["bronze_events"] == told["tables"][0]["total"] > 0
    assert ended["checks_passed"] > 5
    assert ended["trace_id"] == run.trace
    nulls = said_in(log, "table_nulls", table="bronze_events")["null_percent"]
    assert nulls["error_code"] > 0
    assert "event_id" not in nulls

    assert "pipeline.runs:1|c|#pipeline:__ASSET_JOB,status:success" in said
    assert "pipeline.status:1|g|#pipeline:__ASSET_JOB" in said
    [duration] = [line for line in said if line.startswith("pipeline.duration:")]
    assert re.fullmatch(r"pipeline\.duration:\d+\.\d+\|h\|#pipeline:__ASSET_JOB,status:success", duration)
    for name in ("data.freshness_hours", "dq.overall_score", "dq.validity_score"):
        assert [line for line in said if re.fullmatch(rf"{name}:[\d.]+\|g\|#table:bronze_events", line)], name


def test_spark_executions_are_below_their_steps(tmp_path: Path) -> None:
    """The long one: two processes with a Spark session each."""
    with collecting() as collector:
        engines = {"ALERTS_LANDING_ENGINE": "spark", "ALERTS_REFRESH_ENGINE": "spark"}
        site = Site(tmp_path, ALERTS_EXECUTOR="multiprocess", **engines, **collector.environment)
        site.land_sample()
        site.command("run", "--select", "bronze_events,silver_alerts")
        site.command("spark", "stop")
    _, steps = tree(collector)
    names = {step: {span.name for span in collector.below(span)} for step, span in steps.items()}
    assert {"spark write_stream_operation_start", "spark streaming query"} <= names["bronze"]
    assert "spark collect" in names["silver_alerts"]
    [collect] = [span for span in collector.spans if span.name == "spark collect"]
    assert collect.kind == 3  # client
    assert len(collect.attributes["spark.operation_id"]) == 36
