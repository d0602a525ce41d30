"""Silver, gold and platinum: each table takes what is new in those before it.

No `from __future__ import annotations`: Dagster reads the annotations.
"""

import time
from collections.abc import Callable
from dataclasses import asdict
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import dagster as dg

from alert_assets.contracts import (
    BRONZE_EVENTS,
    GOLD_INCIDENTS,
    GOLD_PROBLEMS,
    PLATINUM_INCIDENTS,
    PLATINUM_PROBLEMS,
    SILVER_ALERTS,
    SILVER_BASELINES,
    SILVER_DEPENDENCIES,
    Contract,
)
from alert_assets.contracts.vocabulary import SEVERITIES
from alert_assets.defs.metadata import Stopwatch, clear_errors, described, rows_shown, table_metadata
from alert_assets.kernel.sql import literal, ranked
from alert_assets.lake.lakehouse import Lakehouse, rows_in
from alert_assets.settings import Settings
from alert_assets.spark.session import SparkResource

if TYPE_CHECKING:
    from alert_assets.analysis.refresh import PlatinumRefresh

_Lakehouse = dg.ResourceParam[Lakehouse]
_Settings = dg.ResourceParam[Settings]


class RefreshConfig(dg.Config):
    """Run config of silver, gold and platinum."""

    full_refresh: bool = False
    """Rebuild the table from the one before it instead of taking what is new."""


@dg.asset(**described(SILVER_ALERTS, "pyspark", "silver"), deps=[BRONZE_EVENTS.name], pool=SILVER_ALERTS.name)
def silver_alerts(
    context: dg.AssetExecutionContext,
    config: RefreshConfig,
    spark: SparkResource,
    lakehouse: _Lakehouse,
    settings: _Settings,
) -> dg.MaterializeResult[None]:
    """Collapse the alerts that are new in bronze."""
    from alert_assets.transforms.silver import refresh_silver

    watch = Stopwatch()
    with clear_errors():
        done = refresh_silver(lambda: spark.spark_session, lakehouse, settings, full_refresh=config.full_refresh)
    numbers = {"rows_in": done.read, "windows_recomputed": done.recomputed, "rows_out": done.changed}
    return dg.MaterializeResult(
        metadata=table_metadata(context.run.run_id, lakehouse, SILVER_ALERTS, **numbers, seconds=watch.seconds)
    )


@dg.asset(
    **described(SILVER_DEPENDENCIES, "python", "silver"), deps=[BRONZE_EVENTS.name], pool=SILVER_DEPENDENCIES.name
)
def silver_dependencies(
    context: dg.AssetExecutionContext, config: RefreshConfig, lakehouse: _Lakehouse
) -> dg.MaterializeResult[None]:
    """Take in the calls that are new in bronze."""
    from alert_assets.transforms.dependencies import refresh_dependencies

    watch = Stopwatch()
    with clear_errors():
        done = refresh_dependencies(lakehouse, full_refresh=config.full_refresh)
    numbers = {"rows_in": done.read, "hours_recomputed": done.recomputed, "rows_out": done.changed}
    metadata = table_metadata(context.run.run_id, lakehouse, SILVER_DEPENDENCIES, **numbers, seconds=watch.seconds)
    return dg.MaterializeResult(metadata={**metadata, "calls": _graph(lakehouse)})


@dg.asset(**described(SILVER_BASELINES, "python", "silver"), deps=[BRONZE_EVENTS.name], pool=SILVER_BASELINES.name)
def silver_baselines(
    context: dg.AssetExecutionContext, config: RefreshConfig, lakehouse: _Lakehouse
) -> dg.MaterializeResult[None]:
    """Compute the hours in which something was measured that is new in bronze."""
    from alert_assets.transforms.baselines import refresh_baselines

    watch = Stopwatch()
    with clear_errors():
        done = refresh_baselines(lakehouse, full_refresh=config.full_refresh)
    numbers = {"rows_in": done.read, "hours_recomputed": done.recomputed, "rows_out": done.changed}
    return dg.MaterializeResult(
        metadata=table_metadata(context.run.run_id, lakehouse, SILVER_BASELINES, **numbers, seconds=watch.seconds)
    )


