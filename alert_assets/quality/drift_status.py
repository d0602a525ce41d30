"""Profiles the hours of the tables that are over, and judges them by those before.

An hour is over when its table has a row later than its end and the watermark. Hours before the baseline's length are
neither profiled nor kept. Of a lake that was never looked at, the last day is judged and what is before it is baseline.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import asdict
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from alert_assets.contracts import COLUMN_PROFILES, CONTRACTS, DRIFT_STATUS, Contract
from alert_assets.contracts.drift import schema_drift
from alert_assets.kernel.sql import literal, quote
from alert_assets.lake.lakehouse import Lakehouse, append_rows, rows_in
from alert_assets.quality.drift import DriftLimits, baseline_hours, judge
from alert_assets.quality.profile import Profile, profiles_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    import pyarrow as pa

    from alert_assets.settings import Settings

_HOUR, _DAY = timedelta(hours=1), timedelta(days=1)
#: Columns of ours that say how rows came to be there.
_TECHNICAL = frozenset({"_batch_id", "_source_file", "_landed_at", "_ingested_at"})

Row = dict[str, Any]


def limits_of(settings: Settings) -> DriftLimits:
    """The limits that the settings set."""
    return DriftLimits(
        psi=settings.drift_psi,
        ks=settings.drift_ks,
        null_share=settings.drift_null_percent / 100,
        min_values=settings.drift_min_values,
        min_hours=settings.drift_min_hours,
    )


# Profiles


def refresh_profiles(lakehouse: Lakehouse, settings: Settings) -> list[Row]:
    """Profile the hours that are over and were not profiled yet; returns the new rows of `column_profiles`."""
    with lakehouse.writing(COLUMN_PROFILES):
        done = _newest_hours(lakehouse, COLUMN_PROFILES)
        rows = [row for table in CONTRACTS.values() for row in _profiled(lakehouse, settings, table, done)]
        if rows:
            append_rows(lakehouse, COLUMN_PROFILES, rows)
            _forget(lakehouse, settings)
    return rows


def _newest_hours(lakehouse: Lakehouse, contract: Contract) -> dict[str, datetime]:
    found = rows_in(lakehouse, contract, "SELECT table_name, max(hour) AS hour FROM t GROUP BY table_name")
    return {row["table_name"]: row["hour"] for row in found}


def _profiled(lakehouse: Lakehouse, settings: Settings, table: Contract, done: Mapping[str, datetime]) -> Iterator[Row]:
    newest = lakehouse.snapshot(table).newest(table.time_column)
    if newest is None:
        return
    end = _hour_of(newest - timedelta(minutes=settings.watermark_delay_minutes))
    start = end - settings.drift_baseline_days * _DAY
    if table.name in done:
        start = max(start, done[table.name] + _HOUR)
    while start < end:
        # A day at a time: the rows of more need not fit into memory.
        until = min(start + _DAY, end)
        for hour, rows in _by_hour(lakehouse, table, start, until):
            for column, profile in profiles_of(rows).items():
                yield _row(table, column, hour, profile)
        start = until


def _by_hour(
    lakehouse: Lakehouse, table: Contract, start: datetime, until: datetime
) -> Iterator[tuple[datetime, pa.Table]]:
    """The rows of each hour that has some, in order."""
    import pyarrow as pa
    import pyarrow.compute as pc

    stored = lakehouse.table(table)
    assert stored is not None
    schema = pa.schema(field for field in pa.schema(stored.schema().to_arrow()) if field.name not in _TECHNICAL)
    time = quote(table.time_column)
    between = f"{time} >= {literal(start)} AND {time} < {literal(until)}"
    columns = ", ".join(map(quote, schema.names))
    # DataFusion's views of texts cannot be filtered by Arrow.
    rows = lakehouse.rows(table, f"SELECT {columns} FROM t WHERE {between}").cast(schema)
    if not rows.num_rows:
        return
    at = pc.cast(pc.cast(rows[table.time_column], pa.timestamp("us")), pa.int64())
    offsets = pc.divide(pc.subtract(at, int(start.timestamp()) * 1_000_000), 3_600_000_000)
    for number in sorted(pc.unique(offsets).to_pylist()):
        yield start + number * _HOUR, rows.filter(pc.equal(offsets, number))


def _row(table: Contract, column: str, hour: datetime, profile: Profile) -> Row:
    return {
        "table_name": table.name,
        "column_name": column,
        "hour": hour,
        "row_count": profile.rows,
        "null_count": profile.nulls,
        "distinct_count": profile.distinct,
        "sketch": None if profile.sketch is None else profile.sketch.serialize(),
        "value_counts": None if profile.values is None else list(profile.values.items()),
    }


def _profile(row: Mapping[str, Any]) -> Profile:
    from datasketches import kll_doubles_sketch

    return Profile(
        rows=row["row_count"],
        nulls=row["null_count"],
        distinct=row["distinct_count"],
        sketch=None if row["sketch"] is None else kll_doubles_sketch.deserialize(row["sketch"]),
        values=None if row["value_counts"] is None else dict(row["value_counts"]),
    )


def _forget(lakehouse: Lakehouse, settings: Settings) -> None:
    """Remove profiles that no baseline needs, some days of them at once."""
    newest = lakehouse.snapshot(COLUMN_PROFILES).newest("hour")
    if newest is None:
        return
    needed = newest - (settings.drift_baseline_days + 1) * _DAY
    oldest = rows_in(lakehouse, COLUMN_PROFILES, "SELECT min(hour) AS hour FROM t")[0]["hour"]
    if oldest < needed - 2 * _DAY:
        lakehouse.delete_before(COLUMN_PROFILES, needed)


def _hour_of(moment: datetime) -> datetime:
    return moment.replace(minute=0, second=0, microsecond=0)


# Judgements


def refresh_drift_status(lakehouse: Lakehouse, settings: Settings, now: datetime) -> list[Row]:
    """Judge the hours that were profiled and not judged yet; returns the new rows of `drift_status`."""
    with lakehouse.writing(DRIFT_STATUS):
        profiled, judged = _newest_hours(lakehouse, COLUMN_PROFILES), _newest_hours(lakehouse, DRIFT_STATUS)
        rows: list[Row] = []
        for name, newest in profiled.items():
            after = judged.get(name, newest - _DAY)
            if name in CONTRACTS and after < newest:
                rows += _judged(lakehouse, settings, CONTRACTS[name], after)
                rows += _other_columns(lakehouse, CONTRACTS[name], newest)
        rows = [{**row, "evaluated_at": now} for row in rows]
        if rows:
            append_rows(lakehouse, DRIFT_STATUS, rows)
    return rows


def _judged(lakehouse: Lakehouse, settings: Settings, table: Contract, after: datetime) -> Iterator[Row]:
    """The hours of a table later than `after`, a row a column."""
    length, limits = settings.drift_baseline_days * _DAY, limits_of(settings)
    span = f"table_name = '{table.name}' AND hour > {literal(after - length)}"
    drifted = {
        (row["column_name"], row["hour"])
        for row in rows_in(lakehouse, DRIFT_STATUS, f"SELECT * FROM t WHERE state = 'drifted' AND {span}")
    }
    columns: dict[str, list[tuple[datetime, Profile]]] = defaultdict(list)
    for row in rows_in(lakehouse, COLUMN_PROFILES, f"SELECT * FROM t WHERE {span} ORDER BY hour"):
        columns[row["column_name"]].append((row["hour"], _profile(row)))
    for column, hours in columns.items():
        facts = table.columns.get(column.partition(".")[0])
        is_public = facts is not None and not facts.metadata.get("pii")
        for number, (hour, profile) in enumerate(hours):
            if hour <= after:
                continue
            before = _before(hours[:number], hour - length, column, drifted)
            baseline = baseline_hours(before, limits)
            judgement = judge(profile, baseline, limits, name_values=is_public)
            if judgement.state == "drifted":
                drifted.add((column, hour))
            yield {
                "table_name": table.name,
                "column_name": column,
                "hour": hour,
                "baseline_hours": len(baseline),
                **asdict(judgement),
                "kinds": list(judgement.kinds),
            }


def _before(
    hours: Sequence[tuple[datetime, Profile]], since: datetime, column: str, drifted: set[tuple[str, datetime]]
) -> list[tuple[Profile, bool]]:
    return [(profile, (column, hour) in drifted) for hour, profile in hours if hour >= since]


def _other_columns(lakehouse: Lakehouse, table: Contract, hour: datetime) -> Iterator[Row]:
    """The columns that are not what the contract says, at a table's newest hour."""
    stored = lakehouse.table(table)
    for drift in schema_drift(table, stored.schema()) if stored is not None else ():
        said = {"missing": "is missing", "unexpected": f"is not in the contract ({drift.found})"}
        reason = said.get(drift.kind, f"is {drift.found}, and in the contract {drift.expected}")
        yield {
            "table_name": table.name,
            "column_name": f"{drift.column} (schema)",
            "hour": hour,
            "state": "drifted",
            "kinds": [drift.kind],
            "baseline_hours": 0,
            "reason": f"the column {reason}",
        }
