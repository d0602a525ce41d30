"""The tables that say how reliable the others are: latency, quality, health of the runs, SLOs.

They watch, so no circuit breaker stops them, and they take no Spark: what they need is in the Delta logs, in
a column or two of the new rows, in Dagster's run records and in the state database.

What they compute with is imported when they run: this module is loaded by every process of Dagster's.
"""

import socket
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import dagster as dg

from alert_assets.breaker.store import CircuitBreakers
from alert_assets.contracts import (
    ALL_CONTRACTS,
    BRONZE_EVENTS,
    CONTRACTS,
    GOLD_INCIDENTS,
    PIPELINE_HEALTH,
    PIPELINE_LATENCY,
    QUALITY_SCORES,
    SLO_STATUS,
    Contract,
)
from alert_assets.defs.metadata import Stopwatch, clear_errors, described, table_metadata
from alert_assets.kernel.clock import utc_now
from alert_assets.kernel.sql import literal
from alert_assets.lake.lakehouse import Lakehouse
from alert_assets.lake.rows import rows_in
from alert_assets.notify.facts import slo_alert
from alert_assets.settings import Settings
from alert_assets.state.database import raise_alert

if TYPE_CHECKING:
    from alert_assets.quality.health import RunRecord
    from alert_assets.slo.sli import History

#: Runs that usual durations are told from; those of the last day are looked at in any case.
_RUNS = 500


@dg.asset(**described(PIPELINE_LATENCY, "python", group="reliability"), deps=[BRONZE_EVENTS.name, GOLD_INCIDENTS.name])
def pipeline_latency(
    context: dg.AssetExecutionContext, lakehouse: dg.ResourceParam[Lakehouse], settings: dg.ResourceParam[Settings]
) -> dg.MaterializeResult[None]:
    """Measure the commits of bronze and gold that have not been measured yet."""
    from alert_assets.slo.budget import latency_thresholds
    from alert_assets.slo.commit_latency import measure_latency
    from alert_assets.slo.openslo import load_slos
    from alert_assets.slo.sli import Latency

    watch = Stopwatch()
    with clear_errors(), lakehouse.writing(PIPELINE_LATENCY):
        slos = load_slos(settings.slo_dir)
        rows = measure_latency(lakehouse, latency_thresholds(slos))
        _append(lakehouse, PIPELINE_LATENCY, rows)
    breaches = [
        (slo, row) for slo in slos if isinstance(slo.indicator, Latency) for row in slo.indicator.breaches(rows)
    ]
    for slo, row in breaches:
        rows_of_commit = f"{row['over_threshold']:,} of {row['row_count']:,} rows of commit {row['table_version']}"
        took = f"longer than {row['threshold_seconds']:g} s, the longest {row['max_seconds']:.1f} s"
        context.log.warning(f"SLO {slo.name}: {rows_of_commit} took {took}")
    numbers = {
        "rows_out": len(rows),
        "breaches": len(breaches),
        "seconds": watch.seconds,
        **{f"{row['stage']}_p95_seconds": row["p95_seconds"] for row in rows if row["p95_seconds"] is not None},
    }
    return dg.MaterializeResult(metadata=table_metadata(context.run.run_id, lakehouse, PIPELINE_LATENCY, **numbers))


@dg.asset(**described(QUALITY_SCORES, "python", group="reliability"), deps=list(CONTRACTS))
def quality_scores(
    context: dg.AssetExecutionContext,
    lakehouse: dg.ResourceParam[Lakehouse],
    settings: dg.ResourceParam[Settings],
    breakers: dg.ResourceParam[CircuitBreakers],
) -> dg.MaterializeResult[None]:
    """Score what is new in each table, by dimension and overall."""
    from alert_assets.checks.scores import table_scores

    watch = Stopwatch()
    with clear_errors(), lakehouse.writing(QUALITY_SCORES):
        rows = table_scores(lakehouse, settings, breakers, context.run.run_id, utc_now())
        _append(lakehouse, QUALITY_SCORES, rows)
    scores = {f"{row['table_name']}_score": row["score"] for row in rows if row["dimension"] == "overall"}
    numbers = {"rows_out": len(rows), "seconds": watch.seconds, **scores}
    return dg.MaterializeResult(metadata=table_metadata(context.run.run_id, lakehouse, QUALITY_SCORES, **numbers))


