"""The tables that say how reliable the others are: latency, quality, health and cost of the runs, SLOs.

They watch, so no circuit breaker stops them, and they take no Spark. What measures and decides is imported when
they run: every process of Dagster's loads this module.
"""

import socket
from collections.abc import Mapping, Sized
from datetime import timedelta
from typing import Any

import dagster as dg

from alert_assets.breaker.store import CircuitBreakers
from alert_assets.contracts import (
    ALL_CONTRACTS,
    BRONZE_EVENTS,
    COLUMN_PROFILES,
    CONTRACTS,
    DRIFT_STATUS,
    GOLD_INCIDENTS,
    PIPELINE_HEALTH,
    PIPELINE_LATENCY,
    QUALITY_SCORES,
    RUN_COST,
    SLO_STATUS,
    TABLE_AVAILABILITY,
    Contract,
)
from alert_assets.contracts.vocabulary import DIMENSIONS
from alert_assets.defs.metadata import Stopwatch, clear_errors, described, rows_shown, table_metadata
from alert_assets.kernel.clock import utc_now
from alert_assets.kernel.wording import figure
from alert_assets.lake.lakehouse import Lakehouse
from alert_assets.settings import Settings
from alert_assets.state.check_results import latest_checks

_Lakehouse = dg.ResourceParam[Lakehouse]
_Settings = dg.ResourceParam[Settings]
_Breakers = dg.ResourceParam[CircuitBreakers]


@dg.asset(**described(PIPELINE_LATENCY, "python", group="reliability"), deps=[BRONZE_EVENTS.name, GOLD_INCIDENTS.name])
def pipeline_latency(
    context: dg.AssetExecutionContext, lakehouse: _Lakehouse, settings: _Settings
) -> dg.MaterializeResult[None]:
    """Measure the commits of bronze and gold that have not been measured yet."""
    from alert_assets.slo.evaluate import refresh_latency

    watch = Stopwatch()
    with clear_errors():
        rows, breaches = refresh_latency(lakehouse, settings)
    for breach in breaches:
        context.log.warning(breach)
    p95 = {f"{row['stage']}_p95_seconds": row["p95_seconds"] for row in rows if row["p95_seconds"] is not None}
    return _appended(context, lakehouse, PIPELINE_LATENCY, watch, rows, {"breaches": len(breaches), **p95})


@dg.asset(**described(QUALITY_SCORES, "python", group="reliability"), deps=list(CONTRACTS))
def quality_scores(
    context: dg.AssetExecutionContext, lakehouse: _Lakehouse, settings: _Settings, breakers: _Breakers
) -> dg.MaterializeResult[None]:
    """Score what is new in each table, by dimension and overall."""
    from alert_assets.checks.scores import table_scores
    from alert_assets.lake.lakehouse import append_rows

    watch = Stopwatch()
    with clear_errors(), lakehouse.writing(QUALITY_SCORES):
        rows = table_scores(lakehouse, settings, breakers, context.run.run_id, utc_now())
        append_rows(lakehouse, QUALITY_SCORES, rows)
    scores = {f"{row['table_name']}_score": row["score"] for row in rows if row["dimension"] == "overall"}
    with breakers.state.reading() as connection:
        checks = latest_checks(connection, ALL_CONTRACTS)
    failed = [vars(check) for check in checks if not check.passed]
    shown = {
        "scores": rows_shown(_by_table(rows), "table_name", "overall", *DIMENSIONS),
        "failed_checks": rows_shown(failed, "table_name", "check_name", "severity", "at", "description"),
    }
    numbers = {"checks_failed": len(failed), **scores}
    return _appended(context, lakehouse, QUALITY_SCORES, watch, rows, numbers, **shown)