@dg.asset(
    **described(GOLD_INCIDENTS, "pyspark", "gold"),
    deps=[SILVER_ALERTS.name, BRONZE_EVENTS.name],
    pool=GOLD_INCIDENTS.name,
)
def gold_incidents(
    context: dg.AssetExecutionContext,
    config: RefreshConfig,
    spark: SparkResource,
    lakehouse: _Lakehouse,
    settings: _Settings,
) -> dg.MaterializeResult[None]:
    """Correlate the alerts that are new or have new evidence."""
    from alert_assets.transforms.gold import refresh_gold

    watch = Stopwatch()
    with clear_errors():
        done = refresh_gold(lambda: spark.spark_session, lakehouse, settings, full_refresh=config.full_refresh)
    numbers = {"rows_in": done.read, "buckets_recomputed": done.recomputed, "rows_out": done.changed}
    metadata = table_metadata(context.run.run_id, lakehouse, GOLD_INCIDENTS, **numbers, seconds=watch.seconds)
    alert = ("alert_timestamp", "severity", "alert_type", "application_id", "host", "current_value", "threshold")
    shown = _newest(lakehouse, GOLD_INCIDENTS, *alert, "alert_count", "evidence_count", "incident_id")
    return dg.MaterializeResult(metadata={**metadata, "newest_incidents": shown})


@dg.asset(
    **described(GOLD_PROBLEMS, "python", "gold"),
    deps=[
        GOLD_INCIDENTS.name,
        SILVER_ALERTS.name,
        SILVER_DEPENDENCIES.name,
        SILVER_BASELINES.name,
        BRONZE_EVENTS.name,
    ],
    pool=GOLD_PROBLEMS.name,
)
def gold_problems(
    context: dg.AssetExecutionContext, config: RefreshConfig, lakehouse: _Lakehouse, settings: _Settings
) -> dg.MaterializeResult[None]:
    """Group what is new among the incidents, and rank the causes."""
    from alert_assets.transforms.problems import refresh_problems

    watch = Stopwatch()
    with clear_errors():
        done = refresh_problems(lakehouse, settings, full_refresh=config.full_refresh)
    numbers = {"rows_in": done.read, "problems_recomputed": done.recomputed, "rows_out": done.changed}
    metadata = table_metadata(context.run.run_id, lakehouse, GOLD_PROBLEMS, **numbers, seconds=watch.seconds)
    about = ("opened_at", "state", "severity", "title", "alert_count", "confidence", "problem_id")
    newest = _newest(lakehouse, GOLD_PROBLEMS, *about, time_column="opened_at")
    return dg.MaterializeResult(metadata={**metadata, **_firing(lakehouse), "newest_problems": newest})


def _firing(lakehouse: Lakehouse) -> dict[str, Any]:
    """How many problems fire, in all and by severity, as numbers that the UI plots; and the worst of them."""
    firing = "state = 'firing' AND merged_into IS NULL"
    counted = rows_in(
        lakehouse, GOLD_PROBLEMS, f"SELECT severity, count(*) AS number FROM t WHERE {firing} GROUP BY severity"
    )
    by_severity = {row["severity"]: row["number"] for row in counted}
    columns = ("severity", "opened_at", "title", "alert_count", "problem_id")
    worst = rows_in(
        lakehouse,
        GOLD_PROBLEMS,
        f"SELECT {', '.join(columns)} FROM t WHERE {firing} "
        f"ORDER BY {ranked('severity', SEVERITIES[::-1])}, opened_at DESC LIMIT 10",
    )
    return {
        "firing": sum(by_severity.values()),
        **{f"firing_{name.lower()}": by_severity.get(name, 0) for name in reversed(SEVERITIES)},
        "worst_firing_problems": rows_shown(worst, *columns),
    }


#: What is shown of an analysis.
_ANSWER = ("summary", "root_cause", "confidence_score", "recommended_action", "model", "error")