@dg.asset(**described(PIPELINE_HEALTH, "python", group="reliability"))
def pipeline_health(
    context: dg.AssetExecutionContext,
    lakehouse: dg.ResourceParam[Lakehouse],
    settings: dg.ResourceParam[Settings],
    breakers: dg.ResourceParam[CircuitBreakers],
) -> dg.MaterializeResult[None]:
    """Judge the runs of the last day, and the host they ran on."""
    from alert_assets.quality.health import pipeline_health as health_rows

    watch = Stopwatch()
    now = utc_now()
    with clear_errors(), lakehouse.writing(PIPELINE_HEALTH):
        runs = run_records(context.instance, breakers, now)
        deadline = timedelta(minutes=settings.run_deadline_minutes)
        rows = health_rows(runs, now, deadline=deadline, host=socket.gethostname())
        _append(lakehouse, PIPELINE_HEALTH, rows)
    for row in rows:
        if not row["healthy"]:
            figures = f"{row['metric']} of {row['subject']} is {row['value']:.4g}, limit {row['limit']:g}"
            context.log.warning(f"{figures}. {row['detail'] or ''}")
    numbers = {
        "rows_out": len(rows),
        "unhealthy": sum(not row["healthy"] for row in rows),
        "runs": len(runs),
        "seconds": watch.seconds,
    }
    return dg.MaterializeResult(metadata=table_metadata(context.run.run_id, lakehouse, PIPELINE_HEALTH, **numbers))


def run_records(instance: dg.DagsterInstance, breakers: CircuitBreakers, now: datetime) -> "list[RunRecord]":
    """The runs that Dagster knows, and those that only the breakers do: `dagster asset materialize` without a
    DAGSTER_HOME has an instance of its own, which is gone when it ends."""
    from alert_assets.quality.health import RunRecord

    outcomes = {outcome.run_id: outcome for outcome in breakers.outcomes(since=now - timedelta(days=30))}
    known: dict[str, RunRecord] = {}
    for record in instance.get_run_records(limit=_RUNS):
        run = record.dagster_run
        outcome = outcomes.get(run.run_id)
        known[run.run_id] = RunRecord(
            run_id=run.run_id,
            job=run.job_name,
            status=run.status.value,
            launched_at=record.create_timestamp.astimezone(UTC),
            started_at=_moment(record.start_time),
            ended_at=_moment(record.end_time),
            root_run_id=run.root_run_id,
            refused=run.tags.get("alert_assets/breaker") == "refused",
            cpu_peak_percent=outcome.cpu_peak_percent if outcome else None,
            memory_peak_percent=outcome.memory_peak_percent if outcome else None,
        )
    for run_id, outcome in outcomes.items():
        if run_id not in known and outcome.outcome != "neutral":
            began = outcome.started_at or outcome.at
            known[run_id] = RunRecord(
                run_id=run_id,
                job=outcome.job or "",
                status="SUCCESS" if outcome.outcome == "success" else "FAILURE",
                launched_at=began,
                started_at=began,
                ended_at=outcome.at,
                cpu_peak_percent=outcome.cpu_peak_percent,
                memory_peak_percent=outcome.memory_peak_percent,
            )
    return list(known.values())