def _by_table(scores: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The scores of one evaluation, a row a table."""
    found: dict[str, dict[str, Any]] = {}
    for row in scores:
        found.setdefault(row["table_name"], {"table_name": row["table_name"]})[row["dimension"]] = row["score"]
    return list(found.values())


@dg.asset(**described(PIPELINE_HEALTH, "python", group="reliability"))
def pipeline_health(
    context: dg.AssetExecutionContext, lakehouse: _Lakehouse, settings: _Settings, breakers: _Breakers
) -> dg.MaterializeResult[None]:
    """Judge the runs of the last day, and the host they ran on."""
    from alert_assets.lake.lakehouse import append_rows
    from alert_assets.quality.health import pipeline_health as health_rows
    from alert_assets.quality.runs import run_records

    watch, now = Stopwatch(), utc_now()
    with clear_errors(), lakehouse.writing(PIPELINE_HEALTH):
        runs = run_records(context.instance, breakers, now)
        deadline = timedelta(minutes=settings.run_deadline_minutes)
        rows = health_rows(runs, now, deadline=deadline, host=socket.gethostname())
        append_rows(lakehouse, PIPELINE_HEALTH, rows)
    unhealthy = [row for row in rows if not row["healthy"]]
    for row in unhealthy:
        figures = f"{row['metric']} of {row['subject']} is {figure(row['value'], 4)}, limit {figure(row['limit'])}"
        context.log.warning(f"{figures}. {row['detail'] or ''}")
    numbers = {"unhealthy": len(unhealthy), "runs": len(runs)}
    shown = rows_shown(sorted(rows, key=_is_healthy), "metric", "subject", "value", "limit", "healthy", "detail")
    return _appended(context, lakehouse, PIPELINE_HEALTH, watch, rows, numbers, health=shown)


def _is_healthy(row: Mapping[str, Any]) -> bool:
    return bool(row["healthy"])


@dg.asset(**described(RUN_COST, "python", group="reliability"))
def run_cost(
    context: dg.AssetExecutionContext, lakehouse: _Lakehouse, settings: _Settings, breakers: _Breakers
) -> dg.MaterializeResult[None]:
    """Price what the steps of the runs that have ended used."""
    from alert_assets.reports.cost import refresh_run_cost

    watch = Stopwatch()
    with clear_errors():
        rows = refresh_run_cost(lakehouse, breakers.state, settings)
    sums = {name: sum(row[name] for row in rows) for name in ("cpu_seconds", "cost_usd")}
    return _appended(context, lakehouse, RUN_COST, watch, rows, sums)


@dg.asset(**described(TABLE_AVAILABILITY, "python", group="reliability"), deps=list(CONTRACTS))
def table_availability(
    context: dg.AssetExecutionContext, lakehouse: _Lakehouse, settings: _Settings, breakers: _Breakers
) -> dg.MaterializeResult[None]:
    """Look whether each table can be read and is fresh."""
    from alert_assets.checks.availability import table_availability as looks
    from alert_assets.lake.lakehouse import append_rows

    watch = Stopwatch()
    with clear_errors(), lakehouse.writing(TABLE_AVAILABILITY):
        rows = list(looks(lakehouse, settings, breakers, utc_now()))
        append_rows(lakehouse, TABLE_AVAILABILITY, rows)
    away = [row for row in rows if not (row["readable"] and row["fresh"])]
    for row in away:
        context.log.warning(
            f"{row['table_name']} is {'stale' if row['readable'] else 'unreadable'}. {row['problem'] or ''}"
        )
    return _appended(context, lakehouse, TABLE_AVAILABILITY, watch, rows, {"unavailable": len(away)})


@dg.asset(
    **described(SLO_STATUS, "python", group="reliability"),
    deps=[PIPELINE_LATENCY.name, QUALITY_SCORES.name, RUN_COST.name, TABLE_AVAILABILITY.name],
)
def slo_status(
    context: dg.AssetExecutionContext, lakehouse: _Lakehouse, settings: _Settings, breakers: _Breakers
) -> dg.MaterializeResult[None]:
    """Evaluate every SLO, and open the breakers whose SLO burns fast."""
    from alert_assets.quality.runs import run_records
    from alert_assets.slo.evaluate import refresh_slo_status

    watch, now = Stopwatch(), utc_now()
    with clear_errors():
        runs = run_records(context.instance, breakers, now)
        rows, steps = refresh_slo_status(lakehouse, settings, breakers, runs, now)
    for step in steps:
        context.log.error(f"Circuit breaker {step.breaker} is {step.to_state}: {step.reason}")
    for row in rows:
        left = row["budget_left_percent"]
        if left is not None and row["state"] != "ok":
            context.log.warning(f"SLO {row['slo']} is {row['state']}: {left:.1f} % of its error budget is left")
    states = [state for row in rows for state in row["state"].split(", ")]
    numbers = {
        **{state: states.count(state) for state in sorted(set(states))},
        **{
            f"{row['slo']}_budget_left_percent": row["budget_left_percent"]
            for row in rows
            if row["budget_left_percent"] is not None
        },
    }
    shown = rows_shown(rows, "slo", "state", "severity", "target_percent", "achieved_percent", "budget_left_percent")
    return _appended(context, lakehouse, SLO_STATUS, watch, rows, numbers, slos=shown)


@dg.asset(**described(COLUMN_PROFILES, "python", group="reliability"), deps=list(CONTRACTS))
def column_profiles(
    context: dg.AssetExecutionContext, lakehouse: _Lakehouse, settings: _Settings
) -> dg.MaterializeResult[None]:
    """Profile the columns of each table in the hours that are over."""
    from alert_assets.quality.drift_status import refresh_profiles

    watch = Stopwatch()
    with clear_errors():
        rows = refresh_profiles(lakehouse, settings)
    hours = len({(row["table_name"], row["hour"]) for row in rows})
    return _appended(context, lakehouse, COLUMN_PROFILES, watch, rows, {"hours": hours})


@dg.asset(**described(DRIFT_STATUS, "python", group="reliability"), deps=[COLUMN_PROFILES.name])
def drift_status(
    context: dg.AssetExecutionContext, lakehouse: _Lakehouse, settings: _Settings
) -> dg.MaterializeResult[None]:
    """Compare the hours that were profiled with those before them."""
    from alert_assets.quality.drift_status import refresh_drift_status

    watch = Stopwatch()
    with clear_errors():
        rows = refresh_drift_status(lakehouse, settings, utc_now())
    drifted = [row for row in rows if row["state"] == "drifted"]
    shown = rows_shown(drifted, "table_name", "column_name", "hour", "kinds", "psi", "ks", "reason")
    return _appended(context, lakehouse, DRIFT_STATUS, watch, rows, {"drifted": len(drifted)}, drifted_columns=shown)


def _appended(
    context: dg.AssetExecutionContext,
    lakehouse: Lakehouse,
    contract: Contract,
    watch: Stopwatch,
    rows: Sized,
    numbers: Mapping[str, Any],
    **shown: dg.TableMetadataValue,
) -> dg.MaterializeResult[None]:
    """Say how many rows came to a table in which time, with numbers that the UI plots and tables that it shows."""
    numbers = {"rows_out": len(rows), **numbers, "seconds": watch.seconds}
    return dg.MaterializeResult(
        metadata={**table_metadata(context.run.run_id, lakehouse, contract, **numbers), **shown}
    )


ASSETS = [
    pipeline_latency,
    quality_scores,
    pipeline_health,
    run_cost,
    column_profiles,
    drift_status,
    table_availability,
    slo_status,
]