@dg.asset(
    **described(PLATINUM_INCIDENTS, "python", "platinum"), deps=[GOLD_INCIDENTS.name], pool=PLATINUM_INCIDENTS.name
)
def platinum_incidents(
    context: dg.AssetExecutionContext, config: RefreshConfig, lakehouse: _Lakehouse, settings: _Settings
) -> dg.MaterializeResult[None]:
    """Say by rules what the incidents mean that have no analysis yet."""
    from alert_assets.analysis.refresh import refresh_platinum

    with clear_errors():
        metadata = _analysed(refresh_platinum, PLATINUM_INCIDENTS, context, config, lakehouse, settings)
    shown = _newest(lakehouse, PLATINUM_INCIDENTS, "alert_timestamp", *_ANSWER)
    return dg.MaterializeResult(metadata={**metadata, "newest_incidents": shown})


@dg.asset(**described(PLATINUM_PROBLEMS, "python", "platinum"), deps=[GOLD_PROBLEMS.name], pool=PLATINUM_PROBLEMS.name)
def platinum_problems(
    context: dg.AssetExecutionContext, config: RefreshConfig, lakehouse: _Lakehouse, settings: _Settings
) -> dg.MaterializeResult[None]:
    """Analyse the problems that have no analysis yet, and those whose analysis failed and may be tried again."""
    from alert_assets.analysis.refresh import refresh_platinum_problems

    with clear_errors():
        metadata = _analysed(refresh_platinum_problems, PLATINUM_PROBLEMS, context, config, lakehouse, settings)
    shown = _newest(lakehouse, PLATINUM_PROBLEMS, "opened_at", "problem_id", *_ANSWER, time_column="opened_at")
    return dg.MaterializeResult(metadata={**metadata, "newest_problems": shown})


def _analysed(
    refresh: "Callable[..., PlatinumRefresh]",
    contract: Contract,
    context: dg.AssetExecutionContext,
    config: RefreshConfig,
    lakehouse: Lakehouse,
    settings: Settings,
) -> dict[str, Any]:
    """Refresh a table of analyses; returns what the run says of it."""
    watch = Stopwatch()
    done = refresh(lakehouse, settings, full_refresh=config.full_refresh, progress=Progress(context.log.info))
    numbers = {**asdict(done), "rows_in": done.analyzed, "rows_out": done.written, "seconds": watch.seconds}
    return table_metadata(context.run.run_id, lakehouse, contract, **numbers)


#: Callers that the graph of calls shows, those with most requests; and callees of each.
_CALLERS, _CALLEES = 50, 20


def _graph(lakehouse: Lakehouse) -> dg.TableMetadataValue:
    """Who calls whom, a row a caller, of the calls of the week up to the newest."""
    week = "last_seen >= (SELECT max(last_seen) FROM t) - INTERVAL '7 days'"
    sql = (
        "SELECT caller, count(*) AS number, sum(requests) AS requests, "
        "array_agg(callee ORDER BY requests DESC, callee) AS callees "
        f"FROM t WHERE {week} GROUP BY caller ORDER BY requests DESC, caller LIMIT {_CALLERS}"
    )
    rows = rows_in(lakehouse, SILVER_DEPENDENCIES, sql)
    for row in rows:
        more = len(row["callees"]) - _CALLEES
        row["calls"] = ", ".join(row["callees"][:_CALLEES]) + (f" and {more} more" if more > 0 else "")
    return rows_shown(rows, "caller", "calls", "number", "requests")


def _newest(
    lakehouse: Lakehouse, contract: Contract, *columns: str, time_column: str = "alert_timestamp"
) -> dg.TableMetadataValue:
    """The last rows of the day up to the newest: no other files are read."""
    newest = lakehouse.snapshot(contract).newest(time_column)
    if newest is None:
        return rows_shown([], *columns)
    day = f"{time_column} >= {literal(newest - timedelta(days=1))}"
    sql = f"SELECT * FROM t WHERE {day} ORDER BY {time_column} DESC LIMIT 10"
    return rows_shown(rows_in(lakehouse, contract, sql), *columns)


class Progress:
    """Says how far the analysis is, once every few seconds."""

    def __init__(self, log: Callable[[str], None], every_seconds: float = 5.0) -> None:
        self._log, self._every, self._last = log, every_seconds, time.monotonic()

    def __call__(self, done: int, total: int) -> None:
        """Log how far it is, not too often."""
        if time.monotonic() - self._last >= self._every or done == total:
            self._last = time.monotonic()
            self._log(f"{done:,} of {total:,} contexts analysed")