@dg.asset(**described(SLO_STATUS, "python", group="reliability"), deps=[PIPELINE_LATENCY.name, QUALITY_SCORES.name])
def slo_status(
    context: dg.AssetExecutionContext,
    lakehouse: dg.ResourceParam[Lakehouse],
    settings: dg.ResourceParam[Settings],
    breakers: dg.ResourceParam[CircuitBreakers],
) -> dg.MaterializeResult[None]:
    """Evaluate every SLO, and open the breakers whose SLO burns fast."""
    from alert_assets.slo.budget import breakers_to_open, longest_window
    from alert_assets.slo.budget import slo_status as slo_rows
    from alert_assets.slo.openslo import load_slos

    watch = Stopwatch()
    now = utc_now()
    with clear_errors(), lakehouse.writing(SLO_STATUS):
        slos = load_slos(settings.slo_dir)
        since = now - longest_window(slos)
        rows = slo_rows(slos, slo_history(lakehouse, context.instance, breakers, now, since), now)
        _trip(breakers, breakers_to_open(slos, rows), now, context.log.error)
        burned = _burned_before(lakehouse)
        _append(lakehouse, SLO_STATUS, rows)
        _tell_of_slos(breakers, [row for row in rows if row["severity"] is not None or row["slo"] in burned], now)
    for row in rows:
        if row["state"] in ("burning", "exhausted"):
            left = row["budget_left_percent"]
            context.log.warning(f"SLO {row['slo']} is {row['state']}: {left:.1f} % of its error budget is left")
    states = [row["state"] for row in rows]
    numbers = {
        "rows_out": len(rows),
        **{state: states.count(state) for state in ("ok", "burning", "exhausted", "no_data")},
        "seconds": watch.seconds,
    }
    return dg.MaterializeResult(metadata=table_metadata(context.run.run_id, lakehouse, SLO_STATUS, **numbers))


def _trip(breakers: CircuitBreakers, reasons: Mapping[str, str], now: datetime, log: Callable[[str], None]) -> None:
    """Open breakers, but for those that closed within the fast burn's short window.

    What burned before that is known, and somebody or a probe has found the data to be well since.
    """
    from alert_assets.slo.budget import burn_rate_windows

    settling = timedelta(minutes=burn_rate_windows()[0].short_window_minutes)
    closed_at = {breaker.name: breaker.since for breaker in breakers.all() if breaker.state == "CLOSED"}
    for breaker, reason in reasons.items():
        since = closed_at.get(breaker)
        if since is None or now - since > settling:
            for step in breakers.trip(breaker, reason):
                log(f"Circuit breaker {step.breaker} is {step.to_state}: {step.reason}")


def _burned_before(lakehouse: Lakehouse) -> set[str]:
    """SLOs that burned too fast when they were last evaluated."""
    last = "evaluated_at = (SELECT max(evaluated_at) FROM t)"
    found = rows_in(lakehouse, SLO_STATUS, f"SELECT slo FROM t WHERE {last} AND severity IS NOT NULL")
    return {row["slo"] for row in found}


def _tell_of_slos(breakers: CircuitBreakers, rows: list[dict[str, Any]], now: datetime) -> None:
    if not rows:
        return
    with breakers.state.writing() as connection:
        for row in rows:
            raise_alert(connection, slo_alert(row), f"slo/{row['slo']}/{now.isoformat()}")


def slo_history(
    lakehouse: Lakehouse, instance: dg.DagsterInstance, breakers: CircuitBreakers, now: datetime, since: datetime
) -> "History":
    """What the SLOs are told from, as far back as the longest of them looks."""
    from alert_assets.slo.sli import History

    start = literal(since)
    names = sorted({contract.breaker for contract in ALL_CONTRACTS.values() if contract.breaker})
    # Freshness needs to know what the newest event was when the window began: one commit more.
    latency = rows_in(
        lakehouse,
        PIPELINE_LATENCY,
        f"""
        SELECT * FROM t WHERE committed_at >= {start}
        UNION ALL
        SELECT * FROM (SELECT * FROM t WHERE committed_at < {start} ORDER BY committed_at DESC LIMIT 20)
        """,
    )
    scores = rows_in(lakehouse, QUALITY_SCORES, f"SELECT * FROM t WHERE evaluated_at >= {start}")
    return History(
        pipeline_latency=latency,
        quality_scores=scores,
        runs=run_records(instance, breakers, now),
        breaker_open=breakers.open_intervals(names, since),
    )


ASSETS = [pipeline_latency, quality_scores, pipeline_health, slo_status]


def _append(lakehouse: Lakehouse, contract: Contract, rows: list[dict[str, Any]]) -> None:
    import pyarrow as pa

    schema = pa.schema(lakehouse.create(contract).schema().to_arrow())
    columns = pa.schema([field for field in schema if field.name != "_batch_id"])
    lakehouse.append(contract, pa.Table.from_pylist(rows, columns))


def _moment(seconds: float | None) -> datetime | None:
    return None if seconds is None else datetime.fromtimestamp(seconds, UTC)
