"""The part of bronze_events that causes are ranked by, read by delta-rs: pruned by time, without Spark."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from alert_assets.analysis.causes.baselines import NEWEST, PAST_SECONDS
from alert_assets.analysis.causes.graph import Edge, Node
from alert_assets.analysis.causes.observations import BAD_LOG_LEVELS, LogMinute, Observations, observe
from alert_assets.kernel.sql import literal
from alert_assets.lake.rows import query

if TYPE_CHECKING:
    from collections.abc import Iterable

    from deltalake import DeltaTable


#: A window's samples lie at most so far around it, where an interval is a quarter of an hour at most.
AROUND = timedelta(hours=1)
#: How far before it a series' own past is looked for.
PAST = timedelta(seconds=PAST_SECONDS)
#: The same of logs, of which there are many more.
PAST_OF_LOGS = timedelta(hours=24)
#: How old a call may be and still be in the graph.
GRAPH = timedelta(days=7)

#: Measurements of an event's `metrics` that are read.
_METRICS = ("interval_seconds", "requests", "latency_ms", "client_latency_ms", "server_latency_ms", "errors")


def read_observations(
    table: DeltaTable | None,
    start: datetime,
    end: datetime,
    *,
    edges: Iterable[Edge] = (),
    applications: Iterable[str] | None = None,
) -> Observations:
    """Read what was measured around a window and before it, and the calls of the seven days up to it.

    Args:
        table: bronze_events; nothing is read where there is none.
        start, end: the window; the same for a moment.
        edges: calls that are known apart from the events.
        applications: read what these say and no others; all when not given.
    """
    if table is None:
        return observe([], (), edges)
    begin, until = start - AROUND, end + AROUND
    of = "" if applications is None else f" AND application_id IN ({', '.join(map(literal, sorted(applications)))})"
    return observe(
        [
            *_measured(table, _between(begin, until) + of),
            *_measured(table, _between(start - PAST, begin) + of, newest=NEWEST),
            *_deployments(table, _between(end - PAST, until) + of),
        ],
        _logs(table, _between(start - PAST_OF_LOGS, until) + of),
        [*edges, *_calls(table, _between(end - GRAPH, until) + of)],
    )


def _measured(table: DeltaTable, where: str, *, newest: int | None = None) -> list[dict[str, Any]]:
    """Metrics and calls; of each application, host and call those of the newest times if a number is given."""
    metrics = ", ".join(f"map_extract(metrics, {literal(name)})[1] AS {name}" for name in _METRICS)
    names = "event_id, event_type, application_id, host, timestamp, cpu_percent, error_rate"
    source = (
        f"SELECT {names}, {_callee(table)}, metrics FROM t WHERE event_type IN ('metric', 'dependency') AND {where}"
    )
    if newest is not None:
        series = "event_type, application_id, host, depends_on, depends_on_host"
        source = (
            f"SELECT * FROM (SELECT *, dense_rank() OVER (PARTITION BY {series} ORDER BY timestamp DESC) AS age "
            f"FROM ({source})) WHERE age <= {newest}"
        )
    rows = query(f"SELECT {names}, depends_on, depends_on_host, {metrics} FROM ({source})", t=table)
    for row in rows:
        row["metrics"] = {name: row.pop(name) for name in _METRICS}
    return rows


def _deployments(table: DeltaTable, where: str) -> list[dict[str, Any]]:
    return query(
        "SELECT event_id, event_type, application_id, timestamp, change_type, version, deployment_id FROM t "
        f"WHERE event_type = 'deployment' AND {where}",
        t=table,
    )


def _logs(table: DeltaTable, where: str) -> list[LogMinute]:
    """Counted where they lie: there are many more logs than anything else."""
    levels = ", ".join(map(literal, sorted(BAD_LOG_LEVELS)))
    each_once = (
        "SELECT application_id, host, timestamp, event_id, "
        f"min(CASE WHEN log_level IN ({levels}) THEN 1 ELSE 0 END) AS bad "
        f"FROM t WHERE event_type = 'log' AND {where} "
        "GROUP BY application_id, host, timestamp, event_id"
    )
    rows = query(
        "SELECT application_id, host, date_trunc('minute', timestamp) AS minute, count(*) AS lines, sum(bad) AS bad "
        f"FROM ({each_once}) GROUP BY application_id, host, date_trunc('minute', timestamp)",
        t=table,
    )
    return [
        LogMinute(row["application_id"], row["host"], row["minute"].timestamp(), row["lines"], row["bad"])
        for row in rows
    ]


def _calls(table: DeltaTable, where: str) -> list[Edge]:
    rows = query(
        f"SELECT DISTINCT application_id, host, {_callee(table)} FROM t WHERE event_type = 'dependency' AND {where}",
        t=table,
    )
    return [
        Edge(Node(row["application_id"], row["host"]), Node(row["depends_on"], row["depends_on_host"]))
        for row in rows
        if row["depends_on"] is not None
    ]


def _callee(table: DeltaTable) -> str:
    """The callee's columns; a lake that was written before there were dependencies has none yet."""
    known = {field.name for field in table.schema().fields}
    names = ("depends_on", "depends_on_host")
    return ", ".join(name if name in known else f"CAST(NULL AS VARCHAR) AS {name}" for name in names)


def _between(since: datetime, until: datetime) -> str:
    return f"timestamp > {literal(since)} AND timestamp <= {literal(until)}"
