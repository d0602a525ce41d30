"""SQL of the samples that causes are ranked by, and of what each series was in an hour: bronze_events, each event once.

Both are computed where the events lie. What :mod:`alert_assets.transforms.baselines` keeps and what is read where
nothing is kept are one and the same query, so a ranking comes out the same with the table and without. What is ranked
comes event by event with a column for each measure: row by row, each with its series, takes twice as long.
"""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

from alert_assets.analysis.causes.observations import (
    BAD_LOG_LEVELS,
    CALL_ERRORS,
    CALLS,
    CPU,
    ERRORS,
    INTERVAL_SECONDS,
    LATENCY,
    LOGS,
    NETWORK,
    SERVED,
    WAIT,
)
from alert_assets.kernel.sql import any_of, literal, one_of

if TYPE_CHECKING:
    from collections.abc import Iterable

    from deltalake import DeltaTable

    from alert_assets.analysis.causes.baselines import Measure
    from alert_assets.kernel.intervals import Interval

HOUR, _MINUTE = timedelta(hours=1), timedelta(minutes=1)

#: Values of an hour that are kept: all of one a minute, else as many at even distances in the order of their size.
KEPT = 60

#: Columns that say which series it is.
SERIES = "application_id, host, depends_on, depends_on_host, measure"
#: Types of events that are measurements.
MEASURED = "event_type IN ('metric', 'dependency', 'log')"

_NUMBERS = ("interval_seconds", "requests", "latency_ms", "client_latency_ms", "server_latency_ms", "errors")

#: What each measure is, of a metric event or of a call.
_VALUES = {
    CPU: ("metric", "cpu_percent"),
    LATENCY: ("metric", "latency_ms"),
    ERRORS: ("metric", "error_rate"),
    CALLS: ("dependency", "coalesce(requests, 0)"),
    WAIT: ("dependency", "client_latency_ms"),
    SERVED: ("dependency", "server_latency_ms"),
    NETWORK: ("dependency", "client_latency_ms - server_latency_ms"),
    # The least of a number and null is the number.
    CALL_ERRORS: ("dependency", "CASE WHEN errors > requests THEN 1 ELSE errors / requests END"),
}
#: Their names.
MEASURED_BY_EVENTS = tuple(measure.name for measure in _VALUES)
#: These stand for themselves, whatever the requests.
UNWEIGHTED = (CPU.name, CALLS.name)


def hour_of(event_type: str = "event_type", timestamp: str = "timestamp") -> str:
    """SQL of the hour in which a sample ends; of a log that is the end of its minute."""
    return (
        f"date_trunc('hour', CASE WHEN {event_type} = 'log' THEN date_trunc('minute', {timestamp}) + "
        f"INTERVAL '1 minute' ELSE {timestamp} END)"
    )


def measured_sql(table: DeltaTable, hours: Iterable[Interval], *, of: str = "true") -> str:
    """SQL of the metrics and calls that end in some hours, each once.

    Columns: those of the series but `measure`, `end`, `seconds`, `requests`, and one for each measure in
    :data:`MEASURED_BY_EVENTS`, null where the event is no sample of it.

    Args:
        table: bronze_events, which the SQL calls `t`.
        hours: whole hours.
        of: what else is asked of the events.
    """
    shown = ", ".join(
        f"CASE WHEN event_type = {literal(about)}{_if_any(measure)} THEN {value} END AS {measure.name}"
        for measure, (about, value) in _VALUES.items()
    )
    return (
        'SELECT application_id, host, depends_on, depends_on_host, "end", '
        f"coalesce(nullif(interval_seconds, 0), {INTERVAL_SECONDS}) AS seconds, requests, {shown} "
        f"FROM ({_events(table, list(hours), of)})"
    )


def _if_any(measure: Measure) -> str:
    """What is over requests says nothing without one."""
    return "" if measure.name in UNWEIGHTED else " AND requests > 0"


