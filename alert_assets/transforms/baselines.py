"""Refresh silver_baselines: what each series was in the hours of the new measurements, by delta-rs, without Spark.

The hours of an application in which something new was measured are computed again from all that bronze has of them, so
that redeliveries, late events and a full refresh end in the same rows.
"""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

from alert_assets.analysis.causes.samples import KEPT, MEASURED, SERIES, hour_of, hours_sql, kept
from alert_assets.contracts import BRONZE_EVENTS, SILVER_BASELINES
from alert_assets.kernel.buckets import sql_bucket
from alert_assets.kernel.intervals import Interval, bucket_intervals
from alert_assets.kernel.sql import MOST_NAMED, one_of, sql_envelope
from alert_assets.lake.audit import audit
from alert_assets.lake.lakehouse import Lakehouse, cursor_app
from alert_assets.lake.rows import arrow_query, query
from alert_assets.lake.schema import stored_schema
from alert_assets.transforms.refresh import Refresh

if TYPE_CHECKING:
    import pyarrow as pa
    from deltalake import DeltaTable

_HOUR, _DAY = timedelta(hours=1), timedelta(days=1)

_PARTS = ", ".join(f"coalesce({name}, '')" for name in SERIES.split(", "))
#: SQL of the column `series_id`.
_SERIES_ID = f"encode(sha256(concat_ws(chr(31), {_PARTS})), 'hex')"


def refresh_baselines(lakehouse: Lakehouse, *, full_refresh: bool = False) -> Refresh:
    """Compute the hours anew in which something was measured that is new in bronze, and merge them."""
    with lakehouse.writing(SILVER_BASELINES):
        bronze, cursor = lakehouse.snapshot(BRONZE_EVENTS), lakehouse.cursor(SILVER_BASELINES, BRONZE_EVENTS)
        # What a restore took out of bronze cannot be found by its `_batch_id`.
        full_refresh = full_refresh or bronze.last_batch_id < cursor
        if not full_refresh:
            lakehouse.bring_up_to_date(SILVER_BASELINES)
        if bronze.table is None or (bronze.last_batch_id == cursor and not full_refresh):
            return Refresh()
        transactions = {cursor_app(BRONZE_EVENTS): bronze.last_batch_id}
        hours = _touched(bronze.table, 0 if full_refresh else cursor)
        read = sum(number for _, number in hours.values())
        if full_refresh:
            # In order of time: a file then has few hours, and who reads or merges some hours leaves the others alone.
            order = [("hour", "ascending"), ("application_id", "ascending")]
            rows = _together([_computed(bronze.table, day).sort_by(order) for day in _days(hours)])
            audit(SILVER_BASELINES, SILVER_BASELINES.key, rows)
            lakehouse.overwrite(SILVER_BASELINES, rows, transactions)
            return Refresh(read, len(hours), rows.num_rows, committed=True)
        applications = {name for names, _ in hours.values() for name in names}
        of = one_of("application_id", applications, most=MOST_NAMED)
        spans = bucket_intervals(hours, _HOUR)
        rows = _computed(bronze.table, spans, of) if hours else _none()
        audit(SILVER_BASELINES, SILVER_BASELINES.key, rows)
        envelope = sql_envelope("hour", spans) if spans else None
        lakehouse.merge(SILVER_BASELINES, SILVER_BASELINES.key, rows, transactions, within=envelope)
        return Refresh(read, len(hours), rows.num_rows, committed=True)


def _touched(bronze: DeltaTable, cursor: int) -> dict[int, tuple[list[str], int]]:
    """The hours in which measurements end that came after the cursor: of which applications, and how many."""
    rows = query(
        f"SELECT {sql_bucket('hour', _HOUR)} AS bucket, array_agg(DISTINCT application_id) AS names, "
        f"count(*) AS events FROM (SELECT {hour_of()} AS hour, application_id FROM t "
        f"WHERE {MEASURED} AND _batch_id > {cursor}) GROUP BY 1 ORDER BY 1",
        t=bronze,
    )
    return {row["bucket"]: (row["names"], row["events"]) for row in rows}


def _days(hours: dict[int, tuple[list[str], int]]) -> list[list[Interval]]:
    """The hours by the day: the events of more are too many to be told apart at once."""
    days: dict[int, list[int]] = {}
    for hour in hours:
        days.setdefault(hour // 24, []).append(hour)
    return [bucket_intervals(some, _HOUR) for some in days.values()]


def _computed(bronze: DeltaTable, hours: list[Interval], of: str = "true") -> pa.Table:
    columns = f'{_SERIES_ID} AS series_id, {SERIES}, hour, samples, weight, "values"'
    sql = f"SELECT {columns} FROM ({hours_sql(bronze, hours, of=of)})"
    return _shaped(arrow_query(sql, t=bronze))


def _together(parts: list[pa.Table]) -> pa.Table:
    import pyarrow as pa

    return pa.concat_tables(parts) if parts else _none()


def _none() -> pa.Table:

    return _schema().empty_table()


def _schema() -> pa.Schema:
    import pyarrow as pa

    schema = pa.schema(stored_schema(SILVER_BASELINES).to_arrow())
    return schema.remove(schema.get_field_index("_batch_id"))


def _shaped(rows: pa.Table) -> pa.Table:
    import pyarrow as pa
    import pyarrow.compute as pc

    schema = _schema()
    if rows.num_rows and pc.max(rows["samples"]).as_py() > KEPT:
        values = [kept(some) for some in rows["values"].to_pylist()]
        rows = rows.set_column(rows.schema.get_field_index("values"), "values", pa.array(values))
    return rows.select(schema.names).cast(schema)