def samples_sql(table: DeltaTable, hours: Iterable[Interval], *, of: str = "true") -> str:
    """SQL of the samples that end in some hours, one a row: the series' columns, `end`, `weight`, `value`."""
    hours = list(hours)
    shown = " ".join(f"WHEN {literal(name)} THEN {name}" for name in MEASURED_BY_EVENTS)
    names = ", ".join(f"({literal(name)})" for name in MEASURED_BY_EVENTS)
    measured = (
        'SELECT application_id, host, depends_on, depends_on_host, measure, "end", '
        f"CASE WHEN {one_of('measure', UNWEIGHTED)} THEN 1.0 ELSE requests END AS weight, "
        f"CASE measure {shown} END AS value "
        f"FROM ({measured_sql(table, hours, of=of)}) CROSS JOIN (VALUES {names}) AS m (measure)"
    )
    logs = (
        f"SELECT application_id, host, depends_on, depends_on_host, {literal(LOGS.name)} AS measure, "
        f'"end", requests AS weight, {LOGS.name} AS value FROM ({logs_sql(hours, of=of)})'
    )
    return f"SELECT * FROM ({measured} UNION ALL {logs}) WHERE value IS NOT NULL"


def hours_sql(table: DeltaTable, hours: Iterable[Interval], *, of: str = "true") -> str:
    """SQL of what each series was in some hours: its columns, `hour`, `samples`, `weight`, all `values` by their size.

    Of these :func:`kept` are kept.
    """
    hour = "date_trunc('hour', \"end\")"
    return (
        f"SELECT {SERIES}, {hour} AS hour, count(*) AS samples, "
        'sum(CAST(round(least(weight, 1e15)) AS BIGINT)) AS weight, array_sort(array_agg(value)) AS "values" '
        f"FROM ({samples_sql(table, hours, of=of)}) GROUP BY {SERIES}, {hour}"
    )


def kept(values: list[float]) -> list[float]:
    """The values of an hour that are kept: of more than :data:`KEPT` those in the middle of as many equal parts."""
    number = len(values)
    if number <= KEPT:
        return values
    return [values[-(-(part * number + (number + 1) // 2) // KEPT) - 1] for part in range(KEPT)]


def _events(table: DeltaTable, hours: list[Interval], of: str) -> str:
    """Metrics and calls, each event of a series once; of one that came with two contents the lowest of each value."""
    known = {field.name for field in table.schema().fields}
    # A lake that was written before there were dependencies has no columns for the callee yet.
    callee = ", ".join(
        f"nullif({name}, '') AS {name}" if name in known else f"CAST(NULL AS VARCHAR) AS {name}"
        for name in ("depends_on", "depends_on_host")
    )
    numbers = ", ".join(f"min(metrics[{literal(name)}]) AS {name}" for name in _NUMBERS)
    return (
        'SELECT event_type, application_id, host, depends_on, depends_on_host, timestamp AS "end", '
        f"min(cpu_percent) AS cpu_percent, min(error_rate) AS error_rate, {numbers} "
        f"FROM (SELECT event_id, event_type, application_id, nullif(host, '') AS host, {callee}, timestamp, "
        "cpu_percent, error_rate, metrics FROM t "
        f"WHERE event_type IN ('metric', 'dependency') AND {_ending(hours, timedelta())} AND {of}) "
        "WHERE event_type = 'metric' OR depends_on IS NOT NULL "
        "GROUP BY event_id, event_type, application_id, host, depends_on, depends_on_host, timestamp"
    )


def logs_sql(hours: Iterable[Interval], *, of: str = "true") -> str:
    """SQL of the share of bad lines by minute, `requests` the lines; the columns are those of :func:`measured_sql`.

    Each event counts once; of one that came with two levels the better.
    """
    levels = ", ".join(map(literal, sorted(BAD_LOG_LEVELS)))
    each_once = (
        "SELECT application_id, nullif(host, '') AS host, date_trunc('minute', timestamp) AS minute, "
        f"min(CASE WHEN log_level IN ({levels}) THEN 1 ELSE 0 END) AS bad FROM t "
        f"WHERE event_type = 'log' AND {_ending(list(hours), _MINUTE)} AND {of} "
        "GROUP BY application_id, nullif(host, ''), timestamp, event_id"
    )
    return (
        "SELECT application_id, host, CAST(NULL AS VARCHAR) AS depends_on, CAST(NULL AS VARCHAR) AS depends_on_host, "
        "minute + INTERVAL '1 minute' AS \"end\", 60.0 AS seconds, CAST(count(*) AS DOUBLE) AS requests, "
        f"CAST(sum(bad) AS DOUBLE) / count(*) AS {LOGS.name} FROM ({each_once}) GROUP BY application_id, host, minute"
    )


def _ending(hours: list[Interval], after: timedelta) -> str:
    """SQL of the events of which the sample, that ends so long after at most, ends in some hours."""
    spans = [(one.start - after, one.end - after) for one in hours]
    return any_of([f"timestamp >= {literal(begin)} AND timestamp < {literal(end)}" for begin, end in spans])
